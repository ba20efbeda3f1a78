//! A recipe's phases follow one another, and a run begins with the weights of another one: what goes on, what starts anew, and
//! what is said where it cannot be.

mod common;

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use common::run::{Tensors, file, on, proteins, state};
use ribosome::models::Families;
use ribosome::sharding::Partitioner;
use ribosome::train::checkpoint::Checkpoint;
use ribosome::train::recipe::Recipe;
use ribosome::train::start::Start;
use ribosome::train::trainer::Trainer;

/// The recipe that `lines` make of the small one of `family`.
fn recipe(folder: &Path, family: &str, lines: &str) -> Recipe {
    let path = folder.join(format!("{family}-run.toml"));
    let text = format!("base = \"{family}-tiny\"\nbatch = 8\nlength = 32\nsteps = 2\n{lines}");
    fs::write(&path, text).unwrap();
    Recipe::load(path.to_str().unwrap()).unwrap()
}

/// Every array of `found` that `expected` has too is the same, bit for bit.
fn assert_kept(found: &Tensors, expected: &Tensors, but: &str) {
    for (name, array) in found.iter().filter(|(name, _)| *name != but) {
        assert!(array.bytes() == expected[name].bytes(), "{name}");
    }
}

/// The second phase begins with the weights and the optimizer state of the first one's end, at its own step 0, with rows of its
/// own length, nothing remembered, and other noise. A run that goes on within it is the run that never stopped.
#[test]
fn the_second_phase_goes_on_from_the_first() {
    common::cpu_plugin();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint");
    for family in ["prot-bert", "prot-xlnet"] {
        let phases = "[[phases]]\n[[phases]]\nbatch = 4\nlength = 48\nsteps = 3\n";
        let whole = recipe(folder.path(), family, phases);
        let data = proteins(&whole.tokens().unwrap());
        let first = whole.phase(1).unwrap();
        let end = on(
            &first,
            "data=2,model=1",
            Partitioner::Shardy,
            &data,
            |setup| {
                let mut trainer = Trainer::start(setup).unwrap();
                for _ in 0..2 {
                    trainer.step().unwrap();
                }
                trainer.save(&path).unwrap();
                state(&trainer)
            },
        );
        let about = Checkpoint::open(&path).unwrap().about().clone();
        assert_eq!(
            (about.phase, about.steps_done, about.steps()),
            (1, 2, Some(2))
        );

        let second = whole.phase(2).unwrap();
        on(
            &second,
            "data=2,model=1",
            Partitioner::Shardy,
            &data,
            |setup| {
                let checkpoint = Checkpoint::open(&path).unwrap();
                let mut trainer = Trainer::resume(setup, &checkpoint).unwrap();
                assert_eq!(trainer.done(), 0);
                assert_eq!(trainer.differences(&checkpoint), [""; 0]);
                let begun = state(&trainer);
                assert!(begun.keys().eq(end.keys()));
                assert_kept(&begun, &end, "memory");
                if let Some(memory) = begun.get("memory") {
                    assert!(memory.to_f64().iter().all(|value| *value == 0.0));
                    assert_ne!(memory.shape(), end["memory"].shape());
                }

                trainer.step().unwrap();
                let inside = folder.path().join("inside");
                trainer.save(&inside).unwrap();
                let middle = Checkpoint::open(&inside).unwrap();
                assert_eq!((middle.about().phase, middle.about().steps_done), (2, 1));
                let loss = trainer.step().unwrap().loss;
                let mut again = Trainer::resume(setup, &middle).unwrap();
                assert_eq!(again.step().unwrap().loss, loss);
                assert_kept(&state(&again), &state(&trainer), "");
            },
        );
    }
}

/// Two phases with the same settings do not read the same rows with the same noise.
#[test]
fn a_phase_repeats_nothing_of_the_one_before() {
    common::cpu_plugin();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint");
    // No warm-up, at whose first step the rate is 0; the optimizer is of no account for a first loss.
    let whole = recipe(folder.path(), "prot-bert", "[[phases]]\n[[phases]]\n");
    let (first, second) = (whole.phase(1).unwrap(), whole.phase(2).unwrap());
    assert_eq!(first.phase_seed(), first.seed);
    assert_ne!(second.phase_seed(), first.phase_seed());
    let data = proteins(&whole.tokens().unwrap());
    let again = on(
        &first,
        "data=1,model=1",
        Partitioner::Shardy,
        &data,
        |setup| {
            let mut trainer = Trainer::start(setup).unwrap();
            for _ in 0..2 {
                trainer.step().unwrap();
            }
            trainer.save(&path).unwrap();
            let start = Start::open(&path, &Families::standard()).unwrap();
            let mut trainer = Trainer::start_from(setup, start, &path).unwrap();
            trainer.step().unwrap().loss
        },
    );
    let next = on(
        &second,
        "data=1,model=1",
        Partitioner::Shardy,
        &data,
        |setup| {
            let checkpoint = Checkpoint::open(&path).unwrap();
            let mut trainer = Trainer::resume(setup, &checkpoint).unwrap();
            trainer.step().unwrap().loss
        },
    );
    assert_ne!(next, again);
    assert!(
        (next - again).abs() < 0.2,
        "{next} {again}: the same weights"
    );
}

