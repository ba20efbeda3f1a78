//! HLO modules: the result of lowering, and the input of the text form and the analysis.
//!
//! An instruction is an opcode, a shape, operands by id, and the few attributes it has. Shapes, shardings and literals
//! are shared, since most occur many times. `proto` reads and writes modules as XLA's bytes.

use std::sync::Arc;

use smol_str::SmolStr;

use super::attribute::Attribute;
use super::proto::payload::Other;
use super::proto::{
    FrontendAttributes, HloBufferDonorProto, HloInputOutputAliasProto, HloScheduleProto,
    OpMetadata, OpSharding, ShapeProto,
};

/// A whole program.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Module {
    /// The module's name.
    pub name: String,
    /// The name of the entry computation.
    pub entry_name: String,
    /// The id of the entry computation.
    pub entry_id: i64,
    /// All computations, callees before their callers.
    pub computations: Vec<Computation>,
    /// The entry's parameters and result as the host lays them out.
    pub program_shape: Option<ProgramShape>,
    /// The order of execution, if the compiler has fixed it.
    pub schedule: Option<HloScheduleProto>,
    /// Which outputs reuse which inputs' memory.
    pub input_output_alias: Option<HloInputOutputAliasProto>,
    /// Inputs whose memory any output may reuse.
    pub buffer_donor: Option<HloBufferDonorProto>,
    /// Free attributes by name.
    pub frontend_attributes: Option<FrontendAttributes>,
    /// Fields that ribosome does not use.
    pub others: Vec<Other>,
}

/// One computation; operands come before the instructions that use them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Computation {
    /// The computation's name.
    pub name: SmolStr,
    /// The computation's id.
    pub id: i64,
    /// The id of the instruction whose value is the result.
    pub root_id: i64,
    /// The instructions.
    pub instructions: Vec<Instruction>,
    /// The parameters and the result.
    pub program_shape: Option<ProgramShape>,
    /// The thread it runs on; empty or `main` for the usual one.
    pub execution_thread: SmolStr,
    /// Fields that ribosome does not use.
    pub others: Vec<Other>,
}

/// A computation's parameters and result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProgramShape {
    /// The parameters' shapes.
    pub parameters: Vec<Arc<ShapeProto>>,
    /// The result's shape.
    pub result: Option<Arc<ShapeProto>>,
    /// The parameters' names.
    pub parameter_names: Vec<SmolStr>,
}

/// One instruction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Instruction {
    /// Its id within the module.
    pub id: i64,
    /// Its name.
    pub name: SmolStr,
    /// Its opcode, such as `dot`.
    pub opcode: SmolStr,
    /// The shape of its value.
    pub shape: Option<Arc<ShapeProto>>,
    /// The ids of its operands.
    pub operand_ids: Vec<i64>,
    /// The sharding of its value.
    pub sharding: Option<Arc<OpSharding>>,
    /// Its place in the model.
    pub metadata: Option<Metadata>,
    /// Free attributes by name.
    pub frontend_attributes: Option<Arc<FrontendAttributes>>,
    attributes: Vec<Attribute>,
}

/// The origin of an instruction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// The scope path followed by the operation's name.
    pub op_name: SmolStr,
    /// The rest of XLA's message, if there is any; its `op_name` is empty.
    pub more: Option<Box<OpMetadata>>,
}

impl Metadata {
    /// Metadata with an operation's name alone.
    pub fn of(op_name: impl Into<SmolStr>) -> Self {
        Metadata {
            op_name: op_name.into(),
            more: None,
        }
    }
}

impl Instruction {
    /// An instruction without attributes.
    pub fn new(
        id: i64,
        name: impl Into<SmolStr>,
        opcode: impl Into<SmolStr>,
        shape: Arc<ShapeProto>,
        operand_ids: &[i64],
    ) -> Self {
        Instruction {
            id,
            name: name.into(),
            opcode: opcode.into(),
            shape: Some(shape),
            operand_ids: operand_ids.to_vec(),
            ..Instruction::default()
        }
    }

    /// Sets an attribute, replacing one of the same field.
    pub fn set(&mut self, attribute: Attribute) {
        match self.place(attribute.field()) {
            Ok(at) => self.attributes[at] = attribute,
            Err(at) => self.attributes.insert(at, attribute),
        }
    }

    /// Returns the instruction with one more attribute.
    pub fn with(mut self, attribute: Attribute) -> Self {
        self.set(attribute);
        self
    }

    /// The attributes, in the order of their fields.
    pub fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }

    /// The attribute of the field `number`, added with its default value if absent.
    pub(super) fn attribute_mut(&mut self, number: u32) -> &mut Attribute {
        let at = match self.place(number) {
            Ok(at) => at,
            Err(at) => {
                self.attributes.insert(at, Attribute::empty(number));
                at
            }
        };
        &mut self.attributes[at]
    }

    /// The position of the attribute of the field `number`, or where it belongs.
    fn place(&self, number: u32) -> Result<usize, usize> {
        self.attributes
            .binary_search_by_key(&number, Attribute::field)
    }
}

impl Module {
    /// Number of instructions in all computations.
    pub fn instructions(&self) -> usize {
        let computations = self.computations.iter();
        computations
            .map(|computation| computation.instructions.len())
            .sum()
    }
}
