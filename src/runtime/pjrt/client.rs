//! Clients: plugins with devices that programs run on.

use std::sync::Arc;

use super::api::Plugin;
use super::device::DeviceDescription;
use super::ffi::{
    ClientAddressableDevicesArgs, ClientCreateArgs, ClientDestroyArgs, ClientPlatformNameArgs,
    ClientPlatformVersionArgs, DeviceGetDescriptionArgs, Handle, Struct,
};
use super::memory::{slice, text};
use super::named_value;
use crate::runtime::error::{Error, Result};
use crate::runtime::value::Value;

/// A plugin's client. Clones share it; it is freed with the last handle, buffer and executable made from it.
#[derive(Clone)]
pub struct Client {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) plugin: Plugin,
    pub(super) client: Handle,
    devices: Vec<Handle>,
    descriptions: Vec<DeviceDescription>,
}

// SAFETY: PJRT clients and the devices they own may be used from any thread.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Client {
    /// Creates a client of `plugin` with plugin-specific `options`.
    ///
    /// # Errors
    /// Those of the plugin, such as no attached device or an unknown option.
    pub fn create(plugin: Plugin, options: &[(&str, Value)]) -> Result<Client> {
        let values = named_value::write_all(options);
        let mut args = ClientCreateArgs {
            create_options: values.as_ptr(),
            num_options: values.len(),
            ..ClientCreateArgs::new()
        };
        plugin.call(&mut args)?;
        // From here on, dropping frees the client.
        let mut inner = Inner {
            plugin,
            client: args.client,
            devices: Vec::new(),
            descriptions: Vec::new(),
        };
        let mut args = ClientAddressableDevicesArgs {
            client: inner.client,
            ..ClientAddressableDevicesArgs::new()
        };
        plugin.call(&mut args)?;
        // SAFETY: the devices live as long as the client, which `inner` holds.
        inner.devices = unsafe { slice(args.devices, args.num_devices) }.to_vec();
        for &device in &inner.devices {
            let mut args = DeviceGetDescriptionArgs {
                device,
                ..DeviceGetDescriptionArgs::new()
            };
            plugin.call(&mut args)?;
            inner
                .descriptions
                .push(DeviceDescription::read(plugin, args.description)?);
        }
        Ok(Client {
            inner: Arc::new(inner),
        })
    }

    /// Creates a client of the CPU plugin with `devices` virtual devices in this process.
    ///
    /// # Errors
    /// `devices` is 0, or the plugin fails.
    pub fn cpu(plugin: Plugin, devices: usize) -> Result<Client> {
        let count = i64::try_from(devices).unwrap_or(0);
        if count == 0 {
            return Err(Error::Invalid(format!(
                "cannot make a client of {devices} devices; at least 1 is needed"
            )));
        }
        Client::create(plugin, &[("cpu_device_count", Value::Int(count))])
    }

    /// The devices this process can use, in the plugin's order.
    pub fn devices(&self) -> &[DeviceDescription] {
        &self.inner.descriptions
    }

    /// The plugin the client belongs to.
    pub fn plugin(&self) -> Plugin {
        self.inner.plugin
    }

    /// The platform's name (`cpu`, `cuda`, `tpu`).
    pub fn platform_name(&self) -> Result<String> {
        let mut args = ClientPlatformNameArgs {
            client: self.inner.client,
            ..ClientPlatformNameArgs::new()
        };
        self.inner.plugin.call(&mut args)?;
        // SAFETY: the text lives as long as the client.
        Ok(unsafe { text(args.text, args.size) })
    }

    /// The platform's version as the plugin reports it.
    pub fn platform_version(&self) -> Result<String> {
        let mut args = ClientPlatformVersionArgs {
            client: self.inner.client,
            ..ClientPlatformVersionArgs::new()
        };
        self.inner.plugin.call(&mut args)?;
        // SAFETY: the text lives as long as the client.
        Ok(unsafe { text(args.text, args.size) })
    }

    /// The device at position `place` of [`Client::devices`].
    pub(super) fn device(&self, place: usize) -> Result<Handle> {
        self.inner.devices.get(place).copied().ok_or_else(|| {
            Error::Invalid(format!(
                "there is no device {place}: the client has {}, counted from 0",
                self.inner.devices.len()
            ))
        })
    }

    /// The position of `device` among this client's devices.
    pub(super) fn position(&self, device: Handle) -> Option<usize> {
        self.inner.devices.iter().position(|&own| own == device)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let client = self.client;
        self.plugin.call_quietly(&mut ClientDestroyArgs {
            client,
            ..ClientDestroyArgs::new()
        });
    }
}
