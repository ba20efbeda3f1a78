//! A builder's state while it records: the graph so far, the open loops, and the first mistake. Builder, loops and
//! autodiff append nodes and report mistakes here; their handles are thin.

use std::collections::BTreeMap;

use super::dtype::DType;
use super::error::{GraphError, Place, Problem};
use super::infer::infer;
use super::init::Init;
use super::ir::{Graph, Node, NodeId, ROOT, RegionId, ScopeId, Site};
use super::op::{Op, Remat, Role};
use super::shape::{Axis, Shape};

/// The name of a loop in mistakes.
pub(super) const LOOP: &str = "loop";

/// A node of some region, as handles carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Value {
    pub region: RegionId,
    pub node: NodeId,
}

impl Value {
    /// The placeholder for a result after a mistake.
    pub const POISON: Value = Value {
        region: RegionId(u32::MAX),
        node: NodeId(u32::MAX),
    };

    pub fn is_poison(self) -> bool {
        self == Value::POISON
    }
}

/// A weight that model code declared, with what training, loading and reports need.
#[derive(Clone, Debug)]
pub struct Weight {
    /// Its scope path and name.
    pub name: String,
    /// The parameter's node in the root region.
    pub node: NodeId,
    /// How many leading axes stack layers; the rest are one layer's.
    pub stacked: usize,
    /// The whole shape, stacking axes first.
    pub shape: Shape,
    /// How its first values are drawn.
    pub init: Init,
}

/// How a loop runs and what it saves for its backward pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoopOptions {
    /// Whether indices run from last to first.
    pub reverse: bool,
    /// What is saved for the backward pass.
    pub remat: Remat,
    /// Whether weights declared inside get the loop's axis first (layers); otherwise all iterations share them.
    pub stack_weights: bool,
}

/// A loop that is being built. Its region identifies it: no other loop ever has the same one.
pub(super) struct OpenLoop {
    pub region: RegionId,
    pub axis: Axis,
    pub options: LoopOptions,
    pub index: NodeId,
    pub carries: Vec<Carry>,
    /// Sliced operands: the node outside, the argument inside.
    pub slices: Vec<(NodeId, NodeId)>,
    /// Captured operands: the node outside, the argument inside.
    pub captures: Vec<(NodeId, NodeId)>,
    pub emits: Vec<NodeId>,
    pub scope: ScopeId,
    pub site: Site,
}

/// One carry: its first value outside, its argument inside, its next value inside.
pub(super) struct Carry {
    pub init: NodeId,
    pub arg: NodeId,
    pub next: Option<NodeId>,
}

/// The state of a builder.
#[derive(Default)]
pub(super) struct Recorder {
    pub graph: Graph,
    /// Loops being built, outermost first.
    pub open: Vec<OpenLoop>,
    /// How many results each loop promised so far; code gets as many even after a mistake.
    pub results: BTreeMap<RegionId, usize>,
    /// Whether loops are unrolled.
    pub unroll: bool,
    pub scope: ScopeId,
    /// The scope and line that nodes are made for, if not the caller's (gradients).
    pub origin: Option<(ScopeId, Site)>,
    pub error: Option<GraphError>,
    pub weights: Vec<Weight>,
    /// Inputs and weights by name.
    parameters: BTreeMap<String, Value>,
}

impl Recorder {
    /// The region that nodes are appended to now.
    pub fn here(&self) -> RegionId {
        self.region_at(self.open.len())
    }

    /// The region within `depth` of the open loops.
    pub fn region_at(&self, depth: usize) -> RegionId {
        let loops = self.open.get(..depth).unwrap_or_default();
        loops.last().map_or(ROOT, |open| open.region)
    }

    pub fn shape(&self, value: Value) -> Shape {
        match value.is_poison() {
            true => Shape::scalar(DType::F32),
            false => self.node(value).shape.clone(),
        }
    }

    /// The node of a value that is not poison.
    pub fn node(&self, value: Value) -> &Node {
        self.graph.region(value.region).node(value.node)
    }

    /// Appends `op` to the current region.
    pub fn append(&mut self, op: Op, operands: &[Value], site: Site) -> Value {
        if operands.iter().any(|value| value.is_poison()) {
            return Value::POISON;
        }
        let mut local = Vec::with_capacity(operands.len());
        for &operand in operands {
            match self.import(operand) {
                Some(node) => local.push(node),
                None => {
                    let problem = "an operand belongs to the body of a closed loop; \
                                   return it with `emit` or as a carry";
                    return self.fail(op.name(), operands, problem, site);
                }
            }
        }
        self.append_to(self.here(), op, &local, site)
    }

