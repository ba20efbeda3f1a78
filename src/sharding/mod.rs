//! Where every tensor lives. Four things are kept apart:
//!
//! - the physical [`Topology`]: a TPU generation, its torus of chips, cores and devices, with memory and links
//!   ([`hardware`] holds the figures, [`target`] reads the names people type);
//! - the logical [`Mesh`]: named axes that multiply to the devices;
//! - the [`Rules`]: which axis of a tensor is split over which mesh axes;
//! - the [`Sharding`] of one tensor, [`resolve`]d from the three above.
//!
//! [`encode`] writes a sharding for both of XLA's partitioners, [`placement`] puts the mesh on the torus, and [`choose`]
//! picks a mesh when none is given. Nothing here does I/O, and nothing degrades silently: an axis that does not divide is an
//! error with the arithmetic and the sizes that would.

#[cfg(test)]
mod arbitrary;
pub mod choose;
pub mod encode;
pub mod error;
pub mod hardware;
pub mod mesh;
pub mod partitioner;
pub mod placement;
pub mod rules;
#[allow(clippy::module_inception)]
pub mod sharding;
mod slices;
pub mod target;
pub mod topology;

pub use choose::{Workload, choose_mesh};
pub use encode::{Gspmd, Tiles, gspmd, sdy_mesh, sdy_per_value, sdy_sharding};
pub use error::ShardingError;
pub use hardware::{Generation, Gpu, Hardware};
pub use mesh::{Mesh, MeshAxis};
pub use partitioner::Partitioner;
pub use placement::Torus;
pub use rules::{Kind, Rule, Rules};
pub use sharding::{Sharding, resolve};
pub use target::{Target, known_targets};
pub use topology::{DeviceAt, Topology};
