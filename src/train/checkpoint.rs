//! Checkpoints: one safetensors file with every weight and all optimizer state, and in its metadata what a run needs to go
//! on from there ([`About`]).
//!
//! A file is written beside its final name, synced and renamed, so that there is always one whole checkpoint: the old one
//! until the new one is complete. Tensors pass through the host one at a time, both ways. Each has its SHA-256 in the
//! metadata, so that a damaged file is told from a good one; the hashes are known only after the tensors have gone by,
//! so the header is written twice, at the same length.
//!
//! Reading seeks and reads, and maps nothing: under a map, a file that is cut off meanwhile ends the process.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::graph::{DType, Shape};
use crate::runtime::{self, HostArray};

/// The version of the metadata that this program writes, and the only one it reads.
pub const FORMAT: u32 = 1;

/// The key of safetensors' metadata under which [`About`] stands, as JSON. It is one key because safetensors keeps its
/// keys in no fixed order, and equal runs shall write equal files.
const KEY: &str = "ribosome";

/// A header longer than this is none (safetensors' own limit).
const MAX_HEADER: u64 = 100_000_000;

/// What a checkpoint says of its run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The version of this record.
    pub format: u32,
    /// Steps done: the number of the step that comes next, counted from 0.
    pub steps_done: u64,
    /// The run's seed.
    pub seed: u32,
    /// The mesh that it ran on; it may go on on another.
    pub mesh: String,
    /// The fingerprint of the step's program.
    pub program: String,
    /// The fingerprint of the data set.
    pub data: String,
    /// The recipe as TOML.
    pub recipe: String,
}

/// The metadata as it is written.
#[derive(Serialize, Deserialize)]
struct Record {
    #[serde(flatten)]
    about: About,
    /// SHA-256 of each tensor's bytes, in hex.
    sha256: BTreeMap<String, String>,
}

/// What can be wrong with a checkpoint or its file.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
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
    #[error("there is no checkpoint {}; a run that has saved none starts without --resume", .0.display())]
    Absent(PathBuf),
    /// The file is no safetensors file, or no checkpoint of this program.
    #[error("{} is no checkpoint: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file's length is not what its header says.
    #[error(
        "the checkpoint {} has {actual} bytes, and its header says {expected}: it was cut off or changed; \
         take an earlier copy",
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
    /// A version that this program does not know.
    #[error(
        "the checkpoint {} has format {found}, and this program reads format {FORMAT}; \
         go on with the ribosome that wrote it",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// The tensors are not those of this model and optimizer.
    #[error(
        "the checkpoint {} is of another model or optimizer:\n  {}\n  go on with the recipe it was made with",
        path.display(), problems.join("\n  ")
    )]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// What does not fit, tensor by tensor.
        problems: Vec<String>,
    },
    /// A tensor's bytes are not those that were written.
    #[error(
        "the tensor `{tensor}` of the checkpoint {} is damaged: its hash is not the one written with it; \
         take an earlier copy",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A tensor could not be brought from the devices.
    #[error("cannot fetch `{tensor}` for the checkpoint {}: {source}", path.display())]
    Fetch {
        /// The file that was being written.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The plugin's error.
        source: runtime::Error,
    },
}

type Result<T> = std::result::Result<T, CheckpointError>;

