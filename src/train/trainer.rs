//! A run on devices: the step compiled for a mesh, the weights and optimizer state that it updates, and the data that it
//! reads. A step is a pure function of (recipe, data, step number, state), so a run that resumes from a
//! checkpoint equals one that never stopped. Each phase of a recipe counts its steps from 0. It has its own seed, and so
//! does not repeat the noise or the order of another phase.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ndarray::{Array1, Array2};
use serde::Serialize;

use super::checkpoint::{self, About, Checkpoint, CheckpointError, FORMAT};
use super::convert::{ConvertError, layer_of, shapes};
use super::recipe::Recipe;
use super::start::Start;
use super::step::names;
use crate::data::{Batches, Dataset, DatasetError};
use crate::graph::{DType, Role, Shape, Weight};
use crate::hlo::{Port, Program, Signature};
use crate::models::weights::load;
use crate::runtime::{self, Client, CompileConfig, DeviceArrays, HostArray, Session};
use crate::sharding::Mesh;

/// The parts of a run.
#[derive(Clone, Copy)]
pub struct Setup<'a> {
    /// Everything that decides the run.
    pub recipe: &'a Recipe,
    /// Its programs.
    pub programs: &'a Programs,
    /// The devices.
    pub client: &'a Client,
    /// How programs are compiled for the devices, and which device takes which place of the mesh.
    pub config: &'a CompileConfig,
    /// The data set.
    pub data: &'a Dataset,
}

/// The programs of a run, lowered for one mesh. `pipeline` makes them, exactly as for a step that is only
/// compiled.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The model's weights, in order.
    pub weights: Vec<Weight>,
    /// One step.
    pub step: Program,
    /// The program that makes the first weights and state of the step ([`super::step::initial`]).
    pub initial: Program,
}

impl Programs {
    /// How the devices are arranged.
    pub fn mesh(&self) -> &Mesh {
        &self.step.signature.mesh
    }
}

/// The result of one step; as JSON, a line of `train --json` and of `log.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepReport {
    /// The step's number, from 1.
    pub step: u64,
    /// The mean loss of the batch's tokens, in nats.
    pub loss: f64,
    /// Parts of the loss to report, by name.
    #[serde(flatten)]
    pub parts: BTreeMap<String, f64>,
    /// The norm of all gradients before clipping.
    pub grad_norm: f64,
    /// The learning rate.
    pub learning_rate: f64,
    /// Tokens of encoder and decoder without padding, divided by `seconds`.
    pub tokens_per_second: f64,
    /// Wall-clock time from making the batch to receiving the loss.
    pub seconds: f64,
}

/// Errors of a run.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The plugin's error.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// The data set cannot supply such batches.
    #[error(transparent)]
    Data(#[from] DatasetError),
    /// A checkpoint cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The weights that the run starts from cannot be loaded.
    #[error(transparent)]
    Start(#[from] ConvertError),
    /// The checkpoint is from neither this phase nor the one before.
    #[error(
        "the checkpoint {} is in phase {before}, and phase {now} cannot follow it; continue with --phase {before}",
        path.display()
    )]
    Phase {
        /// The file.
        path: PathBuf,
        /// Its phase.
        before: usize,
        /// The run's phase.
        now: usize,
    },
    /// The previous phase is not finished.
    #[error(
        "phase {before} is not finished: the checkpoint {} has {done} of its {steps} steps; finish it with --phase {before} \
         --resume, or use --start and another --out to begin phase {now} with its present weights",
        path.display(), now = before + 1
    )]
    Unfinished {
        /// The file.
        path: PathBuf,
        /// Its phase.
        before: usize,
        /// Its steps done.
        done: u64,
        /// The number of steps of its phase.
        steps: u64,
    },
    /// The loss or the gradient is not finite.
    #[error(
        "step {step} gave a loss of {loss} with a gradient norm of {grad_norm} at a learning rate of {learning_rate}; \
         nothing was saved after it. A lower schedule.rate or clip_norm=1.0 may help, from the last checkpoint or from the start"
    )]
    NotFinite {
        /// The step's number, from 1.
        step: u64,
        /// The loss.
        loss: f64,
        /// The gradients' norm.
        grad_norm: f64,
        /// The learning rate.
        learning_rate: f64,
    },
    /// An earlier step failed, and its weights are lost.
    #[error(
        "the run has no weights: step {0} failed, and the weights that it was updating are lost; resume from a checkpoint"
    )]
    NoState(u64),
    /// The log cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

