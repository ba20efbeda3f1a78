//! From a recipe to a run. The step is lowered, placed and compiled as by [`super::compile()`], so the program that was
//! forecast is the program that runs.

use super::error::Error;
use super::job::{Job, lower_for};
use super::machine::Machine;
use super::stages::Stages;
use crate::data::Dataset;
use crate::hlo::Layout;
use crate::runtime::{Client, CompileConfig};
use crate::sharding::Mesh;
use crate::train::recipe::Recipe;
use crate::train::step::{self, StepError};
use crate::train::trainer::{Programs, Setup};

/// A job ready to train on this machine's devices.
pub struct Training {
    /// Number of weights.
    pub parameters: u64,
    /// Why this mesh was chosen; `None` if it was given.
    pub mesh_reason: Option<String>,
    /// What is lost on the mesh, and what every device holds in full.
    pub warnings: Vec<String>,
    recipe: Recipe,
    programs: Programs,
    client: Client,
    config: CompileConfig,
}

impl Training {
    /// Lowers the programs of `job` for the devices of `machine` and configures their compilation. The run compiles them when
    /// it starts, after it has checked for damaged checkpoints.
    ///
    /// # Errors
    /// Those of [`Job::lower`] and [`Machine::config`]; the machine is only described.
    pub fn new(job: &Job, machine: &Machine, stages: &mut Stages) -> Result<Self, Error> {
        let client = machine.running()?.clone();
        let step = job.build(stages)?;
        let initial = step::initial(&step).map_err(StepError::from)?;
        let weights = step.weights.clone();
        let lowered = job.lower_step(step, machine.devices().len(), stages)?;
        let layout = Layout {
            mesh: &lowered.mesh,
            rules: &job.recipe.rules.rules(),
        };
        let initial = lower_for(&initial, "initial", layout, stages)?;
        Ok(Training {
            parameters: lowered.parameters,
            mesh_reason: lowered.mesh_reason,
            warnings: lowered.warnings,
            recipe: job.recipe.clone(),
            config: machine.config(&lowered.mesh, job.partitioner)?,
            client,
            programs: Programs {
                weights,
                step: lowered.program,
                initial,
            },
        })
    }

    /// The mesh.
    pub fn mesh(&self) -> &Mesh {
        self.programs.mesh()
    }

    /// The programs' compile options.
    pub fn config(&self) -> &CompileConfig {
        &self.config
    }

    /// The run over `data`, for [`crate::train::trainer::Trainer`] to start or to resume.
    pub fn setup<'a>(&'a self, data: &'a Dataset) -> Setup<'a> {
        Setup {
            recipe: &self.recipe,
            programs: &self.programs,
            client: &self.client,
            config: &self.config,
            data,
        }
    }
}
