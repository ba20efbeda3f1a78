//! Why an operation has no shape: its operands or attributes break a numbered constraint of [`super::infer`].

use super::dtype::DType;
use super::shape::{Axis, AxisName, Shape};

/// A constraint that does not hold. The message starts with the constraint's number.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs)] // the messages explain the fields
pub enum ShapeError {
    /// C1: a wrong number of operands.
    #[error("C1: it takes {takes} operands and has {has}")]
    Operands { takes: usize, has: usize },
    /// C1: no operand, but at least one is needed.
    #[error("C1: it takes at least one operand")]
    NoOperand,
    /// C2: two element types.
    #[error("C2: the element types differ: {left} and {right}; convert one")]
    ElementTypes { left: DType, right: DType },
    /// C2: different axes, or a different order.
    #[error("C2: {left} and {right} do not have the same axes in the same order")]
    Axes { left: Shape, right: Shape },
    /// C3: an element type that the operation does not take.
    #[error("C3: `{op}` does not take {dtype}")]
    ElementType { op: &'static str, dtype: DType },
    /// C4: a condition that is not `pred`.
    #[error("C4: the condition is {0}, not pred")]
    ChoosesBy(Shape),
    /// C5: an axis that does not exist.
    #[error("C5: {shape} has no axis `{axis}`")]
    NoAxis { shape: Shape, axis: AxisName },
    /// C5: one axis twice.
    #[error("C5: `{0}` is named twice")]
    NamedTwice(AxisName),
    /// C5: an order that leaves axes out.
    #[error("C5: the order [{}] does not name every axis of {shape} once", list(.order))]
    Order { order: Vec<AxisName>, shape: Shape },
    /// C6: two sizes of one name.
    #[error("C6: the two sizes of `{}` differ: {} and {other}", .axis.name, .axis.size)]
    Sizes { axis: Axis, other: usize },
    /// C7: one name twice in a result.
    #[error("C7: the result {shape} would have two axes `{axis}`; rename one first")]
    RepeatedAxis { shape: Shape, axis: AxisName },
    /// C8: element types that a product cannot have.
    #[error("C8: {left} times {right} does not give {result}; convert first")]
    Dot {
        left: DType,
        right: DType,
        result: DType,
    },
    /// C9: an axis that a broadcast loses or resizes.
    #[error("C9: {from} cannot be broadcast to {to}: it has {axis}, but the result {}", size(*.found))]
    Broadcast {
        from: Shape,
        to: Shape,
        axis: Axis,
        found: Option<usize>,
    },
    /// C10: sizes that do not multiply to the axis.
    #[error("C10: {axis} does not split into {}: the sizes multiply to {product}", list(.into))]
    Split {
        axis: Axis,
        into: Vec<Axis>,
        product: usize,
    },
    /// C10: a merge of no axis.
    #[error("C10: there is no axis to merge")]
    NothingToMerge,
    /// C10: axes that are not adjacent, or in another order.
    #[error("C10: [{}] are not adjacent in this order in {shape}; transpose first", list(.axes))]
    NotAdjacent { axes: Vec<AxisName>, shape: Shape },
    /// C11: a slice that is not within its axis.
    #[error("C11: {start}..{limit} by {stride} is not within {axis}")]
    Slice {
        start: usize,
        limit: usize,
        stride: usize,
        axis: Axis,
    },
    /// C11: a slice longer than its axis.
    #[error("C11: {size} elements are more than {axis} has")]
    TooMany { size: usize, axis: Axis },
    /// C11: a block longer than its axis.
    #[error("C11: a block of {size} does not fit {axis}")]
    Block { size: usize, axis: Axis },
    /// C12: indices that are not whole numbers.
    #[error("C12: indices are s32 or u32, not {0}")]
    Indices(Shape),
    /// C12: a start that is not one `s32`.
    #[error("C12: a start is s32[], not {0}")]
    Start(Shape),
    /// C13: parts that differ elsewhere.
    #[error("C13: {first} and {other} differ in more than `{axis}`")]
    Concat {
        first: Shape,
        other: Shape,
        axis: AxisName,
    },
    /// C14: a literal of another shape or element type.
    #[error("C14: the literal does not fit {0}")]
    Literal(Shape),
    /// C14: a number that the element type cannot hold.
    #[error("C14: {dtype} cannot hold {value}")]
    Number { value: f64, dtype: DType },
    /// C14: an iota along an axis that its shape does not have.
    #[error("C14: {shape} has no axis `{axis}`")]
    CountsNoAxis { shape: Shape, axis: AxisName },
    /// C14: an iota whose element type cannot count that far.
    #[error("C14: {dtype} cannot count the positions of {axis}")]
    Counts { dtype: DType, axis: Axis },
    /// C15: an axis without elements.
    #[error("C15: the axis `{axis}` of {shape} is empty")]
    EmptyAxis { shape: Shape, axis: AxisName },
    /// C16: too many bytes.
    #[error("C16: {0} has more than 2^63 bytes")]
    TooLarge(Shape),
    /// C17: several values from an operation that is not a loop.
    #[error("C17: it gives {0}, but only a loop gives several values")]
    SeveralValues(Shape),
}

impl ShapeError {
    /// The number of the constraint in the list of [`super::infer`].
    pub fn constraint(&self) -> u8 {
        match self {
            ShapeError::Operands { .. } | ShapeError::NoOperand => 1,
            ShapeError::ElementTypes { .. } | ShapeError::Axes { .. } => 2,
            ShapeError::ElementType { .. } => 3,
            ShapeError::ChoosesBy(_) => 4,
            ShapeError::NoAxis { .. } | ShapeError::NamedTwice(_) | ShapeError::Order { .. } => 5,
            ShapeError::Sizes { .. } => 6,
            ShapeError::RepeatedAxis { .. } => 7,
            ShapeError::Dot { .. } => 8,
            ShapeError::Broadcast { .. } => 9,
            ShapeError::Split { .. }
            | ShapeError::NothingToMerge
            | ShapeError::NotAdjacent { .. } => 10,
            ShapeError::Slice { .. } | ShapeError::TooMany { .. } | ShapeError::Block { .. } => 11,
            ShapeError::Indices(_) | ShapeError::Start(_) => 12,
            ShapeError::Concat { .. } => 13,
            ShapeError::Literal(_)
            | ShapeError::Number { .. }
            | ShapeError::CountsNoAxis { .. }
            | ShapeError::Counts { .. } => 14,
            ShapeError::EmptyAxis { .. } => 15,
            ShapeError::TooLarge(_) => 16,
            ShapeError::SeveralValues(_) => 17,
        }
    }
}

fn list<T: std::fmt::Display>(items: &[T]) -> String {
    let items: Vec<_> = items.iter().map(T::to_string).collect();
    items.join(", ")
}

fn size(found: Option<usize>) -> String {
    found.map_or("has no such axis".into(), |size| format!("has size {size}"))
}
