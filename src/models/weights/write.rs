//! Writing a Hugging Face folder: `config.json`, and the weights as F32 in `model.safetensors`, or in parts with an index.
//!
//! Tensors are in the order of their names. Each is written once, under its own name and not under those tied to it. Equal
//! weights therefore give equal bytes, also after they are read and written again.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use ndarray::{ArrayD, IxDyn};
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;

use super::file::{FileError, header, temporary};
use super::folder::{CONFIG, FolderError, INDEX, SINGLE};
use super::{Entry, dims, entry_of};
use crate::graph::Weight;
use crate::runtime::{Element, HostArray};

/// The contents of a folder.
#[derive(Clone, Copy)]
pub struct Export<'a> {
    /// The name and layout of each weight.
    pub table: &'a [Entry],
    /// The weights.
    pub weights: &'a [Weight],
    /// Tensors of zeros that such a folder has and the model lacks, with their sizes.
    pub zeros: &'a [(String, Vec<usize>)],
    /// The contents of `config.json`.
    pub config: &'a Map<String, Value>,
    /// The most bytes of tensors in a file, unless it holds a single larger one.
    pub shard_size: u64,
}

/// One tensor of the file.
struct Tensor<'a> {
    name: String,
    /// The layer of a weight that it holds; `None` for zeros.
    of: Option<(&'a Entry, &'a Weight, usize)>,
    dims: Vec<usize>,
}

impl Tensor<'_> {
    fn bytes(&self) -> usize {
        self.dims.iter().product::<usize>() * size_of::<f32>()
    }
}

impl<'a> Export<'a> {
    /// Writes all files into `folder`, which is created if necessary. `read` returns one layer of a weight, or all of it (layer
    /// 0) if it stacks none. Files get their names after all of them are on the disk; the one that a reader looks for is the
    /// last.
    ///
    /// # Errors
    /// A file that exists already, a weight without an entry, a weight that `read` returns in another shape, and errors of the
    /// file system and of `read`.
    pub fn write<E: From<FolderError>>(
        self,
        folder: &Path,
        mut read: impl FnMut(&Weight, usize) -> Result<HostArray, E>,
    ) -> Result<Vec<PathBuf>, E> {
        let io = |what: &str, path: &Path| {
            let (what, path) = (what.to_string(), path.to_path_buf());
            move |source| FolderError::from(FileError::Io { what, path, source })
        };
        let tensors = self.tensors(folder)?;
        let shards = shards(&tensors, self.shard_size);
        let names: Vec<String> = match shards.len() {
            0 | 1 => vec![SINGLE.into()],
            count => (1..=count)
                .map(|at| format!("model-{at:05}-of-{count:05}.safetensors"))
                .collect(),
        };
        let last = if shards.len() > 1 { INDEX } else { SINGLE };
        let all = names.iter().map(String::as_str);
        // A reader would mistake another model's single file or index for this model's.
        for name in all.chain([CONFIG, SINGLE, INDEX]) {
            let path = folder.join(name);
            if path.exists() {
                return Err(FolderError::Exists(path).into());
            }
        }
        std::fs::create_dir_all(folder).map_err(io("make the folder", folder))?;
        let mut written = vec![(
            CONFIG,
            text(folder, CONFIG, &Value::Object(self.config.clone()))?,
        )];
        for (name, shard) in names.iter().zip(&shards) {
            let path = folder.join(name);
            written.push((name, shard_file(&path, shard, &mut read)?));
        }
        if last == INDEX {
            written.push((INDEX, text(folder, INDEX, &index(&names, &shards))?));
        }
        let paths = written.into_iter().map(|(name, file)| {
            let path = folder.join(name);
            let place = || {
                file.as_file().sync_all()?;
                file.persist(&path)?;
                // The new name is on the disk once the folder is synced.
                File::open(folder)?.sync_all()
            };
            place().map_err(io("write", &path))?;
            Ok(path)
        });
        Ok(paths.collect::<Result<_, FolderError>>()?)
    }

