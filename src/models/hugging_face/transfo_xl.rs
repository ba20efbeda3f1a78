//! Transformer-XL's weights and configuration in Hugging Face's format.

use serde_json::{Map, Value};

use super::config::{self, ConfigError};
use crate::models::Family;
use crate::models::settings::MODEL;
use crate::models::transfo_xl::Config;
use crate::models::weights::{Entry, Kept};

/// Keys without effect: the softmax is always `adaptive` (and plain without cutoffs), `tie_weight` is a default's name in
/// older files, initial values are normal, and outputs have one form.
const WITHOUT_EFFECT: &[&str] = &[
    "adaptive",
    "tie_weight",
    "init",
    "init_range",
    "trainer_compatible",
];

/// The configuration in a Hugging Face `config.json`.
///
/// # Errors
/// An unknown key, a value of the wrong kind, or a model that ribosome does not have.
pub(in crate::models) fn read(config: &Map<String, Value>) -> Result<Config, ConfigError> {
    let mut config = config.clone();
    for key in WITHOUT_EFFECT {
        config.remove(*key);
    }
    for (key, only, what) in [
        ("attn_type", 0, "another kind of attention"),
        ("sample_softmax", -1, "a sampled softmax"),
    ] {
        let value = config.remove(key).and_then(|value| value.as_i64());
        if let Some(value) = value.filter(|value| *value > only) {
            return Err(ConfigError::Unfit(format!(
                "{key} {value} means {what}, which neither transformers nor ribosome has"
            )));
        }
    }
    let shared = config.remove("proj_share_all_but_first");
    let mut config: Config = config::read(&config, MODEL)?;
    if shared == Some(Value::Bool(false)) && config.tie_projs.is_none() {
        config.tie_projs = Some(Vec::new());
    }
    config.check()?;
    Ok(config)
}

/// The name and layout of each weight in Hugging Face's files.
pub(in crate::models) fn entries(config: &Config) -> Vec<Entry> {
    let mut table = config.tying(|vocabulary| vocabulary.hugging_face());
    let mut layer = |ours: &str, theirs: &str, kept| {
        let theirs = format!("transformer.layers.{{layer}}.{theirs}");
        table.push(Entry::new(format!("layer/{ours}"), theirs, kept));
    };
    for (ours, theirs, inputs) in [
        ("attention/qkv", "dec_attn.qkv_net", 1),
        ("attention/r", "dec_attn.r_net", 1),
        ("attention/o", "dec_attn.o_net", 2),
        ("mlp/wi", "pos_ff.CoreNet.0", 1),
        ("mlp/wo", "pos_ff.CoreNet.3", 1),
    ] {
        let (ours, theirs) = (format!("{ours}/kernel"), format!("{theirs}.weight"));
        layer(&ours, &theirs, Kept::Linear { inputs });
    }
    for (ours, theirs) in [
        ("attention/content_bias", "dec_attn.r_w_bias"),
        ("attention/position_bias", "dec_attn.r_r_bias"),
        ("attention/norm/scale", "dec_attn.layer_norm.weight"),
        ("attention/norm/bias", "dec_attn.layer_norm.bias"),
        ("mlp/wi/bias", "pos_ff.CoreNet.0.bias"),
        ("mlp/wo/bias", "pos_ff.CoreNet.3.bias"),
        ("mlp/norm/scale", "pos_ff.layer_norm.weight"),
        ("mlp/norm/bias", "pos_ff.layer_norm.bias"),
    ] {
        layer(ours, theirs, Kept::Same);
    }
    for (ours, theirs) in [("content_bias", "r_w_bias"), ("position_bias", "r_r_bias")] {
        let theirs = format!("transformer.{theirs}");
        table.push(Entry::new(ours, theirs, Kept::Same));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Model;

    fn read(config: Value) -> Result<Config, ConfigError> {
        Config::from_hugging_face(config.as_object().unwrap())
    }

    #[test]
    fn what_is_not_given_is_hugging_faces() {
        assert_eq!(read(serde_json::json!({})).unwrap(), Config::default());
    }

    #[test]
    fn mistakes_are_named() {
        for (config, expected) in [
            (
                serde_json::json!({ "d_heads": 8 }),
                "nearest that it has is `d_head`",
            ),
            (
                serde_json::json!({ "attn_type": 1 }),
                "attn_type 1 means another kind of attention",
            ),
            (serde_json::json!({ "d_model": 33 }), "d_model is 33"),
            (
                serde_json::json!({ "vocab_size": 30, "cutoffs": [10, 30] }),
                "cutoffs is [10, 30] and vocab_size is 30; cutoffs must rise",
            ),
            (
                serde_json::json!({ "d_embed": 8, "cutoffs": [10, 20] }),
                "div_val is 4 and d_embed is 8",
            ),
            (
                serde_json::json!({ "cutoffs": [10], "tie_projs": [false, true, true] }),
                "1 cutoffs make 2 clusters, and tie_projs must not list more",
            ),
        ] {
            let error = read(config).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    /// The paper's 409 M and 562 M (Elnaggar et al. 2021, table 2); they follow from a vocabulary of 30 and
    /// shared biases.
    #[test]
    fn parameter_counts_are_the_published_ones() {
        let prot_txl = Config {
            vocab_size: 30,
            cutoffs: Vec::new(),
            div_val: 1,
            n_layer: 30,
            untie_r: false,
            ..Config::default()
        };
        assert_eq!(Model::new(prot_txl.clone()).parameters(), 409_253_918);
        let prot_txl_bfd = Config {
            n_layer: 32,
            n_head: 14,
            d_head: 128,
            ..prot_txl
        };
        assert_eq!(Model::new(prot_txl_bfd.clone()).parameters(), 562_365_982);
    }
}
