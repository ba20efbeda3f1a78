//! The built-in recipes: each is complete, gives a source for each value, has the published values, and lowers in every
//! phase. Also the errors of invalid recipes, which name the file, the line and the nearest key; snapshots in
//! `tests/snapshots` hold them (`INSTA_UPDATE=always cargo test --test recipes`).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use assert_cmd::Command;
use insta::assert_snapshot;
use ribosome::sharding::{Mesh, Target};
use ribosome::train::catalog::{self, CATALOG, Entry};
use ribosome::train::recipe::Recipe;
use serde_json::Value;

/// The recipes of published runs.
fn published() -> impl Iterator<Item = &'static Entry> {
    CATALOG.iter().filter(|entry| !entry.is_tiny())
}

#[test]
fn every_phase_lowers_for_its_machine() {
    for entry in published() {
        let name = entry.name;
        let recipe = Recipe::preset(name).unwrap();
        assert!(recipe.data.is_some(), "{name} says what it learned from");
        for number in 1..=recipe.phases.len().max(1) {
            let phase = recipe.phase(number).unwrap();
            let target: Target = phase.target.as_ref().unwrap().parse().unwrap();
            let output = Command::cargo_bin("ribosome")
                .unwrap()
                .args(["lower", name, "--phase", &number.to_string()])
                .args(["--json", "--emit", "sharding"])
                .output()
                .unwrap();
            let problem = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name}, {number}: {problem}");
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            let mesh = Mesh::parse(report["mesh"].as_str().unwrap()).unwrap();
            assert_eq!(Some(mesh.devices()), target.devices(), "{name}, {number}");
            assert_eq!(report["model"], name);
            assert_eq!(report["parameters"], phase.model.parameters());
            // Where the tokens lie: rows of the phase's own batch and length.
            let length = phase.objective.row_tokens(phase.length);
            let tokens = format!("s32[batch={}, length={length}]", phase.batch);
            let text = report["text"].as_str().unwrap();
            assert!(
                text.contains(&tokens),
                "{name}, {number}: no {tokens} in {text}"
            );
        }
    }
}

/// The program has all files of `recipes/`, under their names.
#[test]
fn the_catalog_is_the_folder() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
    let files = fs::read_dir(folder).unwrap();
    let files: BTreeSet<(String, String)> = files
        .map(|entry| entry.unwrap().path())
        .map(|path| (catalog::name_of(&path), fs::read_to_string(&path).unwrap()))
        .collect();
    let known = CATALOG.iter();
    let known = known.map(|entry| (entry.name.to_string(), entry.text.to_string()));
    assert_eq!(files, known.collect());
}

/// The keys below `table`, with dots.
fn keys(table: &toml::Table, below: &str) -> BTreeSet<String> {
    let keys = table.iter().flat_map(|(key, value)| match value {
        toml::Value::Table(inner) => keys(inner, &format!("{below}{key}.")),
        _ => BTreeSet::from([format!("{below}{key}")]),
    });
    keys.collect()
}

/// Nothing that a recipe of ours decides comes from elsewhere: neither from a default nor from another file.
#[test]
fn our_recipes_state_every_key() {
    for entry in &CATALOG {
        let file: toml::Table = entry.text.parse().unwrap();
        assert!(!file.contains_key("base"), "{}", entry.name);
        let recipe = Recipe::preset(entry.name).unwrap();
        assert_eq!(recipe.name, entry.name);
        assert!(recipe.about.is_some(), "{}", entry.name);
        let whole: toml::Table = toml::to_string(&recipe).unwrap().parse().unwrap();
        let (stated, mut whole) = (keys(&file, ""), keys(&whole, ""));
        whole.remove("name");
        assert_eq!(stated, whole, "{}", entry.name);
    }
}

/// Each value of a published run has its source beside it.
#[test]
fn every_published_value_has_a_source() {
    for entry in published() {
        for line in entry.text.lines() {
            let value = line.split_once(" = ").map(|(key, _)| key);
            let is_value = value.is_some_and(|key| {
                key.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || b"_0123456789".contains(&byte))
            });
            let sourced = line
                .split_once("  # ")
                .is_some_and(|(_, source)| !source.is_empty());
            assert!(
                !is_value || sourced || line.starts_with("about = "),
                "{}: {line}",
                entry.name
            );
        }
    }
}

