//! The files of one network.

use serde_json::{Map, Value};

use crate::models::weights::Entry;

/// One network in Hugging Face's format.
#[derive(Clone, Debug)]
pub struct NetworkFiles {
    /// The name of its folder within the model's; empty if it is the model's folder.
    pub folder: &'static str,
    /// Its `config.json`.
    pub config: Map<String, Value>,
    /// The name and layout of each weight.
    pub table: Vec<Entry>,
}
