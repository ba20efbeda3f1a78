//! ELECTRA in Hugging Face's format: two models, each in its own folder within the folder of the pair.

use std::path::Path;

use super::config::{self, ConfigError};
use super::found::{FoundModel, take_types};
use super::network::NetworkFiles;
use crate::models::electra::{Config, Network};
use crate::models::weights::{Folder, FolderError};
use crate::models::{Family, Model};

const GENERATOR: &str = "generator";
const DISCRIMINATOR: &str = "discriminator";

impl Config {
    /// The two networks' files.
    ///
    /// # Errors
    /// A configuration that JSON cannot express.
    pub(in crate::models) fn files(
        &self,
        model_type: &str,
    ) -> Result<Vec<NetworkFiles>, ConfigError> {
        Ok(vec![
            NetworkFiles {
                folder: GENERATOR,
                config: config::write(&self.generator, model_type, "ElectraForMaskedLM")?,
                table: self.generator_names(),
            },
            NetworkFiles {
                folder: DISCRIMINATOR,
                config: config::write(&self.discriminator, model_type, "ElectraForPreTraining")?,
                table: self.discriminator_names(),
            },
        ])
    }
}

/// The pair in the folder `path`; `None` if the folder holds no pair or is itself a model.
pub(super) fn pair(path: &Path) -> Option<Result<FoundModel, FolderError>> {
    let pair = [GENERATOR, DISCRIMINATOR].map(|name| path.join(name));
    let is_pair = !Folder::has_config(path) && pair.iter().all(|path| Folder::has_config(path));
    is_pair.then(|| open(&pair[0], &pair[1]))
}

/// ELECTRA's two networks. They share embeddings if these are equal in both.
fn open(generator: &Path, discriminator: &Path) -> Result<FoundModel, FolderError> {
    let (first_network, first) = network(generator)?;
    let (second_network, second) = network(discriminator)?;
    let mut config = Config {
        generator: first_network,
        discriminator: second_network,
        share_embeddings: true,
        ..Config::default()
    };
    let mut shared = config.check().is_ok();
    for name in (first.names()).filter(|name| name.starts_with("electra.embeddings.")) {
        shared = shared && first.equals(&second, name)?;
    }
    config.share_embeddings = shared;
    let checked = config.check();
    checked.map_err(|error| FolderError::config(discriminator, error.into()))?;
    Ok(FoundModel {
        model: Model::new(config),
        folders: vec![first, second],
    })
}

/// One of the networks, in the folder `path`.
fn network(path: &Path) -> Result<(Network, Folder), FolderError> {
    let mut object = Folder::config(path)?;
    let read = |object: &_| {
        let network = Network::from_hugging_face(object);
        network.map_err(|error| FolderError::config(path, error))
    };
    let mut network = read(&object)?;
    let folder = Folder::open(path)?;
    if take_types(&mut object, &network.generator().hugging_face(""), &folder)? {
        network = read(&object)?;
    }
    Ok((network, folder))
}