/// A run.
pub struct Trainer<'a> {
    setup: Setup<'a>,
    batches: Batches<'a>,
    session: Session,
    program: String,
    data: String,
    /// Weights and optimizer state by name; empty after a step that failed.
    state: DeviceArrays,
    done: u64,
}

impl<'a> Trainer<'a> {
    /// Starts a run. Its first weights are made on the devices, from the recipe's seed.
    ///
    /// # Errors
    /// A recipe, a mesh or data that do not fit each other, and errors of the plugin.
    pub fn start(setup: Setup<'a>) -> Result<Self, TrainError> {
        let initial = Session::new(setup.client, &setup.programs.initial, setup.config)?;
        let seed = initial.put(names::SEED, &HostArray::scalar(setup.recipe.seed))?;
        let mut trainer = Trainer::compile(setup)?;
        trainer.state = initial.run(&DeviceArrays::from([(names::SEED.to_string(), seed)]))?;
        Ok(trainer)
    }

    /// Starts a run with the weights of `start`, which is at `path`, and fresh optimizer state.
    ///
    /// # Errors
    /// Those of [`Trainer::start`], and weights that are damaged or of another model.
    pub fn start_from(setup: Setup<'a>, start: Start, path: &Path) -> Result<Self, TrainError> {
        let weights = &setup.programs.weights;
        // Fail early: compilation takes a minute.
        start.check(path, weights)?;
        let mut trainer = Trainer::start(setup)?;
        let weights = start.load::<TrainError>(&trainer.session, weights)?;
        trainer.state.extend(weights);
        Ok(trainer)
    }

    /// Continues the run that wrote `checkpoint`, or starts the phase after the one that it finished. The values are the same
    /// bit for bit on the same mesh, and within rounding on another. A checkpoint that holds only weights starts a new run with
    /// them.
    ///
    /// # Errors
    /// Those of [`Trainer::start`], and a checkpoint that is damaged or of another model, optimizer or phase.
    pub fn resume(setup: Setup<'a>, checkpoint: &Checkpoint) -> Result<Self, TrainError> {
        let Programs { weights, step, .. } = setup.programs;
        if checkpoint.about().is_of_weights() {
            let shapes = shapes(weights);
            checkpoint.check(&shapes)?;
            for (name, _) in &shapes {
                checkpoint.check_bytes(name)?;
            }
            let mut trainer = Trainer::start(setup)?;
            let loaded = load(&trainer.session, weights, |weight, layer| {
                Ok::<_, TrainError>(layer_of(checkpoint, weight, layer)?)
            })?;
            trainer.state.extend(loaded);
            return Ok(trainer);
        }
        let tensors = kept(&step.signature);
        if checkpoint.about().phase != setup.recipe.phase.number {
            return Trainer::next_phase(setup, checkpoint, weights, &tensors);
        }
        // Fail early: compilation takes a minute.
        checkpoint.check(&tensors)?;
        let mut trainer = Trainer::compile(setup)?;
        for (name, shape) in tensors {
            let array = checkpoint.read(&name, &shape)?;
            let array = trainer.session.put(&name, &array)?;
            trainer.state.insert(name, array);
        }
        trainer.done = checkpoint.about().steps_done;
        Ok(trainer)
    }

