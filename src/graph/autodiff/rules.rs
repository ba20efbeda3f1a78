//! The gradient rule of each operation: from the gradient of its result to those of its operands.

use super::super::builder::Tensor;
use super::super::dtype::DType;
use super::super::ir::{Node, NodeId};
use super::super::op::{Binary, Op, Reduction, Unary};
use super::super::shape::{AxisName, Shape};
use super::sweep::Sweep;

/// 2 / sqrt(pi), the slope of erf at 0.
const ERF_SLOPE: f64 = std::f64::consts::FRAC_2_SQRT_PI;

impl<'g> Sweep<'g> {
    /// Passes `gradient`, that of `node`'s result, to those of its operands that need one.
    pub(super) fn pull(&mut self, id: NodeId, node: &Node, gradient: Tensor<'g>) {
        let builder = self.builder;
        match &node.op {
            Op::Unary(kind) => {
                if let Some(part) = self.unary(*kind, id, node, gradient) {
                    self.give(node, 0, part);
                }
            }
            Op::Binary(kind) => self.binary(*kind, id, node, gradient),
            Op::Select => {
                let chosen = self.value(node.operands[0]);
                let zeros = builder.full(0.0, node.shape.clone());
                if self.asks(node, 1) {
                    self.give(node, 1, chosen.select(gradient, zeros));
                }
                if self.asks(node, 2) {
                    self.give(node, 2, chosen.select(zeros, gradient));
                }
            }
            Op::Convert(_) => self.give(node, 0, gradient.cast(self.shape(node, 0).dtype)),
            Op::Dot { over, .. } => self.dot(node, over, gradient),
            Op::Reduce { kind, .. } => {
                let axes = self.shape(node, 0).axes;
                let part = match kind {
                    Reduction::Sum => gradient.broadcast(axes),
                    Reduction::Max | Reduction::Min => {
                        // If several elements are the extreme, they share the gradient.
                        let operand = self.value(node.operands[0]);
                        let extreme = self.value(id).broadcast(axes.clone());
                        let hit = operand.eq(extreme).cast(gradient.dtype());
                        let over: Vec<AxisName> = (axes.iter())
                            .filter(|axis| !node.shape.has(&axis.name))
                            .map(|axis| axis.name.clone())
                            .collect();
                        hit * (gradient / hit.sum(over))
                    }
                };
                self.give(node, 0, part);
            }
            Op::Broadcast(axes) => {
                let operand = self.shape(node, 0);
                let over: Vec<AxisName> = (axes.iter())
                    .filter(|axis| !operand.has(&axis.name))
                    .map(|axis| axis.name.clone())
                    .collect();
                let part = gradient.sum(over).transpose(operand.names().cloned());
                self.give(node, 0, part);
            }
            Op::Transpose(_) => {
                let order: Vec<_> = self.shape(node, 0).names().cloned().collect();
                self.give(node, 0, gradient.transpose(order));
            }
            Op::Rename { from, to } => self.give(node, 0, gradient.rename(to, from)),
            // An axis of one element split into nothing.
            Op::Split { into, .. } if into.is_empty() => {
                let axes = self.shape(node, 0).axes;
                self.give(node, 0, gradient.broadcast(axes));
            }
            Op::Split { axis, into } => {
                let parts = into.iter().map(|part| part.name.clone());
                self.give(node, 0, gradient.merge(parts, axis));
            }
            Op::Merge { axes, into } => {
                let operand = self.shape(node, 0);
                let parts = operand
                    .axes
                    .into_iter()
                    .filter(|axis| axes.contains(&axis.name));
                self.give(node, 0, gradient.split(into, parts));
            }
            Op::Slice {
                axis,
                start,
                stride,
                ..
            } => {
                let (size, taken) = (self.size(node, 0, axis), node.shape.size(axis).unwrap_or(1));
                let reached = start + (taken - 1) * stride + 1;
                let part = gradient.pad_between(axis, *start, size - reached, stride - 1, 0.0);
                self.give(node, 0, part);
            }
            Op::Pad {
                axis,
                low,
                interior,
                ..
            } => {
                let size = self.size(node, 0, axis);
                // A single element has no neighbour, so `interior` adds nothing.
                let stride = interior.saturating_add(1);
                let limit = low + (size - 1) * stride + 1;
                self.give(node, 0, gradient.slice_by(axis, *low, limit, stride));
            }
            Op::Concat(axis) => {
                let mut start = 0;
                for at in 0..node.operands.len() {
                    let size = self.size(node, at, axis);
                    if self.asks(node, at) {
                        self.give(node, at, gradient.slice(axis, start, start + size));
                    }
                    start += size;
                }
            }
            Op::Reverse(axis) => self.give(node, 0, gradient.reverse(axis)),
            Op::DynamicSlice { axis, .. } => {
                let zeros = builder.full(0.0, self.shape(node, 0));
                let start = self.value(node.operands[1]);
                self.give(node, 0, zeros.dynamic_update(axis, gradient, start));
            }
            Op::DynamicUpdate(axis) => {
                let block = self.shape(node, 1);
                let start = self.value(node.operands[2]);
                if self.asks(node, 0) {
                    let zeros = builder.full(0.0, block.clone());
                    self.give(node, 0, gradient.dynamic_update(axis, zeros, start));
                }
                if self.asks(node, 1) {
                    let size = block.size(axis).unwrap_or(1);
                    self.give(node, 1, gradient.dynamic_slice(axis, start, size));
                }
            }
            Op::Gather(axis) => {
                let zeros = builder.full(0.0, self.shape(node, 0));
                let ids = self.value(node.operands[1]);
                self.give(node, 0, zeros.scatter_add(axis, ids, gradient));
            }
            Op::ScatterAdd(axis) => {
                self.give(node, 0, gradient);
                if self.asks(node, 2) {
                    let ids = self.value(node.operands[1]);
                    let mut rows = gradient.gather(axis, ids);
                    // A row that was left out has no gradient; a lookup would read the nearest one.
                    for inside in inside(ids, self.size(node, 0, axis)) {
                        rows = inside.select(rows, rows.constant(0.0));
                    }
                    self.give(node, 2, rows);
                }
            }
            Op::Pin(pin) => self.give(node, 0, gradient.pin_as(pin.of_gradient())),
            Op::Barrier => self.give(node, 0, gradient.barrier()),
            Op::Tag(_) => self.give(node, 0, gradient),
            // These have no operand or pass no gradient; loops are handled in `loops`.
            Op::Parameter { .. }
            | Op::Argument { .. }
            | Op::Constant { .. }
            | Op::Iota { .. }
            | Op::Compare(_)
            | Op::Detach
            | Op::Loop(_)
            | Op::Get { .. } => {}
        }
    }

