//! The layers that families share. Each takes the run, declares its weights in the current scope by name and named
//! axes, and says nothing of a mesh: pins fix the residual stream, heads, hidden units and logits, and rules map them.

use serde::{Deserialize, Serialize};

use super::run::Run;
use crate::graph::{DType, Init, Shape, Tensor};

/// Root-mean-square norm without mean or bias (Zhang and Sennrich 2019), in `f32`: `[.., embed]` to the same.
pub fn rms_norm<'g>(run: Run<'g>, name: &str, x: Tensor<'g>, epsilon: f64) -> Tensor<'g> {
    let builder = run.builder;
    builder.scope(name, || {
        let scale = builder.weight("scale", [("embed", x.size("embed"))], Init::Ones);
        let exact = x.cast(run.policy.exact());
        let variance = (exact * exact).mean(["embed"]);
        let normed = exact * (variance + epsilon).rsqrt();
        (normed * scale.cast(run.policy.exact())).cast(run.policy.compute())
    })
}

/// The rows of the table `[vocab, embed]` for whole-number `ids`: `[.., embed]`.
///
/// Written as a product with ones: protein vocabularies have tens of rows, and on a TPU a product and its gradient are
/// faster than a gather and a scatter of so few.
pub fn embed<'g>(run: Run<'g>, table: Tensor<'g>, ids: Tensor<'g>) -> Tensor<'g> {
    let dtype = run.policy.compute();
    let hot = ids.one_hot("vocab", table.size("vocab"), dtype);
    hot.dot(table.cast(dtype), ["vocab"]).pin_residual()
}

/// Softmax over `axis`, in the exact type.
pub fn softmax<'g>(scores: Tensor<'g>, axis: &str) -> Tensor<'g> {
    let top = scores.max([axis]).detach();
    let powers = (scores - top).exp();
    powers / powers.sum([axis])
}

/// Sizes of one attention layer.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// How many heads.
    pub heads: usize,
    /// The size of each head's queries, keys and values.
    pub kv: usize,
    /// The deviation of the query weights' first values; families scale queries differently.
    pub query_init: f64,
}

/// What attention sees of the other positions.
#[derive(Clone, Copy)]
pub struct Sight<'g> {
    /// Added to the scores, `[heads, length, keys]`.
    pub bias: Option<Tensor<'g>>,
    /// Which positions are seen, `pred` of axes among `[batch, length, keys]`.
    pub mask: Option<Tensor<'g>>,
    /// How often a weight of the attention is dropped.
    pub dropout: f64,
}

/// Multi-head attention without biases or scaling of the scores (T5): `x` `[batch, length, embed]` looks at `context`
/// `[batch, length', embed]`; gives `[batch, length, embed]`.
pub fn attention<'g>(
    run: Run<'g>,
    x: Tensor<'g>,
    context: Tensor<'g>,
    shape: Heads,
    sight: Sight<'g>,
) -> Tensor<'g> {
    let builder = run.builder;
    let dtype = run.policy.compute();
    let (embed, Heads { heads, kv, .. }) = (x.size("embed"), shape);
    let fan_in = (embed as f64).powf(-0.5);
    let project = |name: &str, of: Tensor<'g>, init: f64| {
        builder.scope(name, || {
            let axes = [("embed", embed), ("heads", heads), ("kv", kv)];
            let weight = builder.weight("kernel", axes, Init::Normal(init));
            of.dot(weight.cast(dtype), ["embed"]).pin()
        })
    };
    let query = project("q", x, shape.query_init);
    let key = project("k", context, fan_in).rename("length", "keys");
    let value = project("v", context, fan_in).rename("length", "keys");
    // Scores and their mix stay split by heads; left free, the gradient of the residual stream (split by positions)
    // would pull them over to its own split and back.
    let mut scores = builder.scope("scores", || {
        query.dot_as(key, ["kv"], run.policy.exact()).pin()
    });
    let weights = builder.scope("softmax", || {
        if let Some(bias) = sight.bias {
            scores = scores + bias.cast(run.policy.exact());
        }
        if let Some(mask) = sight.mask {
            // The most negative finite number, so that a row with nothing to see is a mean and not NaN.
            scores = mask
                .broadcast(scores.shape().axes)
                .select(scores, scores.constant(f64::from(f32::MIN)));
        }
        run.dropout(softmax(scores, "keys"), sight.dropout, "weights")
            .cast(dtype)
    });
    let mixed = builder.scope("mix", || weights.dot(value, ["keys"]).pin());
    builder.scope("o", || {
        let axes = [("heads", heads), ("kv", kv), ("embed", embed)];
        let init = Init::Normal(((heads * kv) as f64).powf(-0.5));
        let weight = builder.weight("kernel", axes, init);
        mixed
            .dot(weight.cast(dtype), ["heads", "kv"])
            .pin_residual()
    })
}

