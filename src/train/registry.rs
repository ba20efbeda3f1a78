//! The names in recipes: families of models, objectives, vocabularies and recipes. A crate with more of them adds
//! them to [`Registry::standard`] and passes the result to [`crate::cli::main_with`], or loads recipes with it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde::de::{DeserializeOwned, Error};

use super::catalog::{CATALOG, Entry, name_of};
use super::objective::{Objective, Task, objectives};
use super::recipe::{Recipe, RecipeError};
use crate::data::{NamedVocabulary, PUBLISHED, Vocabulary};
use crate::models::named::{Named, unknown};
use crate::models::{Families, Family};

/// All names that recipes use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Registry(Arc<Known>);

#[derive(Clone, Debug)]
struct Known {
    families: Families,
    objectives: Named<Objective>,
    vocabularies: Vec<NamedVocabulary>,
    recipes: Vec<Entry>,
}

impl Default for Registry {
    fn default() -> Self {
        Registry::standard()
    }
}

/// Two registries are equal if they hold the same names.
impl PartialEq for Registry {
    fn eq(&self, other: &Self) -> bool {
        let names = |known: &Known| {
            let vocabularies = known
                .vocabularies
                .iter()
                .map(|table| table.name.to_string());
            (
                known.families.names().collect::<Vec<_>>(),
                known.objectives.names().collect::<Vec<_>>(),
                vocabularies.collect::<Vec<_>>(),
            )
        };
        self.0.recipes == other.0.recipes && names(&self.0) == names(&other.0)
    }
}

impl Registry {
    /// The built-in names: seven families, five objectives, the published vocabularies and the recipes.
    pub fn standard() -> Self {
        let vocabularies = PUBLISHED
            .iter()
            .map(|table| Vocabulary::clone(table).into());
        Registry(Arc::new(Known {
            families: Families::standard(),
            objectives: objectives(),
            vocabularies: vocabularies.collect(),
            recipes: CATALOG.to_vec(),
        }))
    }

    /// Adds the family `F`. Here and below, a new item replaces an old one of the same name.
    pub fn family<F: Family + DeserializeOwned>(self) -> Self {
        self.with(|known| known.families = known.families.clone().with::<F>())
    }

    /// Adds the objective `T`.
    pub fn objective<T: Task + DeserializeOwned>(self) -> Self {
        self.with(|known| known.objectives = known.objectives.clone().with::<T>(T::name()))
    }

    /// Adds a vocabulary under its own name.
    pub fn vocabulary(self, table: Vocabulary) -> Self {
        self.with(|known| {
            known.vocabularies.retain(|other| other.name != table.name);
            known.vocabularies.push(table.into());
        })
    }

    /// Adds a recipe: its name, and the file's text (`include_str!`).
    pub fn recipe(self, name: &'static str, text: &'static str) -> Self {
        self.with(|known| {
            let model = name;
            known.recipes.retain(|other| other.name != name);
            known.recipes.push(Entry { name, model, text });
        })
    }

    fn with(mut self, change: impl FnOnce(&mut Known)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// The families.
    pub fn families(&self) -> &Families {
        &self.0.families
    }

    /// The objectives.
    pub fn objectives(&self) -> &Named<Objective> {
        &self.0.objectives
    }

    /// The recipes, in the order in which they are listed.
    pub fn recipes(&self) -> &[Entry] {
        &self.0.recipes
    }

    /// The vocabulary `name`, which is the value of a recipe's key `below`.
    ///
    /// # Errors
    /// An unknown name.
    pub fn read_vocabulary(
        &self,
        below: &str,
        name: &str,
    ) -> Result<NamedVocabulary, toml::de::Error> {
        let tables = &self.0.vocabularies;
        let found = tables.iter().find(|table| table.name == name);
        found.cloned().ok_or_else(|| {
            let message = unknown(name, tables.iter().map(|table| table.name.as_ref()));
            Error::custom(format!("{message}\nin `{below}`"))
        })
    }

    /// The first recipe of each model, under the model's name: (`prot-t5-xl`, the entry of `prot-t5-xl-bfd`).
    pub fn models(&self) -> Vec<(&'static str, Entry)> {
        let mut seen = BTreeSet::new();
        (self.recipes().iter())
            .filter(|entry| seen.insert(entry.model))
            .map(|entry| (entry.model, *entry))
            .collect()
    }

    /// A complete recipe, as TOML, with the kinds of model, objective, optimizer and schedule that `table` has, if a known
    /// recipe has them.
    pub(super) fn example(&self, table: &toml::Table) -> toml::Table {
        let known = self.recipes().iter().map(|entry| entry.text.parse());
        let known: Vec<toml::Table> = known.filter_map(Result::ok).collect();
        let complete = |recipe: &&toml::Table| !recipe.contains_key("base");
        let mut example = known.iter().find(complete).cloned().unwrap_or_default();
        for (part, kind) in [
            ("model", "family"),
            ("objective", "name"),
            ("optimizer", "name"),
            ("schedule", "name"),
        ] {
            let named = |recipe: &toml::Table| recipe.get(part)?.get(kind).cloned();
            let wanted = named(table);
            let same = known.iter().find(|recipe| named(recipe) == wanted);
            match wanted {
                Some(_) => {
                    let settings = same.and_then(|recipe| recipe.get(part));
                    example.extend(settings.map(|it| (part.to_string(), it.clone())));
                }
                // Settings whose table does not name a kind.
                None if table.contains_key(part) => {
                    example.remove(part);
                }
                None => {}
            }
        }
        example
    }

    /// The recipe `name`, which may be a model's name.
    ///
    /// # Errors
    /// An unknown name: the error holds the three nearest ones.
    pub fn find(&self, name: &str) -> Result<Entry, Vec<&'static str>> {
        let recipes = self.recipes();
        let named = recipes.iter().find(|entry| entry.name == name);
        let found = named.or_else(|| recipes.iter().find(|entry| entry.model == name));
        found.copied().ok_or_else(|| {
            let all = recipes.iter().flat_map(|entry| [entry.model, entry.name]);
            let mut seen = BTreeSet::new();
            let mut names: Vec<_> = all.filter(|known| seen.insert(*known)).collect();
            names.sort_by_key(|known| strsim::damerau_levenshtein(known, name));
            names.truncate(3);
            names
        })
    }

