//! The trait that the settings of an objective implement.

use crate::data::{Dataset, DatasetError, Rows, Spans, Vocabulary, entropy};
use crate::graph::{Key, Tensor};
use crate::models::settings::{Range, SettingError};
use crate::models::{Configuration, Context, Model};
use crate::train::ranges::RANGES;

/// The inputs that a step passes to its objective.
#[derive(Clone, Copy)]
pub struct Given<'a, 'g> {
    /// Clean tokens, `s32[batch, length]`.
    pub tokens: Tensor<'g>,
    /// Positions to predict, `s32[batch, predictions]`, with -1 for an unused place; only if [`Task::spans`] asks for them.
    pub targets: Option<Tensor<'g>>,
    /// The model's memory, of the shape [`crate::models::Family::memory`].
    pub memory: Option<Tensor<'g>>,
    /// The key of the noise.
    pub key: Key<'g>,
    /// The vocabulary.
    pub vocabulary: &'a Vocabulary,
}

/// A loss as a sum and the number of its terms, so that microbatches add up. A loss of two means (ELECTRA, the order of
/// sentences) combines them by the numbers of each microbatch, as each core does in the originals.
#[derive(Clone, Debug)]
pub struct Loss<'g> {
    /// The sum.
    pub sum: Tensor<'g>,
    /// The number of terms.
    pub count: Tensor<'g>,
    /// Parts to report: name, sum and number of terms.
    pub parts: Vec<(&'static str, Tensor<'g>, Tensor<'g>)>,
    /// The model's memory for the next batch.
    pub memory: Option<Tensor<'g>>,
}

impl<'g> Loss<'g> {
    /// A loss with one part and no memory.
    pub fn plain((sum, count): (Tensor<'g>, Tensor<'g>)) -> Self {
        Loss {
            sum,
            count,
            parts: Vec::new(),
            memory: None,
        }
    }
}

/// The settings of the step that an objective's own settings must fit.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The model.
    pub model: &'a Model,
    /// The vocabulary.
    pub vocabulary: &'a Vocabulary,
    /// Rows of a global batch.
    pub batch: usize,
    /// Tokens of a row.
    pub length: usize,
    /// The number of microbatches.
    pub microbatches: usize,
}

/// An objective, implemented by its settings: a struct that derives `Clone`, `Debug`, `PartialEq`, `Serialize` and
/// `Deserialize`.
pub trait Task: Configuration {
    /// The objective's name, as recipes spell it in `name = "..."`.
    fn name() -> &'static str
    where
        Self: Sized;

    /// The loss of `model` on the inputs `given`; `None` for a model that the objective does not train. An objective uses a
    /// capability of the model, such as [`crate::models::Family::masked_language_model`], or a family's own configuration
    /// ([`Model::config`]).
    fn loss<'g>(&self, cx: Context<'g>, model: &Model, given: Given<'_, 'g>) -> Option<Loss<'g>>;

    /// The settings of a model that it trains, for the error about one that it does not: `model.family = t5`.
    fn trains(&self) -> &'static str;

    /// The ranges of settings that are neither sizes nor plain real numbers, by key. The default is the table of the built-in
    /// objectives.
    fn ranges(&self) -> &'static [(&'static str, Range)] {
        RANGES
    }

    /// Refuses settings that do not fit together or do not fit the step `around`. Each number is already in its range.
    ///
    /// # Errors
    /// The first such settings, by the keys of a recipe.
    fn check(&self, around: &Surroundings) -> Result<(), SettingError> {
        let _ = around;
        Ok(())
    }

    /// How proteins are arranged in the rows of a batch of `length` tokens for `model`.
    fn rows(&self, model: &Model, length: usize) -> Rows {
        let _ = (model, length);
        Rows::Padded
    }

    /// The tokens in a row of the batch if the model reads `length` of them.
    fn row_tokens(&self, length: usize) -> usize {
        length
    }

    /// How the predicted tokens are drawn, if the batch holds them.
    fn spans(&self) -> Option<Spans> {
        None
    }

    /// How often a token of a row goes through a model: twice if an encoder and a decoder, or a generator and a
    /// discriminator, read it.
    fn readings(&self) -> usize {
        1
    }

    /// The ids that the objective itself inserts, and the source of each.
    fn noise_ids(&self, vocabulary: &Vocabulary) -> Vec<(&'static str, i32)> {
        vec![("the vocabulary's mask token", vocabulary.mask)]
    }

    /// The loss, in nats, of the best guess that ignores its input: every target by its frequency in `data`. The default is
    /// that of predicting residues in rows of `length` tokens.
    ///
    /// # Errors
    /// Rows too short for a protein.
    fn constant_guess(
        &self,
        model: &Model,
        data: &Dataset,
        length: usize,
    ) -> Result<f64, DatasetError> {
        let _ = model;
        let residues = data.vocabulary().residue_ids();
        Ok(entropy(
            &data.frequencies(length, |id| residues.contains(&id))?,
        ))
    }
}

erased_serde::serialize_trait_object!(Task);
