//! Why a file is not a program.

use std::io;
use std::path::PathBuf;

use crate::graph::text::ParseError;
use crate::hlo::SavedError;

/// Why a path is not a program.
#[derive(Debug, thiserror::Error)]
pub enum ProgramFileError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The signature that belongs to a module cannot be read.
    #[error("cannot read {}, the signature of {}: {source}", path.display(), module.display())]
    NoSignature {
        /// The signature's file.
        path: PathBuf,
        /// The module's file.
        module: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The two files of a saved program are not valid.
    #[error("{}: {source}", path.display())]
    Saved {
        /// The module's file.
        path: PathBuf,
        /// Why.
        source: SavedError,
    },
    /// The text is not a graph.
    #[error("{}: {source}", path.display())]
    Graph {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: ParseError,
    },
    /// The path is neither a recipe nor a program.
    #[error(
        "{} is {what}; a program is either a graph's text (`ribosome lower --emit graph`) or NAME.hlo.pb with NAME.json next to it (`--emit proto`)",
        path.display()
    )]
    NotAProgram {
        /// The path.
        path: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
}

impl ProgramFileError {
    /// Whether the path is wrong, as opposed to the file being damaged.
    pub fn is_usage(&self) -> bool {
        matches!(self, ProgramFileError::NotAProgram { .. })
    }
}
