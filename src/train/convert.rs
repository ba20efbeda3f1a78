//! Conversion between Hugging Face folders and checkpoints. Weights pass through the host one layer at a time.

use std::path::{Path, PathBuf};

use super::checkpoint::{self, About, Checkpoint, CheckpointError};
use crate::graph::{Shape, Weight};
use crate::models::Model;
use crate::models::hugging_face::ConfigError;
use crate::models::hugging_face::Found;
use crate::models::weights::{Export, FolderError, Import, layer_shape, layers};
use crate::runtime::HostArray;

/// Errors of a conversion.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The folder is not valid, or cannot be written.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The checkpoint is not valid, or cannot be written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// JSON cannot hold the configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// This version of ribosome does not have the checkpoint's model.
    #[error("this version of ribosome does not have the model of {}; use the version that wrote it", .0.display())]
    NoModel(PathBuf),
}

/// Writes the weights in the Hugging Face folder `folder` to the checkpoint `path`, and returns their model. Tensors whose
/// names begin with one of `dropped` are ignored.
///
/// # Errors
/// The folder does not hold a model's weights, its files are damaged, or the checkpoint cannot be written.
pub fn import(folder: &Path, dropped: &[String], path: &Path) -> Result<Model, ConvertError> {
    let Found { model, folders } = Found::open(folder)?;
    let parts = model.parts()?;
    let imports = parts.iter().zip(folders).map(|(part, folder)| {
        // Opening the folder has checked that these tensors are all zeros.
        let zeros = part.zeros.iter().map(|(name, _)| name.clone());
        let dropped: Vec<_> = zeros.chain(dropped.iter().cloned()).collect();
        Import::new(folder, &part.table, &part.weights, &dropped)
    });
    let imports = imports.collect::<Result<Vec<_>, _>>()?;
    let tensors = shapes(&model.weights());
    checkpoint::save_parts(path, &About::of_weights(&model), &tensors, |name, sink| {
        let holder = imports.iter().find_map(|import| {
            let weight = import.weights().iter().find(|weight| weight.name == name)?;
            Some((import, weight))
        });
        if let Some((import, weight)) = holder {
            for layer in 0..layers(weight) {
                sink.put(import.layer(weight, layer)?.bytes())?;
            }
        }
        Ok::<(), ConvertError>(())
    })?;
    Ok(model)
}

/// Writes the model of `checkpoint` into the folder `folder` in Hugging Face's format, in files of at most `shard_size`
/// bytes, and returns their paths.
///
/// # Errors
/// The checkpoint's weights are missing or damaged, or the files exist already or cannot be written.
pub fn export(
    checkpoint: &Checkpoint,
    folder: &Path,
    shard_size: u64,
) -> Result<(Model, Vec<PathBuf>), ConvertError> {
    let unknown = || ConvertError::NoModel(checkpoint.path().to_path_buf());
    let model = checkpoint.about().model().ok_or_else(unknown)?;
    let weights = model.weights();
    checkpoint.check_some(&shapes(&weights))?;
    for weight in &weights {
        checkpoint.check_bytes(&weight.name)?;
    }
    let mut files = Vec::new();
    for part in model.parts()? {
        let export = Export {
            table: &part.table,
            weights: &part.weights,
            zeros: &part.zeros,
            config: &part.config,
            shard_size,
        };
        let written = export.write(&folder.join(part.folder), |weight, layer| {
            Ok::<_, ConvertError>(layer_of(checkpoint, weight, layer)?)
        });
        files.extend(written?);
    }
    Ok((model, files))
}

/// One layer of `weight` in `checkpoint`, or all of it (`layer` 0) if it is not a stack.
///
/// # Errors
/// As [`Checkpoint::read_layer`].
pub fn layer_of(
    checkpoint: &Checkpoint,
    weight: &Weight,
    layer: usize,
) -> Result<HostArray, CheckpointError> {
    checkpoint.read_layer(&weight.name, layer, &layer_shape(weight))
}

/// Each weight's name and shape.
pub fn shapes(weights: &[Weight]) -> Vec<(String, Shape)> {
    let shape = |weight: &Weight| (weight.name.clone(), weight.shape.clone());
    weights.iter().map(shape).collect()
}