/// Writes the checkpoint `path`: the `tensors` by name and shape, in this order, each brought by `fetch` when its turn
/// comes. Nothing is changed at `path` before all of it is on the disk.
///
/// # Errors
/// The file system's and the plugin's, naming file and tensor. What stood at `path` before stays.
pub fn save(
    path: &Path,
    about: &About,
    tensors: &[(String, Shape)],
    fetch: impl FnMut(&str) -> runtime::Result<HostArray>,
) -> Result<()> {
    let io = |what: String| {
        move |source| CheckpointError::Io {
            what,
            path: path.to_path_buf(),
            source,
        }
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let file = temporary(folder).map_err(io("write".into()))?;
    let file = write(file, path, about, tensors, fetch)?;
    let place = || {
        file.as_file().sync_all()?;
        file.persist(path)?;
        // The new name is on the disk once the folder is.
        File::open(folder)?.sync_all()
    };
    place().map_err(io("write".into()))
}

/// Writes the whole checkpoint to `out`, which will be called `path`.
fn write<W: Write + Seek>(
    out: W,
    path: &Path,
    about: &About,
    tensors: &[(String, Shape)],
    mut fetch: impl FnMut(&str) -> runtime::Result<HostArray>,
) -> Result<W> {
    let io = |what: String| {
        move |source| CheckpointError::Io {
            what,
            path: path.to_path_buf(),
            source,
        }
    };
    let mut out = BufWriter::with_capacity(1 << 20, out);
    let names = tensors.iter().map(|(name, _)| name.clone());
    let mut record = Record {
        about: about.clone(),
        sha256: names.map(|name| (name, "0".repeat(64))).collect(),
    };
    let begin = header(path, &record, tensors)?;
    out.write_all(&begin).map_err(io("write".into()))?;
    for (name, _) in tensors {
        let array = fetch(name).map_err(|source| CheckpointError::Fetch {
            path: path.to_path_buf(),
            tensor: name.clone(),
            source,
        })?;
        // safetensors is little-endian, as every host that plugins exist for.
        record.sha256.insert(name.clone(), sha256(array.bytes()));
        out.write_all(array.bytes())
            .map_err(io(format!("write `{name}` to")))?;
    }
    let end = header(path, &record, tensors)?;
    let finish = || {
        out.seek(SeekFrom::Start(0))?;
        out.write_all(&end)?;
        Ok(out.into_inner()?)
    };
    finish().map_err(io("write".into()))
}

/// A new file in `folder` that is gone when dropped, with the permissions that any new file gets.
fn temporary(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".checkpoint-").suffix(".part");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

/// Length and header of the file, as safetensors has them.
fn header(path: &Path, record: &Record, tensors: &[(String, Shape)]) -> Result<Vec<u8>> {
    let unreadable = |reason: String| CheckpointError::Unreadable {
        path: path.to_path_buf(),
        reason,
    };
    let mut offset = 0;
    let infos = tensors.iter().map(|(name, shape)| {
        let start = offset;
        offset += shape.bytes();
        let dtype = dtype(shape.dtype)
            .ok_or_else(|| unreadable(format!("`{name}` is {shape}, which no file holds")))?;
        let info = TensorInfo {
            dtype,
            shape: shape.dims(),
            data_offsets: (start, offset),
        };
        Ok((name.clone(), info))
    });
    let infos = infos.collect::<Result<Vec<_>>>()?;
    let text = serde_json::to_string(record).map_err(|error| unreadable(error.to_string()))?;
    let metadata = HashMap::from([(KEY.to_string(), text)]);
    let metadata =
        Metadata::new(Some(metadata), infos).map_err(|error| unreadable(error.to_string()))?;
    let mut json = serde_json::to_vec(&metadata).map_err(|error| unreadable(error.to_string()))?;
    // Tensors begin at a multiple of 8 bytes.
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut json);
    Ok(bytes)
}

fn dtype(dtype: DType) -> Option<Dtype> {
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

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An open checkpoint, its header read and its length checked.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    record: Record,
    /// Where the tensors begin.
    start: u64,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.about.fmt(f)
    }
}

