//! One safetensors file: its header, and positioned reads of its tensors.
//!
//! Reading seeks and reads, and maps nothing. A map would need `unsafe`, which is in `runtime/pjrt` alone; and under a map,
//! a file that is cut off meanwhile ends the process.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Metadata, TensorInfo};

/// A header longer than this is none (safetensors' own limit).
const MAX_HEADER: u64 = 100_000_000;

/// What can be wrong with a safetensors file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file system refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was being done.
        what: String,
        /// To which file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// There is no such file.
    #[error("there is no file {}", .0.display())]
    Absent(PathBuf),
    /// The file is no safetensors file.
    #[error("{} is no safetensors file: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file's length is not what its header says.
    #[error(
        "{} has {actual} bytes, and its header says {expected}: it was cut off or changed",
        path.display()
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes by the header.
        expected: u64,
        /// Bytes there are.
        actual: u64,
    },
}

/// An open file, its header read and its length checked.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    /// Where the tensors begin.
    start: u64,
}

impl TensorFile {
    /// Opens the file `path`.
    ///
    /// # Errors
    /// No file, no safetensors file, or a length that the header does not say.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let io = |source: std::io::Error| match source.kind() {
            ErrorKind::NotFound => FileError::Absent(path.to_path_buf()),
            _ => FileError::Io {
                what: "read".into(),
                path: path.to_path_buf(),
                source,
            },
        };
        let unreadable = |reason: String| FileError::Unreadable {
            path: path.to_path_buf(),
            reason,
        };
        let mut file = File::open(path).map_err(io)?;
        let actual = file.metadata().map_err(io)?.len();
        if actual < 8 {
            return Err(unreadable(format!("it has {actual} bytes")));
        }
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(io)?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER {
            return Err(unreadable(
                "it does not begin as a safetensors file does".into(),
            ));
        }
        let start = 8 + length;
        let cut_off = |expected: u64| FileError::Length {
            path: path.to_path_buf(),
            expected,
            actual,
        };
        if start > actual {
            return Err(cut_off(start));
        }
        let mut json = vec![0; length as usize];
        file.read_exact(&mut json).map_err(io)?;
        let metadata: Metadata = serde_json::from_slice(&json)
            .map_err(|error| unreadable(format!("its header is damaged: {error}")))?;
        let expected = start + metadata.data_len() as u64;
        if expected != actual {
            return Err(cut_off(expected));
        }
        Ok(TensorFile {
            path: path.to_path_buf(),
            file,
            metadata,
            start,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the header says besides the tensors.
    pub fn text(&self, key: &str) -> Option<&str> {
        let entries = self.metadata.metadata().as_ref()?;
        entries.get(key).map(String::as_str)
    }

    /// Every tensor with its type and sizes.
    pub fn tensors(&self) -> HashMap<String, &TensorInfo> {
        self.metadata.tensors()
    }

    /// The tensor `name`'s type and sizes.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.metadata.info(name)
    }

    /// Reads as many bytes as `bytes` has of the tensor `name`, from its byte `from` on.
    ///
    /// # Errors
    /// A tensor that is not there or is not so long, or the file system's own.
    pub fn read(&self, name: &str, from: usize, bytes: &mut [u8]) -> Result<(), FileError> {
        let io = |source| FileError::Io {
            what: format!("read `{name}` of"),
            path: self.path.clone(),
            source,
        };
        let (start, end) = self.info(name).map_or((0, 0), |info| info.data_offsets);
        if from
            .checked_add(bytes.len())
            .is_none_or(|to| to > end - start)
        {
            return Err(io(ErrorKind::UnexpectedEof.into()));
        }
        let mut file = &self.file;
        let at = self.start + (start + from) as u64;
        file.seek(SeekFrom::Start(at))
            .and_then(|_| file.read_exact(bytes))
            .map_err(io)
    }
}

/// Length and header of a file of `tensors`, as safetensors has them.
///
/// # Errors
/// Sizes that do not fit the offsets.
pub(crate) fn header(
    texts: HashMap<String, String>,
    tensors: Vec<(String, TensorInfo)>,
) -> Result<Vec<u8>, String> {
    let metadata = Metadata::new(Some(texts), tensors).map_err(|error| error.to_string())?;
    let mut json = serde_json::to_vec(&metadata).map_err(|error| error.to_string())?;
    // Tensors begin at a multiple of 8 bytes.
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut json);
    Ok(bytes)
}

/// A new file in `folder` that is gone when dropped, with the permissions that any new file gets.
pub(crate) fn temporary(folder: &Path, prefix: &str) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix).suffix(".part");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}
