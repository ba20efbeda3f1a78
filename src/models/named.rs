//! Reading a value of one of several kinds from a table that names the kind: `family = "t5"` of models, `name = "masked-lm"`
//! of objectives.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, Error};

/// The known kinds of `T`, by name.
#[derive(Clone, Debug)]
pub struct Named<T> {
    tag: &'static str,
    kinds: Vec<(&'static str, Reader<T>)>,
}

/// Reads a kind's settings from the table at a recipe's key.
type Reader<T> = fn(&str, toml::Table) -> Result<T, toml::de::Error>;

impl<T> Named<T> {
    /// No kinds yet. A table names its kind with the key `tag`.
    pub fn new(tag: &'static str) -> Self {
        Named {
            tag,
            kinds: Vec::new(),
        }
    }

    /// Adds a kind whose settings are a `C`. It replaces one of the same `name`.
    pub fn with<C: DeserializeOwned + Into<T>>(mut self, name: &'static str) -> Self {
        self.kinds.retain(|(known, _)| *known != name);
        self.kinds.push((name, |below, settings| {
            // Nested below its key, so that errors name it.
            let table = toml::Table::from_iter([(below.to_string(), settings.into())]);
            let read: BTreeMap<String, C> = table.try_into()?;
            let missing = || Error::custom(format!("missing field `{below}`"));
            read.into_values()
                .next()
                .map(Into::into)
                .ok_or_else(missing)
        }));
        self
    }

    /// The names, in the order in which they were added.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.kinds.iter().map(|(name, _)| *name)
    }

    /// The `T` in `value`, the table at a recipe's key `below`.
    ///
    /// # Errors
    /// A missing or unknown name, an unknown key, or a value of the wrong kind, each with its place.
    pub fn read(&self, below: &str, value: toml::Value) -> Result<T, toml::de::Error> {
        let tag = self.tag;
        let wrong = |message: String| Error::custom(format!("{message}\nin `{below}`"));
        let mut settings = match value {
            toml::Value::Table(settings) => settings,
            other => {
                let kind = other.type_str();
                return Err(wrong(format!("invalid type: {kind}, expected a map")));
            }
        };
        let name = match settings.remove(tag) {
            Some(toml::Value::String(name)) => name,
            Some(other) => {
                let kind = other.type_str();
                return Err(wrong(format!("invalid type: {kind}, expected a string")));
            }
            None => return Err(wrong(format!("missing field `{tag}`"))),
        };
        match self.kinds.iter().find(|(known, _)| *known == name) {
            Some((_, read)) => read(below, settings),
            None => {
                let known: Vec<_> = self.names().map(|known| format!("`{known}`")).collect();
                let known = known.join(", ");
                Err(wrong(format!(
                    "unknown variant `{name}`, expected one of {known}"
                )))
            }
        }
    }
}

/// The message that `name` is not one of the `known`, in serde's words.
pub fn unknown<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> String {
    let known: Vec<_> = known.map(|known| format!("`{known}`")).collect();
    format!(
        "unknown variant `{name}`, expected one of {}",
        known.join(", ")
    )
}
