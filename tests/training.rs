//! Training as a whole: the loss falls on real proteins, and one step is the same step however it is cut over devices,
//! partitioned, rematerialised or unrolled.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;

use ribosome::data::{Dataset, PROT_T5};
use ribosome::graph::{Builder, DType, Graph, Key, Remat, Role, Shape};
use ribosome::runtime::{HostArray, Session};
use ribosome::sharding::Mesh;
use ribosome::train::objective::Denoise;
use ribosome::train::optimizer::{Momentum, Optimizer};
use ribosome::train::recipe::Recipe;
use ribosome::train::run::{Event, Flow, Plan, run};
use ribosome::train::schedule::Schedule;
use ribosome::train::step::{self, StepConfig, names};
use ribosome::train::trainer::{Setup, Trainer};

fn proteins() -> Dataset {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/proteins.fasta");
    Dataset::from_fasta(&[file], &PROT_T5).unwrap()
}

fn tiny(settings: &[(&str, &str)]) -> Recipe {
    settings.iter().fold(
        Recipe::preset("prot-t5-tiny").unwrap(),
        |recipe, (key, value)| recipe.set(key, value).unwrap(),
    )
}

/// Small, and with dropout, whose masks must not depend on the mesh.
const SMALL: [(&str, &str); 3] = [("batch", "8"), ("length", "32"), ("dropout", "true")];

/// How far one run of a step may be from another, relative to a tensor's largest element. The runs differ in the order of
/// f32 sums alone. Such a sum of n terms is off by about sqrt(n) roundings of 2^-24, and the longest here (a gradient over
/// 8 x 32 tokens, through some tens of such sums) has 256 terms: 16 x 6e-8 = 1e-6, which is what is seen (4e-7 to
/// 1.0e-6). Ten times that leaves room for another compiler, and is far below any mistake.
const TOLERANCE: f64 = 1e-5;

type Tensors = BTreeMap<String, HostArray>;

/// The step that is compared: momentum, whose velocity after the first step is the gradient.
fn step_config(settings: &[(&str, &str)]) -> StepConfig {
    let recipe = tiny(&[&SMALL, settings].concat());
    StepConfig {
        optimizer: Optimizer::Momentum(Momentum::default()),
        schedule: Schedule::Constant { rate: 0.1 },
        ..recipe.step().unwrap()
    }
}

/// The first weights, made once on one device.
fn first_weights() -> &'static Tensors {
    static WEIGHTS: OnceLock<Tensors> = OnceLock::new();
    WEIGHTS.get_or_init(|| {
        let step = step_config(&[]).build().unwrap();
        let program = common::lowered(step::initial(&step).unwrap(), "data=1,model=1");
        let session = Session::new(&common::cpu(1), &program, true).unwrap();
        let seed = HostArray::scalar(5u32);
        session
            .evaluate(&Tensors::from([(names::SEED.into(), seed)]))
            .unwrap()
    })
}

/// What the first step gives on `mesh`: loss, norm, gradients (the velocities) and the weights after it.
fn first_step(config: &StepConfig, mesh: &str, shardy: bool) -> Tensors {
    let program = common::lowered(config.build().unwrap().graph, mesh);
    let client = common::cpu(Mesh::parse(mesh).unwrap().devices());
    let session = Session::new(&client, &program, shardy).unwrap();
    let batch = proteins().batch(5, 0, config.batch, config.length).unwrap();
    let axes = [("batch", config.batch), ("length", config.length)];
    let tokens: Vec<i32> = batch.tokens.into_iter().collect();
    let tokens = HostArray::from_values(Shape::new(DType::S32, axes), &tokens).unwrap();
    let mut inputs = first_weights().clone();
    inputs.insert(names::STEP.into(), HostArray::scalar(0i32));
    inputs.insert(names::SEED.into(), HostArray::scalar(5u32));
    inputs.insert(names::TOKENS.into(), tokens);
    session.evaluate(&inputs).unwrap()
}

