//! Reads the options that a case was created with.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Case, VerifyError};

/// Options of a case. None is ignored silently.
pub(super) struct Options<'c> {
    case: &'c Case,
    given: Map<String, Value>,
    read: BTreeSet<String>,
}

impl<'c> Options<'c> {
    /// The argument `key` of the case.
    pub(super) fn of(case: &'c Case, key: &str) -> Self {
        let given = case.arguments.get(key).and_then(Value::as_object);
        Options {
            case,
            given: given.cloned().unwrap_or_default(),
            read: BTreeSet::new(),
        }
    }

    /// The option `key` as parsed by `read`; `default` if it is not given or is `None`.
    pub(super) fn get<T>(
        &mut self,
        key: &str,
        default: T,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<T, VerifyError> {
        self.read.insert(key.to_string());
        match self.given.get(key) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => {
                read(value).ok_or_else(|| VerifyError::option(self.case, key, Some(value)))
            }
        }
    }

    pub(super) fn number(&mut self, key: &str, default: f64) -> Result<f64, VerifyError> {
        self.get(key, default, Value::as_f64)
    }

    pub(super) fn switch(&mut self, key: &str, default: bool) -> Result<bool, VerifyError> {
        self.get(key, default, Value::as_bool)
    }

    pub(super) fn pair(&mut self, key: &str, default: [f64; 2]) -> Result<[f64; 2], VerifyError> {
        self.get(key, default, |value| match value.as_array()?.as_slice() {
            [one, two] => Some([one.as_f64()?, two.as_f64()?]),
            _ => None,
        })
    }

    /// Refuses options that were not read, unless they are switched off.
    pub(super) fn finish(self) -> Result<(), VerifyError> {
        let off = |value: &Value| matches!(value, Value::Null | Value::Bool(false));
        let left = self.given.iter();
        let mut left = left.filter(|(key, value)| !self.read.contains(*key) && !off(value));
        match left.next() {
            Some((key, value)) => Err(VerifyError::option(self.case, key, Some(value))),
            None => Ok(()),
        }
    }
}
