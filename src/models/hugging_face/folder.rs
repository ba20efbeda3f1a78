//! A model in Hugging Face's format: a folder with `config.json` and weights. ELECTRA is one folder with two of them,
//! `generator` and `discriminator`: transformers has each network as a separate model, but they are trained together.

use std::path::Path;

use super::config::ConfigError;
use super::electra;
use super::found::{FoundModel, take_types, without_types};
use super::network::NetworkFiles;
use crate::graph::Weight;
use crate::models::family::HasTensor;
use crate::models::weights::{Folder, FolderError};
use crate::models::{Families, Model};

/// One of a model's folders, with all its contents.
#[derive(Clone, Debug)]
pub struct ModelFolder {
    /// Its files.
    pub files: NetworkFiles,
    /// The weights in it.
    pub weights: Vec<Weight>,
    /// Tensors of zeros in it that the model lacks, with their sizes.
    pub zeros: Vec<(String, Vec<usize>)>,
}

impl Model {
    /// The model's folders.
    ///
    /// # Errors
    /// A configuration that JSON cannot express.
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

impl FoundModel {
    /// The model in the folder `path`; `config.json` names which of the `families` it is of.
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
        // Errors of the configuration come before those of missing files.
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
