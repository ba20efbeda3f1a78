//! The physical machine: a generation, the shape of its torus of chips, and the number of slices.
//!
//! Chips, cores and devices are three numbers. A program is partitioned over devices: one per core on v2, v3 and tpu7x, one
//! per chip elsewhere. Links join the chips of a slice; slices are joined by the data-centre network.

use std::fmt;

use super::error::ShardingError;
use super::hardware::{Generation, Hardware};
use super::slices::{largest, nearest_slices, slice_shape};

/// A TPU topology that a program can be compiled for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Topology {
    generation: Generation,
    shape: Vec<usize>,
    megacore: bool,
    slices: usize,
}

/// Where a device is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeviceAt {
    /// Its id in the plugin: 0 to N-1, or 100000 x (slice + 1) + i if there are several slices.
    pub id: usize,
    /// Its slice.
    pub slice: usize,
    /// Its chip: x, y, z, with z = 0 on a 2-D torus.
    pub coords: [usize; 3],
    /// Its core on the chip; 0 if the chip is one device.
    pub core: usize,
}

impl Topology {
    /// One slice of `generation` with `shape` chips along each dimension of the torus, megacore on if available.
    pub fn new(generation: Generation, shape: &[usize]) -> Result<Self, ShardingError> {
        let hardware = generation.hardware();
        if shape.len() != hardware.torus_rank {
            return Err(ShardingError::TorusRank {
                generation: hardware.name.to_string(),
                shape: times(shape),
                found: shape.len(),
                expected: hardware.torus_rank,
                example: match hardware.torus_rank {
                    2 => format!("{}:4x8", hardware.name),
                    _ => format!("{}:4x4x8", hardware.name),
                },
            });
        }
        let refused = |reason: String| ShardingError::TorusShape {
            generation: hardware.name.to_string(),
            shape: times(shape),
            reason,
        };
        if shape.contains(&0) {
            return Err(refused("a dimension is 0".to_string()));
        }
        let chips = shape
            .iter()
            .try_fold(1usize, |chips, &size| chips.checked_mul(size));
        match chips {
            Some(chips) if chips <= hardware.max_chips => {
                // A host holds 2x2 chips, and a slice of several hosts has whole hosts.
                if chips > 8 && (shape[0] % 2 == 1 || shape[1] % 2 == 1) {
                    return Err(refused(
                        "hosts hold 2x2 chips, so the first two dimensions must be even"
                            .to_string(),
                    ));
                }
            }
            _ => {
                let chips = chips.map_or("too many".to_string(), |chips| chips.to_string());
                return Err(refused(format!(
                    "{} = {chips} chips, but a slice has at most {}; \
                     several slices are written like 2x{}:{}",
                    times(shape).replace('x', " x "),
                    hardware.max_chips,
                    hardware.name,
                    times(&largest(generation)),
                )));
            }
        }
        Ok(Topology {
            generation,
            shape: shape.to_vec(),
            megacore: hardware.megacore_is_a_choice,
            slices: 1,
        })
    }

    /// The slice of a cloud name with `cores` cores.
    pub fn from_cores(generation: Generation, cores: usize) -> Result<Self, ShardingError> {
        let hardware = generation.hardware();
        let shape = cores
            .is_multiple_of(hardware.cores_per_chip)
            .then(|| slice_shape(generation, cores / hardware.cores_per_chip))
            .flatten();
        match shape {
            Some(shape) => Topology::new(generation, &shape),
            None => Err(ShardingError::NoSuchSlice {
                generation: hardware.cloud_prefixes[0].to_string(),
                size: cores,
                nearest: nearest_slices(generation, cores),
            }),
        }
    }

    /// The same chips with one device per core (v4 only).
    pub fn by_core(self) -> Result<Self, ShardingError> {
        if !self.generation.hardware().megacore_is_a_choice {
            return Err(ShardingError::TargetSyntax {
                name: format!("{self}/cores"),
                reason: format!(
                    "only v4 lets you choose a device per core (`/cores`) or per chip; {} has {} per chip",
                    self.generation.name(),
                    self.hardware().devices_per_chip,
                ),
            });
        }
        Ok(Topology {
            megacore: false,
            ..self
        })
    }

    /// `slices` slices like this one, joined by the data-centre network.
    pub fn with_slices(self, slices: usize) -> Result<Self, ShardingError> {
        if slices == 0 || slices > MAX_SLICES {
            return Err(ShardingError::TargetSyntax {
                name: format!("{slices}x{self}"),
                reason: format!("there can be 1 to {MAX_SLICES} slices"),
            });
        }
        Ok(Topology { slices, ..self })
    }

    /// The generation.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Chips along each dimension of one slice's torus.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Whether both cores of a chip work as one device by choice (v4).
    pub fn megacore(&self) -> bool {
        self.megacore
    }

    /// Number of slices.
    pub fn slices(&self) -> usize {
        self.slices
    }

