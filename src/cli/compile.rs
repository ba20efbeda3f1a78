//! `ribosome compile`: lowers, compiles and reports on a recipe or a program from a file.

use crate::pipeline::{self, compile_program};
use crate::report::CompileReport;
use crate::runtime::Settings;
use crate::train::registry::Registry;
use anyhow::Result;

use super::args::{OutputArgs, ProgramJob, What, WhatArgs, no_target};
use super::exit::Status;
use super::output::{Progress, prepare, print, write, write_program};

/// Compiles a training step or a saved program for a machine that need not be there, and reports whether it fits and how long a step takes
#[derive(clap::Args)]
#[command(after_help = "Example: ribosome compile prot-t5-xl --on v3-1024 --mesh data=256,model=4")]
pub struct Args {
    #[command(flatten)]
    what: WhatArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Args {
    /// Runs the command.
    pub fn run(self, registry: &Registry) -> Result<Status> {
        let what = self.what.read(registry)?;
        if let Some(folder) = &self.output.out {
            prepare(folder)?;
        }
        let settings = Settings::from_environment()?;
        let progress = Progress::new(&what.name(), self.output.quiet || self.output.json);
        let mut stages = progress.stages();
        let (recipe, compiled) = match what {
            What::Recipe(job) => {
                let compiled = pipeline::compile(&job, &settings, &mut stages)?;
                (Some(job.recipe), compiled)
            }
            What::Program(job) => {
                let ProgramJob {
                    file,
                    target,
                    mesh,
                    rules,
                    partitioner,
                } = *job;
                let target = target.ok_or_else(|| no_target(&file.name()))?;
                let program = file.lower(mesh.as_ref(), &rules.rules(), &mut stages)?;
                let compiled =
                    compile_program(program, &target, partitioner, &settings, &mut stages)?;
                (None, compiled)
            }
        };
        drop(stages);
        drop(progress);
        let report = CompileReport::new(recipe.as_ref(), &compiled);
        if let Some(folder) = &self.output.out {
            write_program(folder, &report.model, &compiled.lowered.program)?;
            write(&folder.join("report.json"), report.json().as_bytes())?;
        }
        print(&match self.output.json {
            true => report.json(),
            false => report.text(),
        })?;
        Ok(match report.memory.fits {
            true => Status::Done,
            false => Status::DoesNotFit,
        })
    }
}
