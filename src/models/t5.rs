//! T5 (Raffel et al. 2020), as ProtT5 uses it (Elnaggar et al. 2021): an encoder and a decoder of pre-norm blocks with
//! relative-position biases, no biases in linear layers, and no scaling of attention scores.
//!
//! Reference: `T5ForConditionalGeneration` of Hugging Face transformers. Config keys are its `config.json`'s.
//!
//! ```text
//! ribosome compile prot-t5-xl --on v3-1024
//! ```

use std::fmt::Display;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::context::Context;
use super::encoder::Encoded;
use super::family::{Family, SequenceToSequence};
use super::hugging_face::config::{self, ConfigError};
use super::hugging_face::t5 as files;
use super::layers::{
    self, Activation, FeedForward, Heads, Sight, attention, cross_entropy, feed_forward, rms_norm,
};
use super::relative_bias::{Buckets, relative_bias};
use super::settings::{SettingError, token_id};
use super::weights::Entry;
use crate::graph::{Axis, Init, LoopOptions, Tensor};

/// The sizes and switches of a T5 model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// The residual stream's size (`embed`).
    pub d_model: usize,
    /// The size of a head (`kv`); heads x kv need not be `d_model`.
    pub d_kv: usize,
    /// Hidden units of a feed-forward layer (`mlp`).
    pub d_ff: usize,
    /// Encoder layers.
    pub num_layers: usize,
    /// Decoder layers.
    pub num_decoder_layers: usize,
    /// Heads.
    pub num_heads: usize,
    /// Buckets of the relative-position bias.
    #[serde(default = "buckets")]
    pub relative_attention_num_buckets: usize,
    /// Distances from this on share a bucket.
    #[serde(default = "max_distance")]
    pub relative_attention_max_distance: usize,
    /// The dropout rate in training.
    #[serde(default = "dropout")]
    pub dropout_rate: f64,
    /// The epsilon that norms add to the variance.
    #[serde(default = "epsilon")]
    pub layer_norm_epsilon: f64,
    /// The function of the feed-forward layers.
    #[serde(default = "relu")]
    pub feed_forward_proj: Activation,
    /// Whether the output layer uses the embedding (its input is then scaled by `d_model`^-1/2) or has its own weights.
    #[serde(default = "yes")]
    pub tie_word_embeddings: bool,
    /// The id that pads rows.
    #[serde(default)]
    pub pad_token_id: i32,
    /// The id that the decoder's input starts with.
    #[serde(default)]
    pub decoder_start_token_id: i32,
}

// The defaults of Hugging Face's T5Config.
fn buckets() -> usize {
    32
}
fn max_distance() -> usize {
    128
}
fn dropout() -> f64 {
    0.1
}
fn epsilon() -> f64 {
    1e-6
}
fn relu() -> Activation {
    Activation::Relu
}
fn yes() -> bool {
    true
}

/// The two stacks.
#[derive(Clone, Copy, PartialEq)]
enum StackKind {
    Encoder,
    Decoder,
}

