//! Executables: compiled programs, what the compiler says about them, and running them.

use std::collections::BTreeMap;
use std::ffi::c_char;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use super::api::{Plugin, slice, text};
use super::buffer::Buffer;
use super::client::{self, Client};
use super::event::Event;
use super::ffi::{
    ExecutableDestroyArgs, ExecutableFingerprintArgs, ExecutableGetCompiledMemoryStatsArgs,
    ExecutableGetCostAnalysisArgs, ExecutableNameArgs, ExecutableNumOutputsArgs,
    ExecutableNumPartitionsArgs, ExecutableOptimizedProgramArgs, ExecutableSerializeArgs,
    ExecuteOptions, Handle, LoadedExecutableAddressableDevicesArgs, LoadedExecutableDestroyArgs,
    LoadedExecutableExecuteArgs, LoadedExecutableGetExecutableArgs, Program, Struct,
};
use super::topology;
use super::value::{self, Value};
use crate::runtime::error::{Error, Result};

/// The number of the next launch in this process. The CPU plugin tells launches apart by it: two that ran at once without
/// numbers would take part in each other's collectives, and XLA would end the process.
static NEXT_LAUNCH: AtomicI32 = AtomicI32::new(1);

/// A compiled program.
pub struct Executable {
    plugin: Plugin,
    executable: Handle,
    /// Keeps alive what the executable may refer to.
    _owner: Owner,
}

/// What an executable came from.
#[allow(dead_code)] // held, never read
pub(super) enum Owner {
    Topology(Arc<topology::Inner>),
    Client(Arc<client::Inner>),
}

// SAFETY: an executable does not change after compiling; PJRT's functions may be called from any thread.
unsafe impl Send for Executable {}
// SAFETY: as above.
unsafe impl Sync for Executable {}

/// Device memory of a compiled program, in bytes per device, as the compiler counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// Inputs.
    pub arguments: u64,
    /// Outputs.
    pub outputs: u64,
    /// The part of the inputs whose memory outputs reuse.
    pub aliased: u64,
    /// Scratch space.
    pub temporaries: u64,
    /// The program itself.
    pub code: u64,
    /// The most that is in use at one time, inputs and outputs included.
    pub peak: u64,
}

impl Executable {
    pub(super) fn new(plugin: Plugin, executable: Handle, owner: Owner) -> Executable {
        Executable {
            plugin,
            executable,
            _owner: owner,
        }
    }

    /// The module's name.
    pub fn name(&self) -> Result<String> {
        let mut args = ExecutableNameArgs {
            executable: self.executable,
            ..ExecutableNameArgs::new()
        };
        self.plugin.call(&mut args)?;
        // SAFETY: the text lives as long as the executable.
        Ok(unsafe { text(args.text, args.size) })
    }

    /// Outputs per device.
    pub fn num_outputs(&self) -> Result<usize> {
        let mut args = ExecutableNumOutputsArgs {
            executable: self.executable,
            ..ExecutableNumOutputsArgs::new()
        };
        self.plugin.call(&mut args)?;
        Ok(args.num_outputs)
    }

    /// Devices the program is split over.
    pub fn num_partitions(&self) -> Result<usize> {
        let mut args = ExecutableNumPartitionsArgs {
            executable: self.executable,
            ..ExecutableNumPartitionsArgs::new()
        };
        self.plugin.call(&mut args)?;
        Ok(args.num_partitions)
    }

