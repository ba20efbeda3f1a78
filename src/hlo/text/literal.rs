//! Constants. Each number is the shortest that reads back as the same bits.

use half::{bf16, f16};

use super::super::proto::{LiteralProto, PrimitiveType, ShapeProto};
use super::shape::element_name;

/// The text of a literal: `1.5`, `{ {1, 2}, {3, 4} }`, `(1, {2, 3})`.
///
/// A literal of an unknown type, or with too few elements, prints as `<...>` with the reason, which XLA's parser refuses.
pub(super) fn literal(literal: &LiteralProto) -> String {
    let Some(shape) = &literal.shape else {
        return "<literal without a shape>".into();
    };
    if shape.element_type() == PrimitiveType::Tuple {
        let parts: Vec<String> = literal.tuple_literals.iter().map(self::literal).collect();
        return format!("({})", parts.join(", "));
    }
    let Some(elements) = elements(literal, shape.element_type(), shape.dimensions.is_empty())
    else {
        let name = element_name(shape.element_type());
        return format!("<literal of type {name}>");
    };
    let sizes = shape
        .dimensions
        .iter()
        .map(|&size| usize::try_from(size).ok());
    let sizes: Option<Vec<usize>> = sizes.collect();
    let Some(sizes) = sizes.filter(|sizes| count(sizes) == Some(elements.len())) else {
        let (found, sizes) = (elements.len(), &shape.dimensions);
        return format!("<literal of {found} elements for {sizes:?}>");
    };
    let Some(strides) = strides(shape, &sizes) else {
        return "<literal with a layout of other dimensions>".into();
    };
    let mut text = String::new();
    nest(&mut text, &elements, &sizes, &strides, 0);
    text
}

/// The number of elements of an array, unless it cannot be counted.
fn count(sizes: &[usize]) -> Option<usize> {
    sizes
        .iter()
        .try_fold(1usize, |count, &size| count.checked_mul(size))
}

/// The distance between neighbours along each dimension: elements are stored in the order of the layout.
fn strides(shape: &ShapeProto, sizes: &[usize]) -> Option<Vec<usize>> {
    let rank = sizes.len();
    let minor_to_major: Vec<usize> = match &shape.layout {
        Some(layout) => layout.minor_to_major.iter().map(|&d| d as usize).collect(),
        None => (0..rank).rev().collect(),
    };
    let mut all = minor_to_major.clone();
    all.sort_unstable();
    if !all.into_iter().eq(0..rank) {
        return None;
    }
    let mut strides = vec![0; rank];
    let mut stride = 1;
    for dimension in minor_to_major {
        strides[dimension] = stride;
        // The elements were counted, so this overflows only next to an empty dimension, where it is not used.
        stride = usize::wrapping_mul(stride, sizes[dimension]);
    }
    Some(strides)
}

fn nest(text: &mut String, elements: &[String], sizes: &[usize], strides: &[usize], at: usize) {
    let [size, inner @ ..] = sizes else {
        text.push_str(&elements[at]);
        return;
    };
    text.push('{');
    for i in 0..*size {
        if i > 0 {
            text.push_str(", ");
        }
        nest(text, elements, inner, &strides[1..], at + i * strides[0]);
    }
    text.push('}');
}

/// The elements in storage order; `None` if the type is unknown.
fn elements(literal: &LiteralProto, element: PrimitiveType, scalar: bool) -> Option<Vec<String>> {
    use PrimitiveType as P;
    fn show<T: ToString>(values: &[T]) -> Vec<String> {
        values.iter().map(T::to_string).collect()
    }
    fn words(bytes: &[u8]) -> impl Iterator<Item = [u8; 2]> {
        bytes.as_chunks::<2>().0.iter().copied()
    }
    Some(match element {
        P::Pred if scalar => show(&literal.preds),
        P::Pred => literal
            .preds
            .iter()
            .map(|&p| u8::from(p).to_string())
            .collect(),
        P::U8 => show(&literal.u8s),
        P::S8 => literal.s8s.iter().map(|&b| (b as i8).to_string()).collect(),
        P::U16 => words(&literal.u16s)
            .map(|w| u16::from_le_bytes(w).to_string())
            .collect(),
        P::S16 => words(&literal.s16s)
            .map(|w| i16::from_le_bytes(w).to_string())
            .collect(),
        P::S32 => show(&literal.s32s),
        P::S64 => show(&literal.s64s),
        P::U32 => show(&literal.u32s),
        P::U64 => show(&literal.u64s),
        P::F32 => literal.f32s.iter().map(|&v| f32_text(v)).collect(),
        P::F64 => literal.f64s.iter().map(|&v| f64_text(v)).collect(),
        P::F16 => words(&literal.f16s)
            .map(|w| f16_text(f16::from_le_bytes(w)))
            .collect(),
        P::BF16 => words(&literal.bf16s)
            .map(|w| bf16_text(bf16::from_le_bytes(w)))
            .collect(),
        P::C64 => pairs(literal.c64s.iter().map(|&v| f32_text(v)).collect()),
        P::C128 => pairs(literal.c128s.iter().map(|&v| f64_text(v)).collect()),
        _ => return None,
    })
}

/// Complex numbers from their parts: `(re, im)`.
fn pairs(parts: Vec<String>) -> Vec<String> {
    parts
        .chunks(2)
        .map(|pair| format!("({})", pair.join(", ")))
        .collect()
}

