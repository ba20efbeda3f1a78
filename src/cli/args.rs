//! The arguments that several subcommands share: what to build, for which machine, and how to report.

use std::path::{Path, PathBuf};

use crate::pipeline::{self, Job, ProgramFile};
use crate::sharding::{Mesh, Partitioner, Target};
use crate::train::recipe::{Recipe, RecipeError, RematName};
use crate::train::registry::Registry;
use anyhow::Result;
use clap::ValueEnum;

use super::exit::Usage;

/// What to build and for what.
#[derive(clap::Args)]
pub struct WhatArgs {
    /// A recipe or model by name (`ribosome recipes` and `ribosome models` list them), a recipe file (.toml), or a program:
    /// a graph's text, or NAME.hlo.pb with NAME.json beside it
    what: String,
    /// Which phase of the recipe, from 1
    #[arg(long, value_name = "N")]
    phase: Option<usize>,
    /// The machine: cpu, cpu:8, cuda, tpu, v3-1024, v3:16x32, 4xv6e-256, h100:8 (`ribosome targets` lists them)
    /// [default: the recipe's]
    #[arg(long, value_name = "TARGET")]
    on: Option<String>,
    /// The mesh, such as data=256,model=4 [default: the one that moves the fewest bytes]
    #[arg(long)]
    mesh: Option<String>,
    /// Rows of a global batch
    #[arg(long)]
    batch: Option<usize>,
    /// Tokens of a row
    #[arg(long)]
    length: Option<usize>,
    /// Which of XLA's partitioners splits the program
    #[arg(long, value_enum, default_value_t = PartitionerName::Shardy)]
    partitioner: PartitionerName,
    /// What the backward pass finds saved
    #[arg(long, value_enum)]
    remat: Option<Remat>,
    /// How many parts a batch is taken in, one after the other
    #[arg(long)]
    microbatches: Option<usize>,
    /// Changes a key of the recipe, such as optimizer.name=momentum; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum PartitionerName {
    Shardy,
    Gspmd,
}

