//! A model as Hugging Face keeps it: a folder with `config.json` and weights. ELECTRA is two of them, `generator` and
//! `discriminator`, in one folder: transformers has each network as a model of its own, and they are trained together.

use std::path::Path;

use serde_json::{Map, Value};

use super::config::ConfigError;
use super::electra;
use crate::graph::Weight;
use crate::models::families::HasTensor;
use crate::models::weights::{Entry, Folder, FolderError};
use crate::models::{Families, Model};

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

/// One of the folders that a model is kept in, with all that goes into it.
#[derive(Clone, Debug)]
pub struct ModelFolder {
    /// Its files.
    pub files: NetworkFiles,
    /// The weights in it.
    pub weights: Vec<Weight>,
    /// Tensors in it that the model lacks, with their sizes: zeros.
    pub zeros: Vec<(String, Vec<usize>)>,
}

impl Model {
    /// The folders that the model is kept in.
    ///
    /// # Errors
    /// A configuration that JSON does not hold.
    pub fn folders(&self) -> Result<Vec<ModelFolder>, ConfigError> {
        let weights = self.weights();
        let networks = self.networks(self.model_type())?;
        let folder = |mut files: NetworkFiles| {
            let known = |name: &str| files.table.iter().any(|entry| entry.ours == name);
            let mut weights = weights.clone();
            weights.retain(|weight| known(&weight.name));
            ModelFolder {
                zeros: without_types(&mut files.config, &files.table),
                files,
                weights,
            }
        };
        Ok(networks.into_iter().map(folder).collect())
    }
}

/// transformers cannot run a BERT without token types; one type whose embedding is 0 is the same. The key of their number in
/// `config.json`.
const TYPES: &str = "type_vocab_size";

/// The tensor of token types that files have by `table` under a `config` of one type, and its sizes.
fn type_table(config: &Map<String, Value>, table: &[Entry]) -> Option<(String, Vec<usize>)> {
    let entry = (table.iter()).find(|entry| entry.ours.ends_with("type/embedding"))?;
    let width = config.get("embedding_size");
    let width = width.or_else(|| config.get("hidden_size"))?.as_u64()?;
    Some((entry.theirs.clone(), vec![1, usize::try_from(width).ok()?]))
}

/// Gives the `config` of a model without token types one type; the tensor that it then has.
fn without_types(config: &mut Map<String, Value>, table: &[Entry]) -> Vec<(String, Vec<usize>)> {
    if config.get(TYPES) != Some(&0.into()) {
        return Vec::new();
    }
    let table = type_table(config, table);
    if table.is_some() {
        config.insert(TYPES.into(), 1.into());
    }
    table.into_iter().collect()
}

/// Takes the one type from a `config` if its embedding in `folder` is 0.
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

/// A model that was found in a folder, and the files it is in, one for each of [`Model::folders`].
pub struct FoundModel {
    /// The model.
    pub model: Model,
    /// Its files.
    pub folders: Vec<Folder>,
}

impl FoundModel {
    /// The model in the folder `path`: `config.json` says which of the `families` it is of.
    ///
    /// # Errors
    /// A configuration of no known family, or files that cannot be read.
    pub fn open(path: &Path, families: &Families) -> Result<Self, FolderError> {
        if let Some(pair) = electra::pair(path) {
            return pair;
        }
        let mut object = Folder::config(path)?;
        let read = |object: &_, has: HasTensor| {
            let model = families.from_hugging_face(object, has);
            model.map_err(|error| FolderError::config(path, error))
        };
        // A configuration that does not fit is told before the files that it is of are looked for.
        read(&object, &|_| false)?;
        let folder = Folder::open(path)?;
        let has = |name: &str| folder.has(name);
        let mut model = read(&object, &has)?;
        if take_types(&mut object, &model.hugging_face(), &folder)? {
            model = read(&object, &has)?;
        }
        Ok(FoundModel {
            model,
            folders: vec![folder],
        })
    }
}
