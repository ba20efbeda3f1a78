//! The files of one network.

use serde_json::{Map, Value};

use crate::models::weights::Entry;

/// One network as Hugging Face keeps it.
#[derive(Clone, Debug)]
pub struct NetworkFiles {
    /// The name of its folder within the model's; empty where it is that folder.
    pub folder: &'static str,
    /// Its `config.json`.
    pub config: Map<String, Value>,
    /// Where it keeps each weight.
    pub table: Vec<Entry>,
}
