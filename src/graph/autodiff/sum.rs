//! The sum of one value's gradients.

use super::super::builder::Tensor;
use super::super::dtype::DType;

/// How many `bf16` gradients are added without conversion. JAX does the same for the readers of an activation (queries,
/// keys and values read one; a GELU's polynomial reads its input five times). Each addition is off by up to half a last
/// place. With more of them the small ones would be lost: 256 + 1 is 256 in `bf16`.
const FEW: usize = 5;

/// The sum of one value's gradients.
#[derive(Clone)]
pub(super) struct Sum<'g> {
    /// The gradients so far, while they are few.
    parts: Vec<Tensor<'g>>,
    total: Tensor<'g>,
    dtype: DType,
}

impl<'g> Sum<'g> {
    pub fn of(gradient: Tensor<'g>) -> Self {
        Sum {
            parts: vec![gradient],
            total: gradient,
            dtype: gradient.dtype(),
        }
    }

    /// Adds one gradient. Once there are more than a few, all `bf16` ones are added in `f32`.
    #[track_caller]
    pub fn add(&mut self, gradient: Tensor<'g>) {
        let narrow = self.dtype == DType::BF16;
        if narrow && self.parts.len() == FEW {
            let wide = self.parts.drain(..).map(|part| part.cast(DType::F32));
            self.total = wide.reduce(|sum, part| sum + part).unwrap_or(self.total);
        }
        match narrow && self.parts.is_empty() {
            true => self.total = self.total + gradient.cast(DType::F32),
            false => {
                self.total = self.total + gradient;
                self.parts.push(gradient);
            }
        }
    }

    /// The sum, in the value's own element type.
    #[track_caller]
    pub fn total(&self) -> Tensor<'g> {
        self.total.cast(self.dtype)
    }
}
