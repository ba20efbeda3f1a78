//! The shape rules, in one place: the builder and the checker both call [`infer`], so that they cannot disagree.
//!
//! Constraints are numbered; each number has a negative test at the end of this file.
//!
//! - C1 an operation has its number of operands
//! - C2 elementwise operands have equal axes in equal order, and equal element types
//! - C3 arithmetic is on numbers; `and`, `or`, `xor`, `not` on truth values or whole numbers; shifts on whole numbers;
//!   transcendental functions on floats
//! - C4 a `select` chooses by `pred`
//! - C5 an axis that an operation names is there, and is named once
//! - C6 two operands that share an axis name agree on its size
//! - C7 no axis name occurs twice in a result
//! - C8 a dot is over floats of one type, and gives its type or a wider one
//! - C9 a broadcast keeps all axes of its operand
//! - C10 split sizes multiply to the axis; merged axes are adjacent and in order
//! - C11 a slice lies within its axis; a stride is at least 1
//! - C12 indices are `s32` or `u32`, and starts are scalars
//! - C13 concatenated operands agree but for the axis
//! - C14 a literal fits its shape and its element type; an iota counts along an axis of its shape
//! - C15 no tensor has an axis of size 0
//! - C16 no tensor has more bytes than a signed 64-bit number counts

use super::dtype::DType;
use super::op::{Binary, Literal, Op, Unary};
use super::shape::{Axis, AxisName, Shape};

/// The shape that `op` gives for operands of these shapes, or what is wrong (constraint first).
pub fn infer(op: &Op, operands: &[&Shape]) -> Result<Shape, String> {
    if let Some(count) = arity(op)
        && operands.len() != count
    {
        return Err(format!(
            "C1: it takes {count} operands and has {}",
            operands.len()
        ));
    }
    let shape = rule(op, operands)?;
    if let Some(name) = shape.repeated_name() {
        return Err(format!(
            "C7: the result {shape} would have two axes `{name}`; rename one first"
        ));
    }
    if let Some(axis) = shape.axes.iter().find(|axis| axis.size == 0) {
        return Err(format!("C15: the axis `{}` of {shape} is empty", axis.name));
    }
    // Sizes saturate, so that what is too large stays so.
    if shape.bytes() > i64::MAX as usize {
        return Err(format!("C16: {shape} has more than 2^63 bytes"));
    }
    Ok(shape)
}

/// How many operands an operation takes; `None` where any number will do.
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

