//! Forward values of a loop's body for its backward loop: what the policy saves becomes one more stack of the forward
//! loop, and the rest is computed again. A loop inside a body is always computed again.

use super::super::builder::{Builder, Tensor};
use super::super::ir::{Node, NodeId, RegionId};
use super::super::loops::LoopBody;
use super::super::op::{Loop, Op, Remat};
use super::super::recorder::Value;

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
    pub fn new(
        builder: &'g Builder,
        forward: Tensor<'g>,
        spec: &Loop,
        operands: Vec<Tensor<'g>>,
        back: LoopBody<'g>,
    ) -> Self {
        let recorder = builder.recorder.borrow();
        let body = recorder.graph.region(spec.body);
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
    pub fn value(&mut self, id: NodeId) -> Tensor<'g> {
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
            let mut recorder = self.builder.recorder.borrow_mut();
            let scope = recorder.graph.scopes.below("recompute", node.scope);
            let value = recorder.copy_node(self.body, id, &operands, scope);
            drop(recorder);
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

    /// Whether the policy saves this node's value for the backward pass.
    fn saves(&self, node: &Node) -> bool {
        match self.remat {
            Remat::Full => false,
            Remat::Dots => matches!(node.op, Op::Dot { .. }),
            Remat::Names => matches!(node.op, Op::Tag(_)),
            // Views cost nothing to make again; counters and masks are cheaper to make than to keep.
            Remat::None => node.shape.dtype.is_float() && !is_view(&node.op),
        }
    }

    /// Makes the forward loop stack node `id`, and takes a slice of the stack.
    fn saved(&mut self, id: NodeId) -> Tensor<'g> {
        let mut recorder = self.builder.recorder.borrow_mut();
        let results = &mut recorder.graph.regions[self.body.index()].results;
        results.push(id);
        let index = results.len() - 1;
        let stack = recorder.get(self.forward.value, index);
        drop(recorder);
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
