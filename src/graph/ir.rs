//! The arenas: a graph's regions and their nodes. Ids are small numbers. Passes keep their results in vectors
//! indexed by them, so no pass adds a field to a node.

use super::op::{Loop, Op, Role};
use super::shape::Shape;

pub use super::id::{NodeId, ROOT, RegionId, ScopeId, Site};
pub use super::scopes::Scopes;

/// One operation with its operands.
#[derive(Clone, Debug)]
pub struct Node {
    /// The operation.
    pub op: Op,
    /// Its operands, all earlier in the same region.
    pub operands: Vec<NodeId>,
    /// The shape of its result.
    pub shape: Shape,
    /// Its place in the model.
    pub scope: ScopeId,
    /// The line of code that made it.
    pub site: Site,
}

/// A list of nodes that run from first to last: the whole program, or a loop's body.
#[derive(Clone, Debug, Default)]
pub struct Region {
    /// The nodes, operands before users.
    pub nodes: Vec<Node>,
    /// A loop body's arguments, in order; empty for the root.
    pub args: Vec<NodeId>,
    /// A loop body's results, in order; empty for the root.
    pub results: Vec<NodeId>,
}

impl Region {
    /// The node `id`.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// The shape of node `id`.
    pub fn shape(&self, id: NodeId) -> &Shape {
        &self.node(id).shape
    }
}

/// A named result of the program.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The name, unique among outputs.
    pub name: String,
    /// The root node whose value it is.
    pub node: NodeId,
    /// The parameter whose memory it takes over, if it replaces one.
    pub replaces: Option<String>,
}

/// A whole program.
#[derive(Clone, Debug)]
pub struct Graph {
    /// Region 0 is the root; the others are loop bodies.
    pub regions: Vec<Region>,
    /// The scope paths.
    pub scopes: Scopes,
    /// The results, in order.
    pub outputs: Vec<Output>,
}

impl Default for Graph {
    fn default() -> Self {
        Graph {
            regions: vec![Region::default()],
            scopes: Scopes::default(),
            outputs: Vec::new(),
        }
    }
}

impl Graph {
    /// The region that holds parameters and outputs.
    pub fn root(&self) -> &Region {
        &self.regions[ROOT.index()]
    }

    /// The region `id`.
    pub fn region(&self, id: RegionId) -> &Region {
        &self.regions[id.index()]
    }

    /// The parameters in the order of their nodes: node, name, role.
    pub fn parameters(&self) -> impl Iterator<Item = (NodeId, &str, Role)> {
        let nodes = self.regions.iter().take(1).flat_map(|root| &root.nodes);
        nodes.enumerate().filter_map(|(at, node)| match &node.op {
            Op::Parameter { name, role, .. } => Some((NodeId::from(at), name.as_str(), *role)),
            _ => None,
        })
    }

    /// The shape of result `index` of the loop `spec`: a carry's own, or that of a stack. `None` if the loop has no such
    /// result.
    pub fn result_shape(&self, spec: &Loop, index: usize) -> Option<Shape> {
        let body = self.regions.get(spec.body.index())?;
        let result = body.results.get(index)?;
        let shape = &body.nodes.get(result.index())?.shape;
        Some(match index < spec.carries {
            true => shape.clone(),
            false => shape.stacked(spec.axis.clone()),
        })
    }

    /// Number of nodes in all regions.
    pub fn nodes(&self) -> usize {
        self.regions.iter().map(|region| region.nodes.len()).sum()
    }
}
