//! The graph DSL and its IR: what a model is before anything is known of the machine that runs it.
//!
//! # What a graph is
//!
//! A [`Graph`] is a program that is run whole: parameters go in, named outputs come out, and nothing else happens. It is
//! a list of **regions**. Region 0, the root, is the program; every other region is the body of one loop. A region is a
//! list of [`Node`]s, and a node is an operation ([`Op`]), the nodes of the same region that it reads, all of them earlier,
//! and the [`Shape`] that it gives. So one sweep from first to last meets every value before its users, and that is how
//! shapes are inferred, programs printed, lowered and counted. Ids are small numbers; passes keep what they find in
//! vectors indexed by them and add no field to nodes.
//!
//! **Axes have names, not positions.** `x.dot(w, ["embed"])` sums over `embed`; other names that both operands have are
//! batch axes; an elementwise operand whose axes are not among the other's is a mistake. A name is also the logical name
//! that sharding rules map to the mesh, so a model never mentions one.
//!
//! A **parameter** is an input of the program, with a [`Role`] that says what it is for: a weight or its optimizer
//! state, which an output may replace in place, the step, the seed, or a part of the batch. Parameters stand in the root.
//!
//! A **scope** is the model's own path for a node (`encoder/layer/attention`). It names weights, labels reports, and
//! becomes the metadata of the HLO. Nodes of the backward pass stand below `gradient/` and `recompute/`.
//!
//! A **loop** is a scan, [`op::Loop`]: its body runs once for each index of an axis. It *carries* values from one iteration
//! to the next, takes *slices* of stacked tensors (a layer's part of all layers' weights), *captures* what it reads from
//! around, and gives the last carries and *stacks* of what each iteration emits. Bodies are closed: all that one
//! reads comes in as an argument. The builder captures by itself, when a body uses a tensor of a region around it.
//!
//! A **pin** fixes how a tensor lies on the mesh, by the rules for weights or for activations. It changes no number.
//!
//! # From model code to a program
//!
//! 1. Model code calls a [`Builder`] through [`Tensor`] handles. A mistake is kept, with shapes, scopes and the caller's
//!    line, and what depends on it is poisoned; [`Builder::finish`] gives the graph or the first mistake ([`GraphError`]).
//!    Handles know what they belong to: a tensor of another builder, or a loop that is closed, is a mistake too.
//! 2. [`Builder::gradients`] appends the backward pass to the same graph (`autodiff`). A loop's gradient is a loop that
//!    runs the other way, and finds saved what its [`Remat`] policy says.
//! 3. [`Graph::check`] proves the graph well formed and gives a [`Checked`] one, which all that follows asks for: lowering,
//!    cost and sharding.
//! 4. [`Checked::compact`] drops what no output needs and puts the rest in an order that does not depend on it.
//!    [`Builder::compact`] is the way from a builder to there.
//!
//! # What is known after the check
//!
//! - Every id refers to a node or a scope that is there, and operands are earlier nodes of the same region.
//! - Every node's shape is the one that the rules of `infer` give, so each of their numbered constraints holds: no
//!   tensor has an empty axis, two axes of one name, or more bytes than 63 bits count.
//! - Every loop has a body of its own, whose arguments, carries and stacks fit the loop's operands and results.
//! - Only `get` reads a loop, and only loops give several values.
//! - Parameters have names of their own, and so have outputs. An output that replaces a parameter has its shape, and no
//!   other replaces it.
//!
//! After it, a pass may refuse a graph (an axis that no rule maps), but it may not panic. That the numbers mean
//! anything is not checked: that is what the tests of gradients, loops and models are for.
//!
//! [`Graph::to_text`] and [`Graph::from_text`] write and read a graph line by line (`text`), and [`check::render`] shows
//! mistakes under their lines. `docs/add-an-op.md` says what a new operation takes.

pub mod autodiff;
pub mod builder;
pub mod check;
mod compact;
pub mod cost;
pub mod dtype;
pub mod error;
mod id;
pub mod infer;
pub mod init;
pub mod ir;
pub mod loops;
pub mod op;
pub mod policy;
pub mod random;
mod recorder;
mod scopes;
pub mod shape;
mod shape_error;
mod tensor;
pub mod text;
mod unroll;

pub use builder::{Builder, Tensor};
pub use check::Checked;
pub use cost::{Cost, Flops, cost};
pub use dtype::DType;
pub use error::{GraphError, Problem};
pub use init::Init;
pub use ir::{Graph, Node, NodeId, Region, RegionId, ScopeId, Site};
pub use loops::LoopBody;
pub use op::{Op, Pin, Remat, Role};
pub use policy::Policy;
pub use random::Key;
pub use recorder::{LoopOptions, Weight};
pub use shape::{Axis, AxisName, Shape};
pub use shape_error::ShapeError;
pub use text::ParseError;
