//! Reading a Hugging Face folder: `model.safetensors`, or `model.safetensors.index.json` and the parts that it names. All
//! that does not fit is found before anything is read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use ndarray::{ArrayD, IxDyn};
use safetensors::Dtype;
use serde_json::{Map, Value};

use super::super::hf_config::ConfigError;
use super::file::{FileError, TensorFile};
use super::{Entry, dims, entry_of, layer_shape, layers};
use crate::graph::Weight;
use crate::runtime::{self, Element, HostArray};

/// The file of a model in one piece.
pub(super) const SINGLE: &str = "model.safetensors";
/// The file that says which part has which tensor.
pub(super) const INDEX: &str = "model.safetensors.index.json";
/// The file of the model's configuration.
pub(super) const CONFIG: &str = "config.json";

/// Tensors that say nothing: `position_ids` counts from 0, `inv_freq` follows from the model's size, and T5's first published
/// files have a table of relative positions that cross-attention never used. They are passed over, as are tensors without
/// elements, and not written back.
const UNUSED: [&str; 3] = [
    "position_ids",
    "inv_freq",
    "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
];

/// What can be wrong with a folder of weights.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// One of its files.
    #[error(transparent)]
    File(#[from] FileError),
    /// It has no weights.
    #[error(
        "{} has neither model.safetensors nor model.safetensors.index.json{}", folder.display(),
        if *pickled { "; it has a pytorch_model.bin, which is a program in Python's own format and is not read: save the \
                       model with transformers' save_pretrained, which writes safetensors" } else { "" }
    )]
    NoWeights {
        /// The folder.
        folder: PathBuf,
        /// Whether it has weights in PyTorch's own format.
        pickled: bool,
    },
    /// A JSON file is not what it should be.
    #[error("{} is not what it should be: {reason}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The tensors are not those of the model.
    #[error("{} does not hold the model's weights:\n  {}", folder.display(), problems.join("\n  "))]
    Mismatch {
        /// The folder.
        folder: PathBuf,
        /// What does not fit, tensor by tensor.
        problems: Vec<String>,
    },
    /// The configuration is of no model that ribosome has.
    #[error("{}: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ConfigError,
    },
    /// A file that would be written is there already.
    #[error("{} exists already; take another folder", .0.display())]
    Exists(PathBuf),
    /// The runtime's own.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
}

impl FolderError {
    /// What is wrong with the `config.json` of `folder`.
    pub fn config(folder: &Path, source: ConfigError) -> Self {
        FolderError::Config {
            path: folder.join(CONFIG),
            source,
        }
    }
}

/// The JSON object in the file `path`.
fn object(path: &Path) -> Result<Map<String, Value>, FolderError> {
    let text = std::fs::read(path).map_err(|source| FileError::Io {
        what: "read".into(),
        path: path.to_path_buf(),
        source,
    })?;
    serde_json::from_slice(&text).map_err(|error| FolderError::Json {
        path: path.to_path_buf(),
        reason: error.to_string(),
    })
}

/// A folder's tensors, by name.
pub struct Folder {
    path: PathBuf,
    files: Vec<TensorFile>,
    /// Which file has a tensor.
    tensors: BTreeMap<String, usize>,
}

