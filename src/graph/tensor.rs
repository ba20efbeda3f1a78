//! Operators and methods of [`Tensor`], which make model code read like the paper. Elementwise operands broadcast by axis
//! name; it is a mistake if neither operand has all axes of the other.

use std::ops::{Add, Div, Mul, Neg, Sub};
use std::panic::Location;

use super::builder::{Builder, Tensor};
use super::dtype::DType;
use super::infer::number;
use super::ir::Site;
use super::op::{Binary, Comparison, Literal, Op, Pin, Reduction, Unary};
use super::shape::{Axis, AxisName, Shape};
use super::shape_error::ShapeError;

/// Methods of one operand with no argument.
macro_rules! unary_methods {
    ($($(#[$doc:meta])* $method:ident = $kind:ident),* $(,)?) => {
        // `not` and `rem` are HLO's names; they have no operator here.
        #[allow(clippy::should_implement_trait)]
        impl<'g> Tensor<'g> {
            $($(#[$doc])*
            #[track_caller]
            pub fn $method(self) -> Tensor<'g> {
                self.push(Op::Unary(Unary::$kind))
            })*
        }
    };
}

unary_methods! {
    /// The absolute value.
    abs = Abs,
    /// -1, 0 or 1.
    sign = Sign,
    /// e to this power.
    exp = Exp,
    /// e to this power, less 1; exact near 0.
    exp_m1 = Expm1,
    /// The natural logarithm.
    log = Log,
    /// The natural logarithm of 1 plus this; exact near 0.
    log1p = Log1p,
    /// The square root.
    sqrt = Sqrt,
    /// One over the square root.
    rsqrt = Rsqrt,
    /// The hyperbolic tangent.
    tanh = Tanh,
    /// 1 / (1 + e^-x).
    logistic = Logistic,
    /// The error function.
    erf = Erf,
    /// The sine.
    sin = Sin,
    /// The cosine.
    cos = Cos,
    /// The largest whole number not above this.
    floor = Floor,
    /// The opposite truth value, or all bits flipped.
    not = Not,
}

/// Methods of two operands that broadcast by name.
macro_rules! binary_methods {
    ($($(#[$doc:meta])* $method:ident = $op:expr),* $(,)?) => {
        // `not` and `rem` are HLO's names; they have no operator here.
        #[allow(clippy::should_implement_trait)]
        impl<'g> Tensor<'g> {
            $($(#[$doc])*
            #[track_caller]
            pub fn $method(self, other: Tensor<'g>) -> Tensor<'g> {
                self.combine($op, other)
            })*
        }
    };
}

binary_methods! {
    /// The larger of the two.
    maximum = Op::Binary(Binary::Max),
    /// The smaller of the two.
    minimum = Op::Binary(Binary::Min),
    /// This to the power of the other.
    pow = Op::Binary(Binary::Pow),
    /// The remainder of the division, with the sign of the left.
    rem = Op::Binary(Binary::Rem),
    /// Both, or the bits that both have.
    and = Op::Binary(Binary::And),
    /// Either, or the bits that either has.
    or = Op::Binary(Binary::Or),
    /// Exactly one of the two, or the bits that exactly one has.
    xor = Op::Binary(Binary::Xor),
    /// Bits shifted up.
    shift_left = Op::Binary(Binary::ShiftLeft),
    /// Bits shifted down, filled with zeros.
    shift_right = Op::Binary(Binary::ShiftRight),
    /// Whether equal.
    eq = Op::Compare(Comparison::Eq),
    /// Whether not equal.
    ne = Op::Compare(Comparison::Ne),
    /// Whether below.
    lt = Op::Compare(Comparison::Lt),
    /// Whether below or equal.
    le = Op::Compare(Comparison::Le),
    /// Whether above.
    gt = Op::Compare(Comparison::Gt),
    /// Whether above or equal.
    ge = Op::Compare(Comparison::Ge),
}

macro_rules! operators {
    ($($trait:ident, $method:ident, $kind:ident);*) => {
        $(impl<'g> $trait<Tensor<'g>> for Tensor<'g> {
            type Output = Tensor<'g>;

            #[track_caller]
            fn $method(self, other: Tensor<'g>) -> Tensor<'g> {
                self.combine(Op::Binary(Binary::$kind), other)
            }
        }

        impl<'g> $trait<f64> for Tensor<'g> {
            type Output = Tensor<'g>;

            #[track_caller]
            fn $method(self, other: f64) -> Tensor<'g> {
                self.combine(Op::Binary(Binary::$kind), self.constant(other))
            }
        })*
    };
}

operators!(Add, add, Add; Sub, sub, Sub; Mul, mul, Mul; Div, div, Div);

impl<'g> Neg for Tensor<'g> {
    type Output = Tensor<'g>;

    #[track_caller]
    fn neg(self) -> Tensor<'g> {
        self.push(Op::Unary(Unary::Neg))
    }
}

fn names<N: Into<AxisName>>(names: impl IntoIterator<Item = N>) -> Vec<AxisName> {
    names.into_iter().map(Into::into).collect()
}

impl<'g> Tensor<'g> {
    /// The size of the axis `name`. If there is no such axis, it is a mistake, and the size is 1.
    #[track_caller]
    pub fn size(self, name: &str) -> usize {
        let shape = self.shape();
        match shape.size(name) {
            Some(size) => size,
            None => {
                if !self.is_poison() {
                    let axis = name.into();
                    let problem = ShapeError::NoAxis { shape, axis };
                    let site = Location::caller().into();
                    self.builder().fail("size", &[self], problem, site);
                }
                1
            }
        }
    }

    #[track_caller]
    fn push(self, op: Op) -> Tensor<'g> {
        self.builder().push(op, &[self], Location::caller().into())
    }

    /// A number of this tensor's element type.
    #[track_caller]
    pub fn constant(self, value: f64) -> Tensor<'g> {
        self.builder().constant(value, self.dtype())
    }

    #[track_caller]
    pub(super) fn combine(self, op: Op, other: Tensor<'g>) -> Tensor<'g> {
        let site: Site = Location::caller().into();
        match self.aligned(other) {
            Ok((left, right)) => self.builder().push(op, &[left, right], site),
            Err(message) => self
                .builder()
                .fail(op.name(), &[self, other], message, site),
        }
    }

    /// Broadcasts both tensors to the axes of the one that has them all.
    #[track_caller]
    fn aligned(self, other: Tensor<'g>) -> Result<(Tensor<'g>, Tensor<'g>), String> {
        let (left, right) = (self.shape(), other.shape());
        let within = |inner: &Shape, outer: &Shape| inner.names().all(|name| outer.has(name));
        if left.axes == right.axes || self.is_poison() || other.is_poison() {
            Ok((self, other))
        } else if within(&right, &left) {
            Ok((self, other.broadcast(left.axes)))
        } else if within(&left, &right) {
            Ok((self.broadcast(right.axes), other))
        } else {
            Err(
                "neither operand has all axes of the other; if that is meant, `broadcast` one first"
                    .into(),
            )
        }
    }

    /// Converts the elements to `dtype`.
    #[track_caller]
    pub fn cast(self, dtype: DType) -> Tensor<'g> {
        match self.dtype() == dtype {
            true => self,
            false => self.push(Op::Convert(dtype)),
        }
    }

    /// Sum of products over `over`, in this tensor's element type; other shared axes are batch axes.
    #[track_caller]
    pub fn dot<N: Into<AxisName>>(
        self,
        other: Tensor<'g>,
        over: impl IntoIterator<Item = N>,
    ) -> Tensor<'g> {
        self.dot_as(other, over, self.dtype())
    }

    /// [`Tensor::dot`] with results of `dtype`, as wide as the operands or wider.
    #[track_caller]
    pub fn dot_as<N: Into<AxisName>>(
        self,
        other: Tensor<'g>,
        over: impl IntoIterator<Item = N>,
        dtype: DType,
    ) -> Tensor<'g> {
        let over = names(over);
        self.builder().push(
            Op::Dot { over, dtype },
            &[self, other],
            Location::caller().into(),
        )
    }

    #[track_caller]
    fn reduce<N: Into<AxisName>>(
        self,
        kind: Reduction,
        over: impl IntoIterator<Item = N>,
    ) -> Tensor<'g> {
        let over = names(over);
        match over.is_empty() {
            true => self,
            false => self.push(Op::Reduce { kind, over }),
        }
    }

    /// The sum along `over`; `bf16` is summed in `f32`.
    #[track_caller]
    pub fn sum<N: Into<AxisName>>(self, over: impl IntoIterator<Item = N>) -> Tensor<'g> {
        match self.dtype() {
            DType::BF16 => self
                .cast(DType::F32)
                .reduce(Reduction::Sum, over)
                .cast(DType::BF16),
            _ => self.reduce(Reduction::Sum, over),
        }
    }

    /// The sum of all elements.
    #[track_caller]
    pub fn sum_all(self) -> Tensor<'g> {
        let all: Vec<_> = self.shape().names().cloned().collect();
        self.sum(all)
    }

    /// The mean along `over`.
    #[track_caller]
    pub fn mean<N: Into<AxisName>>(self, over: impl IntoIterator<Item = N>) -> Tensor<'g> {
        let over = names(over);
        let shape = self.shape();
        let sizes = over.iter().filter_map(|name| shape.size(name));
        let count: f64 = sizes.map(|size| size as f64).product();
        self.sum(over) * (1.0 / count)
    }

    /// The largest element along `over`.
    #[track_caller]
    pub fn max<N: Into<AxisName>>(self, over: impl IntoIterator<Item = N>) -> Tensor<'g> {
        self.reduce(Reduction::Max, over)
    }

    /// The smallest element along `over`.
    #[track_caller]
    pub fn min<N: Into<AxisName>>(self, over: impl IntoIterator<Item = N>) -> Tensor<'g> {
        self.reduce(Reduction::Min, over)
    }

    /// Repeats this along the axes that it does not have.
    #[track_caller]
    pub fn broadcast(self, axes: impl IntoIterator<Item = Axis>) -> Tensor<'g> {
        let axes: Vec<_> = axes.into_iter().collect();
        self.broadcast_at(&axes, Location::caller().into())
    }

    fn broadcast_at(self, axes: &[Axis], site: Site) -> Tensor<'g> {
        match self.shape().axes == axes {
            true => self,
            false => (self.builder()).push(Op::Broadcast(axes.to_vec()), &[self], site),
        }
    }

    /// Puts the axes in this order.
    #[track_caller]
    pub fn transpose<N: Into<AxisName>>(self, order: impl IntoIterator<Item = N>) -> Tensor<'g> {
        let order = names(order);
        match self.shape().names().eq(order.iter()) {
            true => self,
            false => self.push(Op::Transpose(order)),
        }
    }

    /// Renames the axis `from` to `to`.
    #[track_caller]
    pub fn rename(self, from: &str, to: &str) -> Tensor<'g> {
        self.push(Op::Rename {
            from: from.into(),
            to: to.into(),
        })
    }

    /// Splits the axis `axis` into several, major first.
    #[track_caller]
    pub fn split<A: Into<Axis>>(self, axis: &str, into: impl IntoIterator<Item = A>) -> Tensor<'g> {
        self.push(Op::Split {
            axis: axis.into(),
            into: into.into_iter().map(Into::into).collect(),
        })
    }

    /// Merges adjacent axes into one.
    #[track_caller]
    pub fn merge<N: Into<AxisName>>(
        self,
        axes: impl IntoIterator<Item = N>,
        into: &str,
    ) -> Tensor<'g> {
        self.push(Op::Merge {
            axes: names(axes),
            into: into.into(),
        })
    }

    /// Elements `start` up to `limit` along `axis`.
    #[track_caller]
    pub fn slice(self, axis: &str, start: usize, limit: usize) -> Tensor<'g> {
        self.slice_by(axis, start, limit, 1)
    }

    /// Every `stride`th element from `start` up to `limit` along `axis`.
    #[track_caller]
    pub fn slice_by(self, axis: &str, start: usize, limit: usize, stride: usize) -> Tensor<'g> {
        self.push(Op::Slice {
            axis: axis.into(),
            start,
            limit,
            stride,
        })
    }

    /// Adds `low` elements of `value` before and `high` after, along `axis`.
    #[track_caller]
    pub fn pad(self, axis: &str, low: usize, high: usize, value: f64) -> Tensor<'g> {
        self.pad_between(axis, low, high, 0, value)
    }

    /// [`Tensor::pad`] with `interior` elements between neighbours too.
    #[track_caller]
    pub fn pad_between(
        self,
        axis: &str,
        low: usize,
        high: usize,
        interior: usize,
        value: f64,
    ) -> Tensor<'g> {
        self.push(Op::Pad {
            axis: axis.into(),
            low,
            high,
            interior,
            value,
        })
    }

    /// Reverses the order along `axis`.
    #[track_caller]
    pub fn reverse(self, axis: &str) -> Tensor<'g> {
        self.push(Op::Reverse(axis.into()))
    }

    /// `size` elements along `axis` from the computed `start` (`s32[]`).
    #[track_caller]
    pub fn dynamic_slice(self, axis: &str, start: Tensor<'g>, size: usize) -> Tensor<'g> {
        let op = Op::DynamicSlice {
            axis: axis.into(),
            size,
        };
        self.builder()
            .push(op, &[self, start], Location::caller().into())
    }

    /// Writes `block` along `axis` at the computed `start` (`s32[]`).
    #[track_caller]
    pub fn dynamic_update(self, axis: &str, block: Tensor<'g>, start: Tensor<'g>) -> Tensor<'g> {
        let op = Op::DynamicUpdate(axis.into());
        self.builder()
            .push(op, &[self, block, start], Location::caller().into())
    }

    /// Rows of this table by `ids` along `axis`: the ids' axes, then the table's others.
    #[track_caller]
    pub fn gather(self, axis: &str, ids: Tensor<'g>) -> Tensor<'g> {
        let op = Op::Gather(axis.into());
        self.builder()
            .push(op, &[self, ids], Location::caller().into())
    }

    /// Adds `rows` to this table at `ids` along `axis`; `bf16` is summed in `f32`.
    #[track_caller]
    pub fn scatter_add(self, axis: &str, ids: Tensor<'g>, rows: Tensor<'g>) -> Tensor<'g> {
        if self.dtype() == DType::BF16 && rows.dtype() == DType::BF16 {
            let [table, rows] = [self, rows].map(|it| it.cast(DType::F32));
            return table.scatter_add(axis, ids, rows).cast(DType::BF16);
        }
        let op = Op::ScatterAdd(axis.into());
        self.builder()
            .push(op, &[self, ids, rows], Location::caller().into())
    }

    /// `self` where this `pred` holds, else `other`; all broadcast to the largest.
    #[track_caller]
    pub fn select(self, then: Tensor<'g>, other: Tensor<'g>) -> Tensor<'g> {
        let site = Location::caller().into();
        let shapes = [self.shape(), then.shape(), other.shape()];
        let axes = shapes
            .iter()
            .map(|shape| &shape.axes)
            .max_by_key(|axes| axes.len());
        let axes = axes.cloned().unwrap_or_default();
        let operands = [self, then, other].map(|tensor| tensor.broadcast_at(&axes, site));
        self.builder().push(Op::Select, &operands, site)
    }

    /// Appends the axis `name` of `size`: one (as `dtype`) at the position that this whole number gives, zero elsewhere.
    #[track_caller]
    pub fn one_hot(self, name: &str, size: usize, dtype: DType) -> Tensor<'g> {
        let mut shape = self.shape();
        shape.axes.push(Axis::new(name, size));
        let counted = self.builder().iota(name, shape);
        self.eq(counted).cast(dtype)
    }

    /// Fixes the sharding to that of an activation.
    #[track_caller]
    pub fn pin(self) -> Tensor<'g> {
        self.push(Op::Pin(Pin::Activation))
    }

    /// Fixes the sharding to that of the residual stream.
    #[track_caller]
    pub fn pin_residual(self) -> Tensor<'g> {
        self.push(Op::Pin(Pin::Residual))
    }

    /// Fixes the sharding by the rules for `pin`.
    #[track_caller]
    pub(super) fn pin_as(self, pin: Pin) -> Tensor<'g> {
        self.push(Op::Pin(pin))
    }

    /// Fixes the sharding to that of a weight.
    #[track_caller]
    pub fn pin_weight(self) -> Tensor<'g> {
        self.push(Op::Pin(Pin::Weight))
    }

    /// Fixes the sharding to that of a weight's optimizer state.
    #[track_caller]
    pub fn pin_state(self) -> Tensor<'g> {
        self.push(Op::Pin(Pin::State))
    }

    /// Keeps the compiler from moving computation across this point.
    #[track_caller]
    pub fn barrier(self) -> Tensor<'g> {
        self.push(Op::Barrier)
    }

    /// Marks this to be saved for the backward pass by [`super::Remat::Names`].
    #[track_caller]
    pub fn tag(self, name: &str) -> Tensor<'g> {
        self.push(Op::Tag(name.into()))
    }

    /// The same values, through which no gradient passes.
    #[track_caller]
    pub fn detach(self) -> Tensor<'g> {
        self.push(Op::Detach)
    }
}

