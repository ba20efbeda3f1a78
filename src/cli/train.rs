//! `ribosome train`: the compiled step on the devices of this machine, over real proteins.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::data::Dataset;
use crate::pipeline::{self, Machine, Stages, Training};
use crate::report::table::count;
use crate::runtime::Settings;
use crate::sharding::Target;
use crate::train::checkpoint::{Checkpoint, FILE};
use crate::train::progress::Progress;
use crate::train::recipe::Recipe;
use crate::train::registry::Registry;
use crate::train::run::{Event, Flow, RunOptions, Summary, run};
use crate::train::start::Start;
use crate::train::trainer::{StepReport, TrainError, Trainer};
use anyhow::{Context, Result, bail};

use super::args::WhatArgs;
use super::exit::{Status, Usage};
use super::output::{prepare, print};

/// Trains a model on the devices of this machine
#[derive(clap::Args)]
#[command(
    after_help = "Example: ribosome train prot-t5-tiny --data examples/data/proteins.fasta --on cpu:8 --out run"
)]
pub struct Args {
    #[command(flatten)]
    what: WhatArgs,
    /// Proteins as FASTA, plain or gzip
    #[arg(long, required = true, num_args = 1.., value_name = "FASTA")]
    data: Vec<PathBuf>,
    /// The total number of steps, including those before --resume [default: the recipe's]
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Keeps checkpoint.safetensors and log.jsonl in this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Steps between checkpoints, besides the one at the end
    #[arg(long, value_name = "N", requires = "out", default_value_t = 100)]
    save_every: u64,
    /// Continues from the checkpoint in --out; with --phase N + 1, from the end of phase N
    #[arg(long, requires = "out")]
    resume: bool,
    /// Begins with these weights: a checkpoint, a run's folder, or a Hugging Face folder [default: the recipe's]
    #[arg(long, value_name = "PATH", conflicts_with = "resume")]
    start: Option<PathBuf>,
    /// Prints one JSON object per step instead of text
    #[arg(long)]
    json: bool,
    /// Shows no progress
    #[arg(long, short)]
    quiet: bool,
}

/// The name of a run's checkpoint.
pub const CHECKPOINT: &str = FILE;

/// The name of a run's log; each phase has its own.
fn log_name(phase: usize) -> String {
    match phase {
        1 => "log.jsonl".to_string(),
        phase => format!("log.phase{phase}.jsonl"),
    }
}

/// The approximate number of steps that a run prints as text.
const LINES: u64 = 20;

impl Args {
    /// Runs the command.
    pub fn run(self, registry: &Registry) -> Result<Status> {
        let mut job = self.what.job(registry)?;
        job.recipe.steps = self.steps.unwrap_or(job.recipe.steps);
        if matches!(job.target, Target::Gpu { .. } | Target::Tpu(_)) {
            let target = job.target.to_string();
            return Err(pipeline::Error::NothingRuns { target }.into());
        }
        job.recipe.start = self.start.clone().or(job.recipe.start);
        let checkpoint = self.checkpoint()?;
        let start = match (&checkpoint, &job.recipe.start) {
            (None, Some(path)) => Some((Start::open(path, registry.families())?, path)),
            _ => None,
        };
        let phase = job.recipe.phase.number;
        if phase > 1 && checkpoint.is_none() && start.is_none() {
            eprintln!(
                "warning: phase {phase} begins with random weights; --resume continues from the previous phase in --out, and --start \
                 takes the weights of another run"
            );
        }
        let data = Dataset::from_fasta(&self.data, &job.recipe.tokens()?)?;
        let machine = Machine::open(&job.target, &Settings::from_environment()?)?;
        let training = Training::new(&job, &machine, &mut Stages::default())?;
        let reason = match &training.mesh_reason {
            Some(reason) => reason.clone(),
            None => format!("mesh {}: given", training.mesh()),
        };
        for warning in &training.warnings {
            eprintln!("warning: {warning}");
        }
        if !self.json {
            print(&format!(
                "{}: {} parameters, {} steps of {} rows of {} tokens\n{} proteins with {} residues\n{}; {reason}",
                job.recipe.name,
                count(training.parameters),
                job.recipe.steps,
                job.recipe.batch,
                job.recipe.length,
                data.len(),
                count(data.residue_count() as u64),
                job.target.mapping(),
            ))?;
        }
        let setup = training.setup(&data);
        let done = checkpoint
            .as_ref()
            .map(Checkpoint::about)
            .filter(|about| about.phase == phase)
            .map_or(0, |about| about.steps_done);
        let progress = Progress::new(job.recipe.steps, done, self.quiet || self.json);
        progress.waiting("compiling");
        let trainer = match (&checkpoint, start) {
            (Some(checkpoint), _) => Trainer::resume(setup, checkpoint),
            (None, Some((start, path))) => Trainer::start_from(setup, start, path),
            (None, None) => Trainer::start(setup),
        };
        let trainer = trainer.map_err(by_kind)?;
        if let Some(checkpoint) = &checkpoint {
            for difference in trainer.differences(checkpoint) {
                progress.suspend(|| {
                    eprintln!("warning: the run differs from the checkpoint's: {difference}")
                });
            }
        }
        let summary = self.steps(trainer, &progress)?;
        if !self.json {
            print(&text(&summary))?;
        }
        Ok(Status::Done)
    }

