//! The HLO of each operation. The graph is checked, so its shapes are right.

use std::sync::Arc;

use super::emit::{self, Emitter, position};
use super::pool;
use super::{LowerError, Lowering};
use crate::graph::op::{Binary, Comparison, Literal, Reduction};
use crate::graph::{AxisName, DType, Node, Op, RegionId, Shape};
use crate::hlo::attribute::Attribute;
use crate::hlo::proto::{
    GatherDimensionNumbers, LiteralProto, PaddingConfig, PaddingConfigDimension,
    ScatterDimensionNumbers, SliceDimensions,
};

impl Lowering<'_> {
    /// Lowers one node that is not a loop. Returns the instruction that has its value.
    pub(super) fn node(
        &mut self,
        region: RegionId,
        node: &Node,
        of: &[i64],
        into: &mut Emitter,
    ) -> Result<i64, LowerError> {
        let graph = self.graph;
        let shapes: Vec<_> = (node.operands.iter())
            .map(|id| graph.region(region).shape(*id))
            .collect();
        let shape = &node.shape;
        let axis = |operand: usize, name: &str| position(shapes[operand], name);
        let (opcode, attributes) = match &node.op {
            Op::Parameter { .. } | Op::Argument { .. } | Op::Loop(_) => {
                let what = "it has no instruction of its own here";
                return Err(LowerError::internal(node.op.name(), what));
            }
            Op::Pin(pin) if self.partitioned => {
                let sharding = self.place((*pin).into(), shape, &self.describe(node))?;
                return into.pinned(&mut self.pool, of[0], &sharding);
            }
            Op::Pin(_) | Op::Rename { .. } | Op::Tag(_) | Op::Detach => return Ok(of[0]),
            Op::Constant { value, .. } => return Ok(self.constant(value, shape, into)),
            Op::Reduce { kind, over } => {
                return self.reduce(*kind, over, shapes[0], shape, of[0], into);
            }
            Op::Broadcast(_) => return self.broadcast(shapes[0], shape, of[0], into),
            // A loop's tuple has the counter before its results.
            Op::Get { index, .. } => return into.element(&mut self.pool, of[0], *index + 1),
            Op::Pad {
                axis: padded,
                low,
                high,
                interior,
                value,
            } => {
                let mut dimensions = vec![PaddingConfigDimension::default(); shape.rank()];
                dimensions[axis(0, padded)? as usize] = PaddingConfigDimension {
                    edge_padding_low: *low as i64,
                    edge_padding_high: *high as i64,
                    interior_padding: *interior as i64,
                };
                let value = into.scalar(&mut self.pool, shape.dtype, *value);
                let padding = Attribute::PaddingConfig(Box::new(PaddingConfig { dimensions }));
                let operands = [of[0], value];
                return Ok(into.add(&mut self.pool, "pad", shape, &operands, [padding]));
            }
            Op::DynamicSlice { axis: sliced, .. } => {
                let at = axis(0, sliced)?;
                let operands = self.starts(&of[..1], of[1], at, shape.rank(), into);
                let sizes = Attribute::DynamicSliceSizes(sizes(shape));
                let opcode = "dynamic-slice";
                return Ok(into.add(&mut self.pool, opcode, shape, &operands, [sizes]));
            }
            Op::DynamicUpdate(written) => {
                let at = axis(0, written)?;
                let operands = self.starts(&of[..2], of[2], at, shape.rank(), into);
                let opcode = "dynamic-update-slice";
                return Ok(into.add(&mut self.pool, opcode, shape, &operands, []));
            }
            Op::Iota { axis: name, .. } => ("iota", vec![dimensions([position(shape, name)?])]),
            Op::Unary(kind) => (kind.name(), vec![]),
            Op::Binary(kind) => (kind.name(), vec![]),
            Op::Compare(kind) => {
                let direction = Attribute::ComparisonDirection(direction(*kind).into());
                let kind = Attribute::ComparisonType(comparison_type(shapes[0].dtype).into());
                ("compare", vec![direction, kind])
            }
            Op::Select => ("select", vec![]),
            Op::Convert(_) => ("convert", vec![]),
            Op::Dot { over, .. } => {
                let numbers = emit::dot_numbers(shapes[0], shapes[1], over)?;
                ("dot", vec![numbers, emit::precision(shapes[0].dtype)])
            }
            Op::Transpose(order) => {
                let order = order.iter().map(|name| axis(0, name));
                let order = Attribute::Dimensions(order.collect::<Result<_, _>>()?);
                ("transpose", vec![order])
            }
            Op::Split { .. } | Op::Merge { .. } => ("reshape", vec![]),
            Op::Slice {
                axis: sliced,
                start,
                limit,
                stride,
            } => {
                let mut dimensions = whole(shapes[0]);
                dimensions[axis(0, sliced)? as usize] = SliceDimensions {
                    start: *start as i64,
                    limit: *limit as i64,
                    stride: *stride as i64,
                };
                ("slice", vec![Attribute::SliceDimensions(dimensions)])
            }
            Op::Concat(name) => ("concatenate", vec![dimensions([position(shape, name)?])]),
            Op::Reverse(name) => ("reverse", vec![dimensions([position(shape, name)?])]),
            Op::Gather(name) => {
                let (table, ids) = (shapes[0], shapes[1]);
                let looked_up = axis(0, name)?;
                let mut sizes = sizes(table);
                sizes[looked_up as usize] = 1;
                let numbers = GatherDimensionNumbers {
                    offset_dims: (ids.rank() as i64..shape.rank() as i64).collect(),
                    collapsed_slice_dims: vec![looked_up],
                    start_index_map: vec![looked_up],
                    index_vector_dim: ids.rank() as i64,
                    ..GatherDimensionNumbers::default()
                };
                let numbers = Attribute::GatherDimensionNumbers(Box::new(numbers));
                ("gather", vec![numbers, Attribute::GatherSliceSizes(sizes)])
            }
            Op::ScatterAdd(name) => {
                let (ids, rows) = (shapes[1], shapes[2]);
                let written = axis(0, name)?;
                let add = self.reducer("add", shape.dtype)?;
                let numbers = ScatterDimensionNumbers {
                    update_window_dims: (ids.rank() as i64..rows.rank() as i64).collect(),
                    inserted_window_dims: vec![written],
                    scatter_dims_to_operand_dims: vec![written],
                    index_vector_dim: ids.rank() as i64,
                    ..ScatterDimensionNumbers::default()
                };
                let numbers = Attribute::ScatterDimensionNumbers(Box::new(numbers));
                let called = Attribute::CalledComputationIds(vec![add]);
                ("scatter", vec![called, numbers])
            }
            Op::Barrier => ("opt-barrier", vec![]),
        };
        Ok(into.add(&mut self.pool, opcode, shape, of, attributes))
    }

    fn constant(&mut self, value: &Literal, shape: &Shape, into: &mut Emitter) -> i64 {
        let number = match value {
            Literal::Float(value) => *value,
            Literal::Int(value) => *value as f64,
            Literal::Bool(value) => f64::from(u8::from(*value)),
            Literal::Table(values) => {
                let mut literal = LiteralProto {
                    shape: Some(pool::array_shape(shape.dtype, sizes(shape))),
                    ..LiteralProto::default()
                };
                match shape.dtype {
                    DType::U32 => literal.u32s = values.iter().map(|value| *value as u32).collect(),
                    _ => literal.s32s = values.iter().map(|value| *value as i32).collect(),
                }
                let literal = Attribute::Literal(Arc::new(literal));
                return into.add(&mut self.pool, "constant", shape, &[], [literal]);
            }
        };
        into.scalar(&mut self.pool, shape.dtype, number)
    }

    fn reduce(
        &mut self,
        kind: Reduction,
        over: &[AxisName],
        from: &Shape,
        to: &Shape,
        operand: i64,
        into: &mut Emitter,
    ) -> Result<i64, LowerError> {
        let (opcode, start) = match kind {
            Reduction::Sum => (Binary::Add.name(), 0.0),
            Reduction::Max => (Binary::Max.name(), lowest(from.dtype)),
            Reduction::Min => (Binary::Min.name(), highest(from.dtype)),
        };
        let reducer = self.reducer(opcode, from.dtype)?;
        let start = into.scalar(&mut self.pool, from.dtype, start);
        let over = over.iter().map(|name| position(from, name));
        let mut over: Vec<_> = over.collect::<Result<_, _>>()?;
        over.sort_unstable();
        let attributes = [
            Attribute::Dimensions(over),
            Attribute::CalledComputationIds(vec![reducer]),
        ];
        Ok(into.add(&mut self.pool, "reduce", to, &[operand, start], attributes))
    }

    fn broadcast(
        &mut self,
        from: &Shape,
        to: &Shape,
        operand: i64,
        into: &mut Emitter,
    ) -> Result<i64, LowerError> {
        // HLO needs the operand's dimensions in the result's order, so they are transposed first.
        let places = from.names().map(|name| position(to, name));
        let places: Vec<_> = places.collect::<Result<_, _>>()?;
        let mut order: Vec<_> = (0..from.rank()).collect();
        order.sort_by_key(|at| places[*at]);
        let mut operand = operand;
        if !order.is_sorted() {
            let ordered = Shape::new(from.dtype, order.iter().map(|at| from.axes[*at].clone()));
            let order = dimensions(order.iter().map(|at| *at as i64));
            operand = into.add(&mut self.pool, "transpose", &ordered, &[operand], [order]);
        }
        let places = dimensions(order.iter().map(|at| places[*at]));
        Ok(into.add(&mut self.pool, "broadcast", to, &[operand], [places]))
    }

    /// `operands` with a start for each dimension: `start` at `position`, zeros elsewhere.
    fn starts(
        &mut self,
        operands: &[i64],
        start: i64,
        position: i64,
        rank: usize,
        into: &mut Emitter,
    ) -> Vec<i64> {
        let zero = into.scalar(&mut self.pool, DType::S32, 0.0);
        let each = (0..rank as i64).map(|at| if at == position { start } else { zero });
        operands.iter().copied().chain(each).collect()
    }
}

fn dimensions(of: impl IntoIterator<Item = i64>) -> Attribute {
    Attribute::Dimensions(of.into_iter().collect())
}

fn sizes(shape: &Shape) -> Vec<i64> {
    shape.axes.iter().map(|axis| axis.size as i64).collect()
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
