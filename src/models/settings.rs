//! Ranges of settings. A mistake in a configuration is reported by the key that the user wrote, with its value and what is
//! allowed, before it becomes a mistake in a graph.
//!
//! Ranges are declared by key in one table per room ([`MODEL`] is the models'). A number whose key is not in the table is a
//! size if it is whole, and any finite number if it is real.

use std::fmt::{self, Display};

use serde::Serialize;

/// The numbers that a setting may have. Computations use `f32` and 32-bit integers, so no range exceeds theirs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    least: f64,
    most: f64,
    /// Whether `most` itself is excluded.
    open: bool,
}

impl Range {
    /// A size: at least 1.
    pub const SIZE: Range = Range::between(1.0, i32::MAX as f64);
    /// A count or an id: 0 or more.
    pub const COUNT: Range = Range::between(0.0, i32::MAX as f64);
    /// A count, which a negative value switches off.
    pub const OPTIONAL_COUNT: Range = Range::between(i32::MIN as f64, i32::MAX as f64);
    /// A probability.
    pub const PROBABILITY: Range = Range::between(0.0, 1.0);
    /// A rate of dropout or a decay of a moving average: 0 is off, and 1 would drop everything.
    pub const BELOW_ONE: Range = Range {
        least: 0.0,
        most: 1.0,
        open: true,
    };
    /// A number above 0 that `f32` can distinguish from 0.
    pub const POSITIVE: Range = Range::between(f32::MIN_POSITIVE as f64, f32::MAX as f64);
    /// 0 or more.
    pub const NOT_NEGATIVE: Range = Range::between(0.0, f32::MAX as f64);
    /// 0 or less.
    pub const NOT_POSITIVE: Range = Range::between(f32::MIN as f64, 0.0);
    /// Any number that `f32` holds.
    pub const FINITE: Range = Range::between(f32::MIN as f64, f32::MAX as f64);

    /// From `least` to `most`, both included.
    pub const fn between(least: f64, most: f64) -> Range {
        Range {
            least,
            most,
            open: false,
        }
    }

    /// Refuses the setting `key` if its `number` is outside this range. `value` is the number as the error shows it.
    ///
    /// # Errors
    /// A number outside it.
    pub fn require(self, key: &str, value: &dyn Display, number: f64) -> Result<(), SettingError> {
        let inside = (self.least..=self.most).contains(&number);
        let inside = inside && !(self.open && number == self.most);
        SettingError::require(inside, [(key, value)], || format!("it must be {self}"))
    }
}

/// `number` in digits, or in scientific notation if those would be many.
pub fn short(number: f64) -> String {
    match number.abs() {
        0.0 | 1e-4..1e10 => number.to_string(),
        _ => format!("{number:?}"),
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = |bound: f64| match bound.abs() {
            0.0 | 1e-4..1e10 => bound.to_string(),
            _ => format!("{bound:.1e}"),
        };
        let (least, most) = (bound(self.least), bound(self.most));
        match self.open {
            true => write!(f, "at least {least} and below {most}"),
            false => write!(f, "from {least} to {most}"),
        }
    }
}

/// Settings that are not allowed, one at a time or together.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}; {rule}", settings.iter().map(|(key, value)| format!("{key} is {value}")).collect::<Vec<_>>().join(" and "))]
pub struct SettingError {
    /// The settings: keys, dotted below the table that was checked, and values.
    pub settings: Vec<(String, String)>,
    /// What they must be.
    pub rule: String,
}

impl SettingError {
    /// Requires `holds`. Otherwise `settings` (keys and values) break `rule`.
    ///
    /// # Errors
    /// `holds` is false.
    pub fn require<const N: usize>(
        holds: bool,
        settings: [(&str, &dyn Display); N],
        rule: impl FnOnce() -> String,
    ) -> Result<(), Self> {
        match holds {
            true => Ok(()),
            false => Err(SettingError {
                settings: settings
                    .map(|(key, value)| (key.to_string(), value.to_string()))
                    .to_vec(),
                rule: rule(),
            }),
        }
    }

