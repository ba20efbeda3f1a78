//! A trait for the configuration of a family or an objective: settings that can be printed, compared and written without
//! knowing their type.

use std::any::Any;
use std::fmt::Debug;

use serde::Serialize;

/// Settings whose type only their owner knows. Every type with `Debug`, `PartialEq` and `Serialize` implements it.
pub trait Configuration: Any + Debug + Send + Sync + erased_serde::Serialize {
    /// Whether `other` is of the same type and equal.
    fn equals(&self, other: &dyn Any) -> bool;
}

impl<T: Any + Debug + Send + Sync + PartialEq + Serialize> Configuration for T {
    fn equals(&self, other: &dyn Any) -> bool {
        other.downcast_ref() == Some(self)
    }
}
