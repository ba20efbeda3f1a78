//! Copies of nodes: a loop unrolled iteration by iteration, and a body's node computed again elsewhere.

use super::dtype::DType;
use super::ir::{NodeId, RegionId, ScopeId, Site};
use super::op::{Literal, Op};
use super::recorder::{OpenLoop, Recorder, Value};
use super::shape::{Axis, Shape};

impl Recorder {
    /// Computes `node` of `region` again in the current region from `operands`. A loop's body is copied
    /// with it, so the copy can be changed independently.
    pub fn copy_node(
        &mut self,
        region: RegionId,
        node: NodeId,
        operands: &[Value],
        scope: ScopeId,
    ) -> Value {
        let source = self.graph.region(region).node(node);
        let (mut op, site) = (source.op.clone(), source.site);
        if let Op::Loop(spec) = &mut op {
            spec.body = self.copy_region(spec.body);
        }
        self.on_behalf_of(scope, site, |recorder| recorder.append(op, operands, site))
    }

    fn copy_region(&mut self, region: RegionId) -> RegionId {
        let mut copy = self.graph.region(region).clone();
        for node in &mut copy.nodes {
            if let Op::Loop(spec) = &mut node.op {
                spec.body = self.copy_region(spec.body);
            }
        }
        self.graph.regions.push(copy);
        RegionId::from(self.graph.regions.len() - 1)
    }
}

/// Unrolls the closed loop `open` into the current region. Returns its results.
pub(super) fn unroll(recorder: &mut Recorder, open: &OpenLoop, operands: &[Value]) -> Vec<Value> {
    let body = recorder.graph.region(open.region).clone();
    let (carries, rest) = operands.split_at(open.carries.len());
    let (slices, captures) = rest.split_at(open.slices.len());
    let mut carries = carries.to_vec();
    let mut stacks: Vec<Vec<Value>> = vec![Vec::new(); open.emits.len()];
    let count = open.axis.size;
    for step in 0..count {
        let index = if open.options.reverse {
            count - 1 - step
        } else {
            step
        };
        let mut values = vec![Value::POISON; body.nodes.len()];
        recorder.on_behalf_of(open.scope, Site::UNKNOWN, |recorder| {
            let index = constant(recorder, index as i64);
            let sliced: Vec<_> = slices
                .iter()
                .map(|stack| {
                    let gather = Op::Gather(open.axis.name.clone());
                    recorder.append(gather, &[*stack, index], Site::UNKNOWN)
                })
                .collect();
            let arguments = [index]
                .into_iter()
                .chain(carries.iter().copied())
                .chain(sliced)
                .chain(captures.iter().copied());
            for (arg, value) in body.args.iter().zip(arguments) {
                values[arg.index()] = value;
            }
        });
        for (at, node) in body.nodes.iter().enumerate() {
            if !matches!(node.op, Op::Argument { .. }) {
                let operands: Vec<_> = node.operands.iter().map(|id| values[id.index()]).collect();
                values[at] =
                    recorder.copy_node(open.region, NodeId::from(at), &operands, node.scope);
            }
        }
        let (next, emitted) = body.results.split_at(carries.len());
        carries = next.iter().map(|id| values[id.index()]).collect();
        for (stack, id) in stacks.iter_mut().zip(emitted) {
            let value = values[id.index()];
            let one = recorder
                .shape(value)
                .stacked(Axis::new(open.axis.name.clone(), 1));
            stack.push(recorder.append(Op::Broadcast(one.axes), &[value], Site::UNKNOWN));
        }
    }
    let stacked = stacks.into_iter().map(|mut stack| {
        if open.options.reverse {
            stack.reverse();
        }
        recorder.append(Op::Concat(open.axis.name.clone()), &stack, Site::UNKNOWN)
    });
    carries.into_iter().chain(stacked).collect()
}

fn constant(recorder: &mut Recorder, value: i64) -> Value {
    let op = Op::Constant {
        value: Literal::Int(value),
        shape: Shape::scalar(DType::S32),
    };
    recorder.append(op, &[], Site::UNKNOWN)
}
