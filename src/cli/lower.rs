//! `ribosome lower`: the lowered step as text, as a module, or as a table of shardings. Needs no plugin.

use std::path::{Path, PathBuf};

use crate::forecast::port_bytes;
use crate::hlo::{Port, Signature, text};
use crate::pipeline::{Lowered, Machine};
use crate::report::table::{size, table};
use crate::runtime::Settings;
use crate::sharding::Target;
use crate::train::registry::Registry;
use anyhow::Result;
use clap::ValueEnum;
use serde_json::json;

use super::args::{OutputArgs, ProgramJob, What, WhatArgs};
use super::exit::{Status, Usage};
use super::output::{Progress, prepare, print, print_json, write, write_program};

/// Lowers a model's training step, or a graph's text, to HLO, without compiling it
#[derive(clap::Args)]
#[command(after_help = "Example: ribosome lower prot-t5-tiny --on cpu:8 --emit sharding")]
pub struct Args {
    #[command(flatten)]
    what: WhatArgs,
    /// The output
    #[arg(long, value_enum, default_value_t = Emit::Hlo)]
    emit: Emit,
    /// The file to write to [default: stdout; for proto NAME.hlo.pb here or in --out]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    report: OutputArgs,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Emit {
    /// The graph as text, one node per line
    Graph,
    /// The module as text for XLA's parser
    Hlo,
    /// The module for XLA's compilers (NAME.hlo.pb), with its signature (NAME.json) next to it
    Proto,
    /// The sharding of each input and output, one per line
    Sharding,
}

impl Args {
    /// Runs the command.
    pub fn run(self, registry: &Registry) -> Result<Status> {
        let what = self.what.read(registry)?;
        if let Some(folder) = &self.report.out {
            prepare(folder)?;
        }
        let name = what.name();
        let progress = Progress::new(&name, self.report.quiet || self.report.json);
        let mut stages = progress.stages();
        let lowered = match what {
            What::Recipe(job) => job.lower(devices(&job.target)?, &mut stages)?,
            What::Program(job) => {
                let ProgramJob {
                    file,
                    target,
                    mesh,
                    rules,
                    ..
                } = *job;
                let lowered = file.lower(mesh.as_ref(), &rules.rules(), &mut stages)?;
                if let Some(target) = &target {
                    lowered.mesh.check_devices(devices(target)?)?;
                }
                lowered
            }
        };
        let seconds = stages.seconds();
        drop(stages);
        drop(progress);
        for warning in &lowered.warnings {
            eprintln!("warning: {warning}");
        }
        let (files, text) = self.emit(&name, &lowered)?;
        let program = &lowered.program;
        if let Some(folder) = &self.report.out {
            write_program(folder, &name, program)?;
        }
        match (self.report.json, text) {
            (true, text) => print_json(&json!({
                "model": name,
                "fingerprint": program.fingerprint(),
                "mesh": lowered.mesh.to_string(),
                "parameters": lowered.parameters,
                "hlo": { "instructions": program.instructions(), "bytes": program.bytes().len() },
                "seconds": seconds,
                "files": files,
                "text": text,
            }))?,
            (false, Some(text)) => print(&text)?,
            (false, None) => files
                .iter()
                .for_each(|file| eprintln!("wrote {}", file.display())),
        }
        // The process ends here, and the system reclaims a graph of thousands of nodes faster than it is dropped.
        std::mem::forget(lowered);
        Ok(Status::Done)
    }

    /// Writes the requested files, or returns the text for stdout.
    fn emit(&self, name: &str, lowered: &Lowered) -> Result<(Vec<PathBuf>, Option<String>)> {
        let program = &lowered.program;
        let text = match self.emit {
            Emit::Graph => match &lowered.graph {
                Some(graph) => graph.to_text(),
                None => {
                    let message = format!(
                        "{name} is a lowered program, which has no graph; use --emit hlo, proto or sharding"
                    );
                    return Err(Usage(message).into());
                }
            },
            Emit::Hlo => text::print(program.module()),
            Emit::Sharding => sharding_table(&program.signature),
            Emit::Proto => {
                let folder = self.report.out.as_deref().unwrap_or(Path::new(""));
                let file = match &self.output {
                    Some(file) => file.clone(),
                    None => folder.join(format!("{name}.hlo.pb")),
                };
                // The signature has the same name: `x.hlo.pb` and `x.json`.
                let stem = file
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                let stem = stem.strip_suffix(".pb").unwrap_or(&stem);
                let stem = stem.strip_suffix(".hlo").unwrap_or(stem);
                let signature = file.with_file_name(format!("{stem}.json"));
                write(&file, program.bytes())?;
                write(&signature, program.signature.json().as_bytes())?;
                return Ok((vec![file, signature], None));
            }
        };
        match &self.output {
            None => Ok((Vec::new(), Some(text))),
            Some(file) => {
                write(file, text.as_bytes())?;
                Ok((vec![file.clone()], None))
            }
        }
    }
}

/// The number of devices of `target`. For an attached TPU, only the plugin can tell.
fn devices(target: &Target) -> Result<usize> {
    match target.devices() {
        Some(devices) => Ok(devices),
        None => {
            let machine = Machine::open(target, &Settings::from_environment()?)?;
            Ok(machine.devices().len())
        }
    }
}

/// One line per input and output: name, role, axes with sizes, sharding, bytes per device.
fn sharding_table(signature: &Signature) -> String {
    let row = |way: &str, port: &Port| {
        let shape = &port.shape;
        let bytes = port_bytes(signature, port);
        vec![
            way.to_string(),
            port.name.clone(),
            port.role.name().to_string(),
            shape.to_string(),
            port.sharding.describe(&signature.mesh, shape),
            bytes.to_string(),
            match port.aliases {
                Some(input) => format!("replaces {}", signature.inputs[input].name),
                None => String::new(),
            },
        ]
    };
    let inputs = signature.inputs.iter().map(|port| row("in", port));
    let outputs = signature.outputs.iter().map(|port| row("out", port));
    let rows: Vec<_> = inputs.chain(outputs).collect();
    let header = [
        "",
        "name",
        "role",
        "shape",
        "sharding",
        "bytes a device",
        "",
    ];
    let total: u64 = (signature.inputs.iter())
        .map(|port| port_bytes(signature, port))
        .sum();
    format!(
        "mesh {}\n{}inputs take {} a device\n",
        signature.mesh,
        table(&header, &rows, &[5]),
        size(total)
    )
}
