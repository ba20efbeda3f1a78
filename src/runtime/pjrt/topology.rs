//! Topologies: machines described by name, to compile for without having them.

use std::sync::Arc;

use super::api::Plugin;
use super::device::DeviceDescription;
use super::executable::{Executable, program};
use super::ffi::{
    CompileArgs, Handle, Struct, TopologyCreateArgs, TopologyDestroyArgs,
    TopologyGetDeviceDescriptionsArgs, TopologyPlatformNameArgs, TopologyPlatformVersionArgs,
};
use super::memory::{slice, text};
use super::named_value;
use crate::runtime::error::Result;
use crate::runtime::options::CompileConfig;
use crate::runtime::value::Value;

/// A described machine and its devices.
#[derive(Clone)]
pub struct TopologyDescription {
    inner: Arc<Inner>,
    devices: Arc<[DeviceDescription]>,
}

struct Inner {
    plugin: Plugin,
    topology: Handle,
}

// SAFETY: a topology does not change after creation; PJRT's functions may be called from any thread.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl TopologyDescription {
    /// The machine that `plugin` calls `name` (`v3:16x32`), with plugin-specific `options` (for libtpu, `chip_config_name` =
    /// "megacore", `num_slices` = 2).
    ///
    /// # Errors
    /// The plugin does not know the name or an option.
    pub fn create(
        plugin: Plugin,
        name: &str,
        options: &[(&str, Value)],
    ) -> Result<TopologyDescription> {
        let values = named_value::write_all(options);
        let mut args = TopologyCreateArgs {
            name: name.as_ptr().cast(),
            name_size: name.len(),
            create_options: values.as_ptr(),
            num_options: values.len(),
            ..TopologyCreateArgs::new()
        };
        plugin.call(&mut args)?;
        let inner = Arc::new(Inner {
            plugin,
            topology: args.topology,
        });
        let mut args = TopologyGetDeviceDescriptionsArgs {
            topology: inner.topology,
            ..TopologyGetDeviceDescriptionsArgs::new()
        };
        plugin.call(&mut args)?;
        // SAFETY: the descriptions live as long as the topology, which `inner` holds.
        let descriptions = unsafe { slice(args.descriptions, args.num_descriptions) };
        let devices = descriptions
            .iter()
            .map(|&device| DeviceDescription::read(plugin, device))
            .collect::<Result<Vec<_>>>()?;
        Ok(TopologyDescription {
            inner,
            devices: devices.into(),
        })
    }

    /// The devices, in the plugin's order.
    pub fn devices(&self) -> &[DeviceDescription] {
        &self.devices
    }

    /// The plugin the topology belongs to.
    pub fn plugin(&self) -> Plugin {
        self.inner.plugin
    }

    /// The platform's name (`tpu`).
    pub fn platform_name(&self) -> Result<String> {
        let mut args = TopologyPlatformNameArgs {
            topology: self.inner.topology,
            ..TopologyPlatformNameArgs::new()
        };
        self.inner.plugin.call(&mut args)?;
        // SAFETY: the text lives as long as the topology.
        Ok(unsafe { text(args.text, args.size) })
    }

    /// The platform's version as the plugin reports it.
    pub fn platform_version(&self) -> Result<String> {
        let mut args = TopologyPlatformVersionArgs {
            topology: self.inner.topology,
            ..TopologyPlatformVersionArgs::new()
        };
        self.inner.plugin.call(&mut args)?;
        // SAFETY: the text lives as long as the topology.
        Ok(unsafe { text(args.text, args.size) })
    }

    /// Compiles `hlo` (a serialized `HloModuleProto`) ahead of time.
    ///
    /// # Errors
    /// [`crate::runtime::Error::OutOfMemory`] if the program does not fit the device according to the compiler; otherwise the
    /// plugin's error.
    pub fn compile(&self, hlo: &[u8], config: &CompileConfig) -> Result<Executable> {
        let options = config.encode()?;
        let program = program(hlo);
        let plugin = self.inner.plugin;
        let mut args = CompileArgs {
            topology: self.inner.topology,
            program: &program,
            compile_options: options.as_ptr().cast(),
            compile_options_size: options.len(),
            ..CompileArgs::new()
        };
        plugin.call(&mut args)?;
        Ok(Executable::new(plugin, args.executable, self.inner.clone()))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let topology = self.topology;
        self.plugin.call_quietly(&mut TopologyDestroyArgs {
            topology,
            ..TopologyDestroyArgs::new()
        });
    }
}
