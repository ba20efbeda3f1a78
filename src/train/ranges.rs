//! The ranges of the settings in this room.

use crate::models::settings::Range;

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