    /// Starts the phase after the one that `checkpoint` ended, with its weights and optimizer state. Memories are empty,
    /// because the rows are different.
    fn next_phase(
        setup: Setup<'a>,
        checkpoint: &Checkpoint,
        weights: &[Weight],
        tensors: &[(String, Shape)],
    ) -> Result<Self, TrainError> {
        let (about, now) = (checkpoint.about(), setup.recipe.phase.number);
        let (path, before) = (checkpoint.path().to_path_buf(), about.phase);
        if before + 1 != now {
            return Err(TrainError::Phase { path, before, now });
        }
        let (done, steps) = (about.steps_done, about.steps().unwrap_or(0));
        if done < steps {
            return Err(TrainError::Unfinished {
                path,
                before,
                done,
                steps,
            });
        }
        checkpoint.check_some(&shapes(weights))?;
        let mut trainer = Trainer::start(setup)?;
        for (name, shape) in tensors.iter().filter(|(name, _)| name != names::MEMORY) {
            // State of another optimizer or shape starts as zeros.
            let held = [(name.clone(), shape.clone())];
            if checkpoint.check_some(&held).is_ok() {
                let array = checkpoint.read(name, shape)?;
                let array = trainer.session.put(name, &array)?;
                trainer.state.insert(name.clone(), array);
            }
        }
        Ok(trainer)
    }

    /// The run, still without weights.
    fn compile(setup: Setup<'a>) -> Result<Self, TrainError> {
        let (recipe, program) = (setup.recipe, &setup.programs.step);
        let length = recipe.objective.row_tokens(recipe.length);
        let rows = recipe.rows();
        Ok(Trainer {
            setup,
            batches: Batches::new(setup.data, rows, u64::from(recipe.phase_seed()), length)?,
            session: Session::new(setup.client, program, setup.config)?,
            program: program.fingerprint(),
            data: setup.data.fingerprint(),
            state: DeviceArrays::new(),
            done: 0,
        })
    }

