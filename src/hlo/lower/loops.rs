//! A loop becomes a `while` over one tuple: the counter, the carries, a buffer for each stack, the sliced operands and
//! the captures. The body takes slices by the counter and writes its stacks' rows into the buffers.

use super::emit::{self, Computation};
use super::{Lowering, Values, value_of};
use crate::graph::op::Loop;
use crate::graph::{DType, Node, NodeId, RegionId, Shape};
use crate::sharding::{ShardingError, pin_of};

impl Lowering<'_> {
    /// Lowers the loop `spec`; gives its `while`, whose tuple has the results behind the counter.
    pub(super) fn while_loop(
        &mut self,
        spec: &Loop,
        node: &Node,
        operands: &[i64],
        computation: &mut Computation,
    ) -> Result<i64, ShardingError> {
        let graph = self.graph;
        let scope = graph.scopes.path(node.scope);
        let body = graph.region(spec.body);
        let stacks = &body.results[spec.carries..];
        computation.set_scope(scope.clone());

        let start = computation.scalar(&mut self.ids, DType::S32, 0.0);
        let mut state = vec![start];
        state.extend(&operands[..spec.carries]);
        for &row in stacks {
            state.push(self.buffer(spec, row, computation)?);
        }
        state.extend(&operands[spec.carries..]);
        let init = computation.tuple(&mut self.ids, &state);
        let shape = computation.shape(init);

        let inside = self.body(spec, &scope, &shape)?;
        let condition = self.condition(spec, &scope, &shape);
        Ok(
            computation.add(&mut self.ids, "while", shape, &[init], |it| {
                it.called_computation_ids = vec![inside, condition];
            }),
        )
    }

    /// Zeros that the rows of a stack are written into, lying on the mesh as the rows do.
    fn buffer(
        &mut self,
        spec: &Loop,
        row: NodeId,
        computation: &mut Computation,
    ) -> Result<i64, ShardingError> {
        let shape = self
            .graph
            .region(spec.body)
            .shape(row)
            .stacked(spec.axis.clone());
        let zero = computation.scalar(&mut self.ids, shape.dtype, 0.0);
        let zeros = emit::array_shape(&shape);
        let buffer = computation.add(&mut self.ids, "broadcast", zeros, &[zero], |_| {});
        match pin_of(self.graph, spec.body, row) {
            Some(kind) if self.partitioned => {
                let sharding = self.place(kind, &shape, &self.describe(spec.body, row))?;
                Ok(computation.pinned(&mut self.ids, buffer, &sharding, self.layout.mesh))
            }
            _ => Ok(buffer),
        }
    }

    fn body(
        &mut self,
        spec: &Loop,
        scope: &str,
        state: &crate::hlo::proto::ShapeProto,
    ) -> Result<i64, ShardingError> {
        let graph = self.graph;
        let body = graph.region(spec.body);
        let stacks = body.results.len() - spec.carries;
        let name = format!("{}.body", spec.axis.name);
        let mut inside = Computation::new(name, &mut self.ids);
        inside.set_scope(scope.to_string());
        let tuple = inside.parameter(&mut self.ids, 0, state.clone(), |_| {});
        let parts: Vec<_> = (0..state.tuple_shapes.len())
            .map(|index| inside.element(&mut self.ids, tuple, index))
            .collect();
        let counter = parts[0];
        let scalar = emit::array_shape(&Shape::scalar(DType::S32));
        let index = match spec.reverse {
            false => counter,
            true => {
                let last = inside.scalar(&mut self.ids, DType::S32, spec.axis.size as f64 - 1.0);
                inside.add(
                    &mut self.ids,
                    "subtract",
                    scalar.clone(),
                    &[last, counter],
                    |_| {},
                )
            }
        };
        let zero = inside.scalar(&mut self.ids, DType::S32, 0.0);

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
        let one = inside.scalar(&mut self.ids, DType::S32, 1.0);
        let next = inside.add(&mut self.ids, "add", scalar, &[counter, one], |_| {});
        let mut results = vec![next];
        results.extend(
            body.results[..spec.carries]
                .iter()
                .map(|id| value_of(&values, *id)),
        );
        for (at, row) in body.results[spec.carries..].iter().enumerate() {
            let value = value_of(&values, *row);
            let mut dims = vec![1];
            dims.extend(body.shape(*row).dims().into_iter().map(|size| size as i64));
            let zeros = vec![zero; dims.len() - 1];
            let block = emit::dims_shape(body.shape(*row).dtype, dims);
            let block = inside.add(&mut self.ids, "reshape", block, &[value], |_| {});
            let buffer = parts[buffers + at];
            let mut written = vec![buffer, block, index];
            written.extend(zeros);
            let shape = inside.shape(buffer);
            results.push(inside.add(
                &mut self.ids,
                "dynamic-update-slice",
                shape,
                &written,
                |_| {},
            ));
        }
        results.extend(&parts[buffers + stacks..]);
        let root = inside.tuple(&mut self.ids, &results);
        let id = inside.id();
        self.computations.push(unique(inside.finish(root)));
        Ok(id)
    }

    /// Row `index` of `stack`, without the loop's axis.
    fn row(
        &mut self,
        stack: i64,
        shape: &Shape,
        index: i64,
        zero: i64,
        inside: &mut Computation,
    ) -> i64 {
        let mut dims = vec![1];
        dims.extend(shape.dims().into_iter().map(|size| size as i64));
        let mut operands = vec![stack, index];
        operands.extend(vec![zero; dims.len() - 1]);
        let block = emit::dims_shape(shape.dtype, dims.clone());
        let block = inside.add(&mut self.ids, "dynamic-slice", block, &operands, |it| {
            it.dynamic_slice_sizes = dims;
        });
        inside.add(
            &mut self.ids,
            "reshape",
            emit::array_shape(shape),
            &[block],
            |_| {},
        )
    }

    fn condition(
        &mut self,
        spec: &Loop,
        scope: &str,
        state: &crate::hlo::proto::ShapeProto,
    ) -> i64 {
        let mut inside = Computation::new(format!("{}.condition", spec.axis.name), &mut self.ids);
        inside.set_scope(scope.to_string());
        let tuple = inside.parameter(&mut self.ids, 0, state.clone(), |_| {});
        let counter = inside.element(&mut self.ids, tuple, 0);
        let count = inside.scalar(&mut self.ids, DType::S32, spec.axis.size as f64);
        let shape = emit::array_shape(&Shape::scalar(DType::Pred));
        let root = inside.add(&mut self.ids, "compare", shape, &[counter, count], |it| {
            it.comparison_direction = "LT".into();
            it.comparison_type = "SIGNED".into();
        });
        let id = inside.id();
        self.computations.push(unique(inside.finish(root)));
        id
    }

    /// A node for an error message: its scope path and operation.
    pub(super) fn describe(&self, region: RegionId, node: NodeId) -> String {
        let node = self.graph.region(region).node(node);
        format!("{}/{}", self.graph.scopes.path(node.scope), node.op.name())
    }
}

/// The computation under a name of its own.
fn unique(
    mut computation: crate::hlo::proto::HloComputationProto,
) -> crate::hlo::proto::HloComputationProto {
    computation.name = format!("{}.{}", computation.name, computation.id);
    computation
}
