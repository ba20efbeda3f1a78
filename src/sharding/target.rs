//! The names accepted by `--on`, and what each means.
//!
//! | form | meaning |
//! |---|---|
//! | `cpu`, `cpu:8` | the CPU plugin with one device, or 8 virtual ones |
//! | `cuda`, `cuda:4` | one attached GPU, or 4 |
//! | `tpu` | the attached TPU |
//! | `v3-1024`, `v5litepod-256` | a cloud name: the generation and the number of TensorCores of one slice |
//! | `v3:16x32`, `v4:8x8x8` | a topology: the generation and the chips along each dimension of the torus |
//! | `v4-1024/cores` | v4 with a device per core instead of per chip |
//! | `4xv6e-256` | that many slices |
//! | `h100:8` | described GPUs, without having them |

use std::fmt;
use std::str::FromStr;

use super::error::ShardingError;
use super::hardware::{GPUS, Generation, Gpu};
use super::slices::{slice_shape, slice_sizes};
use super::topology::Topology;

/// Something to compile for.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// The CPU plugin.
    Cpu {
        /// Virtual devices in one process.
        devices: usize,
    },
    /// GPUs attached to this machine.
    Cuda {
        /// How many to use.
        devices: usize,
    },
    /// GPUs described by their figures, for compilation only.
    Gpu {
        /// Which GPU.
        kind: &'static Gpu,
        /// How many, in one machine.
        devices: usize,
    },
    /// The TPU attached to this machine.
    TpuAttached,
    /// A TPU topology described by name, for compiling without one.
    Tpu(Topology),
}

/// More virtual CPU devices than this are surely a typo.
const MAX_CPU_DEVICES: usize = 4096;

impl Target {
    /// Number of devices; `None` for an attached TPU, which only the plugin can count.
    pub fn devices(&self) -> Option<usize> {
        match self {
            Target::Cpu { devices } | Target::Cuda { devices } | Target::Gpu { devices, .. } => {
                Some(*devices)
            }
            Target::TpuAttached => None,
            Target::Tpu(topology) => Some(topology.devices()),
        }
    }

    /// The TPU topology, if this is one.
    pub fn topology(&self) -> Option<&Topology> {
        match self {
            Target::Tpu(topology) => Some(topology),
            _ => None,
        }
    }

    /// Number of slices: 1 unless the target is several TPU slices.
    pub fn slices(&self) -> usize {
        self.topology().map_or(1, Topology::slices)
    }

    /// Memory per device in bytes, if the target's name determines it.
    pub fn memory_bytes_per_device(&self) -> Option<u64> {
        match self {
            Target::Gpu { kind, .. } => Some(kind.memory),
            Target::Tpu(topology) => Some(topology.memory_bytes_per_device()),
            Target::Cpu { .. } | Target::Cuda { .. } | Target::TpuAttached => None,
        }
    }

    /// What the name means, in words: `v4-1024 = 512 chips = 1024 cores = 512 devices`.
    pub fn mapping(&self) -> String {
        match (self, self.devices()) {
            (Target::Tpu(topology), _) => topology.mapping(),
            (_, None) => format!("{self} = the attached TPU"),
            (_, Some(1)) => format!("{self} = 1 device"),
            (_, Some(devices)) => format!("{self} = {devices} devices"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, devices) = match self {
            Target::Tpu(topology) => return topology.fmt(f),
            Target::TpuAttached => return f.write_str("tpu"),
            Target::Cpu { devices } => ("cpu", *devices),
            Target::Cuda { devices } => ("cuda", *devices),
            Target::Gpu { kind, devices } => (kind.name, *devices),
        };
        match devices {
            1 => f.write_str(name),
            devices => write!(f, "{name}:{devices}"),
        }
    }
}

impl FromStr for Target {
    type Err = ShardingError;

