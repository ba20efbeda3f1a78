//! What every configuration is, of a family or of an objective: plain settings that can be printed, compared and written
//! down without knowing which they are.

use std::any::Any;
use std::fmt::Debug;

use serde::Serialize;

/// Settings of a kind that only their owner knows. Every struct that derives `Debug`, `PartialEq` and `Serialize` is one.
pub trait Configuration: Any + Debug + Send + Sync + erased_serde::Serialize {
    /// Whether `other` is of the same type and equal.
    fn equals(&self, other: &dyn Any) -> bool;
}

impl<T: Any + Debug + Send + Sync + PartialEq + Serialize> Configuration for T {
    fn equals(&self, other: &dyn Any) -> bool {
        other.downcast_ref() == Some(self)
    }
}
