//! Makes instructions one at a time: ids, names, shapes and metadata in one place.

use crate::graph::{DType, Shape};
use crate::hlo::proto::{
    DotDimensionNumbers, FrontendAttributes, HloComputationProto, HloInstructionProto, LayoutProto,
    LiteralProto, OpMetadata, OpSharding, OpShardingType, PrecisionConfig, PrimitiveType,
    ProgramShapeProto, ShapeProto,
};
use crate::sharding::{Gspmd, Mesh, Sharding, gspmd, sdy_per_value, sdy_sharding};

/// Gives out the ids of a module's instructions and computations.
#[derive(Default)]
pub struct Ids(i64);

impl Ids {
    /// A number that nothing else has.
    pub fn next(&mut self) -> i64 {
        self.0 += 1;
        self.0
    }
}

/// The HLO element type.
pub fn primitive(dtype: DType) -> PrimitiveType {
    match dtype {
        DType::Pred => PrimitiveType::Pred,
        DType::S32 => PrimitiveType::S32,
        DType::U32 => PrimitiveType::U32,
        DType::BF16 => PrimitiveType::BF16,
        DType::F32 => PrimitiveType::F32,
        DType::F64 => PrimitiveType::F64,
        DType::Tuple => PrimitiveType::Tuple,
    }
}

/// The HLO shape, rows first in memory.
pub fn array_shape(shape: &Shape) -> ShapeProto {
    dims_shape(
        shape.dtype,
        shape.dims().into_iter().map(|size| size as i64).collect(),
    )
}

/// The HLO shape of these sizes, rows first in memory.
pub fn dims_shape(dtype: DType, dimensions: Vec<i64>) -> ShapeProto {
    ShapeProto {
        element_type: primitive(dtype) as i32,
        is_dynamic_dimension: vec![false; dimensions.len()],
        layout: Some(LayoutProto {
            minor_to_major: (0..dimensions.len() as i64).rev().collect(),
            tail_padding_alignment_in_elements: 1,
            ..LayoutProto::default()
        }),
        dimensions,
        ..ShapeProto::default()
    }
}

/// The HLO shape of several values.
pub fn tuple_shape(parts: Vec<ShapeProto>) -> ShapeProto {
    ShapeProto {
        element_type: PrimitiveType::Tuple as i32,
        tuple_shapes: parts,
        ..ShapeProto::default()
    }
}

/// A computation that is being written.
pub struct Computation {
    name: String,
    id: i64,
    instructions: Vec<HloInstructionProto>,
    scope: String,
}

impl Computation {
    /// An empty computation.
    pub fn new(name: String, ids: &mut Ids) -> Self {
        Computation {
            name,
            id: ids.next(),
            instructions: Vec::new(),
            scope: String::new(),
        }
    }

    /// What instructions from now on belong to (their `op_name`).
    pub fn set_scope(&mut self, scope: String) {
        self.scope = scope;
    }

    /// Adds an instruction; `fill` sets what is special about it. Gives its id.
    pub fn add(
        &mut self,
        ids: &mut Ids,
        opcode: &str,
        shape: ShapeProto,
        operands: &[i64],
        fill: impl FnOnce(&mut HloInstructionProto),
    ) -> i64 {
        let id = ids.next();
        let mut instruction = HloInstructionProto {
            name: format!("{opcode}.{id}"),
            opcode: opcode.to_string(),
            shape: Some(shape),
            id,
            operand_ids: operands.to_vec(),
            ..HloInstructionProto::default()
        };
        if !self.scope.is_empty() {
            instruction.metadata = Some(OpMetadata {
                op_name: format!("{}/{opcode}", self.scope),
                ..OpMetadata::default()
            });
        }
        fill(&mut instruction);
        self.instructions.push(instruction);
        id
    }

    /// The shape of the instruction `id` of this computation.
    pub fn shape(&self, id: i64) -> ShapeProto {
        self.shape_of(id).cloned().unwrap_or_default()
    }

    /// The same without a copy: a loop's tuple has a hundred parts, and each is read by itself.
    fn shape_of(&self, id: i64) -> Option<&ShapeProto> {
        // Ids only grow, so the list is sorted by them.
        let at = self
            .instructions
            .binary_search_by_key(&id, |instruction| instruction.id);
        self.instructions[at.ok()?].shape.as_ref()
    }

    /// A parameter.
    pub fn parameter(
        &mut self,
        ids: &mut Ids,
        number: usize,
        shape: ShapeProto,
        fill: impl FnOnce(&mut HloInstructionProto),
    ) -> i64 {
        self.add(ids, "parameter", shape, &[], |instruction| {
            instruction.parameter_number = number as i64;
            fill(instruction);
        })
    }

    /// A scalar constant.
    pub fn scalar(&mut self, ids: &mut Ids, dtype: DType, value: f64) -> i64 {
        let shape = array_shape(&Shape::scalar(dtype));
        let literal = scalar_literal(dtype, value);
        self.add(ids, "constant", shape, &[], |instruction| {
            instruction.literal = Some(Box::new(literal));
        })
    }

    /// One part of a tuple.
    pub fn element(&mut self, ids: &mut Ids, tuple: i64, index: usize) -> i64 {
        let tuple_shape = self.shape_of(tuple);
        let part = tuple_shape.and_then(|shape| shape.tuple_shapes.get(index));
        let shape = part.cloned().unwrap_or_default();
        self.add(ids, "get-tuple-element", shape, &[tuple], |instruction| {
            instruction.tuple_index = index as i64;
        })
    }

