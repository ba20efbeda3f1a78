//! A run that stops and resumes equals the run that never stopped, and no failure on the way loses a checkpoint.

mod common;

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use common::run::{Tensors, preset, state, training};
use ribosome::data::{Dataset, PROT_T5};
use ribosome::sharding::Partitioner;
use ribosome::train::checkpoint::Checkpoint;
use ribosome::train::recipe::Recipe;
use ribosome::train::run::{Event, Flow, RunOptions, run};
use ribosome::train::trainer::{Setup, TrainError, Trainer};

const MESH: &str = "data=4,model=2";

fn data() -> &'static Dataset {
    static DATA: OnceLock<Dataset> = OnceLock::new();
    DATA.get_or_init(|| common::run::proteins(&PROT_T5))
}

/// A run of 6 steps, small, with dropout and the published optimizer.
fn recipe(settings: &[(&str, &str)]) -> Recipe {
    let small = [
        ("batch", "8"),
        ("length", "24"),
        ("steps", "6"),
        ("dropout", "true"),
    ];
    preset("prot-t5-tiny", &[&small, settings].concat())
}

/// Calls `test` with the setup of `recipe` on `mesh`.
fn on<T>(recipe: &Recipe, mesh: &str, data: &Dataset, test: impl FnOnce(Setup) -> T) -> T {
    common::run::on(recipe, mesh, Partitioner::Shardy, data, test)
}

/// The uninterrupted run.
struct Whole {
    _folder: tempfile::TempDir,
    /// Its checkpoint after 3 steps.
    middle: PathBuf,
    /// Its checkpoint after 6.
    end: PathBuf,
    losses: Vec<f64>,
    state: Tensors,
}

fn whole() -> &'static Whole {
    static WHOLE: OnceLock<Whole> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let (middle, end) = (folder.path().join("middle"), folder.path().join("end"));
        on(&recipe(&[]), MESH, data(), |setup| {
            let mut trainer = Trainer::start(setup).unwrap();
            let mut losses = Vec::new();
            for step in 1..=6 {
                losses.push(trainer.step().unwrap().loss);
                if step == 3 {
                    trainer.save(&middle).unwrap();
                }
            }
            trainer.save(&end).unwrap();
            let state = state(&trainer);
            Whole {
                _folder: folder,
                middle,
                end,
                losses,
                state,
            }
        })
    })
}

/// The losses after the checkpoint in the middle.
fn finish(trainer: &mut Trainer) -> Vec<f64> {
    (4..=6).map(|_| trainer.step().unwrap().loss).collect()
}

#[test]
fn a_run_goes_on_bit_for_bit() {
    let whole = whole();
    let checkpoint = Checkpoint::open(&whole.middle).unwrap();
    assert_eq!(checkpoint.about().steps_done, 3);
    on(&recipe(&[]), MESH, data(), |setup| {
        let mut trainer = Trainer::resume(setup, &checkpoint).unwrap();
        assert_eq!(trainer.done(), 3);
        assert_eq!(trainer.differences(&checkpoint), [""; 0]);
        assert_eq!(finish(&mut trainer), whole.losses[3..]);
        for ((name, found), (expected_name, expected)) in state(&trainer).iter().zip(&whole.state) {
            assert_eq!(name, expected_name);
            assert_eq!(found.bytes(), expected.bytes(), "{name}");
        }
        let end = whole.middle.with_file_name("resumed");
        trainer.save(&end).unwrap();
        assert_eq!(fs::read(end).unwrap(), fs::read(&whole.end).unwrap());
    });
}

#[test]
fn a_run_goes_on_on_another_mesh_within_rounding() {
    let whole = whole();
    let checkpoint = Checkpoint::open(&whole.middle).unwrap();
    let recipe = recipe(&[("steps", "9")]);
    on(&recipe, "data=2,model=4", data(), |setup| {
        let mut trainer = Trainer::resume(setup, &checkpoint).unwrap();
        let differences = trainer.differences(&checkpoint);
        assert_eq!(differences.len(), 1, "{differences:?}");
        assert!(differences[0].starts_with("mesh: data=4,model=2 before, data=2,model=4 now"));
        for (found, expected) in finish(&mut trainer).iter().zip(&whole.losses[3..]) {
            assert!((found / expected - 1.0).abs() < 1e-5, "{found} {expected}");
        }
        let mut farthest = (0.0, String::new());
        for ((name, found), (_, expected)) in state(&trainer).iter().zip(&whole.state) {
            let (found, expected) = (found.to_f64(), expected.to_f64());
            let most = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
            let scale = most(&mut expected.iter().map(|x| x.abs()));
            let gap = most(&mut found.iter().zip(&expected).map(|(a, b)| (a - b).abs()));
            assert!(found.iter().all(|x| x.is_finite()), "{name}");
            if gap / scale > farthest.0 {
                farthest = (gap / scale, name.clone());
            }
        }
        println!("after 3 steps on another mesh, farthest: {farthest:?}");
        // Adafactor divides each gradient by its own size, so that small ones show more of their rounding than of
        // their value; 6e-7 is what is seen.
        assert!(farthest.0 < 1e-5, "{farthest:?}");
    });
}

