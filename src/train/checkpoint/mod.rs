//! Checkpoints: one safetensors file with every weight and all optimizer state, and in its metadata what a run needs to go
//! on from there ([`About`]).
//!
//! A file is written beside its final name, synced and renamed, so that there is always one whole checkpoint: the old one
//! until the new one is complete. Tensors pass through the host one at a time, both ways. Each has its SHA-256 in the
//! metadata, so that a damaged file is told from a good one; the hashes are known only after the tensors have gone by,
//! so the header is written twice, at the same length.
//!
//! A checkpoint with no step done may hold weights alone, which `ribosome import` took from other files: its program and its
//! data have no fingerprint, its recipe is the model, and a run that goes on from it starts its optimizer anew.
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use read::Checkpoint;
pub use write::{Sink, save, save_parts};

use crate::models::weights::FileError;
use crate::models::{Families, Model};
use crate::runtime;

/// The version of the metadata that this program writes, and the only one it reads.
pub const FORMAT: u32 = 1;

/// What a run calls its checkpoint, in the run's folder.
pub const FILE: &str = "checkpoint.safetensors";

/// The key of safetensors' metadata under which [`About`] stands, as JSON. It is one key because safetensors keeps its
/// keys in no fixed order, and equal runs shall write equal files.
const KEY: &str = "ribosome";

/// What a checkpoint says of its run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The version of this record.
    pub format: u32,
    /// Steps done in its phase: the number of the step that comes next, counted from 0.
    pub steps_done: u64,
    /// The phase of the recipe, from 1.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub phase: usize,
    /// The run's seed.
    pub seed: u32,
    /// The mesh that it ran on; it may go on on another.
    pub mesh: String,
    /// The fingerprint of the step's program.
    pub program: String,
    /// The fingerprint of the data set.
    pub data: String,
    /// The recipe as TOML.
    pub recipe: String,
}

fn first() -> usize {
    1
}

fn is_first(phase: &usize) -> bool {
    *phase == 1
}

impl About {
    /// What a checkpoint of weights alone says: the `model` that they are of, before any step.
    pub fn of_weights(model: &Model) -> Self {
        // A model is plain numbers and words, which TOML has for all of them.
        let recipe = toml::to_string(&BTreeMap::from([("model", model)])).unwrap_or_default();
        About {
            format: FORMAT,
            steps_done: 0,
            phase: 1,
            seed: 0,
            mesh: String::new(),
            program: String::new(),
            data: String::new(),
            recipe,
        }
    }

    /// Whether the checkpoint holds weights alone.
    pub fn is_of_weights(&self) -> bool {
        self.steps_done == 0 && self.program.is_empty()
    }

    /// How many steps its phase has; none where the recipe is another ribosome's.
    pub fn steps(&self) -> Option<u64> {
        let recipe: toml::Table = self.recipe.parse().ok()?;
        u64::try_from(recipe.get("steps")?.as_integer()?).ok()
    }

    /// The model that the recipe names; `None` where it is of none of the `families`.
    pub fn model(&self, families: &Families) -> Option<Model> {
        let recipe: toml::Table = self.recipe.parse().ok()?;
        families.read("model", recipe.get("model")?.clone()).ok()
    }
}

/// The metadata as it is written.
#[derive(Serialize, Deserialize)]
struct Metadata {
    #[serde(flatten)]
    about: About,
    /// SHA-256 of each tensor's bytes, in hex.
    sha256: BTreeMap<String, String>,
}

/// What can be wrong with a checkpoint or its file.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was being done.
        what: String,
        /// To which file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// There is no such file.
    #[error("there is no checkpoint {}; a run that has saved none starts without --resume", .0.display())]
    Absent(PathBuf),
    /// The file is no safetensors file, or no checkpoint of this program.
    #[error("{} is no checkpoint: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file's length is not what its header says.
    #[error(
        "the checkpoint {} has {actual} bytes, and its header says {expected}: it was cut off or changed; \
         take an earlier copy",
        path.display()
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes by the header.
        expected: u64,
        /// Bytes there are.
        actual: u64,
    },
    /// A version that this program does not know.
    #[error(
        "the checkpoint {} has format {found}, and this program reads format {FORMAT}; \
         go on with the ribosome that wrote it",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// The tensors are not those of this model and optimizer.
    #[error(
        "the checkpoint {} is of another model or optimizer:\n  {}\n  go on with the recipe it was made with",
        path.display(), problems.join("\n  ")
    )]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// What does not fit, tensor by tensor.
        problems: Vec<String>,
    },
    /// A tensor's bytes are not those that were written.
    #[error(
        "the tensor `{tensor}` of the checkpoint {} is damaged: its hash is not the one written with it; \
         take an earlier copy",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A tensor could not be brought from the devices.
    #[error("cannot fetch `{tensor}` for the checkpoint {}: {source}", path.display())]
    Fetch {
        /// The file that was being written.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The plugin's error.
        source: runtime::Error,
    },
}

impl From<FileError> for CheckpointError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Io { what, path, source } => CheckpointError::Io { what, path, source },
            FileError::Absent(path) => CheckpointError::Absent(path),
            FileError::Unreadable { path, reason } => CheckpointError::Unreadable { path, reason },
            FileError::Length {
                path,
                expected,
                actual,
            } => CheckpointError::Length {
                path,
                expected,
                actual,
            },
        }
    }
}

type Result<T> = std::result::Result<T, CheckpointError>;

impl std::fmt::Debug for Metadata {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.about.fmt(f)
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
