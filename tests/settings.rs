//! Whatever a key of a recipe is set to, there is a step or an error, and no panic: each key of each family's small
//! preset is given values that nobody should give it.

use ribosome::graph::Graph;
use ribosome::hlo::{Layout, lower};
use ribosome::sharding::{Mesh, Rules};
use ribosome::train::catalog::CATALOG;
use ribosome::train::recipe::Recipe;
use toml::Value;

/// The keys below `table`, with dots, and what they are set to.
fn keys(table: &toml::Table, below: &str) -> Vec<(String, Value)> {
    let inner = table.iter().map(|(name, value)| match value {
        Value::Table(inner) => keys(inner, &format!("{below}{name}.")),
        value => vec![(format!("{below}{name}"), value.clone())],
    });
    inner.flatten().collect()
}

/// Values of the right kind for a key that is `value` now, and some of another.
fn wild(value: &Value) -> &'static [&'static str] {
    match value {
        Value::Integer(_) => &[
            "0",
            "1",
            "7",
            "-1",
            "2147483647",
            "99999999999",
            "9223372036854775807",
            "0.5",
        ],
        Value::Float(_) => &["0.0", "-0.5", "1e300", "nan", "inf", "7", "\"x\""],
        Value::Boolean(_) => &["true", "false", "1"],
        Value::Array(_) => &[
            "[]",
            "[0]",
            "[5, 5]",
            "[200]",
            "[-1]",
            "[3, 2]",
            "[0.5, 0.5, 2.0]",
        ],
        _ => &[
            "\"\"",
            "\"gelu\"",
            "\"relu\"",
            "\"gated-gelu\"",
            "\"adafactor\"",
            "0",
        ],
    }
}

/// How far the recipe comes with `key` set to `value`: its step's instructions, or what stopped it.
fn outcome(recipe: &Recipe, key: &str, value: &str) -> Result<usize, String> {
    let recipe = recipe.set(key, value).map_err(|error| error.to_string())?;
    let step = recipe.step().map_err(|error| error.to_string())?;
    let graph = step.build().map_err(|error| error.to_string())?.graph;
    let graph = Graph::check(graph).map_err(|errors| format!("{errors:?}"))?;
    let layout = Layout {
        mesh: &Mesh::parse("data=2,model=1").unwrap(),
        rules: &Rules::standard(),
    };
    let program = lower(&graph, "step", layout).map_err(|error| error.to_string())?;
    Ok(program.module().computations.len())
}

/// How many wild settings of the preset `name` give a step, and how many an error.
fn tried(name: &str) -> (usize, usize) {
    let recipe = Recipe::preset(name).unwrap();
    let table: toml::Table = toml::to_string(&recipe).unwrap().parse().unwrap();
    let (mut steps, mut errors) = (0, 0);
    for (key, now) in keys(&table, "") {
        for value in wild(&now) {
            // A value that the key cannot have is refused by the name of the key.
            if let Err(error) = recipe.set(&key, value) {
                let (error, end) = (error.to_string(), key.rsplit('.').next().unwrap());
                assert!(error.contains(end), "{name} with {key} = {value}: {error}");
            }
            match outcome(&recipe, &key, value) {
                Ok(_) => steps += 1,
                Err(error) => {
                    assert!(!error.is_empty(), "{name} with {key} = {value}");
                    errors += 1;
                }
            }
        }
    }
    (steps, errors)
}

#[test]
fn no_setting_makes_a_panic() {
    let tiny = CATALOG.iter().filter(|entry| entry.is_tiny());
    let tiny = tiny.map(|entry| entry.name);
    std::thread::scope(|scope| {
        let runs: Vec<_> = tiny
            .map(|name| (name, scope.spawn(|| tried(name))))
            .collect();
        assert_eq!(runs.len(), 7);
        for (name, run) in runs {
            let (steps, errors) = run.join().unwrap_or_else(|_| panic!("{name} panicked"));
            println!("{name}: {steps} steps, {errors} errors");
            assert!(steps > 80 && errors > 80, "{name}: {steps}, {errors}");
        }
    });
}

#[test]
fn wild_settings_are_explained() {
    let said = |preset: &str, key: &str, value: &str| {
        outcome(&Recipe::preset(preset).unwrap(), key, value).unwrap_err()
    };
    for (preset, key, value, expected) in [
        (
            "prot-t5-tiny",
            "model.vocab_size",
            "1",
            "set model.vocab_size to at least",
        ),
        (
            "prot-t5-tiny",
            "objective.first_random",
            "-1",
            "objective.first_random is -1",
        ),
        (
            "prot-t5-tiny",
            "length",
            "99999999",
            "take --length 16777216 or less",
        ),
        (
            "prot-albert-tiny",
            "model.num_hidden_layers",
            "99999999",
            "more than 65536",
        ),
        (
            "prot-albert-tiny",
            "model.inner_group_num",
            "99999999",
            "more than 1024",
        ),
    ] {
        let error = said(preset, key, value);
        assert!(error.contains(expected), "{key}: {error}");
    }
}
