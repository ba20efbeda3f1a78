//! BERT (Devlin et al. 2019), as ProtBert uses it (Elnaggar et al. 2021): an encoder of post-norm layers with learned
//! absolute positions, trained to restore masked tokens.
//!
//! Reference: `BertForMaskedLM` of Hugging Face transformers, and `BertForPreTraining` with `sentence_head`. Config keys are
//! its `config.json`'s.
//!
//! ```text
//! ribosome verify golden/numeric/bert.safetensors
//! ```

use serde_json::{Map, Value};

use super::bert_fields::bert_config;
use super::context::Context;
use super::embeddings::Embeddings;
use super::encoder::Encoded;
use super::family::{Family, HasTensor, MaskedLanguageModel};
use super::heads::{self, MaskedHead};
use super::hugging_face::config::{self, ConfigError};
use super::hugging_face::encoder as files;
use super::hugging_face::encoder::{BERT_DECODER, BERT_LAYER};
use super::settings::SettingError;
use super::tokens::Tokens;
use super::weights::Entry;
use crate::graph::Tensor;

bert_config! {
    /// The sizes and switches of a BERT model; the defaults are Hugging Face's.
    pub struct Config {
        /// Whether the model has the pooler and the head for pairs of sentences, as published checkpoints do.
        pub sentence_head: bool = false,
    }
}

impl Config {
    fn embeddings(&self) -> Embeddings {
        self.common().embeddings("embeddings")
    }
}

impl Family for Config {
    fn name() -> &'static str {
        "bert"
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
        self.common().check(self.embeddings())
    }

    fn config_json(&self, model_type: &str) -> Result<Map<String, Value>, ConfigError> {
        let class = match self.sentence_head {
            true => "BertForPreTraining",
            false => "BertForMaskedLM",
        };
        config::write(self, model_type, class)
    }

    fn hugging_face(&self) -> Vec<Entry> {
        [
            files::embeddings("embeddings", "bert.embeddings", BERT_DECODER),
            files::layer("encoder/layer", "bert.encoder.layer.{layer}", &BERT_LAYER),
            files::bert_head("masked_lm"),
            files::linear("pooler", "bert.pooler.dense", 1),
            files::linear("sentence", "cls.seq_relationship", 1),
        ]
        .concat()
    }

    /// Published files are of several classes, and only some have the head.
    fn look_at_tensors(&mut self, has: HasTensor) {
        let head = ["bert.pooler.dense.weight", "cls.seq_relationship.weight"];
        self.sentence_head = self.sentence_head || head.iter().all(|name| has(name));
    }
}

impl MaskedLanguageModel for Config {
    fn encode<'g>(&self, cx: Context<'g>, tokens: Tokens<'g>, inputs: bool) -> Encoded<'g> {
        let embedded = self.embeddings().embed(cx, tokens);
        let embedded = cx.dropout(embedded, self.hidden_dropout_prob, "embedded");
        self.common()
            .encoder()
            .stack(cx, embedded, tokens.mask, inputs)
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

    /// Whether the second sentence follows the first.
    fn sentence_logits<'g>(&self, cx: Context<'g>, encoded: Tensor<'g>) -> Option<Tensor<'g>> {
        let init = self.initializer_range;
        self.sentence_head.then(|| {
            let pooled = heads::pool(cx, encoded, init);
            heads::sentence_logits(cx, pooled, init)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Model;

    fn prot_bert() -> Config {
        Config {
            vocab_size: 30,
            hidden_size: 1024,
            num_hidden_layers: 30,
            num_attention_heads: 16,
            intermediate_size: 4096,
            max_position_embeddings: 40000,
            ..Config::default()
        }
    }

    /// ProtBert's checkpoint: 420,982,814 weights with the pooler, plus 2 x 1024 + 2 of the head for sentences.
    #[test]
    fn parameter_counts_are_the_published_ones() {
        let pooler = 1024 * 1024 + 1024;
        assert_eq!(
            Model::new(prot_bert().clone()).parameters(),
            420_982_814 - pooler
        );
        let with_head = Config {
            sentence_head: true,
            ..prot_bert()
        };
        assert_eq!(Model::new(with_head.clone()).parameters(), 420_984_864);
    }

    fn read(config: Value) -> Result<Config, String> {
        let config = config.as_object().unwrap();
        Config::from_hugging_face(config).map_err(|error| error.to_string())
    }

    /// ProtBert's config.json.
    #[test]
    fn the_published_config_is_read() {
        let config = serde_json::json!({
            "architectures": ["BertForMaskedLM"], "attention_probs_dropout_prob": 0.0, "hidden_act": "gelu",
            "hidden_dropout_prob": 0.0, "hidden_size": 1024, "initializer_range": 0.02, "intermediate_size": 4096,
            "max_position_embeddings": 40000, "model_type": "bert", "num_attention_heads": 16, "num_hidden_layers": 30,
            "type_vocab_size": 2, "vocab_size": 30
        });
        let expected = Config {
            hidden_dropout_prob: 0.0,
            attention_probs_dropout_prob: 0.0,
            ..prot_bert()
        };
        assert_eq!(read(config).unwrap(), expected);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused = |config| read(config).unwrap_err();
        let cases = [
            (serde_json::json!({ "hiden_size": 8 }), "`hidden_size`"),
            (
                serde_json::json!({ "hidden_act": "mish" }),
                "hidden_act is \"mish\"; the nearest is `swish`",
            ),
            (
                serde_json::json!({ "hidden_act": "gated-gelu" }),
                "gated-gelu",
            ),
            (
                serde_json::json!({ "position_embedding_type": "relative_key" }),
                "only \"absolute\" is supported",
            ),
            (
                serde_json::json!({ "is_decoder": true }),
                "is_decoder is true",
            ),
            (
                serde_json::json!({ "pad_token_id": null }),
                "pad_token_id is null",
            ),
            (
                serde_json::json!({ "vocab_size": 30, "pad_token_id": 30 }),
                "pad_token_id is 30",
            ),
            (
                serde_json::json!({ "num_attention_heads": 5 }),
                "hidden_size is 768 and num_attention_heads is 5",
            ),
        ];
        for (config, expected) in cases {
            let error = refused(config);
            assert!(error.contains(expected), "{error}");
        }
    }
}
