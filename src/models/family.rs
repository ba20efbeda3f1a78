//! The trait that a family's configuration implements, and one trait for each capability of models that objectives use.
//! All code that trains, converts or verifies models uses these traits, so a family of another crate can do
//! everything that a built-in one can.

use serde_json::{Map, Value};

use super::configuration::Configuration;
use super::context::Context;
use super::encoder::Encoded;
use super::hugging_face::{ConfigError, NetworkFiles};
use super::settings::{self, Range, SettingError};
use super::tokens::Tokens;
use super::weights::Entry;
use crate::graph::{DType, Shape, Tensor};

/// Whether a folder has the tensor of a name.
pub type HasTensor<'a> = &'a dyn Fn(&str) -> bool;

/// A family of models, implemented by its configuration: `config.json`'s keys, as a struct that derives `Clone`, `Debug`,
/// `PartialEq`, `Serialize` and `Deserialize`.
///
/// A family that is a masked language model is complete with the methods that have no default and
/// [`Family::masked_language_model`]; `examples/own_model` is one.
pub trait Family: Configuration {
    /// The family's name, as recipes spell it in `family = "..."`.
    fn name() -> &'static str
    where
        Self: Sized;

    /// Its `model_type` in `config.json`.
    fn model_type() -> &'static str
    where
        Self: Sized,
    {
        Self::name()
    }

    /// The configuration in a Hugging Face `config.json`; see [`super::hugging_face::config`] for reading one.
    ///
    /// # Errors
    /// An unknown key, a value of the wrong kind, or values that do not fit one another.
    fn from_hugging_face(config: &Map<String, Value>) -> Result<Self, ConfigError>
    where
        Self: Sized;

    /// Rows of the embedding.
    fn vocab_size(&self) -> usize;

    /// The keys that set [`Family::vocab_size`].
    fn vocab_keys(&self) -> &'static [&'static str] {
        &["vocab_size"]
    }

    /// The name and layout of each weight in Hugging Face's files.
    fn hugging_face(&self) -> Vec<Entry>;

    /// The ranges of settings that are neither sizes nor plain real numbers, by key. The default is the table of Hugging Face's
    /// keys.
    fn ranges(&self) -> &'static [(&'static str, Range)] {
        settings::MODEL
    }

    /// Refuses settings that do not fit together. Each number is already known to be in its range.
    ///
    /// # Errors
    /// The first such settings, by the configuration's keys.
    fn check(&self) -> Result<(), SettingError> {
        Ok(())
    }

    /// The longest row that the model has positions for; `None` if positions are unlimited.
    fn positions(&self) -> Option<usize> {
        None
    }

    /// The keys that set [`Family::positions`].
    fn position_keys(&self) -> &'static [&'static str] {
        &["max_position_embeddings"]
    }

    /// The shape of the memory of previous batches for `batch` rows, `[layers, batch, memory, embed]`; `None` without one.
    fn memory(&self, batch: usize, dtype: DType) -> Option<Shape> {
        let _ = (batch, dtype);
        None
    }

    /// The keys that set the length of [`Family::memory`].
    fn memory_keys(&self) -> &'static [&'static str] {
        &["mem_len"]
    }

    /// The keys of the numbers of layers, which `--set model.layers=N` sets.
    fn layer_keys(&self) -> &'static [&'static str] {
        &["num_hidden_layers"]
    }

    /// Records the whole model on `ids` (`s32[batch, length]`), so that every weight is declared. The default records what the
    /// model's first capability computes. A model without any, or with more weights, overrides it.
    fn declare<'g>(&self, cx: Context<'g>, ids: Tensor<'g>) {
        if let Some(model) = self.masked_language_model() {
            model.logits(cx, Tokens::new(ids));
        } else if let Some(model) = self.sequence_to_sequence() {
            model.loss(cx, ids, ids, ids.ge(ids.constant(0.0)));
        } else if let Some(model) = self.causal_language_model() {
            let hidden = model.read(cx, ids, None).hidden;
            model.losses(cx, hidden, ids, ids.ge(ids.constant(0.0)));
        }
    }

    /// The model as a masked language model, if it is one.
    fn masked_language_model(&self) -> Option<&dyn MaskedLanguageModel> {
        None
    }

    /// The model as a sequence-to-sequence model, if it is one.
    fn sequence_to_sequence(&self) -> Option<&dyn SequenceToSequence> {
        None
    }

    /// The model as a causal language model, if it is one.
    fn causal_language_model(&self) -> Option<&dyn CausalLanguageModel> {
        None
    }

    /// Tensors of Hugging Face's files that the model does not use, by the starts of their names.
    fn unused(&self) -> &'static [&'static str] {
        &[]
    }

    /// Sets what only a Hugging Face folder's tensors show, such as heads that `config.json` does not mention. `has` tests
    /// whether a tensor is there.
    fn look_at_tensors(&mut self, has: &dyn Fn(&str) -> bool)
    where
        Self: Sized,
    {
        let _ = has;
    }

    /// The folders that Hugging Face keeps the model in: one, unless it has the family as several models.
    ///
    /// # Errors
    /// A configuration that JSON cannot express.
    fn networks(&self, model_type: &str) -> Result<Vec<NetworkFiles>, ConfigError> {
        Ok(vec![NetworkFiles {
            folder: "",
            config: self.config_json(model_type)?,
            table: self.hugging_face(),
        }])
    }

    /// The model's `config.json`.
    ///
    /// # Errors
    /// A configuration that JSON cannot express.
    fn config_json(&self, model_type: &str) -> Result<Map<String, Value>, ConfigError>;

    /// What transformers computes differently with the written folders; `None` if it computes the same.
    fn unlike_transformers(&self) -> Option<String> {
        None
    }
}

