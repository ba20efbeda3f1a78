//! A recipe: everything that decides a run, as a preset names it, a TOML file changes it and `--set` overrides it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::objective::Denoise;
use super::optimizer::{Adafactor, Optimizer};
use super::schedule::Schedule;
use super::step::StepConfig;
use crate::graph::{Policy, Remat};
use crate::models::presets::{self, Preset};
use crate::models::t5;

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What reports call it.
    pub name: String,
    /// The machine that it is for, as `--on` takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The mesh, as `--mesh` takes it; chosen if it is not here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mesh: Option<String>,
    /// Rows of a global batch.
    pub batch: usize,
    /// Tokens of a row; longer proteins are cut, shorter ones padded.
    pub length: usize,
    /// How many parts a batch is taken in.
    pub microbatches: usize,
    /// How many steps a run has.
    pub steps: u64,
    /// The seed of weights, noise, dropout and the order of the data.
    pub seed: u32,
    /// Element types.
    pub precision: Policy,
    /// What loops over layers save: `full`, `dots`, `names` or `none`.
    pub remat: RematName,
    /// Whether dropout is on.
    pub dropout: bool,
    /// The norm that all gradients together are clipped to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// The model.
    pub model: t5::Config,
    /// What it learns.
    pub objective: Denoise,
    /// How weights are updated.
    pub optimizer: Optimizer,
    /// The learning rate.
    pub schedule: Schedule,
}

/// [`Remat`] as a recipe spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum RematName {
    Full,
    Dots,
    Names,
    None,
}

impl From<RematName> for Remat {
    fn from(name: RematName) -> Self {
        match name {
            RematName::Full => Remat::Full,
            RematName::Dots => Remat::Dots,
            RematName::Names => Remat::Names,
            RematName::None => Remat::None,
        }
    }
}

/// What is wrong with a recipe.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// No preset has this name.
    #[error(
        "there is no model `{name}`; the nearest are {}; `ribosome models` lists all, and a recipe file ends in .toml",
        near.join(", ")
    )]
    UnknownModel {
        /// What was asked for.
        name: String,
        /// The nearest names.
        near: Vec<&'static str>,
    },
    /// The file cannot be read.
    #[error("cannot read the recipe {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file or an override is not a recipe.
    #[error("{what}: {message}")]
    Invalid {
        /// The file or the override.
        what: String,
        /// Why, with the place.
        message: String,
    },
}