    /// The plugin's fingerprint of program, options and compiler, in hexadecimals. Not every plugin has one.
    pub fn fingerprint(&self) -> Result<String> {
        let mut args = ExecutableFingerprintArgs {
            executable: self.executable,
            ..ExecutableFingerprintArgs::new()
        };
        self.plugin.call(&mut args)?;
        // SAFETY: the bytes (libtpu's are no text) live as long as the executable.
        let bytes = unsafe { slice(args.text.cast::<u8>(), args.size) };
        Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Where the device's memory goes.
    pub fn memory_stats(&self) -> Result<MemoryStats> {
        let mut args = ExecutableGetCompiledMemoryStatsArgs {
            executable: self.executable,
            ..ExecutableGetCompiledMemoryStatsArgs::new()
        };
        self.plugin.call(&mut args)?;
        let bytes = |count: i64| u64::try_from(count).unwrap_or(0);
        Ok(MemoryStats {
            arguments: bytes(args.argument_size),
            outputs: bytes(args.output_size),
            aliased: bytes(args.alias_size),
            temporaries: bytes(args.temp_size),
            code: bytes(args.generated_code_size),
            peak: bytes(args.peak_memory),
        })
    }

    /// The compiler's cost properties (`flops`, `bytes accessed`, ...). A loop's body is counted once, however often it
    /// runs, so these are no figures of a whole program with loops.
    pub fn cost_analysis(&self) -> Result<BTreeMap<String, Value>> {
        let mut args = ExecutableGetCostAnalysisArgs {
            executable: self.executable,
            ..ExecutableGetCostAnalysisArgs::new()
        };
        self.plugin.call(&mut args)?;
        // SAFETY: the properties live as long as the executable.
        Ok(unsafe { value::read_all(args.properties, args.num_properties) })
    }

    /// The optimized, partitioned program: a serialized `HloModuleProtoWithConfig` (field 1 is the `HloModuleProto`).
    pub fn optimized_program(&self) -> Result<Vec<u8>> {
        let mut program = Program::new();
        // Asked without a place to write to, the plugin says the size.
        self.write_program(&mut program)?;
        let mut bytes = vec![0u8; program.code_size];
        program.code = bytes.as_mut_ptr().cast();
        self.write_program(&mut program)?;
        bytes.truncate(program.code_size);
        // SAFETY: the plugin set the format to a text of its own, which lives at least as long as the executable.
        let format = unsafe { text(program.format, program.format_size) };
        if format != FORMAT_OPTIMIZED {
            return Err(Error::Invalid(format!(
                "the plugin gives its optimized program as `{format}`, and `{FORMAT_OPTIMIZED}` is what is read here"
            )));
        }
        Ok(bytes)
    }

    fn write_program(&self, program: &mut Program) -> Result<()> {
        self.plugin.call(&mut ExecutableOptimizedProgramArgs {
            executable: self.executable,
            program,
            ..ExecutableOptimizedProgramArgs::new()
        })
    }

    /// The executable in the plugin's own format, for [`Client::load`] with the same plugin.
    pub fn serialize(&self) -> Result<Vec<u8>> {
        let mut args = ExecutableSerializeArgs {
            executable: self.executable,
            ..ExecutableSerializeArgs::new()
        };
        self.plugin.call(&mut args)?;
        // SAFETY: the bytes live until the deleter is called on their backing, which happens once, after the copy.
        Ok(unsafe {
            let bytes = slice(args.bytes.cast::<u8>(), args.size).to_vec();
            if let Some(delete) = args.deleter {
                delete(args.backing);
            }
            bytes
        })
    }
}

impl Drop for Executable {
    fn drop(&mut self) {
        let executable = self.executable;
        self.plugin.call_quietly(&mut ExecutableDestroyArgs {
            executable,
            ..ExecutableDestroyArgs::new()
        });
    }
}

/// A compiled program on a client's devices.
pub struct LoadedExecutable {
    client: Client,
    loaded: Handle,
    /// For each partition that this process runs, the place of its device in [`Client::devices`].
    devices: Vec<usize>,
    executable: Executable,
    num_outputs: usize,
}

// SAFETY: PJRT's loaded executables may be used from any thread.
unsafe impl Send for LoadedExecutable {}
// SAFETY: as above.
unsafe impl Sync for LoadedExecutable {}

impl LoadedExecutable {
    pub(super) fn new(client: Client, loaded: Handle) -> Result<LoadedExecutable> {
        let plugin = client.inner.plugin;
        let guard = Guard { plugin, loaded };
        let mut args = LoadedExecutableGetExecutableArgs {
            loaded,
            ..LoadedExecutableGetExecutableArgs::new()
        };
        plugin.call(&mut args)?;
        let executable =
            Executable::new(plugin, args.executable, Owner::Client(client.inner.clone()));
        let num_outputs = executable.num_outputs()?;
        let mut args = LoadedExecutableAddressableDevicesArgs {
            executable: loaded,
            ..LoadedExecutableAddressableDevicesArgs::new()
        };
        plugin.call(&mut args)?;
        // SAFETY: the list lives as long as the loaded executable.
        let handles = unsafe { slice(args.devices, args.num_devices) };
        let devices = handles
            .iter()
            .filter_map(|&device| client.position(device))
            .collect();
        std::mem::forget(guard);
        Ok(LoadedExecutable {
            client,
            loaded,
            devices,
            executable,
            num_outputs,
        })
    }

