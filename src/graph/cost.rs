//! A graph's floating-point operations: two (a product and a sum) for each term of a matrix product, and one for each
//! element of an elementwise operation or of a reduction's operand. Views, lookups and constants cost nothing, and a
//! loop's body counts once per iteration.
//!
//! This is the model's arithmetic as written, over all devices. What the backward pass computes again to save memory is
//! counted separately ([`Cost::recomputed`]): it is the hardware's work, not the model's.

use super::check::Checked;
use super::ir::{Graph, Node, ROOT, Region, RegionId};
use super::op::Op;

/// Floating-point operations by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Flops {
    /// Of matrix products.
    pub dots: f64,
    /// Of everything else.
    pub elementwise: f64,
}

impl Flops {
    fn add(&mut self, other: Flops, times: f64) {
        self.dots += other.dots * times;
        self.elementwise += other.elementwise * times;
    }

    /// All of them.
    pub fn total(self) -> f64 {
        self.dots + self.elementwise
    }
}

/// The floating-point operations of one run of a graph.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Without rematerialisation.
    pub model: Flops,
    /// What the backward pass computes again (scopes below `recompute`).
    pub recomputed: Flops,
}

/// The scope of rematerialised nodes.
const RECOMPUTE: &str = "recompute";

/// Counts the floating-point operations of one run of `graph`.
pub fn cost(graph: &Checked) -> Cost {
    region(graph, ROOT)
}

fn region(graph: &Graph, id: RegionId) -> Cost {
    let mut cost = Cost::default();
    let region_ = graph.region(id);
    for node in &region_.nodes {
        if let Op::Loop(spec) = &node.op {
            let body = region(graph, spec.body);
            let trips = spec.axis.size as f64;
            cost.model.add(body.model, trips);
            cost.recomputed.add(body.recomputed, trips);
            continue;
        }
        let flops = flops(region_, node);
        if flops == Flops::default() {
            continue;
        }
        let path = graph.scopes.path(node.scope);
        let again = path.split('/').next() == Some(RECOMPUTE);
        let part = if again {
            &mut cost.recomputed
        } else {
            &mut cost.model
        };
        part.add(flops, 1.0);
    }
    cost
}

/// The floating-point operations of `node` of `region`, without loops.
fn flops(region: &Region, node: &Node) -> Flops {
    let operand = |at: usize| region.shape(node.operands[at]);
    let elementwise = |elements: usize| Flops {
        elementwise: elements as f64,
        ..Flops::default()
    };
    match &node.op {
        Op::Dot { over, .. } => {
            let left = operand(0);
            let contracted = left.axes.iter().filter(|axis| over.contains(&axis.name));
            let terms: usize = contracted.map(|axis| axis.size).product();
            Flops {
                dots: 2.0 * node.shape.elements() as f64 * terms as f64,
                ..Flops::default()
            }
        }
        Op::Unary(_) | Op::Binary(_) | Op::Compare(_) | Op::Select | Op::Convert(_) => {
            elementwise(node.shape.elements())
        }
        Op::Reduce { .. } => elementwise(operand(0).elements()),
        // One sum for each element of the rows.
        Op::ScatterAdd(_) => elementwise(operand(2).elements()),
        Op::Parameter { .. }
        | Op::Argument { .. }
        | Op::Constant { .. }
        | Op::Iota { .. }
        | Op::Broadcast(_)
        | Op::Transpose(_)
        | Op::Rename { .. }
        | Op::Split { .. }
        | Op::Merge { .. }
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Concat(_)
        | Op::Reverse(_)
        | Op::DynamicSlice { .. }
        | Op::DynamicUpdate(_)
        | Op::Gather(_)
        | Op::Loop(_)
        | Op::Get { .. }
        | Op::Pin(_)
        | Op::Barrier
        | Op::Tag(_)
        | Op::Detach => Flops::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Builder, DType, Init, LoopOptions, Remat, Role, Shape};

    #[test]
    fn a_dot_counts_products_and_sums_an_elementwise_one_per_element() {
        let builder = Builder::new();
        let shape = |axes: [(&str, usize); 2]| Shape::new(DType::F32, axes);
        let x = builder.input("x", Role::Batch, shape([("batch", 3), ("embed", 5)]));
        let w = builder.input("w", Role::Weight, shape([("embed", 5), ("mlp", 7)]));
        builder.output("y", x.dot(w, ["embed"]).tanh().sum(["mlp"]));
        let cost = cost(&builder.finish().unwrap().check().unwrap());
        let dots = 2.0 * 3.0 * 5.0 * 7.0;
        // tanh over 21 elements, then a sum over them.
        let elementwise = 21.0 + 21.0;
        assert_eq!(cost.model, Flops { dots, elementwise });
        assert_eq!(cost.recomputed, Flops::default());
        assert_eq!(cost.model.total(), dots + elementwise);
    }

    /// A chain of 4 layers x -> tanh(x w), trained by one step's gradients.
    fn chain(remat: Remat) -> Cost {
        let builder = Builder::new();
        let shape = Shape::new(DType::F32, [("batch", 3), ("embed", 5)]);
        let x = builder.input("x", Role::Batch, shape);
        let options = LoopOptions {
            remat,
            stack_weights: true,
            ..LoopOptions::default()
        };
        let body = builder.open_loop(crate::graph::Axis::new("layers", 4), options);
        let carry = body.carry(x);
        let w = builder.weight("w", [("embed", 5), ("out", 5)], Init::Ones);
        let next = carry.dot(w, ["embed"]).tanh().rename("out", "embed");
        body.set_next(0, next);
        let loss = body.close()[0].sum_all();
        let weights = builder.weights();
        let targets: Vec<_> = weights.iter().map(|one| builder.whole(one)).collect();
        for (at, gradient) in builder.gradients(loss, &targets).into_iter().enumerate() {
            builder.output(&format!("gradient{at}"), gradient);
        }
        builder.output("loss", loss);
        cost(&builder.compact().unwrap())
    }

    #[test]
    fn loops_multiply_and_rematerialisation_is_kept_apart() {
        let product = 2.0 * 3.0 * 5.0 * 5.0;
        let full = chain(Remat::Full);
        // Forward, and two products for each in the backward pass.
        assert_eq!(full.model.dots, 4.0 * 3.0 * product);
        assert_eq!(full.recomputed.dots, 4.0 * product);
        let dots = chain(Remat::Dots);
        assert_eq!(dots.model.dots, full.model.dots);
        assert_eq!(dots.recomputed.dots, 0.0);
    }
}
