//! Chooses a mesh when none is given. Candidates use the axes that the rules name and can place every tensor of the program.
//! The one that moves the fewest bytes per step and device is chosen (`sharding::traffic`).
//!
//! If no such mesh uses all devices, the rest goes to axes that cost something, each as small as possible, and the choice
//! states what is lost. [`REPLICA`] splits only the batch, so each group holds all weights. [`UNUSED`] takes the prime factors
//! of the machine that divide no axis of the program.

use smol_str::SmolStr;

use super::error::ShardingError;
use super::fit::{near_batches, unit};
use super::mesh::Mesh;
use super::rules::{REPLICA, Rules, UNUSED};
use super::tensors::{Tensors, loop_axes, rows};
use super::traffic::{Movers, Traffic};
use crate::graph::Graph;

/// A mesh, and why it was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The mesh.
    pub mesh: Mesh,
    /// The reason in one line.
    pub reason: String,
}

/// The most meshes to try. Rules with so many axes need a mesh from their author.
const MOST: usize = 20_000;

/// Returns the mesh of `devices` devices in `slices` slices (1 if there are none) that moves the fewest bytes for `graph`.
///
/// # Errors
/// A tensor axis has no rule; or every mesh leaves some tensor unplaced: the message gives each mesh's obstacle and the
/// batches that would fit.
pub fn choose_mesh(
    graph: &Graph,
    rules: &Rules,
    devices: usize,
    slices: usize,
) -> Result<Choice, ShardingError> {
    let rules = rules.with_whole(loop_axes(graph));
    let mut search = Search {
        axes: (rules.mesh_axes().into_iter())
            .filter(|name| *name != REPLICA && *name != UNUSED)
            .cloned()
            .collect(),
        replicas: rules.mesh_axes().iter().any(|name| *name == REPLICA),
        rules: &rules,
        tensors: Tensors::of(graph),
        movers: Movers::of(graph),
        devices,
        slices,
        obstacles: Vec::new(),
    };
    if devices == 1 || search.axes.is_empty() {
        return search.alone();
    }
    if ways(devices, search.axes.len()) > MOST {
        return Err(search.none("there are too many to try; give one with --mesh".to_string()));
    }
    let unused = search.indivisible();
    match search.best(unused)?.as_slice() {
        [] => Err(search.nothing_fits(graph)),
        fits => Ok(reason(fits)),
    }
}

/// A mesh with its traffic.
struct Fit {
    mesh: Mesh,
    traffic: Traffic,
}

struct Search<'a> {
    /// The mesh axes whose sizes are searched, outermost first.
    axes: Vec<SmolStr>,
    /// Whether the rules name [`REPLICA`].
    replicas: bool,
    rules: &'a Rules,
    tensors: Tensors,
    movers: Movers,
    devices: usize,
    slices: usize,
    /// Why each mesh without replicas fails.
    obstacles: Vec<String>,
}

impl Search<'_> {
    /// The mesh if there is nothing to choose.
    fn alone(&self) -> Result<Choice, ShardingError> {
        let (mesh, reason) = match (self.devices, self.axes.as_slice()) {
            (1, []) => (Mesh::new([("data", 1)])?, "there is one device"),
            (1, axes) => (
                Mesh::new(axes.iter().map(|name| (name.clone(), 1)))?,
                "there is one device",
            ),
            (devices, _) => (Mesh::new([(UNUSED, devices)])?, "the rules split nothing"),
        };
        self.tensors.place(self.rules, &mesh)?;
        Ok(Choice {
            reason: format!("mesh {mesh}: {reason}"),
            mesh,
        })
    }

    /// The product of the machine's prime factors, with their powers, that divide no axis that a rule splits.
    fn indivisible(&self) -> usize {
        let sizes = self.tensors.splittable(self.rules);
        (factors(self.devices).into_iter())
            .filter(|(prime, _)| sizes.iter().all(|size| !size.is_multiple_of(*prime)))
            .map(|(prime, power)| prime.pow(power))
            .product()
    }

    /// All meshes that fit with the fewest replicas, the one with the least traffic first.
    fn best(&mut self, unused: usize) -> Result<Vec<Fit>, ShardingError> {
        let devices = self.devices / unused;
        let replicas: Vec<usize> = match self.replicas {
            true => divisors(devices).collect(),
            false => vec![1],
        };
        for replica in replicas {
            let mut fits = Vec::new();
            for sizes in splits(devices / replica, self.axes.len()) {
                let extra = [(UNUSED, unused), (REPLICA, replica)];
                let extra = extra.into_iter().filter(|(_, size)| *size > 1);
                let extra = extra.map(|(name, size)| (SmolStr::from(name), size));
                let named = self.axes.iter().cloned().zip(sizes);
                let mesh = Mesh::new(extra.chain(named))?;
                match self.obstacle(&mesh)? {
                    None => fits.push(Fit {
                        traffic: self.movers.traffic(self.rules, &mesh)?,
                        mesh,
                    }),
                    Some(obstacle) if replica == 1 => {
                        self.obstacles.push(format!("{mesh}: {obstacle}"));
                    }
                    Some(_) => {}
                }
            }
            if !fits.is_empty() {
                // The sort is stable and meshes come with the largest first axis first, so ties go to it.
                fits.sort_by(|a, b| a.traffic.total().total_cmp(&b.traffic.total()));
                return Ok(fits);
            }
        }
        Ok(Vec::new())
    }

    /// The first reason the program does not fit `mesh`, if any.
    fn obstacle(&self, mesh: &Mesh) -> Result<Option<String>, ShardingError> {
        let first = mesh.axes().iter().find(|axis| axis.size > 1);
        if first.is_some_and(|axis| !axis.size.is_multiple_of(self.slices)) {
            let message = format!("{} slices do not divide its first axis", self.slices);
            return Ok(Some(message));
        }
        match self.tensors.place(self.rules, mesh) {
            Ok(found) => {
                let mut axes = mesh.axes().iter().zip(found.work);
                let idle =
                    axes.find(|(axis, split)| axis.size > 1 && !split && axis.name != UNUSED);
                Ok(idle.map(|(axis, _)| format!("`{}` splits no activation", axis.name)))
            }
            Err(ShardingError::NotDivisible { division, .. }) => Ok(Some(division)),
            Err(error) => Err(error),
        }
    }

    fn none(&self, reason: String) -> ShardingError {
        ShardingError::NoMesh {
            axes: self.axes.join(" x "),
            devices: self.devices,
            reason,
        }
    }

    /// The error when nothing fits: why each mesh fails, and the batches that would fit if only the batch is at fault.
    fn nothing_fits(&mut self, graph: &Graph) -> ShardingError {
        const SHOWN: usize = 4;
        let more = self.obstacles.len().saturating_sub(SHOWN);
        self.obstacles.truncate(SHOWN);
        let mut reason = self.obstacles.join("; ");
        if more > 0 {
            reason += &format!("; and {more} more");
        }
        reason += &self.batches(graph).unwrap_or_else(|| {
            "; choose a target whose number of devices divides by these sizes, or give --mesh"
                .to_string()
        });
        self.none(reason)
    }

    /// The nearest batches that fit, on the best mesh for them.
    fn batches(&mut self, graph: &Graph) -> Option<String> {
        let rows = rows(graph)?;
        // As if there were a row for every device.
        let tensors = self.tensors.with_size(rows, self.devices);
        let given = std::mem::replace(&mut self.tensors, tensors);
        let fits = self.best(1);
        self.tensors = given;
        let mesh = fits.ok()?.into_iter().next()?.mesh;
        let batches = near_batches(graph, &self.tensors, self.rules, &mesh, 1)?;
        Some(format!("; {batches} would do (mesh {mesh})"))
    }
}