impl Folder {
    /// Opens the folder `path`; `config.json` is read by [`Folder::config`].
    ///
    /// # Errors
    /// No weights, a file that cannot be read or was cut off, or an index that does not fit its parts.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let mut folder = Folder {
            path: path.to_path_buf(),
            files: Vec::new(),
            tensors: BTreeMap::new(),
        };
        // As transformers does, a single file goes before an index.
        if path.join(SINGLE).exists() {
            folder.add(SINGLE)?;
        } else if path.join(INDEX).exists() {
            folder.add_parts()?;
        } else {
            return Err(FolderError::NoWeights {
                folder: path.to_path_buf(),
                pickled: path.join("pytorch_model.bin").exists()
                    || path.join("pytorch_model.bin.index.json").exists(),
            });
        }
        Ok(folder)
    }

    /// The folder's `config.json`.
    ///
    /// # Errors
    /// No such file, or no JSON object.
    pub fn config(path: &Path) -> Result<Map<String, Value>, FolderError> {
        object(&path.join(CONFIG))
    }

    /// Whether `path` has a `config.json`.
    pub fn has_config(path: &Path) -> bool {
        path.join(CONFIG).exists()
    }

    /// The names of all tensors, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether there is a tensor `name`.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Opens one file and takes all its tensors.
    fn add(&mut self, name: &str) -> Result<(), FolderError> {
        let file = TensorFile::open(&self.path.join(name))?;
        let at = self.files.len();
        for tensor in file.tensors().into_keys() {
            if let Some(before) = self.tensors.insert(tensor.clone(), at) {
                let first = self.files[before].path().display();
                let problem = format!("`{tensor}` is in {first} and in {}", file.path().display());
                return Err(self.mismatch(vec![problem]));
            }
        }
        self.files.push(file);
        Ok(())
    }

    /// Opens all files that the index names, and compares it with them.
    fn add_parts(&mut self) -> Result<(), FolderError> {
        let path = self.path.join(INDEX);
        let wrong = |reason: &str| FolderError::Json {
            path: path.clone(),
            reason: reason.to_string(),
        };
        let index = object(&path)?;
        let map = index.get("weight_map").and_then(Value::as_object);
        let map = map.ok_or_else(|| wrong("it has no `weight_map`"))?;
        let mut wanted = BTreeMap::new();
        for (tensor, file) in map {
            let file = file.as_str().filter(|file| !file.contains(['/', '\\']));
            let file =
                file.ok_or_else(|| wrong(&format!("`{tensor}` is in no file of the folder")))?;
            wanted.insert(tensor.clone(), file.to_string());
        }
        let parts: BTreeSet<_> = wanted.values().cloned().collect();
        for part in &parts {
            self.add(part)?;
        }
        let mut problems = Vec::new();
        for (tensor, file) in &wanted {
            let path = self.path.join(file);
            let found = self.tensors.get(tensor).map(|at| self.files[*at].path());
            if found != Some(path.as_path()) {
                problems.push(format!(
                    "`{tensor}` is not in {}, where the index has it",
                    path.display()
                ));
            }
        }
        for (tensor, at) in &self.tensors {
            if !wanted.contains_key(tensor) {
                let path = self.files[*at].path().display();
                problems.push(format!(
                    "`{tensor}` is in {path}, and the index does not have it"
                ));
            }
        }
        match problems.is_empty() {
            true => Ok(()),
            false => Err(self.mismatch(problems)),
        }
    }

    /// Whether `other` has the same tensor `name`, type, sizes and bytes.
    ///
    /// # Errors
    /// The file system's own.
    pub fn equals(&self, other: &Folder, name: &str) -> Result<bool, FolderError> {
        match (self.file(name), other.file(name)) {
            (Some(one), Some(other)) => equal((one, name), (other, name)),
            (one, other) => Ok(one.is_none() && other.is_none()),
        }
    }

    /// The file that has the tensor `name`.
    fn file(&self, name: &str) -> Option<&TensorFile> {
        self.tensors.get(name).map(|at| &self.files[*at])
    }

    fn mismatch(&self, mut problems: Vec<String>) -> FolderError {
        /// A wrong model differs in everything; the first few say it.
        const SHOWN: usize = 8;
        if problems.len() > SHOWN {
            let more = problems.len() - SHOWN;
            problems.truncate(SHOWN);
            problems.push(format!("and {more} more"));
        }
        FolderError::Mismatch {
            folder: self.path.clone(),
            problems,
        }
    }
}

/// A model's weights in a folder, all found, of their sizes and of types that are read.
pub struct Import<'a> {
    folder: Folder,
    table: &'a [Entry],
    weights: &'a [Weight],
    /// The folder's name of each tensor that is read, where that is not the entry's own.
    others: BTreeMap<String, String>,
}

