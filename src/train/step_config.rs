//! The configuration of a step.

use super::objective::Objective;
use super::optimizer::Optimizer;
use super::schedule::Schedule;
use crate::data::Vocabulary;
use crate::graph::{Policy, Remat};
use crate::models::Model;

/// Everything that determines what a step computes.
#[derive(Clone, Debug)]
pub struct StepConfig {
    /// The model.
    pub model: Model,
    /// The objective.
    pub objective: Objective,
    /// The vocabulary of its tokens.
    pub vocabulary: Vocabulary,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// The learning rate.
    pub schedule: Schedule,
    /// The number of steps of the run, for a schedule that decays until the last one.
    pub steps: u64,
    /// The global norm that gradients are clipped to, if any.
    pub clip_norm: Option<f64>,
    /// Rows of a global batch.
    pub batch: usize,
    /// Tokens of a row.
    pub length: usize,
    /// The number of microbatches whose gradients are accumulated.
    pub microbatches: usize,
    /// Element types.
    pub policy: Policy,
    /// What loops over layers save for the backward pass.
    pub remat: Remat,
    /// Whether dropout is on.
    pub dropout: bool,
    /// Whether loops are unrolled.
    pub unroll: bool,
}
