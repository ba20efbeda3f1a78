//! `ribosome recipes`: the list of built-in recipes, one recipe with its sources, or a table of compiled recipes.

use crate::forecast::Forecast;
use crate::pipeline::{self, Job};
use crate::report::CompileReport;
use crate::report::table::{count, size, table, time};
use crate::runtime::Settings;
use crate::sharding::Partitioner;
use crate::train::recipe::{Recipe, RecipeError};
use crate::train::registry::Registry;
use anyhow::{Context, Result};
use clap::Subcommand;
use serde_json::json;

use super::args::job_of;
use super::exit::{Status, report as report_error};
use super::output::{Progress, print, print_json};

/// Lists the recipes, shows one with the source of each value, or compiles them
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Without a subcommand it lists, or compiles the recipes that are given.\n\nExample: ribosome recipes compile \
                  prot-bert prot-xlnet --phases"
)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    compile: Compile,
}

#[derive(Subcommand)]
enum Action {
    /// Lists the recipes by name
    List(List),
    /// Prints a recipe's file, with the source of each value
    Show(Show),
    /// Compiles recipes, each for its own machine, and tabulates whether they fit and how long a step takes
    Compile(Compile),
}

#[derive(clap::Args)]
struct List {
    /// Prints one JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Show {
    /// The recipe, or the model that it trains
    name: String,
}

#[derive(clap::Args)]
struct Compile {
    /// Recipes by name or file (.toml) [default: all published ones]
    #[arg(value_name = "RECIPE")]
    recipes: Vec<String>,
    /// Compiles every phase of a recipe and not only the first
    #[arg(long)]
    phases: bool,
    /// Prints one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Shows no progress
    #[arg(long, short)]
    quiet: bool,
}

impl Args {
    /// Runs the command.
    pub fn run(self, registry: &Registry) -> Result<Status> {
        match self.action {
            Some(Action::List(list)) => list.run(registry),
            Some(Action::Show(show)) => show.run(registry),
            Some(Action::Compile(compile)) => compile.run(registry),
            None if self.compile.recipes.is_empty() && !self.compile.phases => List {
                json: self.compile.json,
            }
            .run(registry),
            None => self.compile.run(registry),
        }
    }
}

impl List {
    fn run(self, registry: &Registry) -> Result<Status> {
        let recipes = registry
            .recipes()
            .iter()
            .map(|entry| registry.preset(entry.name));
        let recipes = recipes.collect::<Result<Vec<_>, _>>()?;
        let about = |recipe: &Recipe| recipe.about.clone().unwrap_or_default();
        let phases = |recipe: &Recipe| recipe.phases.len().max(1);
        if self.json {
            let entries = registry.recipes().iter().zip(&recipes);
            let recipes: Vec<_> = entries
                .map(|(entry, recipe)| {
                    json!({
                        "name": recipe.name,
                        "model": entry.model,
                        "about": about(recipe),
                        "data": recipe.data,
                        "target": recipe.target,
                        "phases": phases(recipe),
                    })
                })
                .collect();
            print_json(&json!({ "recipes": recipes }))?;
            return Ok(Status::Done);
        }
        let rows: Vec<_> = (recipes.iter())
            .map(|recipe| {
                vec![
                    recipe.name.clone(),
                    recipe.target.clone().unwrap_or_default(),
                    phases(recipe).to_string(),
                    about(recipe),
                ]
            })
            .collect();
        print(&table(&["name", "target", "phases", ""], &rows, &[2]))?;
        Ok(Status::Done)
    }
}

impl Show {
    fn run(self, registry: &Registry) -> Result<Status> {
        let entry = registry
            .find(&self.name)
            .map_err(|near| RecipeError::Unknown {
                name: self.name.clone(),
                near,
            })?;
        print(entry.text)?;
        Ok(Status::Done)
    }
}

/// The result of one phase of a recipe.
struct Line {
    phase: Option<usize>,
    report: CompileReport,
}

