//! Clients: a plugin with devices that programs run on.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::api::{Plugin, slice, text};
use super::buffer::Buffer;
use super::device::DeviceDescription;
use super::event::Event;
use super::executable::{LoadedExecutable, program};
use super::ffi::{
    self, ClientAddressableDevicesArgs, ClientBufferFromHostBufferArgs, ClientCompileArgs,
    ClientCreateArgs, ClientDestroyArgs, ClientPlatformNameArgs, ClientPlatformVersionArgs,
    DeviceGetDescriptionArgs, ExecutableDeserializeAndLoadArgs, Handle, Struct,
};
use super::value::{self, Value};
use crate::graph::DType;
use crate::runtime::error::{Error, Result};
use crate::runtime::options::{CompileConfig, OptionValue};

/// A plugin's client. Clones share it; it ends with the last handle, buffer and executable made from it.
#[derive(Clone)]
pub struct Client {
    pub(super) inner: Arc<Inner>,
    xla_flags: Arc<BTreeMap<String, OptionValue>>,
}

pub(super) struct Inner {
    pub(super) plugin: Plugin,
    client: Handle,
    devices: Vec<Handle>,
    descriptions: Vec<DeviceDescription>,
}

// SAFETY: PJRT clients and the devices they own may be used from any thread.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Client {
    /// A client of `plugin` with the plugin's own `options`.
    ///
    /// # Errors
    /// The plugin's: no device attached, an unknown option.
    pub fn create(plugin: Plugin, options: &[(&str, Value)]) -> Result<Client> {
        let values = value::write_all(options);
        let mut args = ClientCreateArgs {
            create_options: values.as_ptr(),
            num_options: values.len(),
            ..ClientCreateArgs::new()
        };
        plugin.call(&mut args)?;
        // From here on dropping frees the client.
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
            xla_flags: Arc::default(),
        })
    }

    /// A client of the CPU plugin with `devices` virtual devices in this process.
    ///
    /// # Errors
    /// No devices asked for, or the plugin's own.
    pub fn cpu(plugin: Plugin, devices: usize) -> Result<Client> {
        let count = i64::try_from(devices).unwrap_or(0);
        if count == 0 {
            return Err(Error::Invalid(format!(
                "cannot make a client of {devices} devices; at least 1 is needed"
            )));
        }
        Client::create(plugin, &[("cpu_device_count", Value::Int(count))])
    }

    /// This client with `flags` (names without dashes) for every program that it compiles. A flag of a
    /// [`CompileConfig`] comes before one of the same name here.
    pub fn with_xla_flags(self, flags: &[(&str, OptionValue)]) -> Client {
        let flag = |(name, value): &(&str, OptionValue)| (name.to_string(), value.clone());
        Client {
            xla_flags: Arc::new(flags.iter().map(flag).collect()),
            ..self
        }
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

    /// The platform's version in the plugin's words.
    pub fn platform_version(&self) -> Result<String> {
        let mut args = ClientPlatformVersionArgs {
            client: self.inner.client,
            ..ClientPlatformVersionArgs::new()
        };
        self.inner.plugin.call(&mut args)?;
        // SAFETY: the text lives as long as the client.
        Ok(unsafe { text(args.text, args.size) })
    }

    /// Compiles `hlo` (a serialized `HloModuleProto`) for this client's devices.
    pub fn compile(&self, hlo: &[u8], config: &CompileConfig) -> Result<LoadedExecutable> {
        let mut config = config.clone();
        for (name, value) in self.xla_flags.iter() {
            let flag = config.xla_flags.entry(name.clone());
            flag.or_insert_with(|| value.clone());
        }
        let options = config.encode()?;
        let program = program(hlo);
        let mut args = ClientCompileArgs {
            client: self.inner.client,
            program: &program,
            compile_options: options.as_ptr().cast(),
            compile_options_size: options.len(),
            ..ClientCompileArgs::new()
        };
        self.inner.plugin.call(&mut args)?;
        LoadedExecutable::new(self.clone(), args.executable)
    }

    /// Loads an executable that [`super::Executable::serialize`] wrote with the same plugin.
    pub fn load(&self, serialized: &[u8]) -> Result<LoadedExecutable> {
        let mut args = ExecutableDeserializeAndLoadArgs {
            client: self.inner.client,
            bytes: serialized.as_ptr().cast(),
            size: serialized.len(),
            ..ExecutableDeserializeAndLoadArgs::new()
        };
        self.inner.plugin.call(&mut args)?;
        LoadedExecutable::new(self.clone(), args.executable)
    }

    /// Copies `bytes` (row-major, native byte order) to the device at place `device` of [`Client::devices`].
    ///
    /// # Errors
    /// Bytes that are not as many as the shape takes, a device that does not exist, or the plugin's own.
    pub fn buffer(
        &self,
        bytes: &[u8],
        dtype: DType,
        dims: &[usize],
        device: usize,
    ) -> Result<Buffer> {
        let Some(&handle) = self.inner.devices.get(device) else {
            return Err(Error::Invalid(format!(
                "there is no device {device}: the client has {}, counted from 0",
                self.inner.devices.len()
            )));
        };
        let element_type = super::buffer::type_number(dtype).ok_or_else(|| {
            Error::Invalid(format!("a buffer cannot hold elements of type {dtype}"))
        })?;
        let needed = dims.iter().product::<usize>() * dtype.bytes();
        if bytes.len() != needed {
            return Err(Error::Invalid(format!(
                "{dtype}{dims:?} takes {needed} bytes, and {} were given",
                bytes.len()
            )));
        }
        let dims: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
        let mut args = ClientBufferFromHostBufferArgs {
            client: self.inner.client,
            data: bytes.as_ptr().cast(),
            element_type,
            dims: dims.as_ptr(),
            num_dims: dims.len(),
            // The plugin copies before it returns, so `bytes` need not outlive this call.
            host_buffer_semantics: ffi::IMMUTABLE_ONLY_DURING_CALL,
            device: handle,
            ..ClientBufferFromHostBufferArgs::new()
        };
        self.inner.plugin.call(&mut args)?;
        let buffer = Buffer::new(self.clone(), args.buffer);
        Event::new(self.inner.plugin, args.done_with_host_buffer).wait()?;
        Ok(buffer)
    }

    /// Where `device` stands among this client's devices.
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
