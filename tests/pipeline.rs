//! The one way from a recipe or a file to a program: whoever asks gets the same program, the same devices and the same
//! options.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::run::{preset, proteins};
use ribosome::data::PROT_T5;
use ribosome::graph::{Builder, DType, Role, Shape};
use ribosome::pipeline::{
    self, Built, Job, Lowered, Machine, ProgramFile, Stages, Training, compile_program,
};
use ribosome::runtime::{DeviceDescription, Settings};
use ribosome::sharding::{Mesh, Partitioner, Rules, Target};
use ribosome::train::trainer::Trainer;

fn settings() -> Settings {
    Settings::from_environment().unwrap()
}

fn mesh(text: &str) -> Mesh {
    Mesh::parse(text).unwrap()
}

/// A small recipe on `target`, whose mesh is chosen.
fn job(target: &str) -> Job {
    let small = [
        ("batch", "16"),
        ("length", "16"),
        ("model.num_layers", "1"),
        ("model.num_decoder_layers", "1"),
    ];
    Job {
        recipe: preset("prot-t5-tiny", &small),
        target: target.parse().unwrap(),
        mesh: None,
        partitioner: Partitioner::Shardy,
    }
}

#[test]
fn what_trains_is_what_is_compiled() {
    let job = job("cpu:8");
    let compiled = pipeline::compile(&job, &settings(), &mut Stages::default()).unwrap();
    let machine = Machine::open(&job.target, &settings()).unwrap();
    let training = Training::new(&job, &machine, &mut Stages::default()).unwrap();
    let data = proteins(&PROT_T5);
    let setup = training.setup(&data);
    let trainer = Trainer::start(setup).unwrap();

    let fingerprint = compiled.lowered.program.fingerprint();
    assert_eq!(setup.programs.step.fingerprint(), fingerprint);
    assert_eq!(training.mesh(), &compiled.lowered.mesh);
    assert_eq!(training.mesh_reason, compiled.lowered.mesh_reason);
    assert_eq!(training.parameters, compiled.lowered.parameters);
    let config = (compiled.machine)
        .config(&compiled.lowered.mesh, compiled.partitioner)
        .unwrap();
    assert_eq!(training.config(), &config);
    assert_eq!(trainer.session().config(), &config);
    // What the compiler made of them.
    let Some(Built::Loaded(built)) = &compiled.built else {
        panic!("a program for the CPU runs")
    };
    let trains = trainer.session().executable();
    assert_eq!(trains.devices(), built.devices());
    let (trains, built) = (trains.executable(), built.executable());
    assert_eq!(trains.fingerprint().unwrap(), built.fingerprint().unwrap());
    assert_eq!(
        trains.memory_stats().unwrap(),
        built.memory_stats().unwrap()
    );

    // A described machine with as many devices gets the very program too.
    let described = Job {
        target: "v3-8".parse().unwrap(),
        ..job
    };
    let lowered = described.lower(8, &mut Stages::default()).unwrap();
    assert_eq!(lowered.program.fingerprint(), fingerprint);
}

#[test]
fn an_attached_tpu_is_placed_as_a_described_one() {
    for (target, meshes) in [
        ("v3:4x4", vec!["data=8,model=4", "data=2,model=16"]),
        ("v4:2x2x4", vec!["data=2,model=8"]),
        ("v4:2x2x4/cores", vec!["data=2,model=16"]),
        ("2xv6e-16", vec!["data=4,model=8"]),
    ] {
        let machine = Machine::open(&target.parse().unwrap(), &settings()).unwrap();
        // A client lists devices in its own order.
        let mut attached: Vec<DeviceDescription> = machine.devices().to_vec();
        attached.reverse();
        for mesh in meshes.into_iter().map(mesh) {
            let described = machine.config(&mesh, Partitioner::Shardy).unwrap();
            let found =
                pipeline::config(&Target::TpuAttached, &attached, &mesh, Partitioner::Shardy);
            assert_eq!(found.unwrap(), described, "{target} {mesh}");
            // By the torus: the order of the ids would take rows of chips, not compact boxes.
            let mut by_id = described.device_assignment.clone();
            by_id.sort_unstable();
            assert_ne!(described.device_assignment, by_id, "{target} {mesh}");
        }
        attached.pop();
        let mesh = mesh(&format!("data={},model=1", attached.len()));
        let error = pipeline::config(&Target::TpuAttached, &attached, &mesh, Partitioner::Shardy);
        let message = error.unwrap_err().to_string();
        assert!(message.contains("do not fill a box of chips"), "{message}");
    }
}

