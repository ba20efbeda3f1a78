//! The tensors of a graph that rules place: inputs, pins, and the stacks that loops make of pinned rows. A mesh must divide
//! them, whatever the model.

use std::collections::HashSet;

use super::error::ShardingError;
use super::mesh::Mesh;
use super::rules::{Kind, Rules};
use super::sharding::resolve;
use crate::graph::{AxisName, Graph, NodeId, Op, RegionId, Role, Shape};

/// One tensor that rules place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The list of rules that places it.
    pub kind: Kind,
    /// Its global shape.
    pub shape: Shape,
    /// Its name in messages: an input's name, or the scope of a pin.
    pub name: String,
}

/// The tensors of a graph, one per kind and shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensors {
    placed: Vec<Placed>,
}

impl Tensors {
    /// Returns the tensors of `graph` that lowering places, in the graph's order.
    pub fn of(graph: &Graph) -> Self {
        let mut seen = HashSet::new();
        let mut placed = Vec::new();
        let mut add = |kind: Kind, shape: Shape, name: &dyn Fn() -> String| {
            if seen.insert((kind, shape.clone())) {
                let name = name();
                placed.push(Placed { kind, shape, name });
            }
        };
        for (node, name, role) in graph.parameters() {
            let shape = graph.root().shape(node).clone();
            add(role.into(), shape, &|| name.to_string());
        }
        for region in &graph.regions {
            for node in &region.nodes {
                match &node.op {
                    Op::Pin(pin) => add((*pin).into(), node.shape.clone(), &|| {
                        format!("{}/pin", graph.scopes.path(node.scope))
                    }),
                    Op::Loop(spec) => {
                        let body = graph.region(spec.body);
                        for &row in &body.results[spec.carries..] {
                            let Some(kind) = pin_of(graph, spec.body, row) else {
                                continue;
                            };
                            let node = body.node(row);
                            let stack = node.shape.stacked(spec.axis.clone());
                            add(kind, stack, &|| {
                                format!("{}/pin", graph.scopes.path(node.scope))
                            });
                        }
                    }
                    _ => {}
                }
            }
        }
        Tensors { placed }
    }

    /// Iterates over the tensors.
    pub fn iter(&self) -> impl Iterator<Item = &Placed> {
        self.placed.iter()
    }

    /// Places every tensor on `mesh`.
    ///
    /// # Errors
    /// The error of the first tensor that cannot be placed.
    pub fn place(&self, rules: &Rules, mesh: &Mesh) -> Result<Use, ShardingError> {
        let mut found = Use {
            work: vec![false; mesh.axes().len()],
            kept: vec![false; mesh.axes().len()],
        };
        if mesh.devices() == 1 {
            return Ok(found);
        }
        for Placed { kind, shape, name } in &self.placed {
            let sharding = resolve(rules, mesh, *kind, shape, name)?;
            let split = match kind {
                Kind::Weight | Kind::State => &mut found.kept,
                Kind::Activation | Kind::Residual => &mut found.work,
            };
            for axis in sharding.dims.into_iter().flatten() {
                split[axis] = true;
            }
        }
        Ok(found)
    }

    /// These tensors with `size` elements along every axis called `name`.
    pub fn with_size(&self, name: &str, size: usize) -> Self {
        let mut tensors = self.clone();
        for placed in &mut tensors.placed {
            let axes = placed.shape.axes.iter_mut();
            axes.filter(|axis| axis.name == name)
                .for_each(|axis| axis.size = size);
        }
        tensors
    }

    /// The sizes of all axes that rules split over some mesh axis.
    pub fn splittable(&self, rules: &Rules) -> HashSet<usize> {
        let split = |placed: &Placed, axis: &AxisName| {
            let mut rules = rules.of(placed.kind);
            rules.any(|rule| rule.axis == *axis && !rule.mesh_axes.is_empty())
        };
        let mut sizes = HashSet::new();
        for placed in &self.placed {
            let axes = placed.shape.axes.iter();
            sizes.extend(
                axes.filter(|axis| split(placed, &axis.name))
                    .map(|axis| axis.size),
            );
        }
        sizes
    }
}

/// What each mesh axis splits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// Whether it splits an activation, and so the work.
    pub work: Vec<bool>,
    /// Whether it splits a weight or optimizer state.
    pub kept: Vec<bool>,
}

/// The axes that the loops of `graph` run over.
pub fn loop_axes(graph: &Graph) -> impl Iterator<Item = &AxisName> {
    let nodes = graph.regions.iter().flat_map(|region| &region.nodes);
    nodes.filter_map(|node| match &node.op {
        Op::Loop(spec) => Some(&spec.axis.name),
        _ => None,
    })
}

/// The kind of rules that pin `node` of `region`, if it is a pin.
pub fn pin_of(graph: &Graph, region: RegionId, node: NodeId) -> Option<Kind> {
    match graph.region(region).node(node).op {
        Op::Pin(pin) => Some(pin.into()),
        _ => None,
    }
}

/// The name of the axis of a batch's rows in `graph`, if there is a batch.
pub(super) fn rows(graph: &Graph) -> Option<&AxisName> {
    let mut parameters = graph.parameters();
    let (batch, ..) = parameters.find(|(_, _, role)| *role == Role::Batch)?;
    graph.root().shape(batch).names().next()
}
