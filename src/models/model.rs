//! A model of any family: what the rooms above need of all of them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::context::Context;
use super::hugging_face::{self, ConfigError};
use super::tokens::Tokens;
use super::weights::Entry;
use super::{albert, bert, electra, megatron, t5, transfo_xl, xlnet};
use crate::graph::{Builder, DType, Policy, Role, Shape, Tensor, Weight};

/// A model's family and configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "family", rename_all = "kebab-case")]
pub enum Model {
    /// T5 (ProtT5).
    T5(t5::Config),
    /// BERT (ProtBert).
    Bert(bert::Config),
    /// ALBERT (ProtAlbert).
    Albert(albert::Config),
    /// ELECTRA's generator and discriminator (ProtElectra).
    Electra(electra::Config),
    /// Megatron's BERT (ProteinLM).
    Megatron(megatron::Config),
    /// XLNet (ProtXLNet).
    Xlnet(xlnet::Config),
    /// Transformer-XL (ProtTXL).
    TransfoXl(transfo_xl::Config),
}

impl Model {
    /// The family's name, as recipes spell it.
    pub fn family(&self) -> &'static str {
        match self {
            Model::T5(_) => "t5",
            Model::Bert(_) => "bert",
            Model::Albert(_) => "albert",
            Model::Electra(_) => "electra",
            Model::Megatron(_) => "megatron",
            Model::Xlnet(_) => "xlnet",
            Model::TransfoXl(_) => "transfo-xl",
        }
    }

    /// Rows of the embedding.
    pub fn vocab_size(&self) -> usize {
        match self {
            Model::T5(config) => config.vocab_size,
            Model::Bert(config) => config.vocab_size,
            Model::Albert(config) => config.vocab_size,
            Model::Electra(config) => config.generator.vocab_size,
            Model::Megatron(config) => config.vocab_size,
            Model::Xlnet(config) => config.vocab_size,
            Model::TransfoXl(config) => config.vocab_size,
        }
    }

    /// The longest row that the model has positions for; none where positions have no end.
    pub fn positions(&self) -> Option<usize> {
        match self {
            Model::T5(_) | Model::Xlnet(_) | Model::TransfoXl(_) => None,
            Model::Bert(config) => Some(config.max_position_embeddings),
            Model::Albert(config) => Some(config.max_position_embeddings),
            Model::Electra(config) => Some(
                (config.generator.max_position_embeddings)
                    .min(config.discriminator.max_position_embeddings),
            ),
            Model::Megatron(config) => Some(config.max_position_embeddings),
        }
    }

    /// Refuses sizes and switches that do not go together.
    ///
    /// # Errors
    /// What does not, by the configuration's keys.
    pub fn check(&self) -> Result<(), ConfigError> {
        hugging_face::check_sizes(self)?;
        match self {
            Model::T5(_) => Ok(()),
            Model::Bert(config) => config.check(),
            Model::Albert(config) => config.check(),
            Model::Electra(config) => config.check(),
            Model::Megatron(config) => config.check(),
            Model::Xlnet(config) => config.check(),
            Model::TransfoXl(config) => config.check(),
        }
    }

    /// What the model remembers of the batches before, for `batch` rows: `[layers, batch, memory, embed]`.
    pub fn memory(&self, batch: usize, dtype: DType) -> Option<Shape> {
        let (layers, memory, embed) = match self {
            Model::Xlnet(config) => (config.n_layer, config.mem_len, config.d_model),
            Model::TransfoXl(config) => (config.n_layer, config.mem_len, config.d_model),
            _ => return None,
        };
        let axes = [
            ("layers", layers),
            ("batch", batch),
            ("memory", memory),
            ("embed", embed),
        ];
        (memory > 0).then(|| Shape::new(dtype, axes))
    }

    /// The keys that say how many layers there are.
    pub fn layer_keys(&self) -> &'static [&'static str] {
        match self {
            Model::T5(_) => &["num_layers", "num_decoder_layers"],
            Model::Bert(_) | Model::Albert(_) | Model::Megatron(_) => &["num_hidden_layers"],
            Model::Electra(_) => &[
                "generator.num_hidden_layers",
                "discriminator.num_hidden_layers",
            ],
            Model::Xlnet(_) | Model::TransfoXl(_) => &["n_layer"],
        }
    }

    /// Where Hugging Face keeps each weight.
    pub fn hugging_face(&self) -> Vec<Entry> {
        match self {
            Model::T5(config) => config.hugging_face(),
            Model::Bert(config) => config.hugging_face(),
            Model::Albert(config) => config.hugging_face(),
            Model::Electra(config) => config.hugging_face(),
            Model::Megatron(config) => config.hugging_face(),
            Model::Xlnet(config) => config.hugging_face(),
            Model::TransfoXl(config) => config.hugging_face(),
        }
    }

    /// The model that a Hugging Face `config.json` describes.
    ///
    /// # Errors
    /// A kind of model that is none of ours, or what its family says.
    pub fn from_hugging_face(config: &Map<String, Value>) -> Result<Self, ConfigError> {
        let kind = config.get("model_type").and_then(Value::as_str);
        Ok(match kind {
            Some("t5") => Model::T5(t5::Config::from_hugging_face(config)?),
            Some("bert") => Model::Bert(bert::Config::from_hugging_face(config)?),
            Some("albert") => Model::Albert(albert::Config::from_hugging_face(config)?),
            Some("megatron-bert") => Model::Megatron(megatron::Config::from_hugging_face(config)?),
            Some("xlnet") => Model::Xlnet(xlnet::Config::from_hugging_face(config)?),
            Some("transfo-xl") => Model::TransfoXl(transfo_xl::Config::from_hugging_face(config)?),
            _ => {
                return Err(ConfigError::UnknownModel(
                    kind.unwrap_or_default().to_string(),
                ));
            }
        })
    }

    /// The logits of masked tokens, `[batch, length, vocab]`; none where the model is no masked language model.
    pub fn masked_logits<'g>(&self, cx: Context<'g>, tokens: Tokens<'g>) -> Option<Tensor<'g>> {
        match self {
            Model::Bert(config) => Some(config.logits(cx, tokens)),
            Model::Albert(config) => Some(config.logits(cx, tokens)),
            Model::Megatron(config) => Some(config.logits(cx, tokens)),
            _ => None,
        }
    }

    /// The logits of masked tokens and those of the sentence head, `[batch, classes]`; none where the model lacks either.
    pub fn masked_and_sentence_logits<'g>(
        &self,
        cx: Context<'g>,
        tokens: Tokens<'g>,
    ) -> Option<(Tensor<'g>, Tensor<'g>)> {
        match self {
            Model::Bert(config) if config.sentence_head => {
                let encoded = config.encode(cx, tokens, false).last;
                let order = config.sentence_logits(cx, encoded);
                Some((config.token_logits(cx, encoded), order))
            }
            Model::Albert(config) if config.sentence_head => {
                let encoded = config.encode(cx, tokens, false).last;
                let order = config.sentence_logits(cx, encoded);
                Some((config.token_logits(cx, encoded), order))
            }
            _ => None,
        }
    }

    /// Every weight, in the order in which the model declares them.
    pub fn weights(&self) -> Vec<Weight> {
        let builder = Builder::new();
        let cx = Context::new(&builder, Policy::F32);
        let shape = Shape::new(DType::S32, [("batch", 2), ("length", 2)]);
        let ids = builder.input("ids", Role::Batch, shape);
        let all = ids.ge(ids.constant(0.0));
        match self {
            Model::T5(config) => {
                config.loss(cx, ids, ids, all);
            }
            Model::Electra(config) => {
                config.generator_logits(cx, Tokens::new(ids));
                config.discriminator_logits(cx, Tokens::new(ids));
            }
            Model::Xlnet(config) => {
                let input = xlnet::Input {
                    ids,
                    types: Some(ids),
                    mask: None,
                    permutation: None,
                    targets: None,
                    memory: None,
                };
                let output = config.forward(cx, input);
                config.logits(cx, output.hidden);
            }
            Model::TransfoXl(config) => {
                let output = config.forward(cx, ids, None);
                config.losses(cx, output.hidden, ids, all);
            }
            Model::Bert(_) | Model::Albert(_) | Model::Megatron(_) => {
                self.masked_logits(cx, Tokens::new(ids));
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
