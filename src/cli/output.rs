//! Output: results on stdout, files that appear completely or not at all, and progress on stderr.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use crate::hlo::Program;
use crate::pipeline::Stages;
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Prints `text` on stdout, with a newline at the end.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .context("cannot write to stdout")?;
    if !text.ends_with('\n') {
        out.write_all(b"\n").context("cannot write to stdout")?;
    }
    out.flush().context("cannot write to stdout")
}

/// Prints `value` as one JSON object.
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print(&serde_json::to_string_pretty(value)?)
}

/// Creates `folder` and tries to write into it, so that a long compilation does not end with a folder that cannot be
/// written.
pub fn prepare(folder: &Path) -> Result<()> {
    let write = || -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        tempfile::NamedTempFile::new_in(folder)?.close()
    };
    write().with_context(|| format!("cannot write into the folder {}", folder.display()))
}

/// Writes `bytes` to `path` and creates its folder. At any time `path` is the whole old file or the whole new one. Does not
/// wait for the disk, because a result can be made again.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let write = || -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        // Only its owner can read a temporary file; a result gets the usual permissions.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644))?;
        }
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Writes `NAME.hlo.pb` and `NAME.json` into `folder`: all that compiling and running a program needs.
pub fn write_program(folder: &Path, name: &str, program: &Program) -> Result<[String; 2]> {
    let files = [format!("{name}.hlo.pb"), format!("{name}.json")];
    write(&folder.join(&files[0]), program.bytes())?;
    write(&folder.join(&files[1]), program.signature.json().as_bytes())?;
    Ok(files)
}

/// A line on stderr with the running stage and its duration. There is none if stderr is not a terminal, or if `quiet`.
pub struct Progress(ProgressBar);

impl Progress {
    /// The progress of the job `name`.
    pub fn new(name: &str, quiet: bool) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        // Nothing is shown where stderr is no terminal either.
        if quiet || bar.is_hidden() {
            return Progress(ProgressBar::hidden());
        }
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}: {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_string());
        bar.enable_steady_tick(Duration::from_millis(120));
        Progress(bar)
    }

    /// Stages that update this line.
    pub fn stages(&self) -> Stages<'_> {
        // A steady tick is a thread, so it restarts only after a stage without one.
        let mut ticking = true;
        Stages::watched(move |stage| {
            if self.0.is_hidden() {
                return;
            }
            // Loading may download a plugin, which shows a bar of its own.
            let tick = stage != "load";
            if std::mem::replace(&mut ticking, tick) != tick {
                match tick {
                    true => self.0.enable_steady_tick(Duration::from_millis(120)),
                    false => self.0.disable_steady_tick(),
                }
            }
            self.0.set_message(stage);
        })
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_in_a_new_folder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new").join("report.json");
        write(&path, b"{}").unwrap();
        write(&path, b"{\"a\": 1}").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"a\": 1}");
        let left: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "no temporary file is left");
    }

    #[test]
    fn a_folder_that_is_a_file_is_an_error_with_the_path() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = write(&file.path().join("x"), b"").unwrap_err();
        let message = format!("{error:#}");
        assert!(
            message.starts_with("cannot write ") && message.contains("x: "),
            "{message}"
        );
    }
}
