//! The context of the step that a layer is built for, `cx` in model code.

use super::lora::LowRank;
use crate::graph::{Axis, Builder, DType, Init, Key, LoopBody, Policy, Remat, Tensor};

/// The builder, the element types, what loops save, and the key of dropout.
#[derive(Clone, Copy)]
pub struct Context<'g> {
    /// Records the graph.
    pub builder: &'g Builder,
    /// The element types of computation.
    pub policy: Policy,
    /// What loops over layers save for the backward pass.
    pub remat: Remat,
    /// The key of this step's randomness; `None` leaves dropout out.
    pub key: Option<Key<'g>>,
    /// The loop whose passes share their weights, if the layer is inside one (ALBERT).
    pub shared: Option<LoopBody<'g>>,
    /// A low-rank change of linear layers, if any.
    pub low_rank: Option<&'g LowRank>,
}

impl<'g> Context<'g> {
    /// A context without dropout.
    pub fn new(builder: &'g Builder, policy: Policy) -> Self {
        Context {
            builder,
            policy,
            remat: Remat::Full,
            key: None,
            shared: None,
            low_rank: None,
        }
    }

    /// The same context with another key, such as that of one layer of a loop; `index` is `s32[]`.
    #[track_caller]
    pub fn at(self, index: Tensor<'g>) -> Self {
        Context {
            key: self.key.map(|key| key.fold(index)),
            ..self
        }
    }

    /// The weight `name` of the current scope, in the element type `dtype`.
    ///
    /// A weight that all passes of a loop share is gathered once, before the loop. Its gradient is then summed over devices
    /// once, after the loop: XLA moves the sum there if nothing splits the tensor inside.
    #[track_caller]
    pub fn weight<A: Into<Axis>>(
        self,
        name: &str,
        axes: impl IntoIterator<Item = A>,
        init: Init,
        dtype: DType,
    ) -> Tensor<'g> {
        let weight = || self.builder.weight(name, axes, init).cast(dtype);
        match self.shared {
            Some(passes) => passes.outside(|| weight().pin()),
            None => weight(),
        }
    }

    /// Drops elements of `tensor` at `rate`, with the stream `name` of the current scope.
    #[track_caller]
    pub fn dropout(self, tensor: Tensor<'g>, rate: f64, name: &str) -> Tensor<'g> {
        match self.key {
            Some(key) if rate > 0.0 => {
                let builder = self.builder;
                builder.scope(name, || {
                    builder.dropout(tensor, rate, key.stream("dropout"))
                })
            }
            _ => tensor,
        }
    }
}
