//! The encoder layer that BERT, ALBERT, ELECTRA and Megatron's BERT share: attention to all positions and a feed-forward
//! layer, each added to its input, with the norm after the sum (Devlin et al. 2019) or before the block (Megatron).

use std::fmt::Display;

use super::context::Context;
use super::layers::{Activation, FeedForward, Heads, Sight, attention, feed_forward, layer_norm};
use super::settings::{SettingError, divides};
use crate::graph::{Axis, LoopOptions, Tensor};

/// What a stack of layers gives.
#[derive(Clone, Copy)]
pub struct Encoded<'g> {
    /// The last layer's result after the final norm, `[batch, length, embed]`.
    pub last: Tensor<'g>,
    /// Each layer's input, `[layers, batch, length, embed]`, if asked for.
    pub inputs: Option<Tensor<'g>>,
}

/// Where the norms of a layer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// After each sum.
    After,
    /// Before each block, and once after the last layer.
    Before,
}

/// Sizes and switches of a stack of layers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Encoder {
    /// The number of layers.
    pub layers: usize,
    /// The size of the residual stream, that of all heads together.
    pub hidden: usize,
    /// The number of heads.
    pub heads: usize,
    /// Hidden units of a feed-forward layer.
    pub mlp: usize,
    /// The function of the feed-forward layers.
    pub activation: Activation,
    /// The base of rotary positions; `None` if the embeddings have positions.
    pub rotary: Option<f64>,
    /// Where the norms are.
    pub norm: Norm,
    /// The epsilon that norms add to the variance.
    pub epsilon: f64,
    /// The dropout rate of a block's result.
    pub dropout: f64,
    /// The dropout rate of attention weights.
    pub attention_dropout: f64,
    /// The standard deviation of the initial kernels.
    pub init: f64,
    /// The same for kernels whose results are added to the residual stream.
    pub output_init: f64,
}

impl Default for Encoder {
    /// BERT's base size, without dropout.
    fn default() -> Self {
        Encoder {
            layers: 12,
            hidden: 768,
            heads: 12,
            mlp: 3072,
            activation: Activation::Gelu,
            rotary: None,
            norm: Norm::After,
            epsilon: 1e-12,
            dropout: 0.0,
            attention_dropout: 0.0,
            init: 0.02,
            output_init: 0.02,
        }
    }
}

impl Encoder {
    /// All layers on `x` `[batch, length, embed]`, each with its own weights. `mask` states which keys are seen, as in
    /// [`super::tokens::Tokens`]. With `inputs`, the result includes each layer's input.
    pub fn stack<'g>(
        &self,
        cx: Context<'g>,
        x: Tensor<'g>,
        mask: Option<Tensor<'g>>,
        inputs: bool,
    ) -> Encoded<'g> {
        let builder = cx.builder;
        builder.scope("encoder", || {
            let mut encoded = builder.scope("layer", || {
                let own = LoopOptions {
                    stack_weights: true,
                    ..LoopOptions::default()
                };
                repeat(cx, self.layers, own, x, inputs, |cx, x| {
                    self.layer(cx, x, mask)
                })
            });
            if self.norm == Norm::Before {
                encoded.last =
                    layer_norm(cx, "final_norm", encoded.last, self.epsilon).pin_residual();
            }
            encoded
        })
    }

    /// One layer in the current scope: `[batch, length, embed]` to the same.
    pub fn layer<'g>(
        &self,
        cx: Context<'g>,
        x: Tensor<'g>,
        mask: Option<Tensor<'g>>,
    ) -> Tensor<'g> {
        let kv = self.hidden / self.heads.max(1);
        let heads = Heads {
            heads: self.heads,
            kv,
            scale: (kv as f64).powf(-0.5),
            rotary: self.rotary,
            biased: true,
            query_init: self.init,
            init: self.init,
            output_init: self.output_init,
        };
        let sight = Sight {
            bias: None,
            mask,
            dropout: self.attention_dropout,
        };
        let x = self.residual(cx, "attention", x, |x| attention(cx, x, x, heads, sight));
        self.residual(cx, "mlp", x, |x| {
            let shape = FeedForward {
                mlp: self.mlp,
                activation: self.activation,
                dropout: 0.0,
                biased: true,
                init: self.init,
                output_init: self.output_init,
            };
            feed_forward(cx, x, shape)
        })
    }

    /// `x` plus `block` of it, normed before or after, in the scope `name`.
    fn residual<'g>(
        &self,
        cx: Context<'g>,
        name: &str,
        x: Tensor<'g>,
        block: impl FnOnce(Tensor<'g>) -> Tensor<'g>,
    ) -> Tensor<'g> {
        let norm = |x| layer_norm(cx, "norm", x, self.epsilon);
        let add = |made| x + cx.dropout(made, self.dropout, "residual");
        cx.builder.scope(name, || {
            let sum = match self.norm {
                // Pinned, so that gradients of queries, keys and values are summed before devices exchange them.
                Norm::After => norm(add(block(x.pin_residual()))),
                Norm::Before => add(block(norm(x))),
            };
            sum.pin_residual().tag("residual")
        })
    }

    /// Refuses settings that do not fit together.
    ///
    /// # Errors
    /// Heads that do not divide the residual stream, or rotary positions with heads of an odd size.
    pub fn check(&self) -> Result<(), SettingError> {
        let (heads, hidden) = (
            ("num_attention_heads", self.heads),
            ("hidden_size", self.hidden),
        );
        divides(heads, hidden)?;
        let even = self.rotary.is_none() || (self.hidden / self.heads).is_multiple_of(2);
        let settings: [(&str, &dyn Display); 2] = [(hidden.0, &hidden.1), (heads.0, &heads.1)];
        SettingError::require(even, settings, || {
            "with rotary positions, hidden_size / num_attention_heads must be even".into()
        })
    }
}

/// Refuses a gated activation as the setting `key`.
///
/// # Errors
/// A gated activation.
pub(super) fn ungated(key: &str, activation: Activation) -> Result<(), SettingError> {
    let name = serde_json::json!(activation);
    SettingError::require(!activation.is_gated(), [(key, &name)], || {
        "feed-forward layers of this family have no gate".into()
    })
}

/// A loop of `count` passes of `body` over `x` `[batch, length, embed]`. `options` states whether the weights that `body`
/// declares are one set per pass or one set for all. Rematerialisation is that of the run.
pub fn repeat<'g>(
    cx: Context<'g>,
    count: usize,
    options: LoopOptions,
    x: Tensor<'g>,
    inputs: bool,
    body: impl FnOnce(Context<'g>, Tensor<'g>) -> Tensor<'g>,
) -> Encoded<'g> {
    let options = LoopOptions {
        remat: cx.remat,
        ..options
    };
    let inside = cx.builder.open_loop(Axis::new("layers", count), options);
    let carried = inside.carry(x);
    let cx = Context {
        shared: (!options.stack_weights).then_some(inside),
        ..cx.at(inside.index())
    };
    let next = body(cx, carried);
    inside.set_next(0, next);
    if inputs {
        inside.emit(carried);
    }
    let results = inside.close();
    Encoded {
        last: results[0],
        inputs: inputs.then(|| results[1]),
    }
}
