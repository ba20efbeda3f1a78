//! The models by name.

use super::layers::Activation;
use super::model::Model;
use super::t5;

/// What kind of model a preset is, with its configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Preset {
    /// The name that people type.
    pub name: &'static str,
    /// One line of what it is.
    pub about: &'static str,
    /// The configuration.
    pub model: Model,
}

/// Every preset, in the order in which they are listed.
pub fn presets() -> Vec<Preset> {
    vec![
        Preset {
            name: "prot-t5-xl",
            about: "ProtT5-XL (Elnaggar et al. 2021)",
            model: t5_model(1024, 128, 16384, 24, 32),
        },
        Preset {
            name: "prot-t5-xxl",
            about: "ProtT5-XXL (Elnaggar et al. 2021)",
            model: t5_model(1024, 128, 65536, 24, 128),
        },
        Preset {
            name: "prot-t5-tiny",
            about: "a ProtT5 that trains on a laptop",
            model: t5_model(64, 16, 256, 2, 8),
        },
    ]
}

/// A published ProtT5 shape: 128 ids, tied embeddings, relu, as its `config.json`.
fn t5_model(d_model: usize, d_kv: usize, d_ff: usize, layers: usize, heads: usize) -> Model {
    Model::T5(t5::Config {
        vocab_size: 128,
        d_model,
        d_kv,
        d_ff,
        num_layers: layers,
        num_decoder_layers: layers,
        num_heads: heads,
        relative_attention_num_buckets: 32,
        relative_attention_max_distance: 128,
        dropout_rate: 0.1,
        layer_norm_epsilon: 1e-6,
        feed_forward_proj: Activation::Relu,
        tie_word_embeddings: true,
        pad_token_id: 0,
        decoder_start_token_id: 0,
    })
}

/// The preset called `name`, or the names that are nearest to it.
pub fn preset(name: &str) -> Result<Preset, Vec<&'static str>> {
    let all = presets();
    if let Some(found) = all.iter().find(|preset| preset.name == name) {
        return Ok(found.clone());
    }
    let mut names: Vec<_> = all.iter().map(|preset| preset.name).collect();
    names.sort_by_key(|known| strsim::damerau_levenshtein(known, name));
    names.truncate(3);
    Err(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by the original's code and checkpoints (parameter counts of ProtTrans's released models).
    #[test]
    fn parameter_counts_are_the_published_ones() {
        let count = |name| preset(name).unwrap().model.parameters();
        assert_eq!(count("prot-t5-xl"), 2_818_830_336);
        assert_eq!(count("prot-t5-xxl"), 11_274_553_344);
    }

    #[test]
    fn unknown_names_give_near_ones() {
        let near = preset("prot-t5-lx").unwrap_err();
        assert_eq!(near[0], "prot-t5-xl");
    }
}
