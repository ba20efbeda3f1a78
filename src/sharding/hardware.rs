//! TPU generations and described GPUs: every hardware figure the crate uses, one table per kind, each figure with its source.
//!
//! How far to trust a figure: *vendor* is a vendor's page, *compiler* is what libtpu 0.0.51 itself reported for a topology
//! (`device_memory_bytes_limit`), *derived* follows from those, *unsure* is a best guess to be corrected.

/// A TPU generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Generation {
    /// TPU v2.
    V2,
    /// TPU v3, which the ProtTrans models were trained on.
    V3,
    /// TPU v4.
    V4,
    /// TPU v5e, sold as v5litepod.
    V5e,
    /// TPU v5p.
    V5p,
    /// TPU v6e, Trillium.
    V6e,
    /// TPU7x, Ironwood.
    Tpu7x,
}

/// The figures of one TPU generation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hardware {
    /// The name of a topology: `v5e` in `v5e:16x16`.
    pub name: &'static str,
    /// The names before the size in a cloud name: `v5litepod` in `v5litepod-256`. The first is the official one.
    pub cloud_prefixes: &'static [&'static str],
    /// TensorCores on a chip.
    pub cores_per_chip: usize,
    /// PJRT devices per chip, each running its own program; fewer than cores if two cores work as one (megacore).
    pub devices_per_chip: usize,
    /// Whether each core of a chip can also be a device.
    pub megacore_is_a_choice: bool,
    /// Dimensions of the torus of links between chips.
    pub torus_rank: usize,
    /// Chips of the largest slice available.
    pub max_chips: usize,
    /// Peak of bf16 matrix products, FLOP/s per chip.
    pub peak_flops: f64,
    /// Memory bandwidth, bytes/s per chip.
    pub hbm_bandwidth: f64,
    /// Bandwidth between chips of a slice, bytes/s per chip, over all its links and both directions.
    pub ici_bandwidth: f64,
    /// Clock of the cores in Hz, which turns the compiler's cycles into seconds. `None` if no source gives it.
    pub clock: Option<f64>,
    /// Memory a device of a slice can use, in bytes, before the compiler's reserve for each device of the slice.
    pub device_memory: u64,
    /// Bytes that the compiler reserves on each device for each device of the slice.
    pub reserved_per_device: u64,
    /// The least number of devices that `reserved_per_device` counts for.
    pub reserved_at_least: u64,
}

/// Bytes/s from Gbit/s.
const fn gbit(gbits: f64) -> f64 {
    gbits * 1e9 / 8.0
}

// Sources, by column.
// - cores, torus, max_chips, peak, bandwidths: the vendor's page for each generation (cloud.google.com/tpu/docs/v2 ... v6e,
//   tpu7x). Vendor; the link figures of v2 and v3 are derived from their papers (links x Gbit/s).
//   v5p pods have 8960 chips, of which one slice has at most 6144. One v5e or v6e slice stops at 256 chips.
// - clock: v2, v3, v4 from the TPU papers (vendor); v5e, v5p, v6e second-hand (unsure); tpu7x unknown.
// - device_memory, reserved_*: fitted to libtpu's device_memory_bytes_limit over 4 to 10752 chips, exact on all of them
//   (compiler). v2, v3: 1024 bytes for each device, and for at least 16.

const V2: Hardware = Hardware {
    name: "v2",
    cloud_prefixes: &["v2"],
    cores_per_chip: 2,
    devices_per_chip: 2,
    megacore_is_a_choice: false,
    torus_rank: 2,
    max_chips: 256,
    peak_flops: 46e12,
    hbm_bandwidth: 700e9,
    ici_bandwidth: gbit(4.0 * 496.0),
    clock: Some(700e6),
    device_memory: 8_034_189_312,
    reserved_per_device: 1024,
    reserved_at_least: 16,
};

const V3: Hardware = Hardware {
    name: "v3",
    cloud_prefixes: &["v3"],
    cores_per_chip: 2,
    devices_per_chip: 2,
    megacore_is_a_choice: false,
    torus_rank: 2,
    max_chips: 1024,
    peak_flops: 123e12,
    hbm_bandwidth: 900e9,
    ici_bandwidth: gbit(4.0 * 656.0),
    clock: Some(940e6),
    device_memory: 16_624_123_904,
    reserved_per_device: 1024,
    reserved_at_least: 16,
};

/// v4 as usually used: both cores of a chip are one device. [`Hardware::by_core`] is the other way.
const V4: Hardware = Hardware {
    name: "v4",
    cloud_prefixes: &["v4"],
    cores_per_chip: 2,
    devices_per_chip: 1,
    megacore_is_a_choice: true,
    torus_rank: 3,
    max_chips: 4096,
    peak_flops: 275e12,
    hbm_bandwidth: 1228e9,
    ici_bandwidth: gbit(2400.0),
    clock: Some(1050e6),
    device_memory: 33_014_415_360,
    reserved_per_device: 512,
    reserved_at_least: 0,
};

const V5E: Hardware = Hardware {
    name: "v5e",
    cloud_prefixes: &["v5litepod", "v5e"],
    cores_per_chip: 1,
    devices_per_chip: 1,
    megacore_is_a_choice: false,
    torus_rank: 2,
    max_chips: 256,
    peak_flops: 197e12,
    hbm_bandwidth: 819e9,
    ici_bandwidth: gbit(1600.0),
    clock: Some(1500e6),
    device_memory: 16_909_336_576,
    reserved_per_device: 512,
    reserved_at_least: 0,
};

