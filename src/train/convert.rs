//! Between Hugging Face's folders and checkpoints: weights go through the host one layer at a time, both ways.

use std::path::{Path, PathBuf};

use super::checkpoint::{self, About, Checkpoint, CheckpointError};
use crate::graph::{Shape, Weight};
use crate::models::hugging_face::{ConfigError, FoundModel, ModelFolder};
use crate::models::weights::{Export, Folder, FolderError, Import, layer_shape, layers};
use crate::models::{Families, Model};
use crate::runtime::HostArray;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The folder is not what it should be, or cannot be written.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The checkpoint is not what it should be, or cannot be written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A configuration that JSON does not hold.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There are no weights to begin a run with.
    #[error(
        "there are no weights to start from in {}; --start takes a checkpoint, a run's folder, or a Hugging Face folder",
        .0.display()
    )]
    NoStart(PathBuf),
    /// The folder's model is not the recipe's.
    #[error(
        "the model in {} is another than the recipe's:\n  {}",
        path.display(), few(problems)
    )]
    OtherModel {
        /// The folder.
        path: PathBuf,
        /// What does not fit, weight by weight.
        problems: Vec<String>,
    },
    /// A weight that no part of the folder has.
    #[error("the folder has no `{0}`")]
    Missing(String),
    /// The checkpoint's model is none of this ribosome's.
    #[error("the recipe in {} names no model that this ribosome has; go on with the one that wrote it", .0.display())]
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

/// What reads each of the `parts` of `model` from its folder. Tensors that the model does not use are passed over, and so
/// are those whose names begin with one of `dropped`.
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
        // Which of these are no more than zeros was seen when the model was found.
        let zeros = part.zeros.iter().map(|(name, _)| name.clone());
        let unused = model.unused().iter().map(|name| name.to_string());
        let dropped: Vec<_> = zeros.chain(unused).chain(dropped.iter().cloned()).collect();
        Import::new(folder, &part.files.table, &part.weights, &dropped)
    });
    imports.collect()
}

/// Makes the checkpoint `path`, of weights alone, from the Hugging Face folder `folder`, whose model is of one of the
/// `families`; gives the model. Tensors whose names
/// begin with one of `dropped` are passed over.
///
/// # Errors
/// A folder that does not hold a model's weights, damaged files, or a checkpoint that cannot be written.
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

/// Writes the model of `checkpoint`, which is of one of the `families`, into the folder `folder` as Hugging Face keeps it, in files of at most `shard_size` bytes;
/// gives the files.
///
/// # Errors
/// A checkpoint without the model's weights or with damaged ones, or files that are there already or cannot be written.
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

/// One layer of `weight` in `checkpoint`, or all of it (`layer` 0) if it stacks none.
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
