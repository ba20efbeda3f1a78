//! A module as XLA's bytes: the one place that writes them.
//!
//! Fields go in the order of their numbers and default values are left out, as XLA's own serializer has it, so that the
//! same module always gives the same bytes.

use std::collections::HashMap;
use std::sync::Arc;

use prost::Message;

use super::OpMetadata;
use super::payload::Other;
use super::wire::Writer;
use crate::hlo::module::{Computation, Instruction, Metadata, Module, ProgramShape};

/// The serialized `HloModuleProto` of `module`.
pub fn encode(module: &Module) -> Vec<u8> {
    // An instruction takes about 120 bytes.
    let mut encoder = Encoder {
        out: Writer::with_capacity(160 * module.instructions() + 4096),
        shared: HashMap::new(),
    };
    encoder.module(module);
    encoder.out.into_bytes()
}

struct Encoder {
    out: Writer,
    /// The bytes of shared values, by their address.
    shared: HashMap<usize, Vec<u8>>,
}

impl Encoder {
    fn module(&mut self, module: &Module) {
        let mut others = Others(&module.others);
        self.out.bytes_unless_empty(1, module.name.as_bytes());
        self.out.bytes_unless_empty(2, module.entry_name.as_bytes());
        for computation in &module.computations {
            self.message(3, |it| it.computation(computation));
        }
        if let Some(shape) = &module.program_shape {
            self.message(4, |it| it.program_shape(shape));
        }
        others.before(6, &mut self.out);
        self.out.int_unless_zero(6, module.entry_id);
        if let Some(schedule) = &module.schedule {
            self.out.prost(7, schedule);
        }
        if let Some(alias) = &module.input_output_alias {
            self.out.prost(8, alias);
        }
        others.before(18, &mut self.out);
        if let Some(donor) = &module.buffer_donor {
            self.out.prost(18, donor);
        }
        if let Some(attributes) = &module.frontend_attributes {
            self.out.prost(19, attributes);
        }
        others.before(u32::MAX, &mut self.out);
    }

    fn computation(&mut self, computation: &Computation) {
        let mut others = Others(&computation.others);
        self.out.bytes_unless_empty(1, computation.name.as_bytes());
        for instruction in &computation.instructions {
            self.message(2, |it| it.instruction(instruction));
        }
        if let Some(shape) = &computation.program_shape {
            self.message(4, |it| it.program_shape(shape));
        }
        self.out.int_unless_zero(5, computation.id);
        self.out.int_unless_zero(6, computation.root_id);
        others.before(8, &mut self.out);
        let thread = computation.execution_thread.as_bytes();
        self.out.bytes_unless_empty(8, thread);
        others.before(u32::MAX, &mut self.out);
    }

    fn program_shape(&mut self, shape: &ProgramShape) {
        for parameter in &shape.parameters {
            self.shared(1, parameter);
        }
        if let Some(result) = &shape.result {
            self.shared(2, result);
        }
        for name in &shape.parameter_names {
            self.out.bytes(3, name.as_bytes());
        }
    }

    fn instruction(&mut self, instruction: &Instruction) {
        let mut attributes = instruction.attributes().iter().peekable();
        let mut before = |number: u32, out: &mut Writer| {
            while let Some(attribute) = attributes.next_if(|it| it.field() < number) {
                attribute.payload().write(attribute.field(), out);
            }
        };
        self.out.bytes_unless_empty(1, instruction.name.as_bytes());
        self.out
            .bytes_unless_empty(2, instruction.opcode.as_bytes());
        if let Some(shape) = &instruction.shape {
            self.shared(3, shape);
        }
        if let Some(metadata) = &instruction.metadata {
            self.metadata(metadata);
        }
        before(35, &mut self.out);
        self.out.int_unless_zero(35, instruction.id);
        self.out.ints(36, &instruction.operand_ids);
        before(40, &mut self.out);
        if let Some(sharding) = &instruction.sharding {
            self.shared(40, sharding);
        }
        before(68, &mut self.out);
        if let Some(attributes) = &instruction.frontend_attributes {
            self.shared(68, attributes);
        }
        before(u32::MAX, &mut self.out);
    }

    fn metadata(&mut self, metadata: &Metadata) {
        const FIELD: u32 = 7;
        match &metadata.more {
            None => self.out.message(FIELD, |out| {
                out.bytes_unless_empty(2, metadata.op_name.as_bytes());
            }),
            Some(more) => {
                let whole = OpMetadata {
                    op_name: metadata.op_name.to_string(),
                    ..more.as_ref().clone()
                };
                self.out.prost(FIELD, &whole);
            }
        }
    }

    /// A message that many instructions may share, which is serialized once.
    fn shared(&mut self, field: u32, message: &Arc<impl Message>) {
        let address = Arc::as_ptr(message).addr();
        let bytes = self.shared.entry(address);
        let bytes = bytes.or_insert_with(|| message.encode_to_vec());
        self.out.bytes(field, bytes);
    }

    fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        let start = self.out.begin(field);
        write(self);
        self.out.end(start);
    }
}

/// The fields kept as bytes, which are in the order of their numbers.
struct Others<'a>(&'a [Other]);

impl Others<'_> {
    /// Writes those with a number below `number` that were not written yet.
    fn before(&mut self, number: u32, out: &mut Writer) {
        while let [first, rest @ ..] = self.0
            && first.field < number
        {
            out.raw(&first.bytes);
            self.0 = rest;
        }
    }
}
