//! Drops what no output needs and renumbers the rest, so an unused node changes no golden. Loops lose carries, slices,
//! captures and stacks that nothing reads. The remaining ones follow the order in which the body reads or makes them, and
//! each `get` comes right after its loop, so dead readers leave no trace. Parameters stay: they are the program's
//! signature.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::builder::Builder;
use super::check::Checked;
use super::error::GraphError;
use super::ir::{Graph, Node, NodeId, Output, ROOT, Region, RegionId};
use super::op::{Loop, Op};

impl Builder {
    /// Returns the graph without what no output needs: [`Builder::finish`], the check, and [`Checked::compact`].
    ///
    /// # Errors
    /// The first mistake.
    pub fn compact(self) -> Result<Checked, GraphError> {
        let checked = self.finish()?.check();
        let checked = checked.map_err(|mut mistakes| mistakes.swap_remove(0))?;
        Ok(checked.compact())
    }
}

impl Checked {
    /// Returns the same program without dead nodes. A well-formed graph stays well formed.
    pub fn compact(&self) -> Checked {
        let outputs: Vec<_> = self.outputs.iter().map(|output| output.node).collect();
        let plan = Plan::of(self, ROOT, &outputs, &mut Plans::new());
        let mut result = Graph {
            scopes: self.scopes.clone(),
            ..Graph::default()
        };
        let ids = rebuild(self, ROOT, &plan, &mut result, ROOT, &[]);
        result.outputs = (self.outputs.iter())
            .map(|output| Output {
                node: ids[output.node.index()],
                ..output.clone()
            })
            .collect();
        Checked(result)
    }
}

/// What stays of a region.
struct Plan {
    live: Vec<bool>,
    loops: BTreeMap<NodeId, Rc<LoopPlan>>,
}

/// The plans made so far, by a loop's body and which of its results are used. A loop is planned more than once until the
/// one around it settles; without this cache, each level of loops would double the work of all inside.
type Plans = BTreeMap<(RegionId, Vec<bool>), Rc<LoopPlan>>;

/// What stays of a loop.
struct LoopPlan {
    body: Plan,
    /// The operands that stay, in their new order: carries, slices, captures.
    operands: Vec<usize>,
    /// How many of these are carries, and how many slices.
    carries: usize,
    slices: usize,
    /// The results that stay, in their new order: carries, stacks.
    results: Vec<usize>,
}

impl Plan {
    fn of(graph: &Graph, region: RegionId, results: &[NodeId], plans: &mut Plans) -> Plan {
        let nodes = &graph.region(region).nodes;
        let mut plan = Plan {
            live: vec![false; nodes.len()],
            loops: BTreeMap::new(),
        };
        for id in results {
            plan.live[id.index()] = true;
        }
        let mut read: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
        for (at, node) in nodes.iter().enumerate().rev() {
            if matches!(node.op, Op::Parameter { .. }) {
                plan.live[at] = true;
            }
            if !plan.live[at] {
                continue;
            }
            match &node.op {
                Op::Loop(spec) => {
                    let id = NodeId::from(at);
                    let read = read.remove(&id).unwrap_or_default();
                    let kept = LoopPlan::of(graph, spec, &read, plans);
                    for at in &kept.operands {
                        plan.live[node.operands[*at].index()] = true;
                    }
                    plan.loops.insert(id, kept);
                }
                Op::Get { index, .. } => {
                    read.entry(node.operands[0]).or_default().push(*index);
                    plan.live[node.operands[0].index()] = true;
                }
                _ => {
                    for operand in &node.operands {
                        plan.live[operand.index()] = true;
                    }
                }
            }
        }
        plan
    }

    /// For each node of `region`, the first live node that reads it and as which operand; the maximum if none does.
    fn first_reads(&self, region: &Region) -> Vec<(usize, usize)> {
        let mut first = vec![(usize::MAX, usize::MAX); region.nodes.len()];
        for (at, node) in region.nodes.iter().enumerate() {
            if !self.live[at] {
                continue;
            }
            let kept = self
                .loops
                .get(&NodeId::from(at))
                .map(|kept| kept.operands.iter());
            let operands: Vec<_> = match kept {
                Some(kept) => kept.map(|operand| node.operands[*operand]).collect(),
                None => node.operands.clone(),
            };
            for (position, operand) in operands.into_iter().enumerate() {
                let known = &mut first[operand.index()];
                *known = (*known).min((at, position));
            }
        }
        first
    }
}

impl LoopPlan {
    /// What stays of a loop if only its results flagged in `read` are used.
    fn of(graph: &Graph, spec: &Loop, read: &[usize], plans: &mut Plans) -> Rc<LoopPlan> {
        let body = graph.region(spec.body);
        let mut results = vec![false; body.results.len()];
        for index in read {
            results[*index] = true;
        }
        let asked = (spec.body, results.clone());
        if let Some(known) = plans.get(&asked) {
            return Rc::clone(known);
        }
        loop {
            let wanted: Vec<_> = (body.results.iter().zip(&results))
                .filter_map(|(id, keep)| keep.then_some(*id))
                .collect();
            let plan = Plan::of(graph, spec.body, &wanted, plans);
            let operands: Vec<_> = body.args[1..]
                .iter()
                .map(|arg| plan.live[arg.index()])
                .collect();
            let mut settled = true;
            for carry in 0..spec.carries {
                // A carry that an iteration reads must stay up to date.
                if operands[carry] && !results[carry] {
                    results[carry] = true;
                    settled = false;
                }
            }
            if settled {
                let kept = Rc::new(LoopPlan::kept(spec, body, plan, &operands, results));
                plans.insert(asked, Rc::clone(&kept));
                return kept;
            }
        }
    }

