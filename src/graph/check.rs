//! Proves a graph well formed. Lowering, cost and sharding take only a [`Checked`] graph: after it they may fail with
//! an error but never panic. Checked here, for every region:
//!
//! - operands, arguments, results and outputs refer to nodes that are there, operands to earlier ones;
//! - every node's shape is the one that the shape rules give;
//! - a loop's arguments and results fit its operands, its carries keep their shapes, its axis its slices;
//! - a loop has a body of its own;
//! - a `get` reads a loop and has that result's shape, and nothing else reads a loop;
//! - parameters stand in the root region alone and have names of their own, arguments in loops' bodies alone.
//!
//! All mistakes are collected. Not checked: that the numbers mean anything.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use super::dtype::DType;
use super::error::{GraphError, Place};
use super::infer::infer;
use super::ir::{Graph, Node, NodeId, ROOT, Region, RegionId, Site};
use super::op::{Loop, Op};
use super::shape::Shape;
use super::text;

/// The text of `graph` with each of `errors` under its line; those of no node come last.
pub fn render(graph: &Graph, errors: &[GraphError]) -> String {
    let mut notes: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let mut last = String::new();
    for error in errors {
        let site = match error.at.site {
            Site::UNKNOWN => String::new(),
            site => format!(" ({}:{})", site.file, site.line),
        };
        let note = format!("{}: {}{site}", error.at.what, error.message);
        match error.node {
            Some(node) => notes.entry(node).or_default().push(note),
            None => last.push_str(&format!("^ {note}\n")),
        }
    }
    text::annotated(graph, &notes) + &last
}

/// A graph that is known to be well formed.
#[derive(Clone, Debug)]
pub struct Checked(Graph);

impl Deref for Checked {
    type Target = Graph;

    fn deref(&self) -> &Graph {
        &self.0
    }
}

impl Checked {
    /// The graph itself.
    pub fn into_graph(self) -> Graph {
        self.0
    }
}

impl Graph {
    /// This graph with the proof that it is well formed, or every mistake in it.
    pub fn check(self) -> Result<Checked, Vec<GraphError>> {
        let mut checker = Checker {
            graph: &self,
            bodies: BTreeSet::new(),
            errors: Vec::new(),
        };
        checker.all();
        match checker.errors {
            errors if errors.is_empty() => Ok(Checked(self)),
            errors => Err(errors),
        }
    }
}

struct Checker<'a> {
    graph: &'a Graph,
    /// The bodies of the loops seen so far.
    bodies: BTreeSet<RegionId>,
    errors: Vec<GraphError>,
}

impl<'a> Checker<'a> {
    fn all(&mut self) {
        for at in 0..self.graph.regions.len() {
            let region = RegionId::from(at);
            for node in 0..self.graph.region(region).nodes.len() {
                self.node(region, NodeId::from(node));
            }
        }
        let root = self.graph.root();
        let mut outputs = BTreeSet::new();
        for output in &self.graph.outputs {
            let Some(node) = root.nodes.get(output.node.index()) else {
                self.missing(format!(
                    "output `{}` is {}, which is not there",
                    output.name, output.node
                ));
                continue;
            };
            if !outputs.insert(&output.name) {
                self.found(
                    ROOT,
                    output.node,
                    node,
                    format!("two outputs are called `{}`", output.name),
                );
            }
            if node.shape.dtype == DType::Tuple {
                self.found(
                    ROOT,
                    output.node,
                    node,
                    "an output is one tensor, not several".into(),
                );
            }
        }
    }

