//! Reads a case's file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ndarray::ArrayD;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value};

/// A numeric reference.
#[derive(Clone, Debug)]
pub struct Case {
    /// The file's name without its ending.
    pub name: String,
    /// The class that the reference ran.
    pub kind: String,
    /// The arguments it was created with.
    pub arguments: Map<String, Value>,
    /// The model's configuration in Hugging Face's form.
    pub config: Map<String, Value>,
    /// All tensors; whole numbers are exact in `f32` up to 2^24.
    pub tensors: BTreeMap<String, ArrayD<f32>>,
    /// The names of those that hold whole numbers.
    pub integers: BTreeSet<String>,
}

/// What is wrong with a case's file.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a case in safetensors form.
    #[error("{} is not a numeric reference: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

impl Case {
    /// Reads the case in `path`.
    ///
    /// # Errors
    /// The file cannot be read, is truncated, or has no `meta`.
    pub fn read(path: &Path) -> Result<Self, CaseError> {
        let bytes = std::fs::read(path).map_err(|source| CaseError::Unreadable {
            path: path.into(),
            source,
        })?;
        Case::parse(&bytes, path).map_err(|message| CaseError::Invalid {
            path: path.into(),
            message,
        })
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Self, String> {
        let text = |error: safetensors::SafeTensorError| error.to_string();
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(text)?;
        let meta = header.metadata().as_ref().and_then(|meta| meta.get("meta"));
        let meta = meta.ok_or("its metadata has no `meta`")?;
        let meta: Map<String, Value> =
            serde_json::from_str(meta).map_err(|error| error.to_string())?;
        let object = |key: &str| {
            meta.get(key)
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default()
        };
        let kind = meta
            .get("kind")
            .and_then(Value::as_str)
            .ok_or("its `meta` names no kind")?;
        let mut tensors = BTreeMap::new();
        let mut integers = BTreeSet::new();
        for (name, view) in SafeTensors::deserialize(bytes).map_err(text)?.iter() {
            let (words, _) = view.data().as_chunks::<4>();
            let values: Vec<f32> = match view.dtype() {
                Dtype::F32 => words.iter().map(|word| f32::from_le_bytes(*word)).collect(),
                Dtype::I32 => {
                    integers.insert(name.to_string());
                    words
                        .iter()
                        .map(|word| i32::from_le_bytes(*word) as f32)
                        .collect()
                }
                other => {
                    return Err(format!(
                        "`{name}` has type {other:?}; only F32 and I32 are supported"
                    ));
                }
            };
            let tensor =
                ArrayD::from_shape_vec(view.shape(), values).map_err(|error| error.to_string())?;
            tensors.insert(name.to_string(), tensor);
        }
        Ok(Case {
            name: path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            kind: kind.to_string(),
            arguments: object("args"),
            config: object("config"),
            tensors,
            integers,
        })
    }

    /// The argument `key`, if it is text.
    pub fn argument(&self, key: &str) -> Option<&str> {
        self.arguments.get(key).and_then(Value::as_str)
    }

    /// The tensors whose names start with `prefix`, without it.
    pub fn below(&self, prefix: &str) -> BTreeMap<String, ArrayD<f32>> {
        let found = self.tensors.iter().filter_map(|(name, tensor)| {
            let name = name.strip_prefix(prefix)?;
            Some((name.to_string(), tensor.clone()))
        });
        found.collect()
    }

    /// The tensor `name`.
    ///
    /// # Errors
    /// There is no such tensor.
    pub fn tensor(&self, name: &str) -> Result<&ArrayD<f32>, CaseError> {
        self.tensors.get(name).ok_or_else(|| CaseError::Invalid {
            path: PathBuf::from(&self.name),
            message: format!("it has no tensor `{name}`"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_files_are_refused() {
        let error = Case::read(Path::new("no/such.safetensors"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("cannot read no/such.safetensors"), "{error}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cut.safetensors");
        std::fs::write(&path, [200, 0, 0, 0, 0, 0, 0, 0, b'{']).unwrap();
        let error = Case::read(&path).unwrap_err().to_string();
        assert!(error.contains("is not a numeric reference"), "{error}");
    }
}
