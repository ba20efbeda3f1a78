//! Device descriptions: a plugin's data on a device, attached or only described by a topology.

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
    /// The plugin's id of the device, used in device assignments. Counts from 0 in one slice; with several slices, libtpu
    /// numbers from 100000 x (slice + 1).
    pub id: i64,
    /// The host (process) the device belongs to.
    pub process: i64,
    /// The vendor's name of the device's kind, such as `TPU v3`.
    pub kind: String,
    /// The plugin's other attributes, by name.
    pub attributes: BTreeMap<String, Value>,
}

impl DeviceDescription {
    /// The position of the device's chip in the torus, `[x, y, z]`; empty if the plugin does not report it.
    pub fn coords(&self) -> &[i64] {
        self.attributes
            .get("coords")
            .and_then(Value::as_ints)
            .unwrap_or_default()
    }

    /// The device's core on its chip.
    pub fn core_on_chip(&self) -> Option<i64> {
        self.int("core_on_chip")
    }

    /// The number of cores the device joins (2 for a v4 chip in megacore mode).
    pub fn num_cores(&self) -> Option<i64> {
        self.int("num_cores")
    }

    /// The slice the device belongs to, if there are several.
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

    /// Reads one of the plugin's descriptions, which must be alive.
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
