//! What a session refuses, and that it keeps the given order of devices.

use super::*;
use crate::graph::{Axis, Builder, DType, Role};
use crate::hlo::{Layout, lower};
use crate::runtime::{Platform, Purpose, open};
use crate::sharding::{Mesh, Rules, Sharding};

const DEVICES: usize = 4;

fn client(devices: usize) -> Client {
    Client::cpu(open(Platform::Cpu, Purpose::Compile).unwrap(), devices).unwrap()
}

fn config(devices: usize) -> CompileConfig {
    CompileConfig::for_virtual_devices(devices)
}

fn shape() -> Shape {
    Shape::new(DType::F32, [("embed", 4), ("mlp", 8)])
}

/// `y = x + x` over `mesh`; the standard rules split `embed` over `data` and `mlp` over `model`.
fn twice(mesh: &str) -> Program {
    let builder = Builder::new();
    let x = builder.input("x", Role::Weight, shape());
    builder.output("y", (x + x).pin_weight());
    let graph = builder.finish().unwrap().check().unwrap();
    let mesh = Mesh::parse(mesh).unwrap();
    let rules = Rules::standard();
    let layout = Layout {
        mesh: &mesh,
        rules: &rules,
    };
    lower(&graph, "twice", layout).unwrap()
}

fn x() -> HostArray {
    let values: Vec<f64> = (0..shape().elements()).map(|at| at as f64).collect();
    HostArray::from_f64(shape(), &values).unwrap()
}

fn session(client: &Client, mesh: &str) -> Session {
    Session::new(client, &twice(mesh), &config(DEVICES)).unwrap()
}

fn run_error(session: &Session, array: DeviceArray) -> String {
    let inputs = DeviceArrays::from([("x".to_string(), array)]);
    session.run(&inputs).err().unwrap().to_string()
}

fn doubled(session: &Session) {
    let outputs = session.evaluate(&[("x".to_string(), x())].into()).unwrap();
    let expected: Vec<f64> = x().to_f64().iter().map(|value| 2.0 * value).collect();
    assert_eq!(outputs["y"].to_f64(), expected);
}

#[test]
fn the_devices_take_the_mesh_in_the_order_of_the_assignment() {
    let client = client(6);
    let assigned = CompileConfig {
        device_assignment: vec![5, 0, 3, 2],
        ..config(DEVICES)
    };
    let session = Session::new(&client, &twice("data=2,model=2"), &assigned).unwrap();
    assert_eq!(session.executable().devices(), [5, 0, 3, 2]);
    doubled(&session);
    let array = session.put("x", &x()).unwrap();
    assert_eq!(array.devices, [5, 0, 3, 2]);
    // The mesh's second position holds the right half of the upper rows.
    let values: Vec<f32> = crate::runtime::Element::from_bytes(&array.parts[1].to_host().unwrap());
    assert_eq!(values, [4.0, 5.0, 6.0, 7.0, 12.0, 13.0, 14.0, 15.0]);

    // Another order of the same devices moves each part.
    let other = Session::new(&client, &twice("data=2,model=2"), &config(DEVICES)).unwrap();
    assert_eq!(
        run_error(&other, array),
        "the program runs on the devices [0, 1, 2, 3], but the array given as `x` is on [5, 0, 3, 2] in 4 parts"
    );
    // A program compiled beside another uses the same devices.
    let beside = session.beside(&twice("data=4,model=1")).unwrap();
    assert_eq!(beside.executable().devices(), [5, 0, 3, 2]);
}

#[test]
fn an_executable_compiled_elsewhere_runs() {
    let client = client(DEVICES);
    let program = twice("data=2,model=2");
    let assigned = CompileConfig {
        device_assignment: vec![3, 2, 1, 0],
        ..config(DEVICES)
    };
    let executable = client.compile(program.bytes(), &assigned).unwrap();
    let session = Session::of(executable, &assigned, &program.signature).unwrap();
    assert_eq!(session.config().device_assignment, [3, 2, 1, 0]);
    doubled(&session);

    let executable = client.compile(program.bytes(), &assigned).unwrap();
    let eight = twice("data=4,model=2").signature;
    assert_eq!(
        Session::of(executable, &assigned, &eight)
            .err()
            .unwrap()
            .to_string(),
        "the mesh data=4,model=2 takes 8 devices, but this process runs the program on 4"
    );
    let executable = client.compile(program.bytes(), &assigned).unwrap();
    let mut more = program.signature.clone();
    more.outputs.push(more.outputs[0].clone());
    assert_eq!(
        Session::of(executable, &assigned, &more)
            .err()
            .unwrap()
            .to_string(),
        "the signature names 2 outputs, but the program has 1"
    );
}

