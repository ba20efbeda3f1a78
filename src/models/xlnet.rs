//! XLNet (Yang et al. 2019), as ProtXLNet uses it (Elnaggar et al. 2021): post-norm blocks that attend to a memory of the
//! segment before by relative position. To learn by permutation, a second stream holds queries that see their position but
//! not its token.
//!
//! Reference: `XLNetLMHeadModel` of Hugging Face transformers. Config keys are its `config.json`'s.
//!
//! ```text
//! ribosome verify golden/numeric/xlnet_two_stream.safetensors
//! ```

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::context::Context;
use super::encoder::ungated;
use super::family::{Family, Segment};
use super::hugging_face::config::{self, ConfigError};
use super::hugging_face::xlnet as files;
use super::layers::{self, Activation};
use super::relative_attention::{memory, remember};
use super::settings::{SettingError, divides, even};
use super::weights::Entry;
use crate::graph::{Axis, DType, Init, LoopOptions, Shape, Tensor};

/// Which keys a position may see, before masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttentionType {
    /// All keys.
    Bi,
    /// No key after itself.
    Uni,
}

/// The sizes and switches of an XLNet model. Defaults are those of Hugging Face's `XLNetConfig`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// The residual stream's size (`embed`).
    pub d_model: usize,
    /// Layers.
    pub n_layer: usize,
    /// Heads; each has `d_model` / `n_head` (`kv`).
    pub n_head: usize,
    /// Hidden units of a feed-forward layer (`mlp`).
    pub d_inner: usize,
    /// The function of the feed-forward layers.
    pub ff_activation: Activation,
    /// Without effect: each layer has its own biases, as in transformers with either value.
    pub untie_r: bool,
    /// Which keys a position may see, before masks.
    pub attn_type: AttentionType,
    /// The standard deviation of initial weights.
    pub initializer_range: f64,
    /// The epsilon that norms add to the variance.
    pub layer_norm_eps: f64,
    /// The dropout rate in training.
    pub dropout: f64,
    /// Positions of the memory; 0 (null in a `config.json`) keeps all that were ever read.
    pub mem_len: usize,
    /// The number of a segment's first positions that go into the memory; 0 (or null) takes all. In training a row moves on by
    /// this many tokens per step, and the rest is read again.
    pub reuse_len: usize,
    /// Whether callers pass memories on outside of training. [`Config::forward`] returns them either way.
    pub use_mems_eval: bool,
    /// Whether callers pass memories on in training. [`Config::forward`] returns them either way.
    pub use_mems_train: bool,
    /// Whether the second half of a batch's rows is reversed, also in training, so that their distances change sign.
    pub bi_data: bool,
    /// Distances beyond this, on either side, are clamped to it; 0 or less clamps none.
    pub clamp_len: i64,
    /// With [`AttentionType::Uni`], whether every position sees equally many keys.
    pub same_length: bool,
    /// Whether the output layer uses the embedding or has its own weights. It has a bias either way.
    pub tie_word_embeddings: bool,
    /// The id that pads rows, on the left.
    pub pad_token_id: i32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            vocab_size: 32_000,
            d_model: 1024,
            n_layer: 24,
            n_head: 16,
            d_inner: 4096,
            ff_activation: Activation::Gelu,
            untie_r: true,
            attn_type: AttentionType::Bi,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            dropout: 0.1,
            mem_len: 512,
            reuse_len: 0,
            use_mems_eval: true,
            use_mems_train: false,
            bi_data: false,
            clamp_len: -1,
            same_length: false,
            tie_word_embeddings: true,
            pad_token_id: 5,
        }
    }
}

/// A segment.
#[derive(Clone, Copy)]
pub struct Input<'g> {
    /// The tokens, `s32[batch, length]`.
    pub ids: Tensor<'g>,
    /// The part of the text that each belongs to, `s32[batch, length]`; memories belong to part 0.
    pub types: Option<Tensor<'g>>,
    /// Which tokens are real, `pred[batch, length]`.
    pub mask: Option<Tensor<'g>>,
    /// Which tokens `keys` of the segment each token cannot see, `pred[batch, length, keys]`.
    pub permutation: Option<Tensor<'g>>,
    /// For each prediction a one at its position, floats `[batch, predictions, length]`. If it is given, there are two
    /// streams.
    pub targets: Option<Tensor<'g>>,
    /// The memory of the segments before, `[layers, batch, memory, embed]` in the policy's compute type.
    pub memory: Option<Tensor<'g>>,
}

impl Config {
    pub(super) fn init(&self) -> Init {
        Init::Normal(self.initializer_range)
    }

    /// The size of a head.
    pub(super) fn kv(&self) -> usize {
        self.d_model / self.n_head.max(1)
    }