    /// The number of steps done.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// What the run consists of.
    pub fn setup(&self) -> Setup<'a> {
        self.setup
    }

    /// The compiled step.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Weights and optimizer state by name, with their shapes, in the program's order.
    pub fn tensors(&self) -> Vec<(String, Shape)> {
        kept(self.session.signature())
    }

    /// Copies one weight or one piece of optimizer state to the host.
    ///
    /// # Errors
    /// A name that no tensor of the run has, and errors of the plugin.
    pub fn fetch(&self, name: &str) -> runtime::Result<HostArray> {
        let Some(array) = self.state.get(name) else {
            return Err(runtime::Error::Invalid(format!(
                "the run has no tensor `{name}`"
            )));
        };
        array.fetch()
    }

    /// Runs the next step.
    ///
    /// # Errors
    /// A loss that is not finite, and errors of the plugin. The weights are then lost; the last checkpoint is unchanged.
    pub fn step(&mut self) -> Result<StepReport, TrainError> {
        if self.state.is_empty() {
            return Err(TrainError::NoState(self.done + 1));
        }
        let started = Instant::now();
        let recipe = self.setup.recipe;
        let (given, token_count) = self.given()?;
        let mut given = given;
        // From here on the program owns the state and updates it in place.
        given.append(&mut self.state);
        let mut outputs = self.session.run(&given)?;
        let mut metric = |name: &str| -> Result<f64, TrainError> {
            let Some(array) = outputs.remove(name) else {
                let message = format!("the program did not return `{name}`");
                return Err(runtime::Error::Invalid(message).into());
            };
            let values = array.fetch()?.to_f64();
            Ok(values.first().copied().unwrap_or(f64::NAN))
        };
        let loss = metric(names::LOSS)?;
        let mut parts = BTreeMap::new();
        for name in self
            .session
            .signature()
            .outputs
            .iter()
            .map(|port| &port.name)
        {
            if let Some(part) = name.strip_prefix("loss/") {
                parts.insert(format!("{part}_loss"), metric(name)?);
            }
        }
        let grad_norm = metric(names::GRADIENT_NORM)?;
        let learning_rate = metric(names::LEARNING_RATE)?;
        let step = self.done + 1;
        if !(loss.is_finite() && grad_norm.is_finite()) {
            return Err(TrainError::NotFinite {
                step,
                loss,
                grad_norm,
                learning_rate,
            });
        }
        self.state = outputs;
        self.done = step;
        let seconds = started.elapsed().as_secs_f64();
        Ok(StepReport {
            step,
            loss,
            parts,
            grad_norm,
            learning_rate,
            tokens_per_second: (recipe.objective.readings() * token_count) as f64 / seconds,
            seconds,
        })
    }

    /// The next step's counter, seed and batch on the devices, and the number of tokens in the batch.
    fn given(&self) -> Result<(DeviceArrays, usize), TrainError> {
        let recipe = self.setup.recipe;
        let batch = self.batches.batch(self.done, recipe.batch)?;
        let vocabulary = self.setup.data.vocabulary();
        let array = |axis: &str, values: &Array2<i32>| {
            let axes = [("batch", values.nrows()), (axis, values.ncols())];
            let values: Vec<i32> = values.iter().copied().collect();
            HostArray::from_values(Shape::new(DType::S32, axes), &values)
        };
        let mut given = DeviceArrays::new();
        let mut put = |name: &str, array: &HostArray| -> runtime::Result<()> {
            given.insert(name.to_string(), self.session.put(name, array)?);
            Ok(())
        };
        // The counter fits: `Recipe::step` allows at most i32::MAX steps.
        put(names::STEP, &HostArray::scalar(self.done as i32))?;
        put(names::SEED, &HostArray::scalar(recipe.phase_seed()))?;
        put(names::TOKENS, &array("length", &batch.tokens)?)?;
        if let Some(spans) = recipe.objective.spans() {
            let residues = vocabulary.residue_ids();
            let mut targets = Array2::zeros((recipe.batch, spans.predictions));
            for (row, mut places) in targets.outer_iter_mut().enumerate() {
                let tokens = batch.tokens.row(row).to_vec();
                let seed = u64::from(recipe.phase_seed());
                let drawn = spans.draw(seed, self.done, row, &tokens, |id| residues.contains(&id));
                places.assign(&Array1::from(drawn));
            }
            put(names::TARGETS, &array("predictions", &targets)?)?;
        }
        Ok((given, batch.token_count))
    }

    /// Writes the run's checkpoint, for [`Trainer::resume`].
    ///
    /// # Errors
    /// Those of [`checkpoint::save`]. The previous file at `path` is then unchanged, and the run can continue.
    pub fn save(&self, path: &Path) -> Result<(), TrainError> {
        if self.state.is_empty() {
            return Err(TrainError::NoState(self.done + 1));
        }
        checkpoint::save(path, &self.about(), &self.tensors(), |name| {
            self.fetch(name)
        })?;
        Ok(())
    }

    fn about(&self) -> About {
        let recipe = self.setup.recipe;
        About {
            format: FORMAT,
            steps_done: self.done,
            phase: recipe.phase.number,
            seed: recipe.seed,
            mesh: self.setup.programs.mesh().to_string(),
            program: self.program.clone(),
            data: self.data.clone(),
            recipe: written(recipe),
        }
    }

    /// The differences between this run, resumed from `checkpoint`, and the one that wrote it, one per line; empty if the runs
    /// are the same bit for bit.
    pub fn differences(&self, checkpoint: &Checkpoint) -> Vec<String> {
        let (before, now) = (checkpoint.about(), self.about());
        let mut lines = recipe_differences(&before.recipe, &now.recipe);
        if before.is_of_weights() {
            // The weights are from no run, so only the model can be compared.
            lines.retain(|line| line.starts_with("model."));
            return lines;
        }
        if before.phase != now.phase {
            // Phases may differ in the rest.
            lines.retain(|line| line.starts_with("model."));
            return lines;
        }
        if before.mesh != now.mesh {
            lines.push(format!(
                "mesh: {} before, {} now; sums are the same within rounding",
                before.mesh, now.mesh
            ));
        }
        if lines.is_empty() && before.program != now.program {
            lines.push("the step's program differs: another version of ribosome lowered it".into());
        }
        if before.data != now.data {
            lines.push(format!(
                "the data set differs: {} before, {} now; to repeat the run, use the same files",
                before.data, now.data
            ));
        }
        lines
    }

    /// The loss, in nats, of guessing every token by its frequency in the data set. A model that ignores its input reaches
    /// this loss.
    ///
    /// # Errors
    /// Rows too short for a protein.
    pub fn constant_guess(&self) -> Result<f64, TrainError> {
        let Setup { recipe, data, .. } = self.setup;
        Ok(recipe
            .objective
            .constant_guess(&recipe.model, data, recipe.length)?)
    }
}

