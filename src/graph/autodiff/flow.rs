//! Which nodes take part in a gradient: those that depend on its targets and that the loss depends on. A backward loop
//! carries and sums gradients for no others.

use std::collections::BTreeMap;

use super::super::ir::{Graph, NodeId, RegionId};
use super::super::op::{Loop, Op};

/// Which nodes of `region` depend on `targets` through differentiable operations.
pub(super) fn activity(graph: &Graph, region: RegionId, targets: &[NodeId]) -> Vec<bool> {
    let nodes = &graph.region(region).nodes;
    let mut active = vec![false; nodes.len()];
    for target in targets {
        active[target.index()] = true;
    }
    let mut results: BTreeMap<NodeId, Vec<bool>> = BTreeMap::new();
    for (at, node) in nodes.iter().enumerate() {
        let depends = |id: &NodeId| active[id.index()];
        let found = match &node.op {
            Op::Detach => false,
            Op::Get { index, .. } => results.get(&node.operands[0]).is_some_and(|of| of[*index]),
            Op::Loop(spec) => {
                let operands: Vec<_> = node.operands.iter().map(depends).collect();
                let (_, of_results) = body_activity(graph, spec, &operands);
                let any = of_results.contains(&true);
                results.insert(NodeId::from(at), of_results);
                any
            }
            _ => node.shape.dtype.is_float() && node.operands.iter().any(depends),
        };
        active[at] |= found;
    }
    active
}

/// Which arguments and results of a loop's body depend on the targets, given which operands do.
fn body_activity(graph: &Graph, spec: &Loop, operands: &[bool]) -> (Vec<bool>, Vec<bool>) {
    let body = graph.region(spec.body);
    let mut args: Vec<_> = [false].iter().chain(operands).copied().collect();
    loop {
        let targets: Vec<_> = (body.args.iter().zip(&args))
            .filter_map(|(id, active)| active.then_some(*id))
            .collect();
        let nodes = activity(graph, spec.body, &targets);
        let results: Vec<_> = body.results.iter().map(|id| nodes[id.index()]).collect();
        let mut settled = true;
        for carry in 0..spec.carries {
            if results[carry] && !args[carry + 1] {
                args[carry + 1] = true;
                settled = false;
            }
        }
        if settled {
            // A carry that starts active stays active in the sum of its gradients, even if the body replaces it.
            let results = results.iter().enumerate();
            let results =
                results.map(|(at, active)| *active || (at < spec.carries && args[at + 1]));
            return (args.clone(), results.collect());
        }
    }
}

/// Which of the `active` nodes of `region` receive a gradient that starts at the nodes `starts`.
fn reach(graph: &Graph, region: RegionId, active: &[bool], starts: &[NodeId]) -> Vec<bool> {
    let nodes = &graph.region(region).nodes;
    let mut reached = vec![false; nodes.len()];
    for start in starts {
        reached[start.index()] = active[start.index()];
    }
    let mut results: BTreeMap<NodeId, Vec<bool>> = BTreeMap::new();
    for (at, node) in nodes.iter().enumerate().rev() {
        match &node.op {
            Op::Detach => {}
            Op::Get { index, .. } if reached[at] => {
                let of = results.entry(node.operands[0]).or_default();
                of.resize((index + 1).max(of.len()), false);
                of[*index] = true;
            }
            Op::Loop(spec) => {
                let Some(given) = results.remove(&NodeId::from(at)) else {
                    continue;
                };
                let wanted: Vec<_> = node.operands.iter().map(|id| active[id.index()]).collect();
                let flow = LoopFlow::of(graph, spec, &wanted, &given);
                for (at, operand) in node.operands.iter().enumerate() {
                    reached[operand.index()] |= flow.reached[at + 1] && active[operand.index()];
                }
            }
            _ if reached[at] => {
                for operand in &node.operands {
                    reached[operand.index()] |= active[operand.index()];
                }
            }
            _ => {}
        }
    }
    reached
}

/// What takes part in a gradient of a loop.
pub(super) struct LoopFlow {
    /// Which arguments of the body depend on the targets.
    pub active: Vec<bool>,
    /// Which arguments of the body get a gradient.
    pub reached: Vec<bool>,
    /// Which carries have a gradient to carry.
    pub carries: Vec<bool>,
}

impl LoopFlow {
    /// The flow of the loop `spec`, given the operands that need a gradient and the results `given` that have one.
    pub fn of(graph: &Graph, spec: &Loop, operands: &[bool], given: &[bool]) -> Self {
        let body = graph.region(spec.body);
        let (args, _) = body_activity(graph, spec, operands);
        let targets: Vec<_> = (body.args.iter().zip(&args))
            .filter_map(|(id, active)| active.then_some(*id))
            .collect();
        let active = activity(graph, spec.body, &targets);
        let mut given = given.to_vec();
        given.resize(body.results.len(), false);
        loop {
            let starts: Vec<_> = (body.results.iter().zip(&given))
                .filter_map(|(id, given)| given.then_some(*id))
                .collect();
            let reached = reach(graph, spec.body, &active, &starts);
            let mut settled = true;
            for carry in 0..spec.carries {
                // A gradient for a carry in one iteration belongs to the carry's result in the previous one.
                if reached[body.args[carry + 1].index()] && !given[carry] {
                    given[carry] = true;
                    settled = false;
                }
            }
            if settled {
                let reached = body.args.iter().map(|id| reached[id.index()]).collect();
                let carries = (0..spec.carries)
                    .map(|at| given[at] && args[at + 1])
                    .collect();
                return LoopFlow {
                    active: args,
                    reached,
                    carries,
                };
            }
        }
    }
}
