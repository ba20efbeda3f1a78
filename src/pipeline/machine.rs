//! An open target: the plugin that compiles for it, its devices, and their order on the mesh.
//!
//! Programs for TPU topologies and described GPUs are compiled ahead of time. Programs for the CPU's virtual devices and for
//! attached devices are compiled through a client.

use super::error::Error;
use super::gpu;
use crate::hlo::Program;
use crate::runtime::{
    self, Client, CompileConfig, DeviceDescription, Executable, Found, LoadedExecutable, Platform,
    Plugin, Purpose, Session, Settings, Value, topology_options,
};
use crate::sharding::{DeviceAt, Mesh, Partitioner, Target, Torus};

/// Device files of a machine with a TPU: v2 to v4 appear as accelerators, later ones through VFIO.
const TPU_FILES: [&str; 2] = ["/dev/accel0", "/dev/vfio/0"];

/// A target with its plugin loaded.
pub struct Machine {
    target: Target,
    found: Found,
    plugin: Plugin,
    kind: Kind,
}

enum Kind {
    Described(runtime::TopologyDescription),
    Attached(Client),
}

/// A compiled program, possibly loaded onto devices.
pub enum Built {
    /// Compiled ahead of time.
    Ahead(Executable),
    /// Compiled for a client's devices; can run.
    Loaded(LoadedExecutable),
}

impl Built {
    /// The compiler's report on the program.
    pub fn executable(&self) -> &Executable {
        match self {
            Built::Ahead(executable) => executable,
            Built::Loaded(loaded) => loaded.executable(),
        }
    }
}

impl Machine {
    /// Finds (and fetches, if need be) the plugin of `target`, loads it, and asks for the devices.
    ///
    /// # Errors
    /// An attached TPU is asked for but there is none, no plugin is available, the plugin does not know the machine, or its
    /// devices are not those of the target's name.
    pub fn open(target: &Target, settings: &Settings) -> Result<Self, Error> {
        let (platform, purpose) = match target {
            Target::Cpu { .. } => (Platform::Cpu, Purpose::Run),
            Target::Cuda { .. } => (Platform::Cuda, Purpose::Run),
            Target::Gpu { .. } => (Platform::Cuda, Purpose::Compile),
            Target::TpuAttached => (Platform::Tpu, Purpose::Run),
            Target::Tpu(_) => (Platform::Tpu, Purpose::Compile),
        };
        // Without a TPU, libtpu would search for the cloud's metadata server for minutes.
        let is_there = |file: &&str| std::path::Path::new(file).exists();
        if *target == Target::TpuAttached && !TPU_FILES.iter().any(is_there) {
            return Err(Error::NoTpu {
                looked_for: &TPU_FILES,
            });
        }
        let found = settings.find_or_fetch(platform)?;
        let plugin = found.load(purpose)?;
        let kind = match target {
            Target::Cpu { devices } => Kind::Attached(Client::cpu(plugin, *devices)?),
            Target::Cuda { .. } | Target::TpuAttached => {
                Kind::Attached(Client::create(plugin, &[])?)
            }
            Target::Gpu { kind, devices } => {
                let config = gpu::target_config(kind);
                let topology = format!("1x1x{devices}");
                let options = [
                    ("target_config", Value::from(config.as_str())),
                    ("topology", Value::from(topology.as_str())),
                ];
                Kind::Described(runtime::TopologyDescription::create(
                    plugin, "cuda", &options,
                )?)
            }
            Target::Tpu(topology) => {
                let options = topology_options(topology);
                let name = topology.plugin_name();
                Kind::Described(runtime::TopologyDescription::create(
                    plugin, &name, &options,
                )?)
            }
        };
        let machine = Machine {
            target: target.clone(),
            found,
            plugin,
            kind,
        };
        let found = machine.all_devices().len();
        match target.devices() {
            // A target may use fewer GPUs than are attached.
            Some(expected) if found < expected || (found > expected && !machine.is_cuda()) => {
                Err(Error::Devices {
                    target: target.to_string(),
                    expected,
                    found,
                })
            }
            _ => Ok(machine),
        }
    }

    fn is_cuda(&self) -> bool {
        matches!(self.target, Target::Cuda { .. })
    }

    fn all_devices(&self) -> &[DeviceDescription] {
        match &self.kind {
            Kind::Described(topology) => topology.devices(),
            Kind::Attached(client) => client.devices(),
        }
    }

    /// The target's devices, in the plugin's order.
    pub fn devices(&self) -> &[DeviceDescription] {
        let all = self.all_devices();
        &all[..self.target.devices().unwrap_or(all.len())]
    }

    /// Where the plugin was found.
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// The plugin.
    pub fn plugin(&self) -> Plugin {
        self.plugin
    }

