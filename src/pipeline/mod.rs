//! The one way from a recipe to a compiled program, in two halves that are named, timed [`Stages`].
//!
//! 1. A program is [`Lowered`]: [`Job`] builds, checks, places and lowers a recipe's step; [`ProgramFile`] reads a graph's
//!    text or a saved module, which no recipe made.
//! 2. It is compiled: [`Machine`] is a target with its plugin loaded, and [`config()`] says which device takes which place
//!    of the mesh, and with which options. [`compile()`] does both halves, [`compile_program`] the second.
//!
//! [`Training`] is the same way for a run: the program which was forecast is the program that trains.

mod compile;
mod error;
mod file;
mod file_error;
mod gpu;
mod job;
mod machine;
mod stages;
mod training;

pub use compile::{Compiled, compile, compile_program};
pub use error::Error;
pub use file::ProgramFile;
pub use file_error::ProgramFileError;
pub use job::{Arranged, Job, Lowered};
pub use machine::{Built, Machine, config};
pub use stages::{Seconds, Stages};
pub use training::Training;
