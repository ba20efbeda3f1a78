//! Records a graph. The builder keeps the first mistake and continues with poisoned tensors, so model code needs no `?`
//! on every line. [`Builder::finish`] returns the mistake with shapes, scopes and lines.
//!
//! A [`Tensor`] is a value of one builder. Every operand passes through `Builder::own`, which refuses those of another
//! builder.

use std::cell::RefCell;
use std::panic::Location;

use super::dtype::DType;
use super::error::{GraphError, Problem};
use super::init::Init;
use super::ir::{Graph, Output, ROOT, ScopeId, Scopes, Site};
use super::op::{Op, Pin, Role};
use super::recorder::{LOOP, Recorder, Value, Weight};
use super::shape::{Axis, Shape};

/// Records nodes into a [`Graph`].
#[derive(Default)]
pub struct Builder {
    pub(super) recorder: RefCell<Recorder>,
}

/// A value of the graph being built. Small and `Copy`; all work is recorded in its builder.
#[derive(Clone, Copy)]
pub struct Tensor<'g> {
    builder: &'g Builder,
    pub(super) value: Value,
}

impl std::fmt::Debug for Tensor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Value { region, node } = self.value;
        write!(f, "{region}{node}: {}", self.shape())
    }
}

impl<'g> Tensor<'g> {
    /// The shape; a scalar after a mistake.
    pub fn shape(self) -> Shape {
        self.builder.recorder.borrow().shape(self.value)
    }

    /// The element type.
    pub fn dtype(self) -> DType {
        self.shape().dtype
    }

    /// The graph that records this.
    pub fn builder(self) -> &'g Builder {
        self.builder
    }

    /// Whether this has no value because of an earlier mistake.
    pub fn is_poison(self) -> bool {
        self.value.is_poison()
    }
}

impl Builder {
    /// An empty graph.
    pub fn new() -> Self {
        Builder::default()
    }

    /// Sets whether loops are unrolled instead of kept as loops. Both give the same numbers.
    pub fn set_unroll(&self, unroll: bool) {
        self.recorder.borrow_mut().unroll = unroll;
    }

