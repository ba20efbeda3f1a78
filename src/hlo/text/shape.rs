//! Shapes and layouts: `f32[2,3]{1,0}`, `(s32[], bf16[8,128]{1,0:T(8,128)(2,1)})`.

use super::super::proto::{LayoutProto, PrimitiveType, ShapeProto};
use super::{join, numbers};

/// The text of a shape, with its layout if it has one.
pub(super) fn shape(shape: &ShapeProto) -> String {
    match shape.element_type() {
        PrimitiveType::Tuple => format!("({})", join(shape.tuple_shapes.iter().map(self::shape))),
        element => {
            let dimensions: Vec<String> = shape
                .dimensions
                .iter()
                .enumerate()
                .map(|(i, size)| match shape.is_dynamic_dimension.get(i) {
                    Some(true) => format!("<={size}"),
                    _ => size.to_string(),
                })
                .collect();
            let layout = shape.layout.as_ref().map(layout).unwrap_or_default();
            format!(
                "{}[{}]{layout}",
                element_name(element),
                dimensions.join(",")
            )
        }
    }
}

/// The name of an element type in HLO text.
pub(super) fn element_name(element: PrimitiveType) -> String {
    match element {
        PrimitiveType::Opaque => "opaque".into(),
        PrimitiveType::Buffer => "b".into(),
        PrimitiveType::Invalid => "invalid".into(),
        _ => format!("{element:?}").to_ascii_lowercase(),
    }
}

/// The text of a layout; empty if it states nothing, as for a scalar.
fn layout(layout: &LayoutProto) -> String {
    let mut details = String::new();
    for tile in &layout.tiles {
        // The smallest integer means: combine this dimension with the next more minor one.
        let sizes: Vec<String> = tile
            .dimensions
            .iter()
            .map(|&size| match size {
                i64::MIN => "*".into(),
                _ => size.to_string(),
            })
            .collect();
        let open = if details.is_empty() { "T(" } else { "(" };
        details += &format!("{open}{})", sizes.join(","));
    }
    if layout.tail_padding_alignment_in_elements > 1 {
        details += &format!("L({})", layout.tail_padding_alignment_in_elements);
    }
    for (mark, element) in [
        ("#", layout.index_primitive_type()),
        ("*", layout.pointer_primitive_type()),
    ] {
        if element != PrimitiveType::Invalid {
            details += &format!("{mark}({})", element_name(element));
        }
    }
    if layout.element_size_in_bits != 0 {
        details += &format!("E({})", layout.element_size_in_bits);
    }
    if layout.memory_space != 0 {
        details += &format!("S({})", layout.memory_space);
    }
    for split in &layout.split_configs {
        let indices = numbers(&split.split_indices, ",");
        details += &format!("SC({}:{indices})", split.dimension);
    }
    if let Some(physical) = &layout.physical_shape {
        details += &format!("P({})", shape(physical));
    }
    if layout.dynamic_shape_metadata_prefix_bytes != 0 {
        details += &format!("M({})", layout.dynamic_shape_metadata_prefix_bytes);
    }
    let order = numbers(&layout.minor_to_major, ",");
    match (order.is_empty(), details.is_empty()) {
        (true, true) => String::new(),
        (_, true) => format!("{{{order}}}"),
        (_, false) => format!("{{{order}:{details}}}"),
    }
}
