//! Training: what is learned (objective), how (optimizer, schedule), the step as one graph, and the loop that runs it.

pub mod catalog;
pub mod checkpoint;
pub mod convert;
mod mistake;
pub mod objective;
pub mod optimizer;
pub mod progress;
mod ranges;
pub mod recipe;
pub mod registry;
pub mod run;
pub mod schedule;
mod settings;
pub mod start;
pub mod step;
mod step_config;
pub mod trainer;
