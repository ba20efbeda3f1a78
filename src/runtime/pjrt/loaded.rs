//! Loaded executables: compiled programs on a client's devices, ready to run.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use super::api::Plugin;
use super::buffer::Buffer;
use super::client::Client;
use super::event::Event;
use super::executable::{Executable, program};
use super::ffi::{
    ClientCompileArgs, ExecutableDeserializeAndLoadArgs, ExecuteOptions, Handle,
    LoadedExecutableAddressableDevicesArgs, LoadedExecutableDestroyArgs,
    LoadedExecutableExecuteArgs, LoadedExecutableGetExecutableArgs, Struct,
};
use super::memory::slice;
use crate::runtime::error::{Error, Result};
use crate::runtime::options::CompileConfig;

impl Client {
    /// Compiles `hlo` (a serialized `HloModuleProto`) for this client's devices.
    pub fn compile(&self, hlo: &[u8], config: &CompileConfig) -> Result<LoadedExecutable> {
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
        LoadedExecutable::new(self.clone(), args.executable, &config.device_assignment)
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
        LoadedExecutable::new(self.clone(), args.executable, &[])
    }
}

/// The number of the next launch in this process. The CPU plugin distinguishes launches by it: two concurrent launches
/// without numbers would join each other's collectives, and XLA would end the process.
static NEXT_LAUNCH: AtomicI32 = AtomicI32::new(1);

/// A compiled program on a client's devices.
pub struct LoadedExecutable {
    client: Client,
    loaded: Handle,
    /// The position in [`Client::devices`] of the device of each partition that this process runs.
    devices: Vec<usize>,
    /// For each of those partitions, its device's position in the plugin's list.
    order: Vec<usize>,
    executable: Executable,
    num_outputs: usize,
}

// SAFETY: PJRT's loaded executables may be used from any thread.
unsafe impl Send for LoadedExecutable {}
// SAFETY: as above.
unsafe impl Sync for LoadedExecutable {}

impl LoadedExecutable {
    /// Takes ownership of a loaded executable whose partitions run on the devices with the ids `assignment`. If it is empty,
    /// the plugin's order of devices is that of the partitions.
    fn new(client: Client, loaded: Handle, assignment: &[i64]) -> Result<LoadedExecutable> {
        let plugin = client.inner.plugin;
        let guard = Guard { plugin, loaded };
        let mut args = LoadedExecutableGetExecutableArgs {
            loaded,
            ..LoadedExecutableGetExecutableArgs::new()
        };
        plugin.call(&mut args)?;
        let executable = Executable::new(plugin, args.executable, client.inner.clone());
        let num_outputs = executable.num_outputs()?;
        let mut args = LoadedExecutableAddressableDevicesArgs {
            executable: loaded,
            ..LoadedExecutableAddressableDevicesArgs::new()
        };
        plugin.call(&mut args)?;
        // SAFETY: the list lives as long as the loaded executable.
        let handles = unsafe { slice(args.devices, args.num_devices) };
        let listed: Vec<usize> = handles
            .iter()
            .filter_map(|&device| client.position(device))
            .collect();
        let ids: Vec<i64> = (listed.iter())
            .map(|&place| client.devices()[place].id)
            .collect();
        let order = order(&ids, assignment).filter(|order| order.len() == handles.len());
        let Some(order) = order else {
            return Err(Error::Invalid(format!(
                "the program was compiled for the devices {assignment:?}, but the plugin loaded it onto {ids:?}"
            )));
        };
        std::mem::forget(guard);
        Ok(LoadedExecutable {
            client,
            loaded,
            devices: order.iter().map(|&at| listed[at]).collect(),
            order,
            executable,
            num_outputs,
        })
    }

    /// The client whose devices the program is on.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The compiled program with the compiler's figures.
    pub fn executable(&self) -> &Executable {
        &self.executable
    }

    /// The position in [`Client::devices`] of each partition's device, in order: its arguments must be there.
    pub fn devices(&self) -> &[usize] {
        &self.devices
    }

    /// Runs the program and waits until every device is done. `arguments[p]` are those of partition `p`, which runs on the
    /// device `devices()[p]`; the outputs are ordered likewise. Inputs that the program aliases with outputs are donated:
    /// their buffers hold no data afterwards.
    ///
    /// # Errors
    /// The argument lists do not fit the devices, a buffer was donated before, or the plugin fails.
    pub fn execute(&self, arguments: &[Vec<&Buffer>]) -> Result<Vec<Vec<Buffer>>> {
        self.execute_keeping(arguments, &[])
    }

