//! What the optimizers of Adam's family share: the decaying means of gradients and of their squares (Kingma and Ba 2015),
//! and the weights that are exempt from decay.

use serde::{Deserialize, Serialize};

use super::Update;
use crate::graph::{DType, Tensor, Weight};

/// The element type of stored first moments, which are computed in `f32` either way. `bf16` saves two bytes per weight.
/// Second moments stay `f32`: with a decay of 0.999, a step changes them by less than `bf16` resolves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MomentType {
    /// Four bytes.
    #[default]
    F32,
    /// Two bytes.
    Bf16,
}

impl From<MomentType> for DType {
    fn from(kept: MomentType) -> DType {
        match kept {
            MomentType::F32 => DType::F32,
            MomentType::Bf16 => DType::BF16,
        }
    }
}

/// The two decays, and the element type of the stored first moment.
#[derive(Clone, Copy)]
pub(super) struct Moments {
    pub beta1: f64,
    pub beta2: f64,
    pub kept: MomentType,
}

impl Moments {
    /// The next first and second moment, of the gradient's shape, which become the state `NAME.first` and `NAME.second`.
    pub fn next<'g>(self, update: &Update<'_, 'g>, name: &str) -> (Tensor<'g>, Tensor<'g>) {
        let (first, second) = (format!("{name}.first"), format!("{name}.second"));
        let gradient = update.gradient;
        let (kept, shape) = (DType::from(self.kept), gradient.shape());
        let before = update.state(&first, shape.clone().with_dtype(kept));
        let mean = before.cast(DType::F32) * self.beta1 + gradient * (1.0 - self.beta1);
        update.set_state(&first, mean.cast(kept));
        let before = update.state(&second, shape);
        let square = before * self.beta2 + gradient * gradient * (1.0 - self.beta2);
        update.set_state(&second, square);
        (mean, square)
    }

    /// The fractions of an unbiased mean that the two moments reach after `step` steps from zero: 1 - beta^step each.
    pub fn shares<'g>(self, step: Tensor<'g>) -> (Tensor<'g>, Tensor<'g>) {
        // expm1, because 1 - 0.999^1 in f32 would have a relative error of 3e-5.
        let share = |beta: f64| -(step * beta.ln()).exp_m1();
        (share(self.beta1), share(self.beta2))
    }
}

/// Whether `weight` is a norm's scale or any layer's bias, by its name: `scale`, `bias`, or `.._bias`.
pub(super) fn is_norm_or_bias(weight: &Weight) -> bool {
    let last = weight.name.rsplit('/').next().unwrap_or_default();
    last == "scale" || last == "bias" || last.ends_with("_bias")
}
