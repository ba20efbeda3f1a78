//! The runtime: from a lowered program's bytes to a compiler or a device, through PJRT plugins loaded at run time.
//!
//! One binary drives CPU, TPU and CUDA, attached or only described. The steps:
//!
//! 1. [`Settings`] finds a plugin's library ([`plugin`]): a path the user gave, the cache, Python's site-packages, or
//!    the pinned wheel fetched with pip, its hash checked. [`Found::load`] loads it as a [`Plugin`], once per process.
//!    [`open`] does both.
//! 2. A [`TopologyDescription`] describes a machine by name and compiles for it ahead of time. The result, an [`Executable`],
//!    has memory figures and the optimized program. A [`Client`] has real devices (for the CPU plugin, any number of
//!    virtual ones) and compiles to a [`LoadedExecutable`], which runs.
//! 3. [`CompileConfig`] sets the number of devices, which ones, and the partitioner.
//! 4. A [`Buffer`] is an array on one device. A sharded array is one buffer per device: [`upload`] cuts the shards out of
//!    a host array and sends each to its device, [`download`] puts them back together.
//!
//! 5. A [`Session`] puts these together for a lowered program: named arrays in, named arrays out, sharded by its signature.
//!
//! Nothing here depends on models or training. All unsafe code is in `pjrt`. Every error is an [`Error`], with the plugin's
//! message if the plugin refused.

pub mod array;
pub mod block;
pub mod element;
mod error;
mod options;
mod pjrt;
pub mod platform;
pub mod plugin;
mod session;
mod sharded;
mod value;

pub use array::{DeviceArray, HostArray};
pub use block::{slice_block, write_block};
pub use element::Element;
pub use error::{Code, Error, Result};
pub use options::{CompileConfig, topology_options};
pub use pjrt::{
    Buffer, Client, DeviceDescription, Executable, LoadedExecutable, MemoryStats, Plugin,
    TopologyDescription,
};
pub use platform::Platform;
pub use plugin::{Found, Purpose, Settings, Source, Wheel, open};
pub use session::{DeviceArrays, Session};
pub use sharded::{Block, download, upload};
pub use value::Value;

#[cfg(test)]
mod tests;