/// What was published of a phase, as far as it is known (`recipes/` says how well): recipe and phase; batch, length and steps; the
/// highest learning rate and the warm-up; which share of tokens is hidden (of XLNet how many are predicted, of Transformer-XL
/// none); dropout and weight decay.
type Published = (
    &'static str,
    usize,
    usize,
    usize,
    u64,
    f64,
    f64,
    f64,
    f64,
    f64,
);

#[rustfmt::skip]
const PUBLISHED: [Published; 17] = [
    //  recipe             phase  batch length    steps    rate    warm-up  hidden dropout decay
    ("prot-t5-xl-bfd",    1,  4_096,   512, 1_200_000, 0.01,    10_000.0, 0.15, 0.1,  0.0),
    ("prot-t5-xl-u50",    1,  2_048,   512,   991_500, 9.1e-4,  10_000.0, 0.15, 0.1,  0.0),
    ("prot-t5-xxl-bfd",   1,  2_048,   512,   920_000, 0.01,    10_000.0, 0.15, 0.0,  0.0),
    ("prot-t5-xxl-u50",   1,  2_048,   512,   343_000, 1.04e-3, 10_000.0, 0.15, 0.1,  0.0),
    ("prot-bert",         1, 15_360,   512,   300_000, 0.002,   40_000.0, 0.15, 0.0,  0.01),
    ("prot-bert",         2,  2_560, 2_048,   100_000, 0.002,   10_000.0, 0.15, 0.0,  0.01),
    ("prot-bert-bfd",     1, 32_768,   512,   800_000, 0.002,  140_000.0, 0.15, 0.0,  0.01),
    ("prot-bert-bfd",     2,  6_144, 2_048,   200_000, 0.002,   20_000.0, 0.15, 0.0,  0.01),
    ("prot-albert",       1, 10_752,   512,   150_000, 0.002,   40_000.0, 0.15, 0.0,  0.01),
    ("prot-albert",       2,  1_024, 2_048,   150_000, 0.002,    5_000.0, 0.15, 0.0,  0.01),
    ("prot-electra",      1,  9_216,   512,   400_000, 0.002,   40_000.0, 0.25, 0.0,  0.01),
    ("prot-electra",      2,  3_584, 1_024,   400_000, 0.002,   40_000.0, 0.25, 0.0,  0.01),
    ("prot-xlnet",        1,  1_024,   512,   847_000, 1e-5,    20_000.0, 85.0, 0.1,  0.01),
    // Their batches are the nearest that 1,024 cores divide to 22,464 and 44,928.
    ("prot-txl",          1, 22_528,   512,    31_300, 0.002,    5_500.0, 0.0,  0.15, 0.01),
    ("prot-txl-bfd",      1, 45_056,   512,    40_700, 0.0005,  13_600.0, 0.0,  0.15, 0.0),
    ("protein-lm-200m",   1,    128, 2_176, 1_000_000, 1e-4,     9_900.0, 0.15, 0.1,  0.01),
    ("protein-lm-3b",     1,    512, 2_176, 1_000_000, 1e-4,     9_900.0, 0.15, 0.1,  0.01),
];

/// The number under one of `keys` in `table`.
fn number(table: &toml::Value, keys: &[&str]) -> Option<f64> {
    let value = keys.iter().find_map(|key| {
        let found = key.split('.').try_fold(table, |table, key| table.get(key));
        found.cloned()
    });
    value.and_then(|value| value.as_float().or(value.as_integer().map(|it| it as f64)))
}