/// The tensors that a run keeps from step to step: weights, optimizer state and memory, with their shapes.
fn kept(signature: &Signature) -> Vec<(String, Shape)> {
    let roles = [Role::Weight, Role::State, Role::Memory];
    let kept = |port: &&Port| roles.iter().any(|role| port.role == *role);
    (signature.inputs.iter().filter(kept))
        .map(|port| (port.name.clone(), port.shape.clone()))
        .collect()
}

/// `recipe` as a checkpoint records it. The schedule's last step is written out, because a schedule without one changes with
/// `steps`.
fn written(recipe: &Recipe) -> String {
    let recipe = Recipe {
        schedule: recipe.schedule.of_run(recipe.steps),
        ..recipe.clone()
    };
    // A recipe consists of numbers and words, so TOML can express it.
    toml::to_string(&recipe).unwrap_or_default()
}

/// The recipe's keys whose values have changed, except those that affect no number.
fn recipe_differences(before: &str, now: &str) -> Vec<String> {
    const FREE: [&str; 6] = ["name", "about", "target", "mesh", "start", "steps"];
    let flat = |text: &str| {
        let mut keys = std::collections::BTreeMap::new();
        if let Ok(table) = text.parse::<toml::Table>() {
            flatten("", &toml::Value::Table(table), &mut keys);
        }
        keys
    };
    let (before, now) = (flat(before), flat(now));
    let names: std::collections::BTreeSet<_> = before.keys().chain(now.keys()).collect();
    let absent = "nothing".to_string();
    names
        .into_iter()
        .filter(|name| !FREE.contains(&name.as_str()))
        .filter_map(|name| {
            let (old, new) = (before.get(name), now.get(name));
            let (a, b) = (old.unwrap_or(&absent), new.unwrap_or(&absent));
            (old != new).then(|| format!("{name}: {a} before, {b} now"))
        })
        .collect()
}

fn flatten(
    prefix: &str,
    value: &toml::Value,
    keys: &mut std::collections::BTreeMap<String, String>,
) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let dot = if prefix.is_empty() { "" } else { "." };
                flatten(&format!("{prefix}{dot}{key}"), value, keys);
            }
        }
        value => {
            keys.insert(prefix.to_string(), value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A longer run begins like the shorter one, unless its learning rate falls until the last step.
    #[test]
    fn more_steps_are_another_run_where_the_schedule_follows_them() {
        let differences = |name: &str, key: &str, value: &str| {
            let before = Recipe::preset(name).unwrap();
            let now = before.set(key, value).unwrap();
            recipe_differences(&written(&before), &written(&now))
        };
        assert_eq!(differences("prot-t5-tiny", "steps", "500"), [""; 0]);
        assert_eq!(
            differences("prot-bert-tiny", "steps", "500"),
            ["schedule.total: 300.0 before, 500.0 now"]
        );
        assert_eq!(differences("protein-lm-200m", "steps", "500"), [""; 0]);
        let total = differences("prot-bert-tiny", "schedule.total", "300.0");
        assert_eq!(total, [""; 0]);
    }
}