    /// The plan for a loop that keeps the operands flagged in `read` and those of the carries that stay.
    fn kept(
        spec: &Loop,
        body: &Region,
        mut plan: Plan,
        read: &[bool],
        results: Vec<bool>,
    ) -> LoopPlan {
        let first_read = plan.first_reads(body);
        let in_order = |range: std::ops::Range<usize>| {
            let mut kept: Vec<_> = range.filter(|at| read[*at]).collect();
            kept.sort_by_key(|at| first_read[body.args[at + 1].index()]);
            kept
        };
        let carries: Vec<_> = (0..spec.carries).filter(|at| results[*at]).collect();
        let slices = in_order(spec.carries..spec.carries + spec.slices);
        let captures = in_order(spec.carries + spec.slices..read.len());
        let (carry_count, slice_count) = (carries.len(), slices.len());
        let operands: Vec<_> = carries.into_iter().chain(slices).chain(captures).collect();
        // Arguments match operands by position, so those of kept carries stay even if nothing reads them.
        plan.live[body.args[0].index()] = true;
        for at in &operands {
            plan.live[body.args[at + 1].index()] = true;
        }
        let mut kept: Vec<_> = (spec.carries..results.len())
            .filter(|at| results[*at])
            .collect();
        kept.sort_by_key(|at| body.results[*at]);
        let results = (0..spec.carries)
            .filter(|at| results[*at])
            .chain(kept)
            .collect();
        LoopPlan {
            body: plan,
            operands,
            carries: carry_count,
            slices: slice_count,
            results,
        }
    }
}

/// Copies what stays of `region` into region `to` of `result`, its arguments `args` first. Returns each node's new id.
fn rebuild(
    graph: &Graph,
    region: RegionId,
    plan: &Plan,
    result: &mut Graph,
    to: RegionId,
    args: &[NodeId],
) -> Vec<NodeId> {
    const NONE: NodeId = NodeId(u32::MAX);
    let source = graph.region(region);
    let mut ids = vec![NONE; source.nodes.len()];
    for id in in_order(source, plan, args) {
        if !plan.live[id.index()] || ids[id.index()] != NONE {
            continue;
        }
        let node = source.node(id);
        let (op, operands) = match (&node.op, plan.loops.get(&id)) {
            (Op::Loop(spec), Some(kept)) => {
                let spec = rebuild_loop(graph, spec, kept, result);
                let operands = kept.operands.iter().map(|at| node.operands[*at]).collect();
                (Op::Loop(Box::new(spec)), operands)
            }
            (Op::Get { index, shape }, _) => {
                let kept = &plan.loops[&node.operands[0]].results;
                let index = kept.iter().position(|at| at == index).unwrap_or(*index);
                let shape = shape.clone();
                (Op::Get { index, shape }, node.operands.clone())
            }
            (op, _) => (op.clone(), node.operands.clone()),
        };
        let nodes = &mut result.regions[to.index()].nodes;
        nodes.push(Node {
            op,
            operands: operands.iter().map(|id| ids[id.index()]).collect(),
            ..node.clone()
        });
        ids[id.index()] = NodeId::from(nodes.len() - 1);
    }
    ids
}

/// The nodes of `region` in their new order: `args` first, and each `get` right after its loop. Nodes that moved forward
/// are listed again at their old place.
fn in_order(region: &Region, plan: &Plan, args: &[NodeId]) -> Vec<NodeId> {
    let mut picked: BTreeMap<NodeId, Vec<(usize, NodeId)>> = BTreeMap::new();
    for (at, node) in region.nodes.iter().enumerate() {
        if let Op::Get { index, .. } = node.op
            && let Some(kept) = plan.loops.get(&node.operands[0])
            && let Some(index) = kept.results.iter().position(|at| *at == index)
        {
            let picks = picked.entry(node.operands[0]).or_default();
            picks.push((index, NodeId::from(at)));
        }
    }
    let mut order = args.to_vec();
    for id in (0..region.nodes.len()).map(NodeId::from) {
        order.push(id);
        let mut picks = picked.remove(&id).unwrap_or_default();
        picks.sort_unstable();
        order.extend(picks.into_iter().map(|(_, pick)| pick));
    }
    order
}

fn rebuild_loop(graph: &Graph, spec: &Loop, kept: &LoopPlan, result: &mut Graph) -> Loop {
    let body = graph.region(spec.body);
    let to = RegionId::from(result.regions.len());
    result.regions.push(Region::default());
    let operands = kept.operands.iter().map(|at| body.args[at + 1]);
    let args: Vec<_> = [body.args[0]].into_iter().chain(operands).collect();
    let ids = rebuild(graph, spec.body, &kept.body, result, to, &args);
    let target = &mut result.regions[to.index()];
    target.args = args.iter().map(|id| ids[id.index()]).collect();
    let results = kept.results.iter().map(|at| body.results[*at]);
    target.results = results.map(|id| ids[id.index()]).collect();
    Loop {
        body: to,
        carries: kept.carries,
        slices: kept.slices,
        ..spec.clone()
    }
}
