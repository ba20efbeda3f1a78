//! A model of any family: what the rooms above need of all of them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::hf_config::ConfigError;
use super::run::Run;
use super::t5;
use super::weights::Entry;
use crate::graph::{Builder, DType, Policy, Role, Shape, Weight};

/// A model's family and configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "family", rename_all = "kebab-case")]
pub enum Model {
    /// T5 (ProtT5).
    T5(t5::Config),
}

/// The sizes that a mesh has to divide, and what moves between devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outline {
    /// The residual stream's size; where a model has several, what divides all of them.
    pub embed: usize,
    /// Heads; where a model has several kinds of layer, what divides all of them.
    pub heads: usize,
    /// Hidden units of a feed-forward layer, likewise.
    pub mlp: usize,
    /// Blocks that read the residual stream and add to it.
    pub residual_blocks: usize,
}

impl Model {
    /// The family's name, as recipes spell it.
    pub fn family(&self) -> &'static str {
        match self {
            Model::T5(_) => "t5",
        }
    }

    /// Rows of the embedding.
    pub fn vocab_size(&self) -> usize {
        match self {
            Model::T5(config) => config.vocab_size,
        }
    }

    /// The sizes that a mesh has to divide.
    pub fn outline(&self) -> Outline {
        match self {
            Model::T5(config) => Outline {
                embed: config.d_model,
                heads: config.num_heads,
                mlp: config.d_ff,
                residual_blocks: 2 * config.num_layers + 3 * config.num_decoder_layers,
            },
        }
    }

    /// What the model remembers of the batches before, for `batch` rows: `[layers, batch, memory, embed]`.
    pub fn memory(&self, _batch: usize, _dtype: DType) -> Option<Shape> {
        match self {
            Model::T5(_) => None,
        }
    }

    /// The keys that say how many layers there are.
    pub fn layer_keys(&self) -> &'static [&'static str] {
        match self {
            Model::T5(_) => &["num_layers", "num_decoder_layers"],
        }
    }

    /// Where Hugging Face keeps each weight.
    pub fn hugging_face(&self) -> Vec<Entry> {
        match self {
            Model::T5(config) => config.hugging_face(),
        }
    }

    /// The model that a Hugging Face `config.json` describes.
    ///
    /// # Errors
    /// A kind of model that is none of ours, or what its family says.
    pub fn from_hugging_face(config: &Map<String, Value>) -> Result<Self, ConfigError> {
        let kind = config.get("model_type").and_then(Value::as_str);
        match kind {
            Some("t5") => Ok(Model::T5(t5::Config::from_hugging_face(config)?)),
            _ => Err(ConfigError::UnknownModel(
                kind.unwrap_or_default().to_string(),
            )),
        }
    }

    /// Every weight, in the order in which the model declares them.
    pub fn weights(&self) -> Vec<Weight> {
        let builder = Builder::new();
        let run = Run::new(&builder, Policy::F32);
        let shape = Shape::new(DType::S32, [("batch", 1), ("length", 2)]);
        let ids = builder.input("ids", Role::Batch, shape);
        match self {
            Model::T5(config) => {
                let counted = ids.ge(ids.constant(0.0));
                config.loss(run, ids, ids, counted);
            }
        }
        builder.weights()
    }

    /// The number of weights.
    pub fn parameters(&self) -> usize {
        let weights = self.weights();
        weights.iter().map(|weight| weight.shape.elements()).sum()
    }
}
