//! Device descriptions: what a plugin says about a device, attached or only described by a topology.

use std::collections::BTreeMap;

use super::api::Plugin;
use super::ffi::{
    DeviceDescriptionAttributesArgs, DeviceDescriptionIdArgs, DeviceDescriptionKindArgs,
    DeviceDescriptionProcessIndexArgs, Handle, Struct,
};
use super::memory::text;
use super::named_value;
use crate::runtime::error::Result;
use crate::runtime::value::Value;

/// A device as its plugin describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceDescription {
    /// The plugin's own number for the device, which device assignments use. Counts from 0 within one slice; with
    /// several slices libtpu numbers from 100000 x (slice + 1).
    pub id: i64,
    /// The host (process) the device belongs to.
    pub process: i64,
    /// The vendor's name of the device's kind, such as `TPU v3`.
    pub kind: String,
    /// Everything else the plugin says, by name.
    pub attributes: BTreeMap<String, Value>,
}

impl DeviceDescription {
    /// Where the device's chip stands in the torus, `[x, y, z]`; empty where the plugin does not say.
    pub fn coords(&self) -> &[i64] {
        self.attributes
            .get("coords")
            .and_then(Value::as_ints)
            .unwrap_or_default()
    }

    /// Which of its chip's cores the device is.
    pub fn core_on_chip(&self) -> Option<i64> {
        self.int("core_on_chip")
    }

    /// How many cores the device joins (2 for a v4 chip in megacore mode).
    pub fn num_cores(&self) -> Option<i64> {
        self.int("num_cores")
    }

    /// Which slice the device belongs to, where there are several.
    pub fn slice_index(&self) -> Option<i64> {
        self.int("slice_index")
    }

    /// Bytes of device memory a program can use.
    pub fn memory_bytes(&self) -> Option<u64> {
        self.int("device_memory_bytes_limit")
            .and_then(|bytes| u64::try_from(bytes).ok())
    }

    fn int(&self, name: &str) -> Option<i64> {
        self.attributes.get(name).and_then(Value::as_int)
    }

    /// Reads a description of the plugin's, which must be alive.
    pub(super) fn read(plugin: Plugin, description: Handle) -> Result<DeviceDescription> {
        let mut id = DeviceDescriptionIdArgs {
            description,
            ..DeviceDescriptionIdArgs::new()
        };
        plugin.call(&mut id)?;
        let mut process = DeviceDescriptionProcessIndexArgs {
            description,
            ..DeviceDescriptionProcessIndexArgs::new()
        };
        plugin.call(&mut process)?;
        let mut kind = DeviceDescriptionKindArgs {
            description,
            ..DeviceDescriptionKindArgs::new()
        };
        plugin.call(&mut kind)?;
        let mut attributes = DeviceDescriptionAttributesArgs {
            description,
            ..DeviceDescriptionAttributesArgs::new()
        };
        plugin.call(&mut attributes)?;
        Ok(DeviceDescription {
            id: id.id.into(),
            process: process.index.into(),
            // SAFETY: the text lives as long as the description.
            kind: unsafe { text(kind.text, kind.size) },
            // SAFETY: the attributes live as long as the description.
            attributes: unsafe {
                named_value::read_all(attributes.attributes, attributes.num_attributes)
            },
        })
    }
}
