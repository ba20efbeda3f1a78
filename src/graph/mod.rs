//! The graph DSL and its IR: a model before anything is known of the machine that runs it.
//!
//! # What a graph is
//!
//! A [`Graph`] is a program that runs as a whole: parameters go in, named outputs come out, and there are no other effects.
//! It is a list of **regions**. Region 0, the root, is the program; every other region is the body of one loop. A region is
//! a list of [`Node`]s. A node has an operation ([`Op`]), operands (earlier nodes of the same region) and the [`Shape`] of
//! its result. One sweep from first to last therefore meets every value before its users. Shape inference, printing,
//! lowering and cost all work this way. Ids are small numbers; passes keep their results in vectors indexed by them and
//! add no fields to nodes.
//!
//! **Axes have names, not positions.** `x.dot(w, ["embed"])` sums over `embed`; other names that both operands have are
//! batch axes. In an elementwise operation, one operand must have all axes of the other. Sharding rules map the same names
//! to the mesh, so a model never mentions a mesh.
//!
//! A **parameter** is an input of the program. Its [`Role`] is its purpose: a weight or its optimizer state (which an
//! output may replace in place), the step, the seed, or a part of the batch. Parameters are only in the root.
//!
//! A **scope** is the model's own path for a node (`encoder/layer/attention`). It names weights, labels reports, and
//! becomes the metadata of the HLO. Nodes of the backward pass are below `gradient/` and `recompute/`.
//!
//! A **loop** is a scan, [`op::Loop`]: its body runs once for each index of an axis. It *carries* values from one iteration
//! to the next, takes *slices* of stacked tensors (one layer's part of all layers' weights) and *captures* values from the
//! regions around it. It returns the last carries and *stacks* of what each iteration emits. Bodies are closed: all that a
//! body reads comes in as an argument. The builder adds a capture when a body uses a tensor of a region around it.
//!
//! A **pin** fixes how a tensor is sharded, by the rules for weights or for activations. It changes no number.
//!
//! # From model code to a program
//!
//! 1. Model code calls a [`Builder`] through [`Tensor`] handles. The builder keeps the first mistake with shapes, scopes and
//!    the caller's line, and poisons what depends on it. [`Builder::finish`] returns the graph or that mistake
//!    ([`GraphError`]). Using a tensor of another builder, or a closed loop, is a mistake too.
//! 2. [`Builder::gradients`] appends the backward pass to the same graph (`autodiff`). A loop's gradient is a loop that
//!    runs the other way, with the values saved that its [`Remat`] policy selects.
//! 3. [`Graph::check`] proves the graph well formed and returns a [`Checked`] one, as lowering, cost and sharding require.
//! 4. [`Checked::compact`] drops what no output needs. The order of the rest does not depend on what was dropped.
//!    [`Builder::compact`] finishes a builder and does steps 3 and 4.
//!
//! # What the check guarantees
//!
//! - Every id refers to an existing node or scope, and operands are earlier nodes of the same region.
//! - Every node's shape follows the rules of `infer`, so each of their numbered constraints holds: no tensor has an empty
//!   axis, two axes of one name, or more bytes than 63 bits count.
//! - Every loop has its own body, whose arguments, carries and stacks fit the loop's operands and results.
//! - Only `get` reads a loop, and only loops give several values.
//! - No two parameters share a name, and no two outputs do. An output that replaces a parameter has its shape, and no
//!   other output replaces it.
//!
//! After the check, a pass may refuse a graph (an axis that no rule maps), but it may not panic. The check does not cover
//! what the numbers mean: the tests of gradients, loops and models do.
//!
//! [`Graph::to_text`] and [`Graph::from_text`] write and read a graph line by line (`text`), and [`check::render`] shows
//! mistakes under their lines. `docs/add-an-op.md` explains how to add an operation.

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
