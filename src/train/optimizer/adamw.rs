//! AdamW (Loshchilov and Hutter 2019): Adam with weight decay that is subtracted from the weight instead of added to the
//! gradient. Defaults are PyTorch's.

use serde::{Deserialize, Serialize};

use super::Update;
use super::moments::{MomentType, Moments, is_norm_or_bias};
use crate::graph::Tensor;

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamW {
    /// The decay of the mean of gradients.
    pub beta1: f64,
    /// The decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// The fraction of a weight that a step subtracts, times the learning rate.
    pub weight_decay: f64,
    /// Whether moments are divided by 1 - beta^step. BERT's and ELECTRA's code does not.
    pub debias: bool,
    /// Whether norms and biases are exempt from decay, as in BERT's code. PyTorch's class decays all its parameters.
    pub exclude_norm_and_bias: bool,
    /// The element type of stored first moments.
    pub first_moment: MomentType,
}

impl Default for AdamW {
    fn default() -> Self {
        AdamW {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.01,
            debias: true,
            exclude_norm_and_bias: true,
            first_moment: MomentType::F32,
        }
    }
}

impl AdamW {
    pub(super) fn apply<'g>(&self, update: Update<'_, 'g>) -> Tensor<'g> {
        let moments = Moments {
            beta1: self.beta1,
            beta2: self.beta2,
            kept: self.first_moment,
        };
        let (mut mean, mut square) = moments.next(&update, "adamw");
        if self.debias {
            let (first, second) = moments.shares(update.step);
            (mean, square) = (mean / first, square / second);
        }
        let change = mean / (square.sqrt() + self.epsilon) * update.rate;
        let decays = !(self.exclude_norm_and_bias && is_norm_or_bias(update.weight));
        match decays && self.weight_decay > 0.0 {
            true => {
                let kept = update.rate.constant(1.0) - update.rate * self.weight_decay;
                update.value * kept - change
            }
            false => update.value - change,
        }
    }
}
