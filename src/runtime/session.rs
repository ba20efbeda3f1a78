//! A lowered program compiled for a client's devices, run with named inputs and outputs.

use std::collections::BTreeMap;

use super::array::{DeviceArray, HostArray};
use super::error::{Error, Result};
use super::options::CompileConfig;
use super::pjrt::{Client, LoadedExecutable};
use crate::graph::Shape;
use crate::hlo::{Port, Program, Signature};

/// A program on devices.
pub struct Session {
    executable: LoadedExecutable,
    config: CompileConfig,
    signature: Signature,
}

/// Named arrays on devices.
pub type DeviceArrays = BTreeMap<String, DeviceArray>;

impl Session {
    /// Compiles `program` for the devices of `client` with `config`. Its device assignment gives the device of each mesh
    /// position; without one, the client's first devices are used in their order.
    ///
    /// # Errors
    /// The config's number of devices is not the mesh's, the client lacks a device, or the compiler fails.
    pub fn new(client: &Client, program: &Program, config: &CompileConfig) -> Result<Self> {
        let config = assigned(client, config)?;
        let places = program.signature.mesh.devices();
        if config.partitions != places {
            return Err(Error::Invalid(format!(
                "the mesh {} takes {places} devices, but the program is to be compiled for {}",
                program.signature.mesh, config.partitions
            )));
        }
        let executable = client.compile(program.bytes(), &config)?;
        Session::of(executable, &config, &program.signature)
    }

    /// A program already compiled under `config`, with the inputs and outputs of `signature`.
    ///
    /// # Errors
    /// The executable's number of devices in this process is not the mesh's, or its number of outputs is not the
    /// signature's.
    pub fn of(
        executable: LoadedExecutable,
        config: &CompileConfig,
        signature: &Signature,
    ) -> Result<Self> {
        let (places, found) = (signature.mesh.devices(), executable.devices().len());
        if found != places {
            return Err(Error::Invalid(format!(
                "the mesh {} takes {places} devices, but this process runs the program on {found}",
                signature.mesh
            )));
        }
        let (expected, found) = (
            signature.outputs.len(),
            executable.executable().num_outputs()?,
        );
        if found != expected {
            return Err(Error::Invalid(format!(
                "the signature names {expected} outputs, but the program has {found}"
            )));
        }
        Ok(Session {
            config: assigned(executable.client(), config)?,
            executable,
            signature: signature.clone(),
        })
    }

    /// Compiles `program` for the same devices under the same options.
    ///
    /// # Errors
    /// Those of [`Session::new`].
    pub fn beside(&self, program: &Program) -> Result<Self> {
        Session::new(self.executable.client(), program, &self.config)
    }

    /// The inputs and outputs.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The compiled program.
    pub fn executable(&self) -> &LoadedExecutable {
        &self.executable
    }

    /// The compile options, with the device of each mesh position.
    pub fn config(&self) -> &CompileConfig {
        &self.config
    }

    /// Puts `array` on the devices, sharded like the input `name`.
    ///
    /// # Errors
    /// There is no such input, the array has another shape, or the plugin fails.
    pub fn put(&self, name: &str, array: &HostArray) -> Result<DeviceArray> {
        let Some(port) = self.signature.inputs.iter().find(|port| port.name == name) else {
            return Err(Error::Invalid(format!("the program has no input `{name}`")));
        };
        check_shape(port, array.shape())?;
        DeviceArray::put(
            self.executable.client(),
            self.executable.devices(),
            &self.signature.mesh,
            array,
            &port.sharding,
        )
    }

    /// Runs the program once on `inputs` and consumes them: the program overwrites those that it updates.
    ///
    /// # Errors
    /// An input is missing, an array's shape, sharding or devices are not the input's, or the plugin fails.
    pub fn run(&self, inputs: &DeviceArrays) -> Result<DeviceArrays> {
        let devices = self.executable.devices();
        let mut arguments = vec![Vec::with_capacity(self.signature.inputs.len()); devices.len()];
        for port in &self.signature.inputs {
            let Some(array) = inputs.get(&port.name) else {
                return Err(Error::Invalid(format!(
                    "the input `{}` was not given",
                    port.name
                )));
            };
            self.check(port, array)?;
            for (list, part) in arguments.iter_mut().zip(&array.parts) {
                list.push(part);
            }
        }
        let mut by_device: Vec<_> = (self.executable.execute(&arguments)?.into_iter())
            .map(|outputs| outputs.into_iter())
            .collect();
        let outputs = self.signature.outputs.iter().map(|port| {
            let array = DeviceArray {
                shape: port.shape.clone(),
                mesh: self.signature.mesh.clone(),
                sharding: port.sharding.clone(),
                devices: devices.to_vec(),
                parts: by_device.iter_mut().filter_map(Iterator::next).collect(),
            };
            (port.name.clone(), array)
        });
        Ok(outputs.collect())
    }

    /// Runs the program once, from host arrays to host arrays.
    ///
    /// # Errors
    /// Those of [`Session::put`] and [`Session::run`].
    pub fn evaluate(
        &self,
        inputs: &BTreeMap<String, HostArray>,
    ) -> Result<BTreeMap<String, HostArray>> {
        let put = |(name, array): (&String, &HostArray)| Ok((name.clone(), self.put(name, array)?));
        let inputs = inputs.iter().map(put).collect::<Result<DeviceArrays>>()?;
        let outputs = self.run(&inputs)?;
        let fetch = |(name, array): (String, DeviceArray)| Ok((name, array.fetch()?));
        outputs.into_iter().map(fetch).collect()
    }

    /// Checks that `array` is what the program takes as `port`. The plugin sees one device's parts at a time: parts of the
    /// right size from other positions of the array would pass and permute the numbers.
    fn check(&self, port: &Port, array: &DeviceArray) -> Result<()> {
        check_shape(port, &array.shape)?;
        let mesh = &self.signature.mesh;
        if !array.is_cut_as(&port.sharding, mesh) {
            return Err(Error::Invalid(format!(
                "the input `{}` is cut as {} over {mesh}, but the given array is cut as {} over {}",
                port.name,
                port.sharding.describe(mesh, &port.shape),
                array.sharding.describe(&array.mesh, &array.shape),
                array.mesh,
            )));
        }
        let devices = self.executable.devices();
        if array.devices != devices || array.parts.len() != devices.len() {
            return Err(Error::Invalid(format!(
                "the program runs on the devices {devices:?}, but the array given as `{}` is on {:?} in {} parts",
                port.name,
                array.devices,
                array.parts.len()
            )));
        }
        Ok(())
    }
}

fn check_shape(port: &Port, shape: &Shape) -> Result<()> {
    if port.shape == *shape {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "the input `{}` is {}, but {shape} was given",
        port.name, port.shape
    )))
}

/// `config` with a device of `client` for every partition.
fn assigned(client: &Client, config: &CompileConfig) -> Result<CompileConfig> {
    let mut config = config.clone();
    let ids: Vec<i64> = client.devices().iter().map(|device| device.id).collect();
    if config.device_assignment.is_empty() {
        if ids.len() < config.partitions {
            return Err(Error::Invalid(format!(
                "the program is to be compiled for {} devices, but the client has {}",
                config.partitions,
                ids.len()
            )));
        }
        config.device_assignment = ids[..config.partitions].to_vec();
    }
    let absent = |id: &&i64| !ids.contains(id);
    if let Some(id) = config.device_assignment.iter().find(absent) {
        return Err(Error::Invalid(format!(
            "the device assignment names device {id}, but the client has the devices {ids:?}"
        )));
    }
    Ok(config)
}

#[cfg(test)]
mod tests;
