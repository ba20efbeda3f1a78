//! Element types: the few that protein language models need, with their sizes and names.

use std::fmt;
use std::str::FromStr;

/// The element type of a tensor. Names follow HLO (`pred`, `s32`, `bf16`, ...).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// Truth value, one byte each.
    Pred,
    /// 32-bit signed integer: token ids, positions, counters.
    S32,
    /// 32-bit unsigned integer: the words of the counter-based generator.
    U32,
    /// 16-bit brain float: activations on TPU.
    BF16,
    /// 32-bit float: weights, optimizer state, norms, losses.
    F32,
    /// 64-bit float: gradient checks.
    F64,
    /// Several values at once: a loop's result before `get`. Never an element.
    Tuple,
}

impl DType {
    /// Every element type (all but [`DType::Tuple`]).
    pub const ELEMENTS: [DType; 6] = [
        DType::Pred,
        DType::S32,
        DType::U32,
        DType::BF16,
        DType::F32,
        DType::F64,
    ];

    /// Bytes of one element; 0 for a tuple, which has no elements.
    pub fn bytes(self) -> usize {
        match self {
            DType::Tuple => 0,
            DType::Pred => 1,
            DType::BF16 => 2,
            DType::S32 | DType::U32 | DType::F32 => 4,
            DType::F64 => 8,
        }
    }

    /// Whether gradients flow through values of this type.
    pub fn is_float(self) -> bool {
        matches!(self, DType::BF16 | DType::F32 | DType::F64)
    }

    /// Whether this is a whole-number type (truth values are not).
    pub fn is_integer(self) -> bool {
        matches!(self, DType::S32 | DType::U32)
    }

    /// The HLO name.
    pub fn name(self) -> &'static str {
        match self {
            DType::Pred => "pred",
            DType::S32 => "s32",
            DType::U32 => "u32",
            DType::BF16 => "bf16",
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::Tuple => "tuple",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        DType::ELEMENTS
            .into_iter()
            .chain([DType::Tuple])
            .find(|dtype| dtype.name() == text)
            .ok_or_else(|| format!("unknown element type `{text}`"))
    }
}