fn rule(op: &Op, of: &[&Shape]) -> Result<Shape, String> {
    match op {
        Op::Parameter { shape, .. } | Op::Argument { shape } | Op::Get { shape, .. } => {
            Ok(shape.clone())
        }
        Op::Constant { value, shape } => constant(value, shape),
        Op::Iota { axis, shape } => {
            if shape.dtype == DType::Pred {
                return Err("C14: an iota counts in numbers, not in pred".into());
            }
            axis_of(shape, axis, "C14").map(|_| shape.clone())
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
                return Err(format!("C4: it chooses by {}, which is not pred", of[0]));
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
                axis_of(of[0], name, "C5")?;
            }
            if of[0].dtype == DType::Pred {
                return Err("C3: a reduction is over numbers, not over pred".into());
            }
            Ok(of[0].without(over))
        }
        Op::Broadcast(axes) => {
            let result = Shape::new(of[0].dtype, axes.iter().cloned());
            for axis in &of[0].axes {
                match result.size(&axis.name) {
                    Some(size) if size == axis.size => {}
                    found => {
                        return Err(format!(
                            "C9: {} cannot become {result}: it has {axis}, the result {}",
                            of[0],
                            found.map_or("has no such axis".into(), |size| format!(
                                "has size {size}"
                            ))
                        ));
                    }
                }
            }
            Ok(result)
        }
        Op::Transpose(order) => {
            let mut axes = Vec::with_capacity(order.len());
            for name in order {
                axes.push(of[0].axes[axis_of(of[0], name, "C5")?].clone());
            }
            if order.len() != of[0].rank() {
                return Err(format!(
                    "C5: the order [{}] does not name every axis of {} once",
                    list(order),
                    of[0]
                ));
            }
            Ok(Shape::new(of[0].dtype, axes))
        }
        Op::Rename { from, to } => {
            let at = axis_of(of[0], from, "C5")?;
            let mut shape = of[0].clone();
            shape.axes[at].name = to.clone();
            Ok(shape)
        }
        Op::Split { axis, into } => {
            let at = axis_of(of[0], axis, "C5")?;
            let product = product(into);
            if product != of[0].axes[at].size {
                return Err(format!(
                    "C10: {} does not split into {}: the sizes multiply to {product}",
                    of[0].axes[at],
                    list(into)
                ));
            }
            let mut shape = of[0].clone();
            shape.axes.splice(at..=at, into.iter().cloned());
            Ok(shape)
        }
        Op::Merge { axes, into } => {
            let Some(first) = axes.first() else {
                return Err("C10: there is no axis to merge".into());
            };
            let at = axis_of(of[0], first, "C5")?;
            let stand: Vec<_> = of[0].names().skip(at).take(axes.len()).cloned().collect();
            if &stand != axes {
                return Err(format!(
                    "C10: [{}] do not stand together in this order in {}; transpose first",
                    list(axes),
                    of[0]
                ));
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
            let at = axis_of(of[0], axis, "C5")?;
            let size = of[0].axes[at].size;
            if *stride == 0 || start >= limit || *limit > size {
                return Err(format!(
                    "C11: {start}..{limit} by {stride} is not a part of {}",
                    of[0].axes[at]
                ));
            }
            Ok(resized(of[0], at, (limit - start).div_ceil(*stride)))
        }
        Op::Pad {
            axis,
            low,
            high,
            interior,
            ..
        } => {
            let at = axis_of(of[0], axis, "C5")?;
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
        Op::Reverse(axis) => axis_of(of[0], axis, "C5").map(|_| of[0].clone()),
        Op::DynamicSlice { axis, size } => {
            let at = axis_of(of[0], axis, "C5")?;
            start(of[1])?;
            if *size > of[0].axes[at].size {
                return Err(format!(
                    "C11: {size} elements are more than {} has",
                    of[0].axes[at]
                ));
            }
            Ok(resized(of[0], at, *size))
        }
        Op::DynamicUpdate(axis) => {
            let at = axis_of(of[0], axis, "C5")?;
            start(of[2])?;
            let inner = of[1].size(axis).unwrap_or(0);
            same(&resized(of[0], at, inner), of[1])?;
            if inner > of[0].axes[at].size {
                return Err(format!(
                    "C11: a block of {inner} does not fit {}",
                    of[0].axes[at]
                ));
            }
            Ok(of[0].clone())
        }
        Op::Gather(axis) => {
            axis_of(of[0], axis, "C5")?;
            indices(of[1])?;
            Ok(rows(of[0], of[1], axis))
        }
        Op::ScatterAdd(axis) => {
            axis_of(of[0], axis, "C5")?;
            indices(of[1])?;
            same(&rows(of[0], of[1], axis), of[2])?;
            Ok(of[0].clone())
        }
        Op::Loop(_) => Ok(Shape::tuple()),
        Op::Pin(_) | Op::Barrier | Op::Tag(_) | Op::Detach => Ok(of[0].clone()),
    }
}

fn constant(value: &Literal, shape: &Shape) -> Result<Shape, String> {
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
        return Err(format!("C14: the literal does not fit {shape}"));
    }
    Ok(shape.clone())
}

fn unary(kind: Unary, of: &Shape) -> Result<Shape, String> {
    let fits = match kind {
        Unary::Not => of.dtype == DType::Pred || of.dtype.is_integer(),
        Unary::Neg | Unary::Abs | Unary::Sign => of.dtype == DType::S32 || of.dtype.is_float(),
        _ => of.dtype.is_float(),
    };
    if !fits {
        return Err(format!("C3: `{kind}` is not for {}", of.dtype));
    }
    Ok(of.clone())
}

fn binary(kind: Binary, of: &Shape) -> Result<Shape, String> {
    let fits = match kind {
        Binary::And | Binary::Or | Binary::Xor => of.dtype == DType::Pred || of.dtype.is_integer(),
        Binary::ShiftLeft | Binary::ShiftRight => of.dtype.is_integer(),
        _ => of.dtype != DType::Pred,
    };
    if !fits {
        return Err(format!("C3: `{kind}` is not for {}", of.dtype));
    }
    Ok(of.clone())
}

