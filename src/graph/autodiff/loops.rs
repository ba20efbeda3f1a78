//! The gradient of a loop is a loop that runs the other way. Its carries are the gradients of the forward carries and
//! a sum for each captured tensor (in f32, so that many small parts are not lost); it takes slices of what the forward
//! loop saved and of the gradients of its stacks, and gives out the gradients of the sliced operands.
//!
//! Forward values inside come from [`Recompute`], on demand: what the policy saves becomes one more stack of the
//! forward loop, the rest is computed again in the backward body. A loop within a body is always computed again.

use super::super::builder::{Builder, Value};
use super::super::dtype::DType;
use super::super::ir::{Node, NodeId, RegionId};
use super::super::loops::{LoopBody, LoopOptions};
use super::super::op::{Loop, Op, Remat};
use super::super::tensor::Tensor;
use super::flow::LoopFlow;
use super::{Forward, Sweep};

impl<'g> Sweep<'g> {
    /// Hands the gradients of a loop's results to its operands.
    pub(super) fn pull_loop(&mut self, id: NodeId, node: &Node, results: Vec<Option<Tensor<'g>>>) {
        let builder = self.builder;
        let forward = self.value(id);
        let operands: Vec<_> = node.operands.iter().map(|id| self.value(*id)).collect();
        let wanted: Vec<_> = node
            .operands
            .iter()
            .map(|id| self.active[id.index()])
            .collect();
        let (spec, flow, args, body_results) = {
            let state = builder.state.borrow();
            let op = &state
                .graph
                .region(forward.value.region)
                .node(forward.value.node)
                .op;
            let Op::Loop(spec) = op else { return };
            let given: Vec<_> = results.iter().map(Option::is_some).collect();
            let flow = LoopFlow::of(&state.graph, spec, &wanted, &given);
            let body = state.graph.region(spec.body);
            let (args, results) = (body.args.clone(), body.results.clone());
            ((**spec).clone(), flow, args, results)
        };
        let gradient_of = |index: usize| results.get(index).copied().flatten();
        let captures = 1 + spec.carries + spec.slices;

        // What the backward loop starts from is made before it is opened, outside of it.
        let carries: Vec<_> = (0..spec.carries).filter(|&at| flow.carries[at]).collect();
        let starts: Vec<_> = (carries.iter())
            .map(|&at| gradient_of(at).unwrap_or_else(|| builder.full(0.0, operands[at].shape())))
            .collect();
        let captured: Vec<_> = (captures..args.len())
            .filter(|&at| flow.reached[at])
            .collect();
        let sums: Vec<_> = captured
            .iter()
            .map(|&at| zero_sum(builder, operands[at - 1]))
            .collect();

        let options = LoopOptions {
            reverse: !spec.reverse,
            ..LoopOptions::default()
        };
        let back = builder.open_loop(spec.axis.clone(), options);
        let starts: Vec<_> = starts.into_iter().map(|start| back.carry(start)).collect();
        let sums: Vec<_> = sums.into_iter().map(|sum| back.carry(sum)).collect();
        let targets: Vec<_> = (args.iter().zip(&flow.active))
            .filter_map(|(id, active)| active.then_some(*id))
            .collect();
        let recompute = Recompute::new(builder, forward, &spec, operands, back);
        let mut sweep = Sweep::new(builder, spec.body, &targets, Forward::Body(recompute));
        for (&at, &gradient) in carries.iter().zip(&starts) {
            sweep.accumulate(body_results[at], gradient);
        }
        for (at, &result) in body_results.iter().enumerate().skip(spec.carries) {
            if let Some(stack) = gradient_of(at)
                && sweep.active[result.index()]
            {
                sweep.accumulate(result, back.slice(stack));
            }
        }
        sweep.run();
        let gradient = |arg: usize| sweep.adjoints[args[arg].index()];
        let zeros = |arg: usize| {
            let shape = sweep.nodes[args[arg].index()].shape.clone();
            builder.full(0.0, shape)
        };
        for (slot, &at) in carries.iter().enumerate() {
            back.set_next(slot, gradient(at + 1).unwrap_or_else(|| zeros(at + 1)));
        }
        for (slot, (&at, &sum)) in captured.iter().zip(&sums).enumerate() {
            let next = gradient(at).map_or(sum, |part| sum + part.cast(sum.dtype()));
            back.set_next(carries.len() + slot, next);
        }
        let sliced: Vec<_> = (1 + spec.carries..captures)
            .filter(|&at| flow.reached[at])
            .collect();
        for &at in &sliced {
            back.emit(gradient(at).unwrap_or_else(|| zeros(at)));
        }
        let given = back.close();
        let owners = (carries.iter().map(|at| at + 1))
            .chain(captured)
            .chain(sliced);
        // A carry whose first value no iteration reads has a result with a gradient, and none itself.
        for (arg, gradient) in owners.zip(given).filter(|(arg, _)| flow.reached[*arg]) {
            let operand = node.operands[arg - 1];
            self.accumulate(
                operand,
                gradient.cast(self.nodes[operand.index()].shape.dtype),
            );
        }
    }
}

