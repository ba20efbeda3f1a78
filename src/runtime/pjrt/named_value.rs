//! Named values in C: options passed to a plugin, and attributes read from it.

use std::collections::BTreeMap;

use super::ffi::{NamedValue, NamedValuePayload, Struct, named_value as kind};
use super::memory::{slice, text};
use crate::runtime::value::Value;

/// The C form of `options`, which points into them, for the duration of one call.
pub(super) fn write_all(options: &[(&str, Value)]) -> Vec<NamedValue> {
    options
        .iter()
        .map(|(name, value)| {
            let (kind, payload, size) = match value {
                Value::String(text) => (
                    kind::STRING,
                    NamedValuePayload {
                        string: text.as_ptr().cast(),
                    },
                    text.len(),
                ),
                Value::Int(int) => (kind::INT, NamedValuePayload { int: *int }, 1),
                Value::Ints(ints) => (
                    kind::INTS,
                    NamedValuePayload {
                        ints: ints.as_ptr(),
                    },
                    ints.len(),
                ),
                Value::Float(float) => (
                    kind::FLOAT,
                    NamedValuePayload {
                        float: *float as f32,
                    },
                    1,
                ),
                Value::Bool(boolean) => (kind::BOOL, NamedValuePayload { boolean: *boolean }, 1),
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

/// Copies `len` named values out of a plugin's memory. Unknown kinds are left out.
///
/// # Safety
/// `start` points to `len` named values of a plugin; they and all they point to are alive.
pub(super) unsafe fn read_all(start: *const NamedValue, len: usize) -> BTreeMap<String, Value> {
    let mut values = BTreeMap::new();
    // SAFETY: the caller's promise. The struct has not changed since the interface began, so its stride is ours.
    for named in unsafe { slice(start, len) } {
        // SAFETY: the kind determines which field of the union is set, and `value_size` the length of what it points to.
        let (name, value) = unsafe {
            let value = match named.kind {
                kind::STRING => Value::String(text(named.value.string, named.value_size)),
                kind::INT => Value::Int(named.value.int),
                kind::INTS => Value::Ints(slice(named.value.ints, named.value_size).to_vec()),
                kind::FLOAT => Value::Float(named.value.float.into()),
                kind::BOOL => Value::Bool(named.value.boolean),
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
