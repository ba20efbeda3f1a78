//! Which settings of a step are allowed: the ranges of its numbers, and which ones fit together.

use std::fmt::Display;

use super::objective::{MaskedLm, Objective};
use super::step::StepConfig;
use crate::models::settings::{Range, SettingError, check_ranges, short};
use crate::models::{Model, xlnet};

/// The ranges of the settings of objectives, optimizers and schedules that are neither sizes nor plain real numbers.
const RANGES: &[(&str, Range)] = &[
    // Objectives.
    ("noise_density", Range::PROBABILITY),
    ("random_probability", Range::PROBABILITY),
    ("sentinel", Range::COUNT),
    ("first_random", Range::COUNT),
    ("probability", Range::PROBABILITY),
    ("masked", Range::PROBABILITY),
    ("random", Range::PROBABILITY),
    ("temperature", Range::POSITIVE),
    ("reuse", Range::COUNT),
    // Optimizers.
    ("beta1", Range::BELOW_ONE),
    ("beta2", Range::BELOW_ONE),
    ("clamp", Range::POSITIVE),
    ("clip_threshold", Range::POSITIVE),
    ("decay", Range::BELOW_ONE),
    ("decay_exponent", Range::NOT_POSITIVE),
    ("epsilon", Range::POSITIVE),
    ("least_factored", Range::COUNT),
    ("momentum", Range::BELOW_ONE),
    ("scale_floor", Range::NOT_NEGATIVE),
    ("weight_decay", Range::NOT_NEGATIVE),
    // Schedules.
    ("end", Range::NOT_NEGATIVE),
    ("power", Range::POSITIVE),
    ("ramp", Range::POSITIVE),
    ("rate", Range::NOT_NEGATIVE),
    ("total", Range::POSITIVE),
    ("warmup", Range::NOT_NEGATIVE),
];

/// The longest row: `f32` has all whole numbers up to here.
const MAX_LENGTH: usize = 1 << 24;

/// Refuses settings that are out of range or do not fit together.
///
/// # Errors
/// The first of them, by its key in a recipe.
pub(super) fn check(step: &StepConfig) -> Result<(), SettingError> {
    for (key, size) in [
        ("batch", step.batch),
        ("length", step.length),
        ("microbatches", step.microbatches),
    ] {
        Range::SIZE.require(key, &size, size as f64)?;
    }
    let (batch, length, parts) = (&step.batch, &step.length, &step.microbatches);
    SettingError::require(*length <= MAX_LENGTH, [("length", length)], || {
        format!(
            "positions are counted in f32, which is exact up to {MAX_LENGTH}; take --length {MAX_LENGTH} or less"
        )
    })?;
    let rest = batch % parts;
    let settings: [(_, &dyn Display); 2] = [("batch", batch), ("microbatches", parts)];
    SettingError::require(rest == 0, settings, || {
        let above = batch - rest + parts;
        match batch - rest {
            0 => format!(
                "microbatches must divide batch; the smallest batch that it divides is {above}"
            ),
            below => format!(
                "microbatches must divide batch; the nearest batches are {below} and {above}"
            ),
        }
    })?;
    if let Some(clip) = step.clip_norm {
        Range::POSITIVE.require("clip_norm", &short(clip), clip)?;
    }
    step.model.check().map_err(|error| error.below("model"))?;
    let at = |table| move |error: SettingError| error.below(table);
    check_ranges(&step.objective, RANGES).map_err(at("objective"))?;
    check_ranges(&step.optimizer, RANGES).map_err(at("optimizer"))?;
    check_ranges(&step.schedule, RANGES).map_err(at("schedule"))?;
    directions(step)?;
    objective(step)
}

fn directions(step: &StepConfig) -> Result<(), SettingError> {
    let Model::Xlnet(xlnet::Config { bi_data: true, .. }) = step.model else {
        return Ok(());
    };
    let settings: [(_, &dyn Display); 3] = [
        ("batch", &step.batch),
        ("microbatches", &step.microbatches),
        ("model.bi_data", &true),
    ];
    let even = (step.batch / step.microbatches).is_multiple_of(2);
    SettingError::require(even, settings, || {
        "half of a microbatch's rows run backwards, so batch / microbatches must be even".into()
    })
}

fn objective(step: &StepConfig) -> Result<(), SettingError> {
    match &step.objective {
        Objective::MaskedLm(masked) => {
            let MaskedLm {
                masked,
                random,
                packed,
                sentence_order,
                ..
            } = masked;
            let both: [(_, &dyn Display); 2] =
                [("objective.masked", masked), ("objective.random", random)];
            // Decimal fractions that add up to 1 may be a last place above it in f64.
            SettingError::require(masked + random <= 1.0 + 1e-9, both, || {
                "their sum must be at most 1".into()
            })?;
            let both: [(_, &dyn Display); 2] = [
                ("objective.packed", packed),
                ("objective.sentence_order", sentence_order),
            ];
            SettingError::require(!(*packed && *sentence_order), both, || {
                "a row of two halves has no room for other proteins, so one of the two must be false".into()
            })
        }
        Objective::PermutationLm(permuted) => {
            let both: [(_, &dyn Display); 2] = [
                ("objective.predictions", &permuted.predictions),
                ("length", &step.length),
            ];
            SettingError::require(permuted.predictions <= step.length, both, || {
                "no more tokens can be predicted than a row has".into()
            })
        }
        Objective::Denoise(_) => {
            // The corruption finds padding and the end of a sequence by these ids.
            let vocabulary = &step.vocabulary;
            let fits = vocabulary.pad == 0 && vocabulary.suffix.iter().eq(&[1]);
            let settings: [(_, &dyn Display); 2] = [
                ("vocabulary", &vocabulary.name),
                ("objective.name", &"denoise"),
            ];
            SettingError::require(fits, settings, || {
                "denoise needs T5's vocabulary, with padding as id 0 and `</s>` as id 1 at the end"
                    .into()
            })
        }
        Objective::ReplacedTokens(_) | Objective::CausalLm(_) => Ok(()),
    }
}
