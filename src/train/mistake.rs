//! The mistake in a recipe, in words: the key, its value, what it must be, and the line of the file.

use toml::{Table, Value};

use crate::models::settings::{nearest, rule};

/// How the message about a missing key begins.
pub(super) const MISSING: &str = "the key ";

/// The message of `error` in one line, without serde's terms. `patch` holds the settings that caused it. `mistake` returns
/// the error that other settings would cause in their place.
pub(super) fn explained(
    error: &toml::de::Error,
    patch: &Table,
    mistake: impl Fn(Table) -> Option<toml::de::Error>,
) -> String {
    let text = error.to_string();
    // A line with the table follows the message.
    let (message, table) = text.trim().split_once('\n').unwrap_or((text.trim(), ""));
    if let Some(name) = message.strip_prefix("missing field ") {
        let table = table.trim().trim_start_matches("in ");
        return match table {
            "" => format!("{MISSING}{name} is missing"),
            _ => format!("{MISSING}{name} is missing in {table}"),
        };
    }
    // Serde loses the key inside a table whose kind depends on one of its keys. The culprit is the deepest setting whose
    // removal changes the error. A key that selects the kind is tried last, because its removal changes any error.
    let mut all = settings(patch);
    let selects = |key: &[String]| key.last().is_some_and(|it| it == "name" || it == "family");
    all.sort_by_key(|(key, _)| (std::cmp::Reverse(key.len()), selects(key)));
    let culprit = all.into_iter().find(|(key, _)| {
        mistake(removed(patch, key)).is_none_or(|other| other.to_string() != text)
    });
    if let Some(("unknown field", names)) = message.split_once(" `") {
        return unknown_key(names, culprit);
    }
    let said = rule(message);
    match culprit {
        Some((key, value)) => format!("{} is {value}; {said}", key.join(".")),
        None => format!("{said} {table}").trim().to_string(),
    }
}

/// An unknown key, with the nearest known one. `names` holds both as serde lists them.
fn unknown_key(names: &str, culprit: Option<(Vec<String>, Value)>) -> String {
    let (unknown, known) = names.split_once('`').unwrap_or((names, ""));
    let key = culprit.map_or(unknown.to_string(), |(key, _)| key.join("."));
    format!(
        "unknown key `{key}`; {}",
        nearest(unknown, known, "the keys are")
    )
}

/// The settings in `table` with their keys, tables included.
fn settings(table: &Table) -> Vec<(Vec<String>, Value)> {
    let below = table.iter().flat_map(|(name, value)| {
        let inner = value.as_table().map(settings).unwrap_or_default();
        let inner = inner.into_iter();
        let named = |(key, value)| ([vec![name.clone()], key].concat(), value);
        [(vec![name.clone()], value.clone())]
            .into_iter()
            .chain(inner.map(named).collect::<Vec<_>>())
    });
    below.collect()
}

/// `table` without the setting `key`.
fn removed(table: &Table, key: &[String]) -> Table {
    let mut table = table.clone();
    match key {
        [name] => {
            table.remove(name);
        }
        [name, rest @ ..] => {
            if let Some(Value::Table(inner)) = table.get_mut(name) {
                *inner = removed(inner, rest);
            }
        }
        [] => {}
    }
    table
}

/// The first line, from 1, with which the beginning of `text` has the mistake `found`, according to `mistake`.
pub(super) fn line_of(
    text: &str,
    found: &str,
    mistake: impl Fn(&str) -> Option<String>,
) -> Option<usize> {
    let ends = text.match_indices('\n').map(|(at, _)| at + 1);
    let mut ends = ends.chain([text.len()]);
    let line = ends.position(|end| mistake(&text[..end]).as_deref() == Some(found));
    line.map(|before| before + 1)
}