/// Why the first of `fits` is chosen.
fn reason(fits: &[Fit]) -> Choice {
    let Fit { mesh, traffic } = &fits[0];
    let reason = match fits.get(1) {
        None => format!("mesh {mesh}: the only one that divides the model and the batch"),
        Some(next) => {
            let (unit, size) = unit(traffic.total());
            format!(
                "mesh {mesh} moves the fewest bytes per step and device: \
                 {:.2} {unit} ({:.2} of weights, {:.2} of activations); \
                 next is {} with {:.2} {unit}",
                traffic.total() / size,
                traffic.weights / size,
                traffic.activations / size,
                next.mesh,
                next.traffic.total() / size,
            )
        }
    };
    Choice {
        mesh: mesh.clone(),
        reason,
    }
}

/// The divisors of `number`, smallest first.
fn divisors(number: usize) -> impl Iterator<Item = usize> {
    (1..=number).filter(move |divisor| number.is_multiple_of(*divisor))
}

/// The prime factors of `number` with their powers.
fn factors(mut number: usize) -> Vec<(usize, u32)> {
    let mut found = Vec::new();
    let mut prime = 2;
    while number > 1 {
        let mut power = 0;
        while number.is_multiple_of(prime) {
            number /= prime;
            power += 1;
        }
        if power > 0 {
            found.push((prime, power));
        }
        prime += 1;
    }
    found
}

/// The number of lists that [`splits`] returns.
fn ways(number: usize, count: usize) -> usize {
    let others = count.saturating_sub(1);
    // Ways to deal `power` equal factors to `count` axes: (power + others) over others.
    let ways = |power: u32| {
        (1..=others).fold(1usize, |ways, at| {
            ways.saturating_mul(power as usize + at) / at
        })
    };
    let powers = factors(number).into_iter().map(|(_, power)| power);
    powers.map(ways).fold(1, usize::saturating_mul)
}

/// All lists of `count` sizes (at least one) whose product is `number`, largest first size first.
fn splits(number: usize, count: usize) -> Vec<Vec<usize>> {
    if count <= 1 {
        return vec![vec![number]];
    }
    let mut found = Vec::new();
    for last in divisors(number) {
        for mut sizes in splits(number / last, count - 1) {
            sizes.push(last);
            found.push(sizes);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn splits_come_with_the_largest_first_axis_first() {
        assert_eq!(splits(8, 2), [[8, 1], [4, 2], [2, 4], [1, 8]]);
        assert_eq!(splits(6, 1), [[6]]);
        assert_eq!(factors(360), [(2, 3), (3, 2), (5, 1)]);
    }

    proptest! {
        /// Every split multiplies to the number, none is repeated, and `ways` counts them.
        #[test]
        fn splits_are_all_there(number in 1usize..200, count in 1usize..4) {
            let all = splits(number, count);
            prop_assert!(all.iter().all(|sizes| sizes.iter().product::<usize>() == number));
            let distinct: std::collections::BTreeSet<_> = all.iter().collect();
            prop_assert_eq!(distinct.len(), all.len());
            prop_assert_eq!(ways(number, count), all.len());
        }
    }
}
