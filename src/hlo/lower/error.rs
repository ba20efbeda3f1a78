//! Errors of lowering.

use crate::sharding::ShardingError;

/// Why a graph cannot be lowered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LowerError {
    /// The rules cannot place a tensor on the mesh.
    #[error(transparent)]
    Sharding(#[from] ShardingError),
    /// The lowering contradicts itself.
    #[error(transparent)]
    Internal(#[from] InternalError),
}

/// The lowering contradicts itself or the checker. Continuing would produce a wrong program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is a bug in ribosome's lowering, at {place}: {what}; please report it")]
pub struct InternalError {
    /// The node's scope path and operation, or the computation.
    pub place: String,
    /// What is missing.
    pub what: String,
}

impl LowerError {
    pub(super) fn internal(place: impl Into<String>, what: impl Into<String>) -> Self {
        LowerError::Internal(InternalError {
            place: place.into(),
            what: what.into(),
        })
    }

    /// The same error, with the node being lowered if it is a bug in the lowering.
    pub(super) fn at(self, node: impl FnOnce() -> String) -> Self {
        match self {
            LowerError::Internal(InternalError { place, what }) => {
                LowerError::internal(format!("{} ({place})", node()), what)
            }
            sharding => sharding,
        }
    }
}
