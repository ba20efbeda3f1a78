//! `ribosome export`: turns a checkpoint into a Hugging Face folder.

use std::path::PathBuf;

use crate::report::table::count;
use crate::train::checkpoint::Checkpoint;
use crate::train::convert::export;
use crate::train::registry::Registry;
use anyhow::Result;
use serde_json::json;

use super::exit::Status;
use super::output::{print, print_json};
use super::train::CHECKPOINT;

/// Exports the weights of a checkpoint to a Hugging Face folder
#[derive(clap::Args)]
#[command(
    after_help = "Example: ribosome export run --out prot_t5, then, in Python, \
                        T5ForConditionalGeneration.from_pretrained(\"prot_t5\")"
)]
pub struct Args {
    /// The checkpoint, or a run's folder
    #[arg(value_name = "CHECKPOINT")]
    checkpoint: PathBuf,
    /// The folder to create
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The largest file, unless a single tensor is larger: a number of bytes, or of kB, MB, GB, KiB, MiB or GiB
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = size)]
    shard_size: u64,
    /// Prints one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Runs the command.
    pub fn run(self, registry: &Registry) -> Result<Status> {
        let path = match self.checkpoint.is_dir() {
            true => self.checkpoint.join(CHECKPOINT),
            false => self.checkpoint.clone(),
        };
        let (model, files) = export(
            &Checkpoint::open(&path)?,
            registry.families(),
            &self.out,
            self.shard_size,
        )?;
        let parameters = model.parameters() as u64;
        let unlike = model.unlike_transformers();
        if let Some(unlike) = &unlike {
            eprintln!("warning: {unlike}");
        }
        match self.json {
            true => print_json(&json!({
                "family": model.family(), "parameters": parameters, "files": files, "unlike_transformers": unlike,
            }))?,
            false => {
                let lines = files.iter().map(|file| format!("\n  {}", file.display()));
                print(&format!(
                    "{}: exported {} parameters to{}",
                    model.family(),
                    count(parameters),
                    lines.collect::<String>()
                ))?;
            }
        }
        Ok(Status::Done)
    }
}

/// A number of bytes, as `5GB` or `200MiB`.
fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 7] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("", 1),
    ];
    let unit = UNITS.iter().find(|(unit, _)| text.ends_with(unit));
    let (unit, factor) = unit.copied().unwrap_or(("", 1));
    let number = text.strip_suffix(unit).unwrap_or(text).trim();
    let bytes = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor));
    match bytes {
        Some(bytes) if bytes > 0 => Ok(bytes),
        _ => Err("write it like 5GB, 200MiB or 1000000".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("5GB"), Ok(5_000_000_000));
        assert_eq!(size("2 MiB"), Ok(2 << 20));
        assert_eq!(size("123"), Ok(123));
        for wrong in ["", "GB", "0", "5TB", "-1", "99999999999GiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
