//! Which settings of a step are allowed: the ranges of its numbers, and which ones fit together.

use std::fmt::Display;

use super::step::StepConfig;
use crate::graph::DType;
use crate::models::settings::{Range, SettingError, check_ranges, short};

/// The ranges of the settings of objectives, optimizers and schedules that are neither sizes nor plain real numbers.
pub(super) const RANGES: &[(&str, Range)] = &[
    // Objectives.
    ("noise_density", Range::PROBABILITY),
    ("random_probability", Range::PROBABILITY),
    ("sentinel", Range::COUNT),
    ("first_random", Range::COUNT),
    ("probability", Range::PROBABILITY),
    ("masked", Range::PROBABILITY),
    ("random", Range::PROBABILITY),
    ("temperature", Range::POSITIVE),
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
    ("first_step", Range::COUNT),
    ("power", Range::POSITIVE),
    ("ramp", Range::POSITIVE),
    ("rate", Range::NOT_NEGATIVE),
    ("total", Range::POSITIVE),
    ("warmup", Range::NOT_NEGATIVE),
];

/// The longest row: `f32` has all whole numbers up to here.
const MAX_LENGTH: usize = 1 << 24;

/// A model's `keys` as a recipe has them.
pub(super) fn in_recipe(keys: &[&str]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| format!("model.{key}")).collect();
    keys.join(" and ")
}

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
    let memory = step.model.memory(step.batch, DType::F32);
    if let Some(memory) = memory.and_then(|memory| memory.size("memory")) {
        let key = in_recipe(step.model.memory_keys());
        let fits = length.saturating_add(memory) <= MAX_LENGTH;
        let both: [(&str, &dyn Display); 2] = [(&key, &memory), ("length", length)];
        SettingError::require(fits, both, || {
            format!(
                "the two together can be at most {MAX_LENGTH}, because positions are counted in f32"
            )
        })?;
    }
    let at = |table| move |error: SettingError| error.below(table);
    let objective = &step.objective;
    check_ranges(objective, objective.ranges()).map_err(at("objective"))?;
    check_ranges(&step.optimizer, RANGES).map_err(at("optimizer"))?;
    check_ranges(&step.schedule, RANGES).map_err(at("schedule"))?;
    objective.check(step)
}
