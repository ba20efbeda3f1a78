//! Named values: how options go into a plugin, and attributes come out.

use std::collections::BTreeMap;
use std::fmt;

use super::api::{slice, text};
use super::ffi::{NamedValue, NamedValuePayload, Struct, named_value};

/// The value of an option or attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    String(String),
    /// A whole number.
    Int(i64),
    /// Whole numbers, such as coordinates.
    Ints(Vec<i64>),
    /// A 32-bit float.
    Float(f32),
    /// A truth value.
    Bool(bool),
}

impl Value {
    /// The number, where this is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The numbers, where these are some.
    pub fn as_ints(&self) -> Option<&[i64]> {
        match self {
            Value::Ints(values) => Some(values),
            _ => None,
        }
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Value {
        Value::Int(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::String(value.to_string())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::String(value) => f.write_str(value),
            Value::Int(value) => write!(f, "{value}"),
            Value::Ints(values) => write!(f, "{values:?}"),
            Value::Float(value) => write!(f, "{value}"),
            Value::Bool(value) => write!(f, "{value}"),
        }
    }
}

/// The C form of `options`, which points into them: for the length of one call.
pub(super) fn write_all(options: &[(&str, Value)]) -> Vec<NamedValue> {
    options
        .iter()
        .map(|(name, value)| {
            let (kind, payload, size) = match value {
                Value::String(text) => (
                    named_value::STRING,
                    NamedValuePayload {
                        string: text.as_ptr().cast(),
                    },
                    text.len(),
                ),
                Value::Int(int) => (named_value::INT, NamedValuePayload { int: *int }, 1),
                Value::Ints(ints) => (
                    named_value::INTS,
                    NamedValuePayload {
                        ints: ints.as_ptr(),
                    },
                    ints.len(),
                ),
                Value::Float(float) => (named_value::FLOAT, NamedValuePayload { float: *float }, 1),
                Value::Bool(boolean) => (
                    named_value::BOOL,
                    NamedValuePayload { boolean: *boolean },
                    1,
                ),
            };
            NamedValue {
                name: name.as_ptr().cast(),
                name_size: name.len(),
                kind,
                value: payload,
                value_size: size,
                ..NamedValue::new()
            }
        })
        .collect()
}

/// Copies `len` named values out of a plugin's memory. Kinds that this side does not know are left out.
///
/// # Safety
/// `start` points to `len` named values of a plugin, alive with all they point to.
pub(super) unsafe fn read_all(start: *const NamedValue, len: usize) -> BTreeMap<String, Value> {
    let mut values = BTreeMap::new();
    // SAFETY: the caller's promise. The struct has not changed since the interface began, so its stride is ours.
    for named in unsafe { slice(start, len) } {
        // SAFETY: the kind says which field of the union is set, and `value_size` how long what it points to is.
        let (name, value) = unsafe {
            let value = match named.kind {
                named_value::STRING => Value::String(text(named.value.string, named.value_size)),
                named_value::INT => Value::Int(named.value.int),
                named_value::INTS => {
                    Value::Ints(slice(named.value.ints, named.value_size).to_vec())
                }
                named_value::FLOAT => Value::Float(named.value.float),
                named_value::BOOL => Value::Bool(named.value.boolean),
                _ => continue,
            };
            (text(named.name, named.name_size), value)
        };
        values.insert(name, value);
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let options = [
            ("name", Value::from("megacore")),
            ("slices", Value::from(2)),
            ("coords", Value::Ints(vec![1, 2, 3])),
            ("none", Value::Ints(vec![])),
            ("fraction", Value::Float(0.5)),
            ("on", Value::from(true)),
        ];
        let written = write_all(&options);
        // SAFETY: `written` and `options` live until the end of this test.
        let read = unsafe { read_all(written.as_ptr(), written.len()) };
        assert_eq!(read.len(), options.len());
        for (name, value) in &options {
            assert_eq!(&read[*name], value);
        }
    }
}