    /// The recipe for `what`: a known name, or a TOML file.
    ///
    /// # Errors
    /// An unknown name, an unreadable file, an unknown key or a value of the wrong kind.
    pub fn load(&self, what: &str) -> Result<Recipe, RecipeError> {
        if !what.ends_with(".toml") {
            return self.preset(what);
        }
        let text = std::fs::read_to_string(what).map_err(|source| RecipeError::Unreadable {
            path: what.into(),
            source,
        })?;
        Recipe::parse(self, what, &name_of(Path::new(what)), &text)
    }

    /// The known recipe `name`. A model's name stands for its first recipe.
    ///
    /// # Errors
    /// An unknown name.
    pub fn preset(&self, name: &str) -> Result<Recipe, RecipeError> {
        let entry = self.find(name).map_err(|near| RecipeError::Unknown {
            name: name.to_string(),
            near,
        })?;
        Recipe::parse(self, entry.name, name, entry.text)
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::models::layers::cross_entropy;
    use crate::models::tokens::Tokens;
    use crate::models::{Context, Model};
    use crate::train::objective::{Given, Loss};

    /// An objective of another crate: it predicts every token that it reads.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Echo {
        share: f64,
    }

    impl Task for Echo {
        fn name() -> &'static str {
            "echo"
        }

        fn trains(&self) -> &'static str {
            "masked language models"
        }

        fn loss<'g>(
            &self,
            cx: Context<'g>,
            model: &Model,
            given: Given<'_, 'g>,
        ) -> Option<Loss<'g>> {
            let model = model.masked_language_model()?;
            let logits = model.logits(cx, Tokens::padded(given.tokens, given.vocabulary.pad));
            let all = given.tokens.ge(given.tokens.constant(0.0));
            Some(Loss::plain(cross_entropy(logits, given.tokens, all)))
        }
    }

    const ECHO: &str = "base = \"prot-bert-tiny\"\n[objective]\nname = \"echo\"\nshare = 0.5\n";

    #[test]
    fn another_s_objective_trains_our_families() {
        let registry = Registry::standard()
            .objective::<Echo>()
            .recipe("echo", ECHO);
        let recipe = registry.preset("echo").unwrap();
        assert_eq!(recipe.objective.settings(), Some(&Echo { share: 0.5 }));
        recipe.step().unwrap().build().unwrap();
        // Changes read names as the file did.
        let recipe = recipe.set("objective.share", "0.25").unwrap();
        assert_eq!(recipe.objective.settings(), Some(&Echo { share: 0.25 }));
        let wrong = registry.preset("prot-t5-tiny").unwrap();
        let wrong = wrong.set("objective.name", "echo").unwrap();
        let message = wrong.step().unwrap().build().unwrap_err().to_string();
        assert_eq!(
            message,
            "objective.name = echo needs masked language models; model.family is t5"
        );
    }

    #[test]
    fn what_is_not_known_is_told_with_what_is() {
        let message = |key: &str, value: &str| {
            let recipe = Recipe::preset("prot-bert-tiny").unwrap();
            recipe.set(key, value).unwrap_err().to_string()
        };
        for (key, value, known) in [
            (
                "model.family",
                "brt",
                "the nearest is `bert`; it must be one of t5, bert",
            ),
            (
                "objective.name",
                "echo",
                "it must be one of denoise, masked-lm",
            ),
            (
                "vocabulary",
                "prot-brt",
                "the nearest is `prot-bert`; it must be one of",
            ),
        ] {
            let message = message(key, value);
            let start = format!("--set {key}={value}: {key} is \"{value}\"; ");
            assert!(
                message.starts_with(&start) && message.contains(known),
                "{message}"
            );
        }
    }
}