    /// Appends `op` to `region`; `operands` are its nodes.
    pub fn append_to(
        &mut self,
        region: RegionId,
        op: Op,
        operands: &[NodeId],
        site: Site,
    ) -> Value {
        let shape = {
            let at = self.graph.region(region);
            let shapes: Vec<_> = operands.iter().map(|id| at.shape(*id)).collect();
            infer(&op, &shapes)
        };
        let (scope, site) = self.origin.unwrap_or((self.scope, site));
        match shape {
            Ok(shape) => {
                let node = self.push(
                    region,
                    Node {
                        op,
                        operands: operands.to_vec(),
                        shape,
                        scope,
                        site,
                    },
                );
                Value { region, node }
            }
            Err(problem) => {
                let operands: Vec<_> = operands
                    .iter()
                    .map(|&node| Value { region, node })
                    .collect();
                self.fail(op.name(), &operands, problem, site)
            }
        }
    }

    fn push(&mut self, region: RegionId, node: Node) -> NodeId {
        let nodes = &mut self.graph.regions[region.index()].nodes;
        nodes.push(node);
        NodeId::from(nodes.len() - 1)
    }

    /// Appends an argument to a loop's body, which need not be the current region.
    pub fn append_argument(
        &mut self,
        region: RegionId,
        shape: Shape,
        scope: ScopeId,
        site: Site,
    ) -> NodeId {
        let op = Op::Argument {
            shape: shape.clone(),
        };
        let node = Node {
            op,
            operands: Vec::new(),
            shape,
            scope,
            site,
        };
        self.push(region, node)
    }

    /// The parameter called `name`, appended to the root if it is new.
    pub fn parameter(&mut self, name: &str, role: Role, shape: Shape, site: Site) -> Value {
        let op = Op::Parameter {
            name: name.to_string(),
            role,
            shape,
        };
        if let Some(&known) = self.parameters.get(name) {
            let before = self.node(known);
            if before.op == op {
                return known;
            }
            let problem = format!(
                "`{name}` is already declared as {}; give this one another name or scope",
                before.shape
            );
            return self.fail(op.name(), &[], problem, site);
        }
        let value = self.append_to(ROOT, op, &[], site);
        if !value.is_poison() {
            self.parameters.insert(name.to_string(), value);
        }
        value
    }

    /// Declares `weight`, or finds an equal declaration. Returns it as the current region sees it.
    pub fn weight(&mut self, mut weight: Weight, site: Site) -> Value {
        let shape = weight.shape.clone();
        let value = self.parameter(&weight.name, Role::Weight, shape, site);
        if value.is_poison() {
            return value;
        }
        weight.node = value.node;
        let known = self.weights.iter().find(|known| known.node == value.node);
        let problem = match known {
            Some(known) if known.init != weight.init => Some(format!(
                "`{}` is already declared to start as {:?}, and here as {:?}",
                weight.name, known.init, weight.init
            )),
            Some(known) if known.stacked != weight.stacked => Some(format!(
                "`{}` is already declared within {} loops that stack weights, and here within {}",
                weight.name, known.stacked, weight.stacked
            )),
            Some(_) => None,
            None => {
                self.weights.push(weight);
                None
            }
        };
        match problem {
            Some(problem) => self.fail("parameter", &[value], problem, site),
            None => self.lower_weight(value, site),
        }
    }

    /// The parameter of a weight that was declared under this name with this shape.
    pub fn whole(&self, weight: &Weight) -> Option<Value> {
        let value = *self.parameters.get(&weight.name)?;
        let known = &self.node(value).op;
        let fits = matches!(known, Op::Parameter { role: Role::Weight, shape, .. } if *shape == weight.shape);
        fits.then_some(value)
    }

    /// The current region's node for `value`; `None` if the value's region is neither this one nor around it.
    pub fn import(&mut self, value: Value) -> Option<NodeId> {
        self.import_at(self.open.len(), value)
    }

    /// The node for `value` in the region within `depth` of the open loops; `None` if the value's region is neither that
    /// one nor around it.
    pub fn import_at(&mut self, depth: usize, value: Value) -> Option<NodeId> {
        let from = self.depth_of(value.region).filter(|from| *from <= depth)?;
        let mut at = value;
        for level in from..depth {
            at = self.capture(level, at);
        }
        Some(at.node)
    }

