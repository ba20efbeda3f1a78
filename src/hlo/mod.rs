//! The XLA side: modules, lowering to them, their bytes and text, and the analysis of compiled ones.
//!
//! - [`module`]: modules of computations of instructions, each with the few [`attribute`]s it has.
//! - [`proto`]: modules as the bytes XLA reads and writes.
//! - [`lower()`] turns a graph into a [`Program`]: a module, and a signature that names its inputs and outputs.
//! - [`text`]: a module as XLA's own parser reads it.
//! - [`analysis`]: what a compiled module costs, with loops multiplied out.

pub mod analysis;
pub mod attribute;
pub mod lower;
pub mod module;
pub mod program;
pub mod proto;
mod saved;
pub mod text;

pub use analysis::{Analysis, Collective, analyse};
pub use attribute::Attribute;
pub use lower::{InternalError, Layout, LowerError, lower};
pub use module::Module;
pub use program::{Port, PortRole, Program, Signature};
pub use saved::SavedError;
