//! A loop becomes a `while` over one tuple: the counter, the carries, a buffer for each stack, the sliced operands and
//! the captures. The body takes slices by the counter and writes its stacks' rows into the buffers.

use std::sync::Arc;

use super::emit::Emitter;
use super::{LowerError, Lowering, Values};
use crate::graph::op::Loop;
use crate::graph::{DType, Node, NodeId, Shape};
use crate::hlo::attribute::Attribute;
use crate::hlo::module::Computation;
use crate::hlo::proto::ShapeProto;
use crate::sharding::pin_of;

impl Lowering<'_> {
    /// Lowers the loop `spec`. Returns its `while`, whose tuple has the counter and then the results.
    pub(super) fn while_loop(
        &mut self,
        spec: &Loop,
        node: &Node,
        operands: &[i64],
        computation: &mut Emitter,
    ) -> Result<i64, LowerError> {
        let graph = self.graph;
        let scope = graph.scopes.path(node.scope);
        let body = graph.region(spec.body);
        let stacks = &body.results[spec.carries..];
        computation.set_scope(scope.clone());

        let start = computation.scalar(&mut self.pool, DType::S32, 0.0);
        let mut state = vec![start];
        state.extend(&operands[..spec.carries]);
        for &row in stacks {
            state.push(self.buffer(spec, row, computation)?);
        }
        state.extend(&operands[spec.carries..]);
        let init = computation.tuple(&mut self.pool, &state)?;
        let shape = computation.shape(init)?;

        let inside = self.body(spec, &scope, &shape)?;
        let condition = self.condition(spec, &scope, &shape)?;
        let called = Attribute::CalledComputationIds(vec![inside, condition]);
        Ok(computation.add(&mut self.pool, "while", shape, &[init], [called]))
    }

    /// Zeros to write the rows of a stack into, sharded like the rows.
    fn buffer(
        &mut self,
        spec: &Loop,
        row: NodeId,
        computation: &mut Emitter,
    ) -> Result<i64, LowerError> {
        let shape = self
            .graph
            .region(spec.body)
            .shape(row)
            .stacked(spec.axis.clone());
        let zero = computation.scalar(&mut self.pool, shape.dtype, 0.0);
        let buffer = computation.add(&mut self.pool, "broadcast", &shape, &[zero], []);
        match pin_of(self.graph, spec.body, row) {
            Some(kind) if self.partitioned => {
                let row = self.graph.region(spec.body).node(row);
                let sharding = self.place(kind, &shape, &self.describe(row))?;
                computation.pinned(&mut self.pool, buffer, &sharding)
            }
            _ => Ok(buffer),
        }
    }

    fn body(
        &mut self,
        spec: &Loop,
        scope: &str,
        state: &Arc<ShapeProto>,
    ) -> Result<i64, LowerError> {
        let graph = self.graph;
        let body = graph.region(spec.body);
        let stacks = body.results.len() - spec.carries;
        let name = format!("{}.body", spec.axis.name);
        let mut inside = Emitter::new(name, &mut self.pool);
        inside.set_scope(scope.to_string());
        let tuple = inside.parameter(&mut self.pool, 0, state.clone());
        let parts: Vec<i64> = (0..state.tuple_shapes.len())
            .map(|index| inside.element(&mut self.pool, tuple, index))
            .collect::<Result<_, _>>()?;
        let counter = parts[0];
        let scalar = &Shape::scalar(DType::S32);
        let index = match spec.reverse {
            false => counter,
            true => {
                let last = inside.scalar(&mut self.pool, DType::S32, spec.axis.size as f64 - 1.0);
                inside.add(&mut self.pool, "subtract", scalar, &[last, counter], [])
            }
        };
        let zero = inside.scalar(&mut self.pool, DType::S32, 0.0);

        let mut values: Values = vec![None; body.nodes.len()];
        values[body.args[0].index()] = Some(index);
        let buffers = 1 + spec.carries;
        let operands = parts[1..buffers].iter().chain(&parts[buffers + stacks..]);
        for (at, (&part, &arg)) in operands.zip(&body.args[1..]).enumerate() {
            let sliced = at >= spec.carries && at < spec.carries + spec.slices;
            let value = match sliced {
                false => part,
                true => self.row(part, body.shape(arg), index, zero, &mut inside),
            };
            values[arg.index()] = Some(value);
        }
        self.region(spec.body, &mut inside, &mut values)?;

        inside.set_scope(scope.to_string());
        let one = inside.scalar(&mut self.pool, DType::S32, 1.0);
        let next = inside.add(&mut self.pool, "add", scalar, &[counter, one], []);
        let mut results = vec![next];
        for id in &body.results[..spec.carries] {
            results.push(self.value_of(spec.body, &values, *id)?);
        }
        for (at, row) in body.results[spec.carries..].iter().enumerate() {
            let value = self.value_of(spec.body, &values, *row)?;
            let mut dims = vec![1];
            dims.extend(body.shape(*row).dims().into_iter().map(|size| size as i64));
            let zeros = vec![zero; dims.len() - 1];
            let block = (body.shape(*row).dtype, dims);
            let block = inside.add(&mut self.pool, "reshape", block, &[value], []);
            let buffer = parts[buffers + at];
            let mut written = vec![buffer, block, index];
            written.extend(zeros);
            let shape = inside.shape(buffer)?;
            let opcode = "dynamic-update-slice";
            results.push(inside.add(&mut self.pool, opcode, shape, &written, []));
        }
        results.extend(&parts[buffers + stacks..]);
        let root = inside.tuple(&mut self.pool, &results)?;
        let id = inside.id();
        self.computations.push(unique(inside.finish(root)?));
        Ok(id)
    }

    /// Row `index` of `stack`, without the loop's axis.
    fn row(
        &mut self,
        stack: i64,
        shape: &Shape,
        index: i64,
        zero: i64,
        inside: &mut Emitter,
    ) -> i64 {
        let mut dims = vec![1];
        dims.extend(shape.dims().into_iter().map(|size| size as i64));
        let mut operands = vec![stack, index];
        operands.extend(vec![zero; dims.len() - 1]);
        let block = (shape.dtype, dims.clone());
        let sizes = Attribute::DynamicSliceSizes(dims);
        let block = inside.add(&mut self.pool, "dynamic-slice", block, &operands, [sizes]);
        inside.add(&mut self.pool, "reshape", shape, &[block], [])
    }

    fn condition(
        &mut self,
        spec: &Loop,
        scope: &str,
        state: &Arc<ShapeProto>,
    ) -> Result<i64, LowerError> {
        let name = format!("{}.condition", spec.axis.name);
        let mut inside = Emitter::new(name, &mut self.pool);
        inside.set_scope(scope.to_string());
        let tuple = inside.parameter(&mut self.pool, 0, state.clone());
        let counter = inside.element(&mut self.pool, tuple, 0)?;
        let count = inside.scalar(&mut self.pool, DType::S32, spec.axis.size as f64);
        let attributes = [
            Attribute::ComparisonDirection("LT".into()),
            Attribute::ComparisonType("SIGNED".into()),
        ];
        let (shape, operands) = (&Shape::scalar(DType::Pred), [counter, count]);
        let root = inside.add(&mut self.pool, "compare", shape, &operands, attributes);
        let id = inside.id();
        self.computations.push(unique(inside.finish(root)?));
        Ok(id)
    }
}

/// The computation with a unique name.
fn unique(mut computation: Computation) -> Computation {
    computation.name = format!("{}.{}", computation.name, computation.id).into();
    computation
}
