//! The arguments that several subcommands share: what to build, for which machine, and how to report.

use std::path::{Path, PathBuf};

use crate::pipeline::{self, Job, ProgramFile};
use crate::sharding::{Mesh, Partitioner, RuleSet, Target};
use crate::train::recipe::{Recipe, RecipeError, RematName};
use crate::train::registry::Registry;
use anyhow::Result;
use clap::ValueEnum;

use super::exit::Usage;

/// What to build and for what.
#[derive(clap::Args)]
pub struct WhatArgs {
    /// A recipe or model by name (`ribosome recipes` and `ribosome models` list them), a recipe file (.toml), or a program:
    /// a graph's text, or NAME.hlo.pb with NAME.json next to it
    what: String,
    /// The phase of the recipe, from 1
    #[arg(long, value_name = "N")]
    phase: Option<usize>,
    /// The machine: cpu, cpu:8, cuda, tpu, v3-1024, v3:16x32, 4xv6e-256, h100:8 (`ribosome targets` lists them)
    /// [default: the recipe's]
    #[arg(long, value_name = "TARGET")]
    on: Option<String>,
    /// The mesh, such as data=256,model=4 [default: the one that moves the fewest bytes]
    #[arg(long)]
    mesh: Option<String>,
    /// How tensors are sharded over the mesh: standard, data, zero1, fsdp, tensor or megatron (`ribosome rules` explains
    /// them) [default: the recipe's]
    #[arg(long, value_name = "SET")]
    rules: Option<String>,
    /// Rows of a global batch
    #[arg(long)]
    batch: Option<usize>,
    /// Tokens of a row
    #[arg(long)]
    length: Option<usize>,
    /// The XLA partitioner that splits the program
    #[arg(long, value_enum, default_value_t = PartitionerName::Shardy)]
    partitioner: PartitionerName,
    /// What the forward pass saves for the backward pass
    #[arg(long, value_enum)]
    remat: Option<Remat>,
    /// The number of parts of a batch, processed one after the other
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
    /// A program from files.
    Program(Box<ProgramJob>),
}

/// A program from files, with the command line's other arguments for it.
pub struct ProgramJob {
    /// The program.
    pub file: ProgramFile,
    /// The machine, if one was named.
    pub target: Option<Target>,
    /// The mesh, if one was given.
    pub mesh: Option<Mesh>,
    /// The rules that place a graph.
    pub rules: RuleSet,
    /// The partitioner that splits it.
    pub partitioner: Partitioner,
}

impl What {
    /// Its name in progress and reports.
    pub fn name(&self) -> String {
        match self {
            What::Recipe(job) => job.recipe.name.clone(),
            What::Program(job) => job.file.name(),
        }
    }
}

impl WhatArgs {
    /// The requested recipe or program. A model's name takes precedence over a file of that name.
    pub fn read(&self, registry: &Registry) -> Result<What> {
        let path = Path::new(&self.what);
        let is_path = || path.exists() || self.what.contains('/') || self.what.ends_with(".pb");
        match registry.load(&self.what) {
            Err(RecipeError::Unknown { .. }) if is_path() => self.program(path),
            recipe => Ok(What::Recipe(Box::new(self.job_of(recipe?)?))),
        }
    }

    /// The requested recipe and its machine.
    pub fn job(&self, registry: &Registry) -> Result<Job> {
        match self.read(registry)? {
            What::Recipe(job) => Ok(*job),
            What::Program(_) => {
                let message = format!(
                    "{} is a program, but this command takes a recipe: a model's name or a .toml file",
                    self.what
                );
                Err(Usage(message).into())
            }
        }
    }

    /// The requested set of rules.
    fn rule_set(&self) -> Result<Option<RuleSet>> {
        let named = self.rules.as_deref().map(RuleSet::named).transpose();
        Ok(named.map_err(|message| Usage(format!("--rules: {message}")))?)
    }

    /// The program at `path`. Flags that change a recipe are refused.
    fn program(&self, path: &Path) -> Result<What> {
        let file = ProgramFile::open(path).map_err(pipeline::Error::from)?;
        for (flag, given) in [
            ("--phase", self.phase.is_some()),
            ("--batch", self.batch.is_some()),
            ("--length", self.length.is_some()),
            ("--remat", self.remat.is_some()),
            ("--microbatches", self.microbatches.is_some()),
            ("--set", !self.set.is_empty()),
            // A graph has no shardings yet; a saved module has.
            (
                "--rules",
                self.rules.is_some() && matches!(file, ProgramFile::Saved(_)),
            ),
        ] {
            if given {
                let message = format!(
                    "{flag} changes a recipe, but {} is a finished program",
                    self.what
                );
                return Err(Usage(message).into());
            }
        }
        Ok(What::Program(Box::new(ProgramJob {
            file,
            target: self.on.as_deref().map(str::parse).transpose()?,
            mesh: self.mesh.as_deref().map(Mesh::parse).transpose()?,
            rules: self.rule_set()?.unwrap_or_default(),
            partitioner: self.partitioner.into(),
        })))
    }

    /// The recipe with all changes from the command line, and its machine.
    fn job_of(&self, recipe: Recipe) -> Result<Job> {
        let mut recipe = recipe.phase(self.phase.unwrap_or(1))?;
        for change in &self.set {
            recipe = set(recipe, change)?;
        }
        if let Some(set) = self.rule_set()? {
            recipe.rules = set.into();
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

/// The error that `name` has no machine.
pub fn no_target(name: &str) -> anyhow::Error {
    Usage(format!("{name} has no target; choose one with --on")).into()
}

/// `recipe` with one `key=value`. `model.layers` sets every stack of the model.
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
        let model = serde_json::to_value(&recipe.model).unwrap();
        assert_eq!(model["num_layers"], 3);
        assert_eq!(model["num_decoder_layers"], 3);
        assert_eq!(tiny("steps = 5").unwrap().steps, 5);
    }

    #[test]
    fn a_change_without_a_value_is_refused() {
        let message = tiny("steps").unwrap_err().to_string();
        assert!(message.contains("--set steps: write it like"), "{message}");
        assert!(tiny("model.layer=3").is_err());
    }
}
