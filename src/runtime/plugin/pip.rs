//! Uses Python to find its package folders, and pip to download a wheel.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::install::bytes_bar;
use super::wheel::Wheel;
use crate::runtime::error::{Error, Result};
use crate::runtime::platform::Platform;

/// The folders Python finds packages in; empty if there is no Python.
pub(super) fn site_packages(python: &Path) -> Vec<PathBuf> {
    let script = "import sys; print('\\n'.join(p for p in sys.path if p))";
    let output = Command::new(python)
        .args(["-c", script])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(PathBuf::from)
            .collect(),
        _ => Vec::new(),
    }
}

/// Downloads `wheel` into `folder` with pip. Returns the file's path.
pub(super) fn download(
    python: &Path,
    platform: Platform,
    wheel: &Wheel,
    folder: &Path,
) -> Result<PathBuf> {
    let failed = |reason: String| Error::NoPlugin { platform, reason };
    let other_ways = format!(
        "or put {} into a folder and name that folder in RIBOSOME_WHEELS, or name a \
         library in {}",
        wheel.file,
        platform.variable()
    );
    let log = folder.join("pip.log");
    let errors = File::create(&log).map_err(Error::io("cannot create", &log))?;
    let [python_tag, abi, machine] = wheel.tags();
    // `cp311`: CPython 3.11. A wheel for any Python 3 (`py3`) is requested for the same version, because its metadata may
    // still exclude old ones.
    let (implementation, version) = match python_tag.strip_prefix("cp") {
        Some(version) => ("cp", version),
        None => ("py", "311"),
    };
    let spawned = Command::new(python)
        .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:"])
        .args([
            "--disable-pip-version-check",
            "--no-input",
            "--quiet",
            "--progress-bar=off",
            "--retries=2",
        ])
        .args([
            "--implementation",
            implementation,
            "--python-version",
            version,
            "--abi",
            abi,
        ])
        .args(["--platform", machine])
        .arg("-d")
        .arg(folder)
        .arg(format!("{}=={}", wheel.name, wheel.version))
        // pip downloads to the temporary folder first: there its growth can be watched, and it is removed with our folder.
        .env("TMPDIR", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors)
        .spawn();
    let mut pip = spawned.map_err(|error| {
        let python = python.display();
        let why = if error.kind() == io::ErrorKind::NotFound {
            "was not found".to_string()
        } else {
            error.to_string()
        };
        failed(format!(
            "the wheel is fetched with pip, and `{python}` {why}; install Python 3 with pip, {other_ways}"
        ))
    })?;
    let bar = bytes_bar(format!("fetching {}", wheel.folder()), wheel.bytes);
    let status = loop {
        match pip
            .try_wait()
            .map_err(Error::io("cannot wait for", python))?
        {
            Some(status) => break status,
            None => {
                bar.set_position(bytes_in(folder).min(wheel.bytes));
                thread::sleep(Duration::from_millis(100));
            }
        }
    };
    bar.finish_and_clear();
    let file = folder.join(&wheel.file);
    if status.success() && file.is_file() {
        return Ok(file);
    }
    let log = fs::read_to_string(&log).unwrap_or_default();
    if log.contains("No module named pip") {
        return Err(failed(format!(
            "`{}` has no pip; install it, {other_ways}",
            python.display()
        )));
    }
    let package = format!("{}=={}", wheel.name, wheel.version);
    Err(failed(match last_error(&log) {
        Some(line) => {
            format!(
                "pip could not fetch {package}: {line} (is there a network?); try again with one, {other_ways}"
            )
        }
        None if status.success() => format!(
            "pip fetched {package}, but not the file {}; {other_ways}",
            wheel.file
        ),
        None => format!("pip could not fetch {package} ({status}); {other_ways}"),
    }))
}

/// The last error line in pip's log.
fn last_error(log: &str) -> Option<&str> {
    log.lines()
        .rev()
        .map(str::trim)
        .find_map(|line| line.strip_prefix("ERROR: "))
}

/// Bytes of all files under `folder`, as far as they can be read while they change.
fn bytes_in(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_in(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
