//! LAMB (You et al. 2020): Adam's update, for each layer's weight scaled so that its norm is that of the weight. Defaults
//! are those of the code that BERT and ALBERT were trained with, as ProtBert, ProtAlbert and ProtElectra were.

use serde::{Deserialize, Serialize};

use super::moments::{MomentType, Moments, is_norm_or_bias};
use super::{Update, View};
use crate::graph::Tensor;

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lamb {
    /// What the mean of gradients keeps from step to step.
    pub beta1: f64,
    /// What the mean of squared gradients keeps.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// How much of a weight is added to its update, before that is scaled.
    pub weight_decay: f64,
    /// Where it is made good that moments start from zero.
    pub debias: Debias,
    /// The largest norm that a weight counts with; `torch_optimizer` has 10, the paper and ALBERT's code no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clamp: Option<f64>,
    /// Whether updates are scaled at all; without, this is Adam.
    pub trust_ratio: bool,
    /// Whether norms and biases neither decay nor are scaled. ALBERT's code leaves out of the scaling what it leaves out
    /// of decay; `torch_optimizer` decays and scales all it is given.
    pub exclude_norm_and_bias: bool,
    /// What first moments are kept in.
    pub first_moment: MomentType,
}

/// Where LAMB makes good that its moments start from zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Debias {
    /// Nowhere: ALBERT's code, and the default of `torch_optimizer`.
    #[default]
    None,
    /// Each moment is divided by 1 - beta^step: the paper's algorithm.
    Moments,
    /// The learning rate is multiplied by sqrt(1 - beta2^step) / (1 - beta1^step): `torch_optimizer` with `debias`. Unlike the
    /// paper's this is not undone by the scaling, and first steps are smaller.
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
            // One ratio a layer: the norms are over a layer's own axes.
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
