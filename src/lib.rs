//! Ribosome expresses protein language models in a small graph DSL that lowers to XLA HLO with explicit sharding
//! annotations, compiles them with the real TPU compiler, and runs the same program on CPU and GPU.

pub mod data;
pub mod graph;
pub mod hlo;
pub mod models;
pub mod report;
pub mod runtime;
pub mod sharding;
pub mod train;
