//! Checkpoints: one safetensors file with every weight and all optimizer state, and in its metadata what a run needs to go
//! on from there ([`About`]).
//!
//! A file is written beside its final name, synced and renamed, so that there is always one whole checkpoint: the old one
//! until the new one is complete. Tensors pass through the host one at a time, both ways. Each has its SHA-256 in the
//! metadata, so that a damaged file is told from a good one; the hashes are known only after the tensors have gone by,
//! so the header is written twice, at the same length.
//!
//! A checkpoint with no step done may hold weights alone, which `ribosome import` took from other files: its program and its
//! data have no fingerprint, its recipe is the model, and a run that goes on from it starts its optimizer anew.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::graph::{DType, Shape};
use crate::models::Model;
use crate::models::weights::{self, FileError, TensorFile};
use crate::runtime::{self, HostArray};

/// The version of the metadata that this program writes, and the only one it reads.
pub const FORMAT: u32 = 1;

/// The key of safetensors' metadata under which [`About`] stands, as JSON. It is one key because safetensors keeps its
/// keys in no fixed order, and equal runs shall write equal files.
const KEY: &str = "ribosome";

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

impl About {
    /// What a checkpoint of weights alone says: the `model` that they are of, before any step.
    pub fn of_weights(model: &Model) -> Self {
        // A model is plain numbers and words, which TOML has for all of them.
        let recipe = toml::to_string(&BTreeMap::from([("model", model)])).unwrap_or_default();
        About {
            format: FORMAT,
            steps_done: 0,
            seed: 0,
            mesh: String::new(),
            program: String::new(),
            data: String::new(),
            recipe,
        }
    }

    /// Whether the checkpoint holds weights alone.
    pub fn is_of_weights(&self) -> bool {
        self.steps_done == 0 && self.program.is_empty()
    }

    /// The model that the recipe names; none where it is another ribosome's.
    pub fn model(&self) -> Option<Model> {
        let recipe: toml::Table = self.recipe.parse().ok()?;
        recipe.get("model")?.clone().try_into().ok()
    }
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

impl From<FileError> for CheckpointError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Io { what, path, source } => CheckpointError::Io { what, path, source },
            FileError::Absent(path) => CheckpointError::Absent(path),
            FileError::Unreadable { path, reason } => CheckpointError::Unreadable { path, reason },
            FileError::Length {
                path,
                expected,
                actual,
            } => CheckpointError::Length {
                path,
                expected,
                actual,
            },
        }
    }
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
    save_parts(path, about, tensors, fetched(path, fetch))
}

/// What gives each tensor as a whole.
fn fetched<'p>(
    path: &'p Path,
    mut fetch: impl FnMut(&str) -> runtime::Result<HostArray> + 'p,
) -> impl FnMut(&str, &mut Sink<'_>) -> Result<()> + 'p {
    move |name, sink| {
        let array = fetch(name).map_err(|source| CheckpointError::Fetch {
            path: path.to_path_buf(),
            tensor: name.to_string(),
            source,
        })?;
        // safetensors is little-endian, as every host that plugins exist for.
        sink.put(array.bytes())
    }
}

/// The same with each tensor given by `fill` part by part, so that none need be on the host as a whole.
///
/// # Errors
/// As [`save`], and what `fill` gives.
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
        // The new name is on the disk once the folder is.
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
    /// The file system's, naming file and tensor.
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
fn write<W: Write + Seek, E: From<CheckpointError>>(
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
    let mut record = Record {
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
            let reason = format!("`{name}` is {shape}, and {written} bytes of it were given");
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
    weights::header(HashMap::from([(KEY.to_string(), text)]), infos).map_err(unreadable)
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

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An open checkpoint, its header read and its length checked.
#[derive(Debug)]
pub struct Checkpoint {
    file: TensorFile,
    record: Record,
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
        Ok(Checkpoint { file, record })
    }

    /// What the file says of its run.
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
    /// All that are missing, too many, or of another shape.
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

    /// Looks for the tensors among those that there are.
    ///
    /// # Errors
    /// All that are missing or of another shape.
    pub fn check_some(&self, tensors: &[(String, Shape)]) -> Result<()> {
        self.refuse(self.problems(tensors))
    }

    fn problems(&self, tensors: &[(String, Shape)]) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, shape) in tensors {
            let Some(info) = self.file.info(name) else {
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
        problems
    }

    fn refuse(&self, mut problems: Vec<String>) -> Result<()> {
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
                path: self.path().to_path_buf(),
                problems,
            }),
        }
    }

    /// Reads the tensor `name`, which is of `shape`.
    ///
    /// # Errors
    /// A tensor that is not there or of another shape, damaged bytes, or the file system's own.
    pub fn read(&self, name: &str, shape: &Shape) -> Result<HostArray> {
        let mut bytes = vec![0; self.bytes(name)?];
        self.file.read(name, 0, &mut bytes)?;
        self.compare(name, &Sha256::digest(&bytes))?;
        self.array(shape.clone(), bytes)
    }

    /// Whether the bytes of the tensor `name` are those that were written; a part at a time is on the host.
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

    /// Reads one layer, of `shape`, of the tensor `name` that stacks layers along its first axis. What has been read is not
    /// compared with what was written: see [`Checkpoint::check_bytes`].
    ///
    /// # Errors
    /// A tensor that is not there or has no such layer, or the file system's own.
    pub fn read_layer(&self, name: &str, layer: usize, shape: &Shape) -> Result<HostArray> {
        let mut bytes = vec![0; shape.bytes()];
        self.file.read(name, layer * bytes.len(), &mut bytes)?;
        self.array(shape.clone(), bytes)
    }

    fn bytes(&self, name: &str) -> Result<usize> {
        let info = self.file.info(name);
        let offsets = info.map(|info| info.data_offsets);
        let (from, to) = offsets.ok_or_else(|| self.mismatch(format!("`{name}` is not in it")))?;
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

#[cfg(test)]
mod tests {
    use std::fs;

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
        let error = write(
            full(),
            path,
            &about(),
            &tensors(),
            fetched(path, |name| Ok(array(name))),
        );
        let message = error.unwrap_err().to_string();
        assert!(
            message.starts_with("cannot write run/checkpoint.safetensors: No space left"),
            "{message}"
        );
        // Larger than what is collected before it is written.
        let large = shape(DType::F32, &[1 << 19]);
        let tensors = [("large".to_string(), large.clone())];
        let zeros = HostArray::from_bytes(large.clone(), vec![0; large.bytes()]).unwrap();
        let error = write(
            full(),
            path,
            &about(),
            &tensors,
            fetched(path, |_| Ok(zeros.clone())),
        );
        let message = error.unwrap_err().to_string();
        assert!(
            message.starts_with("cannot write `large` to run/checkpoint.safetensors: No space"),
            "{message}"
        );
    }
}
