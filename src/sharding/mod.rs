//! Where every tensor is placed. Four things are kept apart:
//!
//! - the physical [`Topology`]: a TPU generation, its torus of chips, cores and devices, with memory and links
//!   ([`hardware`] holds the figures, [`target`] reads the names people type);
//! - the logical [`Mesh`]: named axes that multiply to the devices;
//! - the [`Rules`]: which axis of a tensor is split over which mesh axes; [`sets`] names the usual ones, and [`config`] is
//!   a recipe's version of them;
//! - the [`Sharding`] of one tensor, [`resolve`]d from the three above.
//!
//! [`encode`] writes a sharding for both of XLA's partitioners, [`placement`] puts the mesh on the torus, and [`choose`]
//! picks a mesh for the [`Tensors`] of a program when none is given. Nothing here does I/O, and nothing degrades silently: an
//! axis that does not divide is an error with the arithmetic and the sizes that would.

#[cfg(test)]
mod arbitrary;
pub mod choose;
pub mod config;
pub mod encode;
pub mod error;
pub mod fit;
pub mod hardware;
pub mod kind;
pub mod mesh;
pub mod partitioner;
pub mod placement;
pub mod rules;
pub mod sets;
#[allow(clippy::module_inception)]
pub mod sharding;
mod slices;
pub mod target;
pub mod tensors;
pub mod topology;
mod traffic;

pub use choose::{Choice, choose_mesh};
pub use config::RulesConfig;
pub use encode::{Gspmd, Tiles, gspmd, sdy_mesh, sdy_per_value, sdy_sharding};
pub use error::ShardingError;
pub use fit::{check_mesh, over_rows, wider};
pub use hardware::{Generation, Gpu, Hardware};
pub use mesh::{Mesh, MeshAxis};
pub use partitioner::Partitioner;
pub use placement::Torus;
pub use rules::{Kind, Rule, Rules};
pub use sets::RuleSet;
pub use sharding::{Sharding, resolve};
pub use target::{Target, known_targets};
pub use tensors::{Tensors, loop_axes, pin_of};
pub use topology::{DeviceAt, Topology};
