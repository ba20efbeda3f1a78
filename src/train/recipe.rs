//! A recipe: everything that decides a run. A TOML file states every key, or only what differs from another recipe (`base`).
//! `--set` changes single keys.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::mistake::{MISSING, explained, line_of};
use super::objective::Objective;
use super::optimizer::Optimizer;
use super::registry::Registry;
use super::schedule::Schedule;
use super::step::StepConfig;
use crate::data::{NamedVocabulary, Rows, VocabFileError, Vocabulary, read_vocabulary};
use crate::graph::{Policy, Remat};
use crate::models::Model;
use crate::models::settings::{Range, SettingError};
use crate::sharding::RulesConfig;

/// A run. Its registry holds the model, objective and vocabulary by name. Until they are looked up, they are TOML (`M` and
/// `O`) and a name (`V`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe<M = Model, O = Objective, V = NamedVocabulary> {
    /// Its name in reports and programs: the one it was loaded by, or its file's with dashes. A file may set another.
    pub name: String,
    /// One line about the run, for lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The machine, as `--on` takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The mesh, as `--mesh` takes it; `None` to have one chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mesh: Option<String>,
    /// Rows of a global batch.
    pub batch: usize,
    /// Tokens of a row. Longer proteins are cut, shorter ones padded.
    pub length: usize,
    /// The first weights: the path of a checkpoint, a run's folder or a Hugging Face folder, relative to the current folder.
    /// `None` draws them from the seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<PathBuf>,
    /// The number of parts that a batch is split into.
    pub microbatches: usize,
    /// The number of steps.
    pub steps: u64,
    /// The seed of weights, noise, dropout and the order of the data.
    pub seed: u32,
    /// Element types.
    pub precision: Policy,
    /// What loops over layers save: `full`, `dots`, `names` or `none`.
    pub remat: RematName,
    /// Whether dropout is on.
    pub dropout: bool,
    /// The norm to which all gradients together are clipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// The data set that the published run read, as a name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The vocabulary.
    pub vocabulary: V,
    /// The model's own `vocab.txt` or `spiece.model`, whose ids replace the vocabulary's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary_file: Option<PathBuf>,
    /// How tensors are split over the mesh: a set of rules by name, or a set with differences.
    #[serde(default, skip_serializing_if = "RulesConfig::is_default")]
    pub rules: RulesConfig,
    /// The model.
    pub model: M,
    /// The objective.
    pub objective: O,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// The learning rate.
    pub schedule: Schedule,
    /// Phases of the run, each with what differs in it. A run without any has one phase.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<toml::Table>,
    /// Which phase this is, if [`Recipe::phase`] made it.
    #[serde(skip)]
    pub phase: Phase,
    /// The registry that its names are looked up in.
    #[serde(skip)]
    pub registry: Registry,
}

/// The phase that a recipe is. Each phase has its own steps and schedule, counted from its first step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    /// From 1.
    pub number: usize,
    /// The number of phases of the recipe.
    pub count: usize,
}

