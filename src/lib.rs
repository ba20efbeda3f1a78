//! Ribosome expresses protein language models in a small graph DSL that lowers to XLA HLO with explicit sharding
//! annotations, compiles them with the real TPU compiler, and runs the same program on CPU and GPU.

// A user's mistake is an error with a way out; tests alone may panic.
#![cfg_attr(
    not(test),
    deny(
        clippy::expect_used,
        clippy::panic,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

pub mod cli;
pub mod data;
pub mod forecast;
pub mod graph;
pub mod hlo;
pub mod models;
pub mod pipeline;
pub mod report;
pub mod runtime;
pub mod sharding;
pub mod train;
pub mod verify;
