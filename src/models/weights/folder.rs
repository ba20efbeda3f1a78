//! A Hugging Face folder: `model.safetensors`, or `model.safetensors.index.json` and the parts that it names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::super::hugging_face::ConfigError;
use super::file::{FileError, TensorFile};
use crate::runtime;

/// The file of a model in one part.
pub(super) const SINGLE: &str = "model.safetensors";
/// The file that states which part has which tensor.
pub(super) const INDEX: &str = "model.safetensors.index.json";
/// The file of the model's configuration.
pub(super) const CONFIG: &str = "config.json";

/// Errors of a folder of weights.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// An error of one of its files.
    #[error(transparent)]
    File(#[from] FileError),
    /// The folder has no weights.
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
    /// A JSON file is damaged or has another structure.
    #[error("{} cannot be used: {reason}", path.display())]
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
        /// The problems, tensor by tensor.
        problems: Vec<String>,
    },
    /// The configuration is of a model that ribosome does not have.
    #[error("{}: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ConfigError,
    },
    /// A file to be written exists already.
    #[error("{} exists already; choose another folder", .0.display())]
    Exists(PathBuf),
    /// An error of the runtime.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
}

impl FolderError {
    /// The error in the `config.json` of `folder`.
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
    /// No weights, a file that cannot be read or was cut off, or an index that does not match its parts.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let mut folder = Folder {
            path: path.to_path_buf(),
            files: Vec::new(),
            tensors: BTreeMap::new(),
        };
        // As in transformers, a single file takes precedence over an index.
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
    /// A missing file, or one that is not a JSON object.
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

    /// Opens all files that the index names and compares them with it.
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
                file.ok_or_else(|| wrong(&format!("no file of the folder has `{tensor}`")))?;
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
                    "`{tensor}` is not in {}, where the index places it",
                    path.display()
                ));
            }
        }
        for (tensor, at) in &self.tensors {
            if !wanted.contains_key(tensor) {
                let path = self.files[*at].path().display();
                problems.push(format!("`{tensor}` is in {path}, but not in the index"));
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
    /// Errors of the file system.
    pub fn equals(&self, other: &Folder, name: &str) -> Result<bool, FolderError> {
        match (self.file(name), other.file(name)) {
            (Some(one), Some(other)) => equal((one, name), (other, name)),
            (one, other) => Ok(one.is_none() && other.is_none()),
        }
    }

    /// Whether there is a tensor `name` of these sizes with only zeros.
    ///
    /// # Errors
    /// Errors of the file system.
    pub fn is_zero(&self, name: &str, sizes: &[usize]) -> Result<bool, FolderError> {
        let found = self.file(name);
        let Some((file, info)) = found.and_then(|file| Some((file, file.info(name)?))) else {
            return Ok(false);
        };
        if info.shape != sizes {
            return Ok(false);
        }
        let mut bytes = vec![0; info.data_offsets.1 - info.data_offsets.0];
        file.read(name, 0, &mut bytes)?;
        // -0.0 does not count as 0: what is written back must be what was read.
        Ok(bytes.iter().all(|byte| *byte == 0))
    }

    /// The file that has the tensor `name`.
    pub(super) fn file(&self, name: &str) -> Option<&TensorFile> {
        self.tensors.get(name).map(|at| &self.files[*at])
    }

    /// The error of this folder with `problems`.
    pub(super) fn mismatch(&self, mut problems: Vec<String>) -> FolderError {
        /// The most problems to list: a wrong model differs in everything.
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

/// Whether two tensors have the same type, sizes and bytes. The host holds only a part of them at a time.
pub(super) fn equal(
    one: (&TensorFile, &str),
    other: (&TensorFile, &str),
) -> Result<bool, FolderError> {
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