    /// The same with keys that start at the table which holds `table`.
    #[must_use]
    pub fn below(mut self, table: &str) -> Self {
        for (key, _) in &mut self.settings {
            *key = format!("{table}.{key}");
        }
        self
    }
}

/// Refuses a size that does not divide another, such as heads and the residual stream. Both come with their keys.
///
/// # Errors
/// A size that does not divide.
pub fn divides(part: (&str, usize), whole: (&str, usize)) -> Result<(), SettingError> {
    let settings: [(&str, &dyn Display); 2] = [(whole.0, &whole.1), (part.0, &part.1)];
    SettingError::require(whole.1.is_multiple_of(part.1), settings, || {
        format!("{} must be a multiple of {}", whole.0, part.0)
    })
}

/// Refuses an odd size of a residual stream in which one half holds sines of positions and the other cosines.
///
/// # Errors
/// An odd size.
pub fn even(key: &str, size: usize) -> Result<(), SettingError> {
    SettingError::require(size.is_multiple_of(2), [(key, &size)], || {
        "it must be even, because one half holds sines and the other cosines".into()
    })
}

/// Refuses the token id `id` (the setting `key`) outside a vocabulary of `vocab_size` ids.
///
/// # Errors
/// An id outside it.
pub fn token_id(key: &str, id: i32, vocab_size: usize) -> Result<(), SettingError> {
    let known = usize::try_from(id).is_ok_and(|id| id < vocab_size);
    SettingError::require(known, [(key, &id), ("vocab_size", &vocab_size)], || {
        format!("{key} must be from 0 to vocab_size - 1")
    })
}

/// The ranges of models' settings that are neither sizes nor plain real numbers, by Hugging Face's keys.
pub const MODEL: &[(&str, Range)] = &[
    ("attention_probs_dropout_prob", Range::BELOW_ONE),
    ("clamp_len", Range::OPTIONAL_COUNT),
    ("classifier_dropout_prob", Range::BELOW_ONE),
    ("decoder_start_token_id", Range::COUNT),
    ("discriminator_weight", Range::NOT_NEGATIVE),
    ("dropatt", Range::BELOW_ONE),
    ("dropout", Range::BELOW_ONE),
    ("dropout_rate", Range::BELOW_ONE),
    ("eos_token_id", Range::COUNT),
    ("hidden_dropout_prob", Range::BELOW_ONE),
    ("init_std", Range::NOT_NEGATIVE),
    ("initializer_range", Range::NOT_NEGATIVE),
    ("layer_norm_eps", Range::POSITIVE),
    ("layer_norm_epsilon", Range::POSITIVE),
    ("mem_len", Range::COUNT),
    ("pad_token_id", Range::COUNT),
    ("proj_init_std", Range::NOT_NEGATIVE),
    ("reuse_len", Range::COUNT),
    ("type_vocab_size", Range::COUNT),
];

/// Checks every number of `settings` against its range in `ranges`.
///
/// # Errors
/// The first number outside its range.
pub fn check_ranges(
    settings: &impl Serialize,
    ranges: &[(&str, Range)],
) -> Result<(), SettingError> {
    // Unlike JSON, TOML has NaN and the infinities.
    let unfit = |error: toml::ser::Error| SettingError {
        settings: vec![("a number".into(), "beyond 64 bits".into())],
        rule: error.to_string(),
    };
    check("", &toml::Value::try_from(settings).map_err(unfit)?, ranges)
}

fn check(key: &str, value: &toml::Value, ranges: &[(&str, Range)]) -> Result<(), SettingError> {
    let last = key.rsplit('.').next().unwrap_or(key);
    let listed = ranges.iter().find(|(name, _)| *name == last);
    let range = |other| listed.map_or(other, |(_, range)| *range);
    match value {
        toml::Value::Table(table) => table.iter().try_for_each(|(name, value)| match key {
            "" => check(name, value, ranges),
            _ => check(&format!("{key}.{name}"), value, ranges),
        }),
        toml::Value::Array(all) => all.iter().try_for_each(|value| check(key, value, ranges)),
        toml::Value::Integer(whole) => range(Range::SIZE).require(key, whole, *whole as f64),
        toml::Value::Float(real) => range(Range::FINITE).require(key, &short(*real), *real),
        _ => Ok(()),
    }
}