#[test]
fn what_differs_from_the_checkpoint_is_said() {
    let whole = whole();
    let checkpoint = Checkpoint::open(&whole.middle).unwrap();
    let mut other = Dataset::new(&PROT_T5);
    other.push(b"MKVLAT").unwrap();
    let recipe = recipe(&[("seed", "4"), ("schedule.rate", "0.5")]);
    on(&recipe, MESH, &other, |setup| {
        let trainer = Trainer::resume(setup, &checkpoint).unwrap();
        let differences = trainer.differences(&checkpoint);
        assert_eq!(differences.len(), 3, "{differences:?}");
        assert!(
            differences[0].starts_with("schedule.rate: "),
            "{differences:?}"
        );
        assert_eq!(differences[1], "seed: 0 before, 4 now");
        assert!(differences[2].starts_with("the data set differs: sha256:"));
    });
}

#[test]
fn a_checkpoint_of_another_model_is_refused_before_compiling() {
    let checkpoint = Checkpoint::open(&whole().middle).unwrap();
    let refusal = |settings: &[(&str, &str)]| {
        on(&recipe(settings), MESH, data(), |setup| {
            Trainer::resume(setup, &checkpoint)
                .err()
                .unwrap()
                .to_string()
        })
    };
    let message = refusal(&[("model.d_ff", "128")]);
    assert!(
        message.contains("belongs to another model or optimizer"),
        "{message}"
    );
    assert!(
        message.contains("256] in the checkpoint and f32["),
        "{message}"
    );
    let message = refusal(&[("optimizer.name", "momentum")]);
    assert!(
        message.contains("the checkpoint has no `momentum.velocity/shared/embedding`"),
        "{message}"
    );
}

#[test]
fn ids_without_an_embedding_are_refused() {
    let few = recipe(&[("model.vocab_size", "64")]);
    let refusal = training(&few, MESH, Partitioner::Shardy).err().unwrap();
    let message = refusal.to_string();
    assert!(
        message.contains("goes up to id 127, and the model has 64"),
        "{message}"
    );
}

#[test]
fn more_steps_than_the_counter_holds_are_refused() {
    let long = recipe(&[("steps", "3000000000")]);
    let message = long.step().unwrap_err().to_string();
    assert_eq!(
        message,
        "steps is 3000000000; it must be from 1 to 2147483647"
    );
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint");
    let log = folder.path().join("log.jsonl");
    let recipe = recipe(&[("optimizer.name", "momentum"), ("schedule.rate", "1e30")]);
    on(&recipe, MESH, data(), |setup| {
        let mut trainer = Trainer::start(setup).unwrap();
        let plan = RunOptions {
            steps: 6,
            save_every: 1,
            checkpoint: Some(path.clone()),
            log: Some(log.clone()),
        };
        let mut saves = 0;
        let error = run(&mut trainer, &plan, |event| {
            saves += usize::from(matches!(event, Event::Saved(_)));
            Flow::Continue
        });
        let error = error.unwrap_err();
        let message = error.to_string();
        let TrainError::NotFinite { step, .. } = error else {
            panic!("{message}")
        };
        assert!((2..=6).contains(&step), "{message}");
        assert!(
            message.contains("A lower schedule.rate or clip_norm=1.0 may help"),
            "{message}"
        );
        assert_eq!(saves as u64, step - 1);
        assert_eq!(
            Checkpoint::open(&path).unwrap().about().steps_done,
            step - 1
        );
        assert_eq!(
            fs::read_to_string(&log).unwrap().lines().count() as u64,
            step - 1
        );
        for error in [
            trainer.save(&path).unwrap_err(),
            trainer.step().unwrap_err(),
        ] {
            let expected =
                format!("step {step} failed, and the weights that it was updating are lost");
            assert!(error.to_string().contains(&expected), "{error}");
        }
        assert_eq!(
            Checkpoint::open(&path).unwrap().about().steps_done,
            step - 1
        );
    });
}

#[test]
fn saves_that_fail_cost_the_run_nothing() {
    let whole = whole();
    let checkpoint = Checkpoint::open(&whole.middle).unwrap();
    on(&recipe(&[]), MESH, data(), |setup| {
        let mut trainer = Trainer::resume(setup, &checkpoint).unwrap();
        let gone = whole.middle.with_file_name("gone").join("checkpoint");
        let plan = RunOptions {
            steps: 5,
            save_every: 1,
            checkpoint: Some(gone),
            log: None,
        };
        let mut failed = Vec::new();
        let error = run(&mut trainer, &plan, |event| {
            if let Event::NotSaved(error) = event {
                failed.push(error.to_string());
            }
            Flow::Continue
        });
        // The last save is tried once more at the end, and then it is an error.
        assert_eq!(failed.len(), 2, "{failed:?}");
        assert!(failed[0].contains("gone/checkpoint: "), "{failed:?}");
        assert!(error.unwrap_err().to_string().contains("gone/checkpoint: "));
        // Nothing is lost: the run continues and ends where it would have.
        assert_eq!(trainer.step().unwrap().loss, whole.losses[5]);
        let end = whole.middle.with_file_name("late");
        trainer.save(&end).unwrap();
        assert_eq!(fs::read(end).unwrap(), fs::read(&whole.end).unwrap());
    });
}