    fn node(&mut self, region: RegionId, id: NodeId) {
        let graph = self.graph;
        let at = graph.region(region);
        let node = at.node(id);
        if let Some(operand) = node.operands.iter().find(|operand| **operand >= id) {
            let message = format!("it reads {operand}, which is not earlier");
            return self.found(region, id, node, message);
        }
        let shapes: Vec<_> = node
            .operands
            .iter()
            .map(|operand| at.shape(*operand))
            .collect();
        match infer(&node.op, &shapes) {
            Ok(shape) if shape == node.shape => {}
            Ok(shape) => {
                let message = format!("it says {} and gives {shape}", node.shape);
                return self.found(region, id, node, message);
            }
            Err(message) => return self.found(region, id, node, message),
        }
        let several = |shape: &Shape| shape.dtype == DType::Tuple;
        if !matches!(node.op, Op::Get { .. }) && shapes.iter().any(|shape| several(shape)) {
            let message = "it reads all results of a loop; `get` picks one".into();
            return self.found(region, id, node, message);
        }
        if several(&node.shape) && !matches!(node.op, Op::Loop(_)) {
            let message = format!("it gives {}, which only a loop does", node.shape);
            return self.found(region, id, node, message);
        }
        match &node.op {
            Op::Parameter { .. } if region != ROOT => {
                self.found(
                    region,
                    id,
                    node,
                    "a parameter stands in a loop's body".into(),
                );
            }
            Op::Parameter { name, .. } => {
                let first = graph.parameters().find(|(_, known, _)| known == name);
                if first.is_some_and(|(first, ..)| first != id) {
                    self.found(
                        region,
                        id,
                        node,
                        format!("two parameters are called `{name}`"),
                    );
                }
            }
            Op::Argument { .. } if !at.args.contains(&id) => {
                self.found(region, id, node, "it is no argument of its region".into());
            }
            Op::Loop(spec) => self.loop_(region, id, node, spec, &shapes),
            Op::Get { index, shape } => {
                let message = match &at.node(node.operands[0]).op {
                    Op::Loop(spec) => match self.body(spec) {
                        Some(body) if *index < body.results.len() => {
                            let given = spec.result_shape(graph, *index);
                            (given != *shape)
                                .then(|| format!("result {index} of the loop is {given}"))
                        }
                        _ => Some(format!("the loop has no result {index}")),
                    },
                    other => Some(format!("it reads a {}, not a loop", other.name())),
                };
                if let Some(message) = message {
                    self.found(region, id, node, message);
                }
            }
            _ => {}
        }
    }

    /// The loop's body, if all that it refers to is there.
    fn body(&self, spec: &Loop) -> Option<&'a Region> {
        let body = self.graph.regions.get(spec.body.index())?;
        let mut referred = body.args.iter().chain(&body.results);
        let whole = spec.body != ROOT && referred.all(|id| id.index() < body.nodes.len());
        (whole && !body.args.is_empty() && body.results.len() >= spec.carries).then_some(body)
    }

    fn loop_(
        &mut self,
        region: RegionId,
        id: NodeId,
        node: &Node,
        spec: &Loop,
        operands: &[&Shape],
    ) {
        let Some(body) = self.body(spec) else {
            return self.found(region, id, node, "its body is not whole".into());
        };
        if body.args.len() != operands.len() + 1 || spec.carries + spec.slices > operands.len() {
            let message = format!(
                "its body takes {} arguments for the index and {} operands",
                body.args.len(),
                operands.len()
            );
            return self.found(region, id, node, message);
        }
        if spec.axis.size == 0 || i32::try_from(spec.axis.size).is_err() {
            let message = format!("it runs over {}; s32 counts 1 to 2^31 - 1", spec.axis);
            return self.found(region, id, node, message);
        }
        if !self.bodies.insert(spec.body) {
            let message = format!("its body {} is that of another loop too", spec.body);
            return self.found(region, id, node, message);
        }
        let mut problems = Vec::new();
        for (at, arg) in body.args.iter().enumerate() {
            let op = &body.node(*arg).op;
            if !matches!(op, Op::Argument { .. }) || body.args[..at].contains(arg) {
                problems.push(format!(
                    "its body takes {arg} as an argument, which is a {} or taken before",
                    op.name()
                ));
            }
        }
        if *body.shape(body.args[0]) != Shape::scalar(DType::S32) {
            problems.push("its index is not s32[]".to_string());
        }
        for (at, operand) in operands.iter().enumerate() {
            let arg = body.shape(body.args[at + 1]);
            let sliced = at >= spec.carries && at < spec.carries + spec.slices;
            let expected = if sliced {
                arg.stacked(spec.axis.clone())
            } else {
                arg.clone()
            };
            if expected != **operand {
                problems.push(format!(
                    "operand {at} is {operand} where its body takes {expected}"
                ));
            }
        }
        for carry in 0..spec.carries {
            let (enters, leaves) = (
                body.shape(body.args[carry + 1]),
                body.shape(body.results[carry]),
            );
            if enters != leaves {
                problems.push(format!(
                    "carry {carry} enters as {enters} and leaves as {leaves}"
                ));
            }
        }
        for message in problems {
            self.found(region, id, node, message);
        }
    }

    fn found(&mut self, region: RegionId, id: NodeId, node: &Node, message: String) {
        let operands = (node.operands.iter())
            .filter_map(|operand| self.graph.region(region).nodes.get(operand.index()))
            .map(|operand| Place::of(self.graph, operand, operand.shape.to_string()))
            .collect();
        self.errors.push(GraphError {
            at: Box::new(Place::of(self.graph, node, node.op.name().into())),
            message,
            operands,
            node: Some((region, id)),
        });
    }

    fn missing(&mut self, message: String) {
        self.errors.push(GraphError {
            at: Box::new(Place {
                what: "graph".into(),
                scope: String::new(),
                site: Site::UNKNOWN,
            }),
            message,
            operands: Vec::new(),
            node: None,
        });
    }
}