    /// The generation's figures, with devices and memory as this topology uses them.
    pub fn hardware(&self) -> Hardware {
        let hardware = *self.generation.hardware();
        if hardware.megacore_is_a_choice && !self.megacore {
            hardware.by_core()
        } else {
            hardware
        }
    }

    /// Chips, over all slices.
    pub fn chips(&self) -> usize {
        self.shape.iter().product::<usize>() * self.slices
    }

    /// TensorCores, over all slices.
    pub fn cores(&self) -> usize {
        self.chips() * self.hardware().cores_per_chip
    }

    /// Devices, over all slices.
    pub fn devices(&self) -> usize {
        self.chips() * self.hardware().devices_per_chip
    }

    /// Devices of one slice.
    pub fn devices_per_slice(&self) -> usize {
        self.devices() / self.slices
    }

    /// Memory a program can use on each device, in bytes, as libtpu reports it for this topology.
    pub fn memory_bytes_per_device(&self) -> u64 {
        let hardware = self.hardware();
        let counted = (self.devices_per_slice() as u64).max(hardware.reserved_at_least);
        hardware.device_memory - counted * hardware.reserved_per_device
    }

    /// Peak of bf16 matrix products, FLOP/s per device.
    pub fn peak_flops_per_device(&self) -> f64 {
        let hardware = self.hardware();
        hardware.peak_flops / hardware.devices_per_chip as f64
    }

    /// libtpu's name of one slice: `v3:16x32`.
    pub fn plugin_name(&self) -> String {
        format!("{}:{}", self.generation.name(), times(&self.shape))
    }

    /// The cloud name of one slice, if its shape has one: `v3-1024`.
    pub fn cloud_name(&self) -> Option<String> {
        let chips = self.shape.iter().product();
        let hardware = self.generation.hardware();
        (slice_shape(self.generation, chips)? == self.shape).then(|| {
            let cores = chips * hardware.cores_per_chip;
            format!("{}-{cores}", hardware.cloud_prefixes[0])
        })
    }

    /// Where every device is, in order of ids. This is libtpu's numbering: the core counts fastest, then x, y, z and the slice.
    pub fn expected_devices(&self) -> Vec<DeviceAt> {
        let per_slice = self.devices_per_slice();
        let cores = self.hardware().devices_per_chip;
        let (x, y) = (self.shape[0], self.shape[1]);
        let device = |index: usize| {
            let (slice, at) = (index / per_slice, index % per_slice);
            let (chip, core) = (at / cores, at % cores);
            let id = if self.slices == 1 {
                at
            } else {
                SLICE_IDS * (slice + 1) + at
            };
            DeviceAt {
                id,
                slice,
                coords: [chip % x, chip / x % y, chip / (x * y)],
                core,
            }
        };
        (0..self.devices()).map(device).collect()
    }

    /// Chips, cores and devices in words: `v4-1024 = 512 chips = 1024 cores = 512 devices`.
    pub fn mapping(&self) -> String {
        format!(
            "{self} = {} chips = {} cores = {} devices",
            self.chips(),
            self.cores(),
            self.devices()
        )
    }
}

/// libtpu numbers the devices of slice `s` from `SLICE_IDS x (s + 1)`.
const SLICE_IDS: usize = 100_000;

/// A bound on the number of slices, so counts cannot overflow. Far above what is available.
const MAX_SLICES: usize = 1024;

/// Prints the cloud name if there is one, else the topology: `4xv6e-256`, `v4:4x4x16/cores`.
impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.slices > 1 {
            write!(f, "{}x", self.slices)?;
        }
        f.write_str(&self.cloud_name().unwrap_or_else(|| self.plugin_name()))?;
        if self.generation.hardware().megacore_is_a_choice && !self.megacore {
            f.write_str("/cores")?;
        }
        Ok(())
    }
}

