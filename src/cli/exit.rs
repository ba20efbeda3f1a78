//! The end of a command: the exit statuses, and the one place that prints errors.

use std::process::ExitCode;

use crate::models::weights::FolderError;
use crate::pipeline;
use crate::runtime;
use crate::sharding::ShardingError;
use crate::train::convert::ConvertError;
use crate::train::recipe::RecipeError;

/// The exit statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The command succeeded.
    Done = 0,
    /// The command failed.
    Failed = 1,
    /// The arguments are wrong.
    Usage = 2,
    /// The program does not fit the device's memory.
    DoesNotFit = 3,
    /// A check found a difference.
    Differs = 4,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> ExitCode {
        ExitCode::from(status as u8)
    }
}

/// Wrong arguments that no library error reports.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Prints `error` and its causes on stderr, and returns the exit status.
pub fn report(error: &anyhow::Error) -> Status {
    // A reader that closes the pipe (`ribosome models | head`) is not a failure.
    let broken = |cause: &&(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(|cause| broken(&cause)) {
        return Status::Done;
    }
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        // Some errors include the text of their cause.
        if !text.contains(&cause) {
            let gap = if text.is_empty() { "" } else { ": " };
            text = format!("{text}{gap}{cause}");
        }
    }
    eprintln!("error: {}", short(&text));
    status(error)
}

/// A plugin's line can be very long (every folder that it searched); the important part comes first.
const LONGEST_LINE: usize = 600;

fn short(text: &str) -> String {
    let cut = |line: &str| match line.char_indices().nth(LONGEST_LINE) {
        Some((at, _)) => format!("{} ...", &line[..at]),
        None => line.to_string(),
    };
    text.lines().map(cut).collect::<Vec<_>>().join("\n")
}

/// The exit status for `error`.
fn status(error: &anyhow::Error) -> Status {
    let mut chain = error.chain();
    chain.find_map(status_of).unwrap_or(Status::Failed)
}

fn status_of(cause: &(dyn std::error::Error + 'static)) -> Option<Status> {
    if cause.is::<Usage>() || cause.is::<ShardingError>() {
        return Some(Status::Usage);
    }
    if let Some(ConvertError::Folder(FolderError::Exists(_))) = cause.downcast_ref() {
        return Some(Status::Usage);
    }
    if let Some(error) = cause.downcast_ref::<RecipeError>() {
        return Some(match error {
            RecipeError::Unknown { .. }
            | RecipeError::Phase { .. }
            | RecipeError::Setting(_)
            | RecipeError::Invalid { .. } => Status::Usage,
            RecipeError::Unreadable { .. } | RecipeError::Vocabulary(_) => Status::Failed,
        });
    }
    if let Some(error) = cause.downcast_ref::<pipeline::Error>() {
        return match error {
            pipeline::Error::Runtime(error) => status_of(error),
            pipeline::Error::Recipe(error) => status_of(error),
            error => error.is_usage().then_some(Status::Usage),
        };
    }
    let error = cause.downcast_ref::<runtime::Error>()?;
    error.is_out_of_memory().then_some(Status::DoesNotFit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sharding::Target;
    use anyhow::Context;

    #[test]
    fn the_status_is_that_of_the_cause() {
        let parsed = "v9-8".parse::<Target>().context("in --on");
        assert_eq!(status(&parsed.unwrap_err()), Status::Usage);
        let memory = runtime::Error::OutOfMemory {
            function: "PJRT_Execute",
            message: "16 GB".into(),
        };
        assert_eq!(
            status(&pipeline::Error::from(memory).into()),
            Status::DoesNotFit
        );
        let other = runtime::Error::Invalid("no".into());
        assert_eq!(status(&pipeline::Error::from(other).into()), Status::Failed);
        assert_eq!(status(&anyhow::anyhow!("disk full")), Status::Failed);
    }
}
