//! Checkpoints: one safetensors file with every weight and all optimizer state, whose metadata holds what a run needs to
//! resume ([`About`]).
//!
//! A file is written beside its final name, synced and renamed, so that there is always one complete checkpoint: the old
//! one until the new one is ready. Tensors pass through the host one at a time in both directions. The metadata holds the
//! SHA-256 of each tensor, which reveals a damaged file. The hashes are known only after the tensors are written, so the
//! header is written twice, at the same length.
//!
//! A checkpoint of step 0 may hold only weights, which `ribosome import` took from other files. It has no fingerprint of a
//! program or data set, its recipe is the model alone, and a run that resumes from it starts with fresh optimizer state.
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

/// The version of the metadata that this program writes. It reads no other.
pub const FORMAT: u32 = 1;

/// The name of a run's checkpoint in the run's folder.
pub const FILE: &str = "checkpoint.safetensors";

/// The key of [`About`], as JSON, in safetensors' metadata. There is one key, because safetensors writes keys in no fixed
/// order, and equal runs must write equal files.
const KEY: &str = "ribosome";

/// A checkpoint's metadata about its run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The version of this record.
    pub format: u32,
    /// Steps done in its phase, which is the number of the next step, counted from 0.
    pub steps_done: u64,
    /// The phase of the recipe, from 1.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub phase: usize,
    /// The run's seed.
    pub seed: u32,
    /// The mesh that it ran on. It may resume on another.
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
    /// The metadata of a checkpoint that holds only the weights of `model`, before any step.
    pub fn of_weights(model: &Model) -> Self {
        // A model consists of numbers and words, which TOML can always express.
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

    /// Whether the checkpoint holds only weights.
    pub fn is_of_weights(&self) -> bool {
        self.steps_done == 0 && self.program.is_empty()
    }

    /// The number of steps of its phase; `None` if the recipe does not give it.
    pub fn steps(&self) -> Option<u64> {
        let recipe: toml::Table = self.recipe.parse().ok()?;
        u64::try_from(recipe.get("steps")?.as_integer()?).ok()
    }

    /// The recipe's model; `None` if it is not of one of the `families`.
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

/// Errors of a checkpoint or its file.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system's error.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// The operation that failed.
        what: String,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// There is no such file.
    #[error("there is no checkpoint {}; to start a new run, leave out --resume", .0.display())]
    Absent(PathBuf),
    /// The file is not a safetensors file, or not a checkpoint of this program.
    #[error("{} is not a checkpoint: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file's length differs from its header's.
    #[error(
        "the checkpoint {} has {actual} bytes, but its header says {expected}: it was cut off or changed; \
         use an earlier copy",
        path.display()
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// The length in bytes by its header.
        expected: u64,
        /// Its length in bytes.
        actual: u64,
    },
    /// A version that this program does not know.
    #[error(
        "the checkpoint {} has format {found}, and this program reads format {FORMAT}; \
         use the version of ribosome that wrote it",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// The tensors do not belong to this model and optimizer.
    #[error(
        "the checkpoint {} belongs to another model or optimizer:\n  {}\n  resume with the recipe that made it",
        path.display(), problems.join("\n  ")
    )]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// What does not fit, tensor by tensor.
        problems: Vec<String>,
    },
    /// A tensor's bytes differ from those that were written.
    #[error(
        "the tensor `{tensor}` of the checkpoint {} is damaged: its hash differs from the recorded one; \
         use an earlier copy",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A tensor could not be copied from the devices.
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
