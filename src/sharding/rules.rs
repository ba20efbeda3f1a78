//! Rules: an ordered list, as plain data, of the mesh axes that split each tensor axis. Weights, optimizer state, activations
//! and the residual stream each have a list.
//!
//! For each axis of a tensor, outermost first, the first rule for its name applies whose mesh axes are not taken by an
//! earlier axis of the tensor. `kv->whole` keeps an axis whole. An axis without a rule is an error, never silently whole.
//! Optimizer state follows its weight: if `state` has no rule for an axis, the rules for weights apply.
//!
//! A mesh axis that a rule names but the mesh lacks counts as 1. The reverse is an error: devices along a mesh axis that no
//! rule names would all do the same work (the axis [`UNUSED`] does so on purpose).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::error::ShardingError;
pub use super::kind::Kind;
use super::mesh::{Mesh, is_name};
use crate::graph::AxisName;

/// The mesh axis of groups of devices that each hold all weights: it splits only the batch. The name comes from Pax.
pub const REPLICA: &str = "replica";

/// The mesh axis of devices that repeat others' work, for a machine with more devices than a program divides over.
pub const UNUSED: &str = "unused";

/// One rule: a tensor axis and the mesh axes that split it, major first. Prints as `embed->data`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Rule {
    /// The name of the tensor axis.
    pub axis: SmolStr,
    /// The mesh axes; an empty list keeps the axis whole.
    pub mesh_axes: Vec<SmolStr>,
}

impl Rule {
    /// Splits `axis` over one mesh axis.
    pub fn split(axis: &str, mesh_axis: &str) -> Self {
        Rule {
            axis: axis.into(),
            mesh_axes: vec![mesh_axis.into()],
        }
    }

    /// Keeps `axis` whole on every device.
    pub fn whole(axis: &str) -> Self {
        Rule {
            axis: axis.into(),
            mesh_axes: Vec::new(),
        }
    }

    /// The right-hand side as text: `data`, `data+model` or `whole`.
    pub(crate) fn wanted(&self) -> String {
        match self.mesh_axes.as_slice() {
            [] => "whole".to_string(),
            axes => axes.join("+"),
        }
    }

    /// The positions of this rule's mesh axes in `mesh`, without those that the mesh lacks.
    pub(crate) fn positions(&self, mesh: &Mesh) -> Vec<usize> {
        let axes = self.mesh_axes.iter();
        axes.filter_map(|name| mesh.position(name)).collect()
    }

    /// Why this is not a valid rule, if it is not.
    fn mistake(&self) -> Option<String> {
        if self.axis.is_empty() {
            return Some("the tensor axis is missing".to_string());
        }
        self.mesh_axes.iter().enumerate().find_map(|(at, name)| {
            if name.is_empty() {
                Some("a mesh axis is missing".to_string())
            } else if self.mesh_axes[..at].contains(name) {
                Some(format!("mesh axis `{name}` is repeated"))
            } else if !is_name(name) {
                Some(format!("`{name}` is not a name of a mesh axis"))
            } else {
                None
            }
        })
    }

    /// Refuses a rule built from invalid parts.
    ///
    /// # Errors
    /// A missing or a repeated name.
    pub fn check(&self) -> Result<(), ShardingError> {
        let text = || self.to_string();
        self.mistake().map_or(Ok(()), |reason| {
            Err(ShardingError::RuleSyntax {
                text: text(),
                reason,
            })
        })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}", self.axis, self.wanted())
    }
}

impl FromStr for Rule {
    type Err = ShardingError;

    fn from_str(text: &str) -> Result<Self, ShardingError> {
        let mistake = |reason: String| ShardingError::RuleSyntax {
            text: text.to_string(),
            reason,
        };
        let (axis, wanted) = text
            .split_once("->")
            .ok_or_else(|| mistake("there is no `->`".to_string()))?;
        let (axis, wanted) = (axis.trim(), wanted.trim());
        let mesh_axes = match wanted {
            "whole" => Vec::new(),
            names => names.split('+').map(|name| name.trim().into()).collect(),
        };
        let rule = Rule {
            axis: axis.into(),
            mesh_axes,
        };
        match rule.mistake() {
            Some(reason) => Err(mistake(reason)),
            None => Ok(rule),
        }
    }
}

