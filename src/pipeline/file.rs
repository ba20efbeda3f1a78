//! Programs without a recipe: a graph's text, as `ribosome lower --emit graph` prints it, or a saved module with its
//! signature.

use std::path::Path;

use super::error::Error;
use super::file_error::ProgramFileError;
use super::job::{Lowered, checked, lower_for, module_name};
use super::stages::Stages;
use crate::graph::Graph;
use crate::hlo::{Layout, Program};
use crate::sharding::{Mesh, Rules, check_mesh};

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
    /// A lowered program, whose signature states its mesh.
    Saved(Box<Program>),
}

/// The ending of a saved module's name.
const MODULE: &str = ".hlo.pb";

impl ProgramFile {
    /// Reads the program at `path`.
    ///
    /// # Errors
    /// The path is not a program, or the file cannot be read or is damaged.
    pub fn open(path: &Path) -> Result<Self, ProgramFileError> {
        let other = |what| {
            let path = path.to_path_buf();
            Err(ProgramFileError::NotAProgram { path, what })
        };
        if path.is_dir() {
            return other("a folder");
        }
        let bytes = std::fs::read(path).map_err(|source| ProgramFileError::Unreadable {
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
            Err(source) => Err(ProgramFileError::Graph {
                path: path.to_path_buf(),
                source,
            }),
        }
    }

    /// The program's name in reports.
    pub fn name(&self) -> String {
        match self {
            ProgramFile::Graph { name, .. } => module_name(name),
            ProgramFile::Saved(program) => module_name(&program.module().name),
        }
    }

    /// The program for `mesh`. A graph is checked and lowered for it under `rules`; a saved program must have been lowered for
    /// it, and keeps its own mesh if none is given.
    ///
    /// # Errors
    /// A graph is not well formed, does not divide or has no mesh, or a saved program has another mesh.
    pub fn lower(
        self,
        mesh: Option<&Mesh>,
        rules: &Rules,
        stages: &mut Stages,
    ) -> Result<Lowered, Error> {
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
        let lost = stages.time("place", || check_mesh(&graph, rules, mesh))?;
        let program = lower_for(&graph, &name, Layout { mesh, rules }, stages)?;
        Ok(Lowered::with_graph(graph, program, lost))
    }
}

/// The program whose module is `bytes`, read from `path`, with the signature NAME.json next to it.
fn saved(path: &Path, name: &str, bytes: &[u8]) -> Result<ProgramFile, ProgramFileError> {
    let beside = path.with_file_name(format!("{name}.json"));
    let signature =
        std::fs::read_to_string(&beside).map_err(|source| ProgramFileError::NoSignature {
            path: beside,
            module: path.to_path_buf(),
            source,
        })?;
    match Program::from_saved(bytes, &signature) {
        Ok(program) => Ok(ProgramFile::Saved(Box::new(program))),
        Err(source) => Err(ProgramFileError::Saved {
            path: path.to_path_buf(),
            source,
        }),
    }
}