/// Functions between the two products of a feed-forward layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// The gaussian error linear unit in its tanh form (Hendrycks and Gimpel 2016), times a second projection.
    GatedGelu,
}

/// A feed-forward layer without biases: `[.., embed]` to the same, by way of `mlp` hidden units.
pub fn feed_forward<'g>(
    run: Run<'g>,
    x: Tensor<'g>,
    mlp: usize,
    activation: Activation,
    dropout: f64,
) -> Tensor<'g> {
    let builder = run.builder;
    let dtype = run.policy.compute();
    let embed = x.size("embed");
    let project = |name: &str| {
        builder.scope(name, || {
            let init = Init::Normal((embed as f64).powf(-0.5));
            let weight = builder.weight("kernel", [("embed", embed), ("mlp", mlp)], init);
            x.dot(weight.cast(dtype), ["embed"]).pin()
        })
    };
    let hidden = match activation {
        Activation::Relu => {
            let hidden = project("wi");
            hidden.maximum(hidden.constant(0.0))
        }
        Activation::GatedGelu => gelu_tanh(project("wi_0")) * project("wi_1"),
    };
    let hidden = run.dropout(hidden, dropout, "hidden");
    builder.scope("wo", || {
        let init = Init::Normal((mlp as f64).powf(-0.5));
        let weight = builder.weight("kernel", [("mlp", mlp), ("embed", embed)], init);
        hidden.dot(weight.cast(dtype), ["mlp"]).pin_residual()
    })
}

/// The tanh form of the gaussian error linear unit.
pub fn gelu_tanh(x: Tensor<'_>) -> Tensor<'_> {
    let inner = (x + x * x * x * 0.044715) * (2.0 / std::f64::consts::PI).sqrt();
    x * 0.5 * (inner.tanh() + 1.0)
}

/// The sum of the cross-entropies of `logits` `[.., vocab]` at `labels` (`s32`, the other axes) where `counted` holds,
/// and how many those are, both scalars of the logits' type.
pub fn cross_entropy<'g>(
    logits: Tensor<'g>,
    labels: Tensor<'g>,
    counted: Tensor<'g>,
) -> (Tensor<'g>, Tensor<'g>) {
    let top = logits.max(["vocab"]).detach();
    let shifted = logits - top;
    let normalizer = shifted.exp().sum(["vocab"]).log();
    let hot = labels.one_hot("vocab", logits.size("vocab"), logits.dtype());
    let label = (shifted * hot).sum(["vocab"]);
    let losses = counted.select(normalizer - label, normalizer.constant(0.0));
    (losses.sum_all(), counted.cast(logits.dtype()).sum_all())
}

/// Whether key position `keys` is not after position `length`: `pred[length, keys]`.
pub fn causal<'g>(run: Run<'g>, length: usize) -> Tensor<'g> {
    let shape = Shape::new(DType::S32, [("length", length), ("keys", length)]);
    let builder = run.builder;
    builder
        .iota("keys", shape.clone())
        .le(builder.iota("length", shape))
}
