//! Masked language modelling (Devlin et al. 2019): some residues are chosen. Most of them become the mask token, some
//! another residue, and some stay. The model predicts what they were.
//!
//! Each residue is chosen independently, while the originals choose a fixed number per row. The fractions are the same, and
//! a choice depends on no other position.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use super::sentence_order::pairs;
use super::{Given, Loss, Surroundings, Task};
use crate::data::{Dataset, DatasetError, Rows, Vocabulary, entropy};
use crate::graph::{DType, Key, Tensor};
use crate::models::layers::{causal, cross_entropy};
use crate::models::settings::SettingError;
use crate::models::tokens::Tokens;
use crate::models::{Context, Model};

/// Where the replacement of a chosen residue is drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Draw {
    /// The other residues (ProtBert's card).
    OtherResidues,
    /// All ids of the vocabulary, special tokens and the residue itself included (ProteinLM).
    Vocabulary,
}

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaskedLm {
    /// The probability that a residue is chosen.
    pub probability: f64,
    /// The probability that a chosen residue becomes the mask token.
    pub masked: f64,
    /// The probability that it becomes another token; otherwise it stays.
    pub random: f64,
    /// Where the other token is drawn from.
    pub draw: Draw,
    /// Whether rows hold several proteins, each of which sees only itself and counts its own positions (ProteinLM).
    pub packed: bool,
    /// Whether a row is a protein's two halves in either order, and the model's sentence head learns the order. This is
    /// ALBERT's objective; it is not known whether ProtAlbert was trained with it.
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
                // The residue itself is skipped: ids from its own on move up by one.
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

    fn check(&self, _: &Surroundings) -> Result<(), SettingError> {
        let (masked, random) = (self.masked, self.random);
        let both: [(_, &dyn Display); 2] =
            [("objective.masked", &masked), ("objective.random", &random)];
        // Decimal fractions that add up to 1 may exceed it by one unit in the last place of f64.
        SettingError::require(masked + random <= 1.0 + 1e-9, both, || {
            "their sum must be at most 1".into()
        })?;
        let both: [(_, &dyn Display); 2] = [
            ("objective.packed", &self.packed),
            ("objective.sentence_order", &self.sentence_order),
        ];
        SettingError::require(!(self.packed && self.sentence_order), both, || {
            "one of the two must be false, because a row of two halves has no room for other proteins"
                .into()
        })
    }

    /// The loss of predicting the chosen tokens.
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
                // Scaled to a sum over masked places: divided by their number, it is the sum of both means.
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

    /// A guess of a row's order is right half of the time.
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
/// only its own protein, and positions count from the protein's start.
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
        // The number of the protein that a position belongs to: a running sum, as a product with a triangle; exact in f32.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::vocabularies::PROTEIN_LM;
    use crate::graph::{Builder, Policy, Role, Shape};
    use crate::hlo::{Layout, lower};
    use crate::runtime::{Client, CompileConfig, HostArray, Platform, Purpose, Session, open};
    use crate::sharding::{Mesh, Rules};

    /// Mask and positions of packed rows, compared with values read off the rows by hand.
    #[test]
    fn proteins_of_a_row_see_themselves_and_count_from_their_start() {
        let rows = [
            [2, 6, 8, 2, 9, 2, 10, 11],   // proteins of 3, 2 and 3 tokens
            [2, 6, 2, 8, 30, 7, 0, 0],    // of 2 and 4, and padding
            [2, 6, 8, 9, 10, 11, 12, 13], // one that fills its row
        ];
        let shape = Shape::new(DType::S32, [("batch", 3), ("length", 8)]);
        let builder = Builder::new();
        let tokens = builder.input("tokens", Role::Batch, shape.clone());
        // Everything that the model reads is masked; the clean tokens alone decide which position sees which.
        let masked = tokens.constant(f64::from(PROTEIN_LM.mask)) + tokens * 0.0;
        let cx = Context::new(&builder, Policy::F32);
        let found = packed(cx, masked, tokens, &PROTEIN_LM);
        builder.output("mask", found.mask.unwrap().cast(DType::S32));
        builder.output("positions", found.positions.unwrap());
        builder.output("ids", found.ids);
        let graph = builder.compact().unwrap();
        let (mesh, rules) = (&Mesh::parse("data=1,model=1").unwrap(), &Rules::standard());
        let program = lower(&graph, "packed", Layout { mesh, rules }).unwrap();
        let client = Client::cpu(open(Platform::Cpu, Purpose::Run).unwrap(), 1).unwrap();
        let session =
            Session::new(&client, &program, &CompileConfig::for_virtual_devices(1)).unwrap();
        let tokens = HostArray::from_values(shape, rows.as_flattened()).unwrap();
        let outputs = session.evaluate(&[("tokens".to_string(), tokens)].into());
        let outputs = outputs.unwrap();
        let values = |name: &str| outputs[name].values::<i32>().unwrap();

        assert_eq!(values("ids"), [PROTEIN_LM.mask; 24]);
        let positions = [
            [0, 1, 2, 0, 1, 0, 1, 2],
            [0, 1, 0, 1, 2, 3, 4, 5],
            [0, 1, 2, 3, 4, 5, 6, 7],
        ];
        assert_eq!(values("positions"), positions.as_flattened());
        // One string per position, one column per key; 1 if it is seen. No position sees padding, and it is not predicted.
        let mask = [
            "11100000", "11100000", "11100000", "00011000", "00011000", "00000111", "00000111",
            "00000111", //
            "11000000", "11000000", "00111100", "00111100", "00111100", "00111100", "00111100",
            "00111100", //
            "11111111", "11111111", "11111111", "11111111", "11111111", "11111111", "11111111",
            "11111111",
        ];
        let seen = |line: &str| {
            line.bytes()
                .map(|c| i32::from(c - b'0'))
                .collect::<Vec<_>>()
        };
        let mask: Vec<i32> = mask.into_iter().flat_map(seen).collect();
        assert_eq!(values("mask"), mask);
        assert_eq!(outputs["mask"].shape().dims(), [3, 8, 8]);
    }
}
