//! How much arithmetic a step is: by the model as it is written down, and by the hardware as it was compiled.

use serde::Serialize;

use crate::graph::Cost;
use crate::hlo::Analysis;

/// Floating-point operations of one step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FlopsReport {
    /// Of the matrix products of forward and backward pass over all devices, nothing computed twice; `None` where the
    /// program's graph is not known.
    pub model_per_step: Option<u64>,
    /// Of the matrix products that the compiled program does on one device, with what it computes again; `None` where
    /// the plugin does not give its optimized program.
    pub hardware_per_device: Option<u64>,
}

impl FlopsReport {
    /// From the graph's arithmetic and the compiled module's.
    pub fn new(cost: Option<&Cost>, analysis: Option<&Analysis>) -> Self {
        FlopsReport {
            model_per_step: cost.map(|cost| cost.model.dots as u64),
            hardware_per_device: analysis.map(|analysis| analysis.flops as u64),
        }
    }
}
