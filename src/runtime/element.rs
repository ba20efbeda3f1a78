//! Conversion between host values of the element types and the bytes that buffers hold.

use half::bf16;

use crate::graph::DType;

/// A Rust type whose values a buffer can hold.
pub trait Element: Copy {
    /// The element type.
    const DTYPE: DType;

    /// The values' bytes, in native order.
    fn to_bytes(values: &[Self]) -> Vec<u8>;

    /// The values in `bytes`; bytes after the last whole value are ignored.
    fn from_bytes(bytes: &[u8]) -> Vec<Self>;
}

macro_rules! numbers {
    ($($type:ty => $dtype:ident,)*) => {$(
        impl Element for $type {
            const DTYPE: DType = DType::$dtype;

            fn to_bytes(values: &[Self]) -> Vec<u8> {
                values.iter().flat_map(|value| value.to_ne_bytes()).collect()
            }

            fn from_bytes(bytes: &[u8]) -> Vec<Self> {
                let (chunks, _) = bytes.as_chunks();
                chunks.iter().map(|chunk| <$type>::from_ne_bytes(*chunk)).collect()
            }
        }
    )*};
}

numbers! { i32 => S32, u32 => U32, bf16 => BF16, f32 => F32, f64 => F64, }

impl Element for bool {
    const DTYPE: DType = DType::Pred;

    fn to_bytes(values: &[bool]) -> Vec<u8> {
        values.iter().map(|&value| value.into()).collect()
    }

    fn from_bytes(bytes: &[u8]) -> Vec<bool> {
        bytes.iter().map(|&byte| byte != 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back<E: Element + PartialEq + std::fmt::Debug>(values: &[E]) {
        let bytes = E::to_bytes(values);
        assert_eq!(bytes.len(), values.len() * E::DTYPE.bytes());
        assert_eq!(E::from_bytes(&bytes), values);
    }

    #[test]
    fn values_come_back() {
        there_and_back(&[true, false]);
        there_and_back(&[-1i32, i32::MAX]);
        there_and_back(&[0u32, u32::MAX]);
        there_and_back(&[bf16::from_f32(1.5)]);
        there_and_back(&[1.0f32, -0.0]);
        there_and_back(&[1.0f64, f64::MIN]);
    }
}
