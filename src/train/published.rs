//! The recipe of each preset: the published run where there is one, and for the `-tiny` ones what learns in minutes on two
//! cores. What published runs of one preset differ in is in `recipes/`, with the source of each value.

use super::objective::{Denoise, Objective};
use super::optimizer::{Adafactor, Optimizer};
use super::recipe::{Recipe, RematName};
use super::schedule::Schedule;
use crate::data::VocabularyName;
use crate::graph::Policy;
use crate::models::presets::Preset;

/// The recipe of `preset`.
pub(super) fn recipe(preset: &Preset) -> Recipe {
    prot_t5(preset)
}

fn prot_t5(preset: &Preset) -> Recipe {
    let published = Recipe {
        name: preset.name.to_string(),
        target: Some("v3-1024".into()),
        mesh: None,
        // ProtT5-XL-BFD's model card: 4k rows of 512 tokens, 1.2 M steps on v3-1024.
        batch: 4096,
        length: 512,
        microbatches: 1,
        steps: 1_200_000,
        seed: 0,
        precision: Policy::Bf16,
        remat: RematName::Full,
        dropout: true,
        clip_norm: None,
        data: Some("BFD".into()),
        vocabulary: VocabularyName::ProtT5,
        vocabulary_file: None,
        model: preset.model.clone(),
        objective: Objective::Denoise(Denoise::default()),
        // mesh-tensorflow's defaults, and T5's schedule: 0.01 for 10 k steps, then falling.
        optimizer: Optimizer::Adafactor(Adafactor::default()),
        schedule: Schedule::InverseSqrt {
            rate: 1.0,
            warmup: 10_000.0,
            ramp: None,
        },
        phases: Vec::new(),
    };
    match preset.name {
        "prot-t5-xxl" => Recipe {
            batch: 2048,
            steps: 920_000,
            ..published
        },
        "prot-t5-tiny" => Recipe {
            target: Some("cpu:8".into()),
            data: None,
            // What learns in minutes on two cores: 300 steps on examples/data/proteins.fasta end at a loss of 0.69,
            // where guessing by frequency gives 2.92. The same tokens a step as 16 rows of 128 end at 2.03; so few
            // weights underfit, so dropout only slows them (2.63), and the published rate of 0.01 does too (2.15).
            batch: 32,
            length: 64,
            steps: 300,
            precision: Policy::F32,
            dropout: false,
            schedule: Schedule::InverseSqrt {
                rate: 3.0,
                warmup: 10_000.0,
                ramp: None,
            },
            ..published
        },
        _ => published,
    }
}
