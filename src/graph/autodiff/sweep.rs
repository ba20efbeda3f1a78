//! The sweep itself: nodes from last to first, and each node's gradients so far.

use std::collections::BTreeMap;

use super::super::builder::{Builder, Tensor};
use super::super::ir::{Node, NodeId, RegionId};
use super::super::op::Op;
use super::super::recorder::Value;
use super::flow::activity;
use super::recompute::Recompute;
use super::sum::Sum;

/// The source of forward values.
pub(super) enum Forward<'g> {
    /// The sweep is in the region that it differentiates.
    Here,
    /// The sweep is in a backward loop and differentiates the body of the forward one.
    Body(Recompute<'g>),
}

/// One reverse pass over a region.
pub(super) struct Sweep<'g> {
    pub builder: &'g Builder,
    region: RegionId,
    pub nodes: Vec<Node>,
    /// Whether a node's value depends on the targets.
    pub active: Vec<bool>,
    forward: Forward<'g>,
    /// The gradient for each node so far.
    adjoints: Vec<Option<Sum<'g>>>,
    /// The gradients for each result of a loop so far.
    results: BTreeMap<NodeId, Vec<Option<Sum<'g>>>>,
}

impl<'g> Sweep<'g> {
    pub fn new(
        builder: &'g Builder,
        region: RegionId,
        targets: &[NodeId],
        forward: Forward<'g>,
    ) -> Self {
        let recorder = builder.recorder.borrow();
        let nodes = recorder.graph.region(region).nodes.clone();
        let active = activity(&recorder.graph, region, targets);
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

    /// Visits all nodes, last first.
    pub fn run(&mut self) {
        for at in (0..self.nodes.len()).rev() {
            let id = NodeId::from(at);
            let node = self.nodes[at].clone();
            let scope = {
                let mut recorder = self.builder.recorder.borrow_mut();
                recorder.graph.scopes.below("gradient", node.scope)
            };
            let builder = self.builder;
            builder.on_behalf_of(scope, node.site, || match &node.op {
                Op::Loop(_) => {
                    if let Some(results) = self.results.remove(&id) {
                        let results = results.iter().map(|sum| sum.as_ref().map(Sum::total));
                        self.pull_loop(id, &node, results.collect());
                    }
                }
                Op::Get { index, .. } => {
                    if let Some(gradient) = self.gradient(id) {
                        self.collect(node.operands[0], *index, gradient);
                    }
                }
                _ => {
                    if let Some(gradient) = self.gradient(id) {
                        self.pull(id, &node, gradient);
                    }
                }
            });
        }
    }

    /// The gradient for node `id`, if it has one.
    pub fn gradient(&self, id: NodeId) -> Option<Tensor<'g>> {
        self.adjoints[id.index()].as_ref().map(Sum::total)
    }

    /// Adds `gradient` to that of node `id`, if it is needed.
    pub fn accumulate(&mut self, id: NodeId, gradient: Tensor<'g>) {
        if !self.active[id.index()] {
            return;
        }
        add(&mut self.adjoints[id.index()], gradient);
    }

    /// Keeps the gradient for result `index` of the loop `owner` until the sweep reaches the loop itself.
    fn collect(&mut self, owner: NodeId, index: usize, gradient: Tensor<'g>) {
        let slots = self.results.entry(owner).or_default();
        slots.resize((index + 1).max(slots.len()), None);
        add(&mut slots[index], gradient);
    }

    /// The forward value of node `id`, in the region being built.
    pub fn value(&mut self, id: NodeId) -> Tensor<'g> {
        match &mut self.forward {
            Forward::Here => self.builder.tensor(Value {
                region: self.region,
                node: id,
            }),
            Forward::Body(recompute) => recompute.value(id),
        }
    }
}

fn add<'g>(sum: &mut Option<Sum<'g>>, gradient: Tensor<'g>) {
    match sum {
        Some(sum) => sum.add(gradient),
        None => *sum = Some(Sum::of(gradient)),
    }
}
