//! The numeric references, and that a wrong number is seen.

mod common;

use std::path::{Path, PathBuf};

use ribosome::models::Families;
use ribosome::verify::{Device, verify};

/// The cases in a folder below golden/.
fn cases(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden")
        .join(folder);
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|it| it == "safetensors"))
        .collect();
    files.sort();
    files
}

/// A device for which programs compile quickly; `.ci/run` verifies the same cases as `ribosome` compiles them.
fn device() -> Device {
    let device = Device::of(common::cpu(1)).unwrap();
    Device {
        config: common::quick(device.config),
        ..device
    }
}

fn are_met(cases: &[PathBuf]) {
    let device = device();
    for case in cases {
        let verified = verify(case, &device, &Families::standard())
            .unwrap_or_else(|error| panic!("{}: {error}", case.display()));
        let far: Vec<_> = verified
            .tensors
            .iter()
            .filter(|tensor| !tensor.ok)
            .collect();
        assert!(verified.ok, "{}: {far:#?}", verified.case);
    }
}

#[test]
fn every_reference_is_met() {
    let cases = cases("numeric");
    assert_eq!(cases.len(), 38);
    are_met(&cases);
}

/// The same computations with other sizes, options and lengths (golden/numeric/make_cases.py).
#[test]
fn nothing_depends_on_the_sizes() {
    let cases = cases("numeric/second");
    assert_eq!(cases.len(), 23);
    are_met(&cases);
}

/// Whether the case `name` is met with one number of `tensor` moved by a thousandth.
fn is_met_with_a_wrong(tensor: &str, name: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let mut cases = cases("numeric").into_iter();
    let source = cases.find(|path| path.ends_with(name)).unwrap();
    let mut bytes = std::fs::read(source).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let json: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let offsets = &json[tensor]["data_offsets"];
    let start = 8 + header + offsets[0].as_u64().unwrap() as usize;
    let value = f32::from_le_bytes(bytes[start..start + 4].try_into().unwrap());
    bytes[start..start + 4].copy_from_slice(&(value + 1e-3).to_le_bytes());
    let path = folder.path().join("moved.safetensors");
    std::fs::write(&path, bytes).unwrap();
    verify(&path, &device(), &Families::standard()).unwrap().ok
}

/// What is wrong must be seen, or the comparison shows nothing.
#[test]
fn a_wrong_weight_is_seen() {
    let weight = "weight.encoder.block.1.layer.1.DenseReluDense.wo.weight";
    assert!(!is_met_with_a_wrong(weight, "t5_relu_tied.safetensors"));
}

#[test]
fn a_wrong_gradient_of_a_segment_is_seen() {
    let gradient = "grad_seg2.transformer.layers.1.pos_ff.CoreNet.3.weight";
    assert!(!is_met_with_a_wrong(
        gradient,
        "transfo_xl_plain.safetensors"
    ));
}