/// What a setting must be, from serde's `message` about its value.
pub fn rule(message: &str) -> String {
    match message.split_once(", expected ") {
        Some((unknown, known)) if unknown.starts_with("unknown ") => {
            let unknown = unknown.split('`').nth(1).unwrap_or_default();
            nearest(unknown, known, "it must be one of")
        }
        Some((_, expected)) => format!("it must be {}", kind(expected)),
        // A table in place of a word.
        None if message.starts_with("wanted exactly 1 element") => {
            format!("it must be {}", kind("a string"))
        }
        None => message.to_string(),
    }
}

/// The name nearest to `unknown` of those quoted in `known`, and all of them after `introduction`.
pub fn nearest(unknown: &str, known: &str, introduction: &str) -> String {
    let known: Vec<_> = known.split('`').skip(1).step_by(2).collect();
    let nearest = known
        .iter()
        .min_by_key(|name| strsim::damerau_levenshtein(unknown, name));
    match nearest {
        Some(name) => format!(
            "the nearest is `{name}`; {introduction} {}",
            known.join(", ")
        ),
        None => "this table has no keys".into(),
    }
}

/// What a Rust type is called in a configuration.
fn kind(expected: &str) -> &'static str {
    match expected {
        "usize" | "u64" => "a whole number that is not negative",
        "u32" => "a whole number from 0 to 4294967295",
        "i32" => "a whole number from -2147483648 to 2147483647",
        "i64" => "a whole number",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list in brackets",
        "a map" => "a table",
        _ if expected.contains("struct ") || expected.contains("tagged enum") => "a table",
        _ => "text in quotes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Settings {
        size: usize,
        real: f64,
        dropout: f64,
        inner: Inner,
    }

    #[derive(Serialize)]
    struct Inner {
        cutoffs: Vec<usize>,
        none: Option<f64>,
    }

    fn said(change: impl FnOnce(&mut Settings)) -> String {
        let inner = Inner {
            cutoffs: vec![3],
            none: None,
        };
        let mut settings = Settings {
            size: 1,
            real: -1.0,
            dropout: 0.0,
            inner,
        };
        change(&mut settings);
        check_ranges(&settings, MODEL)
            .err()
            .map_or(String::new(), |error| error.to_string())
    }

    #[test]
    fn numbers_outside_their_range_are_named() {
        assert_eq!(said(|_| ()), "");
        assert_eq!(
            said(|it| it.size = 0),
            "size is 0; it must be from 1 to 2147483647"
        );
        assert_eq!(
            said(|it| it.real = f64::NAN),
            "real is NaN; it must be from -3.4e38 to 3.4e38"
        );
        assert_eq!(
            said(|it| it.dropout = 1.0),
            "dropout is 1; it must be at least 0 and below 1"
        );
        assert_eq!(
            said(|it| it.inner.cutoffs = vec![3, 0]),
            "inner.cutoffs is 0; it must be from 1 to 2147483647"
        );
        assert_eq!(
            said(|it| it.inner.none = Some(1e39)),
            "inner.none is 1e39; it must be from -3.4e38 to 3.4e38"
        );
        assert!(said(|it| it.size = usize::MAX).starts_with("a number is beyond 64 bits"));
    }

    #[test]
    fn keys_are_those_of_the_whole() {
        let error = SettingError::require(false, [("a", &1), ("b", &2)], || "a must be b".into());
        let error = error.unwrap_err().below("generator").below("model");
        assert_eq!(
            error.to_string(),
            "model.generator.a is 1 and model.generator.b is 2; a must be b"
        );
    }
}
