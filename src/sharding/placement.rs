//! Placement: assigns a device to each mesh position so that neighbours on the mesh are neighbours on the links.
//!
//! The last mesh axis is assumed to be the busiest, since activations are reduced over it. So from the last axis to the
//! first, each takes the most compact box left in the torus: first the cores of a chip, then chips in a box with the shortest
//! possible edges, walked back and forth so that one step along the axis is one hop. The first axis crosses slices, whose
//! links are the slowest.

use std::collections::BTreeSet;

use super::error::ShardingError;
use super::mesh::Mesh;
use super::topology::{DeviceAt, Topology};

/// A position or a size in a slice: core, x, y, z.
type Place = [usize; 4];

/// One mesh axis's share of the torus.
struct Share {
    /// Position of the axis in the mesh.
    axis: usize,
    /// The number of places it has along each dimension.
    sizes: Place,
    /// The stride between them: the sizes of all shares inside this one.
    strides: Place,
}

/// The places of devices: slices, each a torus of chips with a number of devices per chip. They come from a topology's name
/// or from the descriptions of attached devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torus {
    /// Its name in messages.
    name: String,
    slices: usize,
    /// The sizes of one slice.
    sizes: Place,
}

impl Torus {
    /// The places of `topology`.
    pub fn of(topology: &Topology) -> Self {
        let shape = topology.shape();
        let depth = shape.get(2).copied().unwrap_or(1);
        let cores = topology.hardware().devices_per_chip;
        Torus {
            name: topology.to_string(),
            slices: topology.slices(),
            sizes: [cores, shape[0], shape[1], depth],
        }
    }

    /// The places that `devices` fill, in any order, called `name` in messages. `None` if a place is empty or taken twice.
    pub fn filled_by(name: &str, devices: &[DeviceAt]) -> Option<Self> {
        let place = |at: &DeviceAt| [at.core, at.coords[0], at.coords[1], at.coords[2], at.slice];
        let places: BTreeSet<_> = devices.iter().map(place).collect();
        // The attached devices may be part of a larger machine, so the first chip may not be at 0.
        let extent = |dim: usize| {
            let along = || places.iter().map(|place| place[dim]);
            Some(along().max()? - along().min()? + 1)
        };
        let torus = Torus {
            name: name.to_string(),
            slices: extent(4)?,
            sizes: [extent(0)?, extent(1)?, extent(2)?, extent(3)?],
        };
        (places.len() == devices.len() && torus.devices() == devices.len()).then_some(torus)
    }

    /// Number of devices.
    pub fn devices(&self) -> usize {
        self.slices * self.sizes.iter().product::<usize>()
    }

    /// The device index of each position of `mesh`, row-major (that is, of each partition). Devices are counted in the order
    /// of [`Topology::expected_devices`]: by core, x, y, z and slice, the first fastest.
    ///
    /// # Errors
    /// The mesh has more or fewer devices, or its inner axes would cross slices.
    pub fn order(&self, mesh: &Mesh) -> Result<Vec<usize>, ShardingError> {
        mesh.check_devices(self.devices())?;
        let across = self.crossing_axis(mesh)?;
        let mut sizes = mesh.sizes();
        sizes[across] /= self.slices;

        let mut left = self.sizes;
        let mut strides = [1; 4];
        let mut shares = Vec::new();
        for axis in (0..sizes.len()).rev() {
            let share = compact_box(sizes[axis], left).ok_or_else(|| ShardingError::Placement {
                mesh: mesh.to_string(),
                topology: self.name.clone(),
                reason: format!(
                    "{}={} of a slice does not fit what is left of its torus",
                    mesh.axes()[axis].name,
                    sizes[axis]
                ),
            })?;
            shares.push(Share {
                axis,
                sizes: share,
                strides,
            });
            for dim in 0..4 {
                left[dim] /= share[dim];
                strides[dim] *= share[dim];
            }
        }

        let index = |position: usize| {
            let mut at = mesh.coordinates(position);
            let slice = at[across] / sizes[across];
            at[across] %= sizes[across];
            let mut place = [0; 4];
            for share in &shares {
                let step = walk(at[share.axis], share.sizes);
                for dim in 0..4 {
                    place[dim] += step[dim] * share.strides[dim];
                }
            }
            let [core, x, y, z] = place;
            let [cores, width, height, depth] = self.sizes;
            (((slice * depth + z) * height + y) * width + x) * cores + core
        };
        Ok((0..mesh.devices()).map(index).collect())
    }

