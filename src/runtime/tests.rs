//! The real plugins, fetched as for a user: a sharded program runs on virtual CPU devices and is compiled for a pod.

use super::*;
use crate::graph::{Builder, DType, Role, Shape};
use crate::hlo::proto::decode_with_config;
use crate::hlo::{Layout, lower};
use crate::sharding::{Mesh, Partitioner, Rules};

const DEVICES: usize = 8;
const ROWS: usize = 16;
const COLUMNS: usize = 4;

fn plugin(platform: Platform) -> Plugin {
    open(platform, Purpose::Compile).unwrap()
}

fn cpu(devices: usize) -> Client {
    Client::cpu(plugin(Platform::Cpu), devices).unwrap()
}

fn config(devices: usize) -> CompileConfig {
    CompileConfig::for_devices(devices)
}

/// A program over `devices` devices that takes `x` and `state`, both `f32[rows, columns]` split by rows, and gives the sum
/// of `x` (a scalar on every device: an all-reduce) and `state + x`, which takes over the memory of `state`.
fn sharded_sum(devices: usize, rows: usize, columns: usize) -> Vec<u8> {
    let builder = Builder::new();
    // The standard rules split `embed` over `data`.
    let shape = Shape::new(DType::F32, [("embed", rows), ("mlp", columns)]);
    let x = builder.input("x", Role::Weight, shape.clone());
    let state = builder.input("state", Role::State, shape);
    builder.output("sum", x.sum(["embed", "mlp"]));
    builder.update("state", (state + x).pin_weight());
    let graph = builder.finish().unwrap().check().unwrap();
    let layout = Layout {
        mesh: &Mesh::new([("data", devices), ("model", 1)]).unwrap(),
        rules: &Rules::standard(),
    };
    let program = lower(&graph, "sharded_sum", layout).unwrap();
    program.bytes().to_vec()
}

/// The opcodes of all instructions of an optimized program.
fn opcodes(with_config: &[u8]) -> Vec<String> {
    let module = decode_with_config(with_config).unwrap();
    let instructions = module.computations.iter().flat_map(|it| &it.instructions);
    instructions.map(|it| it.opcode.to_string()).collect()
}

/// The rows of `[ROWS, COLUMNS]` that each device holds.
fn by_rows() -> Vec<Vec<(usize, usize)>> {
    (0..DEVICES)
        .map(|d| vec![(d * ROWS / DEVICES, ROWS / DEVICES), (0, COLUMNS)])
        .collect()
}

/// `values` over the devices of `client`, by rows.
fn shard(client: &Client, values: &[f32]) -> Vec<Buffer> {
    let bytes = f32::to_bytes(values);
    let devices: Vec<usize> = (0..DEVICES).collect();
    upload(
        client,
        &bytes,
        DType::F32,
        &[ROWS, COLUMNS],
        &by_rows(),
        &devices,
    )
    .unwrap()
}

fn lists<'a>(x: &'a [Buffer], state: &'a [Buffer]) -> Vec<Vec<&'a Buffer>> {
    x.iter()
        .zip(state)
        .map(|(x, state)| vec![x, state])
        .collect()
}

fn numbers(step: f32) -> Vec<f32> {
    (0..ROWS * COLUMNS).map(|at| at as f32 * step).collect()
}

