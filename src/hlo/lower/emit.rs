//! Adds instructions one at a time, with ids, names, shapes and metadata.

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

    /// Sets the scope of the next instructions (their `op_name`).
    pub fn set_scope(&mut self, scope: String) {
        if scope != self.scope {
            self.scope = scope;
            self.op_names.clear();
        }
    }

    /// The scope followed by `opcode`.
    fn op_name(&mut self, opcode: &'static str) -> SmolStr {
        if let Some((_, known)) = self.op_names.iter().find(|(known, _)| *known == opcode) {
            return known.clone();
        }
        let name: SmolStr = [&self.scope, "/", opcode].concat().into();
        self.op_names.push((opcode, name.clone()));
        name
    }

    /// Adds an instruction with its attributes and returns its id.
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
    /// An instruction of another computation: a bug in the lowering.
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

    /// The instruction `id` of this computation, to change it.
    ///
    /// # Errors
    /// Those of [`Emitter::shape`].
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
    /// A tuple without that part: a bug in the lowering.
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

    /// A tuple of several values.
    ///
    /// # Errors
    /// Those of [`Emitter::shape`].
    pub fn tuple(&mut self, pool: &mut Pool, parts: &[i64]) -> Result<i64, LowerError> {
        let shapes = parts.iter().map(|part| self.shape(*part));
        let shape = pool.tuple(shapes.collect::<Result<_, _>>()?);
        Ok(self.add(pool, "tuple", shape, parts, []))
    }

    /// `value` with its sharding fixed to `sharding`, for both partitioners.
    ///
    /// # Errors
    /// Those of [`Emitter::shape`].
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

    /// Sets the sharding of each part of the tuple `id`.
    ///
    /// # Errors
    /// Those of [`Emitter::shape`].
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
    /// Those of [`Emitter::shape`].
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

/// `opcode.id`. Every instruction of a module has such a name, so this avoids the formatting machinery.
fn numbered(opcode: &str, id: i64) -> SmolStr {
    let mut name = SmolStrBuilder::new();
    name.push_str(opcode);
    name.push('.');
    name.push_str(itoa::Buffer::new().format(id));
    name.finish()
}

/// The precision of a product of operands of `dtype`: f32 means f32, even on hardware whose default is lower.
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
/// A contracted axis that an operand does not have; a checked graph excludes this.
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

/// The position of the axis `name` of `shape`.
///
/// # Errors
/// An axis that the shape does not have; a checked graph excludes this.
pub fn position(shape: &Shape, name: &str) -> Result<i64, LowerError> {
    let position = shape.position(name).map(|at| at as i64);
    position.ok_or_else(|| LowerError::internal("a shape", format!("{shape} has no axis {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sharding::Mesh;

    /// An error names what is missing and its place; no wrong module results.
    #[test]
    fn what_is_missing_is_an_internal_error() {
        let mesh = Mesh::parse("data=1,model=1").unwrap();
        let mut pool = Pool::new(&mesh);
        let mut body = Emitter::new("layers.body".into(), &mut pool);
        let number = body.scalar(&mut pool, DType::F32, 1.5);
        let pair = body.tuple(&mut pool, &[number, number]).unwrap();
        assert!(body.element(&mut pool, pair, 1).is_ok());
        let said = |error: LowerError| error.to_string();
        assert_eq!(
            said(body.element(&mut pool, pair, 2).unwrap_err()),
            "this is a bug in ribosome's lowering, at layers.body: %3 has no element 2; please report it"
        );
        assert_eq!(
            said(body.tuple(&mut pool, &[number, 99]).unwrap_err()),
            "this is a bug in ribosome's lowering, at layers.body: it reads %99, which it does not have; please \
             report it"
        );
        let shape = Shape::new(DType::F32, [("embed", 4)]);
        let error = dot_numbers(&shape, &shape, &["mlp".into()]).unwrap_err();
        assert_eq!(
            said(error.at(|| "encoder/mlp/dot".to_string())),
            "this is a bug in ribosome's lowering, at encoder/mlp/dot (a shape): f32[embed=4] has no axis mlp; \
             please report it"
        );
    }
}
