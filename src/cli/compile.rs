//! `ribosome compile`: lower, compile, report.

use crate::pipeline;
use crate::report::CompileReport;
use crate::runtime::Settings;
use crate::train::registry::Registry;
use anyhow::Result;

use super::args::{OutputArgs, WhatArgs};
use super::exit::Status;
use super::output::{Progress, prepare, print, write, write_program};

/// Compiles a model's training step for a machine that need not be there, and says whether it fits and how long a step takes
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
        let job = self.what.job(registry)?;
        if let Some(folder) = &self.output.out {
            prepare(folder)?;
        }
        let progress = Progress::new(&job.recipe.name, self.output.quiet || self.output.json);
        let compiled =
            pipeline::compile(&job, &Settings::from_environment()?, &mut progress.stages())?;
        drop(progress);
        let report = CompileReport::new(&job, &compiled);
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
