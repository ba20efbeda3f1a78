//! Which element types a model computes in. Written down once for a whole model and never inherited: layers cast to
//! what the policy says, and norms, softmax, losses and optimizer state are `f32` whatever it says.

use serde::{Deserialize, Serialize};

use super::dtype::DType;

/// The element types of a model's activations and products. Weights are always kept in `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// `bf16` activations and operands of products, with sums in `f32` on the hardware: for TPU.
    Bf16,
    /// `f32` everywhere, with products as exact as the hardware can: for CPU, and for comparing numbers.
    F32,
    /// `f64` activations and products: for checking gradients.
    F64,
}

impl Policy {
    /// What activations and the operands of products are.
    pub fn compute(self) -> DType {
        match self {
            Policy::Bf16 => DType::BF16,
            Policy::F32 => DType::F32,
            Policy::F64 => DType::F64,
        }
    }

    /// What norms, softmax and losses are: `f32`, or wider if the model is.
    pub fn exact(self) -> DType {
        match self {
            Policy::F64 => DType::F64,
            _ => DType::F32,
        }
    }
}
