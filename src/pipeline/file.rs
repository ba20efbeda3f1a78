//! Programs that no recipe made: a graph's text, as `ribosome lower --emit graph` prints it, and a saved module with its
//! signature.

use std::io;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::job::{Lowered, checked, lower_for, module_name};
use super::stages::Stages;
use crate::graph::text::ParseError;
use crate::graph::{Graph, cost};
use crate::hlo::{Program, SavedError};
use crate::sharding::{Mesh, Rules};

/// A program from files.
#[derive(Clone, Debug)]
pub enum ProgramFile {
    /// A graph, which still has to be lowered for a mesh.
    Graph {
        /// The file's name without its ending.
        name: String,
        /// The graph.
        graph: Graph,
    },
    /// A lowered program, whose mesh is its signature's.
    Saved(Box<Program>),
}

/// Why a path gives no program.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
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
    /// The two files of a saved program are not what they should be.
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
    /// The path is neither recipe nor program.
    #[error(
        "{} is {what}; a program is either a graph's text (`ribosome lower --emit graph`) or NAME.hlo.pb with NAME.json beside it (`--emit proto`)",
        path.display()
    )]
    NotAProgram {
        /// The path.
        path: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
}

impl FileError {
    /// Whether the path was the wrong one, as opposed to a file that is damaged.
    pub fn is_usage(&self) -> bool {
        matches!(self, FileError::NotAProgram { .. })
    }
}

/// How the name of a saved module ends.
const MODULE: &str = ".hlo.pb";

impl ProgramFile {
    /// Reads the program at `path`.
    ///
    /// # Errors
    /// A path that is something else, a file that cannot be read, and one that is damaged.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let other = |what| {
            let path = path.to_path_buf();
            Err(FileError::NotAProgram { path, what })
        };
        if path.is_dir() {
            return other("a folder");
        }
        let bytes = std::fs::read(path).map_err(|source| FileError::Unreadable {
            path: path.to_path_buf(),
            source,
        })?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(name) = name.strip_suffix(MODULE) {
            return saved(path, name, &bytes);
        }
        let Ok(text) = std::str::from_utf8(&bytes) else {
            return other("not text, and its name does not end in .hlo.pb");
        };
        let start = text.trim_start();
        if start.starts_with("HloModule") {
            return other("HLO as text, which only XLA's own parser reads");
        }
        if start.starts_with('{') && name.ends_with(".json") {
            return other("JSON; the signature of a program is read with its module");
        }
        if !start.starts_with("graph") {
            return other("neither a recipe (.toml) nor a program");
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        match Graph::from_text(text) {
            Ok(graph) => Ok(ProgramFile::Graph {
                name: stem.into_owned(),
                graph,
            }),
            Err(source) => Err(FileError::Graph {
                path: path.to_path_buf(),
                source,
            }),
        }
    }

    /// What reports call the program.
    pub fn name(&self) -> String {
        match self {
            ProgramFile::Graph { name, .. } => module_name(name),
            ProgramFile::Saved(program) => module_name(&program.module().name),
        }
    }

    /// The program for `mesh`: a graph is checked and lowered for it under the standard rules, and a saved program must
    /// have been. Without a mesh a saved program keeps its own.
    ///
    /// # Errors
    /// A graph that is not well formed or does not divide, a graph without a mesh, and a saved program with another mesh.
    pub fn lower(self, mesh: Option<&Mesh>, stages: &mut Stages) -> Result<Lowered, Error> {
        let name = self.name();
        let (graph, mesh) = match (self, mesh) {
            (ProgramFile::Graph { graph, .. }, Some(mesh)) => (graph, mesh),
            (ProgramFile::Graph { .. }, None) => return Err(Error::NoMesh { name }),
            (ProgramFile::Saved(program), mesh) => {
                let saved = &program.signature.mesh;
                return match mesh.filter(|mesh| *mesh != saved) {
                    None => Ok(Lowered::of(*program)),
                    Some(asked) => Err(Error::OtherMesh {
                        name,
                        saved: saved.clone(),
                        asked: asked.clone(),
                    }),
                };
            }
        };
        let graph = checked(graph, stages)?;
        stages.time("place", || Rules::standard().check(mesh))?;
        let program = lower_for(&graph, &name, mesh, stages)?;
        Ok(Lowered {
            cost: Some(cost(&graph)),
            graph: Some(graph),
            ..Lowered::of(program)
        })
    }
}

/// The program whose module is `bytes`, read from `path`, with the signature NAME.json beside it.
fn saved(path: &Path, name: &str, bytes: &[u8]) -> Result<ProgramFile, FileError> {
    let beside = path.with_file_name(format!("{name}.json"));
    let signature = std::fs::read_to_string(&beside).map_err(|source| FileError::NoSignature {
        path: beside,
        module: path.to_path_buf(),
        source,
    })?;
    match Program::from_saved(bytes, &signature) {
        Ok(program) => Ok(ProgramFile::Saved(Box::new(program))),
        Err(source) => Err(FileError::Saved {
            path: path.to_path_buf(),
            source,
        }),
    }
}
