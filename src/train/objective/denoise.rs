//! ProtT5's denoising.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use super::{Given, Loss, Surroundings, Task};
use crate::data::{Dataset, DatasetError, Vocabulary, entropy};
use crate::graph::{DType, Key, Tensor};
use crate::models::settings::SettingError;
use crate::models::{Context, Model};

/// ProtT5's denoising (Elnaggar et al. 2021; T5's `iid_15_r10s90_f`): single tokens are corrupted independently.
/// Most become one sentinel, some a random token, and the target is the whole original sequence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Denoise {
    /// The probability that a token is corrupted.
    pub noise_density: f64,
    /// The probability that a corrupted token becomes a random one and not the sentinel.
    pub random_probability: f64,
    /// The id that replaces corrupted tokens: `<extra_id_0>`, the last of the vocabulary.
    pub sentinel: i32,
    /// Random tokens are drawn from this id up to the vocabulary's end, sentinels included, as in T5's code.
    pub first_random: i32,
}

impl Default for Denoise {
    fn default() -> Self {
        Denoise {
            noise_density: 0.15,
            random_probability: 0.1,
            sentinel: 127,
            first_random: 3,
        }
    }
}

/// `</s>`, which ends every sequence and is never corrupted.
const END: f64 = 1.0;

impl Denoise {
    /// `tokens` (`s32[batch, length]`) with noise by `key`; padding and `</s>` stay.
    pub fn corrupt<'g>(&self, tokens: Tensor<'g>, key: Key<'g>, vocab: usize) -> Tensor<'g> {
        let builder = tokens.builder();
        builder.scope("corrupt", || {
            let axes = tokens.shape().axes;
            let noised = key.stream("noise").chance(self.noise_density, &axes);
            let noised = noised.and(tokens.gt(tokens.constant(END)));
            let random = key.stream("random").chance(self.random_probability, &axes);
            let first = usize::try_from(self.first_random).unwrap_or(0);
            let drawn = key.stream("draw");
            let drawn = drawn.below(vocab.saturating_sub(first), &axes) + first as f64;
            let sentinel = builder.constant(f64::from(self.sentinel), DType::S32);
            noised.select(random.select(drawn, sentinel), tokens)
        })
    }
}

impl Task for Denoise {
    fn name() -> &'static str {
        "denoise"
    }

    fn trains(&self) -> &'static str {
        "a sequence-to-sequence model, such as model.family = t5"
    }

    /// The loss of restoring the given tokens, over all but padding.
    fn loss<'g>(&self, cx: Context<'g>, model: &Model, given: Given<'_, 'g>) -> Option<Loss<'g>> {
        let network = model.sequence_to_sequence()?;
        let tokens = given.tokens;
        let corrupted = self.corrupt(tokens, given.key, model.vocab_size());
        let counted = tokens.ne(tokens.constant(f64::from(network.pad())));
        Some(Loss::plain(network.loss(cx, corrupted, tokens, counted)))
    }

    fn check(&self, around: &Surroundings) -> Result<(), SettingError> {
        // Corruption recognises padding and the end of a sequence by these ids.
        let vocabulary = &around.vocabulary;
        let fits = vocabulary.pad == 0 && vocabulary.suffix.iter().eq(&[1]);
        let settings: [(_, &dyn Display); 2] = [
            ("vocabulary", &vocabulary.name),
            ("objective.name", &"denoise"),
        ];
        SettingError::require(fits, settings, || {
            "denoise needs T5's vocabulary: padding is id 0, and `</s>` at the end of each sequence is id 1"
                .into()
        })
    }

    fn readings(&self) -> usize {
        2
    }

    /// The first of the random ids.
    fn noise_ids(&self, _: &Vocabulary) -> Vec<(&'static str, i32)> {
        vec![
            ("objective.sentinel", self.sentinel),
            ("objective.first_random", self.first_random),
        ]
    }

    fn constant_guess(
        &self,
        _: &Model,
        data: &Dataset,
        length: usize,
    ) -> Result<f64, DatasetError> {
        Ok(entropy(&data.frequencies(length, |_| true)?))
    }
}
