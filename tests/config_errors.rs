//! Whatever a key of a recipe is set to, the answer is a step or an error in the user's terms: it names the key as recipes
//! spell it, and shows neither the graph's rules (`C15`) nor ribosome's source.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use ribosome::train::catalog::CATALOG;
use ribosome::train::recipe::Recipe;
use toml::Value;

/// Values of every kind: small, odd, negative, beyond 32 and 64 bits, not finite, and of other types.
const VALUES: &[&str] = &[
    "0",
    "1",
    "3",
    "7",
    "-1",
    "-7",
    "2147483647",
    "99999999999",
    "9223372036854775807",
    "0.0",
    "0.5",
    "-0.5",
    "1.0",
    "1.5",
    "1e300",
    "-1e300",
    "1e-300",
    "nan",
    "inf",
    "-inf",
    "\"\"",
    "\"x\"",
    "gated-gelu",
    "true",
    "false",
    "[]",
    "[0]",
    "[5, 5]",
    "[-1]",
    "[0.5, 0.5]",
    "[\"x\"]",
    "{}",
    "{ a = 1 }",
    "1979-05-27",
];

/// The keys of `table`, with dots.
fn keys(table: &toml::Table, below: &str) -> Vec<String> {
    let inner = table.iter().map(|(name, value)| match value {
        Value::Table(inner) => keys(inner, &format!("{below}{name}.")),
        _ => vec![format!("{below}{name}")],
    });
    inner.flatten().collect()
}

/// What stops the step of `recipe` with `key` set to `value`, if anything does.
fn refusal(recipe: &Recipe, key: &str, value: &str) -> Option<String> {
    let said = |error: &dyn ToString| Some(error.to_string());
    let recipe = match recipe.set(key, value) {
        Err(error) => {
            // What stands before the message repeats what was asked for.
            let error = error.to_string();
            let asked = format!("--set {key}={value}: ");
            return Some(error.strip_prefix(&asked).unwrap_or(&error).to_string());
        }
        Ok(recipe) => recipe,
    };
    let step = match recipe.step() {
        Err(error) => return said(&error),
        Ok(step) => step,
    };
    match step.build() {
        Err(error) => said(&error),
        Ok(_) => None,
    }
}

/// Whether `text` shows a rule of the graph, as `C15`.
fn shows_a_rule(text: &str) -> bool {
    let mut words = text.split(|it: char| !it.is_ascii_alphanumeric());
    words.any(|word| {
        let digits = word.strip_prefix('C').unwrap_or_default();
        !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit())
    })
}

/// Terms of Rust and serde.
const JARGON: &[&str] = &[
    ".rs:",
    "invalid type",
    "invalid value",
    "usize",
    "variant",
    "u32",
    "u64",
    "i32",
    "f64 ",
    "wanted exactly",
];

#[test]
fn every_refusal_names_its_key() {
    // Optimizers and schedules treat a value alike whatever the model is.
    let mut seen = HashSet::new();
    let mut cases = Vec::new();
    for preset in &CATALOG {
        if !preset.name.ends_with("-tiny") {
            continue;
        }
        let recipe = Recipe::preset(preset.name).unwrap();
        let table: toml::Table = toml::to_string(&recipe).unwrap().parse().unwrap();
        for key in keys(&table, "") {
            let shared = ["model.", "objective.", "batch", "length", "microbatches"];
            let own = shared.iter().any(|it| key.starts_with(it));
            if seen.insert(key.clone()) || own {
                cases.push((recipe.clone(), key));
            }
        }
    }
    // Keys that these recipes leave out, and other optimizers and schedules.
    let others = [
        (
            "prot-t5-tiny",
            "batch=32",
            "clip_norm mesh target data vocabulary_file start about phases schedule.ramp schedule.first_step",
        ),
        (
            "prot-t5-tiny",
            "optimizer.name=adamw",
            "optimizer.beta1 optimizer.epsilon optimizer.debias",
        ),
        ("prot-t5-tiny", "optimizer.name=momentum", "optimizer.decay"),
        ("prot-bert-tiny", "batch=32", "optimizer.clamp"),
        ("protein-lm-tiny", "batch=32", "model.head_act"),
        ("prot-txl-tiny", "batch=32", "model.tie_projs"),
        (
            "prot-t5-tiny",
            "schedule={ name = \"cosine\", rate = 0.01, total = 9 }",
            "schedule.rate schedule.total schedule.warmup",
        ),
    ];
    for (preset, change, keys) in others {
        let (key, value) = change.split_once('=').unwrap();
        let recipe = Recipe::preset(preset).unwrap().set(key, value).unwrap();
        let keys = keys.split(' ').map(|key| (recipe.clone(), key.to_string()));
        cases.extend(keys);
    }
    let refused = AtomicUsize::new(0);
    let wrong = |(recipe, key): &(Recipe, String)| {
        let refusals = VALUES
            .iter()
            .filter_map(|value| Some((value, refusal(recipe, key, value)?)));
        let refusals: Vec<_> = refusals.collect();
        refused.fetch_add(refusals.len(), Ordering::Relaxed);
        let wrong = refusals.into_iter().filter(|(_, error)| {
            let jargon = JARGON.iter().any(|it| error.contains(it));
            !error.contains(key) || jargon || shows_a_rule(error)
        });
        let said =
            wrong.map(|(value, error)| format!("{} with {key} = {value}: {error}", recipe.name));
        said.collect::<Vec<_>>()
    };
    let (first, second) = cases.split_at(cases.len() / 2);
    let all = |part: &[_]| part.iter().flat_map(wrong).collect::<Vec<_>>();
    let wrong = std::thread::scope(|scope| {
        let other = scope.spawn(|| all(second));
        [all(first), other.join().unwrap()].concat()
    });
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    let (refused, tried) = (refused.into_inner(), cases.len() * VALUES.len());
    println!("{refused} of {tried} settings refused");
    assert!(refused > 6000, "{refused} of {tried} settings refused");
}