    /// The client that programs run on.
    ///
    /// # Errors
    /// The machine is only described.
    pub fn running(&self) -> Result<&Client, Error> {
        match &self.kind {
            Kind::Described(_) => Err(Error::NothingRuns {
                target: self.target.to_string(),
            }),
            Kind::Attached(client) => Ok(client),
        }
    }

    /// Compiles `program` to run on these devices.
    ///
    /// # Errors
    /// As [`Machine::running`], [`Machine::config`] and [`Session::new`].
    pub fn session(&self, program: &Program, partitioner: Partitioner) -> Result<Session, Error> {
        let config = self.config(&program.signature.mesh, partitioner)?;
        Ok(Session::new(self.running()?, program, &config)?)
    }

    /// Memory that a program can use on each device, in bytes: from the plugin's description of its smallest device, or else
    /// from the target's name. Virtual devices share the host's memory evenly. `None` if unknown.
    pub fn memory_bytes(&self) -> Option<u64> {
        let described = (self.devices().iter())
            .map(DeviceDescription::memory_bytes)
            .collect::<Option<Vec<_>>>()
            .and_then(|all| all.into_iter().min());
        let shared = || match self.target {
            Target::Cpu { devices } => host_memory().map(|bytes| bytes / devices as u64),
            _ => None,
        };
        described
            .or_else(|| self.target.memory_bytes_per_device())
            .or_else(shared)
    }

    /// The target that was opened.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// [`config()`] for these devices.
    ///
    /// # Errors
    /// The mesh cannot be placed on the devices.
    pub fn config(&self, mesh: &Mesh, partitioner: Partitioner) -> Result<CompileConfig, Error> {
        config(&self.target, self.devices(), mesh, partitioner)
    }

    /// Compiles `program` for these devices.
    ///
    /// # Errors
    /// Those of [`Machine::config`] and of the plugin. [`runtime::Error::is_out_of_memory`] is true if the program does not
    /// fit.
    pub fn compile(&self, program: &Program, partitioner: Partitioner) -> Result<Built, Error> {
        let config = self.config(&program.signature.mesh, partitioner)?;
        let bytes = program.bytes();
        Ok(match &self.kind {
            Kind::Described(topology) => Built::Ahead(topology.compile(bytes, &config)?),
            Kind::Attached(client) => Built::Loaded(client.compile(bytes, &config)?),
        })
    }
}

/// Configures compilation of a program over `mesh` for the `devices` of `target`: the device of each mesh position and the
/// platform's options. Every compilation uses this, so the program that is inspected is the program that runs.
///
/// # Errors
/// The mesh cannot be placed on the devices.
pub fn config(
    target: &Target,
    devices: &[DeviceDescription],
    mesh: &Mesh,
    partitioner: Partitioner,
) -> Result<CompileConfig, Error> {
    let base = match target {
        Target::Cpu { .. } => CompileConfig::for_virtual_devices(mesh.devices()),
        _ => CompileConfig::for_devices(mesh.devices()),
    };
    Ok(CompileConfig {
        device_assignment: assignment(target, devices, mesh)?,
        partitioner,
        ..base
    })
}

/// The device id of each position of `mesh` on the `devices` of `target`. On a TPU, described or attached, neighbours on
/// the mesh are neighbours on the torus; elsewhere devices are in order of their ids.
fn assignment(
    target: &Target,
    devices: &[DeviceDescription],
    mesh: &Mesh,
) -> Result<Vec<i64>, Error> {
    mesh.check_devices(devices.len())?;
    if !matches!(target, Target::Tpu(_) | Target::TpuAttached) {
        let mut ids: Vec<i64> = devices.iter().map(|device| device.id).collect();
        ids.sort_unstable();
        return Ok(ids);
    }
    let unplaced = || Error::NoTorus {
        target: target.to_string(),
        devices: devices.len(),
    };
    let places: Option<Vec<DeviceAt>> = devices.iter().map(place).collect();
    let mut places = places.ok_or_else(unplaced)?;
    let name = target.to_string();
    let torus = Torus::filled_by(&name, &places).ok_or_else(unplaced)?;
    places.sort_unstable_by_key(|at| {
        let [x, y, z] = at.coords;
        (at.slice, z, y, x, at.core)
    });
    let order = torus.order(mesh)?.into_iter();
    Ok(order.map(|index| places[index].id as i64).collect())
}

/// Where `device` is, if its plugin reports it.
fn place(device: &DeviceDescription) -> Option<DeviceAt> {
    let number = |value: i64| usize::try_from(value).ok();
    let coords = device.coords().iter().map(|&at| number(at));
    Some(DeviceAt {
        id: number(device.id)?,
        slice: number(device.slice_index().unwrap_or(0))?,
        coords: coords.collect::<Option<Vec<_>>>()?.try_into().ok()?,
        core: number(device.core_on_chip().unwrap_or(0))?,
    })
}

/// The host's memory in bytes, if the system reports it.
fn host_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}
