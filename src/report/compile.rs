//! The report of a compiled step: one structure, which `ribosome compile --json` prints as it is.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::advice::advice;
use crate::forecast::{CollectiveReport, FlopsReport, Forecast, MemoryReport};
use crate::pipeline::{Compiled, Machine, Seconds};
use crate::sharding::{Mesh, Target};
use crate::train::recipe::Recipe;

/// Everything known about a compiled step. `ribosome compile --json` prints it as JSON.
#[derive(Clone, Debug, serde::Serialize)]
pub struct CompileReport {
    /// The recipe's name; the module's where no recipe made it.
    pub model: String,
    /// The hash of the lowered module and its signature.
    pub fingerprint: String,
    /// The target.
    pub target: TargetReport,
    /// The mesh.
    pub mesh: MeshReport,
    /// Why this mesh was chosen; `None` if the user gave it.
    pub mesh_reason: Option<String>,
    /// `shardy` or `gspmd`.
    pub partitioner: &'static str,
    /// Number of weights.
    pub parameters: u64,
    /// Rows of a step, if a recipe says.
    pub global_batch: Option<usize>,
    /// Tokens of a row, if a recipe says.
    pub length: Option<usize>,
    /// Tokens that encoder and decoder read per step, if a recipe says.
    pub tokens_per_step: Option<usize>,
    /// The duration of each stage.
    pub seconds: Seconds,
    /// The lowered module.
    pub hlo: HloReport,
    /// The memory of a device.
    pub memory: MemoryReport,
    /// The arithmetic.
    pub flops: FlopsReport,
    /// The expected duration of a step, for TPU targets with a known clock.
    pub forecast: Option<Forecast>,
    /// The traffic between devices, most bytes first.
    pub collectives: Option<Vec<CollectiveReport>>,
    /// The compiler.
    pub plugin: PluginReport,
    /// The compiler's message, if it refused the program because memory ran out.
    pub refused: Option<String>,
    /// What to change, if the program does not fit.
    pub advice: Vec<String>,
    /// Large weights and state that are replicated on every device.
    pub warnings: Vec<String>,
}

impl CompileReport {
    /// The report of `compiled`, and of the `recipe` that it came from, if there is one.
    pub fn new(recipe: Option<&Recipe>, compiled: &Compiled) -> Self {
        let Compiled {
            lowered,
            machine,
            memory,
            ..
        } = compiled;
        let collectives = compiled.analysis.as_ref().map(|it| &it.collectives);
        let advised = recipe.filter(|_| !memory.fits);
        CompileReport {
            model: lowered.name.clone(),
            fingerprint: lowered.program.fingerprint(),
            target: TargetReport::new(machine.target(), machine.devices().len()),
            mesh: MeshReport(lowered.mesh.clone()),
            mesh_reason: lowered.mesh_reason.clone(),
            partitioner: compiled.partitioner.name(),
            parameters: lowered.parameters,
            global_batch: recipe.map(|recipe| recipe.batch),
            length: recipe.map(|recipe| recipe.length),
            tokens_per_step: recipe.map(Recipe::tokens_per_step),
            seconds: compiled.seconds.clone(),
            hlo: HloReport {
                instructions: lowered.program.instructions(),
                bytes: lowered.program.bytes().len(),
            },
            warnings: lowered.warnings.clone(),
            advice: advised
                .zip(lowered.graph.as_ref())
                .map_or_else(Vec::new, |(recipe, graph)| {
                    advice(recipe, graph, &lowered.mesh, memory)
                }),
            memory: *memory,
            flops: compiled.flops,
            forecast: compiled.forecast.clone(),
            collectives: collectives.map(|all| all.iter().map(Into::into).collect()),
            plugin: PluginReport::new(machine),
            refused: compiled.refused.clone(),
        }
    }

    /// The report as JSON.
    pub fn json(&self) -> String {
        // The report holds strings and finite numbers, so this cannot fail.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

/// A target in numbers.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct TargetReport {
    /// The name as users type it.
    pub name: String,
    /// The compiler's name of the TPU topology, with the number of slices before it.
    pub topology: Option<String>,
    /// The number of chips of a TPU.
    pub chips: Option<usize>,
    /// The number of cores of a TPU.
    pub cores: Option<usize>,
    /// The number of devices that a program is partitioned over.
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

/// The compiler.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PluginReport {
    /// The package's name, or the library's file name if it is not from a package.
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
