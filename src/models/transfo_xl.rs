//! Transformer-XL (Dai et al. 2019), as ProtTXL uses it (Elnaggar et al. 2021): a decoder that reads a text in segments,
//! attends to a memory of the segment before, and scores by relative positions.
//!
//! Reference: `TransfoXLLMHeadModel` of Hugging Face transformers. Config keys are its `config.json`'s.
//!
//! ```text
//! ribosome verify golden/numeric/transfo_xl_plain.safetensors
//! ```

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::adaptive_softmax::AdaptiveVocabulary;
use super::context::Context;
use super::family::{CausalLanguageModel, Family, Segment};
use super::hugging_face::config::{self, ConfigError};
use super::hugging_face::transfo_xl as files;
use super::layers::{
    Activation, FeedForward, Linear, Sight, cross_entropy, feed_forward, layer_norm,
};
use super::relative_attention::{
    Compared, Reach, keys, memory, mix, relative_scores, remember, sinusoids,
};
use super::settings::{SettingError, even};
use super::weights::Entry;
use crate::graph::{Axis, DType, Init, LoopOptions, Shape, Tensor};

/// The sizes and switches of a Transformer-XL model. Defaults are those of Hugging Face's `TransfoXLConfig`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// The first word of each cluster of the vocabulary except the first.
    pub cutoffs: Vec<usize>,
    /// The residual stream's size (`embed`).
    pub d_model: usize,
    /// The size of a word's vector (`factor`), in the first cluster.
    pub d_embed: usize,
    /// Heads.
    pub n_head: usize,
    /// The size of a head (`kv`); heads x kv need not be `d_model`.
    pub d_head: usize,
    /// Hidden units of a feed-forward layer (`mlp`).
    pub d_inner: usize,
    /// The factor by which each cluster's vectors are shorter than those before.
    pub div_val: usize,
    /// Whether norms are before blocks and not after them.
    pub pre_lnorm: bool,
    /// Layers.
    pub n_layer: usize,
    /// Positions of the memory; 0 leaves it out.
    pub mem_len: usize,
    /// Distances beyond this are clamped to it; 0 or less clamps none.
    pub clamp_len: i64,
    /// Whether every position sees equally many keys.
    pub same_length: bool,
    /// The dropout rate in training.
    pub dropout: f64,
    /// The dropout rate of attention weights in training.
    pub dropatt: f64,
    /// Whether each layer has its own biases for content and position.
    pub untie_r: bool,
    /// The standard deviation of initial projections of words.
    pub proj_init_std: f64,
    /// The standard deviation of all other initial weights.
    pub init_std: f64,
    /// The epsilon that norms add to the variance.
    pub layer_norm_epsilon: f64,
    /// Whether each cluster's softmax uses the embedding's projection. By default all but the first do.
    pub tie_projs: Option<Vec<bool>>,
    /// Whether the softmax uses the embedding's vectors.
    pub tie_word_embeddings: bool,
    /// The id that ends a text.
    pub eos_token_id: i32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            vocab_size: 267_735,
            cutoffs: vec![20_000, 40_000, 200_000],
            d_model: 1024,
            d_embed: 1024,
            n_head: 16,
            d_head: 64,
            d_inner: 4096,
            div_val: 4,
            pre_lnorm: false,
            n_layer: 18,
            mem_len: 1600,
            clamp_len: 1000,
            same_length: true,
            dropout: 0.1,
            dropatt: 0.0,
            untie_r: true,
            proj_init_std: 0.01,
            init_std: 0.02,
            layer_norm_epsilon: 1e-5,
            tie_projs: None,
            tie_word_embeddings: true,
            eos_token_id: 0,
        }
    }
}

/// Inputs that all layers share.
#[derive(Clone, Copy)]
struct SharedPositions<'g> {
    /// The sinusoids of distances, `[distance, embed]`.
    sinusoids: Tensor<'g>,
    /// Which keys are seen, `pred[length, keys]`.
    seen: Tensor<'g>,
    /// The biases for content and position, if layers share them.
    biases: Option<[Tensor<'g>; 2]>,
}