impl Compile {
    fn run(self, registry: &Registry) -> Result<Status> {
        // Read every recipe before compiling the first.
        let jobs = self.jobs(registry)?;
        let settings = Settings::from_environment()?;
        let (mut lines, mut failed) = (Vec::new(), Vec::new());
        for (phase, job) in jobs {
            let progress = Progress::new(&job.recipe.name, self.quiet || self.json);
            let compiled = pipeline::compile(&job, &settings, &mut progress.stages());
            drop(progress);
            // A failure does not stop the others.
            match compiled.with_context(|| named(&job.recipe.name, phase)) {
                Ok(compiled) => lines.push(Line {
                    phase,
                    report: CompileReport::new(Some(&job.recipe), &compiled),
                }),
                Err(error) => failed.push(error),
            }
        }
        match self.json {
            true => print_json(&json!({
                "recipes": lines.iter().map(|line| &line.report).collect::<Vec<_>>()
            }))?,
            false => print(&text(&lines, failed.len()))?,
        }
        let failed: Vec<_> = failed.iter().map(report_error).collect();
        Ok(match failed.first() {
            Some(status) => *status,
            None if lines.iter().all(|line| line.report.memory.fits) => Status::Done,
            None => Status::DoesNotFit,
        })
    }

    /// The recipes to compile, with the number of the phase if a recipe has several.
    fn jobs(&self, registry: &Registry) -> Result<Vec<(Option<usize>, Job)>> {
        let mut names = self.recipes.clone();
        if names.is_empty() {
            let published = registry.recipes().iter().filter(|entry| !entry.is_tiny());
            names.extend(published.map(|entry| entry.name.to_string()));
        }
        let mut jobs = Vec::new();
        for name in names {
            let recipe = registry.load(&name)?;
            let count = match self.phases {
                true => recipe.phases.len().max(1),
                false => 1,
            };
            for phase in 1..=count {
                let number = (recipe.phases.len() > 1).then_some(phase);
                jobs.push((
                    number,
                    job_of(recipe.phase(phase)?, Partitioner::default())?,
                ));
            }
        }
        Ok(jobs)
    }
}

/// How long a step takes, by the compiler's own estimate.
fn step(forecast: &Forecast) -> String {
    let seconds = time(forecast.step_seconds);
    match forecast.is_too_low() {
        true => format!("over {seconds}"),
        false => seconds,
    }
}

/// A recipe, or one of its phases.
fn named(name: &str, phase: Option<usize>) -> String {
    match phase {
        Some(phase) => format!("{name}, phase {phase}"),
        None => name.to_string(),
    }
}

const HEADER: [&str; 8] = [
    "recipe",
    "target",
    "mesh",
    "parameters",
    "rows x tokens",
    "compile",
    "peak of capacity",
    "step",
];

fn text(lines: &[Line], failed: usize) -> String {
    let rows: Vec<_> = lines
        .iter()
        .map(|Line { phase, report }| {
            let memory = &report.memory;
            let peak = match (memory.peak, memory.capacity) {
                (Some(peak), Some(capacity)) => format!("{} of {}", size(peak), size(capacity)),
                (Some(peak), None) => size(peak),
                (None, _) => "too large".to_string(),
            };
            vec![
                named(&report.model, *phase),
                report.target.name.clone(),
                report.mesh.0.to_string(),
                count(report.parameters),
                match (report.global_batch, report.length) {
                    (Some(rows), Some(length)) => format!("{} x {length}", count(rows as u64)),
                    _ => String::new(),
                },
                time(report.seconds.of("compile")),
                peak,
                report.forecast.as_ref().map_or(String::new(), step),
            ]
        })
        .collect();
    let fit = lines.iter().filter(|line| line.report.memory.fits).count();
    let seconds: f64 = lines
        .iter()
        .map(|line| line.report.seconds.of("compile"))
        .sum();
    format!(
        "{}\n{fit} of {} fit their devices; compiled in {}\n",
        table(&HEADER, &rows, &[3, 4, 5, 6, 7]),
        lines.len() + failed,
        time(seconds)
    )
}
