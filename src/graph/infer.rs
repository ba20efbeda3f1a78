//! The shape rules, in one place: the builder and the checker both call [`infer`], so they cannot disagree.
//!
//! Constraints are numbered. Breaking one is a [`ShapeError`], and each number has a test that does.
//!
//! - C1 an operation has its number of operands
//! - C2 elementwise operands have equal axes in equal order, and equal element types
//! - C3 arithmetic is on numbers; `and`, `or`, `xor`, `not` on truth values or whole numbers; shifts on whole numbers;
//!   transcendental functions on floats
//! - C4 a `select` chooses by `pred`
//! - C5 an axis that an operation names exists, and is named once
//! - C6 two operands that share an axis name agree on its size
//! - C7 no axis name occurs twice in a result
//! - C8 a dot is over floats of one type, and gives that type or a wider float
//! - C9 a broadcast keeps all axes of its operand
//! - C10 split sizes multiply to the axis; merged axes are adjacent and in order
//! - C11 a slice is within its axis; a stride is at least 1
//! - C12 indices are `s32` or `u32`, and starts are scalars
//! - C13 concatenated operands agree but for the axis
//! - C14 a literal and a pad's value fit their element type, and a literal fits its shape; an iota counts along an axis of
//!   its shape, and its element type can hold the positions
//! - C15 no tensor has an axis of size 0
//! - C16 no tensor has more bytes than a signed 64-bit number counts
//! - C17 only a loop gives several values

use super::dtype::DType;
use super::op::{Binary, Literal, Op, Unary};
use super::shape::{Axis, AxisName, Shape};
use super::shape_error::ShapeError;

type Result<T> = std::result::Result<T, ShapeError>;

/// Returns the shape of `op` for operands of these shapes.
///
/// # Errors
/// The first constraint that does not hold.
pub fn infer(op: &Op, operands: &[&Shape]) -> Result<Shape> {
    if let Some(count) = arity(op)
        && operands.len() != count
    {
        let has = operands.len();
        return Err(ShapeError::Operands { takes: count, has });
    }
    let shape = rule(op, operands)?;
    if let Some(name) = shape.repeated_name() {
        let axis = name.clone();
        return Err(ShapeError::RepeatedAxis { shape, axis });
    }
    if let Some(axis) = shape.axes.iter().find(|axis| axis.size == 0) {
        let axis = axis.name.clone();
        return Err(ShapeError::EmptyAxis { shape, axis });
    }
    // Sizes saturate: what is too large stays too large.
    if shape.bytes() > i64::MAX as usize {
        return Err(ShapeError::TooLarge(shape));
    }
    if shape.dtype == DType::Tuple && !matches!(op, Op::Loop(_)) {
        return Err(ShapeError::SeveralValues(shape));
    }
    Ok(shape)
}

/// How many operands an operation takes; `None` if any number will do.
fn arity(op: &Op) -> Option<usize> {
    match op {
        Op::Parameter { .. } | Op::Argument { .. } | Op::Constant { .. } | Op::Iota { .. } => {
            Some(0)
        }
        Op::Unary(_)
        | Op::Convert(_)
        | Op::Reduce { .. }
        | Op::Broadcast(_)
        | Op::Transpose(_)
        | Op::Rename { .. }
        | Op::Split { .. }
        | Op::Merge { .. }
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Reverse(_)
        | Op::Get { .. }
        | Op::Pin(_)
        | Op::Barrier
        | Op::Tag(_)
        | Op::Detach => Some(1),
        Op::Binary(_)
        | Op::Compare(_)
        | Op::Dot { .. }
        | Op::DynamicSlice { .. }
        | Op::Gather(_) => Some(2),
        Op::Select | Op::DynamicUpdate(_) | Op::ScatterAdd(_) => Some(3),
        Op::Concat(_) | Op::Loop(_) => None,
    }
}