#[test]
fn options_are_those_of_the_platform() {
    let machine = Machine::open(&"cpu:4".parse().unwrap(), &settings()).unwrap();
    let mesh = mesh("data=4,model=1");
    let config = |target: &str, devices: &[DeviceDescription]| {
        pipeline::config(&target.parse().unwrap(), devices, &mesh, Partitioner::Gspmd).unwrap()
    };
    let (cpu, gpu) = (
        config("cpu:4", machine.devices()),
        config("cuda:4", machine.devices()),
    );
    assert_eq!(cpu.device_assignment, gpu.device_assignment);
    assert_eq!(cpu.partitioner, Partitioner::Gspmd);
    // Virtual devices may wait long for each other; that flag is the CPU's alone.
    assert_eq!(cpu.xla_flags.len(), 1);
    assert!(gpu.xla_flags.is_empty());
    let described = Machine::open(&"v3-8".parse().unwrap(), &settings()).unwrap();
    let message = described.running().err().unwrap().to_string();
    assert!(
        message.starts_with("v3-8 is only described, so nothing can run on it"),
        "{message}"
    );
}

/// A graph of one product and an update, as text in a file.
fn graph_file(folder: &Path) -> PathBuf {
    let builder = Builder::new();
    let shape = |axes: [(&str, usize); 2]| Shape::new(DType::F32, axes);
    let weight = builder.input("w", Role::Weight, shape([("embed", 8), ("mlp", 4)]));
    let x = builder.input("x", Role::Batch, shape([("batch", 4), ("embed", 8)]));
    builder.update("w", weight - 0.5);
    builder.output("loss", x.dot(weight, ["embed"]).sum_all());
    let path = folder.join("one-product.txt");
    fs::write(&path, builder.finish().unwrap().to_text()).unwrap();
    path
}

fn lowered(path: &Path, over: Option<&Mesh>) -> Result<Lowered, pipeline::Error> {
    ProgramFile::open(path)?.lower(over, &Rules::standard(), &mut Stages::default())
}

#[test]
fn a_graph_and_a_saved_program_compile_without_a_recipe() {
    let folder = tempfile::tempdir().unwrap();
    let graph = lowered(&graph_file(folder.path()), Some(&mesh("data=2,model=2"))).unwrap();
    assert_eq!((graph.name.as_str(), graph.parameters), ("one_product", 32));
    // 4 rows, 8 terms, 4 columns, a product and a sum each.
    assert_eq!(graph.cost().unwrap().model.dots, 256.0);
    let module = folder.path().join("saved.hlo.pb");
    fs::write(&module, graph.program.bytes()).unwrap();
    fs::write(
        folder.path().join("saved.json"),
        graph.program.signature.json(),
    )
    .unwrap();
    let saved = lowered(&module, None).unwrap();
    assert_eq!(saved.program.fingerprint(), graph.program.fingerprint());
    assert_eq!((saved.name.as_str(), saved.parameters), ("one_product", 32));
    assert!(saved.graph.is_none() && saved.cost().is_none());

    let compile = |lowered: Lowered, target: &str| {
        let (target, mut stages) = (target.parse().unwrap(), Stages::default());
        compile_program(
            lowered,
            &target,
            Partitioner::Shardy,
            &settings(),
            &mut stages,
        )
    };
    let of_graph = compile(graph, "cpu:4").unwrap();
    assert_eq!(of_graph.flops.model_per_step, Some(256));
    let of_saved = compile(saved.clone(), "cpu:4").unwrap();
    assert_eq!(of_saved.flops.model_per_step, None);
    let hardware = |compiled: &pipeline::Compiled| compiled.flops.hardware_per_device.unwrap();
    assert_eq!(hardware(&of_saved), hardware(&of_graph));
    assert_eq!(of_saved.memory, of_graph.memory);

    let message = compile(saved, "cpu:8").err().unwrap().to_string();
    assert!(
        message.contains("2 x 2 = 4 devices, but the target has 8"),
        "{message}"
    );
}