    /// What the compiler says about the program.
    pub fn executable(&self) -> &Executable {
        &self.executable
    }

    /// For each partition in order, the place of its device in [`Client::devices`]: where its arguments must be.
    pub fn devices(&self) -> &[usize] {
        &self.devices
    }

    /// Runs the program: `arguments[d]` are those of the device at `devices()[d]`, and so are the outputs. Waits until
    /// every device is done. Inputs that the program aliases with outputs are donated: their buffers hold nothing
    /// afterwards.
    ///
    /// # Errors
    /// Argument lists that do not fit the devices, a buffer donated before, or the
    /// plugin's own.
    pub fn execute(&self, arguments: &[Vec<&Buffer>]) -> Result<Vec<Vec<Buffer>>> {
        self.execute_keeping(arguments, &[])
    }

    /// As [`LoadedExecutable::execute`], but the inputs at the places `keep` are not donated: where the program would
    /// reuse their memory, it works on a copy.
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
        let inputs: Vec<Vec<Handle>> = arguments
            .iter()
            .map(|list| list.iter().map(|buffer| buffer.buffer).collect())
            .collect();
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
        // Own everything before any error can return.
        let outputs: Vec<Vec<Buffer>> = outputs
            .into_iter()
            .map(|list| {
                list.into_iter()
                    .map(|buffer| Buffer::new(self.client.clone(), buffer))
                    .collect()
            })
            .collect();
        let events: Vec<Event> = events
            .into_iter()
            .map(|event| Event::new(plugin, event))
            .collect();
        // Wait for all of them, also after a failure, and tell the first.
        let mut result = Ok(());
        for event in events {
            result = result.and(event.wait());
        }
        result.map(|()| outputs)
    }

    fn check(&self, arguments: &[Vec<&Buffer>]) -> Result<()> {
        if arguments.len() != self.devices.len() {
            return Err(Error::Invalid(format!(
                "the program runs on {} devices, and arguments for {} were given",
                self.devices.len(),
                arguments.len()
            )));
        }
        for (device, list) in arguments.iter().enumerate() {
            if list.len() != arguments[0].len() {
                return Err(Error::Invalid(format!(
                    "device {device} got {} arguments, and device 0 got {}",
                    list.len(),
                    arguments[0].len()
                )));
            }
            for (place, buffer) in list.iter().enumerate() {
                if !Arc::ptr_eq(&buffer.client().inner, &self.client.inner) {
                    return Err(Error::Invalid(format!(
                        "argument {place} of device {device} is another client's"
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

const FORMAT_HLO: &str = "hlo";
const FORMAT_OPTIMIZED: &str = "hlo_with_config";

/// `hlo` as the interface takes a program; points into `hlo`, which the plugin only reads.
pub(super) fn program(hlo: &[u8]) -> Program {
    Program {
        code: hlo.as_ptr().cast::<c_char>().cast_mut(),
        code_size: hlo.len(),
        format: FORMAT_HLO.as_ptr().cast(),
        format_size: FORMAT_HLO.len(),
        ..Program::new()
    }
}