/// Zeros that gradients for `operand` are summed in: `f32` or wider, placed on the mesh as the gradient of `operand` is.
fn zero_sum<'g>(builder: &'g Builder, operand: Tensor<'g>) -> Tensor<'g> {
    let mut shape = operand.shape();
    if shape.dtype == DType::BF16 {
        shape.dtype = DType::F32;
    }
    let zeros = builder.full(0.0, shape);
    let state = builder.state.borrow();
    let pin = match state
        .graph
        .region(operand.value.region)
        .node(operand.value.node)
        .op
    {
        Op::Pin(pin) => Some(pin),
        _ => None,
    };
    drop(state);
    pin.map_or(zeros, |pin| zeros.pin_as(pin.of_gradient()))
}

/// Forward values of a loop's body, seen from its backward loop.
pub(super) struct Recompute<'g> {
    builder: &'g Builder,
    /// The forward loop's node.
    forward: Tensor<'g>,
    body: RegionId,
    nodes: Vec<Node>,
    remat: Remat,
    operands: Vec<Tensor<'g>>,
    carries: usize,
    slices: usize,
    back: LoopBody<'g>,
    args: Vec<NodeId>,
    values: Vec<Option<Tensor<'g>>>,
}

impl<'g> Recompute<'g> {
    fn new(
        builder: &'g Builder,
        forward: Tensor<'g>,
        spec: &Loop,
        operands: Vec<Tensor<'g>>,
        back: LoopBody<'g>,
    ) -> Self {
        let state = builder.state.borrow();
        let body = state.graph.region(spec.body);
        Recompute {
            builder,
            forward,
            body: spec.body,
            remat: spec.remat,
            operands,
            carries: spec.carries,
            slices: spec.slices,
            back,
            args: body.args.clone(),
            values: vec![None; body.nodes.len()],
            nodes: body.nodes.clone(),
        }
    }

    /// The value of the body's node `id`, made once.
    pub(super) fn value(&mut self, id: NodeId) -> Tensor<'g> {
        if let Some(known) = self.values[id.index()] {
            return known;
        }
        let node = self.nodes[id.index()].clone();
        let value = if let Op::Argument { .. } = node.op {
            self.argument(id)
        } else if self.saves(&node) {
            self.saved(id)
        } else {
            let operands: Vec<_> = node
                .operands
                .iter()
                .map(|id| self.value(*id).value)
                .collect();
            let mut state = self.builder.state.borrow_mut();
            let scope = state.graph.scopes.below("recompute", node.scope);
            let value = state.copy_node(self.body, id, &operands, scope);
            drop(state);
            self.builder.tensor(value)
        };
        self.values[id.index()] = Some(value);
        value
    }

    fn argument(&mut self, id: NodeId) -> Tensor<'g> {
        let Some(at) = self.args.iter().position(|arg| *arg == id) else {
            return self.builder.tensor(Value::POISON);
        };
        if at == 0 {
            self.back.index()
        } else if at <= self.carries {
            self.saved(id)
        } else if at <= self.carries + self.slices {
            self.back.slice(self.operands[at - 1])
        } else {
            self.operands[at - 1]
        }
    }

    /// Whether the policy has the forward loop save this node's value for the backward pass.
    fn saves(&self, node: &Node) -> bool {
        match self.remat {
            Remat::Full => false,
            Remat::Dots => matches!(node.op, Op::Dot { .. }),
            Remat::Names => matches!(node.op, Op::Tag(_)),
            // Views cost nothing to make again; counters and masks are cheaper to make than to keep.
            Remat::None => node.shape.dtype.is_float() && !is_view(&node.op),
        }
    }

    /// Has the forward loop stack node `id` and takes a slice of that.
    fn saved(&mut self, id: NodeId) -> Tensor<'g> {
        let mut state = self.builder.state.borrow_mut();
        let results = &mut state.graph.regions[self.body.index()].results;
        results.push(id);
        let index = results.len() - 1;
        let stack = state.get(self.forward.value, index);
        drop(state);
        self.back.slice(self.builder.tensor(stack))
    }
}

fn is_view(op: &Op) -> bool {
    matches!(
        op,
        Op::Constant { .. }
            | Op::Iota { .. }
            | Op::Broadcast(_)
            | Op::Transpose(_)
            | Op::Rename { .. }
            | Op::Split { .. }
            | Op::Merge { .. }
            | Op::Slice { .. }
            | Op::Reverse(_)
            | Op::Pin(_)
            | Op::Barrier
            | Op::Tag(_)
            | Op::Detach
            | Op::Loop(_)
            | Op::Get { .. }
    )
}