impl<'a> Import<'a> {
    /// Finds every one of `weights` in `folder` by its entry in `table`. Tensors whose names begin with one of `dropped` are
    /// passed over.
    ///
    /// # Errors
    /// Tensors that are missing, of other sizes or of another type than F32, F16 and BF16, that belong to no weight, or that
    /// are tied to another and differ from it: all of them, each with its file.
    pub fn new(
        folder: Folder,
        table: &'a [Entry],
        weights: &'a [Weight],
        dropped: &[String],
    ) -> Result<Self, FolderError> {
        let mut found = Search {
            folder: &folder,
            left: folder.tensors.keys().map(String::as_str).collect(),
            others: BTreeMap::new(),
            tied: Vec::new(),
            problems: Vec::new(),
        };
        found.search(table, weights);
        let unused = |name: &str| {
            let last = name.rsplit('.').next();
            let info = folder.file(name).and_then(|file| file.info(name));
            UNUSED.contains(&name)
                || last.is_some_and(|last| UNUSED.contains(&last))
                || info.is_some_and(|info| info.shape.contains(&0))
        };
        let dropped = |name: &str| {
            dropped
                .iter()
                .any(|prefix| name.starts_with(prefix.as_str()))
        };
        for name in std::mem::take(&mut found.left) {
            if !unused(name) && !dropped(name) {
                let path = folder.file(name).map_or(Path::new(""), TensorFile::path);
                found.problems.push(format!(
                    "`{name}` of {} belongs to no weight of the model",
                    path.display()
                ));
            }
        }
        let Search {
            others,
            tied,
            mut problems,
            ..
        } = found;
        if problems.is_empty() {
            for (one, other) in &tied {
                let (Some(first), Some(second)) = (folder.file(one), folder.file(other)) else {
                    continue;
                };
                if !equal((first, one), (second, other))? {
                    problems.push(format!(
                        "`{other}` of {} differs from `{one}`, which it is tied to in this model",
                        second.path().display()
                    ));
                }
            }
        }
        match problems.is_empty() {
            true => Ok(Import {
                folder,
                table,
                weights,
                others,
            }),
            false => Err(folder.mismatch(problems)),
        }
    }

    /// The weights, in order.
    pub fn weights(&self) -> &'a [Weight] {
        self.weights
    }

    /// One layer of `weight`, or all of it (`layer` 0) if it stacks none, as ribosome keeps it, in `f32`. It alone is read.
    ///
    /// # Errors
    /// The file system's own.
    pub fn layer(&self, weight: &Weight, layer: usize) -> Result<HostArray, FolderError> {
        let unknown = || {
            self.folder
                .mismatch(vec![format!("`{}` was not looked for", weight.name)])
        };
        let entry = entry_of(self.table, weight).ok_or_else(unknown)?;
        let own = entry.name(&entry.theirs, weight, layer);
        let name = self.others.get(&own).unwrap_or(&own);
        let file = self.folder.file(name).ok_or_else(unknown)?;
        let info = file.info(name).ok_or_else(unknown)?;
        let mut bytes = vec![0; info.data_offsets.1 - info.data_offsets.0];
        file.read(name, 0, &mut bytes)?;
        let values = floats(info.dtype, &bytes).ok_or_else(unknown)?;
        drop(bytes);
        let (_, sizes) = dims(weight);
        let tensor = ArrayD::from_shape_vec(IxDyn(&info.shape), values).ok();
        let tensor = tensor.and_then(|tensor| entry.read(&sizes, tensor));
        let values = tensor.ok_or_else(unknown)?.into_raw_vec_and_offset().0;
        Ok(HostArray::from_values(layer_shape(weight), &values)?)
    }
}

/// The numbers in `bytes`; none where they are of a type that weights are not read from.
fn floats(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    // safetensors is little-endian, as every host that plugins exist for.
    let halves = || bytes.as_chunks::<2>().0.iter().copied();
    match dtype {
        Dtype::F32 => Some(f32::from_bytes(bytes)),
        Dtype::BF16 => Some(
            halves()
                .map(|half| bf16::from_le_bytes(half).to_f32())
                .collect(),
        ),
        Dtype::F16 => Some(
            halves()
                .map(|half| f16::from_le_bytes(half).to_f32())
                .collect(),
        ),
        _ => None,
    }
}

