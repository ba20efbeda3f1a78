//! The layers that families share. Each takes the context and declares its weights in the current scope, by name and
//! named axes. None mentions a mesh: pins fix the residual stream, heads, hidden units and logits, and rules map them.

use serde::{Deserialize, Serialize};

use super::context::Context;
use super::rotary::rotate;
use crate::graph::{DType, Init, Shape, Tensor};

/// Root-mean-square norm without mean or bias (Zhang and Sennrich 2019), in `f32`: `[.., embed]` to the same.
pub fn rms_norm<'g>(cx: Context<'g>, name: &str, x: Tensor<'g>, epsilon: f64) -> Tensor<'g> {
    let builder = cx.builder;
    builder.scope(name, || {
        let axes = [("embed", x.size("embed"))];
        let scale = cx.weight("scale", axes, Init::Ones, cx.policy.exact());
        let exact = x.cast(cx.policy.exact());
        let variance = (exact * exact).mean(["embed"]);
        let normed = exact * (variance + epsilon).rsqrt();
        (normed * scale).cast(cx.policy.compute())
    })
}

/// The rows of the table `[vocab, embed]` for integer `ids`: `[.., embed]`.
///
/// It is a product with one-hot rows. Protein vocabularies have tens of rows, and on a TPU a product and its gradient are
/// then faster than a gather and a scatter.
pub fn embed<'g>(cx: Context<'g>, table: Tensor<'g>, ids: Tensor<'g>) -> Tensor<'g> {
    let dtype = cx.policy.compute();
    let hot = ids.one_hot("vocab", table.size("vocab"), dtype);
    hot.dot(table.cast(dtype), ["vocab"]).pin_residual()
}

/// `table` without the gradient of row `row` along `axis`: a look-up of the padding id trains nothing, while the same row of
/// a tied output layer is trained.
pub fn freeze_row<'g>(table: Tensor<'g>, axis: &str, row: i32) -> Tensor<'g> {
    let shape = Shape::new(DType::S32, table.shape().axes);
    let rows = table.builder().iota(axis, shape);
    let frozen = rows.eq(rows.constant(f64::from(row)));
    frozen.select(table.detach(), table)
}

/// Softmax over `axis`, in the exact type.
pub fn softmax<'g>(scores: Tensor<'g>, axis: &str) -> Tensor<'g> {
    let top = scores.max([axis]).detach();
    let powers = (scores - top).exp();
    powers / powers.sum([axis])
}

/// The logarithm of the softmax over `axis`.
pub fn log_softmax<'g>(logits: Tensor<'g>, axis: &str) -> Tensor<'g> {
    let shifted = logits - logits.max([axis]).detach();
    shifted - shifted.exp().sum([axis]).log()
}

/// Layer norm (Ba et al. 2016) with scale and bias, in the exact type: `[.., embed]` to the same.
pub fn layer_norm<'g>(cx: Context<'g>, name: &str, x: Tensor<'g>, epsilon: f64) -> Tensor<'g> {
    layer_norm_along(cx, name, x, "embed", epsilon)
}

/// [`layer_norm`] along `axis`.
pub fn layer_norm_along<'g>(
    cx: Context<'g>,
    name: &str,
    x: Tensor<'g>,
    axis: &str,
    epsilon: f64,
) -> Tensor<'g> {
    let builder = cx.builder;
    builder.scope(name, || {
        let axes = [(axis, x.size(axis))];
        let exact = cx.policy.exact();
        let scale = cx.weight("scale", axes, Init::Ones, exact);
        let bias = cx.weight("bias", axes, Init::Zeros, exact);
        let centered = x.cast(exact) - x.cast(exact).mean([axis]);
        let variance = (centered * centered).mean([axis]);
        let normed = centered * (variance + epsilon).rsqrt();
        (normed * scale + bias).cast(cx.policy.compute())
    })
}

/// A linear layer in one line:
/// `Linear::new("q", init).activation().of(cx, x, &["embed"], &[("heads", 16), ("kv", 64)])`.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'n> {
    name: &'n str,
    init: f64,
    biased: bool,
    place: Placed,
}

/// How the result of a linear layer is sharded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placed {
    /// As the compiler chooses.
    Free,
    /// As an activation, by heads and hidden units.
    Activation,
    /// As the residual stream.
    Residual,
}

impl<'n> Linear<'n> {
    /// The layer in the scope `name`. Its kernel starts with standard deviation `init` and its bias at zero. The compiler
    /// shards its result.
    pub fn new(name: &'n str, init: f64) -> Self {
        Linear {
            name,
            init,
            biased: true,
            place: Placed::Free,
        }
    }

    /// The same with or without a bias.
    pub fn biased(self, biased: bool) -> Self {
        Linear { biased, ..self }
    }

    /// The same with its result sharded as an activation, by heads and hidden units.
    pub fn activation(self) -> Self {
        let place = Placed::Activation;
        Linear { place, ..self }
    }

    /// The same with its result sharded as the residual stream.
    pub fn residual(self) -> Self {
        let place = Placed::Residual;
        Linear { place, ..self }
    }

