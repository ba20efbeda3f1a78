//! Named sets of rules: the ways of splitting a training step that have a name in the field. Each covers the axes of the
//! models here; a recipe adds differences ([`RulesConfig`](super::RulesConfig)).
//!
//! Mesh axes: `data` splits the batch, `model` the layers themselves, and [`REPLICA`](super::rules::REPLICA) the batch only,
//! over groups of devices that each hold all weights. In every set the batch goes over `replica` and `data`, so
//! `--mesh replica=4,data=64` turns `fsdp` into hybrid sharding (Zhao et al. 2023).

use serde::{Deserialize, Serialize};

use super::rules::{Rule, Rules};

/// A named set of rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleSet {
    /// Two-dimensional: weights and state over `data` and `model`, layers over `model`, the residual stream by positions.
    #[default]
    Standard,
    /// Data parallelism.
    Data,
    /// Data parallelism with optimizer state and gradients split (ZeRO, Rajbhandari et al. 2020).
    Zero1,
    /// Fully sharded data parallelism (ZeRO-3).
    Fsdp,
    /// Tensor parallelism (Shoeybi et al. 2019) with data parallelism.
    Tensor,
    /// Tensor and sequence parallelism (Korthikanti et al. 2022) with optimizer state split over `data`.
    Megatron,
    /// No rules but the recipe's own lists.
    None,
}

/// Axes of weights and of their optimizer state.
const WEIGHT: [&str; 18] = [
    "embed",
    "mlp",
    "heads",
    "kv",
    // 128 ids at most: splitting so small a table saves nothing and costs a gather.
    "vocab",
    "layers",
    "relpos_buckets",
    "rank",
    "window",
    "channels",
    // The size of factorised embeddings. ALBERT's 128 is too small for a pod's `data`.
    "factor",
    // The outgoing axis of a kernel from `embed` to `embed`.
    "hidden",
    "positions",
    "types",
    "classes",
    "qkv",
    "segments",
    "clusters",
];

/// Axes of the batch, of intermediates and of results.
const ACTIVATION: [&str; 23] = [
    "batch",
    "heads",
    "mlp",
    "length",
    "keys",
    "embed",
    "kv",
    "vocab",
    "relpos_buckets",
    "layers",
    "microbatches",
    "rank",
    "window",
    "channels",
    "factor",
    "hidden",
    "positions",
    "types",
    "classes",
    "memory",
    "distance",
    "directions",
    // Few, and rarely divisible.
    "predictions",
];

/// Axes of the residual stream.
const RESIDUAL: [&str; 6] = [
    "batch",
    "length",
    "predictions",
    "embed",
    "factor",
    "layers",
];