/// Looking for a model's weights in a folder.
struct Search<'f> {
    folder: &'f Folder,
    /// Tensors that no weight was found in yet.
    left: BTreeSet<&'f str>,
    others: BTreeMap<String, String>,
    /// Tensors that must be equal.
    tied: Vec<(String, String)>,
    problems: Vec<String>,
}

impl Search<'_> {
    fn search(&mut self, table: &[Entry], weights: &[Weight]) {
        // A name that is a weight's own is nobody's other name: the model is not tied there.
        let entries = || {
            weights
                .iter()
                .map(|weight| (weight, entry_of(table, weight)))
        };
        let own: BTreeSet<String> = entries()
            .filter_map(|(weight, entry)| Some(entry?.names(weight)))
            .flatten()
            .collect();
        for (weight, entry) in entries() {
            let Some(entry) = entry else {
                let name = &weight.name;
                self.problems
                    .push(format!("the weight `{name}` has no name in such files"));
                continue;
            };
            for layer in 0..layers(weight) {
                let also = entry
                    .also
                    .iter()
                    .map(|name| entry.name(name, weight, layer));
                let also = also.filter(|name| !own.contains(name)).collect();
                self.tensor(entry, weight, layer, also);
            }
        }
    }

    /// Looks for one tensor under its own name and those that it may have `also`.
    fn tensor(&mut self, entry: &Entry, weight: &Weight, layer: usize, also: Vec<String>) {
        let own = entry.name(&entry.theirs, weight, layer);
        let names: Vec<_> = std::iter::once(own.clone())
            .chain(also)
            .filter(|name| self.folder.has(name))
            .collect();
        for name in &names {
            self.left.remove(name.as_str());
            self.check(name, entry, weight);
        }
        match names.as_slice() {
            [] => self.problems.push(format!(
                "`{own}`, which `{}` is read from, is missing",
                weight.name
            )),
            [name, others @ ..] => {
                if *name != own {
                    self.others.insert(own, name.clone());
                }
                let tied = others.iter().map(|other| (name.clone(), other.clone()));
                self.tied.extend(tied);
            }
        }
    }

    /// Compares the tensor `name` with what `weight` is read from.
    fn check(&mut self, name: &str, entry: &Entry, weight: &Weight) {
        let file = self.folder.file(name);
        let Some((file, info)) = file.and_then(|file| Some((file, file.info(name)?))) else {
            return;
        };
        let path = file.path().display();
        let expected = entry.file_dims(&dims(weight).1);
        if info.shape != expected {
            self.problems.push(format!(
                "`{name}` of {path} is {:?}, and `{}` is read from {expected:?}",
                info.shape, weight.name
            ));
        } else if floats(info.dtype, &[]).is_none() {
            self.problems.push(format!(
                "`{name}` of {path} is of type {:?}; F32, F16 and BF16 are read",
                info.dtype
            ));
        }
    }
}

/// Whether two tensors are of one type and size and have the same bytes; a part at a time is on the host.
fn equal(one: (&TensorFile, &str), other: (&TensorFile, &str)) -> Result<bool, FolderError> {
    const PART: usize = 1 << 22;
    let (Some(first), Some(second)) = (one.0.info(one.1), other.0.info(other.1)) else {
        return Ok(false);
    };
    if first.dtype != second.dtype || first.shape != second.shape {
        return Ok(false);
    }
    let size = first.data_offsets.1 - first.data_offsets.0;
    let mut parts = [vec![0; PART.min(size)], vec![0; PART.min(size)]];
    for from in (0..size).step_by(PART) {
        let count = PART.min(size - from);
        let [left, right] = &mut parts;
        one.0.read(one.1, from, &mut left[..count])?;
        other.0.read(other.1, from, &mut right[..count])?;
        if left[..count] != right[..count] {
            return Ok(false);
        }
    }
    Ok(true)
}