const V5P: Hardware = Hardware {
    name: "v5p",
    cloud_prefixes: &["v5p"],
    cores_per_chip: 2,
    devices_per_chip: 1,
    megacore_is_a_choice: false,
    torus_rank: 3,
    max_chips: 6144,
    peak_flops: 459e12,
    hbm_bandwidth: 2765e9,
    // 4800 Gbit/s on the older page; the newer one says 1200 GB/s, both ways. Vendor, but the two disagree.
    ici_bandwidth: gbit(4800.0),
    clock: Some(1750e6),
    device_memory: 102_786_662_400,
    reserved_per_device: 512,
    reserved_at_least: 0,
};

const V6E: Hardware = Hardware {
    name: "v6e",
    cloud_prefixes: &["v6e"],
    cores_per_chip: 1,
    devices_per_chip: 1,
    megacore_is_a_choice: false,
    torus_rank: 2,
    max_chips: 256,
    peak_flops: 918e12,
    hbm_bandwidth: 1640e9,
    // 3584 Gbit/s on the older page; the newer one says 800 GB/s, both ways. Vendor, but the two disagree.
    ici_bandwidth: gbit(3584.0),
    clock: Some(1750e6),
    device_memory: 33_546_043_392,
    reserved_per_device: 512,
    reserved_at_least: 0,
};

const TPU7X: Hardware = Hardware {
    name: "tpu7x",
    // Not sold under accelerator-type names, unlike the others. The vendor's own launchers count cores (`tpu7x-8` is 2x2x1:
    // 4 chips, 8 cores), and so does this table. Unsure.
    cloud_prefixes: &["tpu7x"],
    cores_per_chip: 2,
    devices_per_chip: 2,
    megacore_is_a_choice: false,
    torus_rank: 3,
    max_chips: 9216,
    peak_flops: 2307e12,
    hbm_bandwidth: 7380e9,
    ici_bandwidth: gbit(9600.0),
    clock: None,
    device_memory: 101_724_454_912,
    reserved_per_device: 512,
    reserved_at_least: 0,
};

impl Hardware {
    /// The same chips with one device per core. Both cores of a v4 chip reach all of its memory, so a device's limit is still
    /// nearly the chip's (compiler).
    pub(crate) fn by_core(self) -> Self {
        Hardware {
            devices_per_chip: self.cores_per_chip,
            device_memory: 32_745_979_904,
            reserved_per_device: 1024,
            ..self
        }
    }
}

impl Generation {
    /// Every generation, oldest first.
    pub const ALL: [Generation; 7] = [
        Generation::V2,
        Generation::V3,
        Generation::V4,
        Generation::V5e,
        Generation::V5p,
        Generation::V6e,
        Generation::Tpu7x,
    ];

    /// The figures, with megacore on if the generation has it.
    pub fn hardware(self) -> &'static Hardware {
        match self {
            Generation::V2 => &V2,
            Generation::V3 => &V3,
            Generation::V4 => &V4,
            Generation::V5e => &V5E,
            Generation::V5p => &V5P,
            Generation::V6e => &V6E,
            Generation::Tpu7x => &TPU7X,
        }
    }

    /// The name of a topology: `v5e` in `v5e:16x16`.
    pub fn name(self) -> &'static str {
        self.hardware().name
    }

    /// The generation with this name or cloud prefix.
    pub fn from_name(name: &str) -> Option<Self> {
        Generation::ALL
            .into_iter()
            .find(|generation| generation.hardware().cloud_prefixes.contains(&name))
    }
}

/// A GPU to compile for without having one. The figures are those that XLA's GPU compiler needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gpu {
    /// The name in a target: `h100` in `h100:8`.
    pub name: &'static str,
    /// The name the driver reports.
    pub description: &'static str,
    /// Compute capability, major and minor.
    pub compute_capability: (u32, u32),
    /// Streaming multiprocessors.
    pub core_count: u32,
    /// Clock in Hz.
    pub clock: f64,
    /// Memory in bytes.
    pub memory: u64,
    /// Memory bandwidth, bytes/s.
    pub memory_bandwidth: f64,
    /// Second-level cache, bytes.
    pub l2_cache: u64,
    /// Shared memory per multiprocessor, bytes.
    pub shared_memory_per_core: u32,
    /// Shared memory per block that opts in to more than the usual 48 KiB, bytes.
    pub shared_memory_per_block: u32,
    /// Peak of dense bf16 matrix products, FLOP/s.
    pub peak_flops: f64,
    /// GPUs joined by NVLink in one machine: the most a target can have.
    pub max_devices: usize,
}

/// The described GPUs. Peaks and bandwidths: the vendor's data sheets (SXM boards, dense, no sparsity). Multiprocessor
/// limits: CUDA's table of compute capabilities (8.0 and 9.0). Memory sizes: as the driver reports them, second-hand.
pub const GPUS: [Gpu; 2] = [
    Gpu {
        name: "a100",
        description: "NVIDIA A100-SXM4-80GB",
        compute_capability: (8, 0),
        core_count: 108,
        clock: 1.41e9,
        memory: 85_050_000_000,
        memory_bandwidth: 2039e9,
        l2_cache: 40 << 20,
        shared_memory_per_core: 164 << 10,
        shared_memory_per_block: 163 << 10,
        peak_flops: 312e12,
        max_devices: 8,
    },
    Gpu {
        name: "h100",
        description: "NVIDIA H100 80GB HBM3",
        compute_capability: (9, 0),
        core_count: 132,
        clock: 1.98e9,
        memory: 84_978_434_048,
        memory_bandwidth: 3352e9,
        l2_cache: 50 << 20,
        shared_memory_per_core: 228 << 10,
        shared_memory_per_block: 227 << 10,
        peak_flops: 989e12,
        max_devices: 8,
    },
];
