//! Structured loops: a scan over the slices of stacked tensors, built while it is open.
//!
//! [`Builder::layers`] is what models use. [`Builder::open_loop`] is the general form: carries, slices and emitted
//! values may be added at any time before [`LoopBody::close`], since the loop's node is appended only then.

use std::panic::Location;

use super::builder::{Builder, State, Value};
use super::dtype::DType;
use super::ir::{NodeId, Region, RegionId, ScopeId, Site};
use super::op::{Loop, Op, Remat};
use super::shape::{Axis, Shape};
use super::tensor::Tensor;

/// What mistakes call a loop.
const LOOP: &str = "loop";

/// A loop that is being built.
pub(super) struct OpenLoop {
    pub region: RegionId,
    pub axis: Axis,
    pub options: LoopOptions,
    pub stacks_weights: bool,
    pub index: NodeId,
    pub carries: Vec<Carry>,
    /// Sliced operands: the node outside, the argument inside.
    pub slices: Vec<(NodeId, NodeId)>,
    /// Captured operands: the node outside, the argument inside.
    pub captures: Vec<(NodeId, NodeId)>,
    pub emits: Vec<NodeId>,
    pub scope: ScopeId,
}

impl OpenLoop {
    /// Whether weights declared inside come in as one set, gathered before the loop.
    pub fn gathers_weights(&self) -> bool {
        self.options.gather_weights && !self.stacks_weights
    }
}

/// One carry: its first value outside, its argument inside, its next value inside.
pub(super) struct Carry {
    pub init: NodeId,
    pub arg: NodeId,
    pub next: Option<NodeId>,
}

/// How a loop runs and what its backward pass finds.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoopOptions {
    /// Whether indices run from last to first.
    pub reverse: bool,
    /// What the backward pass finds saved.
    pub remat: Remat,
    /// Whether weights declared inside get the loop's axis before theirs (layers) or are shared by all iterations.
    pub stack_weights: bool,
    /// Whether weights declared inside, if shared, come in placed as activations: gathered once before the loop, and their
    /// gradients summed on each device and over devices once after it, for as much memory as one iteration's weights.
    pub gather_weights: bool,
}

/// The inside of a loop that is being built.
#[derive(Clone, Copy)]
pub struct LoopBody<'g> {
    builder: &'g Builder,
    level: usize,
}

impl Builder {
    /// Runs `body` once for each of `count` layers over a carried tensor. Weights declared in the body have a leading
    /// `layers` axis outside. The body gets the layer's index (`s32`) and the carry, and gives the next carry.
    #[track_caller]
    pub fn layers<'g>(
        &'g self,
        count: usize,
        remat: Remat,
        carry: Tensor<'g>,
        body: impl FnOnce(Tensor<'g>, Tensor<'g>) -> Tensor<'g>,
    ) -> Tensor<'g> {
        let options = LoopOptions {
            remat,
            stack_weights: true,
            ..LoopOptions::default()
        };
        let inside = self.open_loop(Axis::new("layers", count), options);
        let argument = inside.carry(carry);
        let next = body(inside.index(), argument);
        inside.set_next(0, next);
        inside.close()[0]
    }

    /// Opens a loop over `axis`; what is built until it is closed belongs to its body.
    pub fn open_loop(&self, axis: Axis, options: LoopOptions) -> LoopBody<'_> {
        let mut state = self.state.borrow_mut();
        let region = RegionId::from(state.graph.regions.len());
        state.graph.regions.push(Region::default());
        let scope = state.origin.map_or(state.scope, |(scope, _)| scope);
        let index = state.append_argument(region, Shape::scalar(DType::S32), scope, Site::UNKNOWN);
        state.open.push(OpenLoop {
            region,
            axis,
            options,
            stacks_weights: options.stack_weights,
            index,
            carries: Vec::new(),
            slices: Vec::new(),
            captures: Vec::new(),
            emits: Vec::new(),
            scope,
        });
        LoopBody {
            builder: self,
            level: state.open.len() - 1,
        }
    }
}

