//! What can go wrong between a lowered program and a device: the plugin's errors with their code and message, and mistakes
//! found here before the plugin is called.

use std::path::PathBuf;

use super::platform::Platform;

/// A result of this room.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the runtime room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The plugin refused a call. The message is the plugin's.
    #[error("{function}: {code}: {message}")]
    Plugin {
        /// The C function's name in the PJRT header.
        function: &'static str,
        /// The plugin's status code.
        code: Code,
        /// The plugin's message.
        message: String,
    },

    /// The program does not fit the device's memory, according to the compiler or the device.
    #[error("{function}: out of device memory: {message}")]
    OutOfMemory {
        /// The C function, as the PJRT header names it.
        function: &'static str,
        /// The plugin's message.
        message: String,
    },

    /// The plugin is older than the function called.
    #[error("the plugin {} (PJRT {major}.{minor}) has no {function}; a newer plugin is needed", path.display())]
    Unimplemented {
        /// The C function, as the PJRT header names it.
        function: &'static str,
        /// The plugin's library.
        path: PathBuf,
        /// The plugin's PJRT major version.
        major: i32,
        /// The plugin's PJRT minor version.
        minor: i32,
    },

    /// The library could not be loaded, or is not a PJRT plugin.
    #[error("cannot load the plugin {}: {reason}", path.display())]
    Load {
        /// The library.
        path: PathBuf,
        /// The loader's message, or what is missing.
        reason: String,
    },

    /// The plugin was loaded earlier in this process with other settings, which it reads only once.
    #[error(
        "the plugin {} is already loaded in this process for compiling without a device; \
         use attached devices from another process, or first in this one",
        path.display()
    )]
    LoadedOtherwise {
        /// The library.
        path: PathBuf,
    },

    /// The arguments do not fit together; found before the plugin was called.
    #[error("{0}")]
    Invalid(String),

    /// A buffer donated to an earlier execution was used again.
    #[error("{0} was donated to an earlier execution and no longer holds data")]
    Donated(String),

    /// No plugin was found, and none could be fetched.
    #[error("no {platform} plugin: {reason}\n  to install it: ribosome plugins install {platform}")]
    NoPlugin {
        /// The platform whose plugin is missing.
        platform: Platform,
        /// Why it could not be fetched.
        reason: String,
    },

    /// A path that the user gave is not a plugin.
    #[error("the {platform} plugin {} (from {from}) is not a file", path.display())]
    BadPath {
        /// The platform.
        platform: Platform,
        /// The path as given.
        path: PathBuf,
        /// Where it was given.
        from: String,
    },

    /// The wheel is damaged or not the pinned one.
    #[error("the wheel {file} {reason}; nothing was installed")]
    BadWheel {
        /// The wheel's file name.
        file: String,
        /// What is wrong with it.
        reason: String,
    },

    /// A file operation failed.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

impl Error {
    /// Wraps an I/O error with the operation and the path.
    pub(crate) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { what, path, source }
    }

    /// Converts a plugin's error. XLA's compilers begin a message with the error's number and name
    /// (`E1000: CompileTimeHbmOom: ...`), which alone decide. A message without them means out of memory if its status code
    /// is "resource exhausted", as allocators report it.
    pub(crate) fn from_plugin(function: &'static str, code: Code, message: String) -> Error {
        let message = message.trim_end().to_string();
        let out_of_memory = match error_id(&message) {
            Some(id) => OUT_OF_MEMORY.contains(&id),
            None => code == Code::ResourceExhausted,
        };
        if out_of_memory {
            Error::OutOfMemory { function, message }
        } else {
            Error::Plugin {
                function,
                code,
                message,
            }
        }
    }

    /// Whether the program does not fit the device's memory (the command line's exit status 3).
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Error::OutOfMemory { .. })
    }
}

/// Errors of XLA's catalogue about device memory: the compiler could not fit the program into HBM, or buffers or programs
/// could not be allocated when it ran. (Scoped vector memory, E1001, is excluded: more devices or smaller batches do not
/// help.)
const OUT_OF_MEMORY: [&str; 3] = ["E1000", "E0100", "E0101"];

/// The error number a message begins with: `E`, four digits, a colon.
fn error_id(message: &str) -> Option<&str> {
    let (id, _) = message.split_once(':')?;
    let digits = id.strip_prefix('E')?;
    (digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(id)
}

/// Status codes of plugins (`PJRT_Error_Code`, the numbers of absl::StatusCode).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names suffice
pub enum Code {
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
    /// A number that is not a status code.
    Other(i32),
}

impl Code {
    /// The code with PJRT's number.
    pub(crate) fn from_number(number: i32) -> Code {
        use Code::*;
        match number {
            1 => Cancelled,
            2 => Unknown,
            3 => InvalidArgument,
            4 => DeadlineExceeded,
            5 => NotFound,
            6 => AlreadyExists,
            7 => PermissionDenied,
            8 => ResourceExhausted,
            9 => FailedPrecondition,
            10 => Aborted,
            11 => OutOfRange,
            12 => Unimplemented,
            13 => Internal,
            14 => Unavailable,
            15 => DataLoss,
            16 => Unauthenticated,
            other => Other(other),
        }
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Code::Cancelled => "cancelled",
            Code::Unknown => "unknown",
            Code::InvalidArgument => "invalid argument",
            Code::DeadlineExceeded => "deadline exceeded",
            Code::NotFound => "not found",
            Code::AlreadyExists => "already exists",
            Code::PermissionDenied => "permission denied",
            Code::ResourceExhausted => "resource exhausted",
            Code::FailedPrecondition => "failed precondition",
            Code::Aborted => "aborted",
            Code::OutOfRange => "out of range",
            Code::Unimplemented => "unimplemented",
            Code::Internal => "internal",
            Code::Unavailable => "unavailable",
            Code::DataLoss => "data loss",
            Code::Unauthenticated => "unauthenticated",
            Code::Other(number) => return write!(f, "status {number}"),
        };
        f.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(code: Code, message: &str) -> bool {
        Error::from_plugin("PJRT_Compile", code, message.to_string()).is_out_of_memory()
    }

    #[test]
    fn out_of_memory_is_told_by_number_then_by_code() {
        let hbm = "E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory required for HLO \
                   temporaries (16.50G) exceeds available HBM (15.48G).";
        assert!(memory(Code::Internal, hbm));
        assert!(memory(Code::ResourceExhausted, hbm));
        assert!(memory(
            Code::ResourceExhausted,
            "Out of memory while trying to allocate 8 bytes"
        ));
        // Any other numbered error is kept whatever its code, and so is a message that merely mentions memory.
        assert!(!memory(
            Code::ResourceExhausted,
            "E1001: CompileTimeScopedVmemOom: ran out of vmem"
        ));
        assert!(!memory(
            Code::Internal,
            "ran out of memory: E1000: CompileTimeHbmOom"
        ));
        assert!(!memory(Code::InvalidArgument, "E10: x"));
    }

    #[test]
    fn a_plugin_error_carries_function_code_and_message() {
        let error = Error::from_plugin(
            "PJRT_Compile",
            Code::from_number(3),
            "bad shape".to_string(),
        );
        assert_eq!(
            error.to_string(),
            "PJRT_Compile: invalid argument: bad shape"
        );
        let error = Error::from_plugin("PJRT_Compile", Code::from_number(99), "odd".to_string());
        assert_eq!(error.to_string(), "PJRT_Compile: status 99: odd");
    }
}
