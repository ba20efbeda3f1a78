//! Modules of another frontend and of XLA's own compiler, through ribosome's modules and text.
//!
//! `tests/data/hlo/make.py` made the modules. Their texts are ribosome's; that XLA's parser takes each for the very
//! module it was printed from is shown by `python tests/hlo_parser.py tests/data/hlo/*.hlo.pb`.

use std::path::{Path, PathBuf};

use ribosome::hlo::proto;
use ribosome::hlo::{Module, analyse, text};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/hlo")
}

/// Each module's path and bytes, in the order of their names.
fn modules() -> Vec<(PathBuf, Vec<u8>)> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder())
        .expect("the folder of modules")
        .map(|entry| entry.expect("an entry of it").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "pb"))
        .collect();
    paths.sort();
    assert_eq!(paths.len(), 6, "modules in {}", folder().display());
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).expect("a module");
        (path, bytes)
    };
    paths.into_iter().map(read).collect()
}

fn decode(bytes: &[u8]) -> Module {
    proto::decode(bytes).expect("a module's bytes")
}

/// Byte for byte: no field of XLA's is lost on the way through ribosome's modules.
#[test]
fn modules_lose_nothing() {
    for (path, bytes) in modules() {
        let again = proto::encode(&decode(&bytes));
        assert!(again == bytes, "{} changed", path.display());
    }
}

/// To accept a changed text: `RIBOSOME_BLESS=1 cargo test --test hlo_text`, then tests/hlo_parser.py.
#[test]
fn texts_are_as_blessed() {
    let bless = std::env::var_os("RIBOSOME_BLESS").is_some();
    for (path, bytes) in modules() {
        let printed = text::print(&decode(&bytes));
        let path = path.with_extension("txt");
        if bless {
            std::fs::write(&path, &printed).expect("writing a text");
        }
        let blessed = std::fs::read_to_string(&path).expect("a module's text");
        let differs = printed.lines().zip(blessed.lines()).find(|(a, b)| a != b);
        assert!(
            printed == blessed,
            "{} changed, first at {differs:#?}\nif that is right: RIBOSOME_BLESS=1 cargo test --test hlo_text, \
             then python tests/hlo_parser.py tests/data/hlo/*.hlo.pb",
            path.display()
        );
    }
}

/// A module whose bytes were damaged is refused or read as another one; nothing ends the process.
#[test]
fn a_damaged_module_is_an_error_or_another_module() {
    let mesh = [("data".to_string(), 4), ("model".to_string(), 2)];
    let mut state: u64 = 1;
    let mut next = |below: usize| {
        // Knuth's MMIX generator; its high bits are the good ones.
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let (mut refused, mut read) = (0, 0);
    for (_, bytes) in modules() {
        for _ in 0..150 {
            let mut damaged = bytes.clone();
            for _ in 0..1 + next(4) {
                let at = next(damaged.len());
                match next(3) {
                    0 => damaged[at] = next(256) as u8,
                    1 => damaged[at] ^= 1 << next(8),
                    _ => damaged.truncate(at.max(1)),
                }
            }
            match proto::decode(&damaged) {
                Err(_) => refused += 1,
                Ok(module) => {
                    read += 1;
                    analyse(&module, &mesh);
                    text::print(&module);
                    proto::encode(&module);
                }
            }
        }
    }
    assert!(
        refused > 100 && read > 100,
        "{refused} refused, {read} read"
    );
}

/// XLA's CPU compiler writes groups in forms of its own; each must still name the axes.
#[test]
fn compiled_collectives_name_their_axes() {
    let mesh = [("data".to_string(), 4), ("model".to_string(), 2)];
    let path = folder().join("collectives_compiled.hlo.pb");
    let analysis = analyse(&decode(&std::fs::read(path).expect("a module")), &mesh);
    let rows: Vec<_> = analysis
        .collectives
        .iter()
        .map(|row| (row.kind.as_str(), row.axes.join("+"), row.bytes, row.count))
        .collect();
    // A device holds f32[8, 8], 256 bytes; gathering over model doubles it.
    let expected = [
        ("all-gather", "model", 512, 1),
        ("all-reduce", "data", 256, 1),
        ("all-to-all", "data", 256, 1),
        ("collective-permute", "data", 256, 1),
        ("reduce-scatter", "model", 256, 1),
    ];
    assert_eq!(
        rows,
        expected.map(|(kind, axes, bytes, count)| (kind, axes.to_string(), bytes, count))
    );

    let path = folder().join("layers_compiled.hlo.pb");
    let analysis = analyse(&decode(&std::fs::read(path).expect("a module")), &mesh);
    assert!(!analysis.collectives.is_empty());
    for row in &analysis.collectives {
        assert!(!row.axes.is_empty(), "{row:?}");
    }
    // Two loops over three layers; each layer has one product forwards, again when recomputed, and two backwards.
    assert_eq!(analysis.unknown_trips, Vec::<String>::new());
    let product = 2.0 * (8 * 16 * 32 * 32) as f64 / 8.0;
    assert_eq!(analysis.flops, 3.0 * 4.0 * product);
}