impl<'g> LoopBody<'g> {
    /// The iteration's index, `s32`.
    pub fn index(self) -> Tensor<'g> {
        let state = self.builder.state.borrow();
        let open = &state.open[self.level];
        let value = Value {
            region: open.region,
            node: open.index,
        };
        self.builder.tensor(value)
    }

    /// Carries a tensor from iteration to iteration, from `init` on; gives its value in this one. Carries are
    /// numbered from 0 in the order of these calls.
    #[track_caller]
    pub fn carry(self, init: Tensor<'g>) -> Tensor<'g> {
        self.operand(init, |state, level, init| {
            let shape = state.shape(init);
            let region = state.open[level].region;
            let scope = state.open[level].scope;
            let arg = state.append_argument(region, shape, scope, Site::UNKNOWN);
            state.open[level].carries.push(Carry {
                init: init.node,
                arg,
                next: None,
            });
            Value { region, node: arg }
        })
    }

    /// One slice of `stack`, whose first axis is the loop's.
    #[track_caller]
    pub fn slice(self, stack: Tensor<'g>) -> Tensor<'g> {
        let site: Site = Location::caller().into();
        let axis = self.builder.state.borrow().open[self.level].axis.clone();
        let shape = stack.shape();
        if shape.axes.first() != Some(&axis) && !stack.is_poison() {
            let message = format!("it slices {shape}, whose first axis is not {axis}");
            return self.builder.fail(LOOP, &[stack], message, site);
        }
        self.operand(stack, |state, level, stack| state.slice(level, stack))
    }

    /// Runs `body` in the region around the loop, as for what a carry found late starts from.
    pub fn outside<T>(self, body: impl FnOnce() -> T) -> T {
        let inner: Vec<_> = self
            .builder
            .state
            .borrow_mut()
            .open
            .drain(self.level..)
            .collect();
        let result = body();
        self.builder.state.borrow_mut().open.extend(inner);
        result
    }

    /// What the carry numbered `carry` is in the next iteration.
    #[track_caller]
    pub fn set_next(self, carry: usize, next: Tensor<'g>) {
        let site: Site = Location::caller().into();
        let Some(next_node) = self.local(next, site) else {
            return;
        };
        let mut state = self.builder.state.borrow_mut();
        let Some(slot) = state.open[self.level].carries.get(carry) else {
            return;
        };
        let region = state.open[self.level].region;
        let arg = Value {
            region,
            node: slot.arg,
        };
        let next = Value {
            region,
            node: next_node,
        };
        let (before, after) = (state.shape(arg), state.shape(next));
        if before != after {
            let message =
                format!("its carry enters an iteration as {before} and leaves it as {after}");
            drop(state);
            let operand = self.builder.tensor(next);
            self.builder.fail(LOOP, &[operand], message, site);
            return;
        }
        state.open[self.level].carries[carry].next = Some(next_node);
    }

    /// Gives `value` out of every iteration, stacked along the loop's axis. Stacks are numbered from 0 and follow the
    /// carries in what [`LoopBody::close`] returns.
    #[track_caller]
    pub fn emit(self, value: Tensor<'g>) {
        if let Some(node) = self.local(value, Location::caller().into()) {
            self.builder.state.borrow_mut().open[self.level]
                .emits
                .push(node);
        }
    }

    /// Closes the loop; gives the last carries, then the stacks. After a mistake all of them are poison.
    #[track_caller]
    pub fn close(self) -> Vec<Tensor<'g>> {
        let site: Site = Location::caller().into();
        let op = self.op();
        let mut state = self.builder.state.borrow_mut();
        let Some(open) = state.open.pop() else {
            return Vec::new();
        };
        let count = open.carries.len() + open.emits.len();
        if state.error.is_none() && open.carries.iter().any(|carry| carry.next.is_none()) {
            state.fail(LOOP, &[], "a carry has no next value".into(), site);
        }
        if state.error.is_some() {
            // Later code may still index the results.
            return vec![self.builder.tensor(Value::POISON); count.max(16)];
        }
        let around = state.here();
        let operands: Vec<_> = (open.carries.iter().map(|carry| carry.init))
            .chain(open.slices.iter().map(|(outer, _)| *outer))
            .chain(open.captures.iter().map(|(outer, _)| *outer))
            .map(|node| Value {
                region: around,
                node,
            })
            .collect();
        let body = &mut state.graph.regions[open.region.index()];
        body.args = [open.index]
            .into_iter()
            .chain(open.carries.iter().map(|carry| carry.arg))
            .chain(open.slices.iter().map(|(_, arg)| *arg))
            .chain(open.captures.iter().map(|(_, arg)| *arg))
            .collect();
        body.results = (open.carries.iter().filter_map(|carry| carry.next))
            .chain(open.emits.iter().copied())
            .collect();
        let results = match self.builder.unrolls() {
            true => super::unroll::unroll(&mut state, &open, &operands),
            false => {
                let node = state.append(op, &operands, site);
                (0..count).map(|index| state.get(node, index)).collect()
            }
        };
        drop(state);
        results
            .into_iter()
            .map(|value| self.builder.tensor(value))
            .collect()
    }

    /// The loop's operation as far as it is known.
    fn op(self) -> Op {
        let state = self.builder.state.borrow();
        let open = &state.open[self.level];
        Op::Loop(Box::new(Loop {
            body: open.region,
            axis: open.axis.clone(),
            reverse: open.options.reverse,
            carries: open.carries.len(),
            slices: open.slices.len(),
            remat: open.options.remat,
        }))
    }

    /// Applies `add` to `outer` as a value of the region around the loop.
    #[track_caller]
    fn operand(
        self,
        outer: Tensor<'g>,
        add: impl FnOnce(&mut State, usize, Value) -> Value,
    ) -> Tensor<'g> {
        if outer.is_poison() {
            return outer;
        }
        // The operand is read outside, so it is imported there and not into the body.
        let (around, imported) = self.outside(|| {
            let mut state = self.builder.state.borrow_mut();
            (state.here(), state.import(outer.value))
        });
        let mut state = self.builder.state.borrow_mut();
        let value = match imported {
            Some(node) => add(
                &mut state,
                self.level,
                Value {
                    region: around,
                    node,
                },
            ),
            None => {
                drop(state);
                let message = "it reads a tensor of its own body from outside".to_string();
                return self
                    .builder
                    .fail(LOOP, &[outer], message, Location::caller().into());
            }
        };
        self.builder.tensor(value)
    }

    /// The body's node for `value`.
    fn local(self, value: Tensor<'g>, site: Site) -> Option<NodeId> {
        if value.is_poison() {
            return None;
        }
        let node = self.builder.state.borrow_mut().import(value.value);
        if node.is_none() {
            let message = "a result belongs to a loop's body that is finished".to_string();
            self.builder.fail(LOOP, &[value], message, site);
        }
        node
    }
}

impl State {
    /// Result `index` of the loop at `node`.
    pub fn get(&mut self, node: Value, index: usize) -> Value {
        if node.is_poison() {
            return node;
        }
        let here = self.graph.region(node.region).node(node.node);
        let (site, scope) = (here.site, here.scope);
        let Op::Loop(spec) = &here.op else {
            return Value::POISON;
        };
        let shape = spec.result_shape(&self.graph, index);
        let before = self.origin.replace((scope, site));
        let value = self.append_to(node.region, Op::Get { index, shape }, &[node.node], site);
        self.origin = before;
        value
    }
}

impl Loop {
    /// The shape of result `index`: a carry as it is, any other stacked.
    pub fn result_shape(&self, graph: &super::ir::Graph, index: usize) -> Shape {
        let body = graph.region(self.body);
        let shape = body.shape(body.results[index]);
        match index < self.carries {
            true => shape.clone(),
            false => shape.stacked(self.axis.clone()),
        }
    }
}
