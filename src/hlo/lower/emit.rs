//! Makes instructions one at a time: ids, names, shapes and metadata in one place.

use std::sync::Arc;

use smol_str::{SmolStr, SmolStrBuilder};

use super::error::LowerError;
use super::pool::{IntoShape, Pool};
use crate::graph::{AxisName, DType, Shape};
use crate::hlo::attribute::Attribute;
use crate::hlo::module::{Computation, Instruction, Metadata, ProgramShape};
use crate::hlo::proto::{
    DotDimensionNumbers, OpSharding, OpShardingType, PrecisionConfig, ShapeProto,
};
use crate::sharding::Sharding;

/// A computation that is being written.
pub struct Emitter {
    name: String,
    id: i64,
    instructions: Vec<Instruction>,
    scope: String,
    /// The names of operations in this scope so far, by opcode.
    op_names: Vec<(&'static str, SmolStr)>,
}

impl Emitter {
    /// An empty computation.
    pub fn new(name: String, pool: &mut Pool) -> Self {
        Emitter {
            name,
            id: pool.next_id(),
            instructions: Vec::new(),
            scope: String::new(),
            op_names: Vec::new(),
        }
    }

    /// What instructions from now on belong to (their `op_name`).
    pub fn set_scope(&mut self, scope: String) {
        if scope != self.scope {
            self.scope = scope;
            self.op_names.clear();
        }
    }

    /// The scope with `opcode` behind it.
    fn op_name(&mut self, opcode: &'static str) -> SmolStr {
        if let Some((_, known)) = self.op_names.iter().find(|(known, _)| *known == opcode) {
            return known.clone();
        }
        let name: SmolStr = [&self.scope, "/", opcode].concat().into();
        self.op_names.push((opcode, name.clone()));
        name
    }

    /// Adds an instruction with its attributes. Gives its id.
    pub fn add(
        &mut self,
        pool: &mut Pool,
        opcode: &'static str,
        shape: impl IntoShape,
        operands: &[i64],
        attributes: impl IntoIterator<Item = Attribute>,
    ) -> i64 {
        let (id, shape) = (pool.next_id(), shape.into_shape(pool));
        let (name, op) = (numbered(opcode, id), SmolStr::new_static(opcode));
        let mut instruction = Instruction::new(id, name, op, shape, operands);
        if !self.scope.is_empty() {
            instruction.metadata = Some(Metadata::of(self.op_name(opcode)));
        }
        for attribute in attributes {
            instruction.set(attribute);
        }
        self.instructions.push(instruction);
        id
    }

    /// The shape of the instruction `id` of this computation.
    ///
    /// # Errors
    /// An instruction of another computation, which is a mistake of the lowering.
    pub fn shape(&self, id: i64) -> Result<Arc<ShapeProto>, LowerError> {
        let shape = self.instruction(id)?.shape.clone();
        shape.ok_or_else(|| LowerError::internal(&self.name, format!("%{id} has no shape")))
    }

    /// The instruction `id` of this computation. Ids ascend.
    fn position(&self, id: i64) -> Result<usize, LowerError> {
        let found = self.instructions.binary_search_by_key(&id, |it| it.id);
        found.map_err(|_| {
            LowerError::internal(
                &self.name,
                format!("it reads %{id}, which it does not have"),
            )
        })
    }

    fn instruction(&self, id: i64) -> Result<&Instruction, LowerError> {
        Ok(&self.instructions[self.position(id)?])
    }

    /// The instruction `id` of this computation, to say more of it.
    ///
    /// # Errors
    /// As [`Emitter::shape`].
    pub fn instruction_mut(&mut self, id: i64) -> Result<&mut Instruction, LowerError> {
        let at = self.position(id)?;
        Ok(&mut self.instructions[at])
    }

    /// A parameter.
    pub fn parameter(&mut self, pool: &mut Pool, number: usize, shape: impl IntoShape) -> i64 {
        let number = Attribute::ParameterNumber(number as i64);
        self.add(pool, "parameter", shape, &[], [number])
    }

    /// A scalar constant.
    pub fn scalar(&mut self, pool: &mut Pool, dtype: DType, value: f64) -> i64 {
        let literal = Attribute::Literal(pool.scalar(dtype, value));
        self.add(pool, "constant", &Shape::scalar(dtype), &[], [literal])
    }

    /// One part of a tuple.
    ///
    /// # Errors
    /// A tuple without that part, which is a mistake of the lowering.
    pub fn element(
        &mut self,
        pool: &mut Pool,
        tuple: i64,
        index: usize,
    ) -> Result<i64, LowerError> {
        let shape = self.shape(tuple)?;
        let Some(part) = pool.part(&shape, index) else {
            let what = format!("%{tuple} has no element {index}");
            return Err(LowerError::internal(&self.name, what));
        };
        let index = Attribute::TupleIndex(index as i64);
        Ok(self.add(pool, "get-tuple-element", part, &[tuple], [index]))
    }