fn rule(op: &Op, of: &[&Shape]) -> Result<Shape> {
    match op {
        Op::Parameter { shape, .. } | Op::Argument { shape } | Op::Get { shape, .. } => {
            Ok(shape.clone())
        }
        Op::Constant { value, shape } => constant(value, shape),
        Op::Iota { axis, shape } => {
            let Some(size) = shape.size(axis) else {
                let (shape, axis) = (shape.clone(), axis.clone());
                return Err(ShapeError::CountsNoAxis { shape, axis });
            };
            if !counts_to(shape.dtype, size) {
                let (dtype, axis) = (shape.dtype, Axis::new(axis.clone(), size));
                return Err(ShapeError::Counts { dtype, axis });
            }
            Ok(shape.clone())
        }
        Op::Unary(kind) => unary(*kind, of[0]),
        Op::Binary(kind) => {
            same(of[0], of[1])?;
            binary(*kind, of[0])
        }
        Op::Compare(_) => {
            same(of[0], of[1])?;
            Ok(of[0].with_dtype(DType::Pred))
        }
        Op::Select => {
            if of[0].dtype != DType::Pred {
                return Err(ShapeError::ChoosesBy(of[0].clone()));
            }
            same(of[1], of[2])?;
            same(&of[0].with_dtype(of[1].dtype), of[1])?;
            Ok(of[1].clone())
        }
        Op::Convert(dtype) => Ok(of[0].with_dtype(*dtype)),
        Op::Dot { over, dtype } => dot(of[0], of[1], over, *dtype),
        Op::Reduce { over, .. } => {
            once(over)?;
            for name in over {
                axis_of(of[0], name)?;
            }
            if of[0].dtype == DType::Pred {
                return Err(wrong_type("reduce", DType::Pred));
            }
            Ok(of[0].without(over))
        }
        Op::Broadcast(axes) => {
            let result = Shape::new(of[0].dtype, axes.iter().cloned());
            for axis in &of[0].axes {
                match result.size(&axis.name) {
                    Some(size) if size == axis.size => {}
                    found => {
                        return Err(ShapeError::Broadcast {
                            from: of[0].clone(),
                            axis: axis.clone(),
                            found,
                            to: result,
                        });
                    }
                }
            }
            Ok(result)
        }
        Op::Transpose(order) => {
            let mut axes = Vec::with_capacity(order.len());
            for name in order {
                axes.push(of[0].axes[axis_of(of[0], name)?].clone());
            }
            if order.len() != of[0].rank() {
                let (order, shape) = (order.clone(), of[0].clone());
                return Err(ShapeError::Order { order, shape });
            }
            Ok(Shape::new(of[0].dtype, axes))
        }
        Op::Rename { from, to } => {
            let at = axis_of(of[0], from)?;
            let mut shape = of[0].clone();
            shape.axes[at].name = to.clone();
            Ok(shape)
        }
        Op::Split { axis, into } => {
            let at = axis_of(of[0], axis)?;
            let product = product(into);
            if product != of[0].axes[at].size {
                return Err(ShapeError::Split {
                    axis: of[0].axes[at].clone(),
                    into: into.clone(),
                    product,
                });
            }
            let mut shape = of[0].clone();
            shape.axes.splice(at..=at, into.iter().cloned());
            Ok(shape)
        }
        Op::Merge { axes, into } => {
            let Some(first) = axes.first() else {
                return Err(ShapeError::NothingToMerge);
            };
            let at = axis_of(of[0], first)?;
            let stand: Vec<_> = of[0].names().skip(at).take(axes.len()).cloned().collect();
            if &stand != axes {
                let (axes, shape) = (axes.clone(), of[0].clone());
                return Err(ShapeError::NotAdjacent { axes, shape });
            }
            let mut shape = of[0].clone();
            let size = product(&shape.axes[at..at + axes.len()]);
            shape
                .axes
                .splice(at..at + axes.len(), [Axis::new(into.clone(), size)]);
            Ok(shape)
        }
        Op::Slice {
            axis,
            start,
            limit,
            stride,
        } => {
            let at = axis_of(of[0], axis)?;
            let size = of[0].axes[at].size;
            if *stride == 0 || start >= limit || *limit > size {
                return Err(ShapeError::Slice {
                    start: *start,
                    limit: *limit,
                    stride: *stride,
                    axis: of[0].axes[at].clone(),
                });
            }
            Ok(resized(of[0], at, (limit - start).div_ceil(*stride)))
        }
        Op::Pad {
            axis,
            low,
            high,
            interior,
            value,
        } => {
            let at = axis_of(of[0], axis)?;
            number(*value, of[0].dtype)?;
            let size = of[0].axes[at].size;
            let between = size.saturating_sub(1).saturating_mul(*interior);
            let edges = low.saturating_add(*high);
            Ok(resized(
                of[0],
                at,
                size.saturating_add(between).saturating_add(edges),
            ))
        }
        Op::Concat(axis) => concat(of, axis),
        Op::Reverse(axis) => axis_of(of[0], axis).map(|_| of[0].clone()),
        Op::DynamicSlice { axis, size } => {
            let at = axis_of(of[0], axis)?;
            start(of[1])?;
            if *size > of[0].axes[at].size {
                let axis = of[0].axes[at].clone();
                return Err(ShapeError::TooMany { size: *size, axis });
            }
            Ok(resized(of[0], at, *size))
        }
        Op::DynamicUpdate(axis) => {
            let at = axis_of(of[0], axis)?;
            start(of[2])?;
            let inner = of[1].size(axis).unwrap_or(0);
            same(&resized(of[0], at, inner), of[1])?;
            if inner > of[0].axes[at].size {
                let axis = of[0].axes[at].clone();
                return Err(ShapeError::Block { size: inner, axis });
            }
            Ok(of[0].clone())
        }
        Op::Gather(axis) => {
            axis_of(of[0], axis)?;
            indices(of[1])?;
            Ok(rows(of[0], of[1], axis))
        }
        Op::ScatterAdd(axis) => {
            axis_of(of[0], axis)?;
            indices(of[1])?;
            same(&rows(of[0], of[1], axis), of[2])?;
            if of[0].dtype == DType::Pred {
                return Err(wrong_type("scatter-add", DType::Pred));
            }
            Ok(of[0].clone())
        }
        Op::Loop(_) => Ok(Shape::tuple()),
        Op::Pin(_) | Op::Barrier | Op::Tag(_) | Op::Detach => Ok(of[0].clone()),
    }
}