impl From<PartitionerName> for Partitioner {
    fn from(name: PartitionerName) -> Self {
        match name {
            PartitionerName::Shardy => Partitioner::Shardy,
            PartitionerName::Gspmd => Partitioner::Gspmd,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Remat {
    Full,
    Dots,
    Names,
    None,
}

impl From<Remat> for RematName {
    fn from(remat: Remat) -> Self {
        match remat {
            Remat::Full => RematName::Full,
            Remat::Dots => RematName::Dots,
            Remat::Names => RematName::Names,
            Remat::None => RematName::None,
        }
    }
}

/// What a command works on.
pub enum What {
    /// A recipe and its machine.
    Recipe(Box<Job>),
    /// A program from files, and the other arguments about it.
    Program {
        /// The program.
        file: Box<ProgramFile>,
        /// The machine, if one was named.
        target: Option<Target>,
        /// The mesh, if one was given.
        mesh: Option<Mesh>,
        /// Which partitioner splits it.
        partitioner: Partitioner,
    },
}

impl What {
    /// What progress and reports call it.
    pub fn name(&self) -> String {
        match self {
            What::Recipe(job) => job.recipe.name.clone(),
            What::Program { file, .. } => file.name(),
        }
    }
}

impl WhatArgs {
    /// The recipe or the program that was asked for. A model's name goes before a file of that name.
    pub fn read(&self, registry: &Registry) -> Result<What> {
        let path = Path::new(&self.what);
        let is_path = || path.exists() || self.what.contains('/') || self.what.ends_with(".pb");
        match registry.load(&self.what) {
            Err(RecipeError::Unknown { .. }) if is_path() => self.program(path),
            recipe => Ok(What::Recipe(Box::new(self.job_of(recipe?)?))),
        }
    }

    /// The recipe that was asked for, and its machine.
    pub fn job(&self, registry: &Registry) -> Result<Job> {
        match self.read(registry)? {
            What::Recipe(job) => Ok(*job),
            What::Program { .. } => {
                let message = format!(
                    "{} is a program, and this command takes a recipe: a model's name or a .toml file",
                    self.what
                );
                Err(Usage(message).into())
            }
        }
    }

    /// The program at `path`, which no flag that changes a recipe can change.
    fn program(&self, path: &Path) -> Result<What> {
        let file = Box::new(ProgramFile::open(path).map_err(pipeline::Error::from)?);
        for (flag, given) in [
            ("--phase", self.phase.is_some()),
            ("--batch", self.batch.is_some()),
            ("--length", self.length.is_some()),
            ("--remat", self.remat.is_some()),
            ("--microbatches", self.microbatches.is_some()),
            ("--set", !self.set.is_empty()),
        ] {
            if given {
                let message = format!(
                    "{flag} changes a recipe, and {} is a program that is made already",
                    self.what
                );
                return Err(Usage(message).into());
            }
        }
        Ok(What::Program {
            file,
            target: self.on.as_deref().map(str::parse).transpose()?,
            mesh: self.mesh.as_deref().map(Mesh::parse).transpose()?,
            partitioner: self.partitioner.into(),
        })
    }

    /// The recipe with all that was changed on the command line, and its machine.
    fn job_of(&self, recipe: Recipe) -> Result<Job> {
        let mut recipe = recipe.phase(self.phase.unwrap_or(1))?;
        for change in &self.set {
            recipe = set(recipe, change)?;
        }
        recipe.batch = self.batch.unwrap_or(recipe.batch);
        recipe.length = self.length.unwrap_or(recipe.length);
        recipe.microbatches = self.microbatches.unwrap_or(recipe.microbatches);
        recipe.remat = self.remat.map_or(recipe.remat, RematName::from);
        // A recipe's mesh is for its own machine.
        let own = self.on.is_none() || self.on == recipe.target;
        recipe.mesh = self.mesh.clone().or(recipe.mesh.filter(|_| own));
        recipe.target = self.on.clone().or(recipe.target);
        job_of(recipe, self.partitioner.into())
    }
}

/// The recipe with its own machine and mesh.
pub fn job_of(recipe: Recipe, partitioner: Partitioner) -> Result<Job> {
    let Some(target) = &recipe.target else {
        return Err(no_target(&recipe.name));
    };
    Ok(Job {
        target: target.parse::<Target>()?,
        mesh: recipe.mesh.as_deref().map(Mesh::parse).transpose()?,
        recipe,
        partitioner,
    })
}

/// Nothing says which machine `name` is for.
pub fn no_target(name: &str) -> anyhow::Error {
    Usage(format!("{name} names no target; say which with --on")).into()
}

/// `recipe` with one `key=value`. `model.layers` is every stack of the model.
fn set(recipe: Recipe, change: &str) -> Result<Recipe> {
    let Some((key, value)) = change.split_once('=') else {
        let message = format!("--set {change}: write it like --set optimizer.name=momentum");
        return Err(Usage(message).into());
    };
    let (key, value) = (key.trim(), value.trim());
    if key == "model.layers" {
        let keys = recipe.model.layer_keys().iter();
        return keys.copied().try_fold(recipe.clone(), |recipe, key| {
            Ok(recipe.set(&format!("model.{key}"), value)?)
        });
    }
    Ok(recipe.set(key, value)?)
}

/// How to report.
#[derive(clap::Args)]
pub struct OutputArgs {
    /// Also writes NAME.hlo.pb, NAME.json and report.json into this folder
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Prints one JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// Shows no progress
    #[arg(long, short)]
    pub quiet: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny(change: &str) -> Result<Recipe> {
        set(Recipe::preset("prot-t5-tiny").unwrap(), change)
    }

    #[test]
    fn a_change_reaches_the_recipe() {
        let recipe = tiny("model.layers=3").unwrap();
        assert_eq!(recipe.model.outline().residual_blocks, 3 * 2 + 3 * 3);
        assert_eq!(tiny("steps = 5").unwrap().steps, 5);
    }

    #[test]
    fn a_change_without_a_value_is_refused() {
        let message = tiny("steps").unwrap_err().to_string();
        assert!(message.contains("--set steps: write it like"), "{message}");
        assert!(tiny("model.layer=3").is_err());
    }
}
