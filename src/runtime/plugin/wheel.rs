//! The pinned wheels, and the check that a file is one of them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::runtime::error::{Error, Result};
use crate::runtime::platform::Platform;

/// A wheel of a fixed version, identified by its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wheel {
    /// The package's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The file's name.
    pub file: String,
    /// The file's size in bytes.
    pub bytes: u64,
    /// The file's SHA-256, in lower-case hexadecimals.
    pub sha256: String,
    /// The path of the plugin's library in the wheel.
    pub library: String,
    /// The library's licence files, by path in the wheel.
    pub beside: Vec<String>,
}

impl Wheel {
    /// The wheel that this version of ribosome installs for `platform`. Name, size and hash are those of the file from
    /// `pip download`.
    pub fn pinned(platform: Platform) -> Wheel {
        match platform {
            Platform::Cpu => Wheel::new(
                "xla-cpu-pjrt",
                "0.0.1",
                "xla_cpu_pjrt-0.0.1-py3-none-manylinux_2_27_x86_64.whl",
                63_461_052,
                "55837b6b7b47daa717f2d9a5a03563ea0ceaa338d06a81a1e2d3f060d960decc",
                "xla_plugins/xla_cpu_pjrt/xla_cpu_pjrt.so",
                &[],
            ),
            Platform::Tpu => Wheel::new(
                "libtpu",
                "0.0.51",
                "libtpu-0.0.51-cp311-cp311-manylinux_2_31_x86_64.whl",
                204_805_508,
                "ba67ddbfdbac61c8da1fafc26cd51b93e9fe4d298016e2882eb986b1718cba34",
                "libtpu/libtpu.so",
                &["libtpu/LICENSE", "libtpu/THIRD_PARTY_NOTICES.txt"],
            ),
            Platform::Cuda => Wheel::new(
                "jax-cuda13-pjrt",
                "0.12.0.1",
                "jax_cuda13_pjrt-0.12.0.1-py3-none-manylinux_2_27_x86_64.whl",
                134_922_808,
                "5899bb6177eda86ea532afb9a26794f2bdd04966f6a01f9028266b16c2b6cf90",
                "jax_plugins/xla_cuda13/xla_cuda_plugin.so",
                &[],
            ),
        }
    }

    fn new(
        name: &str,
        version: &str,
        file: &str,
        bytes: u64,
        sha256: &str,
        library: &str,
        beside: &[&str],
    ) -> Wheel {
        Wheel {
            name: name.to_string(),
            version: version.to_string(),
            file: file.to_string(),
            bytes,
            sha256: sha256.to_string(),
            library: library.to_string(),
            beside: beside.iter().map(|path| path.to_string()).collect(),
        }
    }

    /// `NAME-VERSION`, the folder's name in the cache.
    pub fn folder(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    /// The package's name in file names: with underscores.
    pub(super) fn distribution(&self) -> String {
        self.name.replace('-', "_")
    }

    /// The tags in the file's name: Python, ABI and platform (`cp311`, `cp311`, `manylinux_2_31_x86_64`). They are
    /// passed to pip, which then fetches exactly this file under any Python.
    pub(super) fn tags(&self) -> [&str; 3] {
        let mut tags = self.file.trim_end_matches(".whl").rsplit('-');
        let mut next = || tags.next().unwrap_or("any");
        let (platform, abi, python) = (next(), next(), next());
        [python, abi, platform]
    }

    /// Checks size and hash of the file at `path`.
    ///
    /// # Errors
    /// [`Error::BadWheel`] if it is truncated or another file.
    pub(super) fn check(&self, path: &Path) -> Result<()> {
        let bad = |reason: String| {
            Err(Error::BadWheel {
                file: self.file.clone(),
                reason,
            })
        };
        let mut file = File::open(path).map_err(Error::io("cannot open", path))?;
        let bytes = file
            .metadata()
            .map_err(Error::io("cannot read", path))?
            .len();
        if bytes < self.bytes {
            return bad(format!("is cut off: {bytes} of {} bytes", self.bytes));
        }
        let mut hash = Sha256::new();
        let mut chunk = vec![0u8; 1 << 20];
        loop {
            let read = file
                .read(&mut chunk)
                .map_err(Error::io("cannot read", path))?;
            if read == 0 {
                break;
            }
            hash.update(&chunk[..read]);
        }
        let found: String = hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        if found != self.sha256 {
            return bad(format!(
                "is not the pinned one: its SHA-256 is {found}, not {}",
                self.sha256
            ));
        }
        Ok(())
    }
}