impl Config {
    /// The shared embedding, `[vocab, embed]`.
    fn embedding<'g>(&self, cx: Context<'g>) -> Tensor<'g> {
        let axes = [("vocab", self.vocab_size), ("embed", self.d_model)];
        cx.builder.scope("shared", || {
            cx.builder.weight("embedding", axes, Init::Normal(1.0))
        })
    }

    fn heads(&self) -> Heads {
        // Queries start small because scores are not scaled: (d_model x d_kv)^-1/2, as in the original's initializer.
        let query_init = ((self.d_model * self.d_kv) as f64).powf(-0.5);
        Heads {
            heads: self.num_heads,
            kv: self.d_kv,
            scale: 1.0,
            rotary: None,
            biased: false,
            query_init,
            init: (self.d_model as f64).powf(-0.5),
            output_init: ((self.num_heads * self.d_kv) as f64).powf(-0.5),
        }
    }

    /// Encodes `ids` (`s32[batch, length]`), of which `mask` (`pred`, the same axes) are real. With `inputs`, the
    /// result includes each layer's input.
    pub fn encode<'g>(
        &self,
        cx: Context<'g>,
        ids: Tensor<'g>,
        mask: Tensor<'g>,
        inputs: bool,
    ) -> Encoded<'g> {
        let builder = cx.builder;
        let mask = mask.rename("length", "keys");
        builder.scope("encoder", || {
            self.stack(cx, StackKind::Encoder, ids, inputs, |cx, x, bias| {
                let look = self.sight(Some(bias), Some(mask));
                let x = self.residual(cx, "attention", x, |normed| {
                    attention(cx, normed, normed, self.heads(), look)
                });
                self.mlp(cx, x)
            })
        })
    }

    /// Decodes `ids` (`s32[batch, length]`), attending to the `encoded` positions in `encoded_mask`. `mask` states which of
    /// `ids` are real; without it all are.
    pub fn decode<'g>(
        &self,
        cx: Context<'g>,
        ids: Tensor<'g>,
        mask: Option<Tensor<'g>>,
        encoded: Tensor<'g>,
        encoded_mask: Tensor<'g>,
    ) -> Encoded<'g> {
        let builder = cx.builder;
        let cross_mask = encoded_mask.rename("length", "keys");
        builder.scope("decoder", || {
            let mut seen = layers::causal(cx, ids.size("length"));
            if let Some(mask) = mask {
                let mask = mask.rename("length", "keys");
                let axes = [("batch", ids.size("batch"))].map(Axis::from);
                let axes: Vec<_> = axes.into_iter().chain(seen.shape().axes).collect();
                seen = seen.broadcast(axes.clone()).and(mask.broadcast(axes));
            }
            self.stack(cx, StackKind::Decoder, ids, false, |cx, y, bias| {
                let look = self.sight(Some(bias), Some(seen));
                let y = self.residual(cx, "attention", y, |normed| {
                    attention(cx, normed, normed, self.heads(), look)
                });
                let across = self.sight(None, Some(cross_mask));
                let y = self.residual(cx, "cross_attention", y, |normed| {
                    attention(cx, normed, encoded, self.heads(), across)
                });
                self.mlp(cx, y)
            })
        })
    }

    /// Embedding, loop over layers and final norm of one stack.
    fn stack<'g>(
        &self,
        cx: Context<'g>,
        stack: StackKind,
        ids: Tensor<'g>,
        inputs: bool,
        layer: impl FnOnce(Context<'g>, Tensor<'g>, Tensor<'g>) -> Tensor<'g>,
    ) -> Encoded<'g> {
        let builder = cx.builder;
        let embedded = self.shared(cx, |table| layers::embed(cx, table, ids));
        let embedded = cx.dropout(embedded, self.dropout_rate, "embedded");
        let buckets = Buckets {
            count: self.relative_attention_num_buckets,
            max_distance: self.relative_attention_max_distance,
            bidirectional: stack == StackKind::Encoder,
        };
        let init = (self.d_model as f64).powf(-0.5);
        let bias = relative_bias(cx, buckets, ids.size("length"), self.num_heads, init);
        let count = match stack {
            StackKind::Encoder => self.num_layers,
            StackKind::Decoder => self.num_decoder_layers,
        };
        let results = builder.scope("layer", || {
            let options = LoopOptions {
                remat: cx.remat,
                stack_weights: true,
                ..LoopOptions::default()
            };
            let body = builder.open_loop(Axis::new("layers", count), options);
            let x = body.carry(embedded);
            let next = layer(cx.at(body.index()), x, bias);
            body.set_next(0, next);
            if inputs {
                body.emit(x);
            }
            body.close()
        });
        let normed = rms_norm(cx, "final_norm", results[0], self.layer_norm_epsilon);
        Encoded {
            // Every decoder layer and the logits read all positions, so they are gathered once here.
            last: cx.dropout(normed, self.dropout_rate, "final").pin(),
            inputs: inputs.then(|| results[1]),
        }
    }

    /// Uses the shared embedding, which is outside the caller's scope.
    fn shared<'g, T>(&self, cx: Context<'g>, body: impl FnOnce(Tensor<'g>) -> T) -> T {
        let table = cx.builder.at_root_scope(|| self.embedding(cx));
        body(table)
    }

    fn sight<'g>(&self, bias: Option<Tensor<'g>>, mask: Option<Tensor<'g>>) -> Sight<'g> {
        Sight {
            bias,
            mask,
            dropout: self.dropout_rate,
        }
    }

    /// `x + dropout(block(norm(x)))`, in the scope `name`. `names` rematerialisation saves the sum: it is small, and
    /// recomputing it would repeat the block's sum over devices.
    fn residual<'g>(
        &self,
        cx: Context<'g>,
        name: &str,
        x: Tensor<'g>,
        block: impl FnOnce(Tensor<'g>) -> Tensor<'g>,
    ) -> Tensor<'g> {
        cx.builder.scope(name, || {
            let normed = rms_norm(cx, "norm", x, self.layer_norm_epsilon);
            (x + cx.dropout(block(normed), self.dropout_rate, "residual"))
                .pin_residual()
                .tag("residual")
        })
    }

    fn mlp<'g>(&self, cx: Context<'g>, x: Tensor<'g>) -> Tensor<'g> {
        self.residual(cx, "mlp", x, |normed| {
            let shape = FeedForward {
                mlp: self.d_ff,
                activation: self.feed_forward_proj,
                dropout: self.dropout_rate,
                biased: false,
                init: (self.d_model as f64).powf(-0.5),
                output_init: (self.d_ff as f64).powf(-0.5),
            };
            feed_forward(cx, normed, shape)
        })
    }

    /// The logits `[batch, length, vocab]` of the decoder's result, in the exact type.
    pub fn logits<'g>(&self, cx: Context<'g>, decoded: Tensor<'g>) -> Tensor<'g> {
        let builder = cx.builder;
        let (dtype, exact) = (cx.policy.compute(), cx.policy.exact());
        builder.scope("logits", || {
            let logits = match self.tie_word_embeddings {
                true => self.shared(cx, |table| {
                    let scaled = decoded * (self.d_model as f64).powf(-0.5);
                    scaled.dot_as(table.cast(dtype), ["embed"], exact)
                }),
                false => {
                    let axes = [("embed", self.d_model), ("vocab", self.vocab_size)];
                    let head = builder.at_root_scope(|| {
                        builder.scope("lm_head", || {
                            builder.weight("kernel", axes, Init::Normal(1.0))
                        })
                    });
                    decoded.dot_as(head.cast(dtype), ["embed"], exact)
                }
            };
            logits.pin()
        })
    }

    /// The decoder's input for `labels` (`s32[batch, length]`): the start id, then all labels but the last; labels
    /// below 0 (ignored ones) become the pad id.
    pub fn decoder_input<'g>(&self, labels: Tensor<'g>) -> Tensor<'g> {
        let length = labels.size("length");
        let zero = labels.constant(0.0);
        let known = labels
            .lt(zero)
            .select(labels.constant(f64::from(self.pad_token_id)), labels);
        match length {
            0 | 1 => labels
                .constant(f64::from(self.decoder_start_token_id))
                .broadcast(labels.shape().axes),
            _ => known.slice("length", 0, length - 1).pad(
                "length",
                1,
                0,
                f64::from(self.decoder_start_token_id),
            ),
        }
    }
}

