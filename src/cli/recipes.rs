//! `ribosome recipes`: recipes compiled one after the other, as one table.

use std::path::{Path, PathBuf};

use crate::forecast::Forecast;
use crate::pipeline::{self, Job};
use crate::report::CompileReport;
use crate::report::table::{count, size, table, time};
use crate::runtime::Settings;
use crate::sharding::Partitioner;
use crate::train::recipe::Recipe;
use anyhow::{Context, Result};
use serde_json::json;

use super::args::job_of;
use super::exit::{Status, report as report_error};
use super::output::{Progress, print, print_json};

/// Compiles recipes, each for its own machine, and says in one table whether they fit and how long a step takes
#[derive(clap::Args)]
#[command(after_help = "Example: ribosome recipes recipes/prot_bert.toml recipes/prot_xlnet.toml")]
pub struct Args {
    /// Recipe files (.toml) [default: all in the folder `recipes`]
    #[arg(value_name = "RECIPE")]
    recipes: Vec<PathBuf>,
    /// Compiles every phase of a recipe and not the first alone
    #[arg(long)]
    phases: bool,
    /// Prints one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Shows no progress
    #[arg(long, short)]
    quiet: bool,
}

/// What came of one phase of a recipe.
struct Line {
    phase: Option<usize>,
    report: CompileReport,
}

impl Args {
    /// Runs the command.
    pub fn run(self) -> Result<Status> {
        // Every recipe is read before the first is compiled.
        let jobs = self.jobs()?;
        let settings = Settings::from_environment()?;
        let (mut lines, mut failed) = (Vec::new(), Vec::new());
        for (phase, job) in jobs {
            let progress = Progress::new(&job.recipe.name, self.quiet || self.json);
            let compiled = pipeline::compile(&job, &settings, &mut progress.stages());
            drop(progress);
            // One that fails takes nothing from the others.
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

    /// What is to be compiled, with the number of the phase where a recipe has several.
    fn jobs(&self) -> Result<Vec<(Option<usize>, Job)>> {
        let mut files = self.recipes.clone();
        if files.is_empty() {
            files = all(Path::new("recipes"))?;
        }
        let mut jobs = Vec::new();
        for file in files {
            let recipe = Recipe::load(&file.to_string_lossy())?;
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

/// The recipes in `folder`, by name.
fn all(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        std::fs::read_dir(folder)?
            .map(|entry| Ok(entry?.path()))
            .collect()
    };
    let mut files = read().with_context(|| {
        format!(
            "cannot read the folder `{}`; name the recipes to compile",
            folder.display()
        )
    })?;
    files.retain(|file| file.extension().is_some_and(|ending| ending == "toml"));
    files.sort();
    Ok(files)
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
