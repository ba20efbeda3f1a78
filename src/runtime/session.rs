//! A lowered program, compiled for a client's devices and ready to run by the names of its inputs and outputs.

use std::collections::BTreeMap;

use super::array::{DeviceArray, HostArray};
use super::error::{Error, Result};
use super::options::CompileConfig;
use super::pjrt::{Client, LoadedExecutable};
use crate::hlo::{Program, Signature};

/// A program on devices.
pub struct Session {
    client: Client,
    executable: LoadedExecutable,
    signature: Signature,
    shardy: bool,
}

/// Named arrays on devices.
pub type DeviceArrays = BTreeMap<String, DeviceArray>;

impl Session {
    /// Compiles `program` for `client`, whose devices take the mesh's places in order. `shardy` chooses the partitioner.
    ///
    /// # Errors
    /// Fewer devices than the mesh has places, or the compiler's own.
    pub fn new(client: &Client, program: &Program, shardy: bool) -> Result<Self> {
        let places = program.signature.mesh.devices();
        let ids: Vec<_> = client
            .devices()
            .iter()
            .map(|device| device.id)
            .take(places)
            .collect();
        if ids.len() < places {
            return Err(Error::Invalid(format!(
                "the mesh {} takes {places} devices, and there are {}",
                program.signature.mesh,
                ids.len()
            )));
        }
        let config = CompileConfig {
            device_assignment: ids,
            shardy,
            ..CompileConfig::for_virtual_devices(places)
        };
        Ok(Session {
            client: client.clone(),
            executable: client.compile(&program.bytes(), &config)?,
            signature: program.signature.clone(),
            shardy,
        })
    }

    /// Compiles `program` for the same devices under the same partitioner.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn beside(&self, program: &Program) -> Result<Self> {
        Session::new(&self.client, program, self.shardy)
    }

    /// What goes in and comes out.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The compiled program.
    pub fn executable(&self) -> &LoadedExecutable {
        &self.executable
    }

    /// Puts `array` on the devices as the input `name` lies.
    ///
    /// # Errors
    /// An input that does not exist, an array of another shape, or the plugin's own.
    pub fn put(&self, name: &str, array: &HostArray) -> Result<DeviceArray> {
        let Some(port) = self.signature.inputs.iter().find(|port| port.name == name) else {
            return Err(Error::Invalid(format!("the program has no input `{name}`")));
        };
        if port.shape != *array.shape() {
            return Err(Error::Invalid(format!(
                "the input `{name}` is {}, and {} was given",
                port.shape,
                array.shape()
            )));
        }
        let devices = self.executable.devices();
        DeviceArray::put(
            &self.client,
            devices,
            &self.signature.mesh,
            array,
            &port.sharding,
        )
    }

    /// Runs the program once on `inputs`, which it takes: those that it updates are gone afterwards.
    ///
    /// # Errors
    /// A missing input, or the plugin's own.
    pub fn run(&self, inputs: &DeviceArrays) -> Result<DeviceArrays> {
        let places = self.executable.devices().len();
        let mut arguments = vec![Vec::with_capacity(self.signature.inputs.len()); places];
        for port in &self.signature.inputs {
            let Some(array) = inputs.get(&port.name) else {
                return Err(Error::Invalid(format!(
                    "the input `{}` was not given",
                    port.name
                )));
            };
            for (list, part) in arguments.iter_mut().zip(&array.parts) {
                list.push(part);
            }
        }
        let mut by_device: Vec<_> = (self.executable.execute(&arguments)?.into_iter())
            .map(|outputs| outputs.into_iter())
            .collect();
        let outputs = self.signature.outputs.iter().map(|port| {
            let parts = by_device.iter_mut().filter_map(Iterator::next).collect();
            let array = DeviceArray {
                shape: port.shape.clone(),
                sharding: port.sharding.clone(),
                parts,
            };
            (port.name.clone(), array)
        });
        Ok(outputs.collect())
    }

    /// Runs the program once from the host's arrays to the host's arrays.
    ///
    /// # Errors
    /// As [`Session::put`] and [`Session::run`].
    pub fn evaluate(
        &self,
        inputs: &BTreeMap<String, HostArray>,
    ) -> Result<BTreeMap<String, HostArray>> {
        let put = |(name, array): (&String, &HostArray)| Ok((name.clone(), self.put(name, array)?));
        let inputs = inputs.iter().map(put).collect::<Result<DeviceArrays>>()?;
        let outputs = self.run(&inputs)?;
        let fetch =
            |(name, array): (String, DeviceArray)| Ok((name, array.fetch(&self.signature.mesh)?));
        outputs.into_iter().map(fetch).collect()
    }
}
