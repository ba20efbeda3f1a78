//! Records a graph. The builder keeps the first mistake and goes on with poisoned tensors, so that model code reads
//! without `?` on every line; [`Builder::finish`] returns the mistake with shapes, scopes and lines.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::Location;

use super::dtype::DType;
use super::error::{GraphError, Place};
use super::infer::infer;
use super::init::Init;
use super::ir::{Graph, Node, NodeId, Output, ROOT, RegionId, ScopeId, Scopes, Site};
use super::loops::OpenLoop;
use super::op::{Op, Pin, Role};
use super::shape::{Axis, Shape};
use super::tensor::Tensor;

/// A node of some region, as handles carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Value {
    pub region: RegionId,
    pub node: NodeId,
}

impl Value {
    /// What stands for a result that cannot be.
    pub const POISON: Value = Value {
        region: RegionId(u32::MAX),
        node: NodeId(u32::MAX),
    };

    pub fn is_poison(self) -> bool {
        self == Value::POISON
    }
}

/// A weight that model code declared: what training, loading and reports need to know of it.
#[derive(Clone, Debug)]
pub struct Weight {
    /// Its scope path and name.
    pub name: String,
    /// The parameter's node in the root region.
    pub node: NodeId,
    /// How many leading axes stack layers; the rest is one layer's weight.
    pub stacked: usize,
    /// The whole shape, stacking axes first.
    pub shape: Shape,
    /// How it starts.
    pub init: Init,
}

/// Records nodes into a [`Graph`].
pub struct Builder {
    pub(super) state: RefCell<State>,
    unroll: Cell<bool>,
}

/// Everything the builder knows, behind one cell.
pub(super) struct State {
    pub graph: Graph,
    /// Loops being built, outermost first.
    pub open: Vec<OpenLoop>,
    pub scope: ScopeId,
    /// What nodes are made on behalf of, where not the caller's line (gradients).
    pub origin: Option<(ScopeId, Site)>,
    pub error: Option<GraphError>,
    pub weights: Vec<Weight>,
    /// Inputs and weights by name.
    parameters: BTreeMap<String, Value>,
}

impl Default for Builder {
    fn default() -> Self {
        Builder::new()
    }
}

impl Builder {
    /// An empty graph.
    pub fn new() -> Self {
        Builder {
            state: RefCell::new(State {
                graph: Graph::default(),
                open: Vec::new(),
                scope: Scopes::ROOT,
                origin: None,
                error: None,
                weights: Vec::new(),
                parameters: BTreeMap::new(),
            }),
            unroll: Cell::new(false),
        }
    }

    /// Whether loops are written out once an iteration instead of kept as loops. Both give the same numbers.
    pub fn set_unroll(&self, unroll: bool) {
        self.unroll.set(unroll);
    }

    pub(super) fn unrolls(&self) -> bool {
        self.unroll.get()
    }