/// `16x32`.
fn times(shape: &[usize]) -> String {
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    sizes.join("x")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cloud(generation: Generation, cores: usize) -> Topology {
        Topology::from_cores(generation, cores).unwrap()
    }

    fn shaped(generation: Generation, shape: &[usize]) -> Topology {
        Topology::new(generation, shape).unwrap()
    }

    #[test]
    fn chips_cores_and_devices_are_three_numbers() {
        let v3 = cloud(Generation::V3, 1024);
        assert_eq!(
            v3.mapping(),
            "v3-1024 = 512 chips = 1024 cores = 1024 devices"
        );
        let v4 = cloud(Generation::V4, 1024);
        assert_eq!(
            v4.mapping(),
            "v4-1024 = 512 chips = 1024 cores = 512 devices"
        );
        let by_core = v4.by_core().unwrap();
        assert_eq!(
            by_core.mapping(),
            "v4-1024/cores = 512 chips = 1024 cores = 1024 devices"
        );
        let v6e = cloud(Generation::V6e, 256).with_slices(4).unwrap();
        assert_eq!(
            v6e.mapping(),
            "4xv6e-256 = 1024 chips = 1024 cores = 1024 devices"
        );
        let odd = shaped(Generation::V4, &[4, 4, 16]);
        assert_eq!(odd.to_string(), "v4:4x4x16");
    }

    /// Every figure here was read from libtpu 0.0.51's device descriptions.
    #[test]
    fn memory_is_what_the_compiler_reports() {
        use Generation::*;
        for (generation, shape, bytes) in [
            (V2, vec![2, 4], 8_034_172_928),
            (V2, vec![16, 16], 8_033_665_024),
            (V3, vec![1, 1], 16_624_107_520),
            (V3, vec![4, 8], 16_624_058_368),
            (V3, vec![16, 32], 16_623_075_328),
            (V3, vec![32, 32], 16_622_026_752),
            (V4, vec![2, 2, 1], 33_014_413_312),
            (V4, vec![4, 4, 12], 33_014_317_056),
            (V4, vec![8, 8, 8], 33_014_153_216),
            (V5e, vec![2, 4], 16_909_332_480),
            (V5e, vec![16, 16], 16_909_205_504),
            (V5p, vec![8, 8, 8], 102_786_400_256),
            (V5p, vec![16, 16, 24], 102_783_516_672),
            (V6e, vec![1, 1], 33_546_042_880),
            (V6e, vec![16, 16], 33_545_912_320),
            (Tpu7x, vec![2, 2, 1], 101_724_450_816),
            (Tpu7x, vec![8, 8, 8], 101_723_930_624),
        ] {
            let topology = shaped(generation, &shape);
            assert_eq!(topology.memory_bytes_per_device(), bytes, "{topology}");
        }
        for (shape, bytes) in [
            ([2, 2, 1], 32_745_971_712),
            ([8, 8, 8], 32_744_931_328),
            ([16, 16, 16], 32_737_591_296),
        ] {
            let topology = shaped(V4, &shape).by_core().unwrap();
            assert_eq!(topology.memory_bytes_per_device(), bytes, "{topology}");
        }
        // Only devices of the same slice count.
        let slices = shaped(V6e, &[16, 16]).with_slices(4).unwrap();
        assert_eq!(slices.memory_bytes_per_device(), 33_545_912_320);
    }

    #[test]
    fn libtpu_knows_it_by_its_shape() {
        assert_eq!(cloud(Generation::V3, 1024).plugin_name(), "v3:16x32");
    }

    /// Ids and places as libtpu 0.0.51 lists them.
    #[test]
    fn devices_are_numbered_as_libtpu_does() {
        let at = |topology: &Topology, index: usize| {
            let device = topology.expected_devices().swap_remove(index);
            (device.id, device.slice, device.coords, device.core)
        };
        let v3 = shaped(Generation::V3, &[4, 8]);
        assert_eq!(at(&v3, 8), (8, 0, [0, 1, 0], 0));
        assert_eq!(at(&v3, 63), (63, 0, [3, 7, 0], 1));
        let v4 = shaped(Generation::V4, &[2, 4, 4]);
        assert_eq!(at(&v4, 7), (7, 0, [1, 3, 0], 0));
        assert_eq!(at(&v4, 8), (8, 0, [0, 0, 1], 0));
        let v6e = shaped(Generation::V6e, &[4, 4]).with_slices(2).unwrap();
        assert_eq!(at(&v6e, 15), (100_015, 0, [3, 3, 0], 0));
        assert_eq!(at(&v6e, 18), (200_002, 1, [2, 0, 0], 0));
    }

    #[test]
    fn refuses_a_shape_that_no_slice_has() {
        let refused =
            |generation, shape: &[usize]| Topology::new(generation, shape).unwrap_err().to_string();
        assert_eq!(
            refused(Generation::V3, &[8, 8, 8]),
            "v3 chips form a 2-D torus, but `8x8x8` has 3 dimensions; write it like v3:4x8"
        );
        assert!(refused(Generation::V4, &[8, 8]).contains("write it like v4:4x4x8"));
        assert!(refused(Generation::V3, &[16, 0]).contains("a dimension is 0"));
        assert!(refused(Generation::V3, &[5, 8]).contains("must be even"));
        assert_eq!(
            refused(Generation::V6e, &[16, 32]),
            "`16x32` is not a slice of v6e: 16 x 32 = 512 chips, but a slice has at most 256; \
             several slices are written like 2xv6e:16x16"
        );
        assert!(refused(Generation::V3, &[usize::MAX, 2]).contains("too many chips"));
    }

    #[test]
    fn refuses_options_that_do_not_apply() {
        let message = cloud(Generation::V3, 8).by_core().unwrap_err().to_string();
        assert!(message.contains("only v4 lets you choose"), "{message}");
        let message = cloud(Generation::V3, 8)
            .with_slices(0)
            .unwrap_err()
            .to_string();
        assert!(message.contains("1 to 1024 slices"), "{message}");
    }
}