impl Recipe {
    /// The recipe for `what`: a preset's name, or a TOML file (`base = "prot-t5-xl"` and what differs from it).
    ///
    /// # Errors
    /// An unknown name, an unreadable file, an unknown key or a value of the wrong kind.
    pub fn load(what: &str) -> Result<Self, RecipeError> {
        if !what.ends_with(".toml") {
            return Recipe::preset(what);
        }
        let text = std::fs::read_to_string(what).map_err(|source| RecipeError::Unreadable {
            path: what.into(),
            source,
        })?;
        let invalid = |message: String| RecipeError::Invalid {
            what: what.to_string(),
            message,
        };
        let mut table: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| invalid(error.to_string()))?;
        let base = table.remove("base");
        let base = base.as_ref().and_then(toml::Value::as_str).ok_or_else(|| {
            invalid(
                "a recipe starts with base = \"PRESET\", the preset that it differs from".into(),
            )
        })?;
        let mut value = Recipe::preset(base)?.to_toml()?;
        merge(&mut value, toml::Value::Table(table));
        value
            .try_into()
            .map_err(|error: toml::de::Error| invalid(error.to_string()))
    }

    /// The recipe of a preset: the published run where there is one.
    ///
    /// # Errors
    /// An unknown name.
    pub fn preset(name: &str) -> Result<Self, RecipeError> {
        let preset = presets::preset(name).map_err(|near| RecipeError::UnknownModel {
            name: name.to_string(),
            near,
        })?;
        Ok(Recipe::of(&preset))
    }

    fn of(preset: &Preset) -> Self {
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
            model: preset.config.clone(),
            objective: Denoise::default(),
            // mesh-tensorflow's defaults, and T5's schedule: 0.01 for 10 k steps, then falling.
            optimizer: Optimizer::Adafactor(Adafactor::default()),
            schedule: Schedule::InverseSqrt {
                rate: 1.0,
                warmup: 10_000.0,
                ramp: None,
            },
        };
        match preset.name {
            "prot-t5-xxl" => Recipe {
                batch: 2048,
                steps: 920_000,
                ..published
            },
            "prot-t5-tiny" => Recipe {
                target: Some("cpu:8".into()),
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

    /// The recipe with `key` (dotted, as `optimizer.decay_exponent`) set to `value`.
    ///
    /// # Errors
    /// A key that is not the recipe's, or a value of the wrong kind.
    pub fn set(&self, key: &str, value: &str) -> Result<Self, RecipeError> {
        let invalid = |message: String| RecipeError::Invalid {
            what: format!("--set {key}={value}"),
            message,
        };
        // A bare word is a string; anything that TOML reads as a value is that value.
        let parsed = format!("v = {value}")
            .parse::<toml::Table>()
            .ok()
            .and_then(|mut table| table.remove("v"));
        let mut patch = parsed.unwrap_or_else(|| toml::Value::String(value.to_string()));
        for part in key.rsplit('.') {
            patch = toml::Value::Table([(part.to_string(), patch)].into_iter().collect());
        }
        let mut whole = self.to_toml()?;
        merge(&mut whole, patch);
        whole
            .try_into()
            .map_err(|error: toml::de::Error| invalid(error.message().to_string()))
    }

    fn to_toml(&self) -> Result<toml::Value, RecipeError> {
        toml::Value::try_from(self).map_err(|error| RecipeError::Invalid {
            what: self.name.clone(),
            message: error.to_string(),
        })
    }

    /// What the step of this recipe computes.
    pub fn step(&self) -> StepConfig {
        StepConfig {
            model: self.model.clone(),
            objective: self.objective.clone(),
            optimizer: self.optimizer.clone(),
            schedule: self.schedule,
            clip_norm: self.clip_norm,
            batch: self.batch,
            length: self.length,
            microbatches: self.microbatches,
            policy: self.precision,
            remat: self.remat.into(),
            dropout: self.dropout,
            unroll: false,
        }
    }

    /// Tokens that a step reads: those of the encoder and of the decoder.
    pub fn tokens_per_step(&self) -> usize {
        self.batch * self.length * 2
    }
}

/// Puts what `patch` has into `base`, table by table. Another optimizer or schedule (`name`) brings its own settings.
fn merge(base: &mut toml::Value, patch: toml::Value) {
    match (base, patch) {
        (toml::Value::Table(base), toml::Value::Table(patch)) => {
            if patch
                .get("name")
                .is_some_and(|name| base.get("name").is_some_and(|known| known != name))
                && !base.contains_key("model")
            {
                base.clear();
            }
            for (key, value) in patch {
                match base.get_mut(&key) {
                    Some(known) => merge(known, value),
                    None => {
                        base.insert(key, value);
                    }
                }
            }
        }
        (base, patch) => *base = patch,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::optimizer::{AdamW, Lamb, MomentType};

    #[test]
    fn overrides_reach_every_key() {
        let recipe = Recipe::preset("prot-t5-tiny").unwrap();
        let recipe = recipe
            .set("model.num_layers", "3")
            .unwrap()
            .set("batch", "32")
            .unwrap();
        assert_eq!((recipe.model.num_layers, recipe.batch), (3, 32));
        let recipe = recipe.set("optimizer.name", "momentum").unwrap();
        assert!(matches!(recipe.optimizer, Optimizer::Momentum(_)));
        let recipe = recipe.set("remat", "dots").unwrap();
        assert_eq!(Remat::from(recipe.remat), Remat::Dots);
    }

    #[test]
    fn optimizers_and_schedules_come_by_name() {
        let recipe = Recipe::preset("prot-t5-tiny").unwrap();
        let lamb = recipe.set("optimizer.name", "lamb").unwrap();
        let lamb = lamb.set("optimizer.clamp", "10").unwrap();
        let lamb = lamb.set("optimizer.first_moment", "bf16").unwrap();
        let expected = Lamb {
            clamp: Some(10.0),
            first_moment: MomentType::Bf16,
            ..Lamb::default()
        };
        assert_eq!(lamb.optimizer, Optimizer::Lamb(expected));
        let adamw = recipe.set("optimizer.name", "adamw").unwrap();
        assert_eq!(adamw.optimizer, Optimizer::AdamW(AdamW::default()));
        let schedule = "{ name = \"polynomial\", rate = 0.002, warmup = 40000, total = 300000 }";
        let recipe = recipe.set("schedule", schedule).unwrap();
        assert!(matches!(
            recipe.schedule,
            Schedule::Polynomial {
                power: 1.0,
                end: 0.0,
                warmup: 40_000.0,
                ..
            }
        ));
        let message = lamb.set("optimizer.clam", "1").unwrap_err().to_string();
        assert!(message.contains("unknown field `clam`"), "{message}");
        let message = recipe.set("schedule.ramp", "1").unwrap_err().to_string();
        assert!(message.contains("unknown field `ramp`"), "{message}");
    }

    #[test]
    fn unknown_keys_and_wrong_values_are_refused() {
        let recipe = Recipe::preset("prot-t5-tiny").unwrap();
        let message = recipe.set("bacth", "3").unwrap_err().to_string();
        assert!(
            message.contains("--set bacth=3") && message.contains("unknown field `bacth`"),
            "{message}"
        );
        let message = recipe.set("batch", "many").unwrap_err().to_string();
        assert!(message.contains("invalid type"), "{message}");
    }

    #[test]
    fn a_recipe_file_is_a_few_differences() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.toml");
        std::fs::write(
            &path,
            "base = \"prot-t5-xl\"\nname = \"u50\"\nbatch = 2048\n[model]\ndropout_rate = 0.0\n",
        )
        .unwrap();
        let recipe = Recipe::load(path.to_str().unwrap()).unwrap();
        assert_eq!(
            (recipe.batch, recipe.model.dropout_rate, recipe.length),
            (2048, 0.0, 512)
        );
        std::fs::write(&path, "base = \"prot-t5-xl\"\nlenght = 3\n").unwrap();
        let message = Recipe::load(path.to_str().unwrap())
            .unwrap_err()
            .to_string();
        assert!(message.contains("unknown field `lenght`"), "{message}");
        std::fs::write(&path, "batch = 3\n").unwrap();
        let message = Recipe::load(path.to_str().unwrap())
            .unwrap_err()
            .to_string();
        assert!(message.contains("base = \"PRESET\""), "{message}");
    }

    #[test]
    fn unknown_models_give_near_names() {
        let message = Recipe::load("prot-t5-x").unwrap_err().to_string();
        assert!(message.contains("nearest are prot-t5-xl"), "{message}");
    }
}
