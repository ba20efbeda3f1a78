//! The files that `examples/xla_rs` works on: a saved program and a saved run of it. The example's own reader and
//! comparison are tested here, with the CPU plugin in place of xla-rs, which needs a C++ library of its own.

mod common;

#[path = "../examples/xla_rs/src/case.rs"]
#[allow(dead_code)]
mod case;
#[path = "../examples/save_run.rs"]
mod save_run;

use std::path::Path;

use assert_cmd::Command;
use case::{Array, Port, Signature, compare, read_arrays};
use ribosome::graph::DType;
use ribosome::runtime::CompileConfig;
use ribosome::train::recipe::Recipe;

/// Saves the program and a run of the recipe `what` with other `settings` in `folder`, as the example's README does.
fn saved(what: &str, settings: &[(&str, &str)], folder: &Path) {
    let mut recipe = Recipe::load(what).unwrap();
    let mut command = Command::cargo_bin("ribosome").unwrap();
    command.args(["lower", what, "--on", "cpu:1", "--emit", "proto"]);
    for (key, value) in settings {
        recipe = recipe.set(key, value).unwrap();
        command.args(["--set", &format!("{key}={value}")]);
    }
    let output = command.current_dir(folder).output().unwrap();
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{problem}");
    save_run::save(&recipe, folder).unwrap();
}

/// What the bytes of a program give for `inputs`, which go in by their place alone. As xla-rs does it: for one device, with
/// no assignment of devices, and not under Shardy.
fn run(program: &Path, outputs: &[Port], inputs: &[Array]) -> Vec<Array> {
    let client = common::cpu(1);
    let config = CompileConfig {
        partitions: 1,
        ..CompileConfig::default()
    };
    let executable = (client.compile(&std::fs::read(program).unwrap(), &config)).unwrap();
    let put = |array: &Array| {
        let name = match array.dtype {
            safetensors::Dtype::I32 => DType::S32,
            safetensors::Dtype::U32 => DType::U32,
            safetensors::Dtype::F32 => DType::F32,
            other => panic!("the step takes no {other:?}"),
        };
        (client.buffer(&array.bytes, name, &array.dims, 0)).unwrap()
    };
    let arguments: Vec<_> = inputs.iter().map(put).collect();
    let found = executable.execute(&[arguments.iter().collect()]).unwrap();
    assert_eq!(found[0].len(), outputs.len());
    let fetch = |(port, buffer): (&Port, &ribosome::runtime::Buffer)| Array {
        dtype: port.dtype().unwrap(),
        dims: buffer.dims().unwrap(),
        bytes: buffer.to_host().unwrap(),
    };
    outputs.iter().zip(&found[0]).map(fetch).collect()
}

/// A step of XLNet takes everything that a step can: weights, optimizer state, a memory, targets, tokens, a seed and the
/// step's number.
#[test]
fn a_saved_run_is_that_of_the_saved_program() {
    let folder = tempfile::tempdir().unwrap();
    let name = "prot-xlnet-tiny";
    let small = [
        ("model.n_layer", "1"),
        ("batch", "4"),
        ("optimizer.name", "momentum"),
    ];
    saved(name, &small, folder.path());
    let file = |ending: &str| folder.path().join(format!("{name}.{ending}"));
    let signature = Signature::read(&file("json")).unwrap();
    let inputs = read_arrays(&file("inputs.safetensors"), &signature.inputs).unwrap();
    let expected = read_arrays(&file("outputs.safetensors"), &signature.outputs).unwrap();

    let found = run(&file("hlo.pb"), &signature.outputs, &inputs);
    let farthest = |found: &[Array]| {
        let gaps = compare(&signature.outputs, found, &expected).unwrap();
        assert_eq!(gaps.len(), signature.outputs.len());
        (gaps.into_iter()).max_by(|a, b| a.relative.total_cmp(&b.relative))
    };
    // The saved run was compiled by XLA's defaults, and this one otherwise: as far apart as two versions of XLA may be.
    let gap = farthest(&found).unwrap();
    println!("farthest: {gap:?}");
    assert!(gap.relative < 1e-5, "{gap:?}");

    // One wrong number is seen, and so is one that is no number.
    let place = signature.outputs.len() / 2;
    for (bytes, seen) in [
        (1e3f32, (|gap| gap > 1e-5) as fn(f64) -> bool),
        (f32::NAN, f64::is_nan),
    ] {
        let mut wrong = found.clone();
        wrong[place].bytes[..4].copy_from_slice(&bytes.to_le_bytes());
        let gap = farthest(&wrong).unwrap();
        assert_eq!(gap.name, signature.outputs[place].name);
        assert!(seen(gap.relative), "{gap:?}");
    }
}

#[test]
fn a_saved_run_must_fit_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("inputs.safetensors");
    let numbers = 1f32.to_le_bytes();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &numbers);
    safetensors::serialize_to_file([("a", view.unwrap())], None, &file).unwrap();
    let refused = |name: &str, dtype: &str, size| {
        let port = Port {
            name: name.into(),
            dtype: dtype.into(),
            axes: vec![("x".into(), size)],
        };
        format!("{:#}", read_arrays(&file, &[port]).unwrap_err())
    };
    assert!(refused("b", "f32", 1).contains("b"));
    assert!(refused("a", "s32", 1).ends_with("`a` is F32 [1], and the program has it as I32 [1]"));
    assert!(refused("a", "f32", 2).ends_with("`a` is F32 [1], and the program has it as F32 [2]"));

    let signature = folder.path().join("x.json");
    let text = r#"{ "mesh": "data=4,model=2", "inputs": [], "outputs": [] }"#;
    std::fs::write(&signature, text).unwrap();
    let error = format!("{:#}", Signature::read(&signature).unwrap_err());
    assert!(
        error.ends_with(
            "is for a mesh of data=4,model=2, and this example runs programs for one device; lower it with --on cpu:1"
        ),
        "{error}"
    );
}
