//! What the BERT families share in Hugging Face's files: keys of `config.json`, and names of weights.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::config::{self, ConfigError};
use crate::models::settings::MODEL;
use crate::models::weights::{Entry, Kept};

/// The configuration in a `config.json`; missing keys have the family's defaults.
///
/// # Errors
/// An unknown key, a value of the wrong kind, or a switch that these families do not have (relative positions, decoders,
/// pruned heads, no padding id).
pub(in crate::models) fn config<C: DeserializeOwned + Serialize>(
    config: &Map<String, Value>,
) -> Result<C, ConfigError> {
    let mut config = config.clone();
    let only = [
        ("position_embedding_type", json!("absolute")),
        ("is_decoder", json!(false)),
        ("add_cross_attention", json!(false)),
        ("pruned_heads", json!({})),
    ];
    config::take_only(&mut config, &only)?;
    ConfigError::require(config.get("pad_token_id") != Some(&Value::Null), || {
        "pad_token_id is null; it must be a token id".into()
    })?;
    config::read(&config, MODEL)
}

/// A file's names within one encoder layer.
#[derive(Clone, Copy, Debug)]
pub struct LayerNames {
    /// The linear layer of queries.
    pub query: &'static str,
    /// The linear layer of keys.
    pub key: &'static str,
    /// The linear layer of values.
    pub value: &'static str,
    /// The linear layer from the heads back.
    pub attention_output: &'static str,
    /// The norm of the attention block.
    pub attention_norm: &'static str,
    /// The linear layer to the hidden units.
    pub mlp_input: &'static str,
    /// The linear layer from the hidden units back.
    pub mlp_output: &'static str,
    /// The norm of the feed-forward block.
    pub mlp_norm: &'static str,
}

/// BERT's names, which ELECTRA shares.
pub const BERT_LAYER: LayerNames = LayerNames {
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    attention_output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    mlp_input: "intermediate.dense",
    mlp_output: "output.dense",
    mlp_norm: "output.LayerNorm",
};

/// One encoder layer's weights: ribosome's names are below `ours`, the file's below `theirs`.
pub fn layer(ours: &str, theirs: &str, names: &LayerNames) -> Vec<Entry> {
    let own = |name: &str| format!("{ours}/{name}");
    let file = |name: &str| format!("{theirs}.{name}");
    [
        linear(&own("attention/q"), &file(names.query), 1),
        linear(&own("attention/k"), &file(names.key), 1),
        linear(&own("attention/v"), &file(names.value), 1),
        linear(&own("attention/o"), &file(names.attention_output), 2),
        norm(&own("attention/norm"), &file(names.attention_norm)),
        linear(&own("mlp/wi"), &file(names.mlp_input), 1),
        linear(&own("mlp/wo"), &file(names.mlp_output), 1),
        norm(&own("mlp/norm"), &file(names.mlp_norm)),
    ]
    .concat()
}

/// The embeddings' tables and norm; the output layer `decoder` may be tied to the table of tokens.
pub fn embeddings(ours: &str, theirs: &str, decoder: &str) -> Vec<Entry> {
    let table = |name: &str, file: &str| {
        Entry::new(
            format!("{ours}/{name}/embedding"),
            format!("{theirs}.{file}_embeddings.weight"),
            Kept::Same,
        )
    };
    let mut entries = vec![
        table("word", "word").also([decoder]),
        table("position", "position"),
        table("type", "token_type"),
    ];
    entries.extend(norm(
        &format!("{ours}/norm"),
        &format!("{theirs}.LayerNorm"),
    ));
    entries
}

/// The masked-LM head in the scope `ours`. The file's names are those of the transform's linear layer and norm, the output's
/// kernel (if it is not tied) and the output's bias.
pub fn masked_head(ours: &str, [dense, normed, kernel, bias]: [&str; 4]) -> Vec<Entry> {
    let mut entries = linear(&format!("{ours}/transform"), dense, 1);
    entries.extend(norm(&format!("{ours}/norm"), normed));
    let output = Kept::Linear { inputs: 1 };
    entries.push(Entry::new(format!("{ours}/kernel"), kernel, output));
    // Older files also have the bias with the output layer.
    let with_kernel = kernel.replace(".weight", ".bias");
    let bias = Entry::new(format!("{ours}/bias"), bias, Kept::Same).also([with_kernel]);
    entries.push(bias);
    entries
}

/// BERT's output layer, if it has its own kernel.
pub(in crate::models) const BERT_DECODER: &str = "cls.predictions.decoder.weight";

/// BERT's masked-LM head.
pub(in crate::models) fn bert_head(ours: &str) -> Vec<Entry> {
    let names = [
        "cls.predictions.transform.dense",
        "cls.predictions.transform.LayerNorm",
        BERT_DECODER,
        "cls.predictions.bias",
    ];
    masked_head(ours, names)
}

/// A linear layer's kernel, of which `inputs` axes are inputs, and its bias.
pub fn linear(ours: &str, theirs: &str, inputs: usize) -> Vec<Entry> {
    let entry = |own: &str, file: &str, kept| {
        Entry::new(format!("{ours}/{own}"), format!("{theirs}.{file}"), kept)
    };
    vec![
        entry("kernel", "weight", Kept::Linear { inputs }),
        entry("bias", "bias", Kept::Flat),
    ]
}

/// A norm's scale and bias.
pub fn norm(ours: &str, theirs: &str) -> Vec<Entry> {
    let entry = |own: &str, file: &str| {
        Entry::new(
            format!("{ours}/{own}"),
            format!("{theirs}.{file}"),
            Kept::Same,
        )
    };
    vec![entry("scale", "weight"), entry("bias", "bias")]
}
