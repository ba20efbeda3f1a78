//! Reverse-mode differentiation, graph to graph: one sweep from the loss back over the nodes it depends on, each node
//! handing the gradient of its result to its operands by the rule in `rules`.
//!
//! A node's forward value is had from `Forward`: at the loss's own level it is simply there; within a loop's
//! backward pass it is saved by the forward loop or computed again, as the loop's policy says (`loops`).
//! Gradient nodes stand in scopes below `gradient/`, recomputed ones below `recompute/`.

mod flow;
mod loops;
mod rules;

use std::collections::BTreeMap;
use std::panic::Location;

use self::flow::activity;
use self::loops::Recompute;
use super::builder::{Builder, Value};
use super::ir::{Node, NodeId, RegionId};
use super::op::Op;
use super::tensor::Tensor;

impl Builder {
    /// The gradient of the scalar `loss` for each tensor of `wrt`, of that tensor's shape and type. A tensor that the
    /// loss does not depend on has a gradient of zeros.
    ///
    /// `loss` belongs to the region being built; `wrt` may belong to one around it (weights seen from within a loop
    /// over microbatches).
    #[track_caller]
    pub fn gradients<'g>(&'g self, loss: Tensor<'g>, wrt: &[Tensor<'g>]) -> Vec<Tensor<'g>> {
        let site = Location::caller().into();
        if loss.is_poison() || wrt.iter().any(|tensor| tensor.is_poison()) {
            return vec![self.tensor(Value::POISON); wrt.len()];
        }
        let shape = loss.shape();
        if shape.rank() != 0 || !shape.dtype.is_float() {
            let message = format!("they are of one float, not of {shape}");
            let poison = self.fail("gradients", &[loss], message, site);
            return vec![poison; wrt.len()];
        }
        let (here, targets) = {
            let mut state = self.state.borrow_mut();
            let targets: Vec<_> = wrt
                .iter()
                .map(|tensor| state.import(tensor.value))
                .collect();
            (state.here(), targets)
        };
        let Some(targets) = targets.into_iter().collect::<Option<Vec<_>>>() else {
            let message = "they are asked of a tensor of a finished loop's body".to_string();
            let poison = self.fail("gradients", &[loss], message, site);
            return vec![poison; wrt.len()];
        };
        if loss.value.region != here {
            let message = "the loss belongs to a loop around this one".to_string();
            let poison = self.fail("gradients", &[loss], message, site);
            return vec![poison; wrt.len()];
        }
        let mut sweep = Sweep::new(self, here, &targets, Forward::Here);
        sweep.accumulate(loss.value.node, self.constant(1.0, shape.dtype));
        sweep.run();
        let gradients = targets.iter().zip(wrt);
        gradients
            .map(|(target, tensor)| {
                let known = sweep.adjoints[target.index()];
                known.unwrap_or_else(|| self.full(0.0, tensor.shape()))
            })
            .collect()
    }
}

/// Where the sweep has forward values from.
enum Forward<'g> {
    /// The sweep stands in the region that it differentiates.
    Here,
    /// The sweep stands in a backward loop and differentiates the body of the forward one.
    Body(Recompute<'g>),
}

/// One reverse pass over a region.
struct Sweep<'g> {
    builder: &'g Builder,
    region: RegionId,
    nodes: Vec<Node>,
    /// Whether a node's value depends on what gradients are for.
    active: Vec<bool>,
    forward: Forward<'g>,
    /// The gradient for each node so far.
    adjoints: Vec<Option<Tensor<'g>>>,
    /// The gradients for each result of a loop so far.
    results: BTreeMap<NodeId, Vec<Option<Tensor<'g>>>>,
}

impl<'g> Sweep<'g> {
    fn new(
        builder: &'g Builder,
        region: RegionId,
        targets: &[NodeId],
        forward: Forward<'g>,
    ) -> Self {
        let state = builder.state.borrow();
        let nodes = state.graph.region(region).nodes.clone();
        let active = activity(&state.graph, region, targets);
        Sweep {
            builder,
            region,
            adjoints: vec![None; nodes.len()],
            results: BTreeMap::new(),
            active,
            forward,
            nodes,
        }
    }

    /// Goes over all nodes, last first.
    fn run(&mut self) {
        for at in (0..self.nodes.len()).rev() {
            let id = NodeId::from(at);
            let node = self.nodes[at].clone();
            let scope = {
                let mut state = self.builder.state.borrow_mut();
                state.graph.scopes.below("gradient", node.scope)
            };
            let builder = self.builder;
            builder.on_behalf_of(scope, node.site, || match &node.op {
                Op::Loop(_) => {
                    if let Some(results) = self.results.remove(&id) {
                        self.pull_loop(id, &node, results);
                    }
                }
                Op::Get { index, .. } => {
                    if let Some(gradient) = self.adjoints[at] {
                        self.collect(node.operands[0], *index, gradient);
                    }
                }
                _ => {
                    if let Some(gradient) = self.adjoints[at] {
                        self.pull(id, &node, gradient);
                    }
                }
            });
        }
    }

    /// Adds `gradient` to what node `id` has, if anything asks for it.
    fn accumulate(&mut self, id: NodeId, gradient: Tensor<'g>) {
        if !self.active[id.index()] {
            return;
        }
        let before = self.adjoints[id.index()];
        self.adjoints[id.index()] = Some(before.map_or(gradient, |sum| sum + gradient));
    }

    /// Keeps the gradient for result `index` of the loop `owner` until all of its results are pulled at once.
    fn collect(&mut self, owner: NodeId, index: usize, gradient: Tensor<'g>) {
        let slots = self.results.entry(owner).or_default();
        slots.resize((index + 1).max(slots.len()), None);
        let before = slots[index];
        slots[index] = Some(before.map_or(gradient, |sum| sum + gradient));
    }

    /// The forward value of node `id`, in the region being built.
    fn value(&mut self, id: NodeId) -> Tensor<'g> {
        match &mut self.forward {
            Forward::Here => self.builder.tensor(Value {
                region: self.region,
                node: id,
            }),
            Forward::Body(recompute) => recompute.value(id),
        }
    }
}