/// A phase with another optimizer begins with its state at zero.
#[test]
fn state_of_another_optimizer_starts_anew() {
    common::cpu_plugin();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint");
    let phases = "[[phases]]\n[[phases]]\noptimizer = { name = \"adamw\" }\n";
    let whole = recipe(folder.path(), "prot-bert", phases);
    let data = proteins(&whole.tokens().unwrap());
    let end = on(
        &whole.phase(1).unwrap(),
        "data=1,model=1",
        Partitioner::Shardy,
        &data,
        |setup| {
            let mut trainer = Trainer::start(setup).unwrap();
            for _ in 0..2 {
                trainer.step().unwrap();
            }
            trainer.save(&path).unwrap();
            state(&trainer)
        },
    );
    on(
        &whole.phase(2).unwrap(),
        "data=1,model=1",
        Partitioner::Shardy,
        &data,
        |setup| {
            let checkpoint = Checkpoint::open(&path).unwrap();
            let begun = state(&Trainer::resume(setup, &checkpoint).unwrap());
            let (mut kept, mut new) = (0, 0);
            for (name, array) in &begun {
                match end.get(name) {
                    Some(before) => {
                        assert!(array.bytes() == before.bytes(), "{name}");
                        kept += 1;
                    }
                    None => {
                        assert!(name.starts_with("adamw"), "{name}");
                        assert!(array.to_f64().iter().all(|value| *value == 0.0), "{name}");
                        new += 1;
                    }
                }
            }
            assert_eq!(new, 2 * kept);
        },
    );
}

/// `ribosome` with `arguments` in `folder`: its status, and what it printed or said.
fn ribosome(folder: &Path, arguments: &str) -> (i32, String, String) {
    let output = Command::cargo_bin("ribosome")
        .unwrap()
        .current_dir(folder)
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let status = output.status.code().unwrap();
    (status, text(output.stdout), text(output.stderr))
}

/// Trains `what` in `folder`: each step's number, loss and rate.
fn trained(folder: &Path, what: &str) -> Vec<(u64, f64, f64)> {
    let data = file();
    let arguments = format!("train {what} --on cpu:1 --json --data {}", data.display());
    let (status, printed, said) = ribosome(folder, &arguments);
    assert_eq!(status, 0, "{said}");
    let step = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let number = |key: &str| value[key].as_f64().unwrap();
        (
            value["step"].as_u64().unwrap(),
            number("loss"),
            number("learning_rate"),
        )
    };
    printed.lines().map(step).collect()
}

/// What training `what` in `folder` is refused with.
fn refused(folder: &Path, what: &str, expected: &str) {
    let data = file();
    let arguments = format!("train {what} --on cpu:1 --json --data {}", data.display());
    let (status, printed, said) = ribosome(folder, &arguments);
    assert!(status != 0 && printed.is_empty(), "{what}: {printed}");
    assert!(said.contains(expected), "{what}: {said}");
}

const PHASES: &str = "base = \"prot-bert-tiny\"\nbatch = 8\nlength = 16\nsteps = 4\nschedule = { warmup = 2.0 }\n[[phases]]\n\
                      [[phases]]\nbatch = 4\nlength = 32\nsteps = 3\nschedule = { warmup = 1.0 }\n[[phases]]\n";

/// Each phase has its own warm-up and falls to its own end, whatever the number of its steps.
#[test]
fn phases_are_trained_one_after_the_other() {
    common::cpu_plugin();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("run.toml"), PHASES).unwrap();
    let numbers = |steps: &[(u64, f64, f64)]| -> Vec<u64> { steps.iter().map(|it| it.0).collect() };
    let rates = |steps: &[(u64, f64, f64)], expected: &[f64]| {
        assert_eq!(steps.len(), expected.len());
        for ((step, _, rate), expected) in steps.iter().zip(expected) {
            assert!((rate - expected).abs() < 1e-8, "step {step}: {rate}");
        }
    };
    // Stopped early, then finished.
    let first = trained(
        folder,
        "run.toml --out run --steps 3 --set schedule.total=4",
    );
    rates(&first, &[0.0, 0.005, 0.01]);
    refused(
        folder,
        "run.toml --phase 3 --out run --resume",
        "is in phase 1, and phase 3 cannot follow it; continue with --phase 1",
    );
    // A shorter run that was all of its phase is finished; this one has a step left of four.
    let rest = trained(folder, "run.toml --out run --resume");
    assert_eq!(numbers(&rest), [4]);
    rates(&rest, &[0.005]);

    let second = trained(
        folder,
        "run.toml --phase 2 --out run --resume --steps 2 --set schedule.total=3",
    );
    assert_eq!(numbers(&second), [1, 2]);
    rates(&second, &[0.0, 0.01]);
    let rest = trained(folder, "run.toml --phase 2 --out run --resume");
    assert_eq!(numbers(&rest), [3]);
    rates(&rest, &[0.005]);
    // Each phase has its log.
    let lines = |name: &str| {
        fs::read_to_string(folder.join("run").join(name))
            .unwrap()
            .lines()
            .count()
    };
    assert_eq!((lines("log.jsonl"), lines("log.phase2.jsonl")), (4, 3));

    refused(
        folder,
        "run.toml --out run --resume",
        "is in phase 2, and phase 1 cannot follow it; continue with --phase 2",
    );
    refused(
        folder,
        "run.toml --phase 2 --out run --resume",
        "has done 3 of the run's 3 steps; continue with --phase 3, or with --steps 4 or more",
    );
}

