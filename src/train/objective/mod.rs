//! What a model is trained to do, as a graph from clean tokens to a loss. Noise is a pure function of (seed, step,
//! position), made on the devices: the batch carries clean tokens alone (XLNet's also which are predicted).

mod causal_lm;
mod denoise;
mod masked_lm;
mod permutation_lm;
mod replaced_tokens;
mod sentence_order;

use serde::{Deserialize, Serialize};

pub use causal_lm::CausalLm;
pub use denoise::Denoise;
pub use masked_lm::{Draw, MaskedLm};
pub use permutation_lm::PermutationLm;
pub use replaced_tokens::{ReplacedTokens, sample};
pub use sentence_order::{Pairs, pairs};

use crate::data::{Dataset, DatasetError, Rows, Spans, Vocabulary, entropy};
use crate::graph::{Key, Tensor};
use crate::models::{Context, Model};

/// Which objective, with its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Objective {
    /// Restoring a whole protein from one with hidden tokens (ProtT5).
    Denoise(Denoise),
    /// Saying what hidden tokens were (ProtBert, ProtAlbert, ProteinLM).
    MaskedLm(MaskedLm),
    /// Telling a generator's tokens from real ones (ProtElectra).
    ReplacedTokens(ReplacedTokens),
    /// Predicting tokens in a random order (ProtXLNet).
    PermutationLm(PermutationLm),
    /// Predicting every next token (ProtTXL).
    CausalLm(CausalLm),
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

/// A loss as a sum and the number of its terms, so that microbatches add up. A loss of two means (ELECTRA's, and that of the
/// order of sentences) brings them together by the numbers of each microbatch, as in the originals each core does.
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
#[error("objective.name = {objective} needs {trains}; model.family is {family}")]
pub struct WrongModel {
    /// The objective's name.
    pub objective: &'static str,
    /// What it trains.
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
        cx: Context<'g>,
        model: &Model,
        given: Given<'_, 'g>,
    ) -> Result<Loss<'g>, WrongModel> {
        let loss = match (self, model) {
            (Objective::Denoise(denoise), Model::T5(config)) => {
                Some(denoise.loss(cx, config, given))
            }
            (Objective::MaskedLm(masked), model) => masked.loss(cx, model, given),
            (Objective::ReplacedTokens(replaced), Model::Electra(config)) => {
                Some(replaced.loss(cx, config, given))
            }
            (Objective::PermutationLm(permuted), Model::Xlnet(config)) => {
                permuted.loss(cx, config, given)
            }
            (Objective::CausalLm(causal), Model::TransfoXl(config)) => {
                Some(causal.loss(cx, config, given))
            }
            _ => None,
        };
        let (objective, trains) = self.trains();
        loss.ok_or(WrongModel {
            objective,
            trains,
            family: model.family(),
        })
    }

    /// The objective's name, and what it trains.
    fn trains(&self) -> (&'static str, &'static str) {
        match self {
            Objective::Denoise(_) => ("denoise", "model.family = t5"),
            Objective::MaskedLm(masked) if masked.sentence_order => (
                "masked-lm with objective.sentence_order = true",
                "model.family = bert or albert, with model.sentence_head = true",
            ),
            Objective::MaskedLm(_) => ("masked-lm", "model.family = bert, albert or megatron"),
            Objective::ReplacedTokens(_) => ("replaced-tokens", "model.family = electra"),
            Objective::PermutationLm(_) => ("permutation-lm", "model.family = xlnet"),
            Objective::CausalLm(_) => ("causal-lm", "model.family = transfo-xl"),
        }
    }

    /// How proteins lie in the rows of a batch of `length` tokens.
    pub fn rows(&self, length: usize) -> Rows {
        match self {
            Objective::Denoise(_) | Objective::ReplacedTokens(_) => Rows::Padded,
            Objective::MaskedLm(masked) => masked.rows(),
            Objective::PermutationLm(permuted) => permuted.rows(length),
            Objective::CausalLm(_) => Rows::Running {
                stride: length,
                both_ways: false,
            },
        }
    }

    /// How many tokens a row of the batch has where the model reads `length` of them.
    pub fn row_tokens(&self, length: usize) -> usize {
        match self {
            // The last one is predicted and not read.
            Objective::CausalLm(_) => length + 1,
            _ => length,
        }
    }

    /// How the tokens that are predicted are drawn, if the batch says which.
    pub fn spans(&self) -> Option<Spans> {
        match self {
            Objective::PermutationLm(permuted) => Some(permuted.spans()),
            _ => None,
        }
    }

    /// How often a token of a row goes through a model: twice where an encoder and a decoder, or a generator and a
    /// discriminator, read it.
    pub fn readings(&self) -> usize {
        match self {
            Objective::Denoise(_) | Objective::ReplacedTokens(_) => 2,
            _ => 1,
        }
    }

    /// The ids that the objective itself puts in, and where each comes from.
    pub fn noise_ids(&self, vocabulary: &Vocabulary) -> Vec<(&'static str, i32)> {
        match self {
            Objective::Denoise(denoise) => denoise.noise_ids().to_vec(),
            _ => vec![("the vocabulary's mask token", vocabulary.mask)],
        }
    }

    /// The loss, in nats, of the best guess that does not look at its input: every target by how often it comes in
    /// `data`.
    ///
    /// # Errors
    /// Rows too short for a protein.
    pub fn constant_guess(
        &self,
        model: &Model,
        data: &Dataset,
        length: usize,
    ) -> Result<f64, DatasetError> {
        let residues = data.vocabulary().residue_ids();
        let frequencies = match self {
            Objective::Denoise(_) => data.frequencies(length, |_| true)?,
            Objective::CausalLm(_) => data.frequencies(usize::MAX, |_| true)?,
            Objective::PermutationLm(_) => {
                data.frequencies(usize::MAX, |id| residues.contains(&id))?
            }
            Objective::MaskedLm(_) | Objective::ReplacedTokens(_) => {
                data.frequencies(length, |id| residues.contains(&id))?
            }
        };
        let mut guess = entropy(&frequencies);
        if let (Objective::ReplacedTokens(replaced), Model::Electra(config)) = (self, model) {
            // A generator that guesses so is wrong unless two draws agree, where it guesses at all.
            let all = data.frequencies(length, |_| true)?;
            let maskable: f64 = residues.map(|id| all[id as usize]).sum();
            let agree: f64 = frequencies.iter().map(|p| p * p).sum();
            let rate = maskable * replaced.probability * (1.0 - agree);
            guess += config.discriminator_weight * entropy(&[rate, 1.0 - rate]);
        }
        if let Objective::MaskedLm(MaskedLm {
            sentence_order: true,
            ..
        }) = self
        {
            guess += std::f64::consts::LN_2;
        }
        Ok(guess)
    }
}