/// The tensor that is farthest off, relative to its largest element.
fn farthest(found: &Tensors, expected: &Tensors) -> (f64, String) {
    assert!(found.keys().eq(expected.keys()));
    let gaps = found.iter().map(|(name, array)| {
        let (found, expected) = (array.to_f64(), expected[name].to_f64());
        let scale = expected.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
        assert!(scale > 0.0, "`{name}` is all zeros");
        let gap = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
        let gap = gap.fold(
            0.0,
            |most: f64, gap| if gap.is_nan() { gap } else { most.max(gap) },
        );
        (gap / scale, name.clone())
    });
    gaps.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap()
}

fn assert_same(what: &str, found: &Tensors, expected: &Tensors) {
    let (gap, name) = farthest(found, expected);
    println!("{what}: farthest is {name}, by {gap:.1e} of its largest element");
    assert!(
        gap < TOLERANCE,
        "{what}: `{name}` is off by {gap:.1e} of its largest element"
    );
}

/// The step with dropout on one device, which the others are compared with.
fn reference() -> &'static Tensors {
    static REFERENCE: OnceLock<Tensors> = OnceLock::new();
    REFERENCE.get_or_init(|| first_step(&step_config(&[]), "data=1,model=1", true))
}

fn assert_sharded_is_whole(mesh: &str) {
    for (partitioner, shardy) in [("shardy", true), ("gspmd", false)] {
        let found = first_step(&step_config(&[]), mesh, shardy);
        assert_same(&format!("{mesh} by {partitioner}"), &found, reference());
    }
}

#[test]
fn a_step_over_data_is_that_of_one_device() {
    assert_sharded_is_whole("data=8,model=1");
}

#[test]
fn a_step_over_data_and_model_is_that_of_one_device() {
    assert_sharded_is_whole("data=4,model=2");
}

#[test]
fn a_step_over_model_and_data_is_that_of_one_device() {
    assert_sharded_is_whole("data=2,model=4");
}

#[test]
fn a_step_over_model_is_that_of_one_device() {
    assert_sharded_is_whole("data=1,model=8");
}

#[test]
fn what_loops_save_changes_no_update() {
    let program = |config: &StepConfig| {
        let graph = config.build().unwrap().graph;
        common::lowered(graph, "data=1,model=1").fingerprint()
    };
    let mut programs = BTreeSet::from([program(&step_config(&[]))]);
    for (name, remat) in [
        ("dots", Remat::Dots),
        ("names", Remat::Names),
        ("none", Remat::None),
    ] {
        let config = StepConfig {
            remat,
            ..step_config(&[])
        };
        assert!(
            programs.insert(program(&config)),
            "{name} lowers to a program of its own"
        );
        let found = first_step(&config, "data=1,model=1", true);
        assert_same(name, &found, reference());
    }
}

#[test]
fn unrolled_loops_give_the_same_update() {
    let config = StepConfig {
        unroll: true,
        ..step_config(&[])
    };
    assert_same(
        "unrolled",
        &first_step(&config, "data=1,model=1", true),
        reference(),
    );
}

#[test]
fn microbatches_give_the_update_of_the_whole_batch() {
    // Noise and dropout have other keys in each microbatch, so both are off.
    let quiet = [("dropout", "false"), ("objective.noise_density", "0.0")];
    let step = |parts| {
        let config = StepConfig {
            microbatches: parts,
            ..step_config(&quiet)
        };
        first_step(&config, "data=2,model=1", true)
    };
    assert_same("2 microbatches", &step(2), &step(1));
}

