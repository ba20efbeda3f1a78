//! ALBERT (Lan et al. 2020), as ProtAlbert uses it (Elnaggar et al. 2021): BERT whose layers are passes over one set of
//! weights, or one set per group of passes. Its embeddings are small (`factor`), and a linear layer takes them to `embed`.
//!
//! Reference: `AlbertForMaskedLM` of Hugging Face transformers, and `AlbertForPreTraining` with `sentence_head`. Config keys
//! are its `config.json`'s.
//!
//! ```text
//! ribosome verify golden/numeric/albert_2group.safetensors
//! ```

use std::fmt::Display;

use serde_json::{Map, Value};

use super::bert_fields::bert_config;
use super::context::Context;
use super::embeddings::Embeddings;
use super::encoder::{Encoded, repeat};
use super::family::{Family, HasTensor, MaskedLanguageModel};
use super::heads::{self, MaskedHead};
use super::hugging_face::config::{self, ConfigError};
use super::hugging_face::encoder as files;
use super::hugging_face::encoder::LayerNames;
use super::layers::{Activation, project};
use super::settings::SettingError;
use super::tokens::Tokens;
use super::weights::Entry;
use crate::graph::{LoopOptions, Tensor};

bert_config! {
    /// The sizes and switches of an ALBERT model; the defaults are Hugging Face's. `num_hidden_layers` counts passes
    /// over a group's layers.
    pub struct Config {
        common vocab_size = 30000,
        common hidden_size = 4096,
        common num_attention_heads = 64,
        common intermediate_size = 16384,
        common hidden_act = Activation::GeluNew,
        common hidden_dropout_prob = 0.0,
        common attention_probs_dropout_prob = 0.0,
        /// The size of an embedding (`factor`).
        pub embedding_size: usize = 128,
        /// Sets of weights; pass i takes set floor(i / (passes / sets)).
        pub num_hidden_groups: usize = 1,
        /// Layers in a set, run in order in each pass.
        pub inner_group_num: usize = 1,
        /// The dropout rate of the pooled row before the head for sentences.
        pub classifier_dropout_prob: f64 = 0.1,
        /// Whether the model has the pooler and the head for the order of sentences, as published checkpoints do.
        pub sentence_head: bool = false,
    }
}

/// A limit above the passes of any model.
const MAX_PASSES: usize = 1 << 16;

/// A limit above the distinct layers of any ALBERT.
const MAX_OWN_LAYERS: usize = 1 << 10;

impl Config {
    fn embeddings(&self) -> Embeddings {
        Embeddings {
            axis: "factor",
            size: self.embedding_size,
            ..self.common().embeddings("embeddings")
        }
    }

    /// The number of passes of each group. The quotient is real-valued: 3 passes over 2 groups are 2 and 1.
    fn passes(&self) -> Vec<usize> {
        let (layers, groups) = (self.num_hidden_layers, self.num_hidden_groups);
        let a_group = layers as f64 / groups as f64;
        let mut passes = vec![0; groups];
        for layer in 0..layers {
            let group = (layer as f64 / a_group) as usize;
            if let Some(count) = passes.get_mut(group) {
                *count += 1;
            }
        }
        passes
    }
}

impl Family for Config {
    fn name() -> &'static str {
        "albert"
    }

    fn from_hugging_face(config: &Map<String, Value>) -> Result<Self, ConfigError> {
        let config: Self = files::config(config)?;
        config.check()?;
        Ok(config)
    }

    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn positions(&self) -> Option<usize> {
        Some(self.max_position_embeddings)
    }

    fn masked_language_model(&self) -> Option<&dyn MaskedLanguageModel> {
        Some(self)
    }

    fn check(&self) -> Result<(), SettingError> {
        self.common().check(self.embeddings())?;
        let (layers, groups) = (self.num_hidden_layers, self.num_hidden_groups);
        let (passes, own) = (
            ("num_hidden_layers", &layers as &dyn Display),
            ("num_hidden_groups", &groups as &dyn Display),
        );
        SettingError::require((1..=layers).contains(&groups), [own, passes], || {
            "num_hidden_groups must be from 1 to num_hidden_layers".into()
        })?;
        SettingError::require(layers <= MAX_PASSES, [passes], || {
            format!("it must be at most {MAX_PASSES}")
        })?;
        let inner = ("inner_group_num", &self.inner_group_num as &dyn Display);
        let layers = groups.saturating_mul(self.inner_group_num);
        SettingError::require(layers <= MAX_OWN_LAYERS, [own, inner], || {
            format!(
                "each of these {layers} layers has weights and instructions of its own, and there can be at most \
                 {MAX_OWN_LAYERS}"
            )
        })
    }

    fn config_json(&self, model_type: &str) -> Result<Map<String, Value>, ConfigError> {
        let class = match self.sentence_head {
            true => "AlbertForPreTraining",
            false => "AlbertForMaskedLM",
        };
        config::write(self, model_type, class)
    }

    fn hugging_face(&self) -> Vec<Entry> {
        let names = LayerNames {
            query: "attention.query",
            key: "attention.key",
            value: "attention.value",
            attention_output: "attention.dense",
            attention_norm: "attention.LayerNorm",
            mlp_input: "ffn",
            mlp_output: "ffn_output",
            mlp_norm: "full_layer_layer_norm",
        };
        let head = [
            "predictions.dense",
            "predictions.LayerNorm",
            "predictions.decoder.weight",
            "predictions.bias",
        ];
        let projection = "albert.encoder.embedding_hidden_mapping_in";
        let mut table = [
            files::embeddings("embeddings", "albert.embeddings", head[2]),
            files::linear("encoder/projection", projection, 1),
            files::masked_head("masked_lm", head),
            files::linear("pooler", "albert.pooler", 1),
            files::linear("sentence", "sop_classifier.classifier", 1),
        ]
        .concat();
        for group in 0..self.num_hidden_groups {
            for layer in 0..self.inner_group_num {
                let ours = format!("encoder/group_{group}/layer_{layer}");
                let theirs =
                    format!("albert.encoder.albert_layer_groups.{group}.albert_layers.{layer}");
                table.extend(files::layer(&ours, &theirs, &names));
            }
        }
        table
    }

    /// Published files are of several classes, and only some have the head.
    fn look_at_tensors(&mut self, has: HasTensor) {
        let head = ["albert.pooler.weight", "sop_classifier.classifier.weight"];
        self.sentence_head = self.sentence_head || head.iter().all(|name| has(name));
    }
}