    /// How many loops are open around nodes of `region`; `None` if it is not being built.
    fn depth_of(&self, region: RegionId) -> Option<usize> {
        if region == ROOT {
            return Some(0);
        }
        self.level_of(region).map(|level| level + 1)
    }

    /// Which of the open loops has the body `region`.
    pub fn level_of(&self, region: RegionId) -> Option<usize> {
        self.open.iter().position(|open| open.region == region)
    }

    /// The argument of the loop at `level` for `value` of the region around it.
    fn capture(&mut self, level: usize, value: Value) -> Value {
        let open = &self.open[level];
        let region = open.region;
        let known = open.captures.iter().find(|(outer, _)| *outer == value.node);
        if let Some(&(_, node)) = known {
            return Value { region, node };
        }
        let (shape, scope, site) = self.described(value);
        let node = self.append_argument(region, shape, scope, site);
        self.open[level].captures.push((value.node, node));
        Value { region, node }
    }

    /// Carries a root weight into the current region: sliced by loops that stack weights, captured by others.
    fn lower_weight(&mut self, weight: Value, site: Site) -> Value {
        let mut at = weight;
        for level in 0..self.open.len() {
            at = match self.open[level].options.stack_weights {
                true => self.slice(level, at, site),
                false => self.capture(level, at),
            };
            if at.is_poison() {
                break;
            }
        }
        at
    }

    /// The argument of the loop at `level` for one slice of `value`. The value belongs to the region around the loop, and
    /// its first axis is the loop's.
    pub fn slice(&mut self, level: usize, value: Value, site: Site) -> Value {
        let open = &self.open[level];
        let region = open.region;
        let known = open.slices.iter().find(|(outer, _)| *outer == value.node);
        if let Some(&(_, node)) = known {
            return Value { region, node };
        }
        let (mut shape, scope, line) = self.described(value);
        let axis = &self.open[level].axis;
        if shape.axes.first() != Some(axis) {
            let problem = format!("it slices {shape}, whose first axis is not {axis}");
            return self.fail(LOOP, &[value], problem, site);
        }
        shape.axes.remove(0);
        let node = self.append_argument(region, shape, scope, line);
        self.open[level].slices.push((value.node, node));
        Value { region, node }
    }

    fn described(&self, value: Value) -> (Shape, ScopeId, Site) {
        let node = self.node(value);
        (node.shape.clone(), node.scope, node.site)
    }

    /// Result `index` of the loop at `node`.
    pub fn get(&mut self, node: Value, index: usize) -> Value {
        if node.is_poison() {
            return node;
        }
        let here = self.node(node);
        let (site, scope) = (here.site, here.scope);
        let shape = match &here.op {
            Op::Loop(spec) => self.graph.result_shape(spec, index),
            _ => None,
        };
        let Some(shape) = shape else {
            return Value::POISON;
        };
        self.on_behalf_of(scope, site, |recorder| {
            let op = Op::Get { index, shape };
            recorder.append_to(node.region, op, &[node.node], site)
        })
    }

    /// Runs `body` so that its nodes belong to `scope` and `site` instead of to the caller.
    pub fn on_behalf_of<T>(
        &mut self,
        scope: ScopeId,
        site: Site,
        body: impl FnOnce(&mut Recorder) -> T,
    ) -> T {
        let before = self.origin.replace((scope, site));
        let result = body(self);
        self.origin = before;
        result
    }

    /// Why `value` cannot replace the parameter `replaced`; `None` if it can.
    pub fn cannot_replace(&self, replaced: &str, value: Value) -> Option<String> {
        let Some(&parameter) = self.parameters.get(replaced) else {
            return Some("it replaces a parameter that does not exist".into());
        };
        let (before, after) = (self.shape(parameter), self.shape(value));
        (before != after).then(|| format!("it replaces {before} with {after}"))
    }

    /// Keeps the first mistake and returns poison.
    pub fn fail(
        &mut self,
        what: &str,
        operands: &[Value],
        problem: impl Into<Problem>,
        site: Site,
    ) -> Value {
        if self.error.is_none() {
            let operands = operands
                .iter()
                .filter(|value| !value.is_poison())
                .map(|value| {
                    let node = self.node(*value);
                    Place::of(&self.graph, node, node.shape.to_string())
                })
                .collect();
            let (scope, site) = self.origin.unwrap_or((self.scope, site));
            self.error = Some(GraphError {
                at: Box::new(Place {
                    what: what.to_string(),
                    scope: self.graph.scopes.path(scope),
                    site,
                }),
                problem: problem.into(),
                operands,
                node: None,
            });
        }
        Value::POISON
    }
}
