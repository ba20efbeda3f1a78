//! What people see: the way from a recipe to a compiled program, and what came out of it.
//!
//! [`compile()`] is the whole pipeline as one function of named, timed stages; its result is a [`CompileReport`], which
//! prints as text or as one JSON object. Each part of the report is a file: where the memory goes ([`memory`]), how
//! much arithmetic there is ([`flops`]), how long a step should take and what moves between devices ([`forecast`]),
//! what to change if the program does not fit ([`advice`]). Memory and cycles come from the compiler, never from a
//! formula. [`verify`] says how far a numeric reference is.

pub mod advice;
pub mod compile;
pub mod error;
pub mod flops;
pub mod forecast;
pub mod gpu;
pub mod job;
pub mod machine;
pub mod memory;
pub mod stages;
pub mod table;
mod text;
pub mod verify;

pub use compile::{CompileReport, Compiled, compile};
pub use error::Error;
pub use forecast::Forecast;
pub use job::{Job, Lowered};
pub use machine::Machine;
pub use stages::Stages;
