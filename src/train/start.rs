//! The weights that a run starts from if they are not drawn from its seed: those of a checkpoint or of a Hugging Face
//! folder. They pass through the host one layer at a time.

use std::path::Path;

use super::checkpoint::{self, Checkpoint};
use super::convert::{ConvertError, imports, layer_of, shapes};
use crate::graph::Weight;
use crate::models::Families;
use crate::models::hugging_face::FoundModel;
use crate::models::weights::{Folder, load};
use crate::runtime::{self, DeviceArrays, Session};

/// The source of a run's first weights.
pub enum Start {
    /// A checkpoint; its optimizer state is not used.
    Checkpoint(Box<Checkpoint>),
    /// A Hugging Face folder.
    Folder(Box<FoundModel>),
}

impl Start {
    /// The start at `path`: a checkpoint, a run's folder, or a Hugging Face folder with a model of one of the
    /// `families`.
    ///
    /// # Errors
    /// A path that is not one of the three, or files that cannot be read.
    pub fn open(path: &Path, families: &Families) -> Result<Self, ConvertError> {
        let inside = path.join(checkpoint::FILE);
        if path.is_file() || inside.is_file() {
            let file = if path.is_file() { path } else { &inside };
            return Ok(Start::Checkpoint(Box::new(Checkpoint::open(file)?)));
        }
        let pair = ["generator", "discriminator"].map(|name| path.join(name));
        match Folder::has_config(path) || pair.iter().all(|path| Folder::has_config(path)) {
            true => Ok(Start::Folder(Box::new(FoundModel::open(path, families)?))),
            false => Err(ConvertError::NoStart(path.to_path_buf())),
        }
    }

    /// Refuses weights that do not belong to a model with `weights`, and damaged ones.
    ///
    /// # Errors
    /// Missing weights and weights of another shape (all of them), or a damaged checkpoint.
    pub fn check(&self, path: &Path, weights: &[Weight]) -> Result<(), ConvertError> {
        match self {
            Start::Checkpoint(checkpoint) => {
                checkpoint.check_some(&shapes(weights))?;
                for weight in weights {
                    checkpoint.check_bytes(&weight.name)?;
                }
                Ok(())
            }
            Start::Folder(found) => {
                let theirs = found.model.weights();
                let problem = |weight: &Weight| {
                    let same = theirs.iter().find(|it| it.name == weight.name);
                    match same {
                        None => Some(format!("it has no `{}`", weight.name)),
                        Some(it) if it.shape != weight.shape => Some(format!(
                            "`{}` is {} in it, but {} in the model",
                            weight.name, it.shape, weight.shape
                        )),
                        Some(_) => None,
                    }
                };
                let problems: Vec<_> = weights.iter().filter_map(problem).collect();
                match problems.is_empty() {
                    true => Ok(()),
                    false => Err(ConvertError::OtherModel {
                        path: path.to_path_buf(),
                        problems,
                    }),
                }
            }
        }
    }

    /// Returns the `weights` as `session` takes them.
    ///
    /// # Errors
    /// Files that cannot be read, tensors that belong to no weight, and errors of the plugin.
    pub fn load<E>(self, session: &Session, weights: &[Weight]) -> Result<DeviceArrays, E>
    where
        E: From<ConvertError> + From<runtime::Error>,
    {
        match self {
            Start::Checkpoint(checkpoint) => load(session, weights, |weight, layer| {
                Ok(layer_of(&checkpoint, weight, layer).map_err(ConvertError::from)?)
            }),
            Start::Folder(found) => {
                let FoundModel { model, folders } = *found;
                let parts = model.folders().map_err(ConvertError::from)?;
                let imports = imports(&model, &parts, folders, &[]).map_err(ConvertError::from)?;
                load(session, weights, |weight, layer| {
                    let mut holders = imports.iter();
                    let holder =
                        holders.find(|it| it.weights().iter().any(|it| it.name == weight.name));
                    let missing = || ConvertError::Missing(weight.name.clone());
                    let layer = holder.ok_or_else(missing)?.layer(weight, layer);
                    Ok(layer.map_err(ConvertError::from)?)
                })
            }
        }
    }
}
