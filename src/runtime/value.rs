//! Values of named options of plugins, topologies and XLA flags, and of named attributes that plugins report.

use std::fmt;

/// The value of an option or attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    String(String),
    /// A whole number.
    Int(i64),
    /// Whole numbers, such as coordinates.
    Ints(Vec<i64>),
    /// A float: 32 bits in plugins, 64 in XLA's flags.
    Float(f64),
    /// A boolean.
    Bool(bool),
}

impl Value {
    /// The number, if this is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The numbers, if this is a list of them.
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