#[test]
fn a_sharded_program_runs_on_eight_cpu_devices_under_both_partitioners() {
    let client = cpu(DEVICES);
    assert_eq!(client.devices().len(), DEVICES);
    for partitioner in Partitioner::ALL {
        let program = client
            .compile(
                &sharded_sum(DEVICES, ROWS, COLUMNS),
                &config(DEVICES).with_partitioner(partitioner),
            )
            .unwrap();
        assert_eq!(program.devices(), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(program.executable().num_outputs().unwrap(), 2);
        assert_eq!(program.executable().num_partitions().unwrap(), DEVICES);
        let codes = opcodes(&program.executable().optimized_program().unwrap());
        assert!(
            codes.iter().any(|code| code.starts_with("all-reduce")),
            "no all-reduce among {codes:?}"
        );

        let (x, state) = (numbers(1.0), numbers(0.5));
        let (x_buffers, state_buffers) = (shard(&client, &x), shard(&client, &state));
        let outputs = program.execute(&lists(&x_buffers, &state_buffers)).unwrap();

        for output in &outputs {
            let sum = f32::from_bytes(&output[0].to_host().unwrap());
            assert_eq!(sum, [x.iter().sum::<f32>()]);
            assert_eq!(output[1].dims().unwrap(), [ROWS / DEVICES, COLUMNS]);
            assert_eq!(output[1].dtype().unwrap(), DType::F32);
        }
        let next: Vec<&Buffer> = outputs.iter().map(|output| &output[1]).collect();
        let next = download(&next, &[ROWS, COLUMNS], &by_rows()).unwrap();
        assert_eq!(f32::from_bytes(&next), numbers(1.5));
    }
}

/// Collectives of two concurrent launches are not mixed up.
#[test]
fn two_clients_run_sharded_programs_at_once() {
    let program = sharded_sum(DEVICES, ROWS, COLUMNS);
    let run = |x: Vec<f32>| {
        let client = cpu(DEVICES);
        let program = client.compile(&program, &config(DEVICES)).unwrap();
        let sum: f32 = x.iter().sum();
        for _ in 0..300 {
            let (x, state) = (shard(&client, &x), shard(&client, &numbers(0.5)));
            let outputs = program.execute(&lists(&x, &state)).unwrap();
            assert_eq!(f32::from_bytes(&outputs[0][0].to_host().unwrap()), [sum]);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| run(numbers(1.0)));
        scope.spawn(|| run(numbers(2.0)));
    });
}

#[test]
fn a_sharded_program_compiles_for_a_pod_without_one() {
    let topology = TopologyDescription::create(plugin(Platform::Tpu), "v3:16x32", &[]).unwrap();
    let devices = topology.devices();
    assert_eq!(devices.len(), 1024);
    // A v3 core has 16 GiB, some of which the plugin reserves.
    let memory = devices[0].memory_bytes().unwrap();
    assert!((15 << 30..16 << 30).contains(&memory), "{memory}");
    assert_eq!(devices[0].coords().len(), 3);
    for partitioner in Partitioner::ALL {
        let program = topology
            .compile(
                &sharded_sum(1024, 8192, 1024),
                &config(1024).with_partitioner(partitioner),
            )
            .unwrap();
        let memory = program.memory_stats().unwrap();
        // Each device holds 8 of 8192 rows of 4096 bytes, of x and of the state, and the state's memory is reused.
        assert_eq!(memory.arguments, 2 * 8 * 4096);
        assert_eq!(memory.aliased, 8 * 4096);
        assert!(
            memory.outputs >= 8 * 4096 && memory.peak >= memory.arguments,
            "{memory:?}"
        );
        assert_eq!(program.num_outputs().unwrap(), 2);
        let codes = opcodes(&program.optimized_program().unwrap());
        assert!(
            codes.iter().any(|code| code.starts_with("all-reduce")),
            "no all-reduce among {codes:?}"
        );
    }
}

#[test]
fn aliased_inputs_are_donated_unless_kept() {
    let client = cpu(DEVICES);
    let program = client
        .compile(&sharded_sum(DEVICES, ROWS, COLUMNS), &config(DEVICES))
        .unwrap();
    let (x, state) = (shard(&client, &numbers(1.0)), shard(&client, &numbers(0.5)));

    let kept = program.execute_keeping(&lists(&x, &state), &[1]).unwrap();
    assert!(!state[3].is_donated().unwrap());
    assert_eq!(
        f32::from_bytes(&state[3].to_host().unwrap()),
        numbers(0.5)[24..32]
    );

    let outputs = program.execute(&lists(&x, &state)).unwrap();
    for d in 0..DEVICES {
        assert!(!x[d].is_donated().unwrap() && state[d].is_donated().unwrap());
        assert_eq!(
            outputs[d][1].to_host().unwrap(),
            kept[d][1].to_host().unwrap()
        );
    }
    let message = "was donated to an earlier execution and no longer holds data";
    let error = state[3].to_host().unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("a buffer of f32[2, 4] {message}")
    );
    let error = program.execute(&lists(&x, &state)).err().unwrap();
    assert_eq!(
        error.to_string(),
        format!("argument 1 of device 0 (f32[2, 4]) {message}")
    );

    // A step's output state becomes the next input.
    let next: Vec<Buffer> = outputs.into_iter().map(|mut list| list.remove(1)).collect();
    let last = program.execute(&lists(&x, &next)).unwrap();
    assert_eq!(
        f32::from_bytes(&last[7][1].to_host().unwrap()),
        numbers(2.5)[56..64]
    );
}