fn constant(value: &Literal, shape: &Shape) -> Result<Shape> {
    let whole = |value: &i64| match shape.dtype {
        DType::S32 => i32::try_from(*value).is_ok(),
        DType::U32 => u32::try_from(*value).is_ok(),
        _ => false,
    };
    let fits = match value {
        Literal::Float(_) => shape.rank() == 0 && shape.dtype.is_float(),
        Literal::Int(value) => shape.rank() == 0 && whole(value),
        Literal::Bool(_) => shape.rank() == 0 && shape.dtype == DType::Pred,
        Literal::Table(values) => {
            shape.rank() == 1 && shape.elements() == values.len() && values.iter().all(whole)
        }
    };
    if !fits {
        return Err(ShapeError::Literal(shape.clone()));
    }
    Ok(shape.clone())
}

fn unary(kind: Unary, of: &Shape) -> Result<Shape> {
    let fits = match kind {
        Unary::Not => of.dtype == DType::Pred || of.dtype.is_integer(),
        Unary::Neg | Unary::Abs | Unary::Sign => of.dtype == DType::S32 || of.dtype.is_float(),
        _ => of.dtype.is_float(),
    };
    if !fits {
        return Err(wrong_type(kind.name(), of.dtype));
    }
    Ok(of.clone())
}

fn binary(kind: Binary, of: &Shape) -> Result<Shape> {
    let fits = match kind {
        Binary::And | Binary::Or | Binary::Xor => of.dtype == DType::Pred || of.dtype.is_integer(),
        Binary::ShiftLeft | Binary::ShiftRight => of.dtype.is_integer(),
        _ => of.dtype != DType::Pred,
    };
    if !fits {
        return Err(wrong_type(kind.name(), of.dtype));
    }
    Ok(of.clone())
}

fn dot(left: &Shape, right: &Shape, over: &[AxisName], dtype: DType) -> Result<Shape> {
    let floats = left.dtype.is_float() && dtype.is_float();
    if left.dtype != right.dtype || !floats || dtype.bytes() < left.dtype.bytes() {
        return Err(ShapeError::Dot {
            left: left.dtype,
            right: right.dtype,
            result: dtype,
        });
    }
    once(over)?;
    for name in over {
        axis_of(left, name)?;
        axis_of(right, name)?;
    }
    let mut batch = Vec::new();
    let mut free = Vec::new();
    for axis in &left.axes {
        match right.size(&axis.name) {
            Some(size) if size != axis.size => {
                return Err(ShapeError::Sizes {
                    axis: axis.clone(),
                    other: size,
                });
            }
            Some(_) if over.contains(&axis.name) => {}
            Some(_) => batch.push(axis.clone()),
            None => free.push(axis.clone()),
        }
    }
    let right_free = right.axes.iter().filter(|axis| !left.has(&axis.name));
    Ok(Shape::new(
        dtype,
        batch.into_iter().chain(free).chain(right_free.cloned()),
    ))
}

