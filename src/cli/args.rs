//! The arguments that several subcommands share: what to build, for which machine, and how to report.

use std::path::PathBuf;

use crate::pipeline::Job;
use crate::sharding::{Mesh, RuleSet, Target};
use crate::train::recipe::{Recipe, RematName};
use anyhow::Result;
use clap::ValueEnum;

use super::exit::Usage;

/// What to build and for what.
#[derive(clap::Args)]
pub struct WhatArgs {
    /// A model by name (`ribosome models` lists them) or a recipe file (.toml)
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
    /// How tensors are split over the mesh: standard, data, zero1, fsdp, tensor or megatron (`ribosome rules` explains
    /// them) [default: the recipe's]
    #[arg(long, value_name = "SET")]
    rules: Option<String>,
    /// Rows of a global batch
    #[arg(long)]
    batch: Option<usize>,
    /// Tokens of a row
    #[arg(long)]
    length: Option<usize>,
    /// Which of XLA's partitioners splits the program
    #[arg(long, value_enum, default_value_t = Partitioner::Shardy)]
    partitioner: Partitioner,
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

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Partitioner {
    Shardy,
    Gspmd,
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

impl WhatArgs {
    /// The recipe with all that was changed on the command line, and its machine.
    pub fn job(&self) -> Result<Job> {
        let recipe = Recipe::load(&self.what)?;
        let mut recipe = recipe.phase(self.phase.unwrap_or(1))?;
        for change in &self.set {
            recipe = set(recipe, change)?;
        }
        if let Some(set) = &self.rules {
            let set =
                RuleSet::named(set).map_err(|message| Usage(format!("--rules: {message}")))?;
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
        job_of(recipe, self.partitioner == Partitioner::Shardy)
    }
}

/// The recipe with its own machine and mesh.
pub fn job_of(recipe: Recipe, shardy: bool) -> Result<Job> {
    let Some(target) = &recipe.target else {
        let message = format!("{} names no target; say which with --on", recipe.name);
        return Err(Usage(message).into());
    };
    Ok(Job {
        target: target.parse::<Target>()?,
        mesh: recipe.mesh.as_deref().map(Mesh::parse).transpose()?,
        recipe,
        shardy,
    })
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
        let crate::models::Model::T5(model) = &recipe.model else {
            panic!("{:?}", recipe.model)
        };
        assert_eq!((model.num_layers, model.num_decoder_layers), (3, 3));
        assert_eq!(tiny("steps = 5").unwrap().steps, 5);
    }

    #[test]
    fn a_change_without_a_value_is_refused() {
        let message = tiny("steps").unwrap_err().to_string();
        assert!(message.contains("--set steps: write it like"), "{message}");
        assert!(tiny("model.layer=3").is_err());
    }
}