    /// An input of the program called `name`.
    #[track_caller]
    pub fn input(&self, name: &str, role: Role, shape: Shape) -> Tensor<'_> {
        let site = Location::caller().into();
        let mut recorder = self.recorder.borrow_mut();
        self.tensor(recorder.parameter(name, role, shape, site))
    }

    /// The weight `name` of the current scope with one layer's `axes`. Within `layers` loops its parameter has the
    /// loops' axes before these. A second call for the same weight returns the same weight; another shape or `init` is a
    /// mistake.
    #[track_caller]
    pub fn weight<A: Into<Axis>>(
        &self,
        name: &str,
        axes: impl IntoIterator<Item = A>,
        init: Init,
    ) -> Tensor<'_> {
        let site = Location::caller().into();
        let axes: Vec<Axis> = axes.into_iter().map(Into::into).collect();
        let value = {
            let mut recorder = self.recorder.borrow_mut();
            let path = recorder.graph.scopes.path(recorder.scope);
            let stacks: Vec<_> = (recorder.open.iter())
                .filter(|open| open.options.stack_weights)
                .map(|open| open.axis.clone())
                .collect();
            let weight = Weight {
                name: join(&path, name),
                node: Value::POISON.node,
                stacked: stacks.len(),
                shape: Shape::new(DType::F32, stacks.into_iter().chain(axes)),
                init,
            };
            recorder.weight(weight, site)
        };
        self.push(Op::Pin(Pin::Weight), &[self.tensor(value)], site)
    }

    /// The weights declared so far, in order.
    pub fn weights(&self) -> Vec<Weight> {
        self.recorder.borrow().weights.clone()
    }

    /// The whole parameter of `weight` (all layers), as seen from here. It is a mistake if this builder has declared no
    /// weight of this name and shape.
    #[track_caller]
    pub fn whole(&self, weight: &Weight) -> Tensor<'_> {
        let known = self.recorder.borrow().whole(weight);
        match known {
            Some(value) => self.tensor(value),
            None => {
                let problem = format!("there is no weight `{}` of {}", weight.name, weight.shape);
                self.fail("whole", &[], problem, Location::caller().into())
            }
        }
    }

    /// Runs `body` with `name` appended to the scope path.
    pub fn scope<T>(&self, name: &str, body: impl FnOnce() -> T) -> T {
        let scope = {
            let recorder = &mut *self.recorder.borrow_mut();
            let scopes = &mut recorder.graph.scopes;
            name.split('/')
                .fold(recorder.scope, |parent, part| scopes.child(parent, part))
        };
        self.within(scope, body)
    }

    /// Runs `body` with the empty scope path, for what belongs to the whole model (a shared embedding).
    pub fn at_root_scope<T>(&self, body: impl FnOnce() -> T) -> T {
        self.within(Scopes::ROOT, body)
    }

    fn within<T>(&self, scope: ScopeId, body: impl FnOnce() -> T) -> T {
        let before = std::mem::replace(&mut self.recorder.borrow_mut().scope, scope);
        let _restored = Restored(&self.recorder, before);
        body()
    }

    /// The current scope path.
    pub fn path(&self) -> String {
        let recorder = self.recorder.borrow();
        recorder.graph.scopes.path(recorder.scope)
    }

    /// Makes `tensor` the program's output `name`.
    #[track_caller]
    pub fn output(&self, name: &str, tensor: Tensor<'_>) {
        self.declare_output(name, tensor, None);
    }

    /// Makes `tensor` the next value of the parameter `replaces`, an output that takes over its memory.
    #[track_caller]
    pub fn update(&self, replaces: &str, tensor: Tensor<'_>) {
        self.declare_output(replaces, tensor, Some(replaces.to_string()));
    }

    #[track_caller]
    fn declare_output(&self, name: &str, tensor: Tensor<'_>, replaces: Option<String>) {
        let site = Location::caller().into();
        let what = format!("output `{name}`");
        let value = self.own(&what, tensor, site);
        if value.is_poison() {
            return;
        }
        let mut recorder = self.recorder.borrow_mut();
        let problem = if value.region != ROOT {
            Some(
                "it belongs to a loop's body; only tensors outside of loops can be outputs"
                    .to_string(),
            )
        } else if recorder.graph.outputs.iter().any(|it| it.name == name) {
            Some("there is already an output of that name".to_string())
        } else {
            replaces
                .as_ref()
                .and_then(|replaced| recorder.cannot_replace(replaced, value))
        };
        if let Some(problem) = problem {
            recorder.fail(&what, &[value], problem, site);
            return;
        }
        recorder.graph.outputs.push(Output {
            name: name.to_string(),
            node: value.node,
            replaces,
        });
    }

    /// The graph.
    ///
    /// # Errors
    /// The first mistake. A loop that is still open is a mistake.
    pub fn finish(self) -> Result<Graph, GraphError> {
        let mut recorder = self.recorder.into_inner();
        if let Some(open) = recorder.open.last() {
            let (scope, site) = (open.scope, open.site);
            recorder.on_behalf_of(scope, site, |recorder| {
                recorder.fail(LOOP, &[], "it is never closed", site)
            });
        }
        match recorder.error {
            Some(error) => Err(error),
            None => Ok(recorder.graph),
        }
    }

    /// The first mistake so far, if any.
    pub fn error(&self) -> Option<GraphError> {
        self.recorder.borrow().error.clone()
    }

    pub(super) fn tensor(&self, value: Value) -> Tensor<'_> {
        Tensor {
            builder: self,
            value,
        }
    }

    /// The value of an operand of `what`. An operand of another builder is a mistake and becomes poison.
    pub(super) fn own(&self, what: &str, tensor: Tensor<'_>, site: Site) -> Value {
        if std::ptr::eq(self, tensor.builder) {
            return tensor.value;
        }
        let problem = format!(
            "it reads {}, which belongs to another builder's graph",
            tensor.shape()
        );
        self.recorder.borrow_mut().fail(what, &[], problem, site)
    }

    /// Appends `op` to the region being built; operands of outer regions are captured.
    pub(super) fn push(&self, op: Op, operands: &[Tensor<'_>], site: Site) -> Tensor<'_> {
        let own = |tensor: &Tensor<'_>| self.own(op.name(), *tensor, site);
        let operands: Vec<_> = operands.iter().map(own).collect();
        let value = self.recorder.borrow_mut().append(op, &operands, site);
        self.tensor(value)
    }

    /// Records a mistake.
    pub(super) fn fail(
        &self,
        what: &str,
        operands: &[Tensor<'_>],
        problem: impl Into<Problem>,
        site: Site,
    ) -> Tensor<'_> {
        let own = |tensor: &Tensor<'_>| self.own(what, *tensor, site);
        let operands: Vec<_> = operands.iter().map(own).collect();
        let mut recorder = self.recorder.borrow_mut();
        self.tensor(recorder.fail(what, &operands, problem, site))
    }

    /// Runs `body` so that its nodes belong to `scope` and `site` instead of to the caller.
    pub(super) fn on_behalf_of<T>(
        &self,
        scope: ScopeId,
        site: Site,
        body: impl FnOnce() -> T,
    ) -> T {
        let before = self.recorder.borrow_mut().origin.replace((scope, site));
        let result = body();
        self.recorder.borrow_mut().origin = before;
        result
    }
}

/// Restores a scope when dropped, even if model code panics and the panic is caught further out.
struct Restored<'b>(&'b RefCell<Recorder>, ScopeId);

impl Drop for Restored<'_> {
    fn drop(&mut self) {
        if let Ok(mut recorder) = self.0.try_borrow_mut() {
            recorder.scope = self.1;
        }
    }
}

fn join(path: &str, name: &str) -> String {
    match path.is_empty() {
        true => name.to_string(),
        false => format!("{path}/{name}"),
    }
}