    /// The mesh axis that crosses slices: the first larger than 1. The slices must divide it.
    fn crossing_axis(&self, mesh: &Mesh) -> Result<usize, ShardingError> {
        let first = mesh
            .axes()
            .iter()
            .position(|axis| axis.size > 1)
            .unwrap_or(0);
        let axis = &mesh.axes()[first];
        if axis.size.is_multiple_of(self.slices) {
            return Ok(first);
        }
        Err(ShardingError::Placement {
            mesh: mesh.to_string(),
            topology: self.name.clone(),
            reason: format!(
                "{}={} over {} slices leaves {}, so axes inside it would cross the slow network between slices; \
                 make it a multiple of {}",
                axis.name,
                axis.size,
                self.slices,
                axis.size % self.slices,
                self.slices,
            ),
        })
    }
}

/// The box of `volume` places within `left`: as many cores as divide it, then the chips with the shortest edges; among equal
/// boxes, the one that leaves the most compact rest. It always exists if the mesh has as many devices as the torus, since
/// both then have the same prime factors.
fn compact_box(volume: usize, left: Place) -> Option<Place> {
    let cores = (1..=left[0])
        .rev()
        .find(|&cores| left[0].is_multiple_of(cores) && volume.is_multiple_of(cores))?;
    let chips = volume / cores;
    let common = |chips: usize, size: usize| {
        (1..=size.min(chips))
            .filter(move |&edge| chips.is_multiple_of(edge) && size.is_multiple_of(edge))
    };
    common(chips, left[1])
        .flat_map(|x| common(chips / x, left[2]).map(move |y| [cores, x, y, chips / x / y]))
        .filter(|[_, _, _, z]| left[3].is_multiple_of(*z))
        .min_by_key(|&[_, x, y, z]| {
            let rest = left[1] / x + left[2] / y + left[3] / z;
            (x + y + z, rest, [x, y, z])
        })
}