    /// The checkpoint to resume from. A new run is refused in a folder that has one, which its first save would overwrite.
    fn checkpoint(&self) -> Result<Option<Checkpoint>> {
        let Some(folder) = &self.out else {
            return Ok(None);
        };
        let path = folder.join(CHECKPOINT);
        if self.resume {
            return Ok(Some(Checkpoint::open(&path)?));
        }
        if path.exists() {
            let message = format!(
                "{} exists already; continue from it with --resume, or choose another --out",
                path.display()
            );
            return Err(Usage(message).into());
        }
        prepare(folder)?;
        Ok(None)
    }

    /// Runs all steps.
    fn steps(&self, mut trainer: Trainer, progress: &Progress) -> Result<Summary> {
        let Recipe { steps, phase, .. } = *trainer.setup().recipe;
        if trainer.done() >= steps {
            progress.finish();
            let next = match phase.number < phase.count {
                true => format!("--phase {}, or with ", phase.number + 1),
                false => String::new(),
            };
            let message = format!(
                "the checkpoint has done {} of the run's {steps} steps; continue with {next}--steps {} or more",
                trainer.done(),
                trainer.done() + 1
            );
            return Err(Usage(message).into());
        }
        let file = |name: &str| self.out.as_ref().map(|folder| folder.join(name));
        let plan = RunOptions {
            steps,
            checkpoint: file(CHECKPOINT),
            save_every: self.save_every,
            log: file(&log_name(phase.number)),
        };
        let (first, every) = (trainer.done() + 1, (steps / LINES).max(1));
        // If the reader of stdout is gone, the run saves a checkpoint and stops, as after Ctrl-C.
        let unprinted = RefCell::new(None);
        let show = |line: &str| match progress.suspend(|| print(line)) {
            Ok(()) => Flow::Continue,
            Err(error) => {
                *unprinted.borrow_mut() = Some(error);
                Flow::Stop
            }
        };
        if !self.json {
            show(HEADER);
        }
        let interrupted = interrupted()?;
        let result = run(&mut trainer, &plan, |event| match event {
            Event::Step(report) => {
                progress.step(report);
                let due = report.step == first || report.step % every == 0 || report.step == steps;
                let shown = match (self.json, due) {
                    // All numbers are finite, so this cannot fail.
                    (true, _) => show(&serde_json::to_string(report).unwrap_or_default()),
                    (false, true) => show(&line(report)),
                    (false, false) => Flow::Continue,
                };
                match interrupted.load(Ordering::Relaxed) {
                    true => Flow::Stop,
                    false => shown,
                }
            }
            Event::Saved(path) => {
                progress.suspend(|| {
                    if !self.quiet && !self.json {
                        eprintln!("saved {}", path.display());
                    }
                });
                Flow::Continue
            }
            Event::NotSaved(error) => {
                progress.suspend(|| {
                    eprintln!("warning: {error}; the checkpoint before it is unchanged, and the run continues");
                });
                Flow::Continue
            }
        });
        progress.finish();
        if let Some(error) = unprinted.into_inner() {
            return Err(error);
        }
        let summary = result.map_err(by_kind)?;
        if summary.steps < steps {
            let way = match self.out {
                Some(_) => "continue with --resume",
                None => "nothing was saved without --out",
            };
            bail!("stopped after {} of {steps} steps; {way}", summary.steps);
        }
        Ok(summary)
    }
}

/// Becomes true at the first Ctrl-C, and the run then saves and stops. A second Ctrl-C ends the process at once.
fn interrupted() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let seen = flag.clone();
    ctrlc::set_handler(move || {
        if seen.swap(true, Ordering::Relaxed) {
            // The status that shells report after Ctrl-C: 128 + SIGINT.
            std::process::exit(130);
        }
        eprintln!("stopping after this step; Ctrl-C again stops at once");
    })
    .context("cannot listen for Ctrl-C")?;
    Ok(flag)
}

/// The inner error, which decides the exit status.
fn by_kind(error: TrainError) -> anyhow::Error {
    match error {
        TrainError::Runtime(error) => error.into(),
        error @ (TrainError::Phase { .. } | TrainError::Unfinished { .. }) => {
            Usage(error.to_string()).into()
        }
        error => error.into(),
    }
}

const HEADER: &str = "    step      loss  grad norm  learning rate  tokens/s      ms";

fn line(report: &StepReport) -> String {
    format!(
        "{:8}  {:8.4}  {:9.4}  {:13.6}  {:8.0}  {:6.0}",
        report.step,
        report.loss,
        report.grad_norm,
        report.learning_rate,
        report.tokens_per_second,
        report.seconds * 1e3
    )
}

fn text(summary: &Summary) -> String {
    let Summary {
        steps,
        window,
        first_loss,
        last_loss,
        constant_guess,
    } = summary;
    let than = if last_loss < constant_guess {
        "below"
    } else {
        "above"
    };
    format!(
        "after {steps} steps the loss is {last_loss:.4} (mean of the last {window}; of the first {first_loss:.4}), {than} the {constant_guess:.4} of the best guess that does not look at the input"
    )
}
