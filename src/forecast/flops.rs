//! The arithmetic of a step: what the model requires, and what the compiled program does.

use serde::Serialize;

use crate::graph::Cost;
use crate::hlo::Analysis;

/// Floating-point operations of one step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FlopsReport {
    /// Operations of the matrix products of the forward and backward pass over all devices, without recomputation; `None` if
    /// the program's graph is unknown.
    pub model_per_step: Option<u64>,
    /// Operations of the compiled program's matrix products on one device, with recomputation; `None` if the plugin does not
    /// give its optimized program.
    pub hardware_per_device: Option<u64>,
}

impl FlopsReport {
    /// The report of the graph's arithmetic and the compiled module's.
    pub fn new(cost: Option<&Cost>, analysis: Option<&Analysis>) -> Self {
        FlopsReport {
            model_per_step: cost.map(|cost| cost.model.dots as u64),
            hardware_per_device: analysis.map(|analysis| analysis.flops as u64),
        }
    }
}
