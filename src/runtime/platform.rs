//! The platforms that plugins drive, by their names on the command line.

use std::fmt;
use std::str::FromStr;

/// The platform that a plugin drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Platform {
    /// The host's CPUs, as any number of virtual devices.
    Cpu,
    /// Cloud TPUs, attached or only described.
    Tpu,
    /// NVIDIA GPUs.
    Cuda,
}

impl Platform {
    /// Every platform.
    pub const ALL: [Platform; 3] = [Platform::Cpu, Platform::Tpu, Platform::Cuda];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Platform::Cpu => "cpu",
            Platform::Tpu => "tpu",
            Platform::Cuda => "cuda",
        }
    }

    /// The environment variable for the library's path.
    pub fn variable(self) -> &'static str {
        match self {
            Platform::Cpu => "RIBOSOME_CPU_PLUGIN",
            Platform::Tpu => "RIBOSOME_TPU_PLUGIN",
            Platform::Cuda => "RIBOSOME_CUDA_PLUGIN",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Platform {
    type Err = NoSuchPlatform;

    fn from_str(text: &str) -> Result<Platform, NoSuchPlatform> {
        Platform::ALL
            .into_iter()
            .find(|platform| platform.name() == text)
            .ok_or_else(|| NoSuchPlatform(text.to_string()))
    }
}

/// A name that is not a platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown platform `{0}`; the platforms are cpu, tpu and cuda")]
pub struct NoSuchPlatform(pub String);