impl Family for Config {
    fn name() -> &'static str {
        "t5"
    }

    fn from_hugging_face(config: &Map<String, Value>) -> Result<Self, ConfigError> {
        let config = files::read(config)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), SettingError> {
        token_id("pad_token_id", self.pad_token_id, self.vocab_size)?;
        let start = self.decoder_start_token_id;
        token_id("decoder_start_token_id", start, self.vocab_size)?;
        let (buckets, furthest) = (
            self.relative_attention_num_buckets,
            self.relative_attention_max_distance,
        );
        let count = ("relative_attention_num_buckets", &buckets as &dyn Display);
        SettingError::require(buckets >= 4, [count], || {
            "it must be at least 4, because an encoder has exact and logarithmic buckets on both sides"
                .into()
        })?;
        let distance = ("relative_attention_max_distance", &furthest as &dyn Display);
        SettingError::require(furthest > buckets / 2, [distance, count], || {
            "the distance must be more than half the number of buckets, because a decoder has that many exact ones".into()
        })
    }

    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn layer_keys(&self) -> &'static [&'static str] {
        &["num_layers", "num_decoder_layers"]
    }

    fn sequence_to_sequence(&self) -> Option<&dyn SequenceToSequence> {
        Some(self)
    }

    fn config_json(&self, model_type: &str) -> Result<Map<String, Value>, ConfigError> {
        let mut config = config::write(self, model_type, "T5ForConditionalGeneration")?;
        config.insert("is_encoder_decoder".into(), true.into());
        Ok(config)
    }

    fn hugging_face(&self) -> Vec<Entry> {
        files::entries(self)
    }

    /// T5's first published files have a table of relative positions for cross-attention, which never used it.
    fn unused(&self) -> &'static [&'static str] {
        &["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"]
    }
}

impl SequenceToSequence for Config {
    fn loss<'g>(
        &self,
        cx: Context<'g>,
        ids: Tensor<'g>,
        labels: Tensor<'g>,
        counted: Tensor<'g>,
    ) -> (Tensor<'g>, Tensor<'g>) {
        let mask = ids.ne(ids.constant(f64::from(self.pad_token_id)));
        let encoded = self.encode(cx, ids, mask, false).last;
        let decoded = self
            .decode(cx, self.decoder_input(labels), None, encoded, mask)
            .last;
        let logits = self.logits(cx, decoded);
        cx.builder
            .scope("loss", || cross_entropy(logits, labels, counted))
    }

    fn pad(&self) -> i32 {
        self.pad_token_id
    }
}