    /// The embedding, `[vocab, embed]`.
    fn embedding<'g>(&self, cx: Context<'g>) -> Tensor<'g> {
        let axes = [("vocab", self.vocab_size), ("embed", self.d_model)];
        cx.builder.at_root_scope(|| {
            let weight = || cx.builder.weight("embedding", axes, self.init());
            cx.builder.scope("word_embedding", weight)
        })
    }

    /// Reads one segment.
    pub fn forward<'g>(&self, cx: Context<'g>, input: Input<'g>) -> Segment<'g> {
        let builder = cx.builder;
        let content = layers::embed(cx, self.embedding(cx), input.ids);
        let content = cx.dropout(content, self.dropout, "embedded");
        let mask_embedding =
            builder.weight("mask_embedding", [("embed", self.d_model)], self.init());
        let query = input.targets.map(|targets| {
            let axes = [
                ("batch", input.ids.size("batch")),
                ("predictions", targets.size("predictions")),
                ("embed", self.d_model),
            ];
            let query = mask_embedding
                .cast(cx.policy.compute())
                .broadcast(axes.map(Axis::from))
                .pin_residual();
            cx.dropout(query, self.dropout, "masked")
        });
        let shared = builder.scope("sight", || self.shared(cx, input));
        let results = builder.scope("layer", || {
            let options = LoopOptions {
                remat: cx.remat,
                stack_weights: true,
                ..LoopOptions::default()
            };
            let body = builder.open_loop(Axis::new("layers", self.n_layer), options);
            let content = body.carry(content);
            let query = query.map(|query| body.carry(query));
            let memory = input.memory.map(|memory| body.slice(memory));
            body.emit(self.next_memory(cx, memory, content));
            let cx = cx.at(body.index());
            let streams = self.layer(cx, content, query, memory, shared);
            for (carry, stream) in streams.into_iter().enumerate() {
                body.set_next(carry, stream);
            }
            body.close()
        });
        // The query stream's result is second if there is one; the memory is last.
        let streams = 1 + usize::from(query.is_some());
        let hidden = cx.dropout(results[streams - 1], self.dropout, "final");
        Segment {
            hidden: hidden.pin(),
            memory: Some(results[streams]),
        }
    }

    /// The number of first tokens of a row of `length` that go into the memory.
    pub fn reused(&self, length: usize) -> usize {
        match self.reuse_len {
            0 => length,
            reused => reused.min(length),
        }
    }

    fn next_memory<'g>(
        &self,
        cx: Context<'g>,
        memory: Option<Tensor<'g>>,
        content: Tensor<'g>,
    ) -> Tensor<'g> {
        let length = content.size("length");
        let reused = match self.reuse_len {
            0 => content,
            _ => content.slice("length", 0, self.reused(length)),
        };
        remember(cx, memory, reused, self.mem_len)
    }

    /// The logits of `hidden` `[.., embed]`: its other axes and `vocab`, in the exact type.
    pub fn logits<'g>(&self, cx: Context<'g>, hidden: Tensor<'g>) -> Tensor<'g> {
        let builder = cx.builder;
        let (compute, exact) = (cx.policy.compute(), cx.policy.exact());
        builder.scope("lm_head", || {
            let table = match self.tie_word_embeddings {
                true => self.embedding(cx),
                false => {
                    let axes = [("vocab", self.vocab_size), ("embed", self.d_model)];
                    builder.weight("embedding", axes, self.init())
                }
            };
            let bias = builder.weight("bias", [("vocab", self.vocab_size)], Init::Zeros);
            let logits = hidden.dot_as(table.cast(compute), ["embed"], exact).pin();
            logits + bias.cast(exact)
        })
    }
}

impl Family for Config {
    fn name() -> &'static str {
        "xlnet"
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

    fn declare<'g>(&self, cx: Context<'g>, ids: Tensor<'g>) {
        let input = Input {
            ids,
            types: Some(ids),
            mask: None,
            permutation: None,
            targets: None,
            memory: None,
        };
        let read = self.forward(cx, input);
        self.logits(cx, read.hidden);
    }

    fn check(&self) -> Result<(), SettingError> {
        divides(("n_head", self.n_head), ("d_model", self.d_model))?;
        even("d_model", self.d_model)?;
        ungated("ff_activation", self.ff_activation)
    }

    fn config_json(&self, model_type: &str) -> Result<Map<String, Value>, ConfigError> {
        let mut object = config::write(self, model_type, "XLNetLMHeadModel")?;
        if self.mem_len == 0 {
            object.insert("mem_len".into(), Value::Null);
        }
        Ok(object)
    }

    fn hugging_face(&self) -> Vec<Entry> {
        files::entries()
    }
}
