//! The cache: unpacks a wheel completely or not at all.
//!
//! A wheel is fetched, checked and unpacked in a temporary folder next to its destination, then renamed. The manifest,
//! written last, lists every file and its size, and only a folder that agrees with its manifest counts as installed. A file
//! lock lets one process install at a time; those that waited find the work done.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::{Deserialize, Serialize};

use super::wheel::Wheel;
use crate::runtime::error::{Error, Result};

const MANIFEST: &str = "installed.json";

/// The files unpacked from a wheel.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Manifest {
    wheel: String,
    sha256: String,
    /// Bytes of each file, by its path in the wheel.
    files: BTreeMap<String, u64>,
}

/// The library of `wheel` in the cache folder `plugins`, if it is completely installed.
pub(super) fn installed(plugins: &Path, wheel: &Wheel) -> Option<PathBuf> {
    let folder = plugins.join(wheel.folder());
    let manifest: Manifest = serde_json::from_slice(&fs::read(folder.join(MANIFEST)).ok()?).ok()?;
    let whole = manifest.sha256 == wheel.sha256
        && manifest.files.contains_key(&wheel.library)
        && manifest.files.iter().all(|(file, &bytes)| {
            fs::metadata(folder.join(file))
                .is_ok_and(|metadata| metadata.is_file() && metadata.len() == bytes)
        });
    whole.then(|| folder.join(&wheel.library))
}

/// Installs `wheel` into the cache folder `plugins` unless it is there. Returns the library's path. `fetch` returns the
/// wheel's file; it may put it into the folder it is given, which is removed afterwards.
pub(super) fn install(
    plugins: &Path,
    wheel: &Wheel,
    fetch: impl FnOnce(&Path) -> Result<PathBuf>,
) -> Result<PathBuf> {
    fs::create_dir_all(plugins).map_err(Error::io("cannot create", plugins))?;
    let _lock = lock(&plugins.join(format!("{}.lock", wheel.folder())), wheel)?;
    if let Some(library) = installed(plugins, wheel) {
        return Ok(library);
    }
    let prefix = format!(".{}.", wheel.folder());
    remove_left_behind(plugins, &prefix)?;
    let work = tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir_in(plugins)
        .map_err(Error::io("cannot create a folder in", plugins))?;
    let file = fetch(work.path())?;
    wheel.check(&file)?;
    let unpacked = work.path().join("unpacked");
    unpack(wheel, &file, &unpacked)?;
    let folder = plugins.join(wheel.folder());
    // Whatever is there is incomplete, or it would have been found above.
    remove(&folder)?;
    fs::rename(&unpacked, &folder)
        .map_err(Error::io("cannot rename the unpacked wheel to", &folder))?;
    Ok(folder.join(&wheel.library))
}

/// Waits for the lock, which is held until the file is dropped or the process ends in any way.
fn lock(path: &Path, wheel: &Wheel) -> Result<File> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .map_err(Error::io("cannot open the lock", path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let spinner = spinner(format!(
                "waiting for another process to install {}",
                wheel.folder()
            ));
            file.lock().map_err(Error::io("cannot lock", path))?;
            spinner.finish_and_clear();
            Ok(file)
        }
        Err(TryLockError::Error(error)) => Err(Error::io("cannot lock", path)(error)),
    }
}

/// Removes temporary folders of killed processes. The lock is held, so none of them is in use.
fn remove_left_behind(plugins: &Path, prefix: &str) -> Result<()> {
    for entry in fs::read_dir(plugins).map_err(Error::io("cannot read", plugins))? {
        let entry = entry.map_err(Error::io("cannot read", plugins))?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("cannot remove", folder)(error))
        }
        _ => Ok(()),
    }
}

/// Unpacks the library and its licences into `folder`, then writes the manifest.
fn unpack(wheel: &Wheel, file: &Path, folder: &Path) -> Result<()> {
    let bad = |reason: String| Error::BadWheel {
        file: wheel.file.clone(),
        reason,
    };
    let opened = File::open(file).map_err(Error::io("cannot open", file))?;
    let mut archive = zip::ZipArchive::new(opened)
        .map_err(|error| bad(format!("cannot be read as a zip archive: {error}")))?;
    let mut files = BTreeMap::new();
    for name in std::iter::once(&wheel.library).chain(&wheel.beside) {
        let mut entry = archive
            .by_name(name)
            .map_err(|error| bad(format!("has no {name}: {error}")))?;
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).map_err(Error::io("cannot create", parent))?;
        let mut out = File::create(&path).map_err(Error::io("cannot create", &path))?;
        let bar = bytes_bar(format!("unpacking {}", wheel.folder()), entry.size());
        let bytes = copy(&mut entry, &mut out, &bar).map_err(|failure| match failure {
            Failure::Read(error) => bad(format!("cannot be unpacked at {name}: {error}")),
            Failure::Write(error) => Error::io("cannot write", &path)(error),
        })?;
        // It must be on disk before the manifest lists it.
        out.sync_all().map_err(Error::io("cannot write", &path))?;
        bar.finish_and_clear();
        files.insert(name.clone(), bytes);
    }
    let manifest = Manifest {
        wheel: wheel.file.clone(),
        sha256: wheel.sha256.clone(),
        files,
    };
    let path = folder.join(MANIFEST);
    let text = serde_json::to_vec_pretty(&manifest)
        .map_err(|error| Error::io("cannot write", &path)(error.into()))?;
    fs::write(&path, text).map_err(Error::io("cannot write", &path))
}

enum Failure {
    Read(io::Error),
    Write(io::Error),
}

/// Copies all of `from`, and distinguishes a damaged archive from a full disk.
fn copy(from: &mut impl Read, to: &mut impl Write, bar: &ProgressBar) -> Result<u64, Failure> {
    let mut chunk = vec![0u8; 1 << 20];
    let mut total = 0;
    loop {
        let read = from.read(&mut chunk).map_err(Failure::Read)?;
        if read == 0 {
            return Ok(total);
        }
        to.write_all(&chunk[..read]).map_err(Failure::Write)?;
        total += read as u64;
        bar.set_position(total);
    }
}

/// A progress bar over bytes on stderr; nothing if stderr is not a terminal.
pub(super) fn bytes_bar(what: String, total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    let style = "{msg} {bar:32} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar.with_message(what)
}

fn spinner(what: String) -> ProgressBar {
    let spinner =
        ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_message(what);
    spinner.enable_steady_tick(std::time::Duration::from_millis(100));
    spinner
}
