//! Learning rates as functions of the step, computed in the graph.

use serde::{Deserialize, Serialize};

use crate::graph::Tensor;

/// How the learning rate goes with the step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// The same at every step.
    Constant {
        /// The rate.
        rate: f64,
    },
    /// `rate / sqrt(max(step, warmup))`: flat, then falling (T5). With `ramp`, the rate is at most `ramp * step`.
    InverseSqrt {
        /// The rate at step 1, were there no warm-up.
        rate: f64,
        /// Until this step the rate is flat.
        warmup: f64,
        /// The slope that the rate starts with, if it does not start flat.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ramp: Option<f64>,
    },
}

impl Schedule {
    /// The rate of `step` (counted from 1, `f32[]`), `f32[]`.
    pub fn rate<'g>(&self, step: Tensor<'g>) -> Tensor<'g> {
        match *self {
            Schedule::Constant { rate } => step.constant(rate),
            Schedule::InverseSqrt { rate, warmup, ramp } => {
                let flat = step.maximum(step.constant(warmup)).rsqrt() * rate;
                match ramp {
                    Some(slope) => (step * slope).minimum(flat),
                    None => flat,
                }
            }
        }
    }
}
