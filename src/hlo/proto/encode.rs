//! Writes a module as XLA's bytes; no other place does.
//!
//! Fields are in the order of their numbers and default values are left out, as in XLA's own serializer. The same module
//! always gives the same bytes.

use super::OpMetadata;
use super::payload::Other;
use super::wire::Writer;
use crate::hlo::module::{Computation, Instruction, Metadata, Module, ProgramShape};

/// The serialized `HloModuleProto` of `module`.
pub fn encode(module: &Module) -> Vec<u8> {
    // An instruction takes about 120 bytes.
    let mut out = Writer::with_capacity(160 * module.instructions() + 4096);
    self::module(&mut out, module);
    out.into_bytes()
}

fn module(out: &mut Writer, module: &Module) {
    let mut others = Others(&module.others);
    out.bytes_unless_empty(1, module.name.as_bytes());
    out.bytes_unless_empty(2, module.entry_name.as_bytes());
    for computation in &module.computations {
        out.message(3, |out| self::computation(out, computation));
    }
    if let Some(shape) = &module.program_shape {
        out.message(4, |out| self::program_shape(out, shape));
    }
    others.before(6, out);
    out.int_unless_zero(6, module.entry_id);
    if let Some(schedule) = &module.schedule {
        out.prost(7, schedule);
    }
    if let Some(alias) = &module.input_output_alias {
        out.prost(8, alias);
    }
    others.before(18, out);
    if let Some(donor) = &module.buffer_donor {
        out.prost(18, donor);
    }
    if let Some(attributes) = &module.frontend_attributes {
        out.prost(19, attributes);
    }
    others.before(u32::MAX, out);
}

fn computation(out: &mut Writer, computation: &Computation) {
    let mut others = Others(&computation.others);
    out.bytes_unless_empty(1, computation.name.as_bytes());
    for instruction in &computation.instructions {
        out.message(2, |out| self::instruction(out, instruction));
    }
    if let Some(shape) = &computation.program_shape {
        out.message(4, |out| self::program_shape(out, shape));
    }
    out.int_unless_zero(5, computation.id);
    out.int_unless_zero(6, computation.root_id);
    others.before(8, out);
    let thread = computation.execution_thread.as_bytes();
    out.bytes_unless_empty(8, thread);
    others.before(u32::MAX, out);
}

fn program_shape(out: &mut Writer, shape: &ProgramShape) {
    for parameter in &shape.parameters {
        out.shared(1, parameter);
    }
    if let Some(result) = &shape.result {
        out.shared(2, result);
    }
    for name in &shape.parameter_names {
        out.bytes(3, name.as_bytes());
    }
}

fn instruction(out: &mut Writer, instruction: &Instruction) {
    let mut attributes = instruction.attributes().iter().peekable();
    let mut before = |number: u32, out: &mut Writer| {
        while let Some(attribute) = attributes.next_if(|it| it.field() < number) {
            attribute.payload().write(attribute.field(), out);
        }
    };
    out.bytes_unless_empty(1, instruction.name.as_bytes());
    out.bytes_unless_empty(2, instruction.opcode.as_bytes());
    if let Some(shape) = &instruction.shape {
        out.shared(3, shape);
    }
    if let Some(metadata) = &instruction.metadata {
        self::metadata(out, metadata);
    }
    before(35, out);
    out.int_unless_zero(35, instruction.id);
    out.ints(36, &instruction.operand_ids);
    before(40, out);
    if let Some(sharding) = &instruction.sharding {
        out.shared(40, sharding);
    }
    before(68, out);
    if let Some(attributes) = &instruction.frontend_attributes {
        out.shared(68, attributes);
    }
    before(u32::MAX, out);
}

fn metadata(out: &mut Writer, metadata: &Metadata) {
    const FIELD: u32 = 7;
    match &metadata.more {
        None => out.message(FIELD, |out| {
            out.bytes_unless_empty(2, metadata.op_name.as_bytes());
        }),
        Some(more) => {
            let whole = OpMetadata {
                op_name: metadata.op_name.to_string(),
                ..more.as_ref().clone()
            };
            out.prost(FIELD, &whole);
        }
    }
}

/// The fields kept as bytes, in the order of their numbers.
struct Others<'a>(&'a [Other]);

impl Others<'_> {
    /// Writes those below `number` that are not written yet.
    fn before(&mut self, number: u32, out: &mut Writer) {
        while let [first, rest @ ..] = self.0
            && first.field < number
        {
            out.raw(&first.bytes);
            self.0 = rest;
        }
    }
}
