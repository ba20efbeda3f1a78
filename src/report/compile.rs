//! The pipeline, from a recipe to a compiled program and the report of it, as one function of named stages.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::advice::advice;
use super::error::Error;
use super::flops::FlopsReport;
use super::forecast::{CollectiveReport, Forecast, forecast};
use super::job::{Job, Lowered};
use super::machine::{Built, Machine};
use super::memory::MemoryReport;
use super::stages::{Seconds, Stages};
use crate::hlo::proto::decode_with_config;
use crate::hlo::{Analysis, analyse};
use crate::runtime::{self, Executable, Settings};
use crate::sharding::{Mesh, Target};

/// What came out of the pipeline.
pub struct Compiled {
    /// The lowered program.
    pub lowered: Lowered,
    /// The machine that it was compiled for.
    pub machine: Machine,
    /// The executable; none where it does not fit the device's memory.
    pub built: Option<Built>,
    /// The report.
    pub report: CompileReport,
}

/// Compiles `job`: build, check, place, lower, load, compile, analyse. A program that the compiler refuses for want of memory is
/// a result, not an error: the report says so and what to change.
///
/// # Errors
/// Those of [`Job::lower`]; no plugin; or what the compiler refuses for another reason.
pub fn compile(job: &Job, plugins: &Settings, stages: &mut Stages) -> Result<Compiled, Error> {
    let target = &job.target;
    // Only an attached TPU has to be asked for its devices. All else is lowered first, so that a mistake in the mesh shows
    // before a plugin is fetched.
    let open = |stages: &mut Stages| stages.time("load", || Machine::open(target, plugins));
    let (machine, lowered) = match target.devices() {
        Some(devices) => {
            let lowered = job.lower(devices, stages)?;
            (open(stages)?, lowered)
        }
        None => {
            let machine = open(stages)?;
            let lowered = job.lower(machine.devices().len(), stages)?;
            (machine, lowered)
        }
    };
    let outcome = stages.time("compile", || {
        machine.compile(&lowered.program, job.partitioner)
    });
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
    let flops = FlopsReport::new(&lowered.cost, analysis.as_ref());
    let forecast = (analysis.as_ref().zip(target.topology())).and_then(|(analysis, topology)| {
        forecast(analysis, &lowered.mesh, topology, flops.model_per_step)
    });
    let recipe = &job.recipe;
    let report = CompileReport {
        model: recipe.name.clone(),
        fingerprint: lowered.program.fingerprint(),
        target: TargetReport::new(target, machine.devices().len()),
        mesh: MeshReport(lowered.mesh.clone()),
        mesh_reason: lowered.mesh_reason.clone(),
        partitioner: job.partitioner.name(),
        parameters: lowered.parameters,
        global_batch: recipe.batch,
        length: recipe.length,
        tokens_per_step: recipe.tokens_per_step(),
        seconds: stages.seconds(),
        hlo: HloReport {
            instructions: lowered.program.instructions(),
            bytes: lowered.program.bytes().len(),
        },
        warnings: lowered.warnings.clone(),
        advice: match memory.fits {
            true => Vec::new(),
            false => advice(recipe, &lowered.mesh, &memory),
        },
        memory,
        flops,
        forecast,
        collectives: analysis.map(|it| it.collectives.iter().map(Into::into).collect()),
        plugin: PluginReport::new(&machine),
        refused,
    };
    Ok(Compiled {
        lowered,
        machine,
        built,
        report,
    })
}

/// What the optimized program tells; `None` where the plugin does not give it.
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

/// All that is known of a compiled step. As JSON it is what `ribosome compile --json` prints.
#[derive(Clone, Debug, serde::Serialize)]
pub struct CompileReport {
    /// The recipe's name.
    pub model: String,
    /// The hash of the lowered module and its signature.
    pub fingerprint: String,
    /// What it was compiled for.
    pub target: TargetReport,
    /// The mesh.
    pub mesh: MeshReport,
    /// Why it is this mesh; none where it was given.
    pub mesh_reason: Option<String>,
    /// `shardy` or `gspmd`.
    pub partitioner: &'static str,
    /// Number of weights.
    pub parameters: u64,
    /// Rows of a step.
    pub global_batch: usize,
    /// Tokens of a row.
    pub length: usize,
    /// Tokens that encoder and decoder read in a step.
    pub tokens_per_step: usize,
    /// What each stage took.
    pub seconds: Seconds,
    /// The lowered module.
    pub hlo: HloReport,
    /// Where a device's memory goes.
    pub memory: MemoryReport,
    /// The arithmetic.
    pub flops: FlopsReport,
    /// How long a step should take; for TPU targets with a known clock.
    pub forecast: Option<Forecast>,
    /// What moves between devices, most bytes first.
    pub collectives: Option<Vec<CollectiveReport>>,
    /// The compiler.
    pub plugin: PluginReport,
    /// The compiler's words, where it refused the program for want of memory.
    pub refused: Option<String>,
    /// What to change, where it does not fit.
    pub advice: Vec<String>,
    /// Large weights and state that every device holds whole.
    pub warnings: Vec<String>,
}

impl CompileReport {
    /// The report as JSON.
    pub fn json(&self) -> String {
        // Strings and finite numbers: this cannot fail.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

/// A target in numbers.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct TargetReport {
    /// The name as people type it.
    pub name: String,
    /// The TPU topology as the compiler calls it, slices before it.
    pub topology: Option<String>,
    /// Chips of a TPU.
    pub chips: Option<usize>,
    /// Cores of a TPU.
    pub cores: Option<usize>,
    /// What a program is partitioned over.
    pub devices: usize,
    /// The three in words.
    #[serde(skip)]
    pub mapping: String,
}

impl TargetReport {
    /// The numbers of `target`, which has `devices` devices.
    pub fn new(target: &Target, devices: usize) -> Self {
        let topology = target.topology();
        TargetReport {
            name: target.to_string(),
            topology: topology.map(|it| match it.slices() {
                1 => it.plugin_name(),
                slices => format!("{slices}x{}", it.plugin_name()),
            }),
            chips: topology.map(|it| it.chips()),
            cores: topology.map(|it| it.cores()),
            devices,
            mapping: target.mapping(),
        }
    }
}

/// A mesh; in JSON an object of axes and sizes, outermost first.
#[derive(Clone, Debug, PartialEq)]
pub struct MeshReport(pub Mesh);

impl Serialize for MeshReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.axes().len()))?;
        for axis in self.0.axes() {
            map.serialize_entry(axis.name.as_str(), &axis.size)?;
        }
        map.end()
    }
}

/// The size of the lowered module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct HloReport {
    /// Instructions of all computations.
    pub instructions: usize,
    /// Bytes of the serialized module.
    pub bytes: usize,
}

/// Which compiler it was.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PluginReport {
    /// The package's name; the library's file name where it came from no package.
    pub name: String,
    /// The package's version.
    pub version: Option<String>,
    /// The version of the PJRT interface.
    pub pjrt: String,
}

impl PluginReport {
    /// The plugin of `machine`.
    pub fn new(machine: &Machine) -> Self {
        let found = machine.found();
        let (major, minor) = machine.plugin().pjrt_version();
        let file = || found.library.file_name().unwrap_or_default();
        PluginReport {
            name: match &found.package {
                Some((name, _)) => name.clone(),
                None => file().to_string_lossy().into_owned(),
            },
            version: found.package.as_ref().map(|(_, version)| version.clone()),
            pjrt: format!("{major}.{minor}"),
        }
    }
}