impl Default for Phase {
    fn default() -> Self {
        Phase {
            number: 1,
            count: 1,
        }
    }
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
    /// No recipe or model has this name.
    #[error(
        "there is no recipe or model `{name}`; the nearest are {}; `ribosome recipes` lists all, and a recipe file ends in \
         .toml",
        near.join(", ")
    )]
    Unknown {
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
    /// The file is not a vocabulary.
    #[error("vocabulary_file: {0}")]
    Vocabulary(#[from] VocabFileError),
    /// The recipe has no such phase.
    #[error("{name} has {count} phase{}, counted from 1, and no phase {phase}", if *count == 1 { "" } else { "s" })]
    Phase {
        /// The recipe.
        name: String,
        /// What was asked for.
        phase: usize,
        /// The number of phases.
        count: usize,
    },
    /// A setting out of range.
    #[error(transparent)]
    Setting(#[from] SettingError),
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
    /// [`Registry::load`] on the built-in registry.
    ///
    /// # Errors
    /// The same.
    pub fn load(what: &str) -> Result<Self, RecipeError> {
        Registry::standard().load(what)
    }

    /// [`Registry::preset`] on the built-in registry.
    ///
    /// # Errors
    /// The same.
    pub fn preset(name: &str) -> Result<Self, RecipeError> {
        Registry::standard().preset(name)
    }

    /// The recipe that the file `what` states in `text`. Its name is `name` unless the file sets another.
    pub(super) fn parse(
        registry: &Registry,
        what: &str,
        name: &str,
        text: &str,
    ) -> Result<Self, RecipeError> {
        let invalid = |what: String, message: String| RecipeError::Invalid { what, message };
        // The parser shows the place itself.
        let parsed: Result<toml::Table, toml::de::Error> = text.parse();
        parsed.map_err(|error| invalid(what.to_string(), error.to_string()))?;
        Recipe::read(registry, name, text).map_err(|message| {
            // A missing key has no line.
            let place = match message.starts_with(MISSING) {
                true => None,
                false => line_of(text, &message, |part| {
                    Recipe::read(registry, name, part).err()
                }),
            };
            let place = match place {
                Some(line) => format!("{what}, line {line}"),
                None => what.to_string(),
            };
            invalid(place, message)
        })
    }

    /// The recipe in a file's `text` with all its phases checked, or what is wrong with it.
    fn read(registry: &Registry, name: &str, text: &str) -> Result<Self, String> {
        let said = |error: RecipeError| error.to_string();
        let mut table: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| error.to_string())?;
        let base = table.remove("base");
        // The file may set another name.
        table.entry("name").or_insert_with(|| name.into());
        let checked = |base: toml::Value| -> Result<Self, String> {
            let recipe = Recipe::of(registry, &base, &table)?;
            // Find a mistake in a later phase now, and not after the first one has run for weeks.
            for phase in 1..=recipe.phases.len() {
                recipe.phase(phase).map_err(said)?;
            }
            Ok(recipe)
        };
        match base {
            None => checked(toml::Table::new().into()).map_err(|error| {
                // Wrong settings are reported before missing ones. Until then another recipe's settings fill the gaps.
                let wrong = checked(registry.example(&table).into()).err();
                match wrong.filter(|error| !error.starts_with(MISSING)) {
                    Some(wrong) => wrong,
                    None if error.starts_with(MISSING) => format!(
                        "{error}; a recipe states every key, or begins with base = \"NAME\", the recipe that it differs from"
                    ),
                    None => error,
                }
            }),
            Some(toml::Value::String(base)) => {
                let base = registry.preset(&base).map_err(said)?;
                let base = Recipe {
                    about: None,
                    ..base
                };
                checked(base.to_toml().map_err(said)?)
            }
            Some(other) => Err(format!(
                "base is {other}; it must be the name of a recipe, as in base = \"prot-bert\""
            )),
        }
    }

    /// The recipe `base` with the settings `patch`, or what is wrong with them. TOML becomes a recipe only here.
    fn of(registry: &Registry, base: &toml::Value, patch: &toml::Table) -> Result<Self, String> {
        let read = |patch: toml::Table| -> Result<Self, toml::de::Error> {
            let mut whole = base.clone();
            merge(&mut whole, toml::Value::Table(patch));
            let read: Recipe<toml::Value, toml::Value, String> = whole.try_into()?;
            read.named(registry)
        };
        let read_error = |patch| read(patch).err();
        read(patch.clone()).map_err(|error| explained(&error, patch, read_error))
    }

    /// The recipe of one phase, counted from 1: this recipe with the phase's own settings.
    ///
    /// # Errors
    /// No such phase, or a phase that sets an unknown key.
    pub fn phase(&self, phase: usize) -> Result<Self, RecipeError> {
        let count = self.phases.len().max(1);
        if phase == 0 || phase > count {
            return Err(RecipeError::Phase {
                name: self.name.clone(),
                phase,
                count,
            });
        }
        let whole = Recipe {
            phases: Vec::new(),
            // Only the first phase starts from these weights. Later phases continue with those of the phase before.
            start: self.start.clone().filter(|_| phase == 1),
            ..self.clone()
        };
        let differences = self.phases.get(phase - 1).cloned().unwrap_or_default();
        let recipe = whole
            .with(&differences)
            .map_err(|message| RecipeError::Invalid {
                what: format!("phase {phase} of {}", self.name),
                message,
            })?;
        Ok(Recipe {
            phase: Phase {
                number: phase,
                count,
            },
            ..recipe
        })
    }

    /// The recipe with `key` (dotted, as `optimizer.decay_exponent`) set to `value`.
    ///
    /// # Errors
    /// A key that is not the recipe's, or a value of the wrong kind.
    pub fn set(&self, key: &str, value: &str) -> Result<Self, RecipeError> {
        // A bare word is a string, and so is any value of a key whose current value is a string. Everything else is read as
        // TOML.
        let parsed = format!("v = {value}")
            .parse::<toml::Table>()
            .ok()
            .and_then(|mut table| table.remove("v"));
        let whole = self.to_toml()?;
        let now = key
            .split('.')
            .try_fold(&whole, |table, part| table.get(part));
        let text = now.is_some_and(toml::Value::is_str);
        let parsed = parsed.filter(|it| it.is_str() || !text);
        let parsed = parsed.unwrap_or_else(|| toml::Value::String(value.to_string()));
        let (first, rest) = key.split_once('.').unwrap_or((key, ""));
        let below = rest.rsplit('.').filter(|part| !part.is_empty());
        let patch = below.fold(parsed, |patch, part| {
            toml::Value::Table([(part.to_string(), patch)].into_iter().collect())
        });
        let patch = [(first.to_string(), patch)].into_iter().collect();
        let recipe = self.with(&patch).map_err(|message| RecipeError::Invalid {
            what: format!("--set {key}={value}"),
            message,
        })?;
        Ok(Recipe {
            phase: self.phase,
            ..recipe
        })
    }

    /// This recipe with the settings `patch`, or what is wrong with them.
    fn with(&self, patch: &toml::Table) -> Result<Self, String> {
        let base = self.to_toml().map_err(|error| error.to_string())?;
        Recipe::of(&self.registry, &base, patch)
    }

    fn to_toml(&self) -> Result<toml::Value, RecipeError> {
        toml::Value::try_from(self).map_err(|error| RecipeError::Invalid {
            what: self.name.clone(),
            message: error.to_string(),
        })
    }

    /// The vocabulary: that of `vocabulary_file`, if it is set.
    ///
    /// # Errors
    /// A file that is not a vocabulary.
    pub fn tokens(&self) -> Result<Vocabulary, RecipeError> {
        match &self.vocabulary_file {
            Some(path) => Ok(read_vocabulary(path, &self.vocabulary)?),
            None => Ok(Vocabulary::clone(&self.vocabulary)),
        }
    }

    /// The settings of this recipe's step.
    ///
    /// # Errors
    /// A run of no steps, or a file that is not a vocabulary.
    pub fn step(&self) -> Result<StepConfig, RecipeError> {
        Range::SIZE.require("steps", &self.steps, self.steps as f64)?;
        Ok(StepConfig {
            model: self.model.clone(),
            objective: self.objective.clone(),
            vocabulary: self.tokens()?,
            optimizer: self.optimizer.clone(),
            schedule: self.schedule,
            steps: self.steps,
            clip_norm: self.clip_norm,
            batch: self.batch,
            length: self.length,
            microbatches: self.microbatches,
            policy: self.precision,
            remat: self.remat.into(),
            dropout: self.dropout,
            unroll: false,
        })
    }

    /// The seed of noise, dropout and the order of the data. Steps count from 0 in each phase, so each phase has another seed.
    /// The first phase uses `seed` itself.
    pub fn phase_seed(&self) -> u32 {
        // 2^32 divided by the golden ratio. It is odd, so no two phases share a seed.
        let before = self.phase.number.saturating_sub(1) as u32;
        self.seed.wrapping_add(before.wrapping_mul(0x9e37_79b9))
    }

    /// How proteins are arranged in the rows of a batch.
    pub fn rows(&self) -> Rows {
        self.objective.rows(&self.model, self.length)
    }

    /// Tokens that a step reads: of encoder and decoder together, if the model has both.
    pub fn tokens_per_step(&self) -> usize {
        self.batch * self.length * self.objective.readings()
    }
}

impl Recipe<toml::Value, toml::Value, String> {
    /// The recipe with all its names looked up in `registry`.
    fn named(self, registry: &Registry) -> Result<Recipe, toml::de::Error> {
        Ok(Recipe {
            vocabulary: registry.read_vocabulary("vocabulary", &self.vocabulary)?,
            model: registry.families().read("model", self.model)?,
            objective: registry.objectives().read("objective", self.objective)?,
            registry: registry.clone(),
            name: self.name,
            about: self.about,
            target: self.target,
            mesh: self.mesh,
            batch: self.batch,
            length: self.length,
            start: self.start,
            microbatches: self.microbatches,
            steps: self.steps,
            seed: self.seed,
            precision: self.precision,
            remat: self.remat,
            dropout: self.dropout,
            clip_norm: self.clip_norm,
            data: self.data,
            vocabulary_file: self.vocabulary_file,
            rules: self.rules,
            optimizer: self.optimizer,
            schedule: self.schedule,
            phases: self.phases,
            phase: self.phase,
        })
    }
}

/// Puts the settings of `patch` into `base`, table by table. A table with another `name` (optimizer, schedule, objective) or
/// `family` (model) is replaced whole.
fn merge(base: &mut toml::Value, patch: toml::Value) {
    match (base, patch) {
        (toml::Value::Table(base), toml::Value::Table(patch)) => {
            let other = |key: &str| {
                let (new, known) = (patch.get(key), base.get(key));
                new.is_some() && known.is_some() && new != known
            };
            // A recipe also has a name, but keeps its settings when the name changes.
            if !base.contains_key("model") && (other("name") || other("family")) {
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
    use crate::models::t5;
    use crate::train::optimizer::{AdamW, Lamb, MomentType};

    #[test]
    fn overrides_reach_every_key() {
        let recipe = Recipe::preset("prot-t5-tiny").unwrap();
        let recipe = recipe
            .set("model.num_layers", "3")
            .unwrap()
            .set("batch", "32")
            .unwrap();
        let model: &t5::Config = recipe.model.config().unwrap();
        assert_eq!((model.num_layers, recipe.batch), (3, 32));
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
        assert!(
            message.contains("unknown key `optimizer.clam`"),
            "{message}"
        );
        let message = recipe.set("schedule.ramp", "1").unwrap_err().to_string();
        assert!(message.contains("unknown key `schedule.ramp`"), "{message}");
    }

    #[test]
    fn unknown_keys_and_wrong_values_are_refused() {
        let recipe = Recipe::preset("prot-t5-tiny").unwrap();
        let message = recipe.set("bacth", "3").unwrap_err().to_string();
        assert!(
            message.contains("--set bacth=3") && message.contains("unknown key `bacth`"),
            "{message}"
        );
        let message = recipe.set("batch", "many").unwrap_err().to_string();
        assert!(
            message.contains("batch is \"many\"; it must be a whole number"),
            "{message}"
        );
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
        let model: &t5::Config = recipe.model.config().unwrap();
        assert_eq!(
            (recipe.batch, model.dropout_rate, recipe.length),
            (2048, 0.0, 512)
        );
        std::fs::write(&path, "base = \"prot-t5-xl\"\nlenght = 3\n").unwrap();
        let message = Recipe::load(path.to_str().unwrap())
            .unwrap_err()
            .to_string();
        assert!(message.contains("unknown key `lenght`"), "{message}");
        std::fs::write(&path, "batch = 3\n").unwrap();
        let message = Recipe::load(path.to_str().unwrap())
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("the key `length` is missing; a recipe states every key"),
            "{message}"
        );
    }

    #[test]
    fn phases_are_differences_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.toml");
        let text = "base = \"prot-t5-tiny\"\nbatch = 16\n[[phases]]\nsteps = 5\n[[phases]]\nsteps = 7\nlength = 128\n";
        std::fs::write(&path, text).unwrap();
        let load = || Recipe::load(path.to_str().unwrap());
        let recipe = load().unwrap();
        let phase = |number| {
            recipe
                .phase(number)
                .map(|it| (it.steps, it.length, it.batch))
        };
        assert_eq!(phase(1).unwrap(), (5, 64, 16));
        assert_eq!(phase(2).unwrap(), (7, 128, 16));
        let message = phase(3).unwrap_err().to_string();
        assert!(
            message.contains("has 2 phases, counted from 1, and no phase 3"),
            "{message}"
        );
        std::fs::write(&path, text.replace("length", "lenght")).unwrap();
        let message = load().unwrap_err().to_string();
        assert!(
            message.contains("phase 2") && message.contains("`lenght`"),
            "{message}"
        );
    }

    #[test]
    fn unknown_models_give_near_names() {
        let message = Recipe::load("prot-t5-x").unwrap_err().to_string();
        assert!(message.contains("nearest are prot-t5-xl"), "{message}");
    }
}