    /// Several values as one.
    pub fn tuple(&mut self, ids: &mut Ids, parts: &[i64]) -> i64 {
        let shape = tuple_shape(parts.iter().map(|part| self.shape(*part)).collect());
        self.add(ids, "tuple", shape, parts, |_| {})
    }

    /// `value` fixed to lie on the mesh as `sharding`, for both partitioners.
    pub fn pinned(&mut self, ids: &mut Ids, value: i64, sharding: &Sharding, mesh: &Mesh) -> i64 {
        let shape = self.shape(value);
        self.add(ids, "custom-call", shape, &[value], |instruction| {
            instruction.custom_call_target = "Sharding".into();
            instruction.custom_call_api_version = 1;
            instruction.sharding = Some(op_sharding(sharding, mesh));
            instruction.frontend_attributes = Some(attribute(
                "xla.sdy.sharding",
                sdy_per_value(std::slice::from_ref(sharding), mesh),
            ));
        })
    }

    /// Says of the tuple `id` how each of its parts lies.
    pub fn set_tuple_sharding<'s>(
        &mut self,
        id: i64,
        parts: impl Iterator<Item = &'s Sharding>,
        mesh: &Mesh,
    ) {
        if let Some(tuple) = self.instructions.iter_mut().find(|it| it.id == id) {
            tuple.sharding = Some(OpSharding {
                r#type: OpShardingType::Tuple as i32,
                tuple_shardings: parts.map(|sharding| op_sharding(sharding, mesh)).collect(),
                ..OpSharding::default()
            });
        }
    }

    /// The finished computation with `root` as its result.
    pub fn finish(self, root: i64) -> HloComputationProto {
        let result = self.shape(root);
        let mut parameters: Vec<_> = (self.instructions.iter())
            .filter(|instruction| instruction.opcode == "parameter")
            .collect();
        parameters.sort_by_key(|instruction| instruction.parameter_number);
        HloComputationProto {
            program_shape: Some(ProgramShapeProto {
                parameters: parameters
                    .iter()
                    .filter_map(|it| it.shape.clone())
                    .collect(),
                result: Some(result),
                parameter_names: parameters.iter().map(|it| it.name.clone()).collect(),
            }),
            name: self.name,
            id: self.id,
            root_id: root,
            instructions: self.instructions,
            ..HloComputationProto::default()
        }
    }

    /// The computation's id.
    pub fn id(&self) -> i64 {
        self.id
    }
}

/// One frontend attribute.
pub fn attribute(key: &str, value: String) -> FrontendAttributes {
    FrontendAttributes {
        map: [(key.to_string(), value)].into(),
    }
}

/// The attributes that give a parameter its place.
pub fn place(instruction: &mut HloInstructionProto, sharding: &Sharding, mesh: &Mesh) {
    instruction.sharding = Some(op_sharding(sharding, mesh));
    instruction.frontend_attributes =
        Some(attribute("xla.sdy.sharding", sdy_sharding(sharding, mesh)));
}

/// The GSPMD message for `sharding`.
pub fn op_sharding(sharding: &Sharding, mesh: &Mesh) -> OpSharding {
    match gspmd(sharding, mesh) {
        Gspmd::Replicated => OpSharding {
            r#type: OpShardingType::Replicated as i32,
            ..OpSharding::default()
        },
        Gspmd::Tiles(tiles) => OpSharding {
            r#type: OpShardingType::Other as i32,
            tile_assignment_dimensions: tiles.dims,
            iota_reshape_dims: tiles.reshape,
            iota_transpose_perm: tiles.transpose,
            replicate_on_last_tile_dim: tiles.replicate_last,
            ..OpSharding::default()
        },
    }
}

/// A literal of one number.
pub fn scalar_literal(dtype: DType, value: f64) -> LiteralProto {
    let mut literal = LiteralProto {
        shape: Some(array_shape(&Shape::scalar(dtype))),
        ..LiteralProto::default()
    };
    match dtype {
        DType::Pred => literal.preds = vec![value != 0.0],
        DType::S32 => literal.s32s = vec![value as i32],
        DType::U32 => literal.u32s = vec![value as u32],
        DType::BF16 => literal.bf16s = half::bf16::from_f64(value).to_le_bytes().to_vec(),
        DType::F32 => literal.f32s = vec![value as f32],
        DType::F64 => literal.f64s = vec![value],
        DType::Tuple => {}
    }
    literal
}

/// How exactly a product of operands of `dtype` is made: f32 means f32, also on hardware that would rather not.
pub fn precision(dtype: DType) -> PrecisionConfig {
    const DEFAULT: i32 = 0;
    const HIGHEST: i32 = 2;
    let each = if dtype == DType::BF16 {
        DEFAULT
    } else {
        HIGHEST
    };
    PrecisionConfig {
        operand_precision: vec![each, each],
        ..PrecisionConfig::default()
    }
}

/// Dimension numbers of a product: contracted and batch axes by position.
pub fn dot_numbers(
    left: &Shape,
    right: &Shape,
    over: &[crate::graph::AxisName],
) -> DotDimensionNumbers {
    let positions = |shape: &Shape, names: &[&crate::graph::AxisName]| -> Vec<i64> {
        let find = |name: &&crate::graph::AxisName| shape.position(name).map(|at| at as i64);
        names.iter().filter_map(find).collect()
    };
    let over: Vec<_> = over.iter().collect();
    let batch: Vec<_> = (left.names())
        .filter(|name| right.has(name) && !over.contains(name))
        .collect();
    DotDimensionNumbers {
        lhs_contracting_dimensions: positions(left, &over),
        rhs_contracting_dimensions: positions(right, &over),
        lhs_batch_dimensions: positions(left, &batch),
        rhs_batch_dimensions: positions(right, &batch),
    }
}
