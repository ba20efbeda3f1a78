//! T5's weights and configuration in Hugging Face's format.

use serde_json::{Map, Value};

use super::config::{self, ConfigError};
use crate::models::settings::MODEL;
use crate::models::t5::Config;
use crate::models::weights::{Entry, Kept};

/// The configuration in a Hugging Face `config.json`.
///
/// # Errors
/// An unknown key, a missing one, or a value of the wrong kind.
pub(in crate::models) fn read(config: &Map<String, Value>) -> Result<Config, ConfigError> {
    let mut config = config.clone();
    if let (Some(layers), false) = (
        config.get("num_layers").cloned(),
        config.contains_key("num_decoder_layers"),
    ) {
        config.insert("num_decoder_layers".into(), layers);
    }
    config::read(&config, MODEL)
}

/// The name and layout of each weight in Hugging Face's files. An encoder alone has the embedding and those that start with
/// `encoder`.
pub(in crate::models) fn entries(config: &Config) -> Vec<Entry> {
    let shared = Entry::new("shared/embedding", "shared.weight", Kept::Same);
    let mut table = vec![shared.also([
        "encoder.embed_tokens.weight",
        "decoder.embed_tokens.weight",
        "lm_head.weight",
    ])];
    for (stack, sublayers) in [("encoder", 2), ("decoder", 3)] {
        let entry = |ours: &str, theirs: String, kept| {
            Entry::new(format!("{stack}/{ours}"), format!("{stack}.{theirs}"), kept)
        };
        let block =
            |sublayer: usize, name: &str| format!("block.{{layer}}.layer.{sublayer}.{name}.weight");
        table.push(entry(
            "final_norm/scale",
            "final_layer_norm.weight".into(),
            Kept::Same,
        ));
        table.push(entry(
            "relative_bias/embedding",
            "block.0.layer.0.SelfAttention.relative_attention_bias.weight".into(),
            Kept::Same,
        ));
        let mut attention = |ours: &str, sublayer: usize, theirs: &str| {
            for (name, inputs) in [("q", 1), ("k", 1), ("v", 1), ("o", 2)] {
                table.push(entry(
                    &format!("layer/{ours}/{name}/kernel"),
                    block(sublayer, &format!("{theirs}.{name}")),
                    Kept::Linear { inputs },
                ));
            }
        };
        attention("attention", 0, "SelfAttention");
        if stack == "decoder" {
            attention("cross_attention", 1, "EncDecAttention");
        }
        let names: &[&str] = match sublayers {
            2 => &["attention", "mlp"],
            _ => &["attention", "cross_attention", "mlp"],
        };
        for (sublayer, ours) in names.iter().enumerate() {
            let ours = format!("layer/{ours}/norm/scale");
            table.push(entry(&ours, block(sublayer, "layer_norm"), Kept::Same));
        }
        let kernels: &[&str] = match config.feed_forward_proj.is_gated() {
            true => &["wi_0", "wi_1", "wo"],
            false => &["wi", "wo"],
        };
        for name in kernels {
            table.push(entry(
                &format!("layer/mlp/{name}/kernel"),
                block(sublayers - 1, &format!("DenseReluDense.{name}")),
                Kept::Linear { inputs: 1 },
            ));
        }
    }
    if !config.tie_word_embeddings {
        table.push(Entry::new(
            "lm_head/kernel",
            "lm_head.weight",
            Kept::Linear { inputs: 1 },
        ));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Family;
    use crate::models::layers::Activation;

    #[test]
    fn a_misspelt_key_names_the_nearest() {
        let config = serde_json::json!({ "vocab_size": 128, "d_modle": 32 });
        let error = Config::from_hugging_face(config.as_object().unwrap())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`d_modle`") && error.contains("`d_model`"),
            "{error}"
        );
    }

    #[test]
    fn the_published_config_is_read() {
        // ProtT5-XL-U50's shape, as its config.json has it.
        let config = serde_json::json!({
            "architectures": ["T5ForConditionalGeneration"], "d_ff": 16384, "d_kv": 128, "d_model": 1024,
            "decoder_start_token_id": 0, "dropout_rate": 0.1, "eos_token_id": 1, "feed_forward_proj": "relu",
            "initializer_factor": 1.0, "is_encoder_decoder": true, "layer_norm_epsilon": 1e-6,
            "model_type": "t5", "n_positions": 512, "num_decoder_layers": 24, "num_heads": 32, "num_layers": 24,
            "output_past": true, "pad_token_id": 0, "relative_attention_num_buckets": 32, "vocab_size": 128
        });
        let config = Config::from_hugging_face(config.as_object().unwrap()).unwrap();
        let expected = Config {
            vocab_size: 128,
            d_model: 1024,
            d_kv: 128,
            d_ff: 16384,
            num_layers: 24,
            num_decoder_layers: 24,
            num_heads: 32,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            dropout_rate: 0.1,
            layer_norm_epsilon: 1e-6,
            feed_forward_proj: Activation::Relu,
            tie_word_embeddings: true,
            pad_token_id: 0,
            decoder_start_token_id: 0,
        };
        assert_eq!(config, expected);
    }
}
