//! Proves a graph well formed. Compacting, lowering, cost and sharding take only a [`Checked`] graph: given one,
//! they may fail with an error but never panic. Checked here, for every region:
//!
//! - operands, arguments, results, outputs and scopes refer to what exists, and operands to earlier nodes;
//! - every node's shape follows the shape rules;
//! - a loop's arguments and results fit its operands, its carries keep their shapes, and its slices have its axis;
//! - no two loops share a body;
//! - a `get` reads a loop and has that result's shape, and nothing else reads a loop;
//! - parameters are only in the root and have unique names; arguments are only in loops' bodies;
//! - outputs have unique names; one that replaces a parameter has its shape, and no other replaces it.
//!
//! All mistakes are collected. What the numbers mean is not checked.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use super::dtype::DType;
use super::error::{GraphError, Place, Problem};
use super::infer::infer;
use super::ir::{Graph, Node, NodeId, Output, ROOT, Region, RegionId, Site};
use super::op::{Loop, Op};
use super::shape::Shape;
use super::text;

/// Returns the text of `graph` with each of `errors` under its line; those without a node come last.
pub fn render(graph: &Graph, errors: &[GraphError]) -> String {
    let mut notes: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let mut last = String::new();
    for error in errors {
        let site = match error.at.site {
            Site::UNKNOWN => String::new(),
            site => format!(" ({}:{})", site.file, site.line),
        };
        let note = format!("{}: {}{site}", error.at.what, error.problem);
        match error.node {
            Some(node) => notes.entry(node).or_default().push(note),
            None => last.push_str(&format!("^ {note}\n")),
        }
    }
    text::annotated(graph, &notes) + &last
}

