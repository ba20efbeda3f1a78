//! What is written is read back. A file that is damaged, cut off or of another model is refused.

use std::fs;
use std::path::Path;

use safetensors::Dtype;

use super::write::{fetched, write};
use super::*;
use crate::graph::{DType, Shape};
use crate::runtime::HostArray;

fn about() -> About {
    About {
        format: FORMAT,
        steps_done: 3,
        phase: 2,
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

/// The error of opening and reading the whole checkpoint.
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

/// Changes the header's bytes by `change` and leaves the tensors as they were.
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
            0..8 => format!("is not a checkpoint: it has {length} bytes"),
            _ => format!("has {length} bytes, but its header says "),
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
    assert!(refusal(&path, &[]).contains("does not begin like a safetensors file"));
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
    assert!(read_all(&path, &other).is_ok(), "any order will do");
    other[2].1 = shape(DType::F32, &[2, 3]);
    other[1].0 = "adafactor.square/w/kernel".into();
    let message = refusal(&path, &other);
    for line in [
        "`w/kernel` is F32[3, 2] in the checkpoint and f32[a=2, b=3] in the model",
        "the checkpoint has no `adafactor.square/w/kernel`",
        "the model has no `momentum.velocity/w/kernel`",
        "resume with the recipe that made it",
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
    // Larger than the write buffer.
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
