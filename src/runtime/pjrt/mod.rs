//! The PJRT island: the only unsafe code of this crate.
//!
//! A plugin is a shared library with one symbol, `GetPjrtApi`, that gives a table of C functions. `ffi` says what the
//! table and its argument structs look like; `api` loads a library and is the one place that calls a function: it
//! checks that the plugin's table reaches that far and turns the plugin's errors into [`crate::runtime::Error`]. The
//! other files each wrap one of PJRT's things in a handle that owns it, frees it when dropped and keeps alive what it
//! came from. What leaves this module is safe to use from any thread.

#![allow(unsafe_code)] // the reason is the module's

mod api;
mod buffer;
mod client;
mod device;
mod event;
mod executable;
mod ffi;
mod loaded;
mod memory;
mod named_value;
mod topology;

pub use api::Plugin;
pub use buffer::Buffer;
pub use client::Client;
pub use device::DeviceDescription;
pub use executable::{Executable, MemoryStats};
pub use loaded::LoadedExecutable;
pub use topology::TopologyDescription;
