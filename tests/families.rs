//! Training of every family but T5 (`training.rs`): a step, and what it remembers, is the same however it is cut over
//! devices, into microbatches or by a stop and a start. Dropout is on but where noise has to be the same twice.

mod common;

use std::fs;

use common::run::{Tensors, assert_same, on, preset, proteins, state};
use ribosome::runtime::HostArray;
use ribosome::sharding::Partitioner;
use ribosome::train::checkpoint::Checkpoint;
use ribosome::train::recipe::Recipe;
use ribosome::train::trainer::Trainer;

type Settings = &'static [(&'static str, &'static str)];

/// A family's small preset.
struct Family {
    preset: &'static str,
    /// The dropout that its preset is without, and sizes.
    settings: Settings,
    /// What makes the loss independent of random numbers.
    quiet: Settings,
    /// Weights without a gradient: of heads that this objective does not train, and what moves all scores of a query alike,
    /// which a softmax takes away. What rounding leaves of it is compared with nothing.
    still: &'static [&'static str],
    /// How many steps are compared: two where the second reads what the first left in the memory.
    steps: usize,
}

const SMALL: Settings = &[
    ("batch", "8"),
    ("length", "32"),
    ("seed", "5"),
    // The velocity after the first step is the gradient.
    ("optimizer.name", "momentum"),
    ("schedule", "{ name = \"constant\", rate = 0.1 }"),
];

/// Every residue is chosen and stays as it is.
const ALL_KEPT: Settings = &[
    ("objective.probability", "1.0"),
    ("objective.masked", "0.0"),
    ("objective.random", "0.0"),
];

const BERT: Family = Family {
    preset: "prot-bert-tiny",
    settings: &[
        ("model.hidden_dropout_prob", "0.1"),
        ("model.attention_probs_dropout_prob", "0.1"),
    ],
    quiet: ALL_KEPT,
    still: &[
        "/k/bias",
        "pooler/bias",
        "pooler/kernel",
        "sentence/bias",
        "sentence/kernel",
    ],
    steps: 1,
};

const ALBERT: Family = Family {
    preset: "prot-albert-tiny",
    ..BERT
};

const ELECTRA: Family = Family {
    preset: "prot-electra-tiny",
    settings: &[
        ("model.generator.hidden_dropout_prob", "0.1"),
        ("model.generator.attention_probs_dropout_prob", "0.1"),
        ("model.discriminator.hidden_dropout_prob", "0.1"),
        ("model.discriminator.attention_probs_dropout_prob", "0.1"),
    ],
    // The likeliest token is taken, and as all rows are full, as many tokens are chosen in each microbatch.
    quiet: &[
        ("objective.probability", "1.0"),
        ("objective.masked", "0.0"),
        ("objective.temperature", "1e-9"),
    ],
    still: &["/k/bias"],
    steps: 1,
};

const MEGATRON: Family = Family {
    preset: "protein-lm-tiny",
    settings: &[
        ("length", "64"),
        ("model.hidden_dropout_prob", "0.1"),
        ("model.attention_probs_dropout_prob", "0.1"),
    ],
    quiet: ALL_KEPT,
    still: &["/k/bias"],
    steps: 1,
};

const XLNET: Family = Family {
    preset: "prot-xlnet-tiny",
    settings: &[
        ("model.dropout", "0.1"),
        ("model.mem_len", "16"),
        ("model.reuse_len", "16"),
        ("objective.block", "8"),
        ("objective.predictions", "6"),
    ],
    // Blocks of one position are in one order only.
    quiet: &[("objective.block", "1")],
    // All tokens are of one part.
    still: &["/segments/bias", "/segments/embedding"],
    steps: 2,
};

const TRANSFO_XL: Family = Family {
    preset: "prot-txl-tiny",
    settings: &[
        ("model.dropout", "0.1"),
        ("model.dropatt", "0.1"),
        ("model.mem_len", "40"),
    ],
    quiet: &[],
    still: &[],
    steps: 2,
};

impl Family {
    fn recipe(&self, more: &[(&str, &str)]) -> Recipe {
        preset(self.preset, &[SMALL, self.settings, more].concat())
    }

    /// `state` less those of the tensors without a gradient that are but rounding: far below the gradient of any other.
    fn learnt(&self, mut state: Tensors) -> Tensors {
        let largest = |array: &HostArray| {
            array
                .to_f64()
                .iter()
                .fold(0.0, |most: f64, x| most.max(x.abs()))
        };
        let still = |name: &str| self.still.iter().any(|end| name.ends_with(end));
        let velocity = |name: &str| name.starts_with("momentum.velocity/");
        let smallest = (state.iter())
            .filter(|(name, _)| velocity(name) && !still(name))
            .map(|(_, array)| largest(array))
            .fold(f64::INFINITY, f64::min);
        state.retain(|name, array| {
            let rounding = largest(array) < 1e-4 * smallest;
            assert!(
                rounding || !(velocity(name) && still(name)),
                "`{name}` moves by {:e}",
                largest(array)
            );
            !(rounding && still(name))
        });
        state
    }
}