erased_serde::serialize_trait_object!(Family);

/// An encoder that predicts masked tokens (Devlin et al. 2019).
pub trait MaskedLanguageModel {
    /// Encodes `tokens`. With `inputs`, the result includes each layer's input.
    fn encode<'g>(&self, cx: Context<'g>, tokens: Tokens<'g>, inputs: bool) -> Encoded<'g>;

    /// The logits `[batch, length, vocab]` of `encoded` `[batch, length, embed]`, in the exact type.
    fn token_logits<'g>(&self, cx: Context<'g>, encoded: Tensor<'g>) -> Tensor<'g>;

    /// The logits `[batch, classes]` of the two classes of a pair of sentences in `encoded` `[batch, length, embed]`, in the
    /// exact type; `None` if the model has no head for pairs.
    fn sentence_logits<'g>(&self, cx: Context<'g>, encoded: Tensor<'g>) -> Option<Tensor<'g>> {
        let _ = (cx, encoded);
        None
    }

    /// The logits `[batch, length, vocab]` of `tokens`, in the exact type. The weights of the head for sentences, if there
    /// is one, are declared too, because they belong to the model.
    fn logits<'g>(&self, cx: Context<'g>, tokens: Tokens<'g>) -> Tensor<'g> {
        let encoded = self.encode(cx, tokens, false).last;
        self.sentence_logits(cx, encoded);
        self.token_logits(cx, encoded)
    }
}

/// An encoder and a decoder that restore a sequence from another (Sutskever et al. 2014).
pub trait SequenceToSequence {
    /// The loss of restoring `labels` from `ids`, both `s32[batch, length]`: the sum over the labels that are `counted`
    /// (`pred`, the same axes) and their number.
    fn loss<'g>(
        &self,
        cx: Context<'g>,
        ids: Tensor<'g>,
        labels: Tensor<'g>,
        counted: Tensor<'g>,
    ) -> (Tensor<'g>, Tensor<'g>);

    /// The id that pads rows.
    fn pad(&self) -> i32;
}

/// A decoder that predicts every next token, with a memory of what it has read.
pub trait CausalLanguageModel {
    /// Reads the segment `ids` (`s32[batch, length]`) with the memory of those before, of the shape [`Family::memory`].
    fn read<'g>(&self, cx: Context<'g>, ids: Tensor<'g>, memory: Option<Tensor<'g>>)
    -> Segment<'g>;

    /// The cross-entropies of `labels` (`s32[batch, length]`, the tokens to come after each position of `hidden`) where
    /// `counted` (`pred`, the same axes) holds: their sum and their number, scalars.
    fn losses<'g>(
        &self,
        cx: Context<'g>,
        hidden: Tensor<'g>,
        labels: Tensor<'g>,
        counted: Tensor<'g>,
    ) -> (Tensor<'g>, Tensor<'g>);
}

/// The result of reading one segment of a text.
#[derive(Clone, Copy)]
pub struct Segment<'g> {
    /// The input of the logits: `[batch, length, embed]`, or `[batch, predictions, embed]` of a stream of queries.
    pub hidden: Tensor<'g>,
    /// The memory for the next segment, `[layers, batch, memory, embed]` in the policy's compute type, without a gradient;
    /// `None` if the model keeps none.
    pub memory: Option<Tensor<'g>>,
}
