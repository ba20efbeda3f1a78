//! `ribosome import`: a Hugging Face folder to a checkpoint, from which a run can go on.

use std::path::PathBuf;

use crate::models::weights::FolderError;
use crate::report::table::count;
use crate::train::convert::{ConvertError, import};
use crate::train::registry::Registry;
use anyhow::Result;
use serde_json::json;

use super::exit::{Status, Usage};
use super::output::{prepare, print, print_json};
use super::train::CHECKPOINT;

/// Makes a checkpoint of weights from a Hugging Face folder
#[derive(clap::Args)]
#[command(
    after_help = "config.json says which model it is; weights are read from model.safetensors, or from the parts that \
                  model.safetensors.index.json names, as F32, F16 or BF16. ELECTRA is a folder with its two networks as \
                  generator and discriminator.\n\nExample: ribosome import prot_t5_xl_bfd --out run, then ribosome train \
                  prot-t5-xl --data proteins.fasta --out run --resume"
)]
pub struct Args {
    /// The folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The run's folder, which gets checkpoint.safetensors
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    /// Passes over tensors whose names begin so, such as a head that the model does not have; may be repeated
    #[arg(long, value_name = "PREFIX")]
    drop: Vec<String>,
    /// Prints one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Runs the command.
    pub fn run(self, registry: &Registry) -> Result<Status> {
        let path = self.out.join(CHECKPOINT);
        if path.exists() {
            let message = format!("{} exists already; take another --out", path.display());
            return Err(Usage(message).into());
        }
        prepare(&self.out)?;
        let model = import(&self.folder, registry.families(), &self.drop, &path)
            .map_err(|error| self.advised(error))?;
        let parameters = model.parameters() as u64;
        match self.json {
            true => print_json(&json!({
                "family": model.family(), "parameters": parameters, "checkpoint": path,
            }))?,
            false => print(&format!(
                "{}: {} parameters, now in {}; train --out {} --resume starts from them",
                model.family(),
                count(parameters),
                path.display(),
                self.out.display(),
            ))?,
        }
        Ok(Status::Done)
    }

    /// The error with a word on what can be done about it.
    fn advised(&self, error: ConvertError) -> anyhow::Error {
        let extra = matches!(&error, ConvertError::Folder(FolderError::Mismatch { problems, .. })
            if problems.iter().any(|problem| problem.contains("belongs to no weight")));
        match extra {
            true => {
                anyhow::anyhow!("{error}\n  --drop PREFIX passes over tensors whose names begin so")
            }
            false => error.into(),
        }
    }
}
