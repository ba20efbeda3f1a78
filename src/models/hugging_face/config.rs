//! Reading a model's configuration from a Hugging Face `config.json`: keys that shape the model must be the family's.
//! Keys for other uses (generation, labels, file formats) are ignored. Any other key is an error that names the nearest
//! known one.

use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde::{Serialize, forward_to_deserialize_any};
use serde_json::{Map, Value};

use crate::models::settings::{self, Range, SettingError};

/// Keys that do not affect the training graph: how the file was written, how text is generated, names of labels.
const PASSED_OVER: &[&str] = &[
    "_attn_implementation_autoset",
    "_name_or_path",
    "add_cross_attention",
    "architectures",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "directionality",
    "diversity_penalty",
    "do_sample",
    "down_scale_factor",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gap_size",
    "gradient_checkpointing",
    "id2label",
    "initializer_factor",
    "initializer_range",
    "is_decoder",
    "is_encoder_decoder",
    "label2id",
    "length_penalty",
    "max_length",
    "min_length",
    "model_type",
    "n_positions",
    "net_structure_type",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_memory_blocks",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_scores",
    "pad_token_id",
    "pooler_fc_size",
    "pooler_num_attention_heads",
    "pooler_num_fc_layers",
    "pooler_size_per_head",
    "pooler_type",
    "prefix",
    "problem_type",
    "pruned_heads",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "summary_activation",
    "summary_last_dropout",
    "summary_type",
    "summary_use_proj",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "typical_p",
    "use_bfloat16",
    "use_cache",
    // Derived by transformers from `feed_forward_proj`, and written next to it.
    "dense_act_fn",
    "is_gated_act",
];

/// The mistake in a `config.json`.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A key that is neither the family's nor ignored.
    #[error(
        "the config has the key `{key}`, which this model does not have; the nearest that it has is `{nearest}`"
    )]
    UnknownKey {
        /// The key.
        key: String,
        /// The nearest known one.
        nearest: String,
    },
    /// A kind of model that no family has.
    #[error("the config describes a model of type `{kind}`; ribosome has {known}")]
    UnknownModel {
        /// Its `model_type`.
        kind: String,
        /// The known types.
        known: String,
    },
    /// JSON of another structure.
    #[error("the config does not fit the model: {0}")]
    Invalid(#[from] serde_json::Error),
    /// Values that the family does not have or ribosome does not support.
    #[error("the config does not fit the model: {0}")]
    Unfit(String),
    /// Settings that are out of range or do not fit together.
    #[error(transparent)]
    Setting(#[from] SettingError),
}

impl ConfigError {
    /// Returns `problem` as an error unless `holds`.
    ///
    /// # Errors
    /// `holds` is false.
    pub fn require(holds: bool, problem: impl FnOnce() -> String) -> Result<(), Self> {
        match holds {
            true => Ok(()),
            false => Err(ConfigError::Unfit(problem())),
        }
    }
}

/// The configuration of a family, from the JSON object `config`. Its keys are the fields of `C`, and its numbers must be in
/// `ranges`, as in [`settings::check_ranges`].
///
/// # Errors
/// An unknown key, a missing one, a value of the wrong kind, or a number out of its range.
pub fn read<C: DeserializeOwned + Serialize>(
    config: &Map<String, Value>,
    ranges: &[(&str, Range)],
) -> Result<C, ConfigError> {
    let known = fields::<C>();
    let mut kept = Map::new();
    for (key, value) in config {
        if known.contains(&key.as_str()) {
            if !value.is_null() {
                kept.insert(key.clone(), value.clone());
            }
        } else if !PASSED_OVER.contains(&key.as_str()) {
            let all = known.iter().chain(PASSED_OVER);
            let nearest = all.min_by_key(|name| strsim::damerau_levenshtein(name, key));
            return Err(ConfigError::UnknownKey {
                key: key.clone(),
                nearest: nearest.map_or(String::new(), ToString::to_string),
            });
        }
    }
    let parsed = |kept: &Map<_, _>| serde_json::from_value(Value::Object(kept.clone()));
    let config = parsed(&kept).map_err(|error| named(error, &kept, |other| parsed(other).err()))?;
    settings::check_ranges(&config, ranges)?;
    Ok(config)
}

/// The names of `C`'s fields, as serde has them; empty if it is not a struct.
fn fields<C: DeserializeOwned>() -> &'static [&'static str] {
    /// A deserializer that keeps the names of a struct's fields and reads nothing.
    struct Fields<'f>(&'f mut &'static [&'static str]);

    impl<'de> Deserializer<'de> for Fields<'_> {
        type Error = serde::de::value::Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(serde::de::Error::custom(
                "only the names of fields are asked for",
            ))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = fields;
            self.deserialize_any(visitor)
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    let mut names: &'static [&'static str] = &[];
    // It fails by design after it has the names.
    C::deserialize(Fields(&mut names)).err();
    names
}

/// Removes keys from `config` for which a family has only one value, such as `"position_embedding_type": "absolute"`.
///
/// # Errors
/// Another value of such a key.
pub fn take_only(
    config: &mut Map<String, Value>,
    only: &[(&str, Value)],
) -> Result<(), ConfigError> {
    for (key, supported) in only {
        match config.remove(*key) {
            None | Some(Value::Null) => {}
            Some(value) => ConfigError::require(value == *supported, || {
                format!("{key} is {value}; only {supported} is supported")
            })?,
        }
    }
    Ok(())
}

/// `error` with the key of `config` that causes it: without that key, `mistake` returns another error or none.
fn named(
    error: serde_json::Error,
    config: &Map<String, Value>,
    mistake: impl Fn(&Map<String, Value>) -> Option<serde_json::Error>,
) -> ConfigError {
    let message = error.to_string();
    let causes = |(key, _): &(&String, &Value)| {
        let mut others = config.clone();
        others.remove(*key);
        mistake(&others).is_none_or(|other| other.to_string() != message)
    };
    match config.iter().find(causes) {
        Some((key, value)) => ConfigError::Setting(SettingError {
            settings: vec![(key.clone(), value.to_string())],
            rule: settings::rule(&message),
        }),
        None => ConfigError::Invalid(error),
    }
}

/// The JSON object from which [`read`] restores `config`, for the class `architecture` of the family `model_type`.
///
/// # Errors
/// A configuration that is not a JSON object; those of families always are.
pub fn write(
    config: &impl Serialize,
    model_type: &str,
    architecture: &str,
) -> Result<Map<String, Value>, ConfigError> {
    let Value::Object(mut object) = serde_json::to_value(config)? else {
        return Err(ConfigError::Unfit("it is not a JSON object".into()));
    };
    object.retain(|_, value| !value.is_null());
    object.insert("model_type".into(), model_type.into());
    object.insert("architectures".into(), Value::from(vec![architecture]));
    Ok(object)
}