impl Config {
    /// The vocabulary's clusters, and the weights that input and output share.
    pub(super) fn tying<T>(&self, body: impl FnOnce(AdaptiveVocabulary<'_>) -> T) -> T {
        let usual: Vec<_> = (0..=self.cutoffs.len())
            .map(|cluster| cluster > 0)
            .collect();
        body(AdaptiveVocabulary {
            vocab: self.vocab_size,
            embed: self.d_model,
            factor: self.d_embed,
            cutoffs: &self.cutoffs,
            div_val: self.div_val,
            tied: self.tie_word_embeddings,
            tied_projections: self.tie_projs.as_ref().unwrap_or(&usual),
            init: self.init_std,
            projection_init: self.proj_init_std,
        })
    }

    /// With `same_length`, the number of the first key that a query sees, less the query's own number.
    fn oldest(&self, reach: Reach) -> Option<i64> {
        // The mask hides from the first query as many keys as there are beyond mem_len.
        let beyond = reach.keys as i64 - self.mem_len as i64;
        let length = reach.length as i64;
        let shift = if beyond > 0 { length - beyond } else { length };
        self.same_length.then_some(1 - shift)
    }

    /// The biases of the current scope for content and position, `[heads, kv]`.
    fn biases<'g>(&self, cx: Context<'g>) -> [Tensor<'g>; 2] {
        ["content_bias", "position_bias"].map(|name| {
            let axes = [("heads", self.n_head), ("kv", self.d_head)];
            cx.builder.weight(name, axes, Init::Normal(self.init_std))
        })
    }

    fn norm<'g>(&self, cx: Context<'g>, x: Tensor<'g>) -> Tensor<'g> {
        layer_norm(cx, "norm", x, self.layer_norm_epsilon)
    }

    /// `x` plus a block of it, with the norm before the block or after the sum.
    fn residual<'g>(
        &self,
        cx: Context<'g>,
        x: Tensor<'g>,
        block: impl FnOnce(Tensor<'g>) -> Tensor<'g>,
    ) -> Tensor<'g> {
        let update = |x| cx.dropout(block(x), self.dropout, "residual");
        let sum = match self.pre_lnorm {
            true => x + update(self.norm(cx, x)),
            false => self.norm(cx, (x + update(x)).pin_residual()),
        };
        sum.pin_residual().tag("residual")
    }

    fn attention<'g>(
        &self,
        cx: Context<'g>,
        x: Tensor<'g>,
        memory: Option<Tensor<'g>>,
        shared: SharedPositions<'g>,
    ) -> Tensor<'g> {
        let builder = cx.builder;
        let compute = cx.policy.compute();
        let (heads, init) = ([("heads", self.n_head), ("kv", self.d_head)], self.init_std);
        let linear = |name| Linear::new(name, init).biased(false);
        builder.scope("attention", || {
            // The memory is of the residual stream and is normed with it.
            let memory = match self.pre_lnorm {
                true => memory.map(|memory| self.norm(cx, memory)),
                false => memory,
            };
            self.residual(cx, x, |x| {
                // Gathered once for all three, so that their gradients are added before they are summed over devices.
                let x = x.pin();
                let kernel = builder.scope("qkv", || {
                    let axes = [("embed", self.d_model), ("qkv", 3), heads[0], heads[1]];
                    builder.weight("kernel", axes, Init::Normal(init))
                });
                let project = |part: usize, of: Tensor<'g>| {
                    let part = kernel.cast(compute).slice("qkv", part, part + 1);
                    of.dot(part.merge(["qkv", "heads"], "heads"), ["embed"])
                        .pin()
                };
                let [content_bias, position_bias] =
                    shared.biases.unwrap_or_else(|| self.biases(cx));
                let waves = shared.sinusoids;
                let scores = relative_scores(
                    cx,
                    Compared {
                        query: project(0, x),
                        key: keys(cx, memory, x, |of| project(1, of)),
                        distance: linear("r").activation().of(cx, waves, &["embed"], &heads),
                        content_bias,
                        position_bias,
                    },
                );
                let sight = Sight {
                    bias: None,
                    mask: Some(shared.seen),
                    dropout: self.dropatt,
                };
                let scores = scores * (self.d_head as f64).powf(-0.5);
                let value = keys(cx, memory, x, |of| project(2, of));
                let mixed = mix(cx, scores, value, sight);
                let outputs = [("embed", self.d_model)];
                linear("o")
                    .residual()
                    .of(cx, mixed, &["heads", "kv"], &outputs)
            })
        })
    }

    fn mlp<'g>(&self, cx: Context<'g>, x: Tensor<'g>) -> Tensor<'g> {
        cx.builder.scope("mlp", || {
            self.residual(cx, x, |x| {
                let shape = FeedForward {
                    mlp: self.d_inner,
                    activation: Activation::Relu,
                    dropout: self.dropout,
                    biased: true,
                    init: self.init_std,
                    output_init: self.init_std,
                };
                feed_forward(cx, x, shape)
            })
        })
    }

    /// The log-probabilities of every next word after `hidden`: `[batch, length, vocab]` in the exact type.
    pub fn log_probabilities<'g>(&self, cx: Context<'g>, hidden: Tensor<'g>) -> Tensor<'g> {
        self.tying(|vocabulary| vocabulary.log_probabilities(cx, hidden))
    }
}