fn concat(of: &[&Shape], axis: &AxisName) -> Result<Shape> {
    let Some(first) = of.first() else {
        return Err(ShapeError::NoOperand);
    };
    let at = axis_of(first, axis)?;
    let mut size = 0;
    for shape in of {
        let part = shape.axes[axis_of(shape, axis)?].size;
        if resized(first, at, part) != **shape {
            return Err(ShapeError::Concat {
                first: (*first).clone(),
                other: (*shape).clone(),
                axis: axis.clone(),
            });
        }
        size = part.saturating_add(size);
    }
    Ok(resized(first, at, size))
}

/// The ids' axes, then the table's axes except `axis`.
fn rows(table: &Shape, ids: &Shape, axis: &AxisName) -> Shape {
    let rest = table.without(std::slice::from_ref(axis));
    Shape::new(table.dtype, ids.axes.iter().chain(&rest.axes).cloned())
}

fn resized(shape: &Shape, at: usize, size: usize) -> Shape {
    let mut shape = shape.clone();
    shape.axes[at].size = size;
    shape
}

/// Checks that no name occurs twice in `over`.
fn once(over: &[AxisName]) -> Result<()> {
    let again = over
        .iter()
        .enumerate()
        .find(|(at, name)| over[..*at].contains(name));
    match again {
        Some((_, name)) => Err(ShapeError::NamedTwice(name.clone())),
        None => Ok(()),
    }
}

fn product(axes: &[Axis]) -> usize {
    axes.iter()
        .fold(1, |product: usize, axis| product.saturating_mul(axis.size))
}

fn axis_of(shape: &Shape, name: &AxisName) -> Result<usize> {
    shape.position(name).ok_or_else(|| ShapeError::NoAxis {
        shape: shape.clone(),
        axis: name.clone(),
    })
}

fn wrong_type(op: &'static str, dtype: DType) -> ShapeError {
    ShapeError::ElementType { op, dtype }
}

/// Whether `dtype` can hold the positions of an axis of `size` elements.
fn counts_to(dtype: DType, size: usize) -> bool {
    match dtype {
        DType::Pred => false,
        DType::S32 => size <= 1 << 31,
        DType::U32 => size <= 1 << 32,
        _ => true,
    }
}

/// Checks that `dtype` can hold `value`; floats may round it.
pub(super) fn number(value: f64, dtype: DType) -> Result<()> {
    let fits = match dtype {
        DType::Pred => value == 0.0 || value == 1.0,
        DType::S32 => value.fract() == 0.0 && (-2f64.powi(31)..2f64.powi(31)).contains(&value),
        DType::U32 => value.fract() == 0.0 && (0.0..2f64.powi(32)).contains(&value),
        _ => true,
    };
    match fits {
        true => Ok(()),
        false => Err(ShapeError::Number { value, dtype }),
    }
}

fn same(left: &Shape, right: &Shape) -> Result<()> {
    if left.dtype != right.dtype {
        return Err(ShapeError::ElementTypes {
            left: left.dtype,
            right: right.dtype,
        });
    }
    for axis in &left.axes {
        if let Some(other) = right.size(&axis.name)
            && other != axis.size
        {
            let axis = axis.clone();
            return Err(ShapeError::Sizes { axis, other });
        }
    }
    if left.axes != right.axes {
        let (left, right) = (left.clone(), right.clone());
        return Err(ShapeError::Axes { left, right });
    }
    Ok(())
}

fn indices(shape: &Shape) -> Result<()> {
    match shape.dtype.is_integer() {
        true => Ok(()),
        false => Err(ShapeError::Indices(shape.clone())),
    }
}

fn start(shape: &Shape) -> Result<()> {
    match *shape == Shape::scalar(DType::S32) {
        true => Ok(()),
        false => Err(ShapeError::Start(shape.clone())),
    }
}

#[cfg(test)]
mod tests;
