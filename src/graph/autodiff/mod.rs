//! Reverse-mode differentiation, graph to graph: one sweep from the loss back over the nodes it depends on. Each node
//! passes the gradient of its result to its operands by its rule in `rules`.
//!
//! `Forward` provides a node's forward value. At the loss's own level it is the node's own value; in a loop's backward
//! pass the forward loop saved the value, or it is computed again, by the loop's policy (`loops`).
//! Gradient nodes are in scopes below `gradient/`, recomputed ones below `recompute/`.

mod flow;
mod loops;
mod recompute;
mod rules;
mod sum;
mod sweep;

use std::panic::Location;

use self::sweep::{Forward, Sweep};
use super::builder::{Builder, Tensor};
use super::ir::{NodeId, Site};
use super::recorder::Value;

/// The name of the pass in mistakes.
const GRADIENTS: &str = "gradients";

impl Builder {
    /// Returns the gradient of the scalar `loss` for each tensor of `wrt`, with that tensor's shape and type. It is zero
    /// for a tensor that the loss does not depend on.
    ///
    /// `loss` belongs to the region being built; `wrt` may belong to one around it (weights, as seen from inside a loop
    /// over microbatches).
    #[track_caller]
    pub fn gradients<'g>(&'g self, loss: Tensor<'g>, wrt: &[Tensor<'g>]) -> Vec<Tensor<'g>> {
        let site = Location::caller().into();
        match self.differentiable(loss, wrt, site) {
            Some((loss, targets)) => self.sweep(loss, &targets, wrt),
            None => vec![self.tensor(Value::POISON); wrt.len()],
        }
    }

    /// The nodes of `loss` and of `wrt` in the region being built; `None` after a mistake.
    fn differentiable(
        &self,
        loss: Tensor<'_>,
        wrt: &[Tensor<'_>],
        site: Site,
    ) -> Option<(Value, Vec<NodeId>)> {
        let own = |tensor: &Tensor<'_>| self.own(GRADIENTS, *tensor, site);
        let value = own(&loss);
        let targets: Vec<_> = wrt.iter().map(own).collect();
        let fail = |problem: String| {
            self.fail(GRADIENTS, &[loss], problem, site);
            None
        };
        if value.is_poison() || targets.iter().any(|target| target.is_poison()) {
            return None;
        }
        let shape = loss.shape();
        if shape.rank() != 0 || !shape.dtype.is_float() {
            return fail(format!("the loss must be one float, not {shape}"));
        }
        let whole = wrt.iter().find(|tensor| !tensor.dtype().is_float());
        if let Some(tensor) = whole {
            let shape = tensor.shape();
            return fail(format!("only floats have them, not {shape}"));
        }
        let (targets, loss_here, here) = {
            let mut recorder = self.recorder.borrow_mut();
            let targets = targets.iter().map(|target| recorder.import(*target));
            let targets: Option<Vec<_>> = targets.collect();
            (targets, recorder.import(value), recorder.here())
        };
        let Some(targets) = targets else {
            return fail("a tensor of `wrt` belongs to the body of a closed loop".into());
        };
        if loss_here.is_none() {
            return fail("the loss belongs to the body of a closed loop".into());
        }
        if value.region != here {
            return fail("the loss belongs to a loop around this one".into());
        }
        Some((value, targets))
    }

    #[track_caller]
    fn sweep<'g>(&'g self, loss: Value, targets: &[NodeId], wrt: &[Tensor<'g>]) -> Vec<Tensor<'g>> {
        let one = self.constant(1.0, self.tensor(loss).dtype());
        let mut sweep = Sweep::new(self, loss.region, targets, Forward::Here);
        sweep.accumulate(loss.node, one);
        sweep.run();
        let gradients = targets.iter().zip(wrt);
        gradients
            .map(|(target, tensor)| {
                let known = sweep.gradient(*target);
                known.unwrap_or_else(|| self.full(0.0, tensor.shape()))
            })
            .collect()
    }
}
