//! The PJRT island: the only unsafe code of this crate.
//!
//! A plugin is a shared library with one symbol, `GetPjrtApi`, that returns a table of C functions. `ffi` defines the table
//! and its argument structs. `api` loads a library and is the one place that calls a function: it checks that the plugin's
//! table reaches that far and turns the plugin's errors into [`crate::runtime::Error`]. Each other file wraps one kind of
//! PJRT object in a handle that owns it, frees it when dropped and keeps its source alive. All exports are safe to use from
//! any thread.

#![allow(unsafe_code)] // for the reason above

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
