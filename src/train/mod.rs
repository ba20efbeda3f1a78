//! Training: what is learned (objective), how (optimizer, schedule), the step as one graph, and the loop that runs it.

pub mod checkpoint;
pub mod convert;
mod mistake;
pub mod objective;
pub mod optimizer;
pub mod progress;
mod published;
pub mod recipe;
pub mod run;
pub mod schedule;
mod settings;
pub mod step;
pub mod trainer;
