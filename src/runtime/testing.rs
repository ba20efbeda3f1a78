//! A small sharded program for this room's tests, in messages of its own so that the tests need no other room.

use std::collections::BTreeMap;

use prost::Message;

/// A module over `devices` devices that takes `x` and `state`, both `f32[rows, columns]` split by rows, and gives the
/// sum of `x` (a scalar on every device: an all-reduce) and `state + x`, which takes over the memory of `state`.
/// Annotated for both partitioners.
pub(crate) fn sharded_sum(devices: usize, rows: usize, columns: usize) -> Vec<u8> {
    let array = Shape::array(&[rows, columns]);
    let scalar = Shape::array(&[]);
    let result = Shape {
        element_type: TUPLE,
        tuple_shapes: vec![scalar.clone(), array.clone()],
        ..Shape::default()
    };
    let tiles = Sharding {
        kind: OTHER,
        tile_dims: vec![devices as i64, 1],
        iota: vec![devices as i64],
        permutation: vec![0],
        ..Sharding::default()
    };
    let replicated = Sharding::default();
    let tuple = Sharding {
        kind: TUPLE_SHARDING,
        tuple: vec![replicated.clone(), tiles.clone()],
        ..Sharding::default()
    };
    let rows_sharding = "[<@mesh, [{\"data\"}, {}]>]";
    let parameter = |id: i64, number: i64| Instruction {
        parameter_number: number,
        sharding: Some(tiles.clone()),
        attributes: Attributes::one("xla.sdy.sharding", "#sdy.sharding<@mesh, [{\"data\"}, {}]>"),
        ..Instruction::new(id, "parameter", &array, &[])
    };
    let pin = |id: i64, of: i64, shape: &Shape, sharding: &Sharding, text: &str| Instruction {
        target: "Sharding".to_string(),
        sharding: Some(sharding.clone()),
        attributes: Attributes::one(
            "xla.sdy.sharding",
            &format!("#sdy.sharding_per_value<{text}>"),
        ),
        ..Instruction::new(id, "custom-call", shape, &[of])
    };
    let constant = Instruction {
        literal: Some(Literal {
            shape: Some(scalar.clone()),
            f32s: vec![0.0],
        }),
        ..Instruction::new(12, "constant", &scalar, &[])
    };
    let sum = Instruction {
        dimensions: vec![0, 1],
        called: vec![1],
        ..Instruction::new(13, "reduce", &scalar, &[10, 12])
    };
    let root = Instruction {
        sharding: Some(tuple),
        ..Instruction::new(17, "tuple", &result, &[14, 16])
    };
    let add_parameter = |id: i64| Instruction {
        parameter_number: id - 1,
        ..Instruction::new(id, "parameter", &scalar, &[])
    };
    let add = Computation::new(
        1,
        "add",
        &[&scalar, &scalar],
        &scalar,
        vec![
            add_parameter(1),
            add_parameter(2),
            Instruction::new(3, "add", &scalar, &[1, 2]),
        ],
    );
    let main = Computation::new(
        2,
        "main",
        &[&array, &array],
        &result,
        vec![
            parameter(10, 0),
            parameter(11, 1),
            constant,
            sum,
            pin(14, 13, &scalar, &replicated, "[<@mesh, []>]"),
            Instruction::new(15, "add", &array, &[11, 10]),
            pin(16, 15, &array, &tiles, rows_sharding),
            root,
        ],
    );
    let module = Module {
        name: "sharded_sum".to_string(),
        entry_name: "main".to_string(),
        program_shape: main.program_shape.clone(),
        computations: vec![add, main],
        entry_id: 2,
        alias: Some(Aliases {
            entries: vec![Alias {
                output: vec![1],
                parameter: 1,
                kind: MAY_ALIAS,
            }],
        }),
        attributes: Attributes::one(
            "xla.sdy.meshes",
            &format!("{{mesh = #sdy.mesh<[\"data\"={devices}]>}}"),
        ),
    };
    module.encode_to_vec()
}

/// The opcodes of all instructions of a serialized `HloModuleProtoWithConfig`.
pub(crate) fn opcodes(with_config: &[u8]) -> Vec<String> {
    let module = WithConfig::decode(with_config).unwrap().module.unwrap();
    module
        .computations
        .into_iter()
        .flat_map(|computation| computation.instructions)
        .map(|one| one.opcode)
        .collect()
}

const F32: i32 = 11;
const TUPLE: i32 = 13;
const OTHER: i32 = 3;
const TUPLE_SHARDING: i32 = 2;
const MAY_ALIAS: i32 = 1;

#[derive(Clone, PartialEq, Message)]
struct WithConfig {
    #[prost(message, optional, tag = "1")]
    module: Option<Module>,
}

