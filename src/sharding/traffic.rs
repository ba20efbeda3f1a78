//! The traffic of a training step under rules, to rank meshes by: the bytes that a device receives.
//!
//! Two things move. Weights that are split over more devices than their layer's work are gathered when a layer needs them (in
//! the forward pass, when it is recomputed, and in the backward pass), and their gradients are reduced back. Activations
//! summed over a split axis are reduced over its mesh axes. More tensor parallelism moves fewer weights and more activations.
//!
//! This is not a forecast: it ignores links and overlap. It is also rough: all weights count as split over every mesh axis
//! that splits any of them, and every sum counts as large as the largest.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::error::ShardingError;
use super::mesh::Mesh;
use super::rules::{Kind, Rules};
use super::sharding::resolve;
use crate::graph::ir::ROOT;
use crate::graph::{AxisName, Graph, Node, Op, Pin, RegionId, Role, Shape};

/// Passes over the layers: forward, forward again (rematerialisation), backward.
const PASSES: f64 = 3.0;
/// Bytes of a gathered weight or an activation (bf16).
const BF16: f64 = 2.0;
/// Bytes of a gradient or an updated weight (f32).
const F32: f64 = 4.0;

/// What a step moves on any mesh. Computed once per graph.
#[derive(Clone, Debug, Default)]
pub(super) struct Movers {
    /// Weights.
    weights: Vec<Shape>,
    /// Elements of all weights.
    elements: f64,
    /// Elements as the forward pass uses them: weights from outside a loop count once per iteration.
    used: f64,
    /// Sums over axes in the forward pass: the axes, the result's shape, and how often it is computed.
    sums: Vec<(Vec<AxisName>, Shape, f64)>,
    /// The parts of the batch.
    batch: Vec<Shape>,
}

/// Bytes one device receives in a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Traffic {
    pub weights: f64,
    pub activations: f64,
}

impl Traffic {
    pub(super) fn total(self) -> f64 {
        self.weights + self.activations
    }
}

impl Movers {
    pub(super) fn of(graph: &Graph) -> Self {
        let mut movers = Movers::default();
        for (node, _, role) in graph.parameters() {
            let shape = graph.root().shape(node).clone();
            match role {
                Role::Weight => {
                    movers.elements += shape.elements() as f64;
                    movers.weights.push(shape);
                }
                Role::Batch => movers.batch.push(shape),
                _ => {}
            }
        }
        movers.region(graph, ROOT, 1.0);
        movers
    }

    /// Adds what `region`, which runs `times`, moves.
    fn region(&mut self, graph: &Graph, region: RegionId, times: f64) {
        let mut seen = HashSet::new();
        for node in &graph.region(region).nodes {
            match &node.op {
                Op::Loop(spec) => self.region(graph, spec.body, times * spec.axis.size as f64),
                // A weight that several layers use is gathered once.
                Op::Pin(Pin::Weight)
                    if is_forward(graph, node) && seen.insert(node.operands[0]) =>
                {
                    self.used += node.shape.elements() as f64 * times;
                }
                Op::Dot { over, .. } if is_forward(graph, node) => {
                    self.sums.push((over.clone(), node.shape.clone(), times));
                }
                _ => {}
            }
        }
    }

    /// The traffic on `mesh`.
    ///
    /// # Errors
    /// The rules cannot place a tensor.
    pub(super) fn traffic(&self, rules: &Rules, mesh: &Mesh) -> Result<Traffic, ShardingError> {
        let on = On { rules, mesh };
        Ok(Traffic {
            weights: self.weights(on)?,
            activations: self.activations(on),
        })
    }