#[test]
fn too_few_and_too_many_devices_are_refused() {
    let refused = |client: &Client, config: &CompileConfig| {
        let session = Session::new(client, &twice("data=2,model=2"), config);
        session.err().unwrap().to_string()
    };
    for devices in [2, 6] {
        assert_eq!(
            refused(&client(6), &config(devices)),
            format!(
                "the mesh data=2,model=2 takes 4 devices, but the program is to be compiled for {devices}"
            )
        );
    }
    assert_eq!(
        refused(&client(3), &config(4)),
        "the device assignment names device 3, but the client has the devices [0, 1, 2]"
    );
    let unassigned = CompileConfig {
        device_assignment: Vec::new(),
        ..config(4)
    };
    assert_eq!(
        refused(&client(3), &unassigned),
        "the program is to be compiled for 4 devices, but the client has 3"
    );
}

#[test]
fn an_array_that_is_cut_otherwise_is_refused() {
    let client = client(DEVICES);
    let (here, there) = (
        session(&client, "data=2,model=2"),
        session(&client, "model=2,data=2"),
    );
    // Parts of the same size from other positions: the plugin would accept them and permute the numbers.
    let array = there.put("x", &x()).unwrap();
    assert_eq!(
        run_error(&here, array),
        "the input `x` is cut as [embed:data, mlp:model] over data=2,model=2, but the given array is cut as \
         [embed:data, mlp:model] over model=2,data=2"
    );
    let array = session(&client, "data=4,model=1").put("x", &x()).unwrap();
    assert!(run_error(&here, array).starts_with("the input `x` is cut as"));
    // The same cut under another name is accepted.
    let whole = session(&client, "data=1,model=4");
    let array = DeviceArray {
        sharding: Sharding {
            dims: vec![vec![], vec![1]],
        },
        ..whole.put("x", &x()).unwrap()
    };
    assert!(whole.run(&[("x".to_string(), array)].into()).is_ok());
}

#[test]
fn an_array_of_another_shape_or_type_is_refused() {
    let client = client(DEVICES);
    let session = session(&client, "data=2,model=2");
    let given = session.put("x", &x()).unwrap();
    let with = |given: DeviceArray, shape: Shape| DeviceArray { shape, ..given };
    let taller = Shape::new(DType::F32, [("embed", 8), ("mlp", 8)]);
    assert_eq!(
        run_error(&session, with(given, taller)),
        "the input `x` is f32[embed=4, mlp=8], but f32[embed=8, mlp=8] was given"
    );
    let whole = Shape::new(DType::S32, [("embed", 4), ("mlp", 8)]);
    let array = HostArray::from_f64(whole.clone(), &x().to_f64()).unwrap();
    let sharding = session.signature().inputs[0].sharding.clone();
    let mesh = session.signature().mesh.clone();
    let array = DeviceArray::put(&client, &[0, 1, 2, 3], &mesh, &array, &sharding).unwrap();
    assert_eq!(
        run_error(&session, array),
        "the input `x` is f32[embed=4, mlp=8], but s32[embed=4, mlp=8] was given"
    );
    let named = Shape {
        axes: [Axis::new("embed", 4), Axis::new("kv", 8)]
            .into_iter()
            .collect(),
        ..whole
    };
    let error = session.put("x", &HostArray::from_f64(named, &x().to_f64()).unwrap());
    assert!(error.err().unwrap().to_string().contains("was given"));
    let error = session.run(&DeviceArrays::new()).err().unwrap().to_string();
    assert_eq!(error, "the input `x` was not given");
}