/// A graph that has been proved well formed.
#[derive(Clone, Debug)]
pub struct Checked(pub(super) Graph);

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
    /// Proves this graph well formed.
    ///
    /// # Errors
    /// All mistakes in it.
    pub fn check(self) -> Result<Checked, Vec<GraphError>> {
        let mut checker = Checker {
            graph: &self,
            bodies: BTreeSet::new(),
            parameters: BTreeMap::new(),
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
    /// The parameters seen so far.
    parameters: BTreeMap<&'a str, &'a Shape>,
    errors: Vec<GraphError>,
}

impl<'a> Checker<'a> {
    fn all(&mut self) {
        let graph = self.graph;
        if graph.regions.is_empty() {
            return self.misplaced("it has no root region".into());
        }
        for at in 0..graph.regions.len() {
            let region = RegionId::from(at);
            for node in 0..graph.region(region).nodes.len() {
                self.node(region, NodeId::from(node));
            }
        }
        let root = graph.root();
        if !root.args.is_empty() || !root.results.is_empty() {
            self.misplaced("its root has arguments or results; only a loop's body has them".into());
        }
        self.outputs(root);
    }

    fn outputs(&mut self, root: &'a Region) {
        let mut names = BTreeSet::new();
        let mut replaced = BTreeSet::new();
        for output in &self.graph.outputs {
            let Output {
                name,
                node: id,
                replaces,
            } = output;
            let Some(node) = root.nodes.get(id.index()) else {
                self.misplaced(format!("output `{name}` is {id}, which does not exist"));
                continue;
            };
            let mut found = |problem: String| self.found(ROOT, *id, node, problem);
            if !names.insert(name) {
                found(format!("two outputs are called `{name}`"));
            }
            if node.shape.dtype == DType::Tuple {
                found("an output is one tensor, not several".into());
            }
            let Some(parameter) = replaces else {
                continue;
            };
            if !replaced.insert(parameter) {
                found(format!("two outputs replace `{parameter}`"));
            }
            match self.parameters.get(parameter.as_str()) {
                None => {
                    let problem =
                        format!("output `{name}` replaces `{parameter}`, which is not a parameter");
                    self.found(ROOT, *id, node, problem);
                }
                Some(before) if **before != node.shape => {
                    let after = &node.shape;
                    let problem =
                        format!("output `{name}` replaces `{parameter}`, {before}, with {after}");
                    self.found(ROOT, *id, node, problem);
                }
                Some(_) => {}
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
        if !graph.scopes.has(node.scope) {
            let message = format!("its scope {} does not exist", node.scope);
            return self.found(region, id, node, message);
        }
        let shapes: Vec<_> = node
            .operands
            .iter()
            .map(|operand| at.shape(*operand))
            .collect();
        let several = shapes.iter().any(|shape| shape.dtype == DType::Tuple);
        if several && !matches!(node.op, Op::Get { .. }) {
            let message = "it reads all results of a loop; pick one with `get`";
            return self.found(region, id, node, message);
        }
        match infer(&node.op, &shapes) {
            Ok(shape) if shape == node.shape => {}
            Ok(shape) => {
                let message = format!("it states {} but gives {shape}", node.shape);
                return self.found(region, id, node, message);
            }
            Err(problem) => return self.found(region, id, node, problem),
        }
        match &node.op {
            Op::Parameter { .. } if region != ROOT => {
                self.found(
                    region,
                    id,
                    node,
                    "a parameter is in a loop's body, not in the root",
                );
            }
            Op::Parameter { name, .. } => {
                if self.parameters.contains_key(name.as_str()) {
                    let message = format!("two parameters are called `{name}`");
                    self.found(region, id, node, message);
                } else {
                    self.parameters.insert(name, &node.shape);
                }
            }
            Op::Argument { .. } if region == ROOT || !at.args.contains(&id) => {
                self.found(
                    region,
                    id,
                    node,
                    "its region does not list it as an argument",
                );
            }
            Op::Loop(spec) => self.loop_(region, id, node, spec, &shapes),
            Op::Get { index, shape } => {
                let message = match &at.node(node.operands[0]).op {
                    Op::Loop(spec) => match graph.result_shape(spec, *index) {
                        Some(given) if given == *shape => None,
                        Some(given) => Some(format!("result {index} of the loop is {given}")),
                        None => Some(format!("the loop has no result {index}")),
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

    /// The loop's body, if all that it refers to exists.
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
            return self.found(region, id, node, "its body is missing or incomplete");
        };
        if body.args.len() != operands.len() + 1
            || spec.carries.saturating_add(spec.slices) > operands.len()
        {
            let message = format!(
                "its body takes {} arguments for the index and {} operands",
                body.args.len(),
                operands.len()
            );
            return self.found(region, id, node, message);
        }
        if spec.axis.size == 0 || i32::try_from(spec.axis.size).is_err() {
            let message = format!(
                "it runs over {}; its s32 index allows 1 to 2^31 - 1 iterations",
                spec.axis
            );
            return self.found(region, id, node, message);
        }
        if !self.bodies.insert(spec.body) {
            let message = format!("its body {} is also another loop's body", spec.body);
            return self.found(region, id, node, message);
        }
        let mut problems = Vec::new();
        for (at, arg) in body.args.iter().enumerate() {
            let op = &body.node(*arg).op;
            if !matches!(op, Op::Argument { .. }) || body.args[..at].contains(arg) {
                problems.push(format!(
                    "its body lists {arg} as an argument, which is a {} or listed twice",
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
                    "operand {at} is {operand}, but its body takes {expected}"
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

    fn found(&mut self, region: RegionId, id: NodeId, node: &Node, problem: impl Into<Problem>) {
        let operands = (node.operands.iter())
            .filter_map(|operand| self.graph.region(region).nodes.get(operand.index()))
            .map(|operand| Place::of(self.graph, operand, operand.shape.to_string()))
            .collect();
        self.errors.push(GraphError {
            at: Box::new(Place::of(self.graph, node, node.op.name().into())),
            problem: problem.into(),
            operands,
            node: Some((region, id)),
        });
    }

    /// Adds a mistake that belongs to no node.
    fn misplaced(&mut self, problem: String) {
        self.errors.push(GraphError {
            at: Box::new(Place {
                what: "graph".into(),
                scope: String::new(),
                site: Site::UNKNOWN,
            }),
            problem: Problem::Use(problem),
            operands: Vec::new(),
            node: None,
        });
    }
}