impl Checkpoint {
    /// Opens the checkpoint `path`.
    ///
    /// # Errors
    /// No file, no checkpoint, another format, or a length that the header does not say.
    pub fn open(path: &Path) -> Result<Self> {
        let io = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => CheckpointError::Absent(path.to_path_buf()),
            _ => CheckpointError::Io {
                what: "read".into(),
                path: path.to_path_buf(),
                source,
            },
        };
        let unreadable = |reason: String| CheckpointError::Unreadable {
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
        if start > actual {
            return Err(CheckpointError::Length {
                path: path.to_path_buf(),
                expected: start,
                actual,
            });
        }
        let mut json = vec![0; length as usize];
        file.read_exact(&mut json).map_err(io)?;
        let metadata: Metadata = serde_json::from_slice(&json)
            .map_err(|error| unreadable(format!("its header is damaged: {error}")))?;
        let text = (metadata.metadata().as_ref())
            .and_then(|entries| entries.get(KEY))
            .ok_or_else(|| {
                unreadable(format!(
                    "its metadata has no `{KEY}`: ribosome did not write it"
                ))
            })?;
        let damaged = |error: serde_json::Error| {
            unreadable(format!("its metadata `{KEY}` is damaged: {error}"))
        };
        let value: serde_json::Value = serde_json::from_str(text).map_err(damaged)?;
        // The format first: what follows may differ from one to the next.
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(found) if found != u64::from(FORMAT) => {
                return Err(CheckpointError::Format {
                    path: path.to_path_buf(),
                    found,
                });
            }
            _ => {}
        }
        let record: Record = serde_json::from_value(value).map_err(damaged)?;
        let expected = start + metadata.data_len() as u64;
        if expected != actual {
            return Err(CheckpointError::Length {
                path: path.to_path_buf(),
                expected,
                actual,
            });
        }
        Ok(Checkpoint {
            path: path.to_path_buf(),
            file,
            metadata,
            record,
            start,
        })
    }

    /// What the file says of its run.
    pub fn about(&self) -> &About {
        &self.record.about
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Compares the tensors with those that a run has.
    ///
    /// # Errors
    /// All that are missing, too many, or of another shape.
    pub fn check(&self, tensors: &[(String, Shape)]) -> Result<()> {
        let mut problems = Vec::new();
        let mut known = self.metadata.tensors();
        for (name, shape) in tensors {
            let Some(info) = known.remove(name) else {
                problems.push(format!("`{name}` is not in it"));
                continue;
            };
            if info.shape != shape.dims() || dtype(shape.dtype) != Some(info.dtype) {
                problems.push(format!(
                    "`{name}` is {:?}{:?} in it, and {shape} in the model",
                    info.dtype, info.shape
                ));
            }
        }
        let mut others: Vec<_> = known.into_keys().collect();
        others.sort();
        problems.extend(
            others
                .iter()
                .map(|name| format!("the model has no `{name}`")),
        );
        /// A wrong model differs in everything; the first few say it.
        const SHOWN: usize = 8;
        if problems.len() > SHOWN {
            let more = problems.len() - SHOWN;
            problems.truncate(SHOWN);
            problems.push(format!("and {more} more"));
        }
        match problems.is_empty() {
            true => Ok(()),
            false => Err(CheckpointError::Mismatch {
                path: self.path.clone(),
                problems,
            }),
        }
    }

    /// Reads the tensor `name`, which is of `shape`.
    ///
    /// # Errors
    /// A tensor that is not there or of another shape, damaged bytes, or the file system's own.
    pub fn read(&self, name: &str, shape: &Shape) -> Result<HostArray> {
        let mismatch = |problem: String| CheckpointError::Mismatch {
            path: self.path.clone(),
            problems: vec![problem],
        };
        let info =
            (self.metadata.info(name)).ok_or_else(|| mismatch(format!("`{name}` is not in it")))?;
        let (from, to) = info.data_offsets;
        let mut bytes = vec![0; to - from];
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.start + from as u64))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|source| CheckpointError::Io {
                what: format!("read `{name}` of"),
                path: self.path.clone(),
                source,
            })?;
        if self.record.sha256.get(name) != Some(&sha256(&bytes)) {
            return Err(CheckpointError::Damaged {
                path: self.path.clone(),
                tensor: name.to_string(),
            });
        }
        HostArray::from_bytes(shape.clone(), bytes).map_err(|error| mismatch(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about() -> About {
        About {
            format: FORMAT,
            steps_done: 3,
            seed: 7,
            mesh: "data=4,model=2".into(),
            program: "sha256:1".into(),
            data: "sha256:2".into(),
            recipe: "name = \"test\"\n".into(),
        }
    }

    fn shape(dtype: DType, sizes: &[usize]) -> Shape {
        let names = ["a", "b", "c"];
        Shape::new(dtype, names.into_iter().zip(sizes.iter().copied()))
    }

    fn tensors() -> Vec<(String, Shape)> {
        vec![
            ("w/kernel".into(), shape(DType::F32, &[3, 2])),
            (
                "momentum.velocity/w/kernel".into(),
                shape(DType::F32, &[3, 2]),
            ),
            ("w/scale".into(), shape(DType::BF16, &[5])),
            ("count".into(), shape(DType::S32, &[])),
        ]
    }

    fn array(name: &str) -> HostArray {
        let (_, shape) = tensors()
            .into_iter()
            .find(|(known, _)| known == name)
            .unwrap();
        let values: Vec<f64> = (0..shape.elements())
            .map(|i| (i + name.len()) as f64)
            .collect();
        HostArray::from_f64(shape, &values).unwrap()
    }

    /// A folder with a checkpoint in it, and that checkpoint's path.
    fn saved() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.safetensors");
        save(&path, &about(), &tensors(), |name| Ok(array(name))).unwrap();
        (folder, path)
    }

    /// What opening and reading all of the checkpoint says.
    fn read_all(path: &Path, tensors: &[(String, Shape)]) -> Result<Vec<HostArray>> {
        let checkpoint = Checkpoint::open(path)?;
        checkpoint.check(tensors)?;
        (tensors.iter())
            .map(|(name, shape)| checkpoint.read(name, shape))
            .collect()
    }

    fn refusal(path: &Path, tensors: &[(String, Shape)]) -> String {
        let message = read_all(path, tensors).unwrap_err().to_string();
        assert!(message.contains("checkpoint.safetensors"), "{message}");
        message
    }

    /// The header's bytes changed by `change`, the tensors as they were.
    fn with_header(path: &Path, change: impl Fn(String) -> String) {
        let bytes = fs::read(path).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let json = change(String::from_utf8(bytes[8..8 + length].to_vec()).unwrap());
        let mut changed = (json.len() as u64).to_le_bytes().to_vec();
        changed.extend(json.bytes());
        changed.extend(&bytes[8 + length..]);
        fs::write(path, changed).unwrap();
    }

    #[test]
    fn what_is_written_is_read() {
        let (folder, path) = saved();
        let checkpoint = Checkpoint::open(&path).unwrap();
        assert_eq!(*checkpoint.about(), about());
        for (name, shape) in tensors() {
            assert_eq!(checkpoint.read(&name, &shape).unwrap(), array(&name));
        }
        let files = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, 1, "no temporary file stays");
    }

    #[test]
    fn any_reader_of_safetensors_reads_it() {
        let (_folder, path) = saved();
        let bytes = fs::read(&path).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let tensor = file.tensor("w/kernel").unwrap();
        assert_eq!((tensor.dtype(), tensor.shape()), (Dtype::F32, &[3, 2][..]));
        assert_eq!(tensor.data(), array("w/kernel").bytes());
        assert_eq!(file.len(), 4);
    }

    #[test]
    fn equal_runs_write_equal_files() {
        let ((_one, first), (_two, second)) = (saved(), saved());
        assert_eq!(fs::read(first).unwrap(), fs::read(second).unwrap());
    }

    #[test]
    fn a_file_cut_off_anywhere_is_refused() {
        let (_folder, path) = saved();
        let whole = fs::read(&path).unwrap();
        for length in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
            fs::write(&path, &whole[..length]).unwrap();
            let message = refusal(&path, &tensors());
            let expected = match length {
                0..8 => format!("is no checkpoint: it has {length} bytes"),
                _ => format!("has {length} bytes, and its header says "),
            };
            assert!(message.contains(&expected), "{length}: {message}");
        }
        fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
        assert!(refusal(&path, &tensors()).contains("cut off or changed"));
    }

    #[test]
    fn a_changed_byte_anywhere_is_found() {
        let (_folder, path) = saved();
        let whole = fs::read(&path).unwrap();
        let length = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
        for at in length..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            fs::write(&path, bytes).unwrap();
            let message = refusal(&path, &tensors());
            assert!(message.starts_with("the tensor `"), "{message}");
            assert!(message.contains("is damaged"), "{message}");
        }
    }

    #[test]
    fn files_of_other_kinds_are_refused() {
        let (folder, path) = saved();
        fs::write(&path, b"PK\x03\x04 this is a zip archive, is it not").unwrap();
        assert!(refusal(&path, &[]).contains("does not begin as a safetensors file does"));
        fs::write(&path, [&9u64.to_le_bytes()[..], b"not json!"].concat()).unwrap();
        assert!(refusal(&path, &[]).contains("its header is damaged: "));
        let empty: [(String, safetensors::tensor::TensorView); 0] = [];
        safetensors::serialize_to_file(empty, None, &path).unwrap();
        assert!(refusal(&path, &[]).contains("has no `ribosome`: ribosome did not write it"));
        let absent = folder.path().join("other/checkpoint.safetensors");
        assert!(refusal(&absent, &[]).starts_with("there is no checkpoint "));
    }

    #[test]
    fn other_formats_and_damaged_records_are_refused() {
        let (_folder, path) = saved();
        with_header(&path, |json| {
            json.replace("\\\"format\\\":1", "\\\"format\\\":2")
        });
        assert!(refusal(&path, &[]).contains("has format 2, and this program reads format 1"));
        let (_folder, path) = saved();
        with_header(&path, |json| json.replace("steps_done", "steps_undone"));
        let message = refusal(&path, &[]);
        assert!(
            message.contains("is damaged: missing field `steps_done`"),
            "{message}"
        );
    }

    #[test]
    fn tensors_of_another_model_are_named() {
        let (_folder, path) = saved();
        let mut other = tensors();
        other.swap(0, 2);
        assert!(read_all(&path, &other).is_ok(), "the order is free");
        other[2].1 = shape(DType::F32, &[2, 3]);
        other[1].0 = "adafactor.square/w/kernel".into();
        let message = refusal(&path, &other);
        for line in [
            "`w/kernel` is F32[3, 2] in it, and f32[a=2, b=3] in the model",
            "`adafactor.square/w/kernel` is not in it",
            "the model has no `momentum.velocity/w/kernel`",
            "go on with the recipe it was made with",
        ] {
            assert!(message.contains(line), "{message}");
        }
        let many: Vec<_> = (0..20)
            .map(|i| (format!("w{i}"), shape(DType::F32, &[2])))
            .collect();
        assert!(refusal(&path, &many).contains("and 16 more"));
    }

    #[test]
    fn a_failed_save_leaves_the_checkpoint_before_it() {
        let (folder, path) = saved();
        let before = fs::read(&path).unwrap();
        let error = save(&path, &about(), &tensors(), |name| match name {
            "w/scale" => Err(runtime::Error::Invalid("the device is gone".into())),
            name => Ok(array(name)),
        });
        let message = error.unwrap_err().to_string();
        let expected = "checkpoint.safetensors: the device is gone";
        assert!(
            message.starts_with("cannot fetch `w/scale` for"),
            "{message}"
        );
        assert!(message.contains(expected), "{message}");
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gone/checkpoint.safetensors");
        let error = save(&path, &about(), &tensors(), |name| Ok(array(name)));
        let message = error.unwrap_err().to_string();
        assert!(message.starts_with("cannot write "), "{message}");
        assert!(
            message.contains("gone/checkpoint.safetensors: "),
            "{message}"
        );
    }

    /// `/dev/full` is a file on a disk that is always full.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_with_the_tensor() {
        let path = Path::new("run/checkpoint.safetensors");
        let full = || {
            fs::OpenOptions::new()
                .write(true)
                .open("/dev/full")
                .unwrap()
        };
        let error = write(full(), path, &about(), &tensors(), |name| Ok(array(name)));
        let message = error.unwrap_err().to_string();
        assert!(
            message.starts_with("cannot write run/checkpoint.safetensors: No space left"),
            "{message}"
        );
        // Larger than what is collected before it is written.
        let large = shape(DType::F32, &[1 << 19]);
        let tensors = [("large".to_string(), large.clone())];
        let zeros = HostArray::from_bytes(large.clone(), vec![0; large.bytes()]).unwrap();
        let error = write(full(), path, &about(), &tensors, |_| Ok(zeros.clone()));
        let message = error.unwrap_err().to_string();
        assert!(
            message.starts_with("cannot write `large` to run/checkpoint.safetensors: No space"),
            "{message}"
        );
    }
}
