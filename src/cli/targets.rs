//! `ribosome targets`: the machines that ribosome can compile for, by name.

use crate::report::compile::TargetReport;
use crate::report::table::{size, table};
use crate::sharding::{Target, known_targets};
use anyhow::Result;
use serde_json::json;

use super::exit::Status;
use super::output::{print, print_json};

/// Lists the machines that ribosome can compile for, with chips, cores, devices and memory
#[derive(clap::Args)]
#[command(after_help = "Example: ribosome targets v3-1024 4xv6e-256 h100:8")]
pub struct Args {
    /// The targets to print [default: the common ones]
    names: Vec<String>,
    /// Prints one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Runs the command.
    pub fn run(self) -> Result<Status> {
        let targets = match self.names.as_slice() {
            [] => known_targets(),
            names => (names.iter())
                .map(|name| name.parse())
                .collect::<Result<Vec<Target>, _>>()?,
        };
        if self.json {
            print_json(&json!({ "targets": targets.iter().map(record).collect::<Vec<_>>() }))?;
            return Ok(Status::Done);
        }
        let rows: Vec<_> = targets.iter().map(row).collect();
        let header = [
            "name",
            "topology",
            "chips",
            "cores",
            "devices",
            "memory per device",
            "mapping",
        ];
        let mut text = table(&header, &rows, &[2, 3, 4, 5]);
        if self.names.is_empty() {
            text += "\nOther sizes: v3:16x32 (chips along each dimension of the torus), 4xv6e-256 (slices), \
                     v4-1024/cores (one device per core), cpu:N, h100:N.\n";
        }
        print(&text)?;
        Ok(Status::Done)
    }
}

fn row(target: &Target) -> Vec<String> {
    let number = |number: Option<usize>| number.map_or("-".to_string(), |it| it.to_string());
    // What only the plugin knows about an attached machine is left out.
    let report = TargetReport::new(target, target.devices().unwrap_or_default());
    vec![
        report.name,
        report.topology.unwrap_or("-".to_string()),
        number(report.chips),
        number(report.cores),
        number(target.devices()),
        target
            .memory_bytes_per_device()
            .map_or("-".to_string(), size),
        report.mapping,
    ]
}

fn record(target: &Target) -> serde_json::Value {
    let report = TargetReport::new(target, target.devices().unwrap_or_default());
    json!({
        "name": report.name,
        "topology": report.topology,
        "chips": report.chips,
        "cores": report.cores,
        "devices": target.devices(),
        "memory_bytes_per_device": target.memory_bytes_per_device(),
        "mapping": report.mapping,
    })
}