    fn from_str(text: &str) -> Result<Self, ShardingError> {
        let text = text.trim();
        if let Some((slices, one)) = split_slices(text) {
            let mistake = |reason: &str| syntax(text, reason);
            let slices: usize = slices.parse().map_err(|_| mistake("too many slices"))?;
            return match one.parse()? {
                Target::Tpu(topology) if topology.slices() == 1 => {
                    topology.with_slices(slices).map(Target::Tpu)
                }
                _ => Err(mistake(
                    "only TPU slices can be multiplied, as in 2xv6e-256",
                )),
            };
        }
        let (name, by_core) = match text.strip_suffix("/cores") {
            Some(name) => (name, true),
            None => (text, false),
        };
        match parse_one(name, text)? {
            Target::Tpu(topology) if by_core => topology.by_core().map(Target::Tpu),
            _ if by_core => Err(syntax(text, "`/cores` is for v4 only")),
            target => Ok(target),
        }
    }
}

/// Parses a target without slices and suffix. `text` is the whole name, for messages.
fn parse_one(name: &str, text: &str) -> Result<Target, ShardingError> {
    // `name:rest`, `name-rest`, or a name alone.
    let colon = name.split_once(':');
    let (head, rest) = match colon.or_else(|| name.split_once('-')) {
        Some((head, rest)) => (head, Some(rest)),
        None => (name, None),
    };
    if let Some(generation) = Generation::from_name(head) {
        return match (colon, rest) {
            (Some((_, shape)), _) => parse_shape(generation, shape, text),
            (None, Some(cores)) => {
                let cores = cores.parse().map_err(|_| {
                    let reason = format!("`{cores}` is not a number of cores; write {head}-256");
                    syntax(text, &reason)
                })?;
                Topology::from_cores(generation, cores)
            }
            (None, None) => Err(syntax(
                text,
                &format!(
                    "which size? Write a cloud name or a topology, such as {}",
                    example(generation)
                ),
            )),
        }
        .map(Target::Tpu);
    }
    let count = match (colon, rest) {
        (Some((_, count)), _) => Some(count),
        (None, None) => None,
        (None, Some(_)) => return Err(unknown(text)),
    };
    let at_most = |most: usize| match count {
        None => Ok(1),
        Some(count) => match count.parse() {
            Ok(devices) if (1..=most).contains(&devices) => Ok(devices),
            _ => {
                let reason = format!("`{count}` is not a number of devices from 1 to {most}");
                Err(syntax(text, &reason))
            }
        },
    };
    match head {
        "cpu" => Ok(Target::Cpu {
            devices: at_most(MAX_CPU_DEVICES)?,
        }),
        "cuda" => Ok(Target::Cuda {
            devices: at_most(MAX_CPU_DEVICES)?,
        }),
        "tpu" if count.is_none() => Ok(Target::TpuAttached),
        "tpu" => Err(syntax(text, "`tpu` is the attached TPU and takes no size")),
        _ => match GPUS.iter().find(|gpu| gpu.name == head) {
            Some(kind) => Ok(Target::Gpu {
                kind,
                devices: at_most(kind.max_devices)?,
            }),
            None => Err(unknown(text)),
        },
    }
}

/// The `4` and the `v6e-256` of `4xv6e-256`.
fn split_slices(text: &str) -> Option<(&str, &str)> {
    let (slices, one) = text.split_once('x')?;
    let counts = !slices.is_empty() && slices.bytes().all(|byte| byte.is_ascii_digit());
    counts.then_some((slices, one))
}

fn parse_shape(generation: Generation, shape: &str, text: &str) -> Result<Topology, ShardingError> {
    let sizes: Result<Vec<usize>, _> = shape.split('x').map(str::parse).collect();
    let sizes = sizes.map_err(|_| {
        let reason = format!(
            "`{shape}` is not a torus shape; write chips along each dimension, such as {}",
            example(generation)
        );
        syntax(text, &reason)
    })?;
    Topology::new(generation, &sizes)
}

/// A cloud name and a topology of `generation`.
fn example(generation: Generation) -> String {
    let prefix = generation.hardware().cloud_prefixes[0];
    match Topology::from_cores(generation, 128) {
        Ok(topology) => format!("{prefix}-128 or {}", topology.plugin_name()),
        Err(_) => format!("{prefix}-128"),
    }
}

fn syntax(name: &str, reason: &str) -> ShardingError {
    ShardingError::TargetSyntax {
        name: name.to_string(),
        reason: reason.to_string(),
    }
}

fn unknown(text: &str) -> ShardingError {
    let mut names: Vec<String> = known_targets().iter().map(Target::to_string).collect();
    names.extend(Generation::ALL.iter().map(|one| one.name().to_string()));
    // A stable sort keeps ties in the order of the list.
    names.sort_by(|a, b| {
        let near = |name: &str| strsim::normalized_damerau_levenshtein(text, name);
        near(b).total_cmp(&near(a))
    });
    names.truncate(3);
    ShardingError::UnknownTarget {
        name: text.to_string(),
        nearest: names.join(", "),
    }
}

/// Every target worth listing: one of each kind other than TPUs, then each generation's slices by cloud name. The 3-D
/// generations have many more slices (any number of 4x4x4 cubes in a compact box); only powers of two and the largest are
/// listed.
pub fn known_targets() -> Vec<Target> {
    let mut targets = vec![
        Target::Cpu { devices: 1 },
        Target::Cpu { devices: 8 },
        Target::Cuda { devices: 1 },
        Target::TpuAttached,
    ];
    targets.extend(GPUS.iter().map(|kind| Target::Gpu {
        kind,
        devices: kind.max_devices,
    }));
    for generation in Generation::ALL {
        let sizes: Vec<usize> = slice_sizes(generation).collect();
        let largest = sizes.last().copied();
        let listed = sizes
            .into_iter()
            .filter(|&chips| chips.is_power_of_two() || Some(chips) == largest);
        let shapes = listed.filter_map(|chips| slice_shape(generation, chips));
        targets.extend(
            shapes
                .filter_map(|shape| Topology::new(generation, &shape).ok())
                .map(Target::Tpu),
        );
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Target {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    fn refused(text: &str) -> String {
        text.parse::<Target>().unwrap_err().to_string()
    }

    #[test]
    fn reads_every_form() {
        for (text, mapping) in [
            ("cpu", "cpu = 1 device"),
            ("cpu:8", "cpu:8 = 8 devices"),
            ("cuda", "cuda = 1 device"),
            ("cuda:4", "cuda:4 = 4 devices"),
            ("tpu", "tpu = the attached TPU"),
            ("h100:8", "h100:8 = 8 devices"),
            ("v3-1024", "v3-1024 = 512 chips = 1024 cores = 1024 devices"),
            (
                "v3:16x32",
                "v3-1024 = 512 chips = 1024 cores = 1024 devices",
            ),
            ("v4-1024", "v4-1024 = 512 chips = 1024 cores = 512 devices"),
            ("v4:8x8x8", "v4-1024 = 512 chips = 1024 cores = 512 devices"),
            (
                "v4:8x8x8/cores",
                "v4-1024/cores = 512 chips = 1024 cores = 1024 devices",
            ),
            (
                "v5litepod-256",
                "v5litepod-256 = 256 chips = 256 cores = 256 devices",
            ),
            (
                "v5e-256",
                "v5litepod-256 = 256 chips = 256 cores = 256 devices",
            ),
            (
                "v5e:16x16",
                "v5litepod-256 = 256 chips = 256 cores = 256 devices",
            ),
            (
                "v5p-1024",
                "v5p-1024 = 512 chips = 1024 cores = 512 devices",
            ),
            ("v6e-256", "v6e-256 = 256 chips = 256 cores = 256 devices"),
            ("v6e:16x16", "v6e-256 = 256 chips = 256 cores = 256 devices"),
            (
                "tpu7x:4x4x4",
                "tpu7x-128 = 64 chips = 128 cores = 128 devices",
            ),
            ("tpu7x-8", "tpu7x-8 = 4 chips = 8 cores = 8 devices"),
            (
                "4xv6e-256",
                "4xv6e-256 = 1024 chips = 1024 cores = 1024 devices",
            ),
            (
                "2xv4:8x8x8/cores",
                "2xv4-1024/cores = 1024 chips = 2048 cores = 2048 devices",
            ),
            (
                "v4:4x4x16",
                "v4:4x4x16 = 256 chips = 512 cores = 256 devices",
            ),
        ] {
            let target = parse(text);
            assert_eq!(target.mapping(), mapping);
            // The printed name parses as the same target.
            assert_eq!(parse(&target.to_string()), target);
        }
    }

    #[test]
    fn lists_every_target_once_and_each_reads_back() {
        let targets = known_targets();
        for (at, target) in targets.iter().enumerate() {
            assert_eq!(&parse(&target.to_string()), target);
            assert!(!targets[..at].contains(target), "{target} is listed twice");
        }
        let names: Vec<String> = targets.iter().map(Target::to_string).collect();
        for name in [
            "v3-1024",
            "v4-1024",
            "v5litepod-256",
            "v5p-12288",
            "v6e-256",
            "tpu7x-18432",
        ] {
            assert!(names.iter().any(|listed| listed == name), "{name}");
        }
    }

    #[test]
    fn an_unknown_target_gets_the_nearest_names() {
        assert_eq!(
            refused("v7-1024"),
            "unknown target `v7-1024`; did you mean v3-1024, v4-1024, v5p-1024? \
             `ribosome targets` lists them all"
        );
        assert!(refused("cpuu").contains("did you mean cpu, "));
        assert!(refused("").contains("unknown target ``"));
        assert!(refused("cpu-8").contains("cpu:8"));
        assert!(refused("b200:8").contains("unknown target"));
    }

    #[test]
    fn refuses_sizes_that_do_not_exist() {
        assert!(refused("v3-1000").contains("nearest: v3-512 or v3-1024"));
        assert!(refused("v3:8x8x8").contains("2-D torus"));
        assert!(refused("v4:8x8").contains("3-D torus"));
        assert!(refused("v3:0x8").contains("a dimension is 0"));
        assert!(refused("v3:16xx32").contains("`16xx32` is not a torus shape"));
        assert!(refused("v3-many").contains("`many` is not a number of cores"));
        assert!(refused("v3").contains("which size? Write a cloud name or a topology"));
        assert!(refused("cpu:0").contains("`0` is not a number of devices from 1 to 4096"));
        assert!(refused("cpu:eight").contains("`eight` is not a number"));
        assert!(refused("h100:9").contains("from 1 to 8"));
        assert!(refused("tpu:8").contains("takes no size"));
    }

    #[test]
    fn refuses_slices_and_cores_where_they_mean_nothing() {
        assert!(refused("2xcpu").contains("only TPU slices can be multiplied"));
        assert!(refused("2x2xv6e-256").contains("only TPU slices"));
        assert!(refused("0xv6e-256").contains("1 to 1024 slices"));
        assert!(refused("99999999999999999999xv6e-256").contains("too many slices"));
        assert!(refused("cpu/cores").contains("`/cores` is for v4 only"));
        assert!(refused("v3-8/cores").contains("only v4 lets you choose"));
    }
}
