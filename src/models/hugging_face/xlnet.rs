//! XLNet's weights and configuration in Hugging Face's format.

use serde_json::{Map, Value};

use super::config::{self, ConfigError};
use crate::models::Family;
use crate::models::settings::MODEL;
use crate::models::weights::{Entry, Kept};
use crate::models::xlnet::Config;

/// Keys of heads other than the language model's.
const OTHER_HEADS: &[&str] = &[
    "summary_type",
    "summary_use_proj",
    "summary_activation",
    "summary_last_dropout",
    "summary_proj_to_labels",
    "start_n_top",
    "end_n_top",
];

/// The configuration in a Hugging Face `config.json`.
///
/// # Errors
/// An unknown key, a value of the wrong kind, or sizes that do not fit together.
pub(in crate::models) fn read(config: &Map<String, Value>) -> Result<Config, ConfigError> {
    let mut config = config.clone();
    for key in OTHER_HEADS {
        config.remove(*key);
    }
    // A missing key means 512, and null means no limit.
    if config.get("mem_len") == Some(&Value::Null) {
        config.insert("mem_len".into(), 0.into());
    }
    let d_head = config.remove("d_head").and_then(|size| size.as_u64());
    let config: Config = config::read(&config, MODEL)?;
    config.check()?;
    match d_head {
        Some(d_head) if d_head != (config.d_model / config.n_head) as u64 => {
            Err(ConfigError::Unfit(format!(
                "d_head is {d_head}; it must be d_model / n_head = {} / {}",
                config.d_model, config.n_head
            )))
        }
        _ => Ok(config),
    }
}

/// The name and layout of each weight in Hugging Face's files.
pub(in crate::models) fn entries() -> Vec<Entry> {
    let whole = |ours: &str, theirs: &str, kept| Entry::new(ours, theirs, kept);
    let mut table = vec![
        whole(
            "word_embedding/embedding",
            "transformer.word_embedding.weight",
            Kept::Same,
        )
        .also(["lm_loss.weight"]),
        whole(
            "mask_embedding",
            "transformer.mask_emb",
            Kept::Behind { ones: 2 },
        ),
        whole("lm_head/embedding", "lm_loss.weight", Kept::Same),
        whole("lm_head/bias", "lm_loss.bias", Kept::Same),
    ];
    let mut layer = |ours: String, theirs: String, kept| {
        let theirs = format!("transformer.layer.{{layer}}.{theirs}");
        table.push(Entry::new(format!("layer/{ours}"), theirs, kept));
    };
    for name in ["q", "k", "v", "o", "r"] {
        let ours = format!("attention/{name}/kernel");
        layer(ours, format!("rel_attn.{name}"), Kept::Same);
    }
    for (ours, theirs) in [
        ("content_bias", "r_w_bias"),
        ("position_bias", "r_r_bias"),
        ("segments/bias", "r_s_bias"),
        ("segments/embedding", "seg_embed"),
    ] {
        let ours = format!("attention/{ours}");
        layer(ours, format!("rel_attn.{theirs}"), Kept::Same);
    }
    for (ours, theirs) in [("attention", "rel_attn"), ("mlp", "ff")] {
        for (ours_part, part) in [("scale", "weight"), ("bias", "bias")] {
            let ours = format!("{ours}/norm/{ours_part}");
            layer(ours, format!("{theirs}.layer_norm.{part}"), Kept::Same);
        }
    }
    for (ours, theirs) in [("wi", "layer_1"), ("wo", "layer_2")] {
        let (ours, theirs) = (format!("mlp/{ours}"), format!("ff.{theirs}"));
        let kernel = Kept::Linear { inputs: 1 };
        layer(format!("{ours}/kernel"), format!("{theirs}.weight"), kernel);
        layer(format!("{ours}/bias"), format!("{theirs}.bias"), Kept::Same);
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
        let none = read(serde_json::json!({ "mem_len": null })).unwrap();
        assert_eq!(none.mem_len, 0);
    }

    #[test]
    fn mistakes_are_named() {
        for (config, expected) in [
            (
                serde_json::json!({ "n_heads": 8 }),
                "nearest that it has is `n_head`",
            ),
            (
                serde_json::json!({ "n_head": 3 }),
                "d_model is 1024 and n_head is 3",
            ),
            (serde_json::json!({ "d_head": 32 }), "d_head is 32"),
            (
                serde_json::json!({ "attn_type": "both" }),
                "attn_type is \"both\"; the nearest is",
            ),
            (
                serde_json::json!({ "ff_activation": "gated-gelu" }),
                "ff_activation is \"gated-gelu\"",
            ),
        ] {
            let error = read(config).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    /// The count follows from the published file's size, 1,637,757,076 bytes of f32 and names.
    #[test]
    fn the_parameter_count_is_the_published_one() {
        let prot_xlnet = Config {
            vocab_size: 37,
            n_layer: 30,
            ..Config::default()
        };
        assert_eq!(Model::new(prot_xlnet.clone()).parameters(), 409_413_669);
    }
}
