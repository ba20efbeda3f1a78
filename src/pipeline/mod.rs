//! The one path from a recipe to a compiled program, in two halves of named, timed [`Stages`].
//!
//! 1. The program is [`Lowered`]: [`Job`] builds, checks, places and lowers a recipe's step; [`ProgramFile`] reads a graph's
//!    text or a saved module instead.
//! 2. It is compiled: [`Machine`] is a target with its plugin loaded, and [`config()`] gives the device of each mesh position
//!    and the compile options. [`compile()`] does both halves, [`compile_program`] the second.
//!
//! [`Training`] takes the same path for a run: the program that was forecast is the program that trains.

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
