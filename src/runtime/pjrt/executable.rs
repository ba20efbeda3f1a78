//! Executables: compiled programs, and the compiler's figures for them.

use std::any::Any;
use std::collections::BTreeMap;
use std::ffi::c_char;
use std::sync::Arc;

use super::api::Plugin;
use super::ffi::{
    ExecutableDestroyArgs, ExecutableFingerprintArgs, ExecutableGetCompiledMemoryStatsArgs,
    ExecutableGetCostAnalysisArgs, ExecutableNameArgs, ExecutableNumOutputsArgs,
    ExecutableNumPartitionsArgs, ExecutableOptimizedProgramArgs, ExecutableSerializeArgs, Handle,
    Program, Struct,
};
use super::memory::{slice, text};
use super::named_value;
use crate::runtime::error::{Error, Result};
use crate::runtime::value::Value;

/// A compiled program.
pub struct Executable {
    plugin: Plugin,
    executable: Handle,
    /// Keeps the executable's source alive: a topology or a client.
    _owner: Arc<dyn Any + Send + Sync>,
}

// SAFETY: an executable does not change after compiling; PJRT's functions may be called from any thread.
unsafe impl Send for Executable {}
// SAFETY: as above.
unsafe impl Sync for Executable {}

/// Device memory of a compiled program, in bytes per device, as counted by the compiler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// Inputs.
    pub arguments: u64,
    /// Outputs.
    pub outputs: u64,
    /// The part of the inputs' memory that outputs reuse.
    pub aliased: u64,
    /// Scratch space.
    pub temporaries: u64,
    /// The program itself.
    pub code: u64,
    /// The most in use at one time, including inputs and outputs.
    pub peak: u64,
}

impl Executable {
    pub(super) fn new(
        plugin: Plugin,
        executable: Handle,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Executable {
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

    /// The plugin's fingerprint of program, options and compiler, in hexadecimal. Not every plugin has one.
    pub fn fingerprint(&self) -> Result<String> {
        let mut args = ExecutableFingerprintArgs {
            executable: self.executable,
            ..ExecutableFingerprintArgs::new()
        };
        self.plugin.call(&mut args)?;
        // SAFETY: the bytes (not text in libtpu) live as long as the executable.
        let bytes = unsafe { slice(args.text.cast::<u8>(), args.size) };
        Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The program's device memory.
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

    /// The compiler's cost properties (`flops`, `bytes accessed`, ...). A loop's body is counted once however often
    /// it runs, so these are not figures for a whole program with loops.
    pub fn cost_analysis(&self) -> Result<BTreeMap<String, Value>> {
        let mut args = ExecutableGetCostAnalysisArgs {
            executable: self.executable,
            ..ExecutableGetCostAnalysisArgs::new()
        };
        self.plugin.call(&mut args)?;
        // SAFETY: the properties live as long as the executable.
        Ok(unsafe { named_value::read_all(args.properties, args.num_properties) })
    }

    /// The optimized, partitioned program: a serialized `HloModuleProtoWithConfig` (field 1 is the `HloModuleProto`).
    pub fn optimized_program(&self) -> Result<Vec<u8>> {
        let mut program = Program::new();
        // Without a destination, the plugin returns the size.
        self.write_program(&mut program)?;
        let mut bytes = vec![0u8; program.code_size];
        program.code = bytes.as_mut_ptr().cast();
        self.write_program(&mut program)?;
        bytes.truncate(program.code_size);
        // SAFETY: the plugin set the format to its own text, which lives at least as long as the executable.
        let format = unsafe { text(program.format, program.format_size) };
        if format != FORMAT_OPTIMIZED {
            return Err(Error::Invalid(format!(
                "the plugin returns its optimized program as `{format}`, but only `{FORMAT_OPTIMIZED}` can be read"
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

    /// The executable in the plugin's format, for [`super::Client::load`] with the same plugin.
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

const FORMAT_HLO: &str = "hlo";
const FORMAT_OPTIMIZED: &str = "hlo_with_config";

/// `hlo` as a program argument of the interface. It points into `hlo`, which the plugin only reads.
pub(super) fn program(hlo: &[u8]) -> Program {
    Program {
        code: hlo.as_ptr().cast::<c_char>().cast_mut(),
        code_size: hlo.len(),
        format: FORMAT_HLO.as_ptr().cast(),
        format_size: FORMAT_HLO.len(),
        ..Program::new()
    }
}
