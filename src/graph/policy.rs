//! The element types that a model computes in. One policy holds for a whole model: layers cast to its types. Norms,
//! softmax, losses and optimizer state are `f32` under any policy.

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
    /// The element type of activations and of the operands of products.
    pub fn compute(self) -> DType {
        match self {
            Policy::Bf16 => DType::BF16,
            Policy::F32 => DType::F32,
            Policy::F64 => DType::F64,
        }
    }

    /// The element type of norms, softmax and losses: `f32`, or wider if the model's is.
    pub fn exact(self) -> DType {
        match self {
            Policy::F64 => DType::F64,
            _ => DType::F32,
        }
    }
}
