//! `ribosome doctor`: what works on this machine. It downloads nothing. It tries each plugin that it finds: the CPU plugin
//! runs a program, the TPU plugin compiles one for a described v2 slice, and the CUDA plugin opens a GPU or compiles for a
//! described one.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::graph::{Builder, DType, Role, Shape};
use crate::hlo::{Layout, Program, lower};
use crate::pipeline::Machine;
use crate::report::table::table;
use crate::runtime::{HostArray, Platform, Plugin, Settings};
use crate::sharding::{Mesh, Partitioner, Rule, Rules, Target};
use anyhow::Result;
use serde::Serialize;

use super::exit::Status;
use super::output::{print, print_json};

/// Shows which plugins are on this machine, where they come from, and what works
#[derive(clap::Args)]
#[command(after_help = "Example: ribosome doctor --json")]
pub struct Args {
    /// Prints one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// The findings.
#[derive(Serialize)]
struct Diagnosis {
    cache: String,
    python: Option<String>,
    pip: Option<String>,
    plugins: Vec<PluginDiagnosis>,
}

#[derive(Serialize)]
struct PluginDiagnosis {
    platform: &'static str,
    library: Option<String>,
    source: Option<String>,
    pjrt: Option<String>,
    works: bool,
    /// What was tried, and the result.
    says: String,
}

impl Args {
    /// Runs the command.
    pub fn run(self) -> Result<Status> {
        let settings = Settings::from_environment()?;
        let diagnosis = Diagnosis {
            cache: settings.cache.display().to_string(),
            python: asked(&settings.python, &["--version"]),
            pip: asked(&settings.python, &["-m", "pip", "--version"]),
            plugins: (Platform::ALL.into_iter())
                .map(|platform| examine(platform, &settings))
                .collect(),
        };
        match self.json {
            true => print_json(&diagnosis)?,
            false => print(&diagnosis.text())?,
        }
        // A missing plugin is downloaded when it is needed; a plugin that is here should work.
        let broken = |one: &PluginDiagnosis| one.library.is_some() && !one.works;
        Ok(match diagnosis.plugins.iter().any(broken) {
            true => Status::Failed,
            false => Status::Done,
        })
    }
}

impl Diagnosis {
    fn text(&self) -> String {
        let or_none = |what: &Option<String>| {
            what.clone()
                .unwrap_or("not found (needed to download plugins)".into())
        };
        let rows = [
            vec!["cache".to_string(), self.cache.clone()],
            vec!["python".to_string(), or_none(&self.python)],
            vec!["pip".to_string(), or_none(&self.pip)],
        ];
        let mut text = table(&[], &rows, &[]);
        for plugin in &self.plugins {
            let mark = match (plugin.works, &plugin.library) {
                (true, _) => "works",
                (false, None) => "not here",
                (false, Some(_)) => "does not work",
            };
            text += &format!("\n{}: {mark}\n", plugin.platform);
            let rows: Vec<_> = [
                ("library", plugin.library.clone()),
                ("from", plugin.source.clone()),
                ("PJRT", plugin.pjrt.clone()),
                ("tried", Some(plugin.says.clone())),
            ]
            .into_iter()
            .filter_map(|(name, value)| Some(vec![name.to_string(), value?]))
            .collect();
            text += &table(&[], &rows, &[]);
        }
        text
    }
}

/// The first line of `python`'s answer, if there is one.
fn asked(python: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new(python)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().map(str::to_string)
}

fn examine(platform: Platform, settings: &Settings) -> PluginDiagnosis {
    let mut diagnosis = PluginDiagnosis {
        platform: platform.name(),
        library: None,
        source: None,
        pjrt: None,
        works: false,
        says: String::new(),
    };
    let found = match settings.find(platform) {
        Ok(Some(found)) => found,
        Ok(None) => {
            diagnosis.says =
                format!("not on this machine; `ribosome plugins install {platform}` downloads it");
            return diagnosis;
        }
        Err(error) => {
            diagnosis.says = error.to_string();
            return diagnosis;
        }
    };
    diagnosis.library = Some(found.library.display().to_string());
    diagnosis.source = Some(found.source.to_string());
    let tried = match platform {
        Platform::Cpu => run_on_cpu(settings),
        Platform::Tpu => compile_for("v2:2x2", settings),
        Platform::Cuda => try_cuda(settings),
    };
    match tried {
        Ok((plugin, says)) => {
            let (major, minor) = plugin.pjrt_version();
            diagnosis.pjrt = Some(format!("{major}.{minor}"));
            diagnosis.works = true;
            diagnosis.says = says;
        }
        Err(error) => diagnosis.says = format!("{error:#}"),
    }
    diagnosis
}

/// `y = x + x` for two numbers on each of `devices` devices.
fn tiny_program(devices: usize) -> Result<Program> {
    let builder = Builder::new();
    let x = builder.input("x", Role::Batch, tiny_shape(devices));
    builder.output("y", (x + x).pin());
    let graph = builder.finish()?;
    let graph = graph.check().map_err(|mut all| all.remove(0))?;
    let mesh = Mesh::new([("data", devices)])?;
    let rules = Rules {
        activations: vec![Rule::split("batch", "data")],
        ..Rules::default()
    };
    let layout = Layout {
        mesh: &mesh,
        rules: &rules,
    };
    Ok(lower(&graph, "doctor", layout)?)
}

fn tiny_shape(devices: usize) -> Shape {
    Shape::new(DType::F32, [("batch", 2 * devices)])
}

fn run_on_cpu(settings: &Settings) -> Result<(Plugin, String)> {
    const DEVICES: usize = 2;
    let machine = Machine::open(&Target::Cpu { devices: DEVICES }, settings)?;
    let session = machine.session(&tiny_program(DEVICES)?, Partitioner::default())?;
    let x = HostArray::from_values(tiny_shape(DEVICES), &[1.0f32, 2.0, 3.0, 4.0])?;
    let outputs = session.evaluate(&[("x".to_string(), x)].into())?;
    let y = outputs["y"].to_f64();
    anyhow::ensure!(
        y == [2.0, 4.0, 6.0, 8.0],
        "a program gave {y:?} instead of 2, 4, 6, 8"
    );
    let says = format!("ran a program on {DEVICES} virtual devices");
    Ok((machine.plugin(), says))
}

fn compile_for(target: &str, settings: &Settings) -> Result<(Plugin, String)> {
    let target: Target = target.parse()?;
    let machine = Machine::open(&target, settings)?;
    machine.compile(
        &tiny_program(machine.devices().len())?,
        Partitioner::default(),
    )?;
    let says = format!(
        "compiled a program for {}, without the device",
        target.mapping()
    );
    Ok((machine.plugin(), says))
}

/// Tries an attached GPU, or else a described one. Compiling for a described one needs CUDA's own compiler too.
fn try_cuda(settings: &Settings) -> Result<(Plugin, String)> {
    let attached = match Machine::open(&Target::Cuda { devices: 1 }, settings) {
        Ok(machine) => return Ok((machine.plugin(), "opened an attached GPU".to_string())),
        Err(error) => error,
    };
    let (plugin, says) = compile_for("h100:1", settings).or_else(|error| {
        let machine = Machine::open(&"h100:1".parse()?, settings)?;
        let why = error.to_string();
        let why = why.lines().next().unwrap_or_default().to_string();
        Ok::<_, anyhow::Error>((
            machine.plugin(),
            format!("described an H100, but cannot compile for it: {why}"),
        ))
    })?;
    Ok((plugin, format!("{says}; no GPU is attached ({attached})")))
}
