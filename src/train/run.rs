//! The training loop: steps, checkpoints at an interval and at the end, and events for a watcher. If a save fails, the run
//! continues; only a failed save at the end is an error.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::checkpoint::CheckpointError;
use super::trainer::{StepReport, TrainError, Trainer};

/// The settings of the loop.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// The run ends after this many steps, steps before a resumption included.
    pub steps: u64,
    /// Where checkpoints are saved, if at all.
    pub checkpoint: Option<PathBuf>,
    /// Steps between checkpoints; with 0, the only checkpoint is the one at the end.
    pub save_every: u64,
    /// A file that gets one line of JSON per step, if any.
    pub log: Option<PathBuf>,
}

/// An event of a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step is done.
    Step(&'a StepReport),
    /// A checkpoint was written.
    Saved(&'a Path),
    /// A checkpoint could not be written. The previous one is unchanged, and the run continues.
    NotSaved(&'a CheckpointError),
}

/// Whether a run continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Continue with the next step.
    Continue,
    /// Save and stop.
    Stop,
}

/// The result of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Steps done, steps before a resumption included.
    pub steps: u64,
    /// The number of steps in each of the two mean losses: [`WINDOW`], or all steps if there were fewer.
    pub window: usize,
    /// The mean loss of the first steps, in nats, counted from a resumption.
    pub first_loss: f64,
    /// The mean loss of the last steps, in nats.
    pub last_loss: f64,
    /// The loss, in nats, of the best guess that does not look at the input.
    pub constant_guess: f64,
}

/// The number of steps that a summary's losses are averaged over, because single batches vary too much.
pub const WINDOW: usize = 10;

/// Runs `trainer` by `plan`. `watch` gets every event and decides whether to continue.
///
/// # Errors
/// Those of [`Trainer::step`] (the last checkpoint is unchanged), a log that cannot be written, and a failed save at the
/// end.
pub fn run(
    trainer: &mut Trainer,
    plan: &RunOptions,
    mut watch: impl FnMut(Event) -> Flow,
) -> Result<Summary, TrainError> {
    let mut log = match &plan.log {
        Some(path) => Some(Log::open(path, trainer.done())?),
        None => None,
    };
    let mut losses = Vec::new();
    let mut saved = None;
    let mut flow = Flow::Continue;
    while flow == Flow::Continue && trainer.done() < plan.steps {
        let report = trainer.step()?;
        losses.push(report.loss);
        if let Some(log) = &mut log {
            log.write(&report)?;
        }
        flow = watch(Event::Step(&report));
        let due = plan.save_every > 0 && report.step.is_multiple_of(plan.save_every);
        if let (true, Some(path)) = (due, &plan.checkpoint) {
            match trainer.save(path) {
                Ok(()) => {
                    saved = Some(report.step);
                    watch(Event::Saved(path));
                }
                Err(TrainError::Checkpoint(error)) => {
                    watch(Event::NotSaved(&error));
                }
                Err(error) => return Err(error),
            }
        }
    }
    if let Some(path) = &plan.checkpoint
        && saved != Some(trainer.done())
    {
        trainer.save(path)?;
        watch(Event::Saved(path));
    }
    let window = losses.len().min(WINDOW);
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / window as f64;
    Ok(Summary {
        steps: trainer.done(),
        window,
        first_loss: mean(&losses[..window]),
        last_loss: mean(&losses[losses.len() - window..]),
        constant_guess: trainer.constant_guess()?,
    })
}

/// A file with one line of JSON per step.
struct Log {
    path: PathBuf,
    file: fs::File,
}

impl Log {
    /// Opens `path` for the steps after `done`. Lines of later steps are dropped, because a run that stopped between two
    /// checkpoints repeats those steps.
    fn open(path: &Path, done: u64) -> Result<Self, TrainError> {
        let failed = |source| TrainError::Log {
            path: path.to_path_buf(),
            source,
        };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(error)),
        };
        let step = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line).ok()?;
            value.get("step")?.as_u64()
        };
        let kept = text
            .lines()
            .filter(|line| step(line).is_some_and(|step| step <= done));
        let kept: String = kept.map(|line| format!("{line}\n")).collect();
        let mut file = fs::File::create(path).map_err(failed)?;
        file.write_all(kept.as_bytes()).map_err(failed)?;
        Ok(Log {
            path: path.to_path_buf(),
            file,
        })
    }

    fn write(&mut self, report: &StepReport) -> Result<(), TrainError> {
        // All numbers are finite, so this cannot fail.
        let line = serde_json::to_string(report).unwrap_or_default() + "\n";
        (self.file.write_all(line.as_bytes())).map_err(|source| TrainError::Log {
            path: self.path.clone(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_goes_on_after_the_last_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let report = |step| StepReport {
            step,
            loss: 2.5,
            parts: Default::default(),
            grad_norm: 1.0,
            learning_rate: 0.01,
            tokens_per_second: 100.0,
            seconds: 0.5,
        };
        let mut log = Log::open(&path, 0).unwrap();
        (1..=5).for_each(|step| log.write(&report(step)).unwrap());
        // The process died in the middle of a line; the last checkpoint is from step 3.
        fs::write(
            &path,
            fs::read_to_string(&path).unwrap() + "{\"step\": 6, \"lo",
        )
        .unwrap();
        let mut log = Log::open(&path, 3).unwrap();
        log.write(&report(4)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let line = |step| {
            format!(
                "{{\"step\":{step},\"loss\":2.5,\"grad_norm\":1.0,\"learning_rate\":0.01,\
                 \"tokens_per_second\":100.0,\"seconds\":0.5}}\n"
            )
        };
        assert_eq!(text, (1..=4).map(line).collect::<String>());
    }

    #[test]
    fn a_log_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Log::open(&folder.path().join("none/log.jsonl"), 0)
            .err()
            .unwrap();
        let message = error.to_string();
        assert!(
            message.starts_with("cannot write ") && message.contains("none/log.jsonl: "),
            "{message}"
        );
    }
}
