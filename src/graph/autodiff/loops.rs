//! The gradient of a loop is a loop that runs the other way. Its carries are the gradients of the forward carries and
//! a sum for each captured tensor (in f32, so that many small parts are not lost). It takes slices of what the forward
//! loop saved and of the gradients of its stacks, and emits the gradients of the sliced operands.
//!
//! Forward values inside come from [`Recompute`], on demand: what the policy saves becomes one more stack of the
//! forward loop, and the backward body computes the rest again. A loop inside a body is always computed again.

use super::super::builder::{Builder, Tensor};
use super::super::dtype::DType;
use super::super::ir::{Node, NodeId};
use super::super::op::Op;
use super::super::recorder::LoopOptions;
use super::flow::LoopFlow;
use super::recompute::Recompute;
use super::sweep::{Forward, Sweep};

impl<'g> Sweep<'g> {
    /// Passes the gradients of a loop's results to its operands.
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
            let recorder = builder.recorder.borrow();
            let op = &recorder
                .graph
                .region(forward.value.region)
                .node(forward.value.node)
                .op;
            let Op::Loop(spec) = op else { return };
            let given: Vec<_> = results.iter().map(Option::is_some).collect();
            let flow = LoopFlow::of(&recorder.graph, spec, &wanted, &given);
            let body = recorder.graph.region(spec.body);
            let (args, results) = (body.args.clone(), body.results.clone());
            ((**spec).clone(), flow, args, results)
        };
        let gradient_of = |index: usize| results.get(index).copied().flatten();
        let captures = 1 + spec.carries + spec.slices;

        // The backward loop's first values are made outside of it, before it is opened.
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
        let gradient = |arg: usize| sweep.gradient(args[arg]);
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
        // If no iteration reads a carry's first value, its result has a gradient but its operand does not.
        for (arg, gradient) in owners.zip(given).filter(|(arg, _)| flow.reached[*arg]) {
            let operand = node.operands[arg - 1];
            self.accumulate(
                operand,
                gradient.cast(self.nodes[operand.index()].shape.dtype),
            );
        }
    }
}

/// Zeros to sum gradients for `operand` in: `f32` or wider, sharded like the gradient of `operand`.
fn zero_sum<'g>(builder: &'g Builder, operand: Tensor<'g>) -> Tensor<'g> {
    let mut shape = operand.shape();
    if shape.dtype == DType::BF16 {
        shape.dtype = DType::F32;
    }
    let zeros = builder.full(0.0, shape);
    let recorder = builder.recorder.borrow();
    let pin = match recorder
        .graph
        .region(operand.value.region)
        .node(operand.value.node)
        .op
    {
        Op::Pin(pin) => Some(pin),
        _ => None,
    };
    drop(recorder);
    pin.map_or(zeros, |pin| zeros.pin_as(pin.of_gradient()))
}