#[test]
fn an_unfinished_phase_is_not_followed_by_the_next() {
    common::cpu_plugin();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("run.toml"), PHASES).unwrap();
    let whole = Recipe::load(folder.join("run.toml").to_str().unwrap()).unwrap();
    let data = proteins(&whole.tokens().unwrap());
    fs::create_dir(folder.join("run")).unwrap();
    on(
        &whole.phase(1).unwrap(),
        "data=1,model=1",
        Partitioner::Shardy,
        &data,
        |setup| {
            let mut trainer = Trainer::start(setup).unwrap();
            trainer.step().unwrap();
            trainer
                .save(&folder.join("run/checkpoint.safetensors"))
                .unwrap();
        },
    );
    refused(
        folder,
        "run.toml --phase 2 --out run --resume",
        "has 1 of its 4 steps; finish it with --phase 1 --resume, or use --start",
    );
    // The way out that the message names: the same weights, in a run of its own.
    assert_eq!(
        trained(
            folder,
            "run.toml --phase 2 --out next --start run --steps 1"
        )
        .len(),
        1
    );
    // Without either, the weights are random, and that is said.
    let arguments = format!(
        "train run.toml --phase 2 --steps 1 --on cpu:1 --json --data {}",
        file().display()
    );
    let (status, _, said) = ribosome(folder, &arguments);
    assert_eq!(status, 0, "{said}");
    assert!(
        said.contains("warning: phase 2 begins with random weights"),
        "{said}"
    );
}

/// A run's folder, which a recipe can name, and the Hugging Face folder that it is exported to are one start.
#[test]
fn a_run_begins_with_the_weights_of_another() {
    common::cpu_plugin();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let what = "prot-electra-tiny --batch 8 --length 32";
    let long = trained(folder, &format!("{what} --steps 30 --out run"));
    let (status, _, said) = ribosome(folder, "export run --out hf");
    assert_eq!(status, 0, "{said}");
    let text = "base = \"prot-electra-tiny\"\nstart = \"run\"\nbatch = 8\nlength = 32\n";
    fs::write(folder.join("next.toml"), text).unwrap();
    let first = |what: &str| trained(folder, &format!("{what} --steps 1 --set seed=1"))[0].1;
    let (run, hugging_face) = (first("next.toml"), first(&format!("{what} --start hf")));
    assert_eq!(run, hugging_face);
    assert!(run < long[0].1 - 0.1, "{run} after {long:?}");
}

#[test]
fn a_start_that_cannot_be_is_refused() {
    common::cpu_plugin();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let what = "prot-bert-tiny --batch 8 --length 16 --steps 1";
    trained(folder, &format!("{what} --out run"));
    let (status, _, said) = ribosome(folder, "export run --out hf");
    assert_eq!(status, 0, "{said}");
    fs::create_dir(folder.join("empty")).unwrap();
    for (start, expected) in [
        (
            "nowhere",
            "there are no weights to start from in nowhere; --start takes",
        ),
        (
            "empty",
            "there are no weights to start from in empty; --start takes",
        ),
        ("run/log.jsonl", "run/log.jsonl is not a checkpoint"),
    ] {
        refused(folder, &format!("{what} --start {start}"), expected);
    }
    refused(
        folder,
        &format!("{what} --start run --resume --out run"),
        "cannot be used with",
    );
    let wider = "prot-bert-tiny --batch 8 --length 16 --set model.intermediate_size=128";
    refused(
        folder,
        &format!("{wider} --start run"),
        "belongs to another model",
    );
    refused(
        folder,
        &format!("{wider} --start hf"),
        "the model in hf differs from the recipe's",
    );
    refused(
        folder,
        "prot-t5-tiny --start hf",
        "it has no `shared/embedding`",
    );
    // The published run says what it begins with, and that it is not here.
    refused(
        folder,
        "prot-t5-xl-u50",
        "there are no weights to start from in prot_t5_xl_bfd",
    );
}