    /// Every tensor, by name.
    fn tensors(self, folder: &Path) -> Result<Vec<Tensor<'a>>, FolderError> {
        let mut tensors = Vec::new();
        for weight in self.weights {
            let Some(entry) = entry_of(self.table, weight) else {
                return Err(FolderError::Mismatch {
                    folder: folder.to_path_buf(),
                    problems: vec![format!(
                        "files of this family have no name for the weight `{}`",
                        weight.name
                    )],
                });
            };
            for (layer, name) in entry.names(weight).into_iter().enumerate() {
                tensors.push(Tensor {
                    name,
                    of: Some((entry, weight, layer)),
                    dims: entry.file_dims(&dims(weight).1),
                });
            }
        }
        tensors.extend(self.zeros.iter().map(|(name, dims)| Tensor {
            name: name.clone(),
            of: None,
            dims: dims.clone(),
        }));
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(tensors)
    }
}

/// The tensors distributed to files in order, each file as full as allowed.
fn shards<'t, 'a>(tensors: &'t [Tensor<'a>], limit: u64) -> Vec<&'t [Tensor<'a>]> {
    let mut shards = Vec::new();
    let (mut start, mut size) = (0, 0);
    for (at, tensor) in tensors.iter().enumerate() {
        let bytes = tensor.bytes() as u64;
        if at > start && size + bytes > limit {
            shards.push(&tensors[start..at]);
            (start, size) = (at, 0);
        }
        size += bytes;
    }
    shards.push(&tensors[start..]);
    shards
}

/// The index of parts, in transformers' format.
fn index(names: &[String], shards: &[&[Tensor]]) -> Value {
    let pairs = names.iter().zip(shards);
    let pairs = pairs.flat_map(|(file, shard)| shard.iter().map(move |it| (it.name.clone(), file)));
    let map: Map<String, Value> = pairs.map(|(name, file)| (name, json!(file))).collect();
    let total: usize = shards.iter().copied().flatten().map(Tensor::bytes).sum();
    json!({ "metadata": { "total_size": total }, "weight_map": map })
}

/// A JSON file with the later name `name`.
fn text(folder: &Path, name: &str, value: &Value) -> Result<NamedTempFile, FolderError> {
    let path = folder.join(name);
    let write = || {
        let mut file = temporary(folder, ".export-")?;
        serde_json::to_writer_pretty(&mut file, value)?;
        file.write_all(b"\n")?;
        Ok(file)
    };
    write().map_err(|source| {
        let what = "write".into();
        FileError::Io { what, path, source }.into()
    })
}

/// A safetensors file of `tensors` with the later path `path`.
fn shard_file<E: From<FolderError>>(
    path: &Path,
    tensors: &[Tensor],
    read: &mut impl FnMut(&Weight, usize) -> Result<HostArray, E>,
) -> Result<NamedTempFile, E> {
    let io = |what: String| {
        let path = path.to_path_buf();
        move |source| FolderError::from(FileError::Io { what, path, source })
    };
    let unfit = |name: &str, reason: String| FolderError::Json {
        path: path.to_path_buf(),
        reason: format!("`{name}`: {reason}"),
    };
    let mut offset = 0;
    let infos = tensors.iter().map(|tensor| {
        let start = offset;
        offset += tensor.bytes();
        let info = TensorInfo {
            dtype: Dtype::F32,
            shape: tensor.dims.clone(),
            data_offsets: (start, offset),
        };
        (tensor.name.clone(), info)
    });
    // transformers refuses files that do not state whose tensors they hold.
    let texts = HashMap::from([("format".to_string(), "pt".to_string())]);
    let begin = header(texts, infos.collect()).map_err(|reason| unfit("header", reason))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let file = temporary(folder, ".export-").map_err(io("write".into()))?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    out.write_all(&begin).map_err(io("write".into()))?;
    for tensor in tensors {
        let bytes = match tensor.of {
            None => vec![0; tensor.bytes()],
            Some((entry, weight, layer)) => {
                let array = read(weight, layer)?;
                let (_, own) = dims(weight);
                let values = array.values::<f32>().map_err(FolderError::from)?;
                let found = array.shape().clone();
                drop(array);
                let values = ArrayD::from_shape_vec(IxDyn(&own), values).ok();
                let values = values.and_then(|values| entry.write(&own, values));
                let values = values.ok_or_else(|| {
                    let reason = format!("it is written from {own:?}, but {found} was read");
                    unfit(&tensor.name, reason)
                })?;
                f32::to_bytes(&values.into_raw_vec_and_offset().0)
            }
        };
        out.write_all(&bytes)
            .map_err(io(format!("write `{}` to", tensor.name)))?;
    }
    let file = out
        .into_inner()
        .map_err(|error| io("write".into())(error.into_error()))?;
    Ok(file)
}