    /// Bytes of gathered weights, reduced gradients and updated weights.
    fn weights(&self, on: On) -> Result<f64, ShardingError> {
        let rows = self.batch.iter().flat_map(Shape::names);
        let rows: BTreeSet<_> = rows.flat_map(|axis| on.activation(axis)).collect();
        let (mut weight, mut state) = (Split::default(), Split::default());
        for shape in &self.weights {
            weight.add(on, Kind::Weight, shape)?;
            state.add(on, Kind::State, shape)?;
        }
        let held = on.size(&weight.held);
        let gathered = 1.0 - 1.0 / on.size(&weight.gathered);
        let passes = self.used / held * gathered * PASSES * BF16;

        let of_rows =
            |axes: &BTreeSet<usize>| on.size(&axes.intersection(&rows).copied().collect());
        let (all, parts, kept) = (
            on.size(&rows),
            of_rows(&state.gathered),
            of_rows(&weight.gathered),
        );
        // A gradient is a sum over the rows' devices: a reduce-scatter into the state's parts, and an all-reduce over the
        // devices with the same part. If weights have fewer parts than state, the updated weights are gathered.
        let scattered = 1.0 - 1.0 / parts;
        let reduced = 2.0 * (1.0 - parts / all) / parts;
        let updated = 1.0 / kept - 1.0 / parts.max(kept);
        Ok(passes + self.elements / held * (scattered + reduced + updated) * F32)
    }

    /// Bytes of sums over split axes.
    fn activations(&self, on: On) -> f64 {
        // How often a sum is computed over each set of mesh axes, and the largest part of any sum on a device.
        let mut counts: BTreeMap<BTreeSet<usize>, f64> = BTreeMap::new();
        let mut largest = 0f64;
        for (over, shape, times) in &self.sums {
            let summed = over.iter().flat_map(|axis| on.activation(axis)).collect();
            if on.size(&summed) == 1.0 {
                continue;
            }
            let parts: BTreeSet<_> = shape.names().flat_map(|axis| on.activation(axis)).collect();
            let parts = on.size(&parts.difference(&summed).copied().collect());
            largest = largest.max(shape.elements() as f64 / parts);
            *counts.entry(summed).or_default() += times;
        }
        let sums = counts.iter().map(|(summed, times)| {
            let devices = on.size(summed);
            // A ring all-reduce sends every byte twice, except a device's own share.
            2.0 * (devices - 1.0) / devices * largest * times * PASSES * BF16
        });
        sums.fold(0.0, |all, sum| all + sum)
    }
}

/// Whether `node` is in the forward pass. Gradients and recomputation have scopes of their own.
fn is_forward(graph: &Graph, node: &Node) -> bool {
    let path = graph.scopes.path(node.scope);
    !matches!(path.split('/').next(), Some("gradient" | "recompute"))
}

/// Rules on a mesh.
#[derive(Clone, Copy)]
struct On<'a> {
    rules: &'a Rules,
    mesh: &'a Mesh,
}

impl On<'_> {
    /// The number of devices along mesh axes.
    fn size(self, axes: &BTreeSet<usize>) -> f64 {
        let sizes = axes.iter().map(|&at| self.mesh.axes()[at].size as f64);
        sizes.product()
    }

    /// The mesh axes over which activations split `axis`.
    fn activation(self, axis: &AxisName) -> Vec<usize> {
        let mut rules = self.rules.of(Kind::Activation);
        let rule = rules.find(|rule| rule.axis == *axis);
        rule.map_or(Vec::new(), |rule| rule.positions(self.mesh))
    }
}

/// Mesh axes that split weights or their state.
#[derive(Default)]
struct Split {
    /// Those that also split the work of their layers.
    held: BTreeSet<usize>,
    /// The others, over which they are gathered.
    gathered: BTreeSet<usize>,
}

impl Split {
    /// Adds the mesh axes of one weight.
    fn add(&mut self, on: On, kind: Kind, shape: &Shape) -> Result<(), ShardingError> {
        let sharding = resolve(on.rules, on.mesh, kind, shape, "a weight")?;
        for (name, axes) in shape.names().zip(sharding.dims) {
            let work = on.activation(name);
            for axis in axes {
                match work.contains(&axis) {
                    true => self.held.insert(axis),
                    false => self.gathered.insert(axis),
                };
            }
        }
        Ok(())
    }
}