fn dot(left: &Shape, right: &Shape, over: &[AxisName], dtype: DType) -> Result<Shape, String> {
    if left.dtype != right.dtype || !left.dtype.is_float() || dtype.bytes() < left.dtype.bytes() {
        return Err(format!(
            "C8: {} times {} does not give {dtype}; convert first",
            left.dtype, right.dtype
        ));
    }
    once(over)?;
    for name in over {
        axis_of(left, name, "C5")?;
        axis_of(right, name, "C5")?;
    }
    let mut batch = Vec::new();
    let mut free = Vec::new();
    for axis in &left.axes {
        match right.size(&axis.name) {
            Some(size) if size != axis.size => {
                return Err(format!(
                    "C6: the two sizes of `{}` differ, {} and {size}",
                    axis.name, axis.size
                ));
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

fn concat(of: &[&Shape], axis: &AxisName) -> Result<Shape, String> {
    let Some(first) = of.first() else {
        return Err("C1: it takes at least one operand".into());
    };
    let at = axis_of(first, axis, "C5")?;
    let mut size = 0;
    for shape in of {
        let part = shape.axes[axis_of(shape, axis, "C5")?].size;
        if resized(first, at, part) != **shape {
            return Err(format!(
                "C13: {first} and {shape} differ in more than `{axis}`"
            ));
        }
        size = part.saturating_add(size);
    }
    Ok(resized(first, at, size))
}

/// The ids' axes, then the table's axes but for `axis`.
fn rows(table: &Shape, ids: &Shape, axis: &AxisName) -> Shape {
    let rest = table.without(std::slice::from_ref(axis));
    Shape::new(table.dtype, ids.axes.iter().chain(&rest.axes).cloned())
}

fn resized(shape: &Shape, at: usize, size: usize) -> Shape {
    let mut shape = shape.clone();
    shape.axes[at].size = size;
    shape
}

/// No name occurs twice in `over`.
fn once(over: &[AxisName]) -> Result<(), String> {
    let again = over
        .iter()
        .enumerate()
        .find(|(at, name)| over[..*at].contains(name));
    match again {
        Some((_, name)) => Err(format!("C5: `{name}` is named twice")),
        None => Ok(()),
    }
}

fn product(axes: &[Axis]) -> usize {
    axes.iter()
        .fold(1, |product: usize, axis| product.saturating_mul(axis.size))
}

fn axis_of(shape: &Shape, name: &str, constraint: &str) -> Result<usize, String> {
    shape
        .position(name)
        .ok_or_else(|| format!("{constraint}: {shape} has no axis `{name}`"))
}

fn same(left: &Shape, right: &Shape) -> Result<(), String> {
    if left.dtype != right.dtype {
        return Err(format!(
            "C2: the element types differ, {} and {}; convert one",
            left.dtype, right.dtype
        ));
    }
    if let Some(axis) = left
        .axes
        .iter()
        .find(|axis| right.size(&axis.name).is_some_and(|size| size != axis.size))
    {
        let size = right.size(&axis.name).unwrap_or(0);
        return Err(format!(
            "C6: the two sizes of `{}` differ, {} and {size}",
            axis.name, axis.size
        ));
    }
    if left.axes != right.axes {
        return Err(format!(
            "C2: {left} and {right} do not have the same axes in the same order"
        ));
    }
    Ok(())
}

fn indices(shape: &Shape) -> Result<(), String> {
    match shape.dtype.is_integer() {
        true => Ok(()),
        false => Err(format!(
            "C12: {shape} cannot be indices; they are s32 or u32"
        )),
    }
}

fn start(shape: &Shape) -> Result<(), String> {
    match *shape == Shape::scalar(DType::S32) {
        true => Ok(()),
        false => Err(format!("C12: a start is s32[], not {shape}")),
    }
}

fn list<T: std::fmt::Display>(items: &[T]) -> String {
    let items: Vec<_> = items.iter().map(T::to_string).collect();
    items.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::op::Comparison;

    fn f32(axes: &[(&str, usize)]) -> Shape {
        Shape::new(
            DType::F32,
            axes.iter().map(|(name, size)| Axis::new(*name, *size)),
        )
    }

    /// Every numbered constraint with a case that breaks it, and only it.
    #[test]
    fn each_constraint_has_its_refusal() {
        let ab = f32(&[("a", 2), ("b", 3)]);
        let ba = f32(&[("b", 3), ("a", 2)]);
        let ids = ab.with_dtype(DType::S32);
        let bits = ab.with_dtype(DType::Pred);
        let bf16 = ab.with_dtype(DType::BF16);
        let wide = f32(&[("a", 5), ("b", 3)]);
        let cases: Vec<(&str, Op, Vec<&Shape>)> = vec![
            ("C1", Op::Select, vec![&ab]),
            ("C2", Op::Binary(Binary::Add), vec![&ab, &ba]),
            ("C2", Op::Compare(Comparison::Lt), vec![&ab, &bf16]),
            ("C3", Op::Unary(Unary::Exp), vec![&ids]),
            ("C3", Op::Binary(Binary::ShiftLeft), vec![&ab, &ab]),
            ("C3", Op::Binary(Binary::Add), vec![&bits, &bits]),
            ("C4", Op::Select, vec![&ab, &ab, &ab]),
            ("C5", Op::Reverse("z".into()), vec![&ab]),
            (
                "C5",
                Op::Reduce {
                    kind: crate::graph::op::Reduction::Sum,
                    over: vec!["a".into(), "a".into()],
                },
                vec![&ab],
            ),
            ("C6", Op::Binary(Binary::Add), vec![&ab, &wide]),
            (
                "C6",
                Op::Dot {
                    over: vec!["a".into()],
                    dtype: DType::F32,
                },
                vec![&ab, &wide],
            ),
            (
                "C7",
                Op::Rename {
                    from: "a".into(),
                    to: "b".into(),
                },
                vec![&ab],
            ),
            (
                "C8",
                Op::Dot {
                    over: vec!["a".into()],
                    dtype: DType::BF16,
                },
                vec![&ab, &ba],
            ),
            ("C9", Op::Broadcast(vec![Axis::new("a", 2)]), vec![&ab]),
            (
                "C10",
                Op::Split {
                    axis: "a".into(),
                    into: vec![Axis::new("x", 3)],
                },
                vec![&ab],
            ),
            (
                "C10",
                Op::Merge {
                    axes: vec!["b".into(), "a".into()],
                    into: "c".into(),
                },
                vec![&ab],
            ),
            (
                "C11",
                Op::Slice {
                    axis: "a".into(),
                    start: 1,
                    limit: 3,
                    stride: 1,
                },
                vec![&ab],
            ),
            ("C12", Op::Gather("a".into()), vec![&ab, &ab]),
            (
                "C12",
                Op::DynamicSlice {
                    axis: "a".into(),
                    size: 1,
                },
                vec![&ab, &ids],
            ),
            ("C13", Op::Concat("a".into()), vec![&ab, &ba]),
            (
                "C14",
                Op::Constant {
                    value: Literal::Int(1),
                    shape: Shape::scalar(DType::F32),
                },
                vec![],
            ),
            (
                "C14",
                Op::Constant {
                    value: Literal::Int(-1),
                    shape: Shape::scalar(DType::U32),
                },
                vec![],
            ),
            (
                "C14",
                Op::Iota {
                    axis: "z".into(),
                    shape: ids.clone(),
                },
                vec![],
            ),
            (
                "C15",
                Op::Parameter {
                    name: "x".into(),
                    role: crate::graph::op::Role::Batch,
                    shape: f32(&[("a", 0)]),
                },
                vec![],
            ),
            (
                "C16",
                Op::Pad {
                    axis: "a".into(),
                    low: usize::MAX,
                    high: 1,
                    interior: usize::MAX,
                    value: 0.0,
                },
                vec![&ab],
            ),
            (
                "C16",
                Op::Broadcast(vec![
                    Axis::new("a", 2),
                    Axis::new("b", 3),
                    Axis::new("c", 1 << 61),
                ]),
                vec![&ab],
            ),
        ];
        for (constraint, op, operands) in &cases {
            let message = infer(op, operands).expect_err(constraint);
            assert!(
                message.starts_with(&format!("{constraint}:")),
                "{constraint}: {message}"
            );
        }
        for number in 1..=16 {
            let label = format!("C{number}");
            assert!(
                cases.iter().any(|(constraint, ..)| *constraint == label),
                "{label} is untested"
            );
        }
    }

    #[test]
    fn dot_orders_its_axes() {
        let left = f32(&[("batch", 2), ("length", 3), ("heads", 4), ("kv", 5)]);
        let right = f32(&[("batch", 2), ("keys", 6), ("heads", 4), ("kv", 5)]);
        let op = Op::Dot {
            over: vec!["kv".into()],
            dtype: DType::F32,
        };
        let shape = infer(&op, &[&left, &right]).unwrap();
        assert_eq!(shape.to_string(), "f32[batch=2, heads=4, length=3, keys=6]");
    }

    #[test]
    fn gather_puts_ids_first() {
        let table = f32(&[("vocab", 9), ("embed", 4)]);
        let ids = Shape::new(DType::S32, [("batch", 2), ("length", 3)]);
        let shape = infer(&Op::Gather("vocab".into()), &[&table, &ids]).unwrap();
        assert_eq!(shape.to_string(), "f32[batch=2, length=3, embed=4]");
    }
}
