//! ELECTRA's replaced-token detection (Clark et al. 2020): a small generator fills masked places with its samples, and the
//! discriminator predicts for every token whether it is the original. Both are trained at once. No gradient goes through
//! the samples.

use serde::{Deserialize, Serialize};

use super::masked_lm::MaskedLm;
use super::{Given, Loss, Task};
use crate::data::{Dataset, DatasetError, entropy};
use crate::graph::{DType, Key, Shape, Tensor};
use crate::models::layers::{binary_cross_entropy, cross_entropy};
use crate::models::tokens::Tokens;
use crate::models::{Context, Model, electra};

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReplacedTokens {
    /// The probability that a residue is chosen.
    pub probability: f64,
    /// The probability that the generator sees the mask token in its place, and not the residue itself.
    pub masked: f64,
    /// The temperature: the generator's logits are divided by it before sampling.
    pub temperature: f64,
}

impl Default for ReplacedTokens {
    fn default() -> Self {
        ReplacedTokens {
            probability: 0.15,
            masked: 0.85,
            temperature: 1.0,
        }
    }
}

impl ReplacedTokens {
    /// The noise that the generator sees.
    pub fn noise(&self) -> MaskedLm {
        MaskedLm {
            probability: self.probability,
            masked: self.masked,
            random: 0.0,
            ..MaskedLm::default()
        }
    }
}

impl Task for ReplacedTokens {
    fn name() -> &'static str {
        "replaced-tokens"
    }

    fn trains(&self) -> &'static str {
        "model.family = electra"
    }

    /// The sum of the generator's loss and the discriminator's, weighted as the model states.
    fn loss<'g>(&self, cx: Context<'g>, model: &Model, given: Given<'_, 'g>) -> Option<Loss<'g>> {
        let model: &electra::Config = model.config()?;
        let Given {
            tokens,
            vocabulary,
            key,
            ..
        } = given;
        let (corrupted, chosen) = self.noise().corrupt(tokens, key, vocabulary);
        let rows = Tokens::padded(tokens, vocabulary.pad);
        let logits = model.generator_logits(
            cx,
            Tokens {
                ids: corrupted,
                ..rows
            },
        );
        let (generator, places) = cx
            .builder
            .scope("generator_loss", || cross_entropy(logits, tokens, chosen));
        let filled = cx.builder.scope("sample", || {
            chosen.select(sample(logits.detach() / self.temperature, key), tokens)
        });
        let replaced = filled.ne(tokens);
        let scores = model.discriminator_logits(
            cx,
            Tokens {
                ids: filled,
                ..rows
            },
        );
        Some(cx.builder.scope("loss", || {
            let real = tokens.ne(tokens.constant(f64::from(vocabulary.pad)));
            let (discriminator, all) = binary_cross_entropy(scores, replaced, real);
            // Scaled to a sum over the generator's places: divided by their number, it is the sum of both means.
            let per_place = places / all.maximum(all.constant(1.0)) * model.discriminator_weight;
            Loss {
                sum: generator + discriminator * per_place,
                count: places,
                parts: vec![
                    ("generator", generator, places),
                    ("discriminator", discriminator, all),
                ],
                memory: None,
            }
        }))
    }

    fn readings(&self) -> usize {
        2
    }

    /// A generator that guesses by frequency replaces a token unless its draw happens to agree with it.
    fn constant_guess(
        &self,
        model: &Model,
        data: &Dataset,
        length: usize,
    ) -> Result<f64, DatasetError> {
        let residues = data.vocabulary().residue_ids();
        let frequencies = data.frequencies(length, |id| residues.contains(&id))?;
        let guess = entropy(&frequencies);
        let Some(model) = model.config::<electra::Config>() else {
            return Ok(guess);
        };
        let all = data.frequencies(length, |_| true)?;
        let maskable: f64 = residues.map(|id| all[id as usize]).sum();
        let agree: f64 = frequencies.iter().map(|p| p * p).sum();
        let rate = maskable * self.probability * (1.0 - agree);
        Ok(guess + model.discriminator_weight * entropy(&[rate, 1.0 - rate]))
    }
}

/// One id per position, drawn in proportion to the exponential of its logit (`[.., vocab]`): the largest after adding Gumbel
/// noise (Gumbel 1954).
pub fn sample<'g>(logits: Tensor<'g>, key: Key<'g>) -> Tensor<'g> {
    let axes = logits.shape().axes;
    // A narrow type would round some uniform numbers to 1, whose noise is infinite.
    let logits = match logits.dtype() {
        DType::BF16 => logits.cast(DType::F32),
        _ => logits,
    };
    let uniform = key.stream("gumbel").uniform(&axes).cast(logits.dtype());
    let noisy = logits - (-uniform.log()).log();
    let highest = noisy.ge(noisy.max(["vocab"]).broadcast(axes.clone()));
    let ids = logits.builder().iota("vocab", Shape::new(DType::S32, axes));
    highest
        .select(ids, ids.constant(f64::from(i32::MAX)))
        .min(["vocab"])
}
