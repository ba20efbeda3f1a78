//! XLNet's permutation language modelling (Yang et al. 2019): the predicted tokens of a row are put into a random order.
//! Each is predicted from the tokens that are not predicted and from those before it in that order.
//!
//! The order is one rank per position: the number of its block of `block` positions plus a random number below 1. The batch
//! states which tokens are predicted.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use super::{Given, Loss, Surroundings, Task};
use crate::data::{Dataset, DatasetError, Rows, Spans, Vocabulary, entropy};
use crate::graph::{Axis, DType, Key, Shape, Tensor};
use crate::models::layers::cross_entropy;
use crate::models::settings::SettingError;
use crate::models::{Context, Model, xlnet};

/// The settings. Defaults are those of the official example command for the large model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PermutationLm {
    /// The number of predicted tokens in a row.
    pub predictions: usize,
    /// A span of n predicted tokens has a context of n x `mask_alpha` / `mask_beta` tokens.
    pub mask_alpha: usize,
    /// See `mask_alpha`.
    pub mask_beta: usize,
    /// The longest span.
    pub longest: usize,
    /// The size of the blocks in which positions are put into a random order.
    pub block: usize,
}

impl Default for PermutationLm {
    fn default() -> Self {
        PermutationLm {
            predictions: 85,
            mask_alpha: 6,
            mask_beta: 1,
            longest: 5,
            block: 256,
        }
    }
}

impl PermutationLm {
    /// The positions `keys` that each position `length` cannot see: `pred[batch, length, keys]`. The next step remembers the
    /// first `reused` tokens of a row.
    ///
    /// Within one part of a row (the reused part or the rest), a token that is predicted or not a residue is hidden from all
    /// tokens before it in the order. A predicted token is also hidden from itself. All other tokens come first and see only
    /// each other. The reused part sees nothing of the rest; the rest sees all of the reused part.
    pub fn hidden<'g>(
        &self,
        tokens: Tensor<'g>,
        predicted: Tensor<'g>,
        reused: usize,
        key: Key<'g>,
        vocabulary: &Vocabulary,
    ) -> Tensor<'g> {
        let builder = tokens.builder();
        builder.scope("permutation", || {
            let (axes, length) = (tokens.shape().axes, tokens.size("length"));
            let all = [axes.clone(), vec![Axis::new("keys", length)]].concat();
            let around = vocabulary.prefix.iter().chain(vocabulary.suffix.iter());
            let no = tokens.lt(tokens.constant(f64::from(i32::MIN)));
            let special = around.fold(no, |so_far, id| {
                so_far.or(tokens.eq(tokens.constant(f64::from(*id))))
            });
            let ordered = predicted.or(special);
            let target = ordered.and(special.not());

            let place = builder.iota("length", Shape::new(DType::S32, axes.clone()));
            let later = place.ge(place.constant(reused as f64));
            // Each part counts its blocks from its start.
            let within = later.select(place - reused as f64, place);
            let block = (within.cast(DType::F32) / self.block.max(1) as f64).floor();
            let rank = block + key.stream("order").uniform(&axes);
            let rank = ordered.select(rank, rank.constant(-1.0));

            let row = |tensor: Tensor<'g>| tensor.broadcast(all.clone());
            let column =
                |tensor: Tensor<'g>| tensor.rename("length", "keys").broadcast(all.clone());
            let before = row(rank)
                .lt(column(rank))
                .or(row(target).and(row(rank).le(column(rank))));
            let same_part = row(later)
                .cast(DType::S32)
                .eq(column(later).cast(DType::S32));
            let next_part = column(later).and(row(later).not());
            next_part.or(same_part.and(before).and(column(ordered)))
        })
    }
}

impl Task for PermutationLm {
    fn name() -> &'static str {
        "permutation-lm"
    }

    fn trains(&self) -> &'static str {
        "model.family = xlnet"
    }

    fn check(&self, around: &Surroundings) -> Result<(), SettingError> {
        let both: [(_, &dyn Display); 2] = [
            ("objective.predictions", &self.predictions),
            ("length", &around.length),
        ];
        SettingError::require(self.predictions <= around.length, both, || {
            "a row cannot have more predicted tokens than tokens".into()
        })?;
        let both_ways = (around.model.config()).is_some_and(|model: &xlnet::Config| model.bi_data);
        let settings: [(_, &dyn Display); 3] = [
            ("batch", &around.batch),
            ("microbatches", &around.microbatches),
            ("model.bi_data", &both_ways),
        ];
        let even = (around.batch / around.microbatches).is_multiple_of(2);
        SettingError::require(even || !both_ways, settings, || {
            "batch / microbatches must be even, because half of a microbatch's rows run backwards"
                .into()
        })
    }

    /// The loss of predicting the given positions.
    fn loss<'g>(&self, cx: Context<'g>, model: &Model, given: Given<'_, 'g>) -> Option<Loss<'g>> {
        let model: &xlnet::Config = model.config()?;
        let (tokens, targets) = (given.tokens, given.targets?);
        let length = tokens.size("length");
        // No position is -1, so a missing target matches nothing.
        let mapping = targets.one_hot("length", length, DType::F32);
        let predicted = mapping
            .sum(["predictions"])
            .gt(cx.builder.constant(0.5, DType::F32));
        let reused = model.reused(length);
        let hidden = self.hidden(tokens, predicted, reused, given.key, given.vocabulary);
        let input = xlnet::Input {
            ids: tokens,
            // One segment. Its published weights get no gradient, because a softmax cancels what all keys share.
            types: Some(cx.builder.full(0.0, tokens.shape())),
            mask: None,
            permutation: Some(hidden),
            targets: Some(mapping.cast(cx.policy.compute())),
            memory: given.memory,
        };
        let output = model.forward(cx, input);
        let logits = model.logits(cx, output.hidden);
        let labels = mapping
            .dot(tokens.cast(DType::F32), ["length"])
            .cast(DType::S32);
        let counted = targets.ge(targets.constant(0.0));
        let (sum, count) = cx
            .builder
            .scope("loss", || cross_entropy(logits, labels, counted));
        Some(Loss {
            sum,
            count,
            parts: Vec::new(),
            memory: given.memory.and(output.memory),
        })
    }

    fn rows(&self, model: &Model, length: usize) -> Rows {
        match model.config::<xlnet::Config>() {
            Some(config) => Rows::Running {
                stride: config.reused(length),
                both_ways: config.bi_data,
            },
            None => Rows::Padded,
        }
    }

    fn spans(&self) -> Option<Spans> {
        Some(Spans {
            predictions: self.predictions,
            alpha: self.mask_alpha,
            beta: self.mask_beta,
            longest: self.longest,
        })
    }

    fn constant_guess(&self, _: &Model, data: &Dataset, _: usize) -> Result<f64, DatasetError> {
        let residues = data.vocabulary().residue_ids();
        Ok(entropy(
            &data.frequencies(usize::MAX, |id| residues.contains(&id))?,
        ))
    }
}
