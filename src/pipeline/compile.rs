//! From a recipe to a compiled program and the compiler's report on it, as one function of named stages.

use super::error::Error;
use super::job::{Job, Lowered};
use super::machine::{Built, Machine};
use super::stages::{Seconds, Stages};
use crate::forecast::{FlopsReport, Forecast, MemoryReport, forecast};
use crate::hlo::proto::decode_with_config;
use crate::hlo::{Analysis, analyse};
use crate::runtime::{self, Executable, Settings};
use crate::sharding::{Mesh, Partitioner, Target};

/// The result of the pipeline.
pub struct Compiled {
    /// The lowered program.
    pub lowered: Lowered,
    /// The machine it was compiled for.
    pub machine: Machine,
    /// The partitioner that split it.
    pub partitioner: Partitioner,
    /// The executable; `None` if it does not fit the device's memory.
    pub built: Option<Built>,
    /// The memory use of a device.
    pub memory: MemoryReport,
    /// The arithmetic.
    pub flops: FlopsReport,
    /// The estimated step time, for TPU targets with a known clock.
    pub forecast: Option<Forecast>,
    /// Figures of the optimized program; `None` if the plugin does not provide it.
    pub analysis: Option<Analysis>,
    /// The compiler's message, if it refused the program for lack of memory.
    pub refused: Option<String>,
    /// The time of each stage.
    pub seconds: Seconds,
}

/// Compiles `job`: build, check, place, lower, load, compile, analyse. If the compiler refuses the program for lack of
/// memory, that is a result, not an error.
///
/// # Errors
/// Those of [`Job::lower`] and of [`compile_program`].
pub fn compile(job: &Job, plugins: &Settings, stages: &mut Stages) -> Result<Compiled, Error> {
    let target = &job.target;
    // Only an attached TPU has to be asked for its devices. Everything else is lowered first, so a mistake in the mesh is
    // reported before a plugin is fetched.
    match target.devices() {
        Some(devices) => {
            let lowered = job.lower(devices, stages)?;
            compile_program(lowered, target, job.partitioner, plugins, stages)
        }
        None => {
            let machine = stages.time("load", || Machine::open(target, plugins))?;
            let lowered = job.lower(machine.devices().len(), stages)?;
            compile_on(machine, lowered, job.partitioner, stages)
        }
    }
}

/// Compiles a program of any origin for `target`: load, compile, analyse.
///
/// # Errors
/// The mesh does not multiply to the target's devices, there is no plugin, or the compiler refuses the program for a reason
/// other than memory.
pub fn compile_program(
    lowered: Lowered,
    target: &Target,
    partitioner: Partitioner,
    plugins: &Settings,
    stages: &mut Stages,
) -> Result<Compiled, Error> {
    if let Some(devices) = target.devices() {
        lowered.mesh.check_devices(devices)?;
    }
    let machine = stages.time("load", || Machine::open(target, plugins))?;
    compile_on(machine, lowered, partitioner, stages)
}

/// Compiles and analyses on an open machine.
fn compile_on(
    machine: Machine,
    lowered: Lowered,
    partitioner: Partitioner,
    stages: &mut Stages,
) -> Result<Compiled, Error> {
    let outcome = stages.time("compile", || machine.compile(&lowered.program, partitioner));
    let (built, refused) = match outcome {
        Ok(built) => (Some(built), None),
        Err(Error::Runtime(error)) if error.is_out_of_memory() => (None, Some(error.to_string())),
        Err(error) => return Err(error),
    };
    let (stats, analysis) = stages.time("analyse", || match &built {
        None => Ok((None, None)),
        Some(built) => {
            let executable = built.executable();
            let stats = executable.memory_stats()?;
            Ok::<_, Error>((Some(stats), analysis(executable, &lowered.mesh)?))
        }
    })?;
    let memory = MemoryReport::new(&lowered.program.signature, stats, machine.memory_bytes());
    let flops = FlopsReport::new(lowered.cost().as_ref(), analysis.as_ref());
    let topology = machine.target().topology();
    let forecast = (analysis.as_ref().zip(topology)).and_then(|(analysis, topology)| {
        forecast(analysis, &lowered.mesh, topology, flops.model_per_step)
    });
    Ok(Compiled {
        lowered,
        machine,
        partitioner,
        built,
        memory,
        flops,
        forecast,
        analysis,
        refused,
        seconds: stages.seconds(),
    })
}

/// Figures of the optimized program; `None` if the plugin does not provide it.
fn analysis(executable: &Executable, mesh: &Mesh) -> Result<Option<Analysis>, Error> {
    let bytes = match executable.optimized_program() {
        Ok(bytes) => bytes,
        Err(runtime::Error::Unimplemented { .. }) => return Ok(None),
        Err(runtime::Error::Plugin {
            code: runtime::Code::Unimplemented,
            ..
        }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let module = decode_with_config(&bytes).map_err(|error| Error::Optimized(error.to_string()))?;
    let axes: Vec<_> = (mesh.axes().iter())
        .map(|axis| (axis.name.to_string(), axis.size))
        .collect();
    Ok(Some(analyse(&module, &axes)))
}
