//! A recipe's `rules`: the name of a set, or a set with differences.
//!
//! ```toml
//! rules = "zero1"
//! ```
//! ```toml
//! [rules]
//! set = "standard"                      # the default
//! weights = ["vocab->model"]            # instead of the set's rules for these axes
//! activations = ["experts->expert", "batch->data+expert"]
//! ```

use std::collections::BTreeSet;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::error::ShardingError;
use super::kind::Kind;
use super::rules::{Rule, Rules};
use super::sets::RuleSet;
use crate::graph::{AxisName, Graph};

/// A recipe's `rules`: a set, and for each list the rules that replace the set's for their axes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct RulesConfig {
    /// The set.
    pub set: RuleSet,
    /// Differences for weights.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<Rule>,
    /// Differences for optimizer state.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<Rule>,
    /// Differences for activations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub activations: Vec<Rule>,
    /// Differences for the residual stream.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub residual: Vec<Rule>,
}

impl RulesConfig {
    /// Whether this is the standard set without differences.
    pub fn is_default(&self) -> bool {
        *self == RulesConfig::default()
    }

    /// The rules.
    pub fn rules(&self) -> Rules {
        let set = self.set.rules();
        Rules {
            weights: changed(set.weights, &self.weights),
            state: changed(set.state, &self.state),
            activations: changed(set.activations, &self.activations),
            residual: changed(set.residual, &self.residual),
        }
    }
}

impl RulesConfig {
    /// Refuses a difference for an axis that no tensor of `graph` has. A set's own rules serve all models, so they are not
    /// checked.
    ///
    /// # Errors
    /// The first such rule.
    pub fn check(&self, graph: &Graph) -> Result<(), ShardingError> {
        let nodes = graph.regions.iter().flat_map(|region| &region.nodes);
        let axes: BTreeSet<&str> = nodes
            .flat_map(|node| node.shape.names().map(AxisName::as_str))
            .collect();
        let lists = [
            (Kind::Weight, &self.weights),
            (Kind::State, &self.state),
            (Kind::Activation, &self.activations),
            (Kind::Residual, &self.residual),
        ];
        let rules = lists
            .into_iter()
            .flat_map(|(kind, list)| list.iter().map(move |rule| (kind, rule)));
        for (kind, rule) in rules {
            if axes.contains(rule.axis.as_str()) {
                continue;
            }
            let distance = |axis: &str| strsim::damerau_levenshtein(axis, &rule.axis);
            let near = axes.iter().min_by_key(|axis| distance(axis));
            let near = near.filter(|axis| distance(axis) <= 2);
            return Err(ShardingError::UnusedRule {
                key: kind.key(),
                rule: rule.to_string(),
                near: near.map(ToString::to_string),
            });
        }
        Ok(())
    }
}

impl From<RuleSet> for RulesConfig {
    fn from(set: RuleSet) -> Self {
        RulesConfig {
            set,
            ..RulesConfig::default()
        }
    }
}

/// `list`, with `differences` replacing the rules for the same axes. They come first, in the order given.
fn changed(list: Vec<Rule>, differences: &[Rule]) -> Vec<Rule> {
    let other = |rule: &Rule| differences.iter().all(|new| new.axis != rule.axis);
    let kept = list.into_iter().filter(other);
    differences.iter().cloned().chain(kept).collect()
}

/// The fields of a `[rules]` table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Table {
    set: Set,
    weights: Vec<Rule>,
    state: Vec<Rule>,
    activations: Vec<Rule>,
    residual: Vec<Rule>,
}

/// A set by name. An unknown name is an error that suggests the nearest.
#[derive(Default, Deserialize)]
#[serde(try_from = "String")]
struct Set(RuleSet);

impl TryFrom<String> for Set {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        RuleSet::named(&name).map(Set)
    }
}

impl<'de> Deserialize<'de> for RulesConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrTable;

        impl<'de> Visitor<'de> for NameOrTable {
            type Value = RulesConfig;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("the name of a set of rules, or a table with set, weights, state, activations, residual")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<RulesConfig, E> {
                RuleSet::named(name)
                    .map(RulesConfig::from)
                    .map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RulesConfig, A::Error> {
                let table = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(RulesConfig {
                    set: table.set.0,
                    weights: table.weights,
                    state: table.state,
                    activations: table.activations,
                    residual: table.residual,
                })
            }
        }

        deserializer.deserialize_any(NameOrTable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, Serialize)]
    struct Recipe {
        rules: RulesConfig,
    }

    fn read(text: &str) -> Result<RulesConfig, String> {
        toml::from_str::<Recipe>(text)
            .map(|recipe| recipe.rules)
            .map_err(|error| error.message().to_string())
    }

    #[test]
    fn a_name_is_a_set() {
        let config = read("rules = \"zero1\"").unwrap();
        assert_eq!(config, RuleSet::Zero1.into());
        assert_eq!(config.rules(), RuleSet::Zero1.rules());
    }

    #[test]
    fn differences_take_the_place_of_the_set_s_rules() {
        let config =
            read("[rules]\nweights = [\"vocab -> model\", \"experts->expert\"]\n").unwrap();
        let (rules, standard) = (config.rules(), Rules::standard());
        let of = |rules: &Rules, axis: &str| -> Vec<String> {
            let list = rules.weights.iter().filter(|rule| rule.axis == axis);
            list.map(Rule::to_string).collect()
        };
        assert_eq!(of(&rules, "vocab"), ["vocab->model"]);
        assert_eq!(of(&rules, "experts"), ["experts->expert"]);
        assert_eq!(of(&rules, "embed"), of(&standard, "embed"));
        assert_eq!(rules.weights.len(), standard.weights.len() + 1);
        assert_eq!(rules.activations, standard.activations);
    }

    #[test]
    fn a_table_reads_what_it_writes() {
        let text = "[rules]\nset = \"none\"\nresidual = [\"batch->data+fsdp\", \"embed->whole\"]\n";
        let config = read(text).unwrap();
        assert_eq!(toml::to_string(&Recipe { rules: config }).unwrap(), text);
    }

    #[test]
    fn mistakes_say_what_is_wrong() {
        insta::assert_snapshot!(read("rules = \"zero\"").unwrap_err());
        insta::assert_snapshot!(read("rules = 3").unwrap_err());
        insta::assert_snapshot!(read("[rules]\nset = \"fdsp\"").unwrap_err());
        insta::assert_snapshot!(read("[rules]\nweight = []").unwrap_err());
        insta::assert_snapshot!(read("[rules]\nweights = [\"embed->data+data\"]").unwrap_err());
        insta::assert_snapshot!(read("[rules]\nweights = [\"embed=data\"]").unwrap_err());
    }
}