#[test]
fn recipes_have_the_published_values() {
    let mut checked = BTreeSet::new();
    for (name, phase, batch, length, steps, highest, rise, share, drops, decay) in PUBLISHED {
        let what = format!("{name}, phase {phase}");
        let recipe = Recipe::preset(name).unwrap().phase(phase).unwrap();
        checked.insert((name.to_string(), phase));
        assert_eq!(
            (recipe.batch, recipe.length, recipe.steps),
            (batch, length, steps),
            "{what}"
        );
        let table = toml::Value::try_from(&recipe).unwrap();
        let number = |keys: &[&str]| number(&table, keys);
        let warmup = number(&["schedule.warmup"]).unwrap();
        let mut rate = number(&["schedule.rate"]).unwrap();
        if table["schedule"]["name"].as_str() == Some("inverse-sqrt") {
            let first = number(&["schedule.first_step"]).unwrap_or(0.0);
            rate /= warmup.max(first).sqrt();
        }
        assert!((rate / highest - 1.0).abs() < 5e-3, "{what}: {rate}");
        assert_eq!(warmup, rise, "{what}");
        let hidden = ["probability", "noise_density", "predictions"];
        let hidden = hidden.map(|key| format!("objective.{key}"));
        let hidden = hidden.each_ref().map(String::as_str);
        assert_eq!(number(&hidden).unwrap_or(0.0), share, "{what}");
        let dropout = [
            "dropout",
            "dropout_rate",
            "hidden_dropout_prob",
            "discriminator.hidden_dropout_prob",
        ];
        let dropout = dropout.map(|key| format!("model.{key}"));
        let dropout = dropout.each_ref().map(String::as_str);
        assert!(recipe.dropout, "{what}");
        assert_eq!(number(&dropout), Some(drops), "{what}");
        assert_eq!(number(&["optimizer.weight_decay"]), Some(decay), "{what}");
    }
    let phases = published().flat_map(|entry| {
        let recipe = Recipe::preset(entry.name).unwrap();
        (1..=recipe.phases.len().max(1)).map(|phase| (entry.name.to_string(), phase))
    });
    assert_eq!(checked, phases.collect());
}

/// What hidden tokens become: the mask, another token, themselves.
#[test]
fn masks_are_the_published_ones() {
    let shares = |name: &str| {
        let table = toml::Value::try_from(Recipe::preset(name).unwrap()).unwrap();
        let share = |key: &str| number(&table, &[&format!("objective.{key}")]).unwrap_or(0.0);
        [
            share("masked"),
            share("random"),
            share("random_probability"),
        ]
    };
    for name in [
        "prot-bert",
        "prot-bert-bfd",
        "prot-albert",
        "protein-lm-200m",
        "protein-lm-3b",
    ] {
        assert_eq!(shares(name), [0.8, 0.1, 0.0], "{name}");
    }
    assert_eq!(shares("prot-electra"), [0.85, 0.0, 0.0]);
    for name in [
        "prot-t5-xl-bfd",
        "prot-t5-xl-u50",
        "prot-t5-xxl-bfd",
        "prot-t5-xxl-u50",
    ] {
        assert_eq!(shares(name), [0.0, 0.0, 0.1], "{name}");
    }
}

/// What recipes have in common, and would drift apart if one were changed alone.
#[test]
fn recipes_of_one_model_agree() {
    let part = |name: &str, key: &str| {
        let table: toml::Table = CATALOG
            .iter()
            .find(|entry| entry.name == name)
            .map(|entry| entry.text.parse().unwrap())
            .unwrap();
        table[key].clone()
    };
    let agree = |key: &str, names: &[&str]| {
        for name in names {
            assert_eq!(part(name, key), part(names[0], key), "{name}, {key}");
        }
    };
    agree("model", &["prot-t5-xl-bfd", "prot-t5-xl-u50"]);
    agree("model", &["prot-bert", "prot-bert-bfd"]);
    let t5 = [
        "prot-t5-xl-bfd",
        "prot-t5-xl-u50",
        "prot-t5-xxl-bfd",
        "prot-t5-xxl-u50",
        "prot-t5-tiny",
    ];
    agree("objective", &t5);
    agree("optimizer", &t5);
    agree(
        "objective",
        &[
            "prot-bert",
            "prot-bert-bfd",
            "prot-albert",
            "prot-bert-tiny",
            "prot-albert-tiny",
        ],
    );
    agree(
        "optimizer",
        &[
            "prot-bert",
            "prot-bert-bfd",
            "prot-albert",
            "prot-electra",
            "prot-bert-tiny",
            "prot-txl",
        ],
    );
    agree(
        "objective",
        &["protein-lm-200m", "protein-lm-3b", "protein-lm-tiny"],
    );
    agree(
        "optimizer",
        &["protein-lm-200m", "protein-lm-3b", "protein-lm-tiny"],
    );
}

