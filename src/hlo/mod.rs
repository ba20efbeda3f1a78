//! The XLA side: modules as protocol messages, lowering to them, their text, and what compiled modules tell.
//!
//! - [`proto`]: the messages XLA reads and writes.
//! - [`lower()`] turns a graph into a [`Program`]: a module, and a signature that names its inputs and outputs.
//! - [`text`]: a module as XLA's own parser reads it.
//! - [`analysis`]: what a compiled module costs, with loops multiplied out.

pub mod analysis;
pub mod lower;
pub mod program;
pub mod proto;
mod saved;
pub mod text;

pub use analysis::{Analysis, Collective, analyse};
pub use lower::{Layout, lower};
pub use program::{Port, Program, Signature};
pub use saved::SavedError;
