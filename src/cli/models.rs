//! `ribosome models`: lists the models, or shows one in full.

use std::fmt::Write;

use crate::graph::Weight;
use crate::pipeline::Error;
use crate::report::table::{count, table};
use crate::train::recipe::Recipe;
use crate::train::registry::Registry;
use anyhow::Result;
use serde_json::json;

use super::exit::Status;
use super::output::{print, print_json};

/// Lists the models by name, or prints the configuration and weights of one
#[derive(clap::Args)]
#[command(after_help = "Example: ribosome models prot-t5-xl")]
pub struct Args {
    /// The model to print in full, or a recipe by name or file (.toml)
    name: Option<String>,
    /// Prints one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Runs the command.
    pub fn run(self, registry: &Registry) -> Result<Status> {
        match &self.name {
            None => self.list(registry)?,
            Some(name) => self.one(name, registry)?,
        }
        Ok(Status::Done)
    }

    fn list(&self, registry: &Registry) -> Result<()> {
        let models = registry.models();
        let models = models.into_iter().map(|(name, _)| registry.preset(name));
        let models = models.collect::<Result<Vec<_>, _>>()?;
        let about = |recipe: &Recipe| recipe.about.clone().unwrap_or_default();
        if self.json {
            let models: Vec<_> = (models.iter())
                .map(|recipe| {
                    json!({
                        "name": recipe.name,
                        "about": about(recipe),
                        "parameters": recipe.model.parameters(),
                    })
                })
                .collect();
            return print_json(&json!({ "models": models }));
        }
        let rows: Vec<_> = (models.iter())
            .map(|recipe| {
                vec![
                    recipe.name.clone(),
                    count(recipe.model.parameters() as u64),
                    about(recipe),
                ]
            })
            .collect();
        print(&table(&["name", "parameters", ""], &rows, &[1]))
    }

    fn one(&self, name: &str, registry: &Registry) -> Result<()> {
        let recipe = registry.load(name)?;
        let step = recipe.step()?.build().map_err(Error::from)?;
        let parameters: usize = (step.weights.iter())
            .map(|weight| weight.shape.elements())
            .sum();
        if self.json {
            let weights: Vec<_> = (step.weights.iter())
                .map(|weight| {
                    let axes = weight.shape.axes.iter();
                    json!({
                        "name": weight.name,
                        "dtype": weight.shape.dtype.name(),
                        "axes": axes.map(|axis| json!([axis.name.as_str(), axis.size])).collect::<Vec<_>>(),
                        "elements": weight.shape.elements(),
                    })
                })
                .collect();
            return print_json(&json!({
                "name": recipe.name,
                "parameters": parameters,
                "config": recipe.model,
                "weights": weights,
            }));
        }
        let mut text = format!(
            "{}: {} parameters\n\nconfig\n",
            recipe.name,
            count(parameters as u64)
        );
        for line in toml::to_string(&recipe.model)?.lines() {
            let _ = writeln!(text, "  {line}");
        }
        text += "\nweights\n";
        text += &tree(&step.weights);
        print(&text)
    }
}

/// The weights by scope, indented, with each scope printed once.
fn tree(weights: &[Weight]) -> String {
    let mut rows = Vec::new();
    let mut open: Vec<&str> = Vec::new();
    for weight in weights {
        let parts: Vec<_> = weight.name.split('/').collect();
        let (scopes, leaf) = parts.split_at(parts.len() - 1);
        let same = open.iter().zip(scopes).take_while(|(a, b)| a == b).count();
        for (depth, scope) in scopes.iter().enumerate().skip(same) {
            rows.push(vec![format!("{}{scope}/", "  ".repeat(depth))]);
        }
        open = scopes.to_vec();
        rows.push(vec![
            format!("{}{}", "  ".repeat(scopes.len()), leaf.join("/")),
            weight.shape.to_string(),
            count(weight.shape.elements() as u64),
        ]);
    }
    for row in &mut rows {
        row.resize(3, String::new());
    }
    table(&[], &rows, &[2])
}