fn f64_text(value: f64) -> String {
    if value.is_nan() {
        let bits = value.to_bits();
        return nan(value.is_sign_negative(), bits & ((1 << 52) - 1), 52);
    }
    if value == 0.0 && value.is_sign_negative() {
        return "-0.0".into(); // XLA's parser reads `-0` as the integer, which has no sign
    }
    shorter(format!("{value}"), format!("{value:e}"))
}

fn f32_text(value: f32) -> String {
    if value.is_nan() {
        let bits = u64::from(value.to_bits());
        return nan(value.is_sign_negative(), bits & ((1 << 23) - 1), 23);
    }
    if value == 0.0 && value.is_sign_negative() {
        return "-0.0".into(); // XLA's parser reads `-0` as the integer, which has no sign
    }
    shorter(format!("{value}"), format!("{value:e}"))
}

fn bf16_text(value: bf16) -> String {
    if value.is_nan() {
        let bits = u64::from(value.to_bits());
        return nan(value.is_sign_negative(), bits & ((1 << 7) - 1), 7);
    }
    fewest_digits(value.to_f32(), |near| bf16::from_f32(near) == value)
}

fn f16_text(value: f16) -> String {
    if value.is_nan() {
        let bits = u64::from(value.to_bits());
        return nan(value.is_sign_negative(), bits & ((1 << 10) - 1), 10);
    }
    fewest_digits(value.to_f32(), |near| f16::from_f32(near) == value)
}

/// A value of a type narrower than `f32` with as few digits as still round to it.
fn fewest_digits(value: f32, same: impl Fn(f32) -> bool) -> String {
    (0..9)
        .filter_map(|digits| format!("{value:.digits$e}").parse().ok())
        .find(|&near: &f32| same(near))
        .map_or_else(|| f32_text(value), f32_text)
}

/// `nan`, with its sign and its mantissa if they are not the default ones.
fn nan(negative: bool, mantissa: u64, mantissa_bits: u32) -> String {
    let sign = if negative { "-" } else { "" };
    if mantissa == 1 << (mantissa_bits - 1) {
        format!("{sign}nan")
    } else {
        format!("{sign}nan(0x{mantissa:x})")
    }
}

/// Plain notation, unless the one with an exponent is much shorter.
fn shorter(plain: String, exponent: String) -> String {
    if plain.len() > exponent.len() + 2 {
        exponent
    } else {
        plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_floats_take_few_digits_and_read_back() {
        for bits in 0..=u16::MAX {
            let value = bf16::from_bits(bits);
            if value.is_nan() {
                continue;
            }
            let text = bf16_text(value);
            let back: f64 = text.parse().expect("a number");
            assert_eq!(bf16::from_f32(back as f32).to_bits(), bits, "{text}");
            assert!(text.len() <= 11, "{text}");
        }
    }

    #[test]
    fn floats_are_short() {
        assert_eq!(f32_text(0.1), "0.1");
        assert_eq!(f32_text(1e-6), "1e-6");
        assert_eq!(f32_text(-1e20), "-1e20");
        assert_eq!(f32_text(-0.0), "-0.0");
        assert_eq!(f32_text(f32::NEG_INFINITY), "-inf");
        assert_eq!(bf16_text(bf16::from_f32(0.1)), "0.1");
        assert_eq!(f64_text(1.0 / 3.0), "0.3333333333333333");
    }

    #[test]
    fn unusual_nans_keep_their_bits() {
        assert_eq!(f32_text(f32::NAN), "nan");
        assert_eq!(f32_text(-f32::NAN), "-nan");
        assert_eq!(f32_text(f32::from_bits(0x7f80_0001)), "nan(0x1)");
    }

    #[test]
    fn a_column_major_literal_prints_by_rows() {
        let text = literal(&LiteralProto {
            shape: Some(ShapeProto {
                element_type: PrimitiveType::S32 as i32,
                dimensions: vec![2, 3],
                layout: Some(super::super::super::proto::LayoutProto {
                    minor_to_major: vec![0, 1],
                    ..Default::default()
                }),
                ..Default::default()
            }),
            s32s: vec![1, 4, 2, 5, 3, 6],
            ..Default::default()
        });
        assert_eq!(text, "{{1, 2, 3}, {4, 5, 6}}");
    }

    #[test]
    fn a_layout_of_other_dimensions_is_not_guessed_at() {
        let text = literal(&LiteralProto {
            shape: Some(ShapeProto {
                element_type: PrimitiveType::S32 as i32,
                dimensions: vec![2],
                layout: Some(super::super::super::proto::LayoutProto {
                    minor_to_major: vec![5],
                    ..Default::default()
                }),
                ..Default::default()
            }),
            s32s: vec![1, 2],
            ..Default::default()
        });
        assert_eq!(text, "<literal with a layout of other dimensions>");
    }

    #[test]
    fn a_literal_that_is_too_short_does_not_pass_for_a_whole_one() {
        let text = literal(&LiteralProto {
            shape: Some(ShapeProto {
                element_type: PrimitiveType::S32 as i32,
                dimensions: vec![2],
                ..Default::default()
            }),
            s32s: vec![1],
            ..Default::default()
        });
        assert_eq!(text, "<literal of 1 elements for [2]>");
    }
}
