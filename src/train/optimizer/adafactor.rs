//! Adafactor (Shazeer and Stern 2018), which stores the second moments of a matrix as one number per row and one per
//! column. Settings and defaults are those of mesh-tensorflow, which trained ProtT5.

use serde::{Deserialize, Serialize};

use super::{Update, View};
use crate::graph::Tensor;

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Adafactor {
    /// Second moments decay by 1 - step^`decay_exponent`.
    pub decay_exponent: f64,
    /// The root mean square that an update is clipped to.
    pub clip_threshold: f64,
    /// Added to squared gradients (epsilon 1 of the paper).
    pub epsilon: f64,
    /// The smallest scale of a weight (epsilon 2 of the paper).
    pub scale_floor: f64,
    /// Whether the learning rate is multiplied by the weight's root mean square.
    pub scale_by_weight: bool,
    /// The decay of a moving average of updates; 0 switches it off.
    pub momentum: f64,
    /// The fraction of a weight that a step subtracts, times the scaled learning rate.
    pub weight_decay: f64,
    /// Matrices with fewer rows or columns than this are not factored.
    pub least_factored: usize,
}

impl Default for Adafactor {
    fn default() -> Self {
        Adafactor {
            decay_exponent: -0.8,
            clip_threshold: 1.0,
            epsilon: 1e-30,
            scale_floor: 1e-3,
            scale_by_weight: true,
            momentum: 0.0,
            weight_decay: 0.0,
            least_factored: 128,
        }
    }
}

impl Adafactor {
    pub(super) fn apply<'g>(&self, update: Update<'_, 'g>) -> Tensor<'g> {
        let view = View::of(update.weight);
        let Update {
            value, gradient, ..
        } = update;
        let mean_square = |x: Tensor<'g>| (x * x).mean(view.own.clone());
        let squares = gradient * gradient + self.epsilon;
        let kept = {
            let one = update.step.constant(1.0);
            one - update.step.pow(update.step.constant(self.decay_exponent))
        };
        let lost = kept.constant(1.0) - kept;
        let average = |before: Tensor<'g>, now: Tensor<'g>| before * kept + now * lost;

        let mut change = if view.is_matrix(self.least_factored) {
            let rows = squares.mean(view.columns.clone());
            let rows = average(update.state("adafactor.row", rows.shape()), rows);
            let columns = squares.mean(view.rows.clone());
            let columns = average(update.state("adafactor.column", columns.shape()), columns);
            update.set_state("adafactor.row", rows);
            update.set_state("adafactor.column", columns);
            let relative = rows / rows.mean(view.rows.clone());
            gradient * relative.rsqrt() * columns.rsqrt()
        } else {
            let all = average(update.state("adafactor.square", squares.shape()), squares);
            update.set_state("adafactor.square", all);
            gradient * all.rsqrt()
        };
        let excess = mean_square(change).sqrt() * (1.0 / self.clip_threshold);
        change = change / excess.maximum(excess.constant(1.0));
        let mut rate = update.rate;
        if self.scale_by_weight {
            let scale = mean_square(value).sqrt();
            rate = scale.maximum(scale.constant(self.scale_floor)) * rate;
        }
        change = change * rate;
        if self.momentum > 0.0 {
            let before = update.state("adafactor.momentum", change.shape());
            change = before * self.momentum + change * (1.0 - self.momentum);
            update.set_state("adafactor.momentum", change);
        }
        match self.weight_decay > 0.0 {
            true => value - value * rate * self.weight_decay - change,
            false => value - change,
        }
    }
}