#[test]
fn arguments_that_do_not_fit_are_refused() {
    let client = cpu(DEVICES);
    let program = client
        .compile(&sharded_sum(DEVICES, ROWS, COLUMNS), &config(DEVICES))
        .unwrap();
    let (x, state) = (shard(&client, &numbers(1.0)), shard(&client, &numbers(0.5)));
    let refused =
        |arguments: &[Vec<&Buffer>]| program.execute(arguments).err().unwrap().to_string();
    let whole = lists(&x, &state);
    assert_eq!(
        refused(&whole[..7]),
        "the program runs on 8 devices, but arguments for 7 were given"
    );
    let mut ragged = whole.clone();
    ragged[5].pop();
    assert_eq!(
        refused(&ragged),
        "device 5 got 1 arguments, but device 0 got 2"
    );
    let short: Vec<Vec<&Buffer>> = whole.iter().map(|list| vec![list[0]]).collect();
    assert!(
        refused(&short).starts_with("PJRT_LoadedExecutable_Execute: "),
        "{}",
        refused(&short)
    );
    let other = cpu(DEVICES);
    let strange = shard(&other, &numbers(1.0));
    assert_eq!(
        refused(&lists(&strange, &state)),
        "argument 0 of device 0 belongs to another client"
    );
}

#[test]
fn host_arrays_that_do_not_fit_are_refused() {
    let client = cpu(2);
    let refused = |bytes: &[u8], dtype, dims: &[usize], device| {
        client
            .buffer(bytes, dtype, dims, device)
            .err()
            .unwrap()
            .to_string()
    };
    assert_eq!(
        refused(&[0; 7], DType::F32, &[2], 0),
        "f32[2] takes 8 bytes, but 7 were given"
    );
    assert_eq!(
        refused(&[0; 8], DType::F32, &[2], 2),
        "there is no device 2: the client has 2, counted from 0"
    );
    assert_eq!(
        refused(&[], DType::Tuple, &[], 0),
        "a buffer cannot hold elements of type tuple"
    );
    let error = Client::cpu(client.plugin(), 0).err().unwrap();
    assert_eq!(
        error.to_string(),
        "cannot make a client of 0 devices; at least 1 is needed"
    );
}

#[test]
fn every_element_type_goes_to_a_device_and_back() {
    let client = cpu(1);
    for dtype in DType::ELEMENTS {
        // Truth values are 0 or 1; of the others any bits will do.
        let bytes: Vec<u8> = (0..6 * dtype.bytes())
            .map(|at| if dtype == DType::Pred { at % 2 } else { at } as u8)
            .collect();
        let buffer = client.buffer(&bytes, dtype, &[2, 3], 0).unwrap();
        assert_eq!(
            (buffer.dtype().unwrap(), buffer.dims().unwrap()),
            (dtype, vec![2, 3])
        );
        assert_eq!(buffer.to_host().unwrap(), bytes);
        assert!(buffer.device_bytes().unwrap() >= bytes.len());
    }
    let scalar = client
        .buffer(&f32::to_bytes(&[2.5]), DType::F32, &[], 0)
        .unwrap();
    assert_eq!(f32::from_bytes(&scalar.to_host().unwrap()), [2.5]);
    let empty = client.buffer(&[], DType::F32, &[0, 3], 0).unwrap();
    assert!(empty.to_host().unwrap().is_empty());
}