/// Step `step` of a walk through a box that visits every place once: the cores of a chip in turn, then the next chip, back
/// and forth along x, then y, then z, so one step is at most one hop.
fn walk(step: usize, sizes: Place) -> Place {
    let mut place = [0; 4];
    let mut rest = step;
    for dim in 0..4 {
        let digit = rest % sizes[dim];
        rest /= sizes[dim];
        // `rest` counts the rows walked so far; every other row is walked backwards. Cores have no direction.
        place[dim] = match dim {
            1.. if rest % 2 == 1 => sizes[dim] - 1 - digit,
            _ => digit,
        };
    }
    place
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::sharding::hardware::Generation;
    use crate::sharding::target::Target;

    use super::*;

    fn topology(text: &str) -> Topology {
        match text.parse().unwrap() {
            Target::Tpu(topology) => topology,
            other => panic!("{other} is not a TPU"),
        }
    }

    /// The devices along the last mesh axis, for the first position of the others.
    fn first_line(target: &str, mesh: &str) -> Vec<DeviceAt> {
        let (topology, mesh) = (topology(target), Mesh::parse(mesh).unwrap());
        let devices = topology.expected_devices();
        let last = mesh.axes().last().unwrap().size;
        let order = Torus::of(&topology).order(&mesh).unwrap();
        order[..last]
            .iter()
            .map(|&index| devices[index].clone())
            .collect()
    }

    /// Hops between two chips of a slice, around the torus if that is shorter.
    fn hops(topology: &Topology, a: &DeviceAt, b: &DeviceAt) -> usize {
        let mut hops = 0;
        for (dim, &size) in topology.shape().iter().enumerate() {
            let apart = a.coords[dim].abs_diff(b.coords[dim]);
            hops += apart.min(size - apart);
        }
        hops
    }

    #[test]
    fn both_cores_of_a_chip_come_first_then_a_compact_box() {
        let line = first_line("v3-1024", "data=256,model=4");
        let places: Vec<([usize; 3], usize)> = line.iter().map(|at| (at.coords, at.core)).collect();
        assert_eq!(
            places,
            [
                ([0, 0, 0], 0),
                ([0, 0, 0], 1),
                ([0, 1, 0], 0),
                ([0, 1, 0], 1)
            ]
        );
        // 16 cores are 8 chips: 2x4 of them, not a row of 8.
        let line = first_line("v3-1024", "data=64,model=16");
        assert!(line.iter().all(|at| at.coords[0] < 2 && at.coords[1] < 4));
        // 8 chips of a 3-D torus are a cube.
        let line = first_line("v4-1024", "data=64,model=8");
        assert!(line.iter().all(|at| at.coords.iter().all(|&at| at < 2)));
    }

    #[test]
    fn part_of_a_machine_is_a_torus_if_it_is_a_box() {
        let mut devices = topology("v3:4x4").expected_devices();
        devices.retain(|at| at.coords[0] >= 2);
        let torus = Torus::filled_by("tpu", &devices).unwrap();
        assert_eq!((torus.sizes, torus.slices), ([2, 2, 4, 1], 1));
        let mut gap = devices.clone();
        gap.pop();
        assert_eq!(Torus::filled_by("tpu", &gap), None);
        gap.push(devices[0].clone());
        assert_eq!(Torus::filled_by("tpu", &gap), None);
        assert_eq!(Torus::filled_by("tpu", &[]), None);
    }

    #[test]
    fn the_first_axis_crosses_slices() {
        let topology = topology("4xv6e-256");
        let mesh = Mesh::parse("data=256,model=4").unwrap();
        let devices = topology.expected_devices();
        let order = Torus::of(&topology).order(&mesh).unwrap();
        for (position, &index) in order.iter().enumerate() {
            assert_eq!(devices[index].slice, mesh.coordinates(position)[0] / 64);
        }
        // An axis of size 1 in front changes nothing.
        let longer = Mesh::parse("stage=1,data=256,model=4").unwrap();
        assert_eq!(Torus::of(&topology).order(&longer).unwrap(), order);
    }

    #[test]
    fn refuses_a_mesh_whose_inner_axis_would_cross_slices() {
        let mesh = Mesh::parse("data=2,model=512").unwrap();
        let message = Torus::of(&topology("4xv6e-256"))
            .order(&mesh)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("data=2 over 4 slices leaves 2"),
            "{message}"
        );
    }

    #[test]
    fn refuses_a_mesh_of_another_size() {
        let mesh = Mesh::parse("data=2,model=8").unwrap();
        let message = Torus::of(&topology("v6e-256"))
            .order(&mesh)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("2 x 8 = 16 devices, but the target has 256"),
            "{message}"
        );
    }

    /// A topology, and a mesh of its devices made by dealing their prime factors to three axes.
    fn placed() -> impl Strategy<Value = (Topology, Mesh)> {
        let generation = prop::sample::select(Generation::ALL.to_vec());
        let sizes = prop::collection::vec(prop::sample::select(vec![2usize, 4, 6, 8]), 3);
        (
            generation,
            sizes,
            1usize..=3,
            prop::collection::vec(0usize..3, 24),
        )
            .prop_map(|(generation, sizes, slices, homes)| {
                let rank = generation.hardware().torus_rank;
                let topology = Topology::new(generation, &sizes[..rank]).unwrap();
                let topology = topology.with_slices(slices).unwrap();
                let mut axes = [slices, 1, 1];
                let (mut rest, mut prime, mut homes) =
                    (topology.devices_per_slice(), 2, homes.iter());
                while rest > 1 {
                    if rest % prime == 0 {
                        axes[*homes.next().unwrap()] *= prime;
                        rest /= prime;
                    } else {
                        prime += 1;
                    }
                }
                let named = ["data", "expert", "model"].into_iter().zip(axes);
                (topology, Mesh::new(named).unwrap())
            })
    }

    proptest! {
        #[test]
        fn an_order_is_a_permutation((topology, mesh) in placed()) {
            let mut order = Torus::of(&topology).order(&mesh).unwrap();
            order.sort_unstable();
            prop_assert_eq!(order, (0..topology.devices()).collect::<Vec<_>>());
        }

        #[test]
        fn devices_say_what_the_topology_says((topology, mesh) in placed()) {
            let mut devices = topology.expected_devices();
            devices.reverse();
            let torus = Torus::filled_by("attached", &devices).unwrap();
            prop_assert_eq!(torus.order(&mesh), Torus::of(&topology).order(&mesh));
        }

        #[test]
        fn neighbours_on_the_last_axis_are_neighbours_on_the_links((topology, mesh) in placed()) {
            let last = mesh.axes().last().unwrap().size;
            // The first axis that splits crosses slices; only the others must follow the links.
            prop_assume!(topology.slices() == 1 || mesh.axes()[0].size > 1);
            let devices = topology.expected_devices();
            let order = Torus::of(&topology).order(&mesh).unwrap();
            for line in order.chunks(last) {
                for pair in line.windows(2) {
                    let (a, b) = (&devices[pair[0]], &devices[pair[1]]);
                    prop_assert_eq!(a.slice, b.slice);
                    prop_assert!(hops(&topology, a, b) <= 1, "{:?} {:?}", a, b);
                }
            }
        }
    }
}
