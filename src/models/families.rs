//! The known families, by their names in recipes and in Hugging Face's files.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::family::{Family, HasTensor};
use super::hugging_face::ConfigError;
use super::model::Model;
use super::named::Named;
use super::{albert, bert, electra, megatron, t5, transfo_xl, xlnet};

/// The known families.
#[derive(Clone, Debug)]
pub struct Families {
    named: Named<Model>,
    hugging_face: Vec<(&'static str, FromHuggingFace)>,
}

/// Reads a `config.json`; the other argument tests whether the folder has a tensor.
type FromHuggingFace = fn(&Map<String, Value>, HasTensor) -> Result<Model, ConfigError>;

impl Families {
    /// The seven built-in families.
    pub fn standard() -> Self {
        let none = Families {
            named: Named::new("family"),
            hugging_face: Vec::new(),
        };
        none.with::<t5::Config>()
            .with::<bert::Config>()
            .with::<albert::Config>()
            .with::<electra::Config>()
            .with::<megatron::Config>()
            .with::<xlnet::Config>()
            .with::<transfo_xl::Config>()
    }

    /// Adds the family `F`, which replaces one of the same name.
    pub fn with<F: Family + DeserializeOwned>(mut self) -> Self {
        self.named = self.named.with::<F>(F::name());
        self.hugging_face
            .retain(|(known, _)| *known != F::model_type());
        self.hugging_face.push((F::model_type(), |config, has| {
            let mut config = F::from_hugging_face(config)?;
            config.look_at_tensors(has);
            Ok(Model::new(config))
        }));
        self
    }

    /// The families' names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.named.names()
    }

    /// The model in `value`, the table at a recipe's key `below`.
    ///
    /// # Errors
    /// A missing or unknown family, an unknown key, or a value of the wrong kind.
    pub fn read(&self, below: &str, value: toml::Value) -> Result<Model, toml::de::Error> {
        self.named.read(below, value)
    }

    /// The model that a Hugging Face `config.json` describes; `has` tests whether the folder has a tensor.
    ///
    /// # Errors
    /// A kind of model that no family has, or the error of its family.
    pub fn from_hugging_face(
        &self,
        config: &Map<String, Value>,
        has: HasTensor,
    ) -> Result<Model, ConfigError> {
        let kind = config.get("model_type").and_then(Value::as_str);
        let kind = kind.unwrap_or_default();
        match self.hugging_face.iter().find(|(known, _)| *known == kind) {
            Some((_, read)) => read(config, has),
            None => {
                let mut known: Vec<_> = self.hugging_face.iter().map(|(known, _)| *known).collect();
                known.sort_unstable();
                Err(ConfigError::UnknownModel {
                    kind: kind.to_string(),
                    known: known.join(", "),
                })
            }
        }
    }
}