#[test]
fn the_loss_falls_on_real_proteins() {
    let recipe = tiny(&[("steps", "45")]);
    let mesh = Mesh::parse("data=4,model=2").unwrap();
    let (client, data) = (common::cpu(8), proteins());
    let setup = Setup {
        recipe: &recipe,
        mesh: &mesh,
        client: &client,
        shardy: true,
        data: &data,
    };
    let mut trainer = Trainer::start(setup).unwrap();
    let plan = Plan {
        steps: recipe.steps,
        ..Plan::default()
    };
    let mut losses = Vec::new();
    let summary = run(&mut trainer, &plan, |event| {
        if let Event::Step(report) = event {
            assert_eq!(report.step, losses.len() as u64 + 1);
            assert!(report.tokens_per_second > 0.0 && report.grad_norm > 0.0);
            losses.push(report.loss);
        }
        Flow::Continue
    });
    let summary = summary.unwrap();
    println!("{losses:?}\n{summary:?}");
    assert_eq!((summary.steps, losses.len()), (45, 45));
    assert!(summary.last_loss < summary.first_loss - 0.5, "{losses:?}");
    // Lower than any guess can be that does not look at the input.
    assert!(
        summary.last_loss < summary.constant_guess - 0.05,
        "{summary:?}"
    );
}

/// Tokens of `rows` rows of residues with `</s>` and padding behind, before and after [`Denoise::corrupt`].
fn corrupted(objective: &Denoise, rows: usize, length: usize) -> (Vec<f64>, Vec<f64>) {
    let axes = [("batch", rows), ("length", length)];
    let shape = Shape::new(DType::S32, axes);
    let residue = |at: usize| 3 + (at * 7 + at / 11) % 20;
    let tokens: Vec<f64> = (0..rows * length)
        .map(|at| match (at % length).cmp(&(length - 20)) {
            std::cmp::Ordering::Less => residue(at) as f64,
            std::cmp::Ordering::Equal => 1.0,
            std::cmp::Ordering::Greater => 0.0,
        })
        .collect();
    let graph = || -> Graph {
        let builder = Builder::new();
        let tokens = builder.input("tokens", Role::Batch, shape.clone());
        let seed = builder.constant(9.0, DType::U32);
        let key = Key::of_step(seed, builder.constant(4.0, DType::S32));
        builder.output("noised", objective.corrupt(tokens, key, 128));
        builder.finish().unwrap()
    };
    let outputs = common::evaluate(graph(), &[("tokens".to_string(), tokens.clone())]);
    (tokens, outputs["noised"].clone())
}

#[test]
fn noise_is_as_published() {
    let objective = Denoise::default();
    let (clean, noised) = corrupted(&objective, 2000, 256);
    let mut residues = 0.0;
    let (mut sentinels, mut others) = (0.0, 0.0);
    let mut drawn = [0.0; 128];
    for (before, after) in clean.iter().zip(&noised) {
        if *before <= 1.0 {
            assert_eq!(before, after, "padding and </s> stay");
            continue;
        }
        residues += 1.0;
        if *after == 127.0 {
            sentinels += 1.0;
        } else if before != after {
            others += 1.0;
            drawn[*after as usize] += 1.0;
        }
    }
    // Random ids are uniform over 3 to 127: one in 125 is the sentinel, and one in 125 is what stood there.
    let (density, random, ids) = (0.15, 0.1, 125.0);
    let expect = |what: &str, count: f64, p: f64| {
        // Five standard deviations of a binomial count: a fair generator fails once in two million.
        let slack = 5.0 * (residues * p * (1.0 - p)).sqrt();
        println!("{what}: {} of {residues}, expected {}", count, residues * p);
        assert!(
            (count - residues * p).abs() < slack,
            "{what}: {count} of {residues}"
        );
    };
    expect(
        "sentinels",
        sentinels,
        density * (1.0 - random + random / ids),
    );
    expect("other ids", others, density * random * (1.0 - 2.0 / ids));
    assert!(drawn[..3].iter().all(|count| *count == 0.0));
    // Every id is drawn, none much more often than the others. A residue that is drawn onto itself does not show.
    let mean = others / (ids - 1.0);
    for (id, count) in drawn.iter().enumerate().take(127).skip(3) {
        assert!(
            (count - mean).abs() < 6.0 * mean.sqrt(),
            "id {id}: {count}, mean {mean}"
        );
    }
}

#[test]
fn no_noise_changes_nothing() {
    let objective = Denoise {
        noise_density: 0.0,
        ..Denoise::default()
    };
    let (clean, noised) = corrupted(&objective, 50, 64);
    assert_eq!(clean, noised);
}