impl Family for Config {
    fn name() -> &'static str {
        "transfo-xl"
    }

    fn from_hugging_face(config: &Map<String, Value>) -> Result<Self, ConfigError> {
        files::read(config)
    }

    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn memory(&self, batch: usize, dtype: DType) -> Option<Shape> {
        memory(self.n_layer, batch, self.mem_len, self.d_model, dtype)
    }

    fn layer_keys(&self) -> &'static [&'static str] {
        &["n_layer"]
    }

    fn causal_language_model(&self) -> Option<&dyn CausalLanguageModel> {
        Some(self)
    }

    fn check(&self) -> Result<(), SettingError> {
        even("d_model", self.d_model)?;
        self.tying(|vocabulary| vocabulary.check())
    }

    fn config_json(&self, model_type: &str) -> Result<Map<String, Value>, ConfigError> {
        config::write(self, model_type, "TransfoXLLMHeadModel")
    }

    fn hugging_face(&self) -> Vec<Entry> {
        files::entries(self)
    }
}

impl CausalLanguageModel for Config {
    /// Without a given memory, it is `mem_len` positions of zeros. They are attended to like
    /// any other, as in the original.
    fn read<'g>(
        &self,
        cx: Context<'g>,
        ids: Tensor<'g>,
        memory: Option<Tensor<'g>>,
    ) -> Segment<'g> {
        let builder = cx.builder;
        let compute = cx.policy.compute();
        let memory = memory.or_else(|| {
            let axes = [
                ("layers", self.n_layer),
                ("batch", ids.size("batch")),
                ("memory", self.mem_len),
                ("embed", self.d_model),
            ];
            let zeros = || builder.full(0.0, Shape::new(compute, axes)).pin();
            (self.mem_len > 0).then(zeros)
        });
        let embedded = self.tying(|vocabulary| vocabulary.embed(cx, ids));
        let embedded = cx.dropout(embedded.pin_residual(), self.dropout, "embedded");
        let length = ids.size("length");
        let before = memory.map_or(0, |memory| memory.size("memory"));
        let reach = Reach {
            length,
            keys: before + length,
            after: false,
            clamp: self.clamp_len,
        };
        let waves = builder.scope("positions", || {
            sinusoids(cx, reach.distances(cx), self.d_model)
        });
        let shared = SharedPositions {
            sinusoids: cx.dropout(waves, self.dropout, "positions"),
            seen: reach.window(cx, self.oldest(reach)),
            biases: (!self.untie_r).then(|| self.biases(cx)),
        };
        let results = builder.scope("layer", || {
            let options = LoopOptions {
                remat: cx.remat,
                stack_weights: true,
                ..LoopOptions::default()
            };
            let body = builder.open_loop(Axis::new("layers", self.n_layer), options);
            let x = body.carry(embedded);
            let memory = memory.map(|memory| body.slice(memory));
            if self.mem_len > 0 {
                body.emit(remember(cx, memory, x, self.mem_len));
            }
            let cx = cx.at(body.index());
            let x = self.attention(cx, x, memory, shared);
            body.set_next(0, self.mlp(cx, x));
            body.close()
        });
        Segment {
            hidden: cx.dropout(results[0], self.dropout, "final").pin(),
            memory: (self.mem_len > 0).then(|| results[1]),
        }
    }

    fn losses<'g>(
        &self,
        cx: Context<'g>,
        hidden: Tensor<'g>,
        labels: Tensor<'g>,
        counted: Tensor<'g>,
    ) -> (Tensor<'g>, Tensor<'g>) {
        let logarithms = self.log_probabilities(cx, hidden);
        cx.builder
            .scope("loss", || cross_entropy(logarithms, labels, counted))
    }
}
