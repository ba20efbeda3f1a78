//! The one way from a recipe to a compiled program: [`Job`] builds, checks, places and lowers a recipe's step, [`Machine`]
//! is a target with its plugin loaded, and [`compile()`] does it all as named, timed [`Stages`]. Whoever compiles or trains
//! goes this way, so that the program which was forecast is the program that runs.

mod compile;
mod error;
mod gpu;
mod job;
mod machine;
mod stages;

pub use compile::{Compiled, compile};
pub use error::Error;
pub use job::{Arranged, Job, Lowered};
pub use machine::{Built, Machine};
pub use stages::{Seconds, Stages};
