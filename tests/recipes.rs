//! The published recipes, each of which lowers in every phase. Also the errors of invalid recipes, which name the file, the
//! line and the nearest key; snapshots in `tests/snapshots` hold them (`INSTA_UPDATE=always cargo test --test recipes`).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use assert_cmd::Command;
use insta::assert_snapshot;
use ribosome::models::presets::presets;
use ribosome::sharding::{Mesh, Target};
use ribosome::train::recipe::Recipe;
use serde_json::Value;

/// The files in `recipes/`.
fn files() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
    let files = fs::read_dir(folder).unwrap();
    let mut files: Vec<String> = files
        .map(|entry| entry.unwrap().path().to_str().unwrap().to_string())
        .filter(|file| file.ends_with(".toml"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_phase_lowers_for_its_machine() {
    for file in files() {
        let recipe = Recipe::load(&file).unwrap();
        assert!(recipe.data.is_some(), "{file} says what it learned from");
        for number in 1..=recipe.phases.len().max(1) {
            let phase = recipe.phase(number).unwrap();
            let target: Target = phase.target.as_ref().unwrap().parse().unwrap();
            let output = Command::cargo_bin("ribosome")
                .unwrap()
                .args(["lower", &file, "--phase", &number.to_string()])
                .args(["--json", "--emit", "sharding"])
                .output()
                .unwrap();
            let problem = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{file}, {number}: {problem}");
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            let mesh = Mesh::parse(report["mesh"].as_str().unwrap()).unwrap();
            assert_eq!(Some(mesh.devices()), target.devices(), "{file}, {number}");
            assert_eq!(report["model"], recipe.name);
            assert_eq!(report["parameters"], phase.model.parameters());
            // Where the tokens lie: rows of the phase's own batch and length.
            let length = phase.objective.row_tokens(phase.length);
            let tokens = format!("s32[batch={}, length={length}]", phase.batch);
            let text = report["text"].as_str().unwrap();
            assert!(
                text.contains(&tokens),
                "{file}, {number}: no {tokens} in {text}"
            );
        }
    }
}

/// Each recipe is a published run of a preset, and every published preset has a recipe.
#[test]
fn every_published_model_has_a_recipe() {
    let base = |file: String| {
        let table: toml::Table = fs::read_to_string(&file).unwrap().parse().unwrap();
        table["base"].as_str().unwrap().to_string()
    };
    let bases: BTreeSet<String> = files().into_iter().map(base).collect();
    let published = presets().into_iter().map(|preset| preset.name.to_string());
    let published: BTreeSet<String> = published.filter(|name| !name.ends_with("-tiny")).collect();
    assert_eq!(bases, published);
}

/// The error of `ribosome lower` for the recipe file `text`, which must be a usage error.
fn refused(text: &str, more: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("run.toml"), text).unwrap();
    let output = Command::cargo_bin("ribosome")
        .unwrap()
        .current_dir(folder.path())
        .args(["lower", "run.toml", "--on", "cpu:1"])
        .args(more)
        .output()
        .unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(output.stdout.is_empty());
    message
}

/// A recipe with `lines` after its first one.
fn recipe(lines: &str) -> String {
    format!("base = \"prot-bert-tiny\"\n{lines}")
}

#[test]
fn an_unknown_key_gives_its_line_and_the_nearest() {
    assert_snapshot!(refused(&recipe("batch = 8\nlenght = 3\nseed = 1\n"), &[]));
    assert_snapshot!(refused(
        &recipe("# A comment.\n\n[model]\nhiden_size = 64\n"),
        &[]
    ));
    assert_snapshot!(refused(&recipe("[optimizer]\nname = \"lamm\"\n"), &[]));
    // Another optimizer has other keys.
    let lines = "[optimizer]\nname = \"adamw\"\nweight_decai = 0.1\n";
    assert_snapshot!(refused(&recipe(lines), &[]));
}

#[test]
fn a_value_of_another_type_gives_its_line() {
    assert_snapshot!(refused(&recipe("seed = 1\nbatch = \"many\"\n"), &[]));
    assert_snapshot!(refused(&recipe("[model]\nhidden_size = 0.5\n"), &[]));
    assert_snapshot!(refused(&recipe("batch = \n"), &[]));
}

#[test]
fn a_later_phase_is_checked_with_the_first() {
    let phases = "[[phases]]\nsteps = 5\n[[phases]]\nstesp = 6\n";
    assert_snapshot!(refused(&recipe(phases), &[]));
    let phases = "[[phases]]\nsteps = 5\n[[phases]]\n[phases.schedule]\nwarmup = true\n";
    assert_snapshot!(refused(&recipe(phases), &[]));
}

#[test]
fn a_phase_is_one_of_the_recipe_s() {
    let phases = recipe("[[phases]]\nsteps = 5\n[[phases]]\nsteps = 6\n");
    assert_snapshot!(refused(&phases, &["--phase", "3"]));
    assert_snapshot!(refused(&phases, &["--phase", "0"]));
    assert_snapshot!(refused(&recipe(""), &["--phase", "2"]));
}

#[test]
fn a_recipe_has_a_base() {
    assert_snapshot!(refused("base = \"prot-brt-tiny\"\n", &[]));
    assert_snapshot!(refused("batch = 3\n", &[]));
}
