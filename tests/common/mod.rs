//! What integration tests share: the CPU plugin, and running a graph on it.

#![allow(dead_code)] // each test binary uses a part of this

pub mod noise;
pub mod run;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use ribosome::graph::{Checked, Graph, Role, Shape};
use ribosome::hlo::{Layout, Program, lower};
use ribosome::runtime::{
    Client, CompileConfig, HostArray, Platform, Plugin, Purpose, Session, Settings, Value,
};
use ribosome::sharding::{Mesh, Rules};

/// The CPU plugin, fetched if it is not here.
pub fn cpu_plugin() -> Plugin {
    static PLUGIN: OnceLock<Plugin> = OnceLock::new();
    *PLUGIN.get_or_init(|| {
        let settings = Settings::from_environment().expect("plugin settings");
        let found = settings
            .find_or_fetch(Platform::Cpu)
            .expect("the CPU plugin");
        found.load(Purpose::Run).expect("the CPU plugin loads")
    })
}

/// A client with `devices` virtual CPU devices.
pub fn cpu(devices: usize) -> Client {
    Client::cpu(cpu_plugin(), devices).expect("a CPU client")
}

/// `config` such that a step compiles in a quarter of the time: LLVM does not optimise, and XLA writes LLVM's code itself
/// and not by way of MLIR, which would cost more than all else in a small program. The program, its partitioning and XLA's
/// passes over it are as always, and numbers change by rounding alone.
pub fn quick(mut config: CompileConfig) -> CompileConfig {
    for (flag, value) in [
        ("xla_backend_optimization_level", Value::Int(0)),
        ("xla_cpu_use_fusion_emitters", Value::Bool(false)),
    ] {
        config.xla_flags.insert(flag.to_string(), value);
    }
    config
}

/// How a test compiles for `devices` virtual devices.
pub fn config(devices: usize) -> CompileConfig {
    quick(CompileConfig::for_virtual_devices(devices))
}

/// Lowers `graph` without its dead nodes for `mesh` under the standard rules.
pub fn lowered(graph: Graph, mesh: &str) -> Program {
    lowered_checked(&checked(graph).compact(), mesh)
}

/// Lowers `graph` as it is for `mesh` under the standard rules.
pub fn lowered_whole(graph: Graph, mesh: &str) -> Program {
    lowered_checked(&checked(graph), mesh)
}

fn checked(graph: Graph) -> Checked {
    graph.check().unwrap_or_else(|errors| panic!("{errors:#?}"))
}

fn lowered_checked(graph: &Checked, mesh: &str) -> Program {
    let mesh = Mesh::parse(mesh).expect("a mesh");
    let rules = Rules::standard();
    let layout = Layout {
        mesh: &mesh,
        rules: &rules,
    };
    lower(graph, "test", layout).expect("lowering")
}

/// Runs `graph` on one device with `inputs` by name; gives its outputs as floats.
pub fn evaluate(graph: Graph, inputs: &[(String, Vec<f64>)]) -> BTreeMap<String, Vec<f64>> {
    evaluate_program(&lowered(graph, "data=1,model=1"), inputs)
}

/// Runs `program` on one device with `inputs` by name; gives its outputs as floats.
pub fn evaluate_program(
    program: &Program,
    inputs: &[(String, Vec<f64>)],
) -> BTreeMap<String, Vec<f64>> {
    let inputs = (program.signature.inputs.iter())
        .map(|port| {
            let (_, values) = inputs
                .iter()
                .find(|(name, _)| *name == port.name)
                .expect("an input");
            let array = HostArray::from_f64(port.shape.clone(), values).expect("an array");
            (port.name.clone(), array)
        })
        .collect();
    let session = Session::new(&cpu(1), program, &config(1)).expect("it compiles");
    let outputs = session.evaluate(&inputs).expect("it runs");
    outputs
        .into_iter()
        .map(|(name, array)| (name, array.to_f64()))
        .collect()
}

/// Values for every parameter of `graph`, the same each time for the same `seed`: floats in [-1, 1), whole numbers from
/// 0 to 2.
pub fn numbers(graph: &Graph, seed: u64) -> Vec<(String, Vec<f64>)> {
    let mut state = seed;
    let parameters = graph.parameters().map(|(id, name, _)| {
        let shape = graph.root().shape(id);
        let value = |_| match shape.dtype.is_float() {
            true => next(&mut state) * 2.0 - 1.0,
            false => (next(&mut state) * 3.0).floor(),
        };
        (name.to_string(), (0..shape.elements()).map(value).collect())
    });
    parameters.collect()
}

/// The next number in [0, 1) of SplitMix64 (Steele, Lea and Flood 2014).
pub fn next(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((word ^ (word >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// Asserts that no element differs by more than `tolerance` times the largest one (or 1).
pub fn assert_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(
        found.len(),
        expected.len(),
        "{what}: the number of elements"
    );
    let scale = expected
        .iter()
        .fold(1f64, |most, value| most.max(value.abs()));
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (found - expected).abs();
        // Written so that NaN fails.
        assert!(
            difference <= tolerance * scale,
            "{what}: element {at} is {found}, not {expected}: {difference:e} apart at a scale of {scale}"
        );
    }
}

/// An input shape of `f64`.
pub fn f64_shape(axes: &[(&'static str, usize)]) -> Shape {
    Shape::new(ribosome::graph::DType::F64, axes.iter().copied())
}

/// The role that test inputs have.
pub const INPUT: Role = Role::Batch;
