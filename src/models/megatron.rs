//! Megatron's BERT (Shoeybi et al. 2019), as ProteinLM uses it (Xiao et al. 2021): BERT with a norm before each block
//! and after the last layer, and without one in the embeddings. ProteinLM has no types (`type_vocab_size` 0), pads its 31
//! ids to 128, and packs several proteins into a row. A mask and positions that restart keep them apart.
//!
//! Reference: `MegatronBertForMaskedLM` of Hugging Face transformers. Config keys are its `config.json`'s.
//!
//! ```text
//! ribosome verify golden/numeric/megatron_bert.safetensors
//! ```

use serde_json::{Map, Value, json};

use super::bert_fields::bert_config;
use super::context::Context;
use super::embeddings::Embeddings;
use super::encoder::{Encoded, Encoder, Norm, ungated};
use super::family::{Family, MaskedLanguageModel};
use super::heads::MaskedHead;
use super::hugging_face::config::{self, ConfigError};
use super::hugging_face::encoder as files;
use super::hugging_face::encoder::{BERT_DECODER, BERT_LAYER, LayerNames};
use super::layers::Activation;
use super::settings::SettingError;
use super::tokens::Tokens;
use super::weights::Entry;
use crate::graph::Tensor;

bert_config! {
    /// The sizes and switches of a Megatron BERT model; the defaults are Hugging Face's.
    pub struct Config {
        common vocab_size = 29056,
        common hidden_size = 1024,
        common num_hidden_layers = 24,
        common num_attention_heads = 16,
        common intermediate_size = 4096,
        /// The activation of the output layer if it differs: ProteinLM's code has the tanh form of gelu in its layers and the
        /// exact form here.
        pub head_act: Option<Activation> = None,
    }
}

impl Config {
    fn embeddings(&self) -> Embeddings {
        Embeddings {
            norm: None,
            ..self.common().embeddings("embeddings")
        }
    }

    fn encoder(&self) -> Encoder {
        // At the start, 2 L blocks add as much to the residual stream as one would (Megatron's scaled initialisation).
        let sums = 2.0 * self.num_hidden_layers as f64;
        Encoder {
            norm: Norm::Before,
            output_init: self.initializer_range / sums.sqrt(),
            ..self.common().encoder()
        }
    }

    fn head(&self) -> MaskedHead {
        MaskedHead {
            embeddings: self.embeddings(),
            tied: self.tie_word_embeddings,
            activation: self.head_act.unwrap_or(self.hidden_act),
            epsilon: self.layer_norm_eps,
            init: self.initializer_range,
        }
    }
}

impl Family for Config {
    fn name() -> &'static str {
        "megatron"
    }

    fn model_type() -> &'static str {
        "megatron-bert"
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
        ungated("head_act", self.head().activation)
    }

    fn config_json(&self, model_type: &str) -> Result<Map<String, Value>, ConfigError> {
        config::write(self, model_type, "MegatronBertForMaskedLM")
    }

    fn hugging_face(&self) -> Vec<Entry> {
        let names = LayerNames {
            attention_norm: "attention.ln",
            mlp_norm: "ln",
            ..BERT_LAYER
        };
        [
            files::embeddings("embeddings", "bert.embeddings", BERT_DECODER),
            files::layer("encoder/layer", "bert.encoder.layer.{layer}", &names),
            files::norm("encoder/final_norm", "bert.encoder.ln"),
            files::bert_head("masked_lm"),
        ]
        .concat()
    }

    fn unlike_transformers(&self) -> Option<String> {
        let head = self.head_act.filter(|head| *head != self.hidden_act)?;
        let [layers, head] = [self.hidden_act, head].map(|it| json!(it));
        Some(format!(
            "MegatronBertForMaskedLM has one activation, {layers}, for its layers and its head; this model's head has {head} \
             (model.head_act). Its logits will differ slightly there; its hidden states will not"
        ))
    }
}

impl MaskedLanguageModel for Config {
    fn encode<'g>(&self, cx: Context<'g>, tokens: Tokens<'g>, inputs: bool) -> Encoded<'g> {
        let embedded = self.embeddings().embed(cx, tokens);
        let embedded = cx.dropout(embedded, self.hidden_dropout_prob, "embedded");
        self.encoder().stack(cx, embedded, tokens.mask, inputs)
    }

    fn token_logits<'g>(&self, cx: Context<'g>, encoded: Tensor<'g>) -> Tensor<'g> {
        self.head().logits(cx, encoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Model;

    /// ProteinLM-200M, with its LM head and its vocabulary padded to 128 (from its training script's sizes).
    #[test]
    fn the_parameter_count_is_the_published_one() {
        let protein_lm = Config {
            vocab_size: 128,
            num_hidden_layers: 16,
            max_position_embeddings: 2176,
            type_vocab_size: 0,
            ..Config::default()
        };
        assert_eq!(Model::new(protein_lm.clone()).parameters(), 204_952_704);
    }

    #[test]
    fn a_gated_output_layer_is_refused() {
        let config = Config {
            head_act: Some(Activation::GatedGelu),
            ..Config::default()
        };
        let error = config.check().unwrap_err().to_string();
        assert!(error.contains("gated-gelu"), "{error}");
    }
}
