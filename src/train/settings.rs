//! Which settings of a step are allowed: whether its numbers are in their ranges, and which ones fit together.

use std::fmt::Display;

use super::objective::Surroundings;
use super::ranges::RANGES;
use super::step_config::StepConfig;
use crate::graph::DType;
use crate::models::settings::{Range, SettingError, check_ranges, short};

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
    objective.check(&Surroundings {
        model: &step.model,
        vocabulary: &step.vocabulary,
        batch: step.batch,
        length: step.length,
        microbatches: step.microbatches,
    })
}
