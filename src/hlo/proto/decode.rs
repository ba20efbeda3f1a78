//! Reads a module from XLA's bytes.

use std::sync::Arc;

use super::payload::Other;
use super::wire::{Field, Fields};
use super::{ModuleError, OpMetadata, ShapeProto};
use crate::hlo::module::{Computation, Instruction, Metadata, Module, ProgramShape};

/// Reads the module of a serialized `HloModuleProto`.
///
/// # Errors
/// Bytes that are not such a message.
pub fn decode(bytes: &[u8]) -> Result<Module, ModuleError> {
    let mut module = Module::default();
    let mut fields = Fields::of(bytes);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => module.name = field.text()?.to_string(),
            2 => module.entry_name = field.text()?.to_string(),
            3 => module.computations.push(computation(field.delimited()?)?),
            4 => module.program_shape = Some(program_shape(field.delimited()?)?),
            6 => module.entry_id = field.int()?,
            7 => module.schedule = Some(field.prost()?),
            8 => module.input_output_alias = Some(field.prost()?),
            18 => module.buffer_donor = Some(field.prost()?),
            19 => module.frontend_attributes = Some(field.prost()?),
            _ => keep(&mut module.others, &field),
        }
    }
    Ok(module)
}

/// Reads the module of a serialized `HloModuleProtoWithConfig`, the form in which plugins return an optimized program.
///
/// # Errors
/// Bytes that are not such a message, or hold no module.
pub fn decode_with_config(bytes: &[u8]) -> Result<Module, ModuleError> {
    let mut fields = Fields::of(bytes);
    while let Some(field) = fields.next()? {
        if field.number == 1 {
            return decode(field.delimited()?);
        }
    }
    Err(ModuleError::NoModule)
}

fn computation(bytes: &[u8]) -> Result<Computation, ModuleError> {
    let mut computation = Computation::default();
    let mut fields = Fields::of(bytes);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => computation.name = field.text()?.into(),
            2 => (computation.instructions).push(instruction(field.delimited()?)?),
            4 => computation.program_shape = Some(program_shape(field.delimited()?)?),
            5 => computation.id = field.int()?,
            6 => computation.root_id = field.int()?,
            8 => computation.execution_thread = field.text()?.into(),
            _ => keep(&mut computation.others, &field),
        }
    }
    Ok(computation)
}

fn program_shape(bytes: &[u8]) -> Result<ProgramShape, ModuleError> {
    let mut shape = ProgramShape::default();
    let mut fields = Fields::of(bytes);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => shape.parameters.push(Arc::new(field.prost()?)),
            2 => shape.result = Some(Arc::new(field.prost()?)),
            3 => shape.parameter_names.push(field.text()?.into()),
            // XLA has no other field here.
            _ => {}
        }
    }
    Ok(shape)
}

fn instruction(bytes: &[u8]) -> Result<Instruction, ModuleError> {
    let mut instruction = Instruction::default();
    let mut fields = Fields::of(bytes);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => instruction.name = field.text()?.into(),
            2 => instruction.opcode = field.text()?.into(),
            3 => instruction.shape = Some(Arc::new(field.prost::<ShapeProto>()?)),
            7 => instruction.metadata = Some(metadata(field.prost()?)),
            35 => instruction.id = field.int()?,
            36 => field.ints(&mut instruction.operand_ids)?,
            40 => instruction.sharding = Some(Arc::new(field.prost()?)),
            68 => instruction.frontend_attributes = Some(Arc::new(field.prost()?)),
            number => {
                let attribute = instruction.attribute_mut(number);
                attribute.payload_mut().read(&field)?;
            }
        }
    }
    Ok(instruction)
}

fn metadata(mut message: OpMetadata) -> Metadata {
    let op_name = std::mem::take(&mut message.op_name).into();
    let more = (message != OpMetadata::default()).then(|| Box::new(message));
    Metadata { op_name, more }
}

fn keep(others: &mut Vec<Other>, field: &Field) {
    match others.iter_mut().find(|other| other.field == field.number) {
        Some(other) => other.bytes.extend_from_slice(field.bytes),
        None => {
            let at = others.partition_point(|other| other.field < field.number);
            let other = Other {
                field: field.number,
                bytes: field.bytes.to_vec(),
            };
            others.insert(at, other);
        }
    }
}
