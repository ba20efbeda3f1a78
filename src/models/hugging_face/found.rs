//! A model found in a folder; and token types, of which transformers needs one even if the model has none.

use serde_json::{Map, Value};

use crate::models::Model;
use crate::models::weights::{Entry, Folder, FolderError};

/// A model found in a folder, and its files, one for each of [`Model::folders`].
pub struct FoundModel {
    /// The model.
    pub model: Model,
    /// Its files.
    pub folders: Vec<Folder>,
}

/// The key of the number of token types in `config.json`. transformers cannot run a BERT without types, and one type whose
/// embedding is 0 computes the same.
const TYPES: &str = "type_vocab_size";

/// The tensor of token types that files have according to `table` if `config` has one type, and its sizes.
fn type_table(config: &Map<String, Value>, table: &[Entry]) -> Option<(String, Vec<usize>)> {
    let entry = (table.iter()).find(|entry| entry.ours.ends_with("type/embedding"))?;
    let width = config.get("embedding_size");
    let width = width.or_else(|| config.get("hidden_size"))?.as_u64()?;
    Some((entry.theirs.clone(), vec![1, usize::try_from(width).ok()?]))
}

/// Sets one type in the `config` of a model without token types. Returns the tensor that it then has.
pub(super) fn without_types(
    config: &mut Map<String, Value>,
    table: &[Entry],
) -> Vec<(String, Vec<usize>)> {
    if config.get(TYPES) != Some(&0.into()) {
        return Vec::new();
    }
    let table = type_table(config, table);
    if table.is_some() {
        config.insert(TYPES.into(), 1.into());
    }
    table.into_iter().collect()
}

/// Removes the one type from a `config` if its embedding in `folder` is 0.
pub(super) fn take_types(
    config: &mut Map<String, Value>,
    table: &[Entry],
    folder: &Folder,
) -> Result<bool, FolderError> {
    let one = config.get(TYPES) == Some(&1.into());
    let Some((name, sizes)) = type_table(config, table).filter(|_| one) else {
        return Ok(false);
    };
    let zero = folder.is_zero(&name, &sizes)?;
    if zero {
        config.insert(TYPES.into(), 0.into());
    }
    Ok(zero)
}
