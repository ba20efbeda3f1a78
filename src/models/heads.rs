//! The pre-training heads of the BERT families: token logits from a head tied to the embedding, and the class of a pair of
//! sentences from the first position.

use super::context::Context;
use super::embeddings::Embeddings;
use super::layers::{Activation, layer_norm_along, project};
use crate::graph::{Init, Tensor};

/// The masked-LM head (Devlin et al. 2019): a linear layer to the size of the embeddings, an activation, a norm, and the
/// product with the table of tokens plus a bias per token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaskedHead {
    /// The embeddings, whose table the output layer uses if `tied`.
    pub embeddings: Embeddings,
    /// Whether the output layer uses that table; otherwise it has its own kernel.
    pub tied: bool,
    /// The activation.
    pub activation: Activation,
    /// The epsilon that the norm adds to the variance.
    pub epsilon: f64,
    /// The standard deviation of the initial kernels.
    pub init: f64,
}

impl MaskedHead {
    /// The head with gelu, tied to `embeddings` and initialised like them.
    pub fn tied(embeddings: Embeddings, epsilon: f64) -> Self {
        MaskedHead {
            embeddings,
            tied: true,
            activation: Activation::Gelu,
            epsilon,
            init: embeddings.init,
        }
    }

    /// The logits `[batch, length, vocab]` of `x` `[batch, length, embed]`, in the exact type; weights in the scope
    /// `masked_lm`.
    pub fn logits<'g>(&self, cx: Context<'g>, x: Tensor<'g>) -> Tensor<'g> {
        let builder = cx.builder;
        let (dtype, exact) = (cx.policy.compute(), cx.policy.exact());
        let Embeddings {
            axis, size, vocab, ..
        } = self.embeddings;
        builder.scope("masked_lm", || {
            let x = project(cx, "transform", x, "embed", (axis, size), self.init);
            let x = layer_norm_along(cx, "norm", self.activation.of(x), axis, self.epsilon);
            let output = match self.tied {
                true => self.embeddings.words(cx),
                false => {
                    let init = Init::Normal(self.init);
                    builder.weight("kernel", [(axis, size), ("vocab", vocab)], init)
                }
            };
            let bias = builder.weight("bias", [("vocab", vocab)], Init::Zeros);
            let logits = x.pin_residual().dot_as(output.cast(dtype), [axis], exact);
            (logits + bias.cast(exact)).pin()
        })
    }
}

/// The first position of `x` `[batch, length, embed]` through a linear layer and tanh: `[batch, embed]`; weights in the
/// scope `pooler`.
pub fn pool<'g>(cx: Context<'g>, x: Tensor<'g>, init: f64) -> Tensor<'g> {
    let first = x.slice("length", 0, 1).sum(["length"]);
    project(
        cx,
        "pooler",
        first,
        "embed",
        ("embed", x.size("embed")),
        init,
    )
    .tanh()
}

/// The logits `[batch, classes]` of `pooled` `[batch, embed]` for the two classes of a pair of sentences, in the exact
/// type; weights in the scope `sentence`.
pub fn sentence_logits<'g>(cx: Context<'g>, pooled: Tensor<'g>, init: f64) -> Tensor<'g> {
    classify(cx, "sentence", pooled, &[("classes", 2)], init)
}

/// A last linear layer in the scope `name`, `[.., embed]` to `[.., outputs]` in the exact type; one number if `outputs` is
/// empty.
pub fn classify<'g>(
    cx: Context<'g>,
    name: &str,
    x: Tensor<'g>,
    outputs: &[(&str, usize)],
    init: f64,
) -> Tensor<'g> {
    let builder = cx.builder;
    let (dtype, exact) = (cx.policy.compute(), cx.policy.exact());
    builder.scope(name, || {
        let axes = [("embed", x.size("embed"))].into_iter();
        let axes = axes.chain(outputs.iter().copied());
        let kernel = builder.weight("kernel", axes, Init::Normal(init));
        let bias = builder.weight("bias", outputs.iter().copied(), Init::Zeros);
        x.dot_as(kernel.cast(dtype), ["embed"], exact) + bias.cast(exact)
    })
}