#[test]
fn the_text_of_a_recipe_s_graph_is_its_program() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = job("cpu:8").lower(8, &mut Stages::default()).unwrap();
    let path = folder.path().join("prot-t5-tiny.graph");
    fs::write(&path, recipe.graph.as_ref().unwrap().to_text()).unwrap();
    let read = lowered(&path, Some(&recipe.mesh)).unwrap();
    assert_eq!(read.program.fingerprint(), recipe.program.fingerprint());
    assert_eq!(read.parameters, recipe.parameters);
    assert_eq!(read.cost(), recipe.cost());
}

#[test]
fn what_is_not_a_program_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let graph = graph_file(folder.path());
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let refusal = |path: &Path, over: Option<&str>| {
        let over = over.map(mesh);
        lowered(path, over.as_ref()).err().unwrap().to_string()
    };
    let program = lowered(&graph, Some(&mesh("data=2,model=2")))
        .unwrap()
        .program;
    let bytes = program.bytes();
    let lonely = file("lonely.hlo.pb", bytes);
    let other_mesh = file("other_mesh.hlo.pb", bytes);
    file("other_mesh.json", program.signature.json().as_bytes());
    let cut = file("cut.hlo.pb", &bytes[..bytes.len() / 2]);
    let json = file("cut.json", program.signature.json().as_bytes());
    let stranger = file("stranger.hlo.pb", bytes);
    let eight = lowered(&graph, Some(&mesh("data=4,model=2")))
        .unwrap()
        .program;
    file("stranger.json", eight.signature.json().as_bytes());
    let text = fs::read_to_string(&graph).unwrap();
    let broken = file(
        "broken.txt",
        text.replacen("role=weight", "role=wait", 1).as_bytes(),
    );
    let bad = text.replacen("f32[embed=8, mlp=4]", "f32[embed=8, mlp=5]", 1);
    let not_well_formed = file("bad.txt", bad.as_bytes());
    for (path, over, message) in [
        (
            folder.path(),
            None,
            " is a folder; a program is either a graph's text",
        ),
        (&folder.path().join("gone.hlo.pb"), None, "cannot read "),
        (
            &file("some.txt", b"hello"),
            None,
            " is neither a recipe (.toml) nor a program",
        ),
        (
            &file("some.bin", &[0xff, 0xfe]),
            None,
            " is not text, and its name does not end in",
        ),
        (
            &file("hlo.txt", b"HloModule jit_f"),
            None,
            " is HLO as text, which only XLA's own",
        ),
        (
            &json,
            None,
            " is JSON; the signature of a program is read with its module",
        ),
        (&lonely, None, "lonely.json, the signature of "),
        (
            &other_mesh,
            Some("data=4,model=1"),
            "was lowered for the mesh data=2,model=2 and cannot",
        ),
        (
            &cut,
            None,
            "cut.hlo.pb: this is not an HLO module that ribosome saved: ",
        ),
        (
            &stranger,
            None,
            "the module and its signature belong to different programs: the mesh is ",
        ),
        (
            &graph,
            None,
            "one_product is a graph, which needs a mesh; give one with --mesh",
        ),
        (&graph, Some("data=2,modle=2"), "did you mean `model`?"),
        (
            &graph,
            Some("data=8,model=1"),
            "batch=4 over data=8 leaves 4",
        ),
        (
            &broken,
            Some("data=2,model=2"),
            "broken.txt: line 2, column ",
        ),
        (
            &not_well_formed,
            Some("data=2,model=2"),
            "the graph is not well formed",
        ),
    ] {
        let found = refusal(path, over);
        assert!(found.contains(message), "{}: {found}", path.display());
    }
}