    /// `x` times the kernel over the axes `inputs`, plus the bias. The kernel's axes are `inputs` (sizes from `x`), then
    /// `outputs`. If the context has a low-rank change, the kernel is changed by it.
    pub fn of<'g>(
        self,
        cx: Context<'g>,
        x: Tensor<'g>,
        inputs: &[&str],
        outputs: &[(&str, usize)],
    ) -> Tensor<'g> {
        let dtype = cx.policy.compute();
        cx.builder.scope(self.name, || {
            let axes = inputs.iter().map(|name| (*name, x.size(name)));
            let axes = axes.chain(outputs.iter().copied());
            let init = Init::Normal(self.init);
            let kernel = match cx.low_rank {
                None => cx.weight("kernel", axes, init, dtype),
                Some(change) => {
                    let kernel = cx.weight("kernel", axes, init, DType::F32);
                    change.apply(cx, kernel, inputs).cast(dtype)
                }
            };
            let product = x.dot(kernel, inputs.iter().copied());
            let product = match self.place {
                Placed::Free => product,
                Placed::Activation => product.pin(),
                Placed::Residual => product.pin_residual(),
            };
            match self.biased {
                true => product + cx.weight("bias", outputs.iter().copied(), Init::Zeros, dtype),
                false => product,
            }
        })
    }
}

/// A biased linear layer from the axis `from` to `to`, `[.., from]` to `[.., to]`. If both have one name (`embed` to
/// `embed`), the kernel and the bias call the outgoing axis `hidden`, because names are unique in a tensor.
pub fn project<'g>(
    cx: Context<'g>,
    name: &str,
    x: Tensor<'g>,
    from: &str,
    (to, size): (&str, usize),
    init: f64,
) -> Tensor<'g> {
    let layer = Linear::new(name, init);
    match from == to {
        true => layer
            .of(cx, x, &[from], &[("hidden", size)])
            .rename("hidden", to),
        false => layer.of(cx, x, &[from], &[(to, size)]),
    }
}

/// Sizes and initial values of one attention layer.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// The number of heads.
    pub heads: usize,
    /// The size of each head's queries, keys and values.
    pub kv: usize,
    /// The factor of the scores; 1 if queries start small instead (T5).
    pub scale: f64,
    /// The base of rotary positions ([`rotate`]); `None` if positions come from elsewhere.
    pub rotary: Option<f64>,
    /// Whether the four linear layers have biases.
    pub biased: bool,
    /// The standard deviation of initial query weights; families scale queries differently.
    pub query_init: f64,
    /// The same of keys and values.
    pub init: f64,
    /// The same of the output.
    pub output_init: f64,
}

/// What attention sees of other positions.
#[derive(Clone, Copy)]
pub struct Sight<'g> {
    /// Added to the scores, `[heads, length, keys]`.
    pub bias: Option<Tensor<'g>>,
    /// Which positions are seen, `pred` of axes among `[batch, length, keys]`.
    pub mask: Option<Tensor<'g>>,
    /// The dropout rate of attention weights.
    pub dropout: f64,
}

/// Multi-head attention: `x` `[batch, length, embed]` attends to `context` `[batch, length', embed]`; returns
/// `[batch, length, embed]`.
pub fn attention<'g>(
    cx: Context<'g>,
    x: Tensor<'g>,
    context: Tensor<'g>,
    shape: Heads,
    sight: Sight<'g>,
) -> Tensor<'g> {
    let builder = cx.builder;
    let (embed, biased) = (x.size("embed"), shape.biased);
    let heads = [("heads", shape.heads), ("kv", shape.kv)];
    let project = |name, of, init| {
        let layer = Linear::new(name, init).biased(biased).activation();
        layer.of(cx, of, &["embed"], &heads)
    };
    let turned = |name: &str, of: Tensor<'g>| match shape.rotary {
        Some(base) => builder.scope(name, || rotate(cx, of, base)),
        None => of,
    };
    let query = turned("q", project("q", x, shape.query_init));
    let key = turned("k", project("k", context, shape.init)).rename("length", "keys");
    let value = project("v", context, shape.init).rename("length", "keys");
    // Scores and their mix stay sharded by heads. Unpinned, the gradient of the residual stream (sharded by positions) would
    // have them resharded to its own layout and back.
    let scores = builder.scope("scores", || {
        let scores = query.dot_as(key, ["kv"], cx.policy.exact()).pin();
        match shape.scale {
            1.0 => scores,
            scale => scores * scale,
        }
    });
    let weights = attention_weights(cx, scores, sight);
    let mixed = builder.scope("mix", || weights.dot(value, ["keys"]).pin());
    let layer = Linear::new("o", shape.output_init)
        .biased(biased)
        .residual();
    layer.of(cx, mixed, &["heads", "kv"], &[("embed", embed)])
}