/// Printed by the originals' code, or found from the sizes of their checkpoints.
#[test]
fn parameter_counts_are_the_published_ones() {
    let count = |name| Recipe::preset(name).unwrap().model.parameters();
    assert_eq!(count("prot-t5-xl"), 2_818_830_336);
    assert_eq!(count("prot-t5-xxl"), 11_274_553_344);
    assert_eq!(count("prot-bert"), 420_984_864);
    assert_eq!(count("prot-albert"), 224_347_300);
    assert_eq!(count("prot-xlnet"), 409_413_669);
    assert_eq!(count("protein-lm-200m"), 204_952_704);
    let millions = |name| (count(name) as f64 / 1e4).round() / 1e2;
    assert_eq!(millions("prot-txl"), 409.25);
    assert_eq!(millions("prot-txl-bfd"), 562.37);
    assert_eq!((count("protein-lm-3b") as f64 / 1e9).round(), 3.0);
    // Both networks less the tables they share: words, positions, types and their norm.
    let shared = (30 + 40_000 + 2 + 2) * 1024;
    assert_eq!(count("prot-electra"), 419_932_161 + 65_215_262 - shared);
}

/// What `ribosome` prints for `arguments` in a folder of its own.
fn printed(arguments: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::cargo_bin("ribosome")
        .unwrap()
        .current_dir(folder.path())
        .args(arguments.split(' '))
        .output()
        .unwrap();
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{problem}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn recipes_are_listed_and_shown_from_any_folder() {
    assert_snapshot!(printed("recipes"));
    assert_eq!(printed("recipes list"), printed("recipes"));
    let shown = printed("recipes show prot-t5-xl");
    assert_eq!(shown, CATALOG[0].text);
    assert!(shown.contains("1_200_000") && shown.contains("# card"));
    let list: Value = serde_json::from_str(&printed("recipes list --json")).unwrap();
    assert_eq!(list["recipes"].as_array().unwrap().len(), CATALOG.len());
    assert_eq!(list["recipes"][1]["model"], "prot-t5-xl");
}

/// A model's name and the name of its first recipe are the same run, under the name that was asked for.
#[test]
fn a_model_s_name_is_a_recipe_s() {
    for (asked, meant) in [
        ("prot-t5-xl", "prot-t5-xl-bfd"),
        ("prot-t5-xxl", "prot-t5-xxl-bfd"),
    ] {
        let recipe = Recipe::preset(asked).unwrap();
        assert_eq!(recipe.name, asked);
        let meant = Recipe::preset(meant).unwrap();
        let name = meant.name.clone();
        assert_eq!(Recipe { name, ..recipe }, meant);
    }
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

/// In a complete file, a wrong key is not mistaken for one that its removal would leave out.
#[test]
fn a_mistake_in_a_complete_file_gives_its_line() {
    let whole = fs::read_to_string("recipes/prot_bert_tiny.toml").unwrap();
    for (old, new, key) in [
        ("seed = 0", "seed = \"x\"", "seed is \"x\"; "),
        (
            "vocabulary = \"prot-bert\"",
            "vocabulary = \"x\"",
            "vocabulary is \"x\"; ",
        ),
        ("family = \"bert\"", "family = 3", "model.family is 3; "),
        (
            "hidden_size = 128",
            "hiden_size = 128",
            "unknown key `model.hiden_size`; ",
        ),
        (
            "warmup = 20.0",
            "warmup = true",
            "schedule.warmup is true; ",
        ),
    ] {
        let changed = whole.replacen(old, new, 1);
        let line = 1 + changed.lines().position(|line| line == new).unwrap();
        let error = refused(&changed, &[]);
        let expected = format!("error: run.toml, line {line}: {key}");
        assert!(error.starts_with(&expected), "{expected}\n{error}");
    }
    let error = refused(&whole.replacen("seed = 0\n", "", 1), &[]);
    assert!(
        error.contains("run.toml: the key `seed` is missing; "),
        "{error}"
    );
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
fn a_recipe_is_complete_or_has_a_base() {
    assert_snapshot!(refused("base = \"prot-brt-tiny\"\n", &[]));
    assert_snapshot!(refused("base = 3\n", &[]));
    assert_snapshot!(refused("batch = 3\n", &[]));
}
