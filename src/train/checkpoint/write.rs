//! Writing a checkpoint: beside its final name, synced and renamed.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use sha2::{Digest, Sha256};

use super::{About, CheckpointError, KEY, Metadata, Result, hex};
use crate::graph::{DType, Shape};
use crate::models::weights;
use crate::runtime::{self, HostArray};

/// Writes the checkpoint `path`: the `tensors` by name and shape, in this order, each fetched by `fetch` when its turn
/// comes. `path` does not change before the whole file is on the disk.
///
/// # Errors
/// Errors of the file system and the plugin, which name file and tensor. The previous file at `path` stays.
pub fn save(
    path: &Path,
    about: &About,
    tensors: &[(String, Shape)],
    fetch: impl FnMut(&str) -> runtime::Result<HostArray>,
) -> Result<()> {
    save_parts(path, about, tensors, fetched(path, fetch))
}

/// What fetches each whole tensor.
pub(super) fn fetched<'p>(
    path: &'p Path,
    mut fetch: impl FnMut(&str) -> runtime::Result<HostArray> + 'p,
) -> impl FnMut(&str, &mut Sink<'_>) -> Result<()> + 'p {
    move |name, sink| {
        let array = fetch(name).map_err(|source| CheckpointError::Fetch {
            path: path.to_path_buf(),
            tensor: name.to_string(),
            source,
        })?;
        // safetensors is little-endian, and so is every host that plugins exist for.
        sink.put(array.bytes())
    }
}

/// Like [`save`], but `fill` gives each tensor part by part, so that no whole tensor has to fit in host memory.
///
/// # Errors
/// As [`save`], and those of `fill`.
pub fn save_parts<E: From<CheckpointError>>(
    path: &Path,
    about: &About,
    tensors: &[(String, Shape)],
    fill: impl FnMut(&str, &mut Sink<'_>) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let io = |source| CheckpointError::Io {
        what: "write".into(),
        path: path.to_path_buf(),
        source,
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let file = weights::temporary(folder, ".checkpoint-").map_err(io)?;
    let file = write(file, path, about, tensors, fill)?;
    let place = || {
        file.as_file().sync_all()?;
        file.persist(path)?;
        // The new name is on the disk only after the folder is synced.
        File::open(folder)?.sync_all()
    };
    Ok(place().map_err(io)?)
}

/// Where the bytes of one tensor go.
pub struct Sink<'w> {
    out: &'w mut dyn Write,
    hash: Sha256,
    written: usize,
    path: &'w Path,
    name: &'w str,
}

impl Sink<'_> {
    /// Writes the next bytes of the tensor.
    ///
    /// # Errors
    /// The file system's error, which names file and tensor.
    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        self.written += bytes.len();
        (self.out.write_all(bytes)).map_err(|source| CheckpointError::Io {
            what: format!("write `{}` to", self.name),
            path: self.path.to_path_buf(),
            source,
        })
    }
}

/// Writes the whole checkpoint to `out`, which will be called `path`.
pub(super) fn write<W: Write + Seek, E: From<CheckpointError>>(
    out: W,
    path: &Path,
    about: &About,
    tensors: &[(String, Shape)],
    mut fill: impl FnMut(&str, &mut Sink<'_>) -> std::result::Result<(), E>,
) -> std::result::Result<W, E> {
    let io = |source| CheckpointError::Io {
        what: "write".into(),
        path: path.to_path_buf(),
        source,
    };
    let mut out = BufWriter::with_capacity(1 << 20, out);
    let names = tensors.iter().map(|(name, _)| name.clone());
    let mut record = Metadata {
        about: about.clone(),
        sha256: names.map(|name| (name, "0".repeat(64))).collect(),
    };
    let begin = header(path, &record, tensors)?;
    out.write_all(&begin).map_err(io)?;
    for (name, shape) in tensors {
        let mut sink = Sink {
            out: &mut out,
            hash: Sha256::new(),
            written: 0,
            path,
            name,
        };
        fill(name, &mut sink)?;
        let (written, digest) = (sink.written, sink.hash.finalize());
        if written != shape.bytes() {
            let reason = format!("`{name}` is {shape}, but {written} bytes were given");
            let path = path.to_path_buf();
            return Err(CheckpointError::Unreadable { path, reason }.into());
        }
        record.sha256.insert(name.clone(), hex(&digest));
    }
    let end = header(path, &record, tensors)?;
    let finish = || {
        out.seek(SeekFrom::Start(0))?;
        out.write_all(&end)?;
        Ok(out.into_inner()?)
    };
    Ok(finish().map_err(io)?)
}

/// The length prefix and the header of the file, in safetensors' format.
fn header(path: &Path, record: &Metadata, tensors: &[(String, Shape)]) -> Result<Vec<u8>> {
    let unreadable = |reason: String| CheckpointError::Unreadable {
        path: path.to_path_buf(),
        reason,
    };
    let mut offset = 0;
    let infos = tensors.iter().map(|(name, shape)| {
        let start = offset;
        offset += shape.bytes();
        let dtype = dtype(shape.dtype).ok_or_else(|| {
            unreadable(format!(
                "`{name}` is {shape}, which is too large for a file"
            ))
        })?;
        let info = TensorInfo {
            dtype,
            shape: shape.dims(),
            data_offsets: (start, offset),
        };
        Ok((name.clone(), info))
    });
    let infos = infos.collect::<Result<Vec<_>>>()?;
    let text = serde_json::to_string(record).map_err(|error| unreadable(error.to_string()))?;
    weights::header(HashMap::from([(KEY.to_string(), text)]), infos).map_err(unreadable)
}

pub(super) fn dtype(dtype: DType) -> Option<Dtype> {
    Some(match dtype {
        DType::Pred => Dtype::BOOL,
        DType::S32 => Dtype::I32,
        DType::U32 => Dtype::U32,
        DType::BF16 => Dtype::BF16,
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
        DType::Tuple => return None,
    })
}
