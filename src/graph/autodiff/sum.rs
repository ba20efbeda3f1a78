//! The sum of the gradients that come to one value.

use super::super::builder::Tensor;
use super::super::dtype::DType;

/// How many `bf16` gradients are added as they are. That many cost no conversion, are what JAX has for the readers of an
/// activation (queries, keys and values read one; a GELU's polynomial reads its input five times), and are off by up to
/// half a last place for each addition. With more of them the small ones would be lost: 256 and 1 are 256 in `bf16`.
const FEW: usize = 5;

/// Gradients of one value, added up.
#[derive(Clone)]
pub(super) struct Sum<'g> {
    /// What came so far, while it is few.
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

    /// One gradient more. From the first that is not one of few, `bf16` ones are all added in `f32`.
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