    /// An input of the program called `name`.
    #[track_caller]
    pub fn input(&self, name: &str, role: Role, shape: Shape) -> Tensor<'_> {
        let site = Location::caller().into();
        let value = self.parameter(name, role, shape, site);
        self.tensor(value)
    }

    /// The weight `name` of the current scope with one layer's `axes`. Within `layers` loops its parameter has the
    /// loops' axes before these. Asking again for the same weight gives the same weight.
    #[track_caller]
    pub fn weight<A: Into<Axis>>(
        &self,
        name: &str,
        axes: impl IntoIterator<Item = A>,
        init: Init,
    ) -> Tensor<'_> {
        let site: Site = Location::caller().into();
        let (full_name, stacks) = {
            let state = self.state.borrow();
            let path = state.graph.scopes.path(state.scope);
            let stacks: Vec<_> = state
                .open
                .iter()
                .filter(|open| open.stacks_weights)
                .map(|open| open.axis.clone())
                .collect();
            (join(&path, name), stacks)
        };
        let stacked = stacks.len();
        let shape = Shape::new(
            DType::F32,
            stacks.into_iter().chain(axes.into_iter().map(Into::into)),
        );
        let known = self.state.borrow().weights.len();
        let value = self.parameter(&full_name, Role::Weight, shape.clone(), site);
        if value.is_poison() {
            return self.tensor(value);
        }
        let mut state = self.state.borrow_mut();
        debug_assert_eq!(known, state.weights.len());
        if !state.weights.iter().any(|weight| weight.node == value.node) {
            state.weights.push(Weight {
                name: full_name,
                node: value.node,
                stacked,
                shape,
                init,
            });
        }
        let here = state.lower_weight(value, site);
        let gathered = state.open.iter().any(OpenLoop::gathers_weights);
        drop(state);
        match gathered {
            true => self.tensor(here),
            false => self.tensor(here).pin_weight(),
        }
    }

    fn parameter(&self, name: &str, role: Role, shape: Shape, site: Site) -> Value {
        let mut state = self.state.borrow_mut();
        let op = Op::Parameter {
            name: name.to_string(),
            role,
            shape,
        };
        if let Some(&known) = state.parameters.get(name) {
            let before = &state.graph.root().node(known.node).op;
            if *before != op {
                let message = format!(
                    "`{name}` is declared before as {}; give this one a name or a scope of its own",
                    state.graph.root().shape(known.node)
                );
                return state.fail(op.name(), &[], message, site);
            }
            return known;
        }
        let value = state.append_to(ROOT, op, &[], site);
        if !value.is_poison() {
            state.parameters.insert(name.to_string(), value);
        }
        value
    }

    /// The weights declared so far, in order.
    pub fn weights(&self) -> Vec<Weight> {
        self.state.borrow().weights.clone()
    }

    /// The whole parameter behind `weight` (all layers), as seen from here.
    pub fn whole(&self, weight: &Weight) -> Tensor<'_> {
        self.tensor(Value {
            region: ROOT,
            node: weight.node,
        })
    }

    /// Runs `body` with `name` appended to the scope path.
    pub fn scope<T>(&self, name: &str, body: impl FnOnce() -> T) -> T {
        let before = {
            let mut state = self.state.borrow_mut();
            let before = state.scope;
            state.scope = name.split('/').fold(before, |parent, part| {
                state.graph.scopes.child(parent, part)
            });
            before
        };
        let result = body();
        self.state.borrow_mut().scope = before;
        result
    }

    /// Runs `body` with the empty scope path, for what belongs to the whole model (a shared embedding).
    pub fn at_root_scope<T>(&self, body: impl FnOnce() -> T) -> T {
        let before = std::mem::replace(&mut self.state.borrow_mut().scope, Scopes::ROOT);
        let result = body();
        self.state.borrow_mut().scope = before;
        result
    }

    /// The current scope path.
    pub fn path(&self) -> String {
        let state = self.state.borrow();
        state.graph.scopes.path(state.scope)
    }

    /// Makes `tensor` a result of the program called `name`.
    #[track_caller]
    pub fn output(&self, name: &str, tensor: Tensor<'_>) {
        self.declare_output(name, tensor, None);
    }

    /// Makes `tensor` a result that takes over the memory of the parameter `replaces` (its next value).
    #[track_caller]
    pub fn update(&self, replaces: &str, tensor: Tensor<'_>) {
        self.declare_output(replaces, tensor, Some(replaces.to_string()));
    }

    #[track_caller]
    fn declare_output(&self, name: &str, tensor: Tensor<'_>, replaces: Option<String>) {
        if tensor.value.is_poison() {
            return;
        }
        let mut state = self.state.borrow_mut();
        let problem = if tensor.value.region != ROOT {
            Some("a tensor of a loop's body is not a result of the program".to_string())
        } else if state.graph.outputs.iter().any(|output| output.name == name) {
            Some("there is an output of that name".to_string())
        } else {
            replaces
                .as_ref()
                .and_then(|replaced| state.cannot_replace(replaced, tensor.value))
        };
        if let Some(message) = problem {
            let what = format!("output `{name}`");
            state.fail(&what, &[tensor.value], message, Location::caller().into());
            return;
        }
        state.graph.outputs.push(Output {
            name: name.to_string(),
            node: tensor.value.node,
            replaces,
        });
    }

    /// The graph, or the first mistake.
    pub fn finish(self) -> Result<Graph, GraphError> {
        let state = self.state.into_inner();
        match state.error {
            Some(error) => Err(error),
            None => Ok(state.graph),
        }
    }

    /// The first mistake so far, if any.
    pub fn error(&self) -> Option<GraphError> {
        self.state.borrow().error.clone()
    }

    pub(super) fn tensor(&self, value: Value) -> Tensor<'_> {
        Tensor {
            builder: self,
            value,
        }
    }

    /// Appends `op` to the region being built; operands of outer regions are captured.
    pub(super) fn push(&self, op: Op, operands: &[Tensor<'_>], site: Site) -> Tensor<'_> {
        let operands: Vec<_> = operands.iter().map(|tensor| tensor.value).collect();
        let value = self.state.borrow_mut().append(op, &operands, site);
        self.tensor(value)
    }

    /// Records a mistake that is not one of shapes.
    pub(super) fn fail(
        &self,
        what: &str,
        operands: &[Tensor<'_>],
        message: String,
        site: Site,
    ) -> Tensor<'_> {
        let operands: Vec<_> = operands.iter().map(|tensor| tensor.value).collect();
        let value = self.state.borrow_mut().fail(what, &operands, message, site);
        self.tensor(value)
    }

    /// Runs `body` so that its nodes belong to `scope` and `site` instead of to the caller.
    pub(super) fn on_behalf_of<T>(
        &self,
        scope: ScopeId,
        site: Site,
        body: impl FnOnce() -> T,
    ) -> T {
        let before = self.state.borrow_mut().origin.replace((scope, site));
        let result = body();
        self.state.borrow_mut().origin = before;
        result
    }
}

fn join(path: &str, name: &str) -> String {
    match path.is_empty() {
        true => name.to_string(),
        false => format!("{path}/{name}"),
    }
}

impl State {
    /// The region that nodes go to now.
    pub fn here(&self) -> RegionId {
        self.open.last().map_or(ROOT, |open| open.region)
    }

    pub fn shape(&self, value: Value) -> Shape {
        match value.is_poison() {
            true => Shape::scalar(DType::F32),
            false => self.graph.region(value.region).shape(value.node).clone(),
        }
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
                    let message = "an operand belongs to a loop's body that is finished; \
                                   give it out with `emit` or as a carry"
                        .to_string();
                    return self.fail(op.name(), operands, message, site);
                }
            }
        }
        self.append_to(self.here(), op, &local, site)
    }

    /// Appends `op` to `region`, whose nodes `operands` are.
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
                let nodes = &mut self.graph.regions[region.index()].nodes;
                nodes.push(Node {
                    op,
                    operands: operands.to_vec(),
                    shape,
                    scope,
                    site,
                });
                Value {
                    region,
                    node: NodeId::from(nodes.len() - 1),
                }
            }
            Err(message) => {
                let operands: Vec<_> = operands
                    .iter()
                    .map(|&node| Value { region, node })
                    .collect();
                self.fail(op.name(), &operands, message, site)
            }
        }
    }

    /// Appends a node with no operands to a region that is not the current one (a loop's argument).
    pub fn append_argument(
        &mut self,
        region: RegionId,
        shape: Shape,
        scope: ScopeId,
        site: Site,
    ) -> NodeId {
        let nodes = &mut self.graph.regions[region.index()].nodes;
        nodes.push(Node {
            op: Op::Argument {
                shape: shape.clone(),
            },
            operands: Vec::new(),
            shape,
            scope,
            site,
        });
        NodeId::from(nodes.len() - 1)
    }

    /// The node of the current region that stands for `value`; `None` if its region is neither this nor around it.
    pub fn import(&mut self, value: Value) -> Option<NodeId> {
        if value.region == self.here() {
            return Some(value.node);
        }
        let depth = self.depth_of(value.region)?;
        let mut at = value;
        for level in depth..self.open.len() {
            at = self.capture(level, at);
        }
        Some(at.node)
    }

    /// How many loops are open around nodes of `region`; `None` if it is not being built.
    fn depth_of(&self, region: RegionId) -> Option<usize> {
        if region == ROOT {
            return Some(0);
        }
        let at = self.open.iter().position(|open| open.region == region)?;
        Some(at + 1)
    }

    /// The argument of the loop at `level` that stands for `value` of the region around it.
    fn capture(&mut self, level: usize, value: Value) -> Value {
        let region = self.open[level].region;
        let known = self.open[level]
            .captures
            .iter()
            .find(|(outer, _)| *outer == value.node);
        if let Some(&(_, node)) = known {
            return Value { region, node };
        }
        let (shape, scope, site) = self.described(value);
        let node = self.append_argument(region, shape, scope, site);
        self.open[level].captures.push((value.node, node));
        Value { region, node }
    }

    /// Carries a root weight into the current region: sliced by loops that stack weights, captured by others, which may
    /// have it gathered before.
    fn lower_weight(&mut self, weight: Value, site: Site) -> Value {
        let mut at = weight;
        for level in 0..self.open.len() {
            if self.open[level].gathers_weights() {
                for pin in [Pin::Weight, Pin::Activation] {
                    at = self.append_to(at.region, Op::Pin(pin), &[at.node], site);
                }
            }
            at = match self.open[level].stacks_weights {
                true => self.slice(level, at),
                false => self.capture(level, at),
            };
        }
        at
    }

    /// The argument of the loop at `level` that is one slice of `value`, whose first axis is the loop's.
    pub fn slice(&mut self, level: usize, value: Value) -> Value {
        let region = self.open[level].region;
        let known = self.open[level]
            .slices
            .iter()
            .find(|(outer, _)| *outer == value.node);
        if let Some(&(_, node)) = known {
            return Value { region, node };
        }
        let (mut shape, scope, site) = self.described(value);
        shape.axes.remove(0);
        let node = self.append_argument(region, shape, scope, site);
        self.open[level].slices.push((value.node, node));
        Value { region, node }
    }

    fn described(&self, value: Value) -> (Shape, ScopeId, Site) {
        let node = self.graph.region(value.region).node(value.node);
        (node.shape.clone(), node.scope, node.site)
    }

    fn cannot_replace(&self, replaced: &str, value: Value) -> Option<String> {
        let Some(&parameter) = self.parameters.get(replaced) else {
            return Some("it replaces a parameter that does not exist".into());
        };
        let (before, after) = (self.shape(parameter), self.shape(value));
        (before != after).then(|| format!("it replaces {before} by {after}"))
    }

    /// Keeps the first mistake and gives poison.
    pub fn fail(&mut self, what: &str, operands: &[Value], message: String, site: Site) -> Value {
        if self.error.is_none() {
            let operands = operands
                .iter()
                .filter(|value| !value.is_poison())
                .map(|value| {
                    let node = self.graph.region(value.region).node(value.node);
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
                message,
                operands,
                node: None,
            });
        }
        Value::POISON
    }
}
