//! Reading a checkpoint: first its header, then one tensor, or one layer of a tensor, at a time.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::write::dtype;
use super::{About, CheckpointError, FORMAT, KEY, Metadata, Result, hex};
use crate::graph::Shape;
use crate::models::weights::TensorFile;
use crate::runtime::HostArray;

/// An open checkpoint, whose header has been read and whose length has been checked.
#[derive(Debug)]
pub struct Checkpoint {
    file: TensorFile,
    record: Metadata,
}

impl Checkpoint {
    /// Opens the checkpoint `path`.
    ///
    /// # Errors
    /// There is no file, it is not a checkpoint, or its format or length is wrong.
    pub fn open(path: &Path) -> Result<Self> {
        let unreadable = |reason: String| CheckpointError::Unreadable {
            path: path.to_path_buf(),
            reason,
        };
        let file = TensorFile::open(path)?;
        let text = file.text(KEY).ok_or_else(|| {
            unreadable(format!(
                "its metadata has no `{KEY}`: ribosome did not write it"
            ))
        })?;
        let damaged = |error: serde_json::Error| {
            unreadable(format!("its metadata `{KEY}` is damaged: {error}"))
        };
        let value: serde_json::Value = serde_json::from_str(text).map_err(damaged)?;
        // The format comes first, because it decides what the rest looks like.
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(found) if found != u64::from(FORMAT) => {
                return Err(CheckpointError::Format {
                    path: path.to_path_buf(),
                    found,
                });
            }
            _ => {}
        }
        let record: Metadata = serde_json::from_value(value).map_err(damaged)?;
        Ok(Checkpoint { file, record })
    }

    /// The file's metadata about its run.
    pub fn about(&self) -> &About {
        &self.record.about
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Compares the tensors with those that a run has.
    ///
    /// # Errors
    /// All tensors that are missing, superfluous or of another shape.
    pub fn check(&self, tensors: &[(String, Shape)]) -> Result<()> {
        let mut problems = self.problems(tensors);
        let known = self.file.tensors().into_keys();
        let mut others: Vec<_> = known
            .filter(|name| !tensors.iter().any(|(tensor, _)| tensor == name))
            .collect();
        others.sort();
        problems.extend(
            others
                .iter()
                .map(|name| format!("the model has no `{name}`")),
        );
        self.refuse(problems)
    }

    /// Checks that the file holds the tensors; it may hold others too.
    ///
    /// # Errors
    /// All tensors that are missing or of another shape.
    pub fn check_some(&self, tensors: &[(String, Shape)]) -> Result<()> {
        self.refuse(self.problems(tensors))
    }

    fn problems(&self, tensors: &[(String, Shape)]) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, shape) in tensors {
            let Some(info) = self.file.info(name) else {
                problems.push(format!("the checkpoint has no `{name}`"));
                continue;
            };
            if info.shape != shape.dims() || dtype(shape.dtype) != Some(info.dtype) {
                problems.push(format!(
                    "`{name}` is {:?}{:?} in the checkpoint and {shape} in the model",
                    info.dtype, info.shape
                ));
            }
        }
        problems
    }

    fn refuse(&self, mut problems: Vec<String>) -> Result<()> {
        /// A wrong model differs everywhere; the first few differences are enough.
        const SHOWN: usize = 8;
        if problems.len() > SHOWN {
            let more = problems.len() - SHOWN;
            problems.truncate(SHOWN);
            problems.push(format!("and {more} more"));
        }
        match problems.is_empty() {
            true => Ok(()),
            false => Err(CheckpointError::Mismatch {
                path: self.path().to_path_buf(),
                problems,
            }),
        }
    }

    /// Reads the tensor `name` of `shape`.
    ///
    /// # Errors
    /// The tensor is missing, damaged or of another shape, or the file system fails.
    pub fn read(&self, name: &str, shape: &Shape) -> Result<HostArray> {
        let mut bytes = vec![0; self.bytes(name)?];
        self.file.read(name, 0, &mut bytes)?;
        self.compare(name, &Sha256::digest(&bytes))?;
        self.array(shape.clone(), bytes)
    }

    /// Checks the bytes of the tensor `name` against their hash, with one part of them in memory at a time.
    ///
    /// # Errors
    /// As [`Checkpoint::read`].
    pub fn check_bytes(&self, name: &str) -> Result<()> {
        const PART: usize = 1 << 22;
        let size = self.bytes(name)?;
        let mut hash = Sha256::new();
        let mut part = vec![0; PART.min(size)];
        for from in (0..size).step_by(PART) {
            let part = &mut part[..PART.min(size - from)];
            self.file.read(name, from, part)?;
            hash.update(part);
        }
        self.compare(name, &hash.finalize())
    }

    /// Reads one layer, of `shape`, of the tensor `name`, which stacks layers along its first axis. The hash is not checked:
    /// see [`Checkpoint::check_bytes`].
    ///
    /// # Errors
    /// The tensor is missing or has no such layer, or the file system fails.
    pub fn read_layer(&self, name: &str, layer: usize, shape: &Shape) -> Result<HostArray> {
        let mut bytes = vec![0; shape.bytes()];
        self.file.read(name, layer * bytes.len(), &mut bytes)?;
        self.array(shape.clone(), bytes)
    }

    fn bytes(&self, name: &str) -> Result<usize> {
        let info = self.file.info(name);
        let offsets = info.map(|info| info.data_offsets);
        let (from, to) =
            offsets.ok_or_else(|| self.mismatch(format!("the checkpoint has no `{name}`")))?;
        Ok(to - from)
    }

    fn compare(&self, name: &str, digest: &[u8]) -> Result<()> {
        match self.record.sha256.get(name) == Some(&hex(digest)) {
            true => Ok(()),
            false => Err(CheckpointError::Damaged {
                path: self.path().to_path_buf(),
                tensor: name.to_string(),
            }),
        }
    }

    fn array(&self, shape: Shape, bytes: Vec<u8>) -> Result<HostArray> {
        HostArray::from_bytes(shape, bytes).map_err(|error| self.mismatch(error.to_string()))
    }

    fn mismatch(&self, problem: String) -> CheckpointError {
        CheckpointError::Mismatch {
            path: self.path().to_path_buf(),
            problems: vec![problem],
        }
    }
}
