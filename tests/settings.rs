//! Whatever the value of a recipe's key, the result is a step or an error, never a panic. The test gives each key of each
//! family's small preset values that nobody should use.

use ribosome::hlo::{Layout, lower};
use ribosome::sharding::{Mesh, Rules};
use ribosome::train::catalog::CATALOG;
use ribosome::train::recipe::Recipe;
use toml::Value;

/// The dotted keys in `table`, and their values.
fn keys(table: &toml::Table, below: &str) -> Vec<(String, Value)> {
    let inner = table.iter().map(|(name, value)| match value {
        Value::Table(inner) => keys(inner, &format!("{below}{name}.")),
        value => vec![(format!("{below}{name}"), value.clone())],
    });
    inner.flatten().collect()
}

/// Values of the type of `value`, and some of other types.
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

/// The result of setting `key` to `value`: the number of computations of the step, or the error.
fn outcome(recipe: &Recipe, key: &str, value: &str) -> Result<usize, String> {
    let recipe = recipe.set(key, value).map_err(|error| error.to_string())?;
    let step = recipe.step().map_err(|error| error.to_string())?;
    let graph = step.build().map_err(|error| error.to_string())?.graph;
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
        // In the decoder, 16 of the 32 buckets are exact: a logarithm of 1 would be divided by.
        (
            "prot-t5-tiny",
            "model.relative_attention_max_distance",
            "16",
            "must be more than half the number of buckets",
        ),
        (
            "prot-albert-tiny",
            "model.num_hidden_layers",
            "99999999",
            "at most 65536",
        ),
        (
            "prot-albert-tiny",
            "model.inner_group_num",
            "99999999",
            "at most 1024",
        ),
    ] {
        let error = said(preset, key, value);
        assert!(error.contains(expected), "{key}: {error}");
    }
}
