//! What the instructions of a module share: ids, and one copy of each shape, literal and sharding.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::graph::{DType, Shape};
use crate::hlo::proto::{
    FrontendAttributes, LayoutProto, LiteralProto, OpSharding, OpShardingType, PrimitiveType,
    ShapeProto,
};
use crate::sharding::{Gspmd, Mesh, Sharding, gspmd, sdy_per_value, sdy_sharding};

/// Assigns ids and shared values. Nothing is listed in the order of a hash map, which differs from run to run.
pub struct Pool<'a> {
    mesh: &'a Mesh,
    last_id: i64,
    arrays: BTreeMap<DType, BTreeMap<Vec<i64>, Arc<ShapeProto>>>,
    /// The sizes of the shape being looked up.
    sizes: Vec<i64>,
    /// Each tuple with its parts, by its address.
    tuples: HashMap<usize, (Arc<ShapeProto>, Vec<Arc<ShapeProto>>)>,
    scalars: BTreeMap<(DType, u64), Arc<LiteralProto>>,
    shardings: HashMap<Sharding, Arc<OpSharding>>,
    pins: HashMap<Sharding, Arc<FrontendAttributes>>,
}

/// What an instruction's shape can be given as.
pub trait IntoShape {
    /// The shape in HLO.
    fn into_shape(self, pool: &mut Pool) -> Arc<ShapeProto>;
}

impl IntoShape for &Shape {
    fn into_shape(self, pool: &mut Pool) -> Arc<ShapeProto> {
        pool.array(self.dtype, self.axes.iter().map(|axis| axis.size as i64))
    }
}

impl IntoShape for (DType, Vec<i64>) {
    fn into_shape(self, pool: &mut Pool) -> Arc<ShapeProto> {
        pool.array(self.0, self.1)
    }
}

impl IntoShape for Arc<ShapeProto> {
    fn into_shape(self, _: &mut Pool) -> Arc<ShapeProto> {
        self
    }
}

impl<'a> Pool<'a> {
    /// An empty pool for a module over `mesh`.
    pub fn new(mesh: &'a Mesh) -> Self {
        Pool {
            mesh,
            last_id: 0,
            arrays: BTreeMap::new(),
            sizes: Vec::new(),
            tuples: HashMap::new(),
            scalars: BTreeMap::new(),
            shardings: HashMap::new(),
            pins: HashMap::new(),
        }
    }

    /// A number that no other instruction or computation has.
    pub fn next_id(&mut self) -> i64 {
        self.last_id += 1;
        self.last_id
    }

    /// The shape of an array, rows first in memory.
    fn array(&mut self, dtype: DType, sizes: impl IntoIterator<Item = i64>) -> Arc<ShapeProto> {
        self.sizes.clear();
        self.sizes.extend(sizes);
        let known = self.arrays.entry(dtype).or_default();
        if let Some(shape) = known.get(self.sizes.as_slice()) {
            return shape.clone();
        }
        let shape = Arc::new(array_shape(dtype, self.sizes.clone()));
        known.insert(self.sizes.clone(), shape.clone());
        shape
    }

    /// The shape of several values.
    pub fn tuple(&mut self, parts: Vec<Arc<ShapeProto>>) -> Arc<ShapeProto> {
        let shape = Arc::new(ShapeProto {
            element_type: PrimitiveType::Tuple as i32,
            tuple_shapes: parts.iter().map(|part| part.as_ref().clone()).collect(),
            ..ShapeProto::default()
        });
        self.tuples
            .insert(Arc::as_ptr(&shape).addr(), (shape.clone(), parts));
        shape
    }

    /// The shape of one part of a tuple that this pool made.
    pub fn part(&self, tuple: &Arc<ShapeProto>, index: usize) -> Option<Arc<ShapeProto>> {
        let (_, parts) = self.tuples.get(&Arc::as_ptr(tuple).addr())?;
        parts.get(index).cloned()
    }

    /// A literal of one number.
    pub fn scalar(&mut self, dtype: DType, value: f64) -> Arc<LiteralProto> {
        let make = || Arc::new(scalar_literal(dtype, value));
        let literal = self.scalars.entry((dtype, value.to_bits()));
        literal.or_insert_with(make).clone()
    }

    /// The GSPMD message for `sharding`.
    pub fn op_sharding(&mut self, sharding: &Sharding) -> Arc<OpSharding> {
        if let Some(known) = self.shardings.get(sharding) {
            return known.clone();
        }
        let message = Arc::new(op_sharding(sharding, self.mesh));
        self.shardings.insert(sharding.clone(), message.clone());
        message
    }

    /// Shardy's attribute for a value with the fixed `sharding`.
    pub fn pin(&mut self, sharding: &Sharding) -> Arc<FrontendAttributes> {
        if let Some(known) = self.pins.get(sharding) {
            return known.clone();
        }
        let text = sdy_per_value(std::slice::from_ref(sharding), self.mesh);
        let attributes = Arc::new(attribute(SHARDING, text));
        self.pins.insert(sharding.clone(), attributes.clone());
        attributes
    }

    /// Shardy's attribute for a parameter with `sharding`.
    pub fn place(&self, sharding: &Sharding) -> Arc<FrontendAttributes> {
        Arc::new(attribute(SHARDING, sdy_sharding(sharding, self.mesh)))
    }
}

const SHARDING: &str = "xla.sdy.sharding";

/// One frontend attribute.
pub fn attribute(key: &str, value: String) -> FrontendAttributes {
    FrontendAttributes {
        map: [(key.to_string(), value)].into(),
    }
}

/// The HLO shape of an array, rows first in memory.
pub fn array_shape(dtype: DType, dimensions: Vec<i64>) -> ShapeProto {
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

fn scalar_literal(dtype: DType, value: f64) -> LiteralProto {
    let mut literal = LiteralProto {
        shape: Some(array_shape(dtype, Vec::new())),
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