    /// Several values as one.
    ///
    /// # Errors
    /// As [`Emitter::shape`].
    pub fn tuple(&mut self, pool: &mut Pool, parts: &[i64]) -> Result<i64, LowerError> {
        let shapes = parts.iter().map(|part| self.shape(*part));
        let shape = pool.tuple(shapes.collect::<Result<_, _>>()?);
        Ok(self.add(pool, "tuple", shape, parts, []))
    }

    /// `value` fixed to lie on the mesh as `sharding`, for both partitioners.
    ///
    /// # Errors
    /// As [`Emitter::shape`].
    pub fn pinned(
        &mut self,
        pool: &mut Pool,
        value: i64,
        sharding: &Sharding,
    ) -> Result<i64, LowerError> {
        let shape = self.shape(value)?;
        let attributes = [
            Attribute::CustomCallTarget(SmolStr::new_static("Sharding")),
            Attribute::CustomCallApiVersion(1),
        ];
        let id = self.add(pool, "custom-call", shape, &[value], attributes);
        let pin = self.instruction_mut(id)?;
        pin.sharding = Some(pool.op_sharding(sharding));
        pin.frontend_attributes = Some(pool.pin(sharding));
        Ok(id)
    }

    /// Says of the tuple `id` how each of its parts lies.
    ///
    /// # Errors
    /// As [`Emitter::shape`].
    pub fn set_tuple_sharding<'s>(
        &mut self,
        pool: &mut Pool,
        id: i64,
        parts: impl Iterator<Item = &'s Sharding>,
    ) -> Result<(), LowerError> {
        let parts = parts.map(|sharding| pool.op_sharding(sharding).as_ref().clone());
        let sharding = OpSharding {
            r#type: OpShardingType::Tuple as i32,
            tuple_shardings: parts.collect(),
            ..OpSharding::default()
        };
        self.instruction_mut(id)?.sharding = Some(Arc::new(sharding));
        Ok(())
    }

    /// The finished computation with `root` as its result.
    ///
    /// # Errors
    /// As [`Emitter::shape`].
    pub fn finish(self, root: i64) -> Result<Computation, LowerError> {
        let result = self.shape(root)?;
        let mut parameters: Vec<_> = (self.instructions.iter())
            .filter(|instruction| instruction.opcode == "parameter")
            .collect();
        parameters.sort_by_key(|instruction| instruction.parameter_number());
        let program_shape = ProgramShape {
            parameters: (parameters.iter())
                .filter_map(|it| it.shape.clone())
                .collect(),
            result: Some(result),
            parameter_names: parameters.iter().map(|it| it.name.clone()).collect(),
        };
        Ok(Computation {
            program_shape: Some(program_shape),
            name: self.name.into(),
            id: self.id,
            root_id: root,
            instructions: self.instructions,
            ..Computation::default()
        })
    }

    /// The computation's id.
    pub fn id(&self) -> i64 {
        self.id
    }
}

/// `opcode.id`. A module has such a name for each instruction, so this goes without the formatting machinery.
fn numbered(opcode: &str, id: i64) -> SmolStr {
    let mut name = SmolStrBuilder::new();
    name.push_str(opcode);
    name.push('.');
    name.push_str(itoa::Buffer::new().format(id));
    name.finish()
}

/// How exactly a product of operands of `dtype` is made: f32 means f32, also on hardware that would rather not.
pub fn precision(dtype: DType) -> Attribute {
    const DEFAULT: i32 = 0;
    const HIGHEST: i32 = 2;
    let each = if dtype == DType::BF16 {
        DEFAULT
    } else {
        HIGHEST
    };
    Attribute::PrecisionConfig(Box::new(PrecisionConfig {
        operand_precision: vec![each, each],
        ..PrecisionConfig::default()
    }))
}

/// Dimension numbers of a product: contracted and batch axes by position.
///
/// # Errors
/// A contracted axis that an operand does not have, which a checked graph excludes.
pub fn dot_numbers(
    left: &Shape,
    right: &Shape,
    over: &[AxisName],
) -> Result<Attribute, LowerError> {
    let positions = |shape: &Shape, names: &[&AxisName]| {
        let position = |name: &&AxisName| position(shape, name);
        names.iter().map(position).collect::<Result<Vec<_>, _>>()
    };
    let over: Vec<_> = over.iter().collect();
    let batch: Vec<_> = (left.names())
        .filter(|name| right.has(name) && !over.contains(name))
        .collect();
    Ok(Attribute::DotDimensionNumbers(Box::new(
        DotDimensionNumbers {
            lhs_contracting_dimensions: positions(left, &over)?,
            rhs_contracting_dimensions: positions(right, &over)?,
            lhs_batch_dimensions: positions(left, &batch)?,
            rhs_batch_dimensions: positions(right, &batch)?,
        },
    )))
}

/// Where the axis `name` of `shape` stands.
///
/// # Errors
/// An axis that the shape does not have, which a checked graph excludes.
pub fn position(shape: &Shape, name: &str) -> Result<i64, LowerError> {
    let position = shape.position(name).map(|at| at as i64);
    position.ok_or_else(|| LowerError::internal("a shape", format!("{shape} has no axis {name}")))
}