#[derive(Clone, PartialEq, Message)]
struct Module {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    entry_name: String,
    #[prost(message, repeated, tag = "3")]
    computations: Vec<Computation>,
    #[prost(message, optional, tag = "4")]
    program_shape: Option<ProgramShape>,
    #[prost(int64, tag = "6")]
    entry_id: i64,
    #[prost(message, optional, tag = "8")]
    alias: Option<Aliases>,
    #[prost(message, optional, tag = "19")]
    attributes: Option<Attributes>,
}

#[derive(Clone, PartialEq, Message)]
struct Aliases {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<Alias>,
}

#[derive(Clone, PartialEq, Message)]
struct Alias {
    #[prost(int64, repeated, tag = "1")]
    output: Vec<i64>,
    #[prost(int64, tag = "2")]
    parameter: i64,
    #[prost(int32, tag = "4")]
    kind: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Attributes {
    #[prost(btree_map = "string, string", tag = "1")]
    map: BTreeMap<String, String>,
}

impl Attributes {
    fn one(name: &str, value: &str) -> Option<Attributes> {
        Some(Attributes {
            map: BTreeMap::from([(name.to_string(), value.to_string())]),
        })
    }
}

#[derive(Clone, PartialEq, Message)]
struct Computation {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    instructions: Vec<Instruction>,
    #[prost(message, optional, tag = "4")]
    program_shape: Option<ProgramShape>,
    #[prost(int64, tag = "5")]
    id: i64,
    #[prost(int64, tag = "6")]
    root_id: i64,
}

impl Computation {
    /// The last instruction is the root.
    fn new(
        id: i64,
        name: &str,
        parameters: &[&Shape],
        result: &Shape,
        instructions: Vec<Instruction>,
    ) -> Computation {
        Computation {
            name: name.to_string(),
            program_shape: Some(ProgramShape {
                parameters: parameters.iter().map(|&shape| shape.clone()).collect(),
                result: Some(result.clone()),
                names: (0..parameters.len()).map(|at| format!("p{at}")).collect(),
            }),
            id,
            root_id: instructions.last().unwrap().id,
            instructions,
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct ProgramShape {
    #[prost(message, repeated, tag = "1")]
    parameters: Vec<Shape>,
    #[prost(message, optional, tag = "2")]
    result: Option<Shape>,
    #[prost(string, repeated, tag = "3")]
    names: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Instruction {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    opcode: String,
    #[prost(message, optional, tag = "3")]
    shape: Option<Shape>,
    #[prost(message, optional, tag = "8")]
    literal: Option<Literal>,
    #[prost(int64, tag = "9")]
    parameter_number: i64,
    #[prost(int64, repeated, tag = "14")]
    dimensions: Vec<i64>,
    #[prost(string, tag = "28")]
    target: String,
    #[prost(int64, tag = "35")]
    id: i64,
    #[prost(int64, repeated, tag = "36")]
    operands: Vec<i64>,
    #[prost(int64, repeated, tag = "38")]
    called: Vec<i64>,
    #[prost(message, optional, tag = "40")]
    sharding: Option<Sharding>,
    #[prost(message, optional, tag = "68")]
    attributes: Option<Attributes>,
}

impl Instruction {
    fn new(id: i64, opcode: &str, shape: &Shape, operands: &[i64]) -> Instruction {
        Instruction {
            name: format!("{opcode}.{id}"),
            opcode: opcode.to_string(),
            shape: Some(shape.clone()),
            id,
            operands: operands.to_vec(),
            ..Instruction::default()
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Literal {
    #[prost(message, optional, tag = "1")]
    shape: Option<Shape>,
    #[prost(float, repeated, tag = "8")]
    f32s: Vec<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct Sharding {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(int64, repeated, tag = "3")]
    tile_dims: Vec<i64>,
    #[prost(message, repeated, tag = "5")]
    tuple: Vec<Sharding>,
    #[prost(int64, repeated, tag = "9")]
    iota: Vec<i64>,
    #[prost(int32, repeated, tag = "10")]
    permutation: Vec<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(int32, tag = "2")]
    element_type: i32,
    #[prost(int64, repeated, tag = "3")]
    dims: Vec<i64>,
    #[prost(message, repeated, tag = "4")]
    tuple_shapes: Vec<Shape>,
    #[prost(message, optional, tag = "5")]
    layout: Option<Layout>,
    #[prost(bool, repeated, tag = "6")]
    dynamic: Vec<bool>,
}

impl Shape {
    fn array(dims: &[usize]) -> Shape {
        Shape {
            element_type: F32,
            dims: dims.iter().map(|&dim| dim as i64).collect(),
            tuple_shapes: Vec::new(),
            layout: Some(Layout {
                minor_to_major: (0..dims.len() as i64).rev().collect(),
            }),
            dynamic: vec![false; dims.len()],
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Layout {
    #[prost(int64, repeated, tag = "1")]
    minor_to_major: Vec<i64>,
}