impl MaskedLanguageModel for Config {
    /// Each group is one loop that captures its weights, so that their gradients are summed in the backward loop.
    fn encode<'g>(&self, cx: Context<'g>, tokens: Tokens<'g>, inputs: bool) -> Encoded<'g> {
        let (builder, encoder) = (cx.builder, self.common().encoder());
        let embedded = self.embeddings().embed(cx, tokens);
        let embedded = cx.dropout(embedded, self.hidden_dropout_prob, "embedded");
        builder.scope("encoder", || {
            let (to, init) = (("embed", self.hidden_size), self.initializer_range);
            let mut last = project(cx, "projection", embedded, "factor", to, init).pin_residual();
            let mut stacks = Vec::new();
            for (group, passes) in self.passes().into_iter().enumerate() {
                let encoded = builder.scope(&format!("group_{group}"), || {
                    repeat(cx, passes, LoopOptions::default(), last, inputs, |cx, x| {
                        (0..self.inner_group_num).fold(x, |x, layer| {
                            builder.scope(&format!("layer_{layer}"), || {
                                encoder.layer(cx, x, tokens.mask)
                            })
                        })
                    })
                });
                last = encoded.last;
                stacks.extend(encoded.inputs);
            }
            let inputs = inputs.then(|| builder.concat("layers", &stacks));
            Encoded { last, inputs }
        })
    }

    fn token_logits<'g>(&self, cx: Context<'g>, encoded: Tensor<'g>) -> Tensor<'g> {
        let head = MaskedHead {
            embeddings: self.embeddings(),
            tied: self.tie_word_embeddings,
            activation: self.hidden_act,
            epsilon: self.layer_norm_eps,
            init: self.initializer_range,
        };
        head.logits(cx, encoded)
    }

    /// Whether the two sentences are in order.
    fn sentence_logits<'g>(&self, cx: Context<'g>, encoded: Tensor<'g>) -> Option<Tensor<'g>> {
        let init = self.initializer_range;
        self.sentence_head.then(|| {
            let pooled = heads::pool(cx, encoded, init);
            let pooled = cx.dropout(pooled, self.classifier_dropout_prob, "pooled");
            heads::sentence_logits(cx, pooled, init)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Model;

    /// ProtAlbert's checkpoint: 224,339,106 weights with the pooler, plus 2 x 4096 + 2 of the head for sentences.
    #[test]
    fn parameter_counts_are_the_published_ones() {
        let prot_albert = Config {
            vocab_size: 34,
            max_position_embeddings: 40000,
            ..Config::default()
        };
        let pooler = 4096 * 4096 + 4096;
        assert_eq!(
            Model::new(prot_albert.clone()).parameters(),
            224_339_106 - pooler
        );
        let with_head = Config {
            sentence_head: true,
            ..prot_albert
        };
        assert_eq!(Model::new(with_head.clone()).parameters(), 224_347_300);
    }

    #[test]
    fn passes_go_to_groups_by_a_real_valued_quotient() {
        let passes = |num_hidden_layers, num_hidden_groups| {
            let config = Config {
                num_hidden_layers,
                num_hidden_groups,
                ..Config::default()
            };
            config.check().unwrap();
            config.passes()
        };
        assert_eq!(passes(12, 1), [12]);
        assert_eq!(passes(4, 2), [2, 2]);
        assert_eq!(passes(3, 2), [2, 1]);
        assert_eq!(passes(7, 3), [3, 2, 2]);
    }

    #[test]
    fn more_groups_than_passes_are_refused() {
        let config = Config {
            num_hidden_layers: 2,
            num_hidden_groups: 3,
            ..Config::default()
        };
        let error = config.check().unwrap_err().to_string();
        assert!(error.contains("num_hidden_groups is 3"), "{error}");
    }
}
