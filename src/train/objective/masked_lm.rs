//! Masked language modelling (Devlin et al. 2019): some residues are chosen; of those most become the mask token, some
//! another residue, and some stay, and the model has to say what they were.
//!
//! Each residue is chosen by itself, where the originals choose a fixed number a row: the fractions are the same, and a
//! choice needs to know of no other position.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use super::sentence_order::pairs;
use super::{Given, Loss, Task};
use crate::data::{Dataset, DatasetError, Rows, Vocabulary, entropy};
use crate::graph::{DType, Key, Tensor};
use crate::models::layers::{causal, cross_entropy};
use crate::models::settings::SettingError;
use crate::models::tokens::Tokens;
use crate::models::{Context, Model};
use crate::train::step::StepConfig;

/// What a chosen residue that is to become another is drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Draw {
    /// The other residues (ProtBert's card).
    OtherResidues,
    /// All ids of the vocabulary, special tokens and the residue itself among them (ProteinLM).
    Vocabulary,
}

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaskedLm {
    /// How likely a residue is chosen.
    pub probability: f64,
    /// How likely a chosen one becomes the mask token.
    pub masked: f64,
    /// How likely it becomes another token; else it stays.
    pub random: f64,
    /// Which other token.
    pub draw: Draw,
    /// Whether rows hold several proteins, each seeing itself alone, with positions that start anew (ProteinLM).
    pub packed: bool,
    /// Whether rows are a protein's two halves, in either order, and the model's sentence head learns which (ALBERT's objective;
    /// whether ProtAlbert was trained with it is not known).
    pub sentence_order: bool,
}

impl Default for MaskedLm {
    fn default() -> Self {
        MaskedLm {
            probability: 0.15,
            masked: 0.8,
            random: 0.1,
            draw: Draw::OtherResidues,
            packed: false,
            sentence_order: false,
        }
    }
}

impl MaskedLm {
    /// `tokens` (`s32[batch, length]`) with noise by `key`, and which of them were chosen.
    pub fn corrupt<'g>(
        &self,
        tokens: Tensor<'g>,
        key: Key<'g>,
        vocabulary: &Vocabulary,
    ) -> (Tensor<'g>, Tensor<'g>) {
        let builder = tokens.builder();
        builder.scope("corrupt", || {
            let axes = tokens.shape().axes;
            let residues = f64::from(vocabulary.residue_ids().start);
            let chosen = key.stream("chosen").chance(self.probability, &axes);
            let chosen = chosen.and(tokens.ge(tokens.constant(residues)));
            let roll = key.stream("roll").uniform(&axes);
            let masked = roll.lt(roll.constant(self.masked));
            let random = roll.lt(roll.constant(self.masked + self.random));
            let mask = builder.constant(f64::from(vocabulary.mask), DType::S32);
            let drawn = self.drawn(tokens, key.stream("draw"), vocabulary);
            let noised = masked.select(mask, random.select(drawn, tokens));
            (chosen.select(noised, tokens), chosen)
        })
    }

    /// A random token for each position.
    fn drawn<'g>(&self, tokens: Tensor<'g>, key: Key<'g>, vocabulary: &Vocabulary) -> Tensor<'g> {
        let axes = tokens.shape().axes;
        match self.draw {
            Draw::Vocabulary => key.below(vocabulary.size(), &axes),
            Draw::OtherResidues => {
                let residues = vocabulary.written_ids();
                let others = key.below(residues.len() - 1, &axes) + f64::from(residues.start);
                // The residue itself is left out: what would be it or stand behind it moves up by one.
                others + others.ge(tokens).cast(DType::S32)
            }
        }
    }
}