impl Builder {
    /// One number of type `dtype` (for `pred`, whether it is not 0). A number that a whole-number type cannot hold is a
    /// mistake.
    #[track_caller]
    pub fn constant(&self, value: f64, dtype: DType) -> Tensor<'_> {
        let literal = match dtype {
            DType::Pred => Literal::Bool(value != 0.0),
            dtype if dtype.is_float() => Literal::Float(value),
            dtype => {
                if let Err(problem) = number(value, dtype) {
                    return self.fail("constant", &[], problem, Location::caller().into());
                }
                Literal::Int(value as i64)
            }
        };
        let op = Op::Constant {
            value: literal,
            shape: Shape::scalar(dtype),
        };
        self.push(op, &[], Location::caller().into())
    }

    /// A table of whole numbers along `axis`, `s32`.
    #[track_caller]
    pub fn table(&self, axis: &str, values: Vec<i64>) -> Tensor<'_> {
        let shape = Shape::new(DType::S32, [(axis, values.len())]);
        let op = Op::Constant {
            value: Literal::Table(values),
            shape,
        };
        self.push(op, &[], Location::caller().into())
    }

    /// `value` everywhere in a tensor of `shape`.
    #[track_caller]
    pub fn full(&self, value: f64, shape: Shape) -> Tensor<'_> {
        self.constant(value, shape.dtype).broadcast(shape.axes)
    }

    /// The position along `axis` in a tensor of `shape`.
    #[track_caller]
    pub fn iota(&self, axis: &str, shape: Shape) -> Tensor<'_> {
        let op = Op::Iota {
            axis: axis.into(),
            shape,
        };
        self.push(op, &[], Location::caller().into())
    }

    /// The tensors one after the other along `axis`.
    #[track_caller]
    pub fn concat<'g>(&'g self, axis: &str, parts: &[Tensor<'g>]) -> Tensor<'g> {
        self.push(Op::Concat(axis.into()), parts, Location::caller().into())
    }
}
