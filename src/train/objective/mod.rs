//! What a model is trained to do, as a graph from clean tokens to a loss. Noise is a pure function of (seed, step,
//! position), made on the devices: the batch carries clean tokens alone (XLNet's also which are predicted).

mod denoise;

use serde::{Deserialize, Serialize};

pub use denoise::Denoise;

use crate::data::{Dataset, DatasetError, Rows, Spans, Vocabulary, entropy};
use crate::graph::{Key, Tensor};
use crate::models::{Model, Run};

/// Which objective, with its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Objective {
    /// Restoring a whole protein from one with hidden tokens (ProtT5).
    Denoise(Denoise),
}

/// What a step gives its objective.
#[derive(Clone, Copy)]
pub struct Given<'a, 'g> {
    /// Clean tokens, `s32[batch, length]`.
    pub tokens: Tensor<'g>,
    /// Positions to predict, `s32[batch, predictions]`, -1 for none; where [`Objective::spans`] asks for them.
    pub targets: Option<Tensor<'g>>,
    /// What the model remembers, as [`Model::memory`] shapes it.
    pub memory: Option<Tensor<'g>>,
    /// Where noise comes from.
    pub key: Key<'g>,
    /// What the tokens are.
    pub vocabulary: &'a Vocabulary,
}

/// A loss as a sum and the number of its terms, so that microbatches add up.
#[derive(Clone, Debug)]
pub struct Loss<'g> {
    /// The sum.
    pub sum: Tensor<'g>,
    /// How many terms it has.
    pub count: Tensor<'g>,
    /// What else is worth watching: name, sum and number of terms.
    pub parts: Vec<(&'static str, Tensor<'g>, Tensor<'g>)>,
    /// What the model remembers for the next batch.
    pub memory: Option<Tensor<'g>>,
}

impl<'g> Loss<'g> {
    /// A loss of one part, without memory.
    fn plain((sum, count): (Tensor<'g>, Tensor<'g>)) -> Self {
        Loss {
            sum,
            count,
            parts: Vec::new(),
            memory: None,
        }
    }
}

/// An objective that does not train models of a family.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the objective `{objective}` trains {trains}, and the model is of the family `{family}`")]
pub struct WrongModel {
    /// The objective's name.
    pub objective: &'static str,
    /// The families it trains.
    pub trains: &'static str,
    /// The model's family.
    pub family: &'static str,
}

impl Objective {
    /// The loss of `model` on what is given.
    ///
    /// # Errors
    /// A model that the objective does not train.
    pub fn loss<'g>(
        &self,
        run: Run<'g>,
        model: &Model,
        given: Given<'_, 'g>,
    ) -> Result<Loss<'g>, WrongModel> {
        let refused = |objective, trains| WrongModel {
            objective,
            trains,
            family: model.family(),
        };
        match (self, model) {
            (Objective::Denoise(denoise), Model::T5(config)) => {
                Ok(denoise.loss(run, config, given))
            }
            (Objective::Denoise(_), _) => Err(refused("denoise", "t5")),
        }
    }

    /// How proteins lie in the rows of a batch of `length` tokens.
    pub fn rows(&self, _length: usize) -> Rows {
        match self {
            Objective::Denoise(_) => Rows::Padded,
        }
    }

    /// How many tokens a row of the batch has where the model reads `length` of them.
    pub fn row_tokens(&self, length: usize) -> usize {
        match self {
            Objective::Denoise(_) => length,
        }
    }

    /// How the tokens that are predicted are drawn, if the batch says which.
    pub fn spans(&self) -> Option<Spans> {
        match self {
            Objective::Denoise(_) => None,
        }
    }

    /// How often a token of a row goes through a model: twice where an encoder and a decoder read it.
    pub fn readings(&self) -> usize {
        match self {
            Objective::Denoise(_) => 2,
        }
    }

    /// The highest id that the objective itself puts in, and where it comes from.
    pub fn highest_id(&self, vocabulary: &Vocabulary) -> (&'static str, i32) {
        match self {
            Objective::Denoise(denoise) => denoise.highest_id(),
            #[allow(unreachable_patterns)]
            _ => ("the vocabulary's mask", vocabulary.mask),
        }
    }

    /// The loss, in nats, of the best guess that does not look at its input: every target by how often it comes in
    /// `data`.
    ///
    /// # Errors
    /// Rows too short for a protein.
    pub fn constant_guess(&self, data: &Dataset, length: usize) -> Result<f64, DatasetError> {
        match self {
            Objective::Denoise(_) => Ok(entropy(&data.frequencies(length, |_| true)?)),
        }
    }
}