/// What `family`'s steps of `recipe` give on `mesh`: weights, velocities and memory after them, and what each reported.
fn trained(family: &Family, recipe: &Recipe, mesh: &str, partitioner: Partitioner) -> Tensors {
    let data = proteins(&recipe.tokens().unwrap());
    on(recipe, mesh, partitioner, &data, |setup| {
        let mut trainer = Trainer::start(setup).unwrap();
        let mut found = Tensors::new();
        for step in 0..family.steps {
            let report = trainer.step().unwrap();
            let mut keep = |what: &str, value: f64| {
                let name = format!("{what} of step {step}");
                found.insert(name, HostArray::scalar(value as f32));
            };
            keep("loss", report.loss);
            keep("gradient norm", report.grad_norm);
            for (name, part) in &report.parts {
                keep(name, *part);
            }
        }
        found.extend(family.learnt(state(&trainer)));
        found
    })
}

/// Compares the training of `family` on eight devices with that on one.
fn assert_sharded_is_whole(family: &Family) {
    let recipe = family.recipe(&[("dropout", "true")]);
    let graph = |recipe: &Recipe| recipe.step().unwrap().build().unwrap().graph.to_text();
    assert_ne!(graph(&recipe), graph(&family.recipe(&[])), "dropout is on");
    let train = |mesh, partitioner| trained(family, &recipe, mesh, partitioner);
    let one = train("data=1,model=1", Partitioner::Shardy);
    for (mesh, partitioner) in [
        ("data=8,model=1", Partitioner::Shardy),
        ("data=4,model=2", Partitioner::Shardy),
        ("data=4,model=2", Partitioner::Gspmd),
        ("data=2,model=4", Partitioner::Shardy),
        ("data=1,model=8", Partitioner::Shardy),
    ] {
        let what = format!("{} on {mesh} by {partitioner}", family.preset);
        assert_same(&what, &train(mesh, partitioner), &one);
    }
}

#[test]
fn bert_on_eight_devices() {
    assert_sharded_is_whole(&BERT);
}

#[test]
fn albert_on_eight_devices() {
    assert_sharded_is_whole(&ALBERT);
}

#[test]
fn electra_on_eight_devices() {
    assert_sharded_is_whole(&ELECTRA);
}

#[test]
fn megatron_on_eight_devices() {
    assert_sharded_is_whole(&MEGATRON);
}

#[test]
fn xlnet_on_eight_devices() {
    assert_sharded_is_whole(&XLNET);
}

#[test]
fn transformer_xl_on_eight_devices() {
    assert_sharded_is_whole(&TRANSFO_XL);
}

/// Noise and dropout have other keys in each microbatch, so both are off.
#[test]
fn microbatches_give_the_update_of_the_whole_batch() {
    for family in [&BERT, &ALBERT, &ELECTRA, &MEGATRON, &XLNET, &TRANSFO_XL] {
        let train = |parts: &str| {
            let more = [family.quiet, &[("microbatches", parts)]].concat();
            trained(
                family,
                &family.recipe(&more),
                "data=2,model=1",
                Partitioner::Shardy,
            )
        };
        let what = format!("{} in 2 microbatches", family.preset);
        assert_same(&what, &train("2"), &train("1"));
    }
}

/// Four steps with a checkpoint after the second, and the last two once more from there: losses, weights, optimizer state
/// and memory are the same bit for bit.
#[test]
fn runs_with_a_memory_go_on_bit_for_bit() {
    for family in [&XLNET, &TRANSFO_XL] {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let published = Recipe::preset(family.preset).unwrap();
        // The published optimizer, with its state.
        let recipe = Recipe {
            optimizer: published.optimizer,
            ..family.recipe(&[("dropout", "true")])
        };
        let data = proteins(&recipe.tokens().unwrap());
        let run = |trainer: &mut Trainer, name: &str| {
            let losses = [(); 2].map(|()| trainer.step().unwrap().loss);
            trainer.save(&path(name)).unwrap();
            losses
        };
        on(
            &recipe,
            "data=4,model=2",
            Partitioner::Shardy,
            &data,
            |setup| {
                let mut trainer = Trainer::start(setup).unwrap();
                run(&mut trainer, "middle");
                let middle = state(&trainer);
                let losses = run(&mut trainer, "end");
                let end = state(&trainer);
                let memory = |state: &Tensors| state["memory"].to_f64();
                assert!(memory(&middle).iter().any(|value| *value != 0.0));
                assert_ne!(memory(&middle), memory(&end));

                let checkpoint = Checkpoint::open(&path("middle")).unwrap();
                let mut again = Trainer::resume(setup, &checkpoint).unwrap();
                assert_eq!(again.differences(&checkpoint), [""; 0]);
                assert_eq!(run(&mut again, "again"), losses);
                let found = state(&again);
                assert!(found.keys().eq(end.keys()));
                for (name, array) in &found {
                    assert_eq!(array.bytes(), end[name].bytes(), "{name}");
                }
                let file = |name: &str| fs::read(path(name)).unwrap();
                assert_eq!(file("again"), file("end"));
            },
        );
    }
}