    fn unary(&mut self, kind: Unary, id: NodeId, node: &Node, g: Tensor<'g>) -> Option<Tensor<'g>> {
        let mut x = || self.value(node.operands[0]);
        Some(match kind {
            Unary::Neg => -g,
            Unary::Abs => g * x().sign(),
            Unary::Log => g / x(),
            Unary::Log1p => g / (x() + 1.0),
            Unary::Sin => g * x().cos(),
            Unary::Cos => -g * x().sin(),
            Unary::Erf => {
                let x = x();
                g * (-(x * x)).exp() * ERF_SLOPE
            }
            Unary::Exp => g * self.value(id),
            Unary::Expm1 => g * (self.value(id) + 1.0),
            Unary::Sqrt => g * 0.5 / self.value(id),
            Unary::Rsqrt => {
                let y = self.value(id);
                g * -0.5 * (y * y * y)
            }
            Unary::Tanh => {
                let y = self.value(id);
                g * (y.constant(1.0) - y * y)
            }
            Unary::Logistic => {
                let y = self.value(id);
                g * (y * (y.constant(1.0) - y))
            }
            Unary::Sign | Unary::Floor | Unary::Not => return None,
        })
    }

    fn binary(&mut self, kind: Binary, id: NodeId, node: &Node, g: Tensor<'g>) {
        let (left, right) = (node.operands[0], node.operands[1]);
        let (to_left, to_right) = (self.asks(node, 0), self.asks(node, 1));
        match kind {
            Binary::Add => {
                self.give(node, 0, g);
                self.give(node, 1, g);
            }
            Binary::Sub => {
                self.give(node, 0, g);
                if to_right {
                    self.give(node, 1, -g);
                }
            }
            Binary::Mul => {
                if to_left {
                    let part = g * self.value(right);
                    self.give(node, 0, part);
                }
                if to_right {
                    let part = g * self.value(left);
                    self.give(node, 1, part);
                }
            }
            Binary::Div => {
                let over = g / self.value(right);
                if to_left {
                    self.give(node, 0, over);
                }
                if to_right {
                    let part = -over * self.value(id);
                    self.give(node, 1, part);
                }
            }
            Binary::Max | Binary::Min => {
                // Of two equal operands, the right one gets the gradient, so relu's slope at 0 is 0.
                let (x, y) = (self.value(left), self.value(right));
                let wins = if kind == Binary::Max {
                    x.gt(y)
                } else {
                    x.lt(y)
                };
                let zeros = g.constant(0.0);
                if to_left {
                    self.give(node, 0, wins.select(g, zeros));
                }
                if to_right {
                    self.give(node, 1, wins.select(zeros, g));
                }
            }
            Binary::Pow => {
                let (x, y) = (self.value(left), self.value(right));
                if to_left {
                    // x^0 is flat at 0 too; 0 times 0^-1 would be NaN.
                    let power = y.eq(y.constant(0.0)).select(y.constant(1.0), y);
                    self.give(node, 0, g * y * x.pow(power - 1.0));
                }
                if to_right {
                    // 0^y is constant near any y above 0; log 0 would make it NaN.
                    let base = x.eq(x.constant(0.0)).select(x.constant(1.0), x);
                    let part = g * self.value(id) * base.log();
                    self.give(node, 1, part);
                }
            }
            Binary::Rem => {
                self.give(node, 0, g);
                if to_right {
                    // x rem y = x - y trunc(x / y)
                    let ratio = self.value(left) / self.value(right);
                    self.give(node, 1, -g * (ratio.sign() * ratio.abs().floor()));
                }
            }
            Binary::And | Binary::Or | Binary::Xor | Binary::ShiftLeft | Binary::ShiftRight => {}
        }
    }

    /// Contracts the gradient with the other operand over the other operand's free axes.
    fn dot(&mut self, node: &Node, over: &[AxisName], gradient: Tensor<'g>) {
        let shapes = [self.shape(node, 0), self.shape(node, 1)];
        let dtype = shapes[0].dtype;
        // Products have the operands' type, and so do the gradients.
        let gradient = gradient.cast(dtype);
        for side in 0..2 {
            if !self.asks(node, side) {
                continue;
            }
            let (mine, other) = (&shapes[side], &shapes[1 - side]);
            let free = other
                .names()
                .filter(|name| !mine.has(name) && !over.contains(name));
            let factor = self.value(node.operands[1 - side]);
            let part = gradient.dot_as(factor, free.cloned(), dtype);
            self.give(node, side, part.transpose(mine.names().cloned()));
        }
    }

    fn give(&mut self, node: &Node, operand: usize, gradient: Tensor<'g>) {
        self.accumulate(node.operands[operand], gradient);
    }

    fn asks(&self, node: &Node, operand: usize) -> bool {
        self.active[node.operands[operand].index()]
    }

    fn shape(&self, node: &Node, operand: usize) -> Shape {
        self.nodes[node.operands[operand].index()].shape.clone()
    }

    fn size(&self, node: &Node, operand: usize, axis: &str) -> usize {
        self.shape(node, operand).size(axis).unwrap_or(1)
    }
}

/// The conditions for ids to be positions of an axis of `size` elements, without those that their type ensures.
fn inside(ids: Tensor<'_>, size: usize) -> Vec<Tensor<'_>> {
    let signed = ids.dtype() == DType::S32;
    let most = if signed { 1 << 31 } else { 1 << 32 };
    let low = signed.then(|| ids.ge(ids.constant(0.0)));
    let high = (size < most).then(|| ids.lt(ids.constant(size as f64)));
    low.into_iter().chain(high).collect()
}