#[test]
fn a_serialized_executable_is_loaded_again() {
    let client = cpu(DEVICES);
    let program = client
        .compile(&sharded_sum(DEVICES, ROWS, COLUMNS), &config(DEVICES))
        .unwrap();
    let again = client
        .load(&program.executable().serialize().unwrap())
        .unwrap();
    let (x, state) = (shard(&client, &numbers(1.0)), shard(&client, &numbers(0.5)));
    let outputs = again.execute(&lists(&x, &state)).unwrap();
    assert_eq!(
        f32::from_bytes(&outputs[0][0].to_host().unwrap()),
        [numbers(1.0).iter().sum::<f32>()]
    );
}

#[test]
fn the_plugins_own_message_comes_through() {
    let client = cpu(DEVICES);
    let error = client
        .compile(b"no module at all", &config(DEVICES))
        .err()
        .unwrap();
    assert!(
        matches!(
            error,
            Error::Plugin {
                function: "PJRT_Client_Compile",
                ..
            }
        ),
        "{error:?}"
    );
    let unknown = CompileConfig {
        xla_flags: [("xla_no_such_flag".to_string(), Value::Bool(true))].into(),
        ..config(DEVICES)
    };
    let error = client
        .compile(&sharded_sum(DEVICES, ROWS, COLUMNS), &unknown)
        .err()
        .unwrap();
    assert!(error.to_string().contains("xla_no_such_flag"), "{error}");
    let error = TopologyDescription::create(plugin(Platform::Tpu), "nonesuch", &[])
        .err()
        .unwrap();
    assert!(error.to_string().contains("nonesuch"), "{error}");
}

#[test]
fn a_program_too_large_for_a_core_is_out_of_memory() {
    let topology = TopologyDescription::create(plugin(Platform::Tpu), "v3:2x2", &[]).unwrap();
    // Two inputs of 16 GiB per device, but a v3 core has 16 GiB in all.
    let program = sharded_sum(8, 8 << 20, 4096);
    let error = topology.compile(&program, &config(8)).err().unwrap();
    assert!(error.is_out_of_memory(), "{error:?}");
    assert!(
        error.to_string().contains("E1000: CompileTimeHbmOom"),
        "{error}"
    );
}

#[test]
fn slices_number_their_devices_apart() {
    let slices = [("num_slices", Value::Int(2))];
    let topology = TopologyDescription::create(plugin(Platform::Tpu), "v6e:4x4", &slices).unwrap();
    let ids: Vec<i64> = topology.devices().iter().map(|device| device.id).collect();
    assert_eq!((ids.len(), ids[0], ids[16]), (32, 100_000, 200_000));
    assert_eq!(topology.devices()[16].slice_index(), Some(1));
    let assigned = CompileConfig {
        device_assignment: ids,
        ..config(32)
    };
    topology
        .compile(&sharded_sum(32, 64, 128), &assigned)
        .unwrap();
    let error = topology
        .compile(&sharded_sum(32, 64, 128), &config(32))
        .err()
        .unwrap();
    assert!(error.to_string().contains("MegaScale"), "{error}");
}

#[test]
fn a_library_loads_once_for_all_threads() {
    let plugins: Vec<Plugin> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| plugin(Platform::Cpu)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(plugins.iter().all(|one| *one == plugins[0]));
    assert_eq!(plugins[0].pjrt_version().0, 0);
}

#[test]
fn a_tpu_plugin_loaded_for_compiling_is_not_taken_for_running() {
    let compile = plugin(Platform::Tpu);
    let run = open(Platform::Tpu, Purpose::Run);
    assert!(matches!(run, Err(Error::LoadedOtherwise { .. })), "{run:?}");
    assert_eq!(plugin(Platform::Tpu), compile);
}

