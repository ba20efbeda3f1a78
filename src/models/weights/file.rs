//! One safetensors file: its header, and positioned reads of its tensors.
//!
//! Files are read by position and not memory-mapped. Mapping needs `unsafe`, which only `runtime/pjrt` contains, and the
//! process dies if a mapped file is truncated.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Metadata, TensorInfo};

/// The longest header (safetensors' own limit).
const MAX_HEADER: u64 = 100_000_000;

/// Errors of a safetensors file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// An error of the file system.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// The operation.
        what: String,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file does not exist.
    #[error("there is no file {}", .0.display())]
    Absent(PathBuf),
    /// The file is not a safetensors file.
    #[error("{} is not a safetensors file: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file's length does not match its header.
    #[error(
        "{} has {actual} bytes, but its header says {expected}: it was cut off or changed",
        path.display()
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes according to the header.
        expected: u64,
        /// Actual bytes.
        actual: u64,
    },
}

/// An open file, its header read and its length checked.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    /// The offset of the tensors.
    start: u64,
}

impl TensorFile {
    /// Opens the file `path`.
    ///
    /// # Errors
    /// A missing file, a file in another format, or a length that does not match the header.
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
                "it does not begin like a safetensors file".into(),
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

    /// The header's entries other than tensors.
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

    /// Fills `bytes` from the tensor `name`, starting at its byte `from`.
    ///
    /// # Errors
    /// A tensor that is missing or too short, and errors of the file system.
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

/// The length and header with which a safetensors file of `tensors` begins.
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

/// A new file in `folder` that is deleted when dropped, with the usual permissions of a new file.
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
