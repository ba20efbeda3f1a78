//! What each operation becomes in HLO. Shapes are known to be right: the graph is checked.

use super::Lowering;
use super::emit::{self, Computation, array_shape};
use crate::graph::op::{Binary, Comparison, Literal, Reduction};
use crate::graph::{AxisName, DType, Node, Op, RegionId, Shape};
use crate::hlo::proto::{
    GatherDimensionNumbers, LiteralProto, PaddingConfig, PaddingConfigDimension,
    ScatterDimensionNumbers, SliceDimensions,
};
use crate::sharding::ShardingError;

impl Lowering<'_> {
    /// Lowers one node that is no loop; gives the instruction that has its value.
    pub(super) fn node(
        &mut self,
        region: RegionId,
        node: &Node,
        of: &[i64],
        into: &mut Computation,
    ) -> Result<i64, ShardingError> {
        let graph = self.graph;
        let shapes: Vec<_> = (node.operands.iter())
            .map(|id| graph.region(region).shape(*id))
            .collect();
        let shape = &node.shape;
        let position = |operand: usize, name: &str| axis(shapes[operand], name);
        Ok(match &node.op {
            Op::Parameter { .. } | Op::Argument { .. } | Op::Loop(_) => {
                of.first().copied().unwrap_or(0)
            }
            Op::Constant { value, .. } => self.constant(value, shape, into),
            Op::Iota { axis: name, .. } => {
                into.add(&mut self.ids, "iota", array_shape(shape), &[], |it| {
                    it.dimensions = vec![axis(shape, name)];
                })
            }
            Op::Unary(kind) => into.add(&mut self.ids, kind.name(), array_shape(shape), of, |_| {}),
            Op::Binary(kind) => {
                into.add(&mut self.ids, kind.name(), array_shape(shape), of, |_| {})
            }
            Op::Compare(kind) => into.add(&mut self.ids, "compare", array_shape(shape), of, |it| {
                it.comparison_direction = direction(*kind).into();
                it.comparison_type = comparison_type(shapes[0].dtype).into();
            }),
            Op::Select => into.add(&mut self.ids, "select", array_shape(shape), of, |_| {}),
            Op::Convert(_) => into.add(&mut self.ids, "convert", array_shape(shape), of, |_| {}),
            Op::Dot { over, .. } => into.add(&mut self.ids, "dot", array_shape(shape), of, |it| {
                it.dot_dimension_numbers = Some(emit::dot_numbers(shapes[0], shapes[1], over));
                it.precision_config = Some(emit::precision(shapes[0].dtype));
            }),
            Op::Reduce { kind, over } => self.reduce(*kind, over, shapes[0], shape, of[0], into),
            Op::Broadcast(_) => self.broadcast(shapes[0], shape, of[0], into),
            Op::Transpose(order) => {
                let dimensions = order.iter().map(|name| position(0, name)).collect();
                into.add(&mut self.ids, "transpose", array_shape(shape), of, |it| {
                    it.dimensions = dimensions;
                })
            }
            Op::Split { .. } | Op::Merge { .. } => {
                into.add(&mut self.ids, "reshape", array_shape(shape), of, |_| {})
            }
            Op::Slice {
                axis,
                start,
                limit,
                stride,
            } => {
                let mut dimensions = whole(shapes[0]);
                dimensions[position(0, axis) as usize] = SliceDimensions {
                    start: *start as i64,
                    limit: *limit as i64,
                    stride: *stride as i64,
                };
                into.add(&mut self.ids, "slice", array_shape(shape), of, |it| {
                    it.slice_dimensions = dimensions;
                })
            }
            Op::Pad {
                axis,
                low,
                high,
                interior,
                value,
            } => {
                let mut dimensions = vec![PaddingConfigDimension::default(); shape.rank()];
                dimensions[position(0, axis) as usize] = PaddingConfigDimension {
                    edge_padding_low: *low as i64,
                    edge_padding_high: *high as i64,
                    interior_padding: *interior as i64,
                };
                let value = into.scalar(&mut self.ids, shape.dtype, *value);
                into.add(
                    &mut self.ids,
                    "pad",
                    array_shape(shape),
                    &[of[0], value],
                    |it| {
                        it.padding_config = Some(PaddingConfig { dimensions });
                    },
                )
            }
            Op::Concat(name) => {
                into.add(&mut self.ids, "concatenate", array_shape(shape), of, |it| {
                    it.dimensions = vec![axis(shape, name)];
                })
            }
            Op::Reverse(name) => into.add(&mut self.ids, "reverse", array_shape(shape), of, |it| {
                it.dimensions = vec![axis(shape, name)];
            }),
            Op::DynamicSlice { axis, .. } => {
                let operands = self.starts(&of[..1], of[1], position(0, axis), shape.rank(), into);
                into.add(
                    &mut self.ids,
                    "dynamic-slice",
                    array_shape(shape),
                    &operands,
                    |it| {
                        it.dynamic_slice_sizes =
                            shape.dims().into_iter().map(|size| size as i64).collect();
                    },
                )
            }
            Op::DynamicUpdate(axis) => {
                let operands = self.starts(&of[..2], of[2], position(0, axis), shape.rank(), into);
                let shape = array_shape(shape);
                into.add(
                    &mut self.ids,
                    "dynamic-update-slice",
                    shape,
                    &operands,
                    |_| {},
                )
            }
            Op::Gather(axis) => {
                let (table, ids) = (shapes[0], shapes[1]);
                let looked_up = position(0, axis);
                let mut sizes: Vec<_> = table.dims().into_iter().map(|size| size as i64).collect();
                sizes[looked_up as usize] = 1;
                into.add(&mut self.ids, "gather", array_shape(shape), of, |it| {
                    it.gather_slice_sizes = sizes;
                    it.gather_dimension_numbers = Some(GatherDimensionNumbers {
                        offset_dims: (ids.rank() as i64..shape.rank() as i64).collect(),
                        collapsed_slice_dims: vec![looked_up],
                        start_index_map: vec![looked_up],
                        index_vector_dim: ids.rank() as i64,
                        ..GatherDimensionNumbers::default()
                    });
                })
            }
            Op::ScatterAdd(axis) => {
                let (ids, rows) = (shapes[1], shapes[2]);
                let written = position(0, axis);
                let add = self.reducer("add", shape.dtype);
                into.add(&mut self.ids, "scatter", array_shape(shape), of, |it| {
                    it.called_computation_ids = vec![add];
                    it.scatter_dimension_numbers = Some(ScatterDimensionNumbers {
                        update_window_dims: (ids.rank() as i64..rows.rank() as i64).collect(),
                        inserted_window_dims: vec![written],
                        scatter_dims_to_operand_dims: vec![written],
                        index_vector_dim: ids.rank() as i64,
                        ..ScatterDimensionNumbers::default()
                    });
                })
            }
            // A loop's tuple has the counter before its results.
            Op::Get { index, .. } => into.element(&mut self.ids, of[0], *index + 1),
            Op::Pin(pin) if self.partitioned => {
                let name = format!("{}/{}", graph.scopes.path(node.scope), node.op.name());
                let sharding = self.place((*pin).into(), shape, &name)?;
                into.pinned(&mut self.ids, of[0], &sharding, self.layout.mesh)
            }
            Op::Barrier => into.add(&mut self.ids, "opt-barrier", array_shape(shape), of, |_| {}),
            Op::Pin(_) | Op::Rename { .. } | Op::Tag(_) | Op::Detach => of[0],
        })
    }

    fn constant(&mut self, value: &Literal, shape: &Shape, into: &mut Computation) -> i64 {
        let number = match value {
            Literal::Float(value) => *value,
            Literal::Int(value) => *value as f64,
            Literal::Bool(value) => f64::from(u8::from(*value)),
            Literal::Table(values) => {
                let mut literal = LiteralProto {
                    shape: Some(array_shape(shape)),
                    ..LiteralProto::default()
                };
                match shape.dtype {
                    DType::U32 => literal.u32s = values.iter().map(|value| *value as u32).collect(),
                    _ => literal.s32s = values.iter().map(|value| *value as i32).collect(),
                }
                return into.add(&mut self.ids, "constant", array_shape(shape), &[], |it| {
                    it.literal = Some(Box::new(literal));
                });
            }
        };
        into.scalar(&mut self.ids, shape.dtype, number)
    }

    fn reduce(
        &mut self,
        kind: Reduction,
        over: &[AxisName],
        from: &Shape,
        to: &Shape,
        operand: i64,
        into: &mut Computation,
    ) -> i64 {
        let (opcode, start) = match kind {
            Reduction::Sum => (Binary::Add.name(), 0.0),
            Reduction::Max => (Binary::Max.name(), lowest(from.dtype)),
            Reduction::Min => (Binary::Min.name(), highest(from.dtype)),
        };
        let reducer = self.reducer(opcode, from.dtype);
        let start = into.scalar(&mut self.ids, from.dtype, start);
        let mut dimensions: Vec<_> = over.iter().map(|name| axis(from, name)).collect();
        dimensions.sort_unstable();
        into.add(
            &mut self.ids,
            "reduce",
            array_shape(to),
            &[operand, start],
            |it| {
                it.dimensions = dimensions;
                it.called_computation_ids = vec![reducer];
            },
        )
    }

    fn broadcast(&mut self, from: &Shape, to: &Shape, operand: i64, into: &mut Computation) -> i64 {
        // HLO wants the operand's dimensions in the result's order, so they are put in that order first.
        let mut order: Vec<_> = (0..from.rank()).collect();
        order.sort_by_key(|at| axis(to, &from.axes[*at].name));
        let mut operand = operand;
        if !order.is_sorted() {
            let ordered = Shape::new(from.dtype, order.iter().map(|at| from.axes[*at].clone()));
            operand = into.add(
                &mut self.ids,
                "transpose",
                array_shape(&ordered),
                &[operand],
                |it| {
                    it.dimensions = order.iter().map(|at| *at as i64).collect();
                },
            );
        }
        let dimensions = order
            .iter()
            .map(|at| axis(to, &from.axes[*at].name))
            .collect();
        into.add(
            &mut self.ids,
            "broadcast",
            array_shape(to),
            &[operand],
            |it| {
                it.dimensions = dimensions;
            },
        )
    }

    /// `operands` with a start for each dimension: `start` at `position`, zeros elsewhere.
    fn starts(
        &mut self,
        operands: &[i64],
        start: i64,
        position: i64,
        rank: usize,
        into: &mut Computation,
    ) -> Vec<i64> {
        let zero = into.scalar(&mut self.ids, DType::S32, 0.0);
        let each = (0..rank as i64).map(|at| if at == position { start } else { zero });
        operands.iter().copied().chain(each).collect()
    }
}