/// Axes that are split, each with its mesh axes.
type Split<'a> = &'a [(&'a str, &'a [&'a str])];

/// The mesh axes of the batch.
const BATCH: (&str, &[&str]) = ("batch", &["replica", "data"]);
/// Splits weights and state by the axis that nearly all of them have.
const EMBED: (&str, &[&str]) = ("embed", &["data"]);
const HEADS: (&str, &[&str]) = ("heads", &["model"]);
const MLP: (&str, &[&str]) = ("mlp", &["model"]);
const FACTOR: (&str, &[&str]) = ("factor", &["model"]);
/// Sequence parallelism: between blocks each device of a `model` group keeps its part of the positions. This shrinks what
/// loops save, splits the norms, and turns the sums of tensor parallelism into a scatter and a gather of the same size.
const LENGTH: (&str, &[&str]) = ("length", &["model"]);

impl RuleSet {
    /// Every set.
    pub const ALL: [RuleSet; 7] = [
        RuleSet::Standard,
        RuleSet::Data,
        RuleSet::Zero1,
        RuleSet::Fsdp,
        RuleSet::Tensor,
        RuleSet::Megatron,
        RuleSet::None,
    ];

    /// The name that a recipe and `--rules` use.
    pub fn name(self) -> &'static str {
        match self {
            RuleSet::Standard => "standard",
            RuleSet::Data => "data",
            RuleSet::Zero1 => "zero1",
            RuleSet::Fsdp => "fsdp",
            RuleSet::Tensor => "tensor",
            RuleSet::Megatron => "megatron",
            RuleSet::None => "none",
        }
    }

    /// Returns the set called `name`.
    ///
    /// # Errors
    /// No set has this name; the message gives the nearest name and all of them.
    pub fn named(name: &str) -> Result<Self, String> {
        let near = |set: &RuleSet| strsim::damerau_levenshtein(set.name(), name);
        RuleSet::ALL
            .into_iter()
            .find(|set| set.name() == name)
            .ok_or_else(|| {
                let nearest = RuleSet::ALL.into_iter().min_by_key(near);
                let names = RuleSet::ALL.map(RuleSet::name).join(", ");
                format!(
                    "unknown set of rules `{name}`; the nearest is {}; the sets are {names}",
                    nearest.map_or("", RuleSet::name)
                )
            })
    }

    /// What is split over what.
    pub fn splits(self) -> &'static str {
        match self {
            RuleSet::Standard => {
                "weights and state over data and model, layers over model, the residual stream by positions over model"
            }
            RuleSet::Data => "the batch over data; every device holds all weights and state",
            RuleSet::Zero1 => {
                "the batch over data; state and gradients over data; every device holds all weights"
            }
            RuleSet::Fsdp => {
                "the batch over data; weights, state and gradients over data, gathered when used"
            }
            RuleSet::Tensor => "the batch over data; heads and hidden units over model",
            RuleSet::Megatron => {
                "as tensor, with the residual stream by positions over model and state over data too"
            }
            RuleSet::None => "nothing but what the recipe's own lists split",
        }
    }

    /// When to use it.
    pub fn when(self) -> &'static str {
        match self {
            RuleSet::Standard => "models of any size on any machine; the default",
            RuleSet::Data => "models that fit one device with their state; moves gradients only",
            RuleSet::Zero1 => {
                "models whose weights fit one device but not their state; gathers once per step"
            }
            RuleSet::Fsdp => "large models with at least one row per device; no layer is split",
            RuleSet::Tensor => {
                "fewer rows than devices, on fast links; activations between blocks are whole"
            }
            RuleSet::Megatron => "as tensor, if activations or state take too much memory",
            RuleSet::None => "models with axes that the other sets lack",
        }
    }

    /// The rules.
    pub fn rules(self) -> Rules {
        let (weights, state, activations, residual): (Split, Split, Split, Split) = match self {
            RuleSet::Standard => (
                &[EMBED, MLP, HEADS, FACTOR],
                &[],
                &[BATCH, HEADS, MLP],
                &[BATCH, LENGTH],
            ),
            RuleSet::Data => (&[], &[], &[BATCH], &[BATCH]),
            RuleSet::Zero1 => (&[], &[EMBED], &[BATCH], &[BATCH]),
            RuleSet::Fsdp => (&[EMBED], &[], &[BATCH], &[BATCH]),
            RuleSet::Tensor => (&[MLP, HEADS, FACTOR], &[], &[BATCH, HEADS, MLP], &[BATCH]),
            RuleSet::Megatron => (
                &[MLP, HEADS, FACTOR],
                &[EMBED],
                &[BATCH, HEADS, MLP],
                &[BATCH, LENGTH],
            ),
            RuleSet::None => return Rules::default(),
        };
        Rules {
            weights: list(&WEIGHT, weights),
            // State without a rule follows its weight.
            state: state.iter().map(|split| rule(split.0, state)).collect(),
            activations: list(&ACTIVATION, activations),
            residual: list(&RESIDUAL, residual),
        }
    }
}

impl Rules {
    /// The rules of [`RuleSet::Standard`].
    pub fn standard() -> Self {
        RuleSet::Standard.rules()
    }
}

/// A rule for each of `axes`.
fn list(axes: &[&str], split: Split) -> Vec<Rule> {
    axes.iter().map(|axis| rule(axis, split)).collect()
}

/// The rule for `axis`: whole unless it is in `split`.
fn rule(axis: &str, split: Split) -> Rule {
    let mesh_axes = split.iter().find(|(name, _)| *name == axis);
    let mesh_axes = mesh_axes.map_or(&[] as &[&str], |(_, mesh_axes)| mesh_axes);
    Rule {
        axis: axis.into(),
        mesh_axes: mesh_axes.iter().map(|name| (*name).into()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_is_well_formed() {
        for set in RuleSet::ALL {
            assert_eq!(RuleSet::named(set.name()), Ok(set));
            let rules = set.rules();
            let lists = [
                &rules.weights,
                &rules.state,
                &rules.activations,
                &rules.residual,
            ];
            for rule in lists.into_iter().flatten() {
                assert_eq!(rule.check(), Ok(()));
            }
            // An axis with a split must be in the list of axes, or its split would be lost.
            let split = |list: &[Rule]| {
                list.iter()
                    .filter(|rule| !rule.mesh_axes.is_empty())
                    .count()
            };
            let expected = match set {
                RuleSet::Standard => [4, 0, 3, 2],
                RuleSet::Data => [0, 0, 1, 1],
                RuleSet::Zero1 => [0, 1, 1, 1],
                RuleSet::Fsdp => [1, 0, 1, 1],
                RuleSet::Tensor => [3, 0, 3, 1],
                RuleSet::Megatron => [3, 1, 3, 2],
                RuleSet::None => [0; 4],
            };
            assert_eq!(lists.map(|list| split(list)), expected, "{}", set.name());
        }
    }

    #[test]
    fn an_unknown_set_gives_the_nearest() {
        assert_eq!(
            RuleSet::named("fspd"),
            Err("unknown set of rules `fspd`; the nearest is fsdp; \
                 the sets are standard, data, zero1, fsdp, tensor, megatron, none"
                .to_string())
        );
    }
}
