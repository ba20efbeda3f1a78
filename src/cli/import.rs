//! `ribosome import`: turns a Hugging Face folder into a checkpoint, from which a run can resume.

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

/// Imports the weights of a Hugging Face folder into a checkpoint
#[derive(clap::Args)]
#[command(
    after_help = "The model is the one in config.json. Its weights, in F32, F16 or BF16, are in model.safetensors or in the \
                  files that model.safetensors.index.json lists. For ELECTRA, DIR holds the folders generator and discriminator.\n\n\
                  Example: ribosome import prot_t5_xl_bfd --out run, then ribosome train prot-t5-xl --data proteins.fasta --out run --resume"
)]
pub struct Args {
    /// The Hugging Face folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The run's folder, where checkpoint.safetensors is written
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    /// Ignores tensors whose names begin with PREFIX, such as those of a head that the model does not have; may be repeated
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
            let message = format!("{} exists already; choose another --out", path.display());
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
                "{}: imported {} parameters into {}; `ribosome train WHAT --out {} --resume` starts from them",
                model.family(),
                count(parameters),
                path.display(),
                self.out.display(),
            ))?,
        }
        Ok(Status::Done)
    }

    /// The error, with a hint if there is one.
    fn advised(&self, error: ConvertError) -> anyhow::Error {
        let extra = matches!(&error, ConvertError::Folder(FolderError::Mismatch { problems, .. })
            if problems.iter().any(|problem| problem.contains("belongs to no weight")));
        match extra {
            true => {
                anyhow::anyhow!(
                    "{error}\n  --drop PREFIX ignores tensors whose names begin with PREFIX"
                )
            }
            false => error.into(),
        }
    }
}