impl Task for MaskedLm {
    fn name() -> &'static str {
        "masked-lm"
    }

    fn trains(&self) -> &'static str {
        match self.sentence_order {
            true => {
                "(because objective.sentence_order is true) a masked language model with model.sentence_head = true, such as \
                 model.family = bert or albert"
            }
            false => "a masked language model, such as model.family = bert, albert or megatron",
        }
    }

    fn check(&self, _: &StepConfig) -> Result<(), SettingError> {
        let (masked, random) = (self.masked, self.random);
        let both: [(_, &dyn Display); 2] =
            [("objective.masked", &masked), ("objective.random", &random)];
        // Decimal fractions that add up to 1 may be a last place above it in f64.
        SettingError::require(masked + random <= 1.0 + 1e-9, both, || {
            "their sum must be at most 1".into()
        })?;
        let both: [(_, &dyn Display); 2] = [
            ("objective.packed", &self.packed),
            ("objective.sentence_order", &self.sentence_order),
        ];
        SettingError::require(!(self.packed && self.sentence_order), both, || {
            "a row of two halves has no room for other proteins, so one of the two must be false"
                .into()
        })
    }

    /// The loss of saying what the chosen tokens were.
    fn loss<'g>(&self, cx: Context<'g>, model: &Model, given: Given<'_, 'g>) -> Option<Loss<'g>> {
        let model = model.masked_language_model()?;
        let Given {
            tokens, vocabulary, ..
        } = given;
        let pairs = self
            .sentence_order
            .then(|| pairs(tokens, given.key, vocabulary));
        let tokens = pairs.map_or(tokens, |pairs| pairs.ids);
        let (corrupted, chosen) = self.corrupt(tokens, given.key, vocabulary);
        let rows = match self.packed {
            true => packed(cx, corrupted, tokens, vocabulary),
            false => Tokens {
                ids: corrupted,
                types: pairs.map(|pairs| pairs.types),
                ..Tokens::padded(tokens, vocabulary.pad)
            },
        };
        let Some(pairs) = pairs else {
            let logits = model.logits(cx, rows);
            let sums = (cx.builder).scope("loss", || cross_entropy(logits, tokens, chosen));
            return Some(Loss::plain(sums));
        };
        let encoded = model.encode(cx, rows, false).last;
        let order = model.sentence_logits(cx, encoded)?;
        let logits = model.token_logits(cx, encoded);
        cx.builder.scope("loss", || {
            let (masked, places) = cross_entropy(logits, tokens, chosen);
            let order = order.rename("classes", "vocab");
            let all = pairs.swapped.ge(pairs.swapped.constant(0.0));
            let (order, rows) = cross_entropy(order, pairs.swapped, all);
            Some(Loss {
                // As a sum over masked places, so that dividing by their number gives the sum of both means.
                sum: masked + order * (places / rows),
                count: places,
                parts: vec![("masked", masked, places), ("order", order, rows)],
                memory: None,
            })
        })
    }

    fn rows(&self, _: &Model, _: usize) -> Rows {
        match self.packed {
            true => Rows::Packed,
            false => Rows::Padded,
        }
    }

    /// Which of two orders a row has is a guess of one in two.
    fn constant_guess(
        &self,
        _: &Model,
        data: &Dataset,
        length: usize,
    ) -> Result<f64, DatasetError> {
        let residues = data.vocabulary().residue_ids();
        let guess = entropy(&data.frequencies(length, |id| residues.contains(&id))?);
        Ok(match self.sentence_order {
            true => guess + std::f64::consts::LN_2,
            false => guess,
        })
    }
}

/// Rows of several proteins, each starting with the vocabulary's first prefix token in the clean `tokens`: a position sees
/// those of its own protein, and positions count from its start.
fn packed<'g>(
    cx: Context<'g>,
    ids: Tensor<'g>,
    tokens: Tensor<'g>,
    vocabulary: &Vocabulary,
) -> Tokens<'g> {
    let builder = tokens.builder();
    builder.scope("packed", || {
        let start = vocabulary.prefix.first().copied().unwrap_or(vocabulary.pad);
        let starts = tokens
            .eq(tokens.constant(f64::from(start)))
            .cast(DType::F32);
        let before = causal(cx, tokens.size("length"));
        // The how many-th protein a position belongs to: a running sum, exact in f32, as a product with a triangle.
        let number = starts
            .rename("length", "keys")
            .dot(before.cast(DType::F32), ["keys"]);
        let axes = [
            tokens.shape().axes,
            vec![("keys", tokens.size("length")).into()],
        ]
        .concat();
        let same = number
            .broadcast(axes.clone())
            .eq(number.rename("length", "keys").broadcast(axes.clone()));
        let real = tokens.ne(tokens.constant(f64::from(vocabulary.pad)));
        let mask = same.and(real.rename("length", "keys").broadcast(axes.clone()));
        let earlier = same.and(before.broadcast(axes)).cast(DType::F32);
        let positions = (earlier.sum(["keys"]) - 1.0).cast(DType::S32);
        Tokens {
            mask: Some(mask),
            positions: Some(positions),
            ..Tokens::new(ids)
        }
    })
}