#[test]
fn the_compilers_figures_are_read() {
    let client = cpu(DEVICES);
    let hlo = sharded_sum(DEVICES, 1024, 1024);
    let cpu = client.compile(&hlo, &config(DEVICES)).unwrap();
    let topology = TopologyDescription::create(plugin(Platform::Tpu), "v3:2x2", &[]).unwrap();
    let tpu = topology.compile(&hlo, &config(DEVICES)).unwrap();
    assert_eq!(client.platform_name().unwrap(), "cpu");
    assert_eq!(topology.platform_name().unwrap(), "tpu");
    assert!(topology.platform_version().unwrap().contains("TPU v3"));
    for executable in [cpu.executable(), &tpu] {
        let memory = executable.memory_stats().unwrap();
        assert_eq!(
            (memory.arguments, memory.aliased),
            (1 << 20, 1 << 19),
            "{memory:?}"
        );
        assert!(
            memory.peak >= memory.arguments && memory.peak < 2 << 20,
            "{memory:?}"
        );
        let cost = executable.cost_analysis().unwrap();
        // An addition an element, twice.
        assert_eq!(cost["flops"], Value::Float(2.0 * 128.0 * 1024.0));
        assert_eq!(executable.name().unwrap(), "sharded_sum");
        let fingerprint = executable.fingerprint().unwrap();
        assert!(
            fingerprint.len() >= 16 && fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit())
        );
    }
    assert!(tpu.memory_stats().unwrap().code > 0);
}

/// A described H100, in the text form of XLA's `GpuTargetConfigProto`.
const H100: &str = r#"
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_core: 233472 shared_memory_per_block_optin: 232448
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 device_memory_size: 84942979072
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  cuda_compute_capability { major: 9 }
}
platform_name: "CUDA" dnn_version_info { major: 9 minor: 8 } device_description_str: "NVIDIA H100 80GB HBM3"
"#;

#[test]
fn the_cuda_plugin_describes_gpus_without_one() {
    let options = [
        ("target_config", Value::from(H100)),
        ("topology", Value::from("1x1x8")),
    ];
    let topology = TopologyDescription::create(plugin(Platform::Cuda), "cuda", &options).unwrap();
    assert_eq!(topology.devices().len(), 8);
    assert_eq!(topology.devices()[7].kind, "NVIDIA H100 80GB HBM3");
    assert_eq!(topology.devices()[7].memory_bytes(), Some(84_942_979_072));
}

#[test]
fn sharded_arrays_go_to_devices_and_back() {
    let client = cpu(4);
    let (bytes, dims) = (i32::to_bytes(&(0..24).collect::<Vec<i32>>()), [4, 6]);
    let send = |blocks: &[Block]| upload(&client, &bytes, DType::S32, &dims, blocks, &[0, 1, 2, 3]);
    let whole = vec![(0, 4), (0, 6)];
    // Split in two both ways; by columns only, on two pairs of devices; and on every device whole.
    let both = [
        [(0, 2), (0, 3)],
        [(0, 2), (3, 3)],
        [(2, 2), (0, 3)],
        [(2, 2), (3, 3)],
    ]
    .map(Vec::from);
    let columns = [
        [(0, 4), (0, 3)],
        [(0, 4), (3, 3)],
        [(0, 4), (0, 3)],
        [(0, 4), (3, 3)],
    ]
    .map(Vec::from);
    for blocks in [
        both.clone(),
        columns.clone(),
        std::array::from_fn(|_| whole.clone()),
    ] {
        let buffers = send(&blocks).unwrap();
        assert_eq!(
            download(&buffers.iter().collect::<Vec<_>>(), &dims, &blocks).unwrap(),
            bytes
        );
    }
    let buffers = send(&both).unwrap();
    assert_eq!(
        i32::from_bytes(&buffers[2].to_host().unwrap()),
        [12, 13, 14, 18, 19, 20]
    );

    let fetch = |blocks: &[Block]| {
        let buffers: Vec<&Buffer> = buffers.iter().collect();
        download(&buffers[..blocks.len().max(1)], &dims, blocks)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        send(&both[..3]).err().unwrap().to_string(),
        "3 blocks were given for 4 devices"
    );
    assert_eq!(fetch(&[]), "0 blocks were given for 1 devices");
    assert_eq!(
        fetch(&both[..2]),
        "the shards hold 12 elements, but an array of [4, 6] has 24"
    );
    assert_eq!(
        fetch(&columns),
        "the shard at [(0, 4), (0, 3)] (offset, size) is s32[2, 3], not s32[4, 3]"
    );
    assert!(download(&[], &dims, &[]).is_err());
}
