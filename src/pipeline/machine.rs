//! A target opened: the plugin that compiles for it, its devices, and the order in which they take the mesh.
//!
//! TPU topologies and described GPUs are compiled for ahead of time; the CPU's virtual devices and what is attached to
//! this machine are compiled for through a client.

use super::error::Error;
use super::gpu;
use crate::hlo::Program;
use crate::runtime::{
    self, Client, CompileConfig, DeviceDescription, Executable, Found, LoadedExecutable, Platform,
    Plugin, Purpose, Settings, Value,
};
use crate::sharding::topology::PluginOption;
use crate::sharding::{Mesh, Target, device_order};

/// What a machine with a TPU has: v2 to v4 show as accelerators, later ones through VFIO.
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

/// A compiled program, loaded onto devices or not.
pub enum Built {
    /// Compiled ahead of time.
    Ahead(Executable),
    /// Compiled for a client's devices; runs.
    Loaded(LoadedExecutable),
}

impl Built {
    /// What the compiler says about the program.
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
    /// No TPU where an attached one is asked for, no plugin to be had, a plugin that does not know the machine, or other devices than the target's name means.
    pub fn open(target: &Target, settings: &Settings) -> Result<Self, Error> {
        let (platform, purpose) = match target {
            Target::Cpu { .. } => (Platform::Cpu, Purpose::Run),
            Target::Cuda { .. } => (Platform::Cuda, Purpose::Run),
            Target::Gpu { .. } => (Platform::Cuda, Purpose::Compile),
            Target::TpuAttached => (Platform::Tpu, Purpose::Run),
            Target::Tpu(_) => (Platform::Tpu, Purpose::Compile),
        };
        // Without a TPU libtpu would look for the cloud's metadata server for minutes.
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
                let options: Vec<_> = (topology.plugin_options().into_iter())
                    .map(|(name, value)| match value {
                        PluginOption::Text(text) => (name, Value::String(text)),
                        PluginOption::Int(number) => (name, Value::Int(number)),
                    })
                    .collect();
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
            // Fewer GPUs than are attached may be asked for.
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

    /// The devices that the target means, in the plugin's order.
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

    /// The client, where the devices are on this machine.
    pub fn client(&self) -> Option<&Client> {
        match &self.kind {
            Kind::Described(_) => None,
            Kind::Attached(client) => Some(client),
        }
    }

    /// Memory that a program can use on each device, in bytes: by the plugin's own description of its smallest device,
    /// else by the target's name. Virtual devices share the host's memory evenly. `None` where nobody says.
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

    /// The device id of each place of the mesh: neighbours on the mesh are neighbours on the torus.
    ///
    /// # Errors
    /// A mesh that cannot be placed on the topology.
    pub fn assignment(&self, mesh: &Mesh) -> Result<Vec<i64>, Error> {
        let mut ids: Vec<i64> = self.devices().iter().map(|device| device.id).collect();
        ids.sort_unstable();
        Ok(match &self.target {
            Target::Tpu(topology) => (device_order(topology, mesh)?.into_iter())
                .map(|place| ids[place])
                .collect(),
            _ => ids,
        })
    }

    /// Compiles `program` for these devices.
    ///
    /// # Errors
    /// The plugin's own; [`runtime::Error::is_out_of_memory`] tells a program that does not fit.
    pub fn compile(&self, program: &Program, shardy: bool) -> Result<Built, Error> {
        let mesh = &program.signature.mesh;
        let base = match self.target {
            Target::Cpu { .. } => CompileConfig::for_virtual_devices(mesh.devices()),
            _ => CompileConfig::for_devices(mesh.devices()),
        };
        let config = CompileConfig {
            device_assignment: self.assignment(mesh)?,
            shardy,
            ..base
        };
        let bytes = program.bytes();
        Ok(match &self.kind {
            Kind::Described(topology) => Built::Ahead(topology.compile(&bytes, &config)?),
            Kind::Attached(client) => Built::Loaded(client.compile(&bytes, &config)?),
        })
    }
}

/// The host's memory in bytes, where the system says so.
fn host_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}
