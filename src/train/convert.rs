//! Conversion between Hugging Face folders and checkpoints. Weights pass through the host one layer at a time.

use std::path::{Path, PathBuf};

use super::checkpoint::{self, About, Checkpoint, CheckpointError};
use crate::graph::{Shape, Weight};
use crate::models::hugging_face::{ConfigError, FoundModel, ModelFolder};
use crate::models::weights::{Export, Folder, FolderError, Import, layer_shape, layers};
use crate::models::{Families, Model};
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
    /// There are no weights at the path that a run should start from.
    #[error(
        "there are no weights to start from in {}; --start takes a checkpoint, a run's folder, or a Hugging Face folder",
        .0.display()
    )]
    NoStart(PathBuf),
    /// The folder's model differs from the recipe's.
    #[error(
        "the model in {} differs from the recipe's:\n  {}",
        path.display(), few(problems)
    )]
    OtherModel {
        /// The folder.
        path: PathBuf,
        /// The differences, weight by weight.
        problems: Vec<String>,
    },
    /// No part of the folder has this weight.
    #[error("the folder has no `{0}`")]
    Missing(String),
    /// This version of ribosome does not have the checkpoint's model.
    #[error("this version of ribosome does not have the model of {}; use the version that wrote it", .0.display())]
    NoModel(PathBuf),
}

/// The first of `problems`, a line each: a wrong model differs in everything.
fn few(problems: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut lines: Vec<_> = problems.iter().take(SHOWN).cloned().collect();
    if problems.len() > SHOWN {
        lines.push(format!("and {} more", problems.len() - SHOWN));
    }
    lines.join("\n  ")
}

/// The readers of the `parts` of `model`, each from its folder. Tensors that the model does not use are ignored, and so are
/// those whose names begin with one of `dropped`.
///
/// # Errors
/// As [`Import::new`].
pub(super) fn imports<'p>(
    model: &Model,
    parts: &'p [ModelFolder],
    folders: Vec<Folder>,
    dropped: &[String],
) -> Result<Vec<Import<'p>>, FolderError> {
    let imports = parts.iter().zip(folders).map(|(part, folder)| {
        // Opening the folder has checked that these tensors are all zeros.
        let zeros = part.zeros.iter().map(|(name, _)| name.clone());
        let unused = model.unused().iter().map(|name| name.to_string());
        let dropped: Vec<_> = zeros.chain(unused).chain(dropped.iter().cloned()).collect();
        Import::new(folder, &part.files.table, &part.weights, &dropped)
    });
    imports.collect()
}

/// Writes the weights in the Hugging Face folder `folder` to the checkpoint `path`, and returns their model, which is of one
/// of the `families`. Tensors whose names begin with one of `dropped` are ignored.
///
/// # Errors
/// The folder does not hold a model's weights, its files are damaged, or the checkpoint cannot be written.
pub fn import(
    folder: &Path,
    families: &Families,
    dropped: &[String],
    path: &Path,
) -> Result<Model, ConvertError> {
    let FoundModel { model, folders } = FoundModel::open(folder, families)?;
    let parts = model.folders()?;
    let imports = imports(&model, &parts, folders, dropped)?;
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

/// Writes the model of `checkpoint`, which is of one of the `families`, into the folder `folder` in Hugging Face's format, in
/// files of at most `shard_size` bytes, and returns their paths.
///
/// # Errors
/// The checkpoint's weights are missing or damaged, or the files exist already or cannot be written.
pub fn export(
    checkpoint: &Checkpoint,
    families: &Families,
    folder: &Path,
    shard_size: u64,
) -> Result<(Model, Vec<PathBuf>), ConvertError> {
    let unknown = || ConvertError::NoModel(checkpoint.path().to_path_buf());
    let model = checkpoint.about().model(families).ok_or_else(unknown)?;
    let weights = model.weights();
    checkpoint.check_some(&shapes(&weights))?;
    for weight in &weights {
        checkpoint.check_bytes(&weight.name)?;
    }
    let mut files = Vec::new();
    for part in model.folders()? {
        let export = Export {
            table: &part.files.table,
            weights: &part.weights,
            zeros: &part.zeros,
            config: &part.files.config,
            shard_size,
        };
        let written = export.write(&folder.join(part.files.folder), |weight, layer| {
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
