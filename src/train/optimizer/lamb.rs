//! LAMB (You et al. 2020): Adam's update, scaled for each layer's weight to the norm of that weight. Defaults are those of
//! the code that trained BERT and ALBERT, and with it ProtBert, ProtAlbert and ProtElectra.

use serde::{Deserialize, Serialize};

use super::moments::{MomentType, Moments, is_norm_or_bias};
use super::{Update, View};
use crate::graph::Tensor;

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lamb {
    /// The decay of the mean of gradients.
    pub beta1: f64,
    /// The decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// The fraction of a weight that is added to its update, before scaling.
    pub weight_decay: f64,
    /// Where the bias of moments that start from zero is corrected.
    pub debias: Debias,
    /// The upper limit of a weight's norm in the scaling: 10 in `torch_optimizer`, none in the paper and in ALBERT's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clamp: Option<f64>,
    /// Whether updates are scaled; if not, this is Adam.
    pub trust_ratio: bool,
    /// Whether norms and biases are exempt from decay and scaling, as in ALBERT's code. `torch_optimizer` decays and scales
    /// all its parameters.
    pub exclude_norm_and_bias: bool,
    /// The element type of stored first moments.
    pub first_moment: MomentType,
}

/// Where LAMB corrects the bias of moments that start from zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Debias {
    /// Nowhere: ALBERT's code, and the default of `torch_optimizer`.
    #[default]
    None,
    /// Each moment is divided by 1 - beta^step: the paper's algorithm.
    Moments,
    /// The learning rate is multiplied by sqrt(1 - beta2^step) / (1 - beta1^step): `torch_optimizer` with `debias`. Unlike the
    /// paper's correction, the scaling does not undo it, so the first steps are smaller.
    Rate,
}

impl Default for Lamb {
    fn default() -> Self {
        Lamb {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-6,
            weight_decay: 0.01,
            debias: Debias::None,
            clamp: None,
            trust_ratio: true,
            exclude_norm_and_bias: true,
            first_moment: MomentType::F32,
        }
    }
}

impl Lamb {
    pub(super) fn apply<'g>(&self, update: Update<'_, 'g>) -> Tensor<'g> {
        let Update { value, weight, .. } = update;
        let moments = Moments {
            beta1: self.beta1,
            beta2: self.beta2,
            kept: self.first_moment,
        };
        let (mut mean, mut square) = moments.next(&update, "lamb");
        let (first, second) = moments.shares(update.step);
        let mut rate = update.rate;
        match self.debias {
            Debias::None => {}
            Debias::Moments => (mean, square) = (mean / first, square / second),
            Debias::Rate => rate = rate * second.sqrt() / first,
        }
        let mut change = mean / (square.sqrt() + self.epsilon);
        let excluded = self.exclude_norm_and_bias && is_norm_or_bias(weight);
        if self.weight_decay > 0.0 && !excluded {
            change = change + value * self.weight_decay;
        }
        if self.trust_ratio && !excluded {
            // One ratio per layer: the norms are over a layer's own axes.
            let own = View::of(weight).own;
            let norm = |x: Tensor<'g>| (x * x).sum(own.clone()).sqrt();
            let (mut weight_norm, change_norm) = (norm(value), norm(change));
            if let Some(limit) = self.clamp {
                weight_norm = weight_norm.minimum(weight_norm.constant(limit));
            }
            let (zero, one) = (change_norm.constant(0.0), change_norm.constant(1.0));
            let known = weight_norm.gt(zero).and(change_norm.gt(zero));
            change = change * known.select(weight_norm / change_norm, one);
        }
        value - change * rate
    }
}
