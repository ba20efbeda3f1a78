//! Stochastic gradient descent with momentum: the velocity is a decaying sum of gradients (Polyak 1964).

use serde::{Deserialize, Serialize};

use super::Update;
use crate::graph::Tensor;

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Momentum {
    /// The decay of the velocity.
    pub decay: f64,
}

impl Default for Momentum {
    fn default() -> Self {
        Momentum { decay: 0.9 }
    }
}

impl Momentum {
    pub(super) fn apply<'g>(&self, update: Update<'_, 'g>) -> Tensor<'g> {
        let before = update.state("momentum.velocity", update.gradient.shape());
        let velocity = before * self.decay + update.gradient;
        update.set_state("momentum.velocity", velocity);
        update.value - velocity * update.rate
    }
}