impl TryFrom<String> for Rule {
    type Error = ShardingError;

    fn try_from(text: String) -> Result<Self, ShardingError> {
        text.parse()
    }
}

impl From<Rule> for String {
    fn from(rule: Rule) -> String {
        rule.to_string()
    }
}

/// The rule lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rules {
    /// For weights.
    pub weights: Vec<Rule>,
    /// For optimizer state and gradients, tried before those for weights.
    pub state: Vec<Rule>,
    /// For the batch, intermediates and results.
    pub activations: Vec<Rule>,
    /// For the residual stream between blocks, and its gradient.
    pub residual: Vec<Rule>,
}

impl Rules {
    /// The rules for `kind`, in the order they are tried.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Rule> {
        let (first, then): (&[Rule], &[Rule]) = match kind {
            Kind::Weight => (&self.weights, &[]),
            Kind::State => (&self.state, &self.weights),
            Kind::Activation => (&self.activations, &[]),
            Kind::Residual => (&self.residual, &[]),
        };
        first.iter().chain(then)
    }

    /// All rules. Those for activations come first, so the batch's mesh axes are outermost.
    fn all(&self) -> impl Iterator<Item = &Rule> {
        let lists = [
            &self.activations,
            &self.residual,
            &self.weights,
            &self.state,
        ];
        lists.into_iter().flatten()
    }

    /// The mesh axes that the rules name, each once.
    pub fn mesh_axes(&self) -> Vec<&SmolStr> {
        let mut seen = BTreeSet::new();
        let names = self.all().flat_map(|rule| &rule.mesh_axes);
        names.filter(|name| seen.insert(*name)).collect()
    }

    /// The tensor axes that a rule splits over `mesh_axis`, each once.
    pub(super) fn axes_over(&self, mesh_axis: &str) -> Vec<&SmolStr> {
        let mut seen = BTreeSet::new();
        (self.all())
            .filter(|rule| rule.mesh_axes.iter().any(|name| name == mesh_axis))
            .map(|rule| &rule.axis)
            .filter(|axis| seen.insert(*axis))
            .collect()
    }

    /// These rules, where each list also keeps whole any of `axes` that it has no rule for.
    ///
    /// Loops stack their results along their own axis, which needs a rule only if it is to be split.
    pub fn with_whole<'a>(&self, axes: impl IntoIterator<Item = &'a AxisName>) -> Self {
        let mut rules = self.clone();
        for axis in axes {
            for list in [
                &mut rules.weights,
                &mut rules.activations,
                &mut rules.residual,
            ] {
                if list.iter().all(|rule| rule.axis != *axis) {
                    list.push(Rule::whole(axis));
                }
            }
        }
        rules
    }

    /// Checks the rules against `mesh`.
    ///
    /// # Errors
    /// A rule is not valid, or no rule names a mesh axis.
    pub fn check(&self, mesh: &Mesh) -> Result<(), ShardingError> {
        self.all().try_for_each(Rule::check)?;
        let names = self.mesh_axes();
        let named = |name: &str| name == UNUSED || names.iter().any(|known| *known == name);
        let axis = (mesh.axes().iter()).find(|axis| axis.size > 1 && !named(&axis.name));
        let Some(axis) = axis else { return Ok(()) };
        let near = |known: &&&SmolStr| strsim::normalized_damerau_levenshtein(known, &axis.name);
        let nearest = (names.iter())
            .filter(|known| near(known) >= 0.5)
            .max_by(|a, b| near(a).total_cmp(&near(b)));
        let meant = nearest.map_or(String::new(), |it| format!("did you mean `{it}`? "));
        let known: Vec<_> = names.iter().map(|name| name.as_str()).collect();
        let known = match known.as_slice() {
            [] => "the rules split nothing".to_string(),
            known => format!("the rules name {}", known.join(", ")),
        };
        Err(ShardingError::UnusedMeshAxis {
            mesh: mesh.to_string(),
            mesh_axis: axis.name.to_string(),
            size: axis.size,
            reason: format!("no rule names it; {meant}{known}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_rule_reads_what_it_prints() {
        for text in ["embed->data", "batch->data+model", "kv->whole"] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
        let spaced: Rule = " batch -> replica + data ".parse().unwrap();
        assert_eq!(spaced.to_string(), "batch->replica+data");
    }

    proptest! {
        #[test]
        fn any_rule_reads_what_it_prints(axis in "[a-z_]{1,8}", names in prop::collection::btree_set("[a-z][a-z0-9_]{0,5}", 0..4)) {
            let mesh_axes: Vec<SmolStr> = names.into_iter().map(SmolStr::from).collect();
            prop_assume!(mesh_axes != ["whole"]);
            let rule = Rule { axis: axis.into(), mesh_axes };
            prop_assert_eq!(rule.to_string().parse::<Rule>(), Ok(rule));
        }

        #[test]
        fn no_text_makes_a_panic(text in "[a-z>+ -]{0,12}") {
            if let Ok(rule) = text.parse::<Rule>() {
                prop_assert_eq!(rule.check(), Ok(()));
            }
        }
    }

    #[test]
    fn refuses_bad_syntax() {
        let refused = |text: &str| text.parse::<Rule>().unwrap_err().to_string();
        assert!(refused("embed=data").contains("there is no `->`"));
        assert!(refused("->data").contains("the tensor axis is missing"));
        assert!(refused("embed->").contains("a mesh axis is missing"));
        assert!(refused("embed->data+").contains("a mesh axis is missing"));
        assert!(refused("embed->data+data").contains("mesh axis `data` is repeated"));
        assert!(refused("embed->da ta").contains("`da ta` is not a name"));
    }

    #[test]
    fn a_rule_put_together_with_a_mesh_axis_twice_is_refused() {
        let twice = Rule {
            axis: "embed".into(),
            mesh_axes: vec!["data".into(), "data".into()],
        };
        let rules = Rules {
            weights: vec![twice],
            ..Rules::default()
        };
        let mesh = Mesh::parse("data=4").unwrap();
        assert_eq!(
            rules.check(&mesh).unwrap_err().to_string(),
            "rule `embed->data+data`: mesh axis `data` is repeated; \
             write it like embed->data, batch->data+model, or kv->whole"
        );
    }

    #[test]
    fn a_mesh_axis_that_no_rule_names_is_an_error() {
        let check = |mesh: &str| Rules::standard().check(&Mesh::parse(mesh).unwrap());
        assert_eq!(
            check("data=4,modle=2").unwrap_err().to_string(),
            "mesh data=4,modle=2: devices along `modle` would all do the same work, 2 times; no rule names it; \
             did you mean `model`? the rules name replica, data, model"
        );
        let message = check("expert=3,data=8").unwrap_err().to_string();
        assert!(!message.contains("did you mean"), "{message}");
        for mesh in [
            "data=8",
            "model=8",
            "data=4,model=2,expert=1",
            "unused=3,data=2",
        ] {
            assert_eq!(check(mesh), Ok(()), "{mesh}");
        }
    }

    #[test]
    fn axes_of_loops_are_whole_unless_a_rule_splits_them() {
        let rules = Rules {
            weights: vec![Rule::split("layers", "pipe")],
            ..Rules::default()
        };
        let whole = rules.with_whole([&"layers".into()]);
        let first = |kind| whole.of(kind).next().unwrap().to_string();
        assert_eq!(first(Kind::Weight), "layers->pipe");
        assert_eq!(first(Kind::State), "layers->pipe");
        assert_eq!(first(Kind::Residual), "layers->whole");
    }
}