/// Where the axis `name` stands; a checked graph has it.
fn axis(shape: &Shape, name: &str) -> i64 {
    shape.position(name).unwrap_or_default() as i64
}

fn whole(shape: &Shape) -> Vec<SliceDimensions> {
    let all = |size: usize| SliceDimensions {
        start: 0,
        limit: size as i64,
        stride: 1,
    };
    shape.dims().into_iter().map(all).collect()
}

fn lowest(dtype: DType) -> f64 {
    match dtype {
        DType::S32 => f64::from(i32::MIN),
        DType::U32 => 0.0,
        _ => f64::NEG_INFINITY,
    }
}

fn highest(dtype: DType) -> f64 {
    match dtype {
        DType::S32 => f64::from(i32::MAX),
        DType::U32 => f64::from(u32::MAX),
        _ => f64::INFINITY,
    }
}

fn direction(kind: Comparison) -> &'static str {
    match kind {
        Comparison::Eq => "EQ",
        Comparison::Ne => "NE",
        Comparison::Lt => "LT",
        Comparison::Le => "LE",
        Comparison::Gt => "GT",
        Comparison::Ge => "GE",
    }
}

fn comparison_type(dtype: DType) -> &'static str {
    match dtype {
        DType::S32 => "SIGNED",
        DType::U32 | DType::Pred => "UNSIGNED",
        _ => "FLOAT",
    }
}