/// The weight that a query gives each key, from `scores` `[batch, heads, length, keys]`.
pub fn attention_weights<'g>(
    cx: Context<'g>,
    mut scores: Tensor<'g>,
    sight: Sight<'g>,
) -> Tensor<'g> {
    cx.builder.scope("softmax", || {
        if let Some(bias) = sight.bias {
            scores = scores + bias.cast(cx.policy.exact());
        }
        if let Some(mask) = sight.mask {
            // The most negative finite number: a row that sees no key then yields a mean and not NaN.
            scores = mask
                .broadcast(scores.shape().axes)
                .select(scores, scores.constant(f64::from(f32::MIN)));
        }
        cx.dropout(softmax(scores, "keys"), sight.dropout, "weights")
            .cast(cx.policy.compute())
    })
}

/// Activations of a feed-forward layer, by Hugging Face's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// The gaussian error linear unit (Hendrycks and Gimpel 2016), with the error function.
    #[default]
    Gelu,
    /// The same in its tanh form.
    #[serde(rename = "gelu_new", alias = "gelu_fast", alias = "gelu_pytorch_tanh")]
    GeluNew,
    /// x times its logistic function.
    #[serde(alias = "swish")]
    Silu,
    /// The tanh form times a second projection (Shazeer 2020).
    GatedGelu,
    /// x times its logistic function times a second projection (SwiGLU, also Shazeer 2020).
    GatedSilu,
}

impl Activation {
    /// Whether the function's result is multiplied by a second projection.
    pub fn is_gated(self) -> bool {
        matches!(self, Activation::GatedGelu | Activation::GatedSilu)
    }

    /// The function of `x`; for a gated activation, the function of the gate.
    pub fn of(self, x: Tensor<'_>) -> Tensor<'_> {
        match self {
            Activation::Relu => x.maximum(x.constant(0.0)),
            Activation::Gelu => gelu(x),
            Activation::Silu | Activation::GatedSilu => x * x.logistic(),
            Activation::GeluNew | Activation::GatedGelu => gelu_tanh(x),
        }
    }
}

/// Sizes and initial values of a feed-forward layer.
#[derive(Clone, Copy, Debug)]
pub struct FeedForward {
    /// Hidden units.
    pub mlp: usize,
    /// The function between the two products.
    pub activation: Activation,
    /// The dropout rate of hidden units.
    pub dropout: f64,
    /// Whether the two linear layers have biases.
    pub biased: bool,
    /// The standard deviation of the first layer's initial weights.
    pub init: f64,
    /// The same of the second layer.
    pub output_init: f64,
}

/// A feed-forward layer: `[.., embed]` to the same through `mlp` hidden units.
pub fn feed_forward<'g>(cx: Context<'g>, x: Tensor<'g>, shape: FeedForward) -> Tensor<'g> {
    let (embed, biased) = (x.size("embed"), shape.biased);
    let project = |name| {
        let layer = Linear::new(name, shape.init).biased(biased).activation();
        layer.of(cx, x, &["embed"], &[("mlp", shape.mlp)])
    };
    let hidden = match shape.activation.is_gated() {
        true => shape.activation.of(project("wi_0")) * project("wi_1"),
        false => shape.activation.of(project("wi")),
    };
    let hidden = cx.dropout(hidden, shape.dropout, "hidden");
    let layer = Linear::new("wo", shape.output_init)
        .biased(biased)
        .residual();
    layer.of(cx, hidden, &["mlp"], &[("embed", embed)])
}

/// The gaussian error linear unit.
pub fn gelu(x: Tensor<'_>) -> Tensor<'_> {
    x * 0.5 * ((x * std::f64::consts::FRAC_1_SQRT_2).erf() + 1.0)
}

/// The tanh form of the gaussian error linear unit.
pub fn gelu_tanh(x: Tensor<'_>) -> Tensor<'_> {
    let inner = (x + x * x * x * 0.044715) * (2.0 / std::f64::consts::PI).sqrt();
    x * 0.5 * (inner.tanh() + 1.0)
}

/// The sum of the cross-entropies of `logits` `[.., vocab]` at `labels` (`s32`, the other axes) where `counted` holds,
/// and their number, both scalars of the logits' type.
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

/// The sum of the binary cross-entropies of `logits` at `labels` (`pred`, the same axes) where `counted` (`pred`) holds, and
/// their number, both scalars of the logits' type.
pub fn binary_cross_entropy<'g>(
    logits: Tensor<'g>,
    labels: Tensor<'g>,
    counted: Tensor<'g>,
) -> (Tensor<'g>, Tensor<'g>) {
    let zero = logits.constant(0.0);
    // -log of the logistic of +x or -x, in a form that overflows for neither sign.
    let against = logits.maximum(zero) - labels.select(logits, zero);
    let losses = against + (-logits.abs()).exp().log1p();
    let losses = counted.select(losses, zero);
    (losses.sum_all(), counted.cast(logits.dtype()).sum_all())
}

/// Whether key position `keys` is not after position `length`: `pred[length, keys]`.
pub fn causal<'g>(cx: Context<'g>, length: usize) -> Tensor<'g> {
    let shape = Shape::new(DType::S32, [("length", length), ("keys", length)]);
    let builder = cx.builder;
    builder
        .iota("keys", shape.clone())
        .le(builder.iota("length", shape))
}
