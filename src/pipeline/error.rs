//! What can go wrong between a recipe and a compiled program.

use super::file_error::ProgramFileError;
use crate::graph::GraphError;
use crate::hlo::{InternalError, LowerError};
use crate::runtime;
use crate::sharding::{Mesh, ShardingError};
use crate::train::recipe::RecipeError;
use crate::train::step::StepError;

/// An error of one of the stages.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that the recipe names cannot be read, or is the wrong kind.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The path is not a program.
    #[error(transparent)]
    File(#[from] ProgramFileError),
    /// A graph was given without a mesh, which its text does not state.
    #[error(
        "{name} is a graph, which needs a mesh; give one with --mesh, such as --mesh data=4,model=2"
    )]
    NoMesh {
        /// The graph's name.
        name: String,
    },
    /// A saved program was lowered for another mesh than the one given.
    #[error(
        "{name} was lowered for the mesh {saved} and cannot be compiled for {asked}; leave --mesh out, or lower it again"
    )]
    OtherMesh {
        /// The program's name.
        name: String,
        /// Its mesh.
        saved: Mesh,
        /// The mesh asked for.
        asked: Mesh,
    },
    /// The step cannot be built.
    #[error(transparent)]
    Step(#[from] StepError),
    /// The step's graph is not well formed; no recipe should be able to cause this.
    #[error("the graph is not well formed ({} mistakes); the first: {first}", rest + 1)]
    Graph {
        /// The first mistake.
        first: Box<GraphError>,
        /// The number of other mistakes.
        rest: usize,
    },
    /// The target, the mesh and the model do not fit together.
    #[error(transparent)]
    Sharding(#[from] ShardingError),
    /// The lowering contradicts itself.
    #[error(transparent)]
    Lowering(#[from] InternalError),
    /// The plugin is not available, or refused a call.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// The plugin's devices are not those of the target's name.
    #[error("{target} has {expected} devices, but the plugin describes {found}")]
    Devices {
        /// The target's name.
        target: String,
        /// Devices according to the target's name.
        expected: usize,
        /// Devices according to the plugin.
        found: usize,
    },
    /// The target has no devices on this machine.
    #[error(
        "{target} is only described, so nothing can run on it; train on cpu:8, cuda or tpu, or use `ribosome compile` for it"
    )]
    NothingRuns {
        /// The target's name.
        target: String,
    },
    /// The devices' own descriptions do not form a torus.
    #[error(
        "the {devices} devices of {target} do not fill a box of chips, so no mesh can be placed on the links between them"
    )]
    NoTorus {
        /// The target's name.
        target: String,
        /// The number of devices.
        devices: usize,
    },
    /// There is no TPU to ask.
    #[error(
        "no TPU is attached to this machine (neither {} exists); to compile without one, name a target, such as --on v3-8",
        looked_for.join(" nor ")
    )]
    NoTpu {
        /// The device files; a machine with a TPU has one of them.
        looked_for: &'static [&'static str],
    },
    /// The plugin's optimized program cannot be read.
    #[error("cannot read the plugin's optimized program: {0}")]
    Optimized(String),
}

impl From<LowerError> for Error {
    fn from(error: LowerError) -> Self {
        match error {
            LowerError::Sharding(error) => Error::Sharding(error),
            LowerError::Internal(error) => Error::Lowering(error),
        }
    }
}

impl Error {
    /// The checker's mistakes as one error.
    pub(super) fn graph(mut mistakes: Vec<GraphError>) -> Self {
        let first = Box::new(mistakes.swap_remove(0));
        Error::Graph {
            first,
            rest: mistakes.len(),
        }
    }

    /// Whether the request itself is wrong, as opposed to a failure in carrying it out.
    pub fn is_usage(&self) -> bool {
        match self {
            Error::Step(_)
            | Error::Sharding(_)
            | Error::NoMesh { .. }
            | Error::NothingRuns { .. }
            | Error::OtherMesh { .. } => true,
            Error::File(error) => error.is_usage(),
            Error::Recipe(_)
            | Error::Graph { .. }
            | Error::Lowering(_)
            | Error::Runtime(_)
            | Error::Devices { .. }
            | Error::NoTorus { .. }
            | Error::NoTpu { .. }
            | Error::Optimized(_) => false,
        }
    }
}