    /// As [`LoadedExecutable::execute`], but the inputs at the positions `keep` are not donated: if the program would reuse
    /// their memory, it works on a copy.
    pub fn execute_keeping(
        &self,
        arguments: &[Vec<&Buffer>],
        keep: &[usize],
    ) -> Result<Vec<Vec<Buffer>>> {
        self.check(arguments)?;
        let plugin = self.client.inner.plugin;
        let keep: Vec<i64> = keep.iter().map(|&place| place as i64).collect();
        let options = ExecuteOptions {
            launch_id: NEXT_LAUNCH.fetch_add(1, Ordering::Relaxed),
            non_donatable_input_indices: keep.as_ptr(),
            num_non_donatable_input_indices: keep.len(),
            ..ExecuteOptions::new()
        };
        // The plugin takes and returns lists in its own order of devices.
        let mut inputs: Vec<Vec<Handle>> = vec![Vec::new(); arguments.len()];
        for (list, &at) in arguments.iter().zip(&self.order) {
            inputs[at] = list.iter().map(|buffer| buffer.buffer).collect();
        }
        let input_lists: Vec<*const Handle> = inputs.iter().map(Vec::as_ptr).collect();
        let mut outputs = vec![vec![std::ptr::null_mut(); self.num_outputs]; arguments.len()];
        let output_lists: Vec<*mut Handle> = outputs.iter_mut().map(Vec::as_mut_ptr).collect();
        let mut events = vec![std::ptr::null_mut(); arguments.len()];
        plugin.call(&mut LoadedExecutableExecuteArgs {
            executable: self.loaded,
            options: &options,
            argument_lists: input_lists.as_ptr(),
            num_devices: arguments.len(),
            num_args: arguments.first().map_or(0, Vec::len),
            output_lists: output_lists.as_ptr(),
            device_complete_events: events.as_mut_ptr(),
            ..LoadedExecutableExecuteArgs::new()
        })?;
        // Take ownership of everything before returning any error.
        let own = |list: Vec<Handle>| -> Vec<Buffer> {
            list.into_iter()
                .map(|buffer| Buffer::new(self.client.clone(), buffer))
                .collect()
        };
        let mut listed: Vec<Vec<Buffer>> = outputs.into_iter().map(own).collect();
        let outputs = (self.order.iter())
            .map(|&at| std::mem::take(&mut listed[at]))
            .collect();
        let events: Vec<Event> = events
            .into_iter()
            .map(|event| Event::new(plugin, event))
            .collect();
        // Wait for all of them, even after a failure, and report the first error.
        let mut result = Ok(());
        for event in events {
            result = result.and(event.wait());
        }
        result.map(|()| outputs)
    }

    fn check(&self, arguments: &[Vec<&Buffer>]) -> Result<()> {
        if arguments.len() != self.devices.len() {
            return Err(Error::Invalid(format!(
                "the program runs on {} devices, but arguments for {} were given",
                self.devices.len(),
                arguments.len()
            )));
        }
        for (device, list) in arguments.iter().enumerate() {
            if list.len() != arguments[0].len() {
                return Err(Error::Invalid(format!(
                    "device {device} got {} arguments, but device 0 got {}",
                    list.len(),
                    arguments[0].len()
                )));
            }
            for (place, buffer) in list.iter().enumerate() {
                if !Arc::ptr_eq(&buffer.client().inner, &self.client.inner) {
                    return Err(Error::Invalid(format!(
                        "argument {place} of device {device} belongs to another client"
                    )));
                }
                if buffer.is_donated()? {
                    let what = format!(
                        "argument {place} of device {device} ({})",
                        buffer.describe()
                    );
                    return Err(Error::Donated(what));
                }
            }
        }
        Ok(())
    }
}

impl Drop for LoadedExecutable {
    fn drop(&mut self) {
        drop(Guard {
            plugin: self.client.inner.plugin,
            loaded: self.loaded,
        });
    }
}

/// Frees a loaded executable.
struct Guard {
    plugin: Plugin,
    loaded: Handle,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let executable = self.loaded;
        self.plugin.call_quietly(&mut LoadedExecutableDestroyArgs {
            executable,
            ..LoadedExecutableDestroyArgs::new()
        });
    }
}

/// The position in `ids` of each device of `assignment` that is there; `None` if one of `ids` gets no partition.
fn order(ids: &[i64], assignment: &[i64]) -> Option<Vec<usize>> {
    if assignment.is_empty() {
        return Some((0..ids.len()).collect());
    }
    let place = |id: &i64| ids.iter().position(|own| own == id);
    let order: Vec<usize> = assignment.iter().filter_map(place).collect();
    (order.len() == ids.len()).then_some(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_find_their_device_in_the_plugins_list() {
        assert_eq!(order(&[5, 6, 7], &[]), Some(vec![0, 1, 2]));
        assert_eq!(order(&[5, 6, 7], &[7, 5, 6]), Some(vec![2, 0, 1]));
        // Devices 1 and 2 belong to another process.
        assert_eq!(order(&[5, 6], &[1, 6, 2, 5]), Some(vec![1, 0]));
        assert_eq!(order(&[5, 6], &[6, 7]), None);
    }
}
