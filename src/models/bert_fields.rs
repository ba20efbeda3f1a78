//! The configuration fields that BERT, ALBERT, ELECTRA's networks and Megatron's BERT share, written once.
//!
//! serde cannot flatten one struct into another and still refuse unknown keys. A macro therefore writes each family's
//! `Config`: these fields with the family's defaults, followed by its own.

use super::embeddings::Embeddings;
use super::encoder::{Encoder, Norm, ungated};
use super::layers::Activation;
use super::settings::SettingError;

/// Declares a configuration struct with the common fields (Hugging Face's defaults given by name) and then its own, each with
/// its default. `common` returns the common fields as [`BertFields`].
macro_rules! bert_config {
    (
        $(#[$about:meta])*
        pub struct $name:ident {
            $(common $common:ident = $value:expr,)*
            $($(#[$doc:meta])* pub $field:ident: $type:ty = $default:expr,)*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            /// Rows of the embedding.
            pub vocab_size: usize,
            /// The residual stream's size (`embed`).
            pub hidden_size: usize,
            /// Layers.
            pub num_hidden_layers: usize,
            /// Heads.
            pub num_attention_heads: usize,
            /// Hidden units of a feed-forward layer (`mlp`).
            pub intermediate_size: usize,
            /// The function of the feed-forward layers, and of the output layer unless the family has another for it.
            pub hidden_act: $crate::models::layers::Activation,
            /// The dropout rate of a block's result in training.
            pub hidden_dropout_prob: f64,
            /// The dropout rate of attention weights.
            pub attention_probs_dropout_prob: f64,
            /// Rows of the position table, the most tokens of a row.
            pub max_position_embeddings: usize,
            /// Rows of the type table; 0 leaves it out.
            pub type_vocab_size: usize,
            /// The standard deviation of initial weights.
            pub initializer_range: f64,
            /// The epsilon that norms add to the variance.
            pub layer_norm_eps: f64,
            /// The id that pads rows.
            pub pad_token_id: i32,
            /// Whether the output layer uses the embedding.
            pub tie_word_embeddings: bool,
            $($(#[$doc])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                let common = $crate::models::bert_fields::BertFields {
                    $($common: $value,)*
                    ..Default::default()
                };
                $name {
                    vocab_size: common.vocab_size,
                    hidden_size: common.hidden_size,
                    num_hidden_layers: common.num_hidden_layers,
                    num_attention_heads: common.num_attention_heads,
                    intermediate_size: common.intermediate_size,
                    hidden_act: common.hidden_act,
                    hidden_dropout_prob: common.hidden_dropout_prob,
                    attention_probs_dropout_prob: common.attention_probs_dropout_prob,
                    max_position_embeddings: common.max_position_embeddings,
                    type_vocab_size: common.type_vocab_size,
                    initializer_range: common.initializer_range,
                    layer_norm_eps: common.layer_norm_eps,
                    pad_token_id: common.pad_token_id,
                    tie_word_embeddings: common.tie_word_embeddings,
                    $($field: $default,)*
                }
            }
        }

        impl $name {
            /// The fields of all BERT-like families.
            fn common(&self) -> $crate::models::bert_fields::BertFields {
                $crate::models::bert_fields::BertFields {
                    vocab_size: self.vocab_size,
                    hidden_size: self.hidden_size,
                    num_hidden_layers: self.num_hidden_layers,
                    num_attention_heads: self.num_attention_heads,
                    intermediate_size: self.intermediate_size,
                    hidden_act: self.hidden_act,
                    hidden_dropout_prob: self.hidden_dropout_prob,
                    attention_probs_dropout_prob: self.attention_probs_dropout_prob,
                    max_position_embeddings: self.max_position_embeddings,
                    type_vocab_size: self.type_vocab_size,
                    initializer_range: self.initializer_range,
                    layer_norm_eps: self.layer_norm_eps,
                    pad_token_id: self.pad_token_id,
                    tie_word_embeddings: self.tie_word_embeddings,
                }
            }
        }
    };
}

pub(super) use bert_config;

/// The common fields, as the families' configurations document them.
#[derive(Clone, Copy, Debug)]
pub(super) struct BertFields {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub hidden_act: Activation,
    pub hidden_dropout_prob: f64,
    pub attention_probs_dropout_prob: f64,
    pub max_position_embeddings: usize,
    pub type_vocab_size: usize,
    pub initializer_range: f64,
    pub layer_norm_eps: f64,
    pub pad_token_id: i32,
    pub tie_word_embeddings: bool,
}

/// The values of BERT's base model, as in Hugging Face's `BertConfig`.
impl Default for BertFields {
    fn default() -> Self {
        BertFields {
            vocab_size: 30522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: Activation::Gelu,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            pad_token_id: 0,
            tie_word_embeddings: true,
        }
    }
}

impl BertFields {
    /// The embeddings in `scope`: rows of the residual stream's size, with a norm.
    pub fn embeddings(&self, scope: &'static str) -> Embeddings {
        Embeddings {
            scope,
            axis: "embed",
            size: self.hidden_size,
            vocab: self.vocab_size,
            positions: self.max_position_embeddings,
            types: self.type_vocab_size,
            pad: self.pad_token_id,
            norm: Some(self.layer_norm_eps),
            init: self.initializer_range,
        }
    }

    /// The layers, with a norm after each block.
    pub fn encoder(&self) -> Encoder {
        Encoder {
            layers: self.num_hidden_layers,
            hidden: self.hidden_size,
            heads: self.num_attention_heads,
            mlp: self.intermediate_size,
            activation: self.hidden_act,
            rotary: None,
            norm: Norm::After,
            epsilon: self.layer_norm_eps,
            dropout: self.hidden_dropout_prob,
            attention_dropout: self.attention_probs_dropout_prob,
            init: self.initializer_range,
            output_init: self.initializer_range,
        }
    }

    /// Refuses settings that no such model can have, given the tables of `embeddings`.
    ///
    /// # Errors
    /// Sizes that are 0 or do not fit one another, or a gated activation.
    pub fn check(&self, embeddings: Embeddings) -> Result<(), SettingError> {
        embeddings.check()?;
        self.encoder().check()?;
        ungated("hidden_act", self.hidden_act)
    }
}
