//! Rules: ordered, pure data that say which mesh axes an axis of a tensor is split over. One list for weights, one for
//! activations, and one for the residual stream; optimizer state follows its weight.
//!
//! For each axis of a tensor, outermost first, the first rule for its name whose mesh axes no earlier axis of the tensor
//! has taken applies. `kv->whole` keeps an axis whole. An axis with no rule is an error, never silently whole.

use std::fmt;
use std::str::FromStr;

use smol_str::SmolStr;

use super::error::ShardingError;
use super::mesh::Mesh;

/// What a rule list is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A weight, its gradient, or its optimizer state.
    Weight,
    /// A batch, an intermediate, or a result.
    Activation,
    /// The residual stream between blocks, and its gradient.
    Residual,
}

impl Kind {
    /// The word used in messages and tables.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Weight => "weight",
            Kind::Activation => "activation",
            Kind::Residual => "residual",
        }
    }
}

/// One rule: a tensor axis and the mesh axes that split it, major first. Prints as `embed->data`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// The name of the tensor axis.
    pub axis: SmolStr,
    /// The mesh axes; none keeps the axis whole.
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

    /// Where this rule's mesh axes stand in `mesh`.
    pub(crate) fn positions(&self, mesh: &Mesh) -> Result<Vec<usize>, ShardingError> {
        let position = |name: &SmolStr| {
            mesh.position(name)
                .ok_or_else(|| ShardingError::UnknownMeshAxis {
                    rule: self.to_string(),
                    mesh_axis: name.to_string(),
                    mesh: mesh.to_string(),
                })
        };
        self.mesh_axes.iter().map(position).collect()
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
        let mistake = |reason: &str| ShardingError::RuleSyntax {
            text: text.to_string(),
            reason: reason.to_string(),
        };
        let (axis, wanted) = text
            .split_once("->")
            .ok_or_else(|| mistake("there is no `->`"))?;
        let (axis, wanted) = (axis.trim(), wanted.trim());
        if axis.is_empty() {
            return Err(mistake("the tensor axis is missing"));
        }
        if wanted == "whole" {
            return Ok(Rule::whole(axis));
        }
        let mesh_axes: Vec<SmolStr> = wanted.split('+').map(|name| name.trim().into()).collect();
        for (at, name) in mesh_axes.iter().enumerate() {
            if name.is_empty() {
                return Err(mistake("a mesh axis is missing"));
            }
            if mesh_axes[..at].contains(name) {
                return Err(mistake("a mesh axis is repeated"));
            }
        }
        Ok(Rule {
            axis: axis.into(),
            mesh_axes,
        })
    }
}

/// The two rule lists.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rules {
    /// For weights, their gradients and their optimizer state.
    pub weights: Vec<Rule>,
    /// For the batch, intermediates and results.
    pub activations: Vec<Rule>,
    /// For the residual stream between blocks, and its gradient.
    pub residual: Vec<Rule>,
}

impl Rules {
    /// Data parallel over `data` and tensor parallel over `model`: weights are spread over both (`embed` over `data`,
    /// gathered when a layer needs them), activations keep `batch` over `data` and `heads` and `mlp` over `model`.
    pub fn standard() -> Self {
        let list = |rules: &[(&str, Option<&str>)]| {
            let rule = |&(axis, mesh_axis): &(&str, Option<&str>)| match mesh_axis {
                Some(mesh_axis) => Rule::split(axis, mesh_axis),
                None => Rule::whole(axis),
            };
            rules.iter().map(rule).collect()
        };
        Rules {
            weights: list(&[
                ("embed", Some("data")),
                ("mlp", Some("model")),
                ("heads", Some("model")),
                ("kv", None),
                // 128 ids at most: splitting so small a table buys nothing and costs a gather.
                ("vocab", None),
                ("layers", None),
                ("relpos_buckets", None),
                ("rank", None),
                ("window", None),
                ("channels", None),
                // The size of factorised embeddings (ALBERT's 128) is too small for a pod's `data`.
                ("factor", Some("model")),
                // The outgoing axis of a kernel from `embed` to `embed`.
                ("hidden", None),
                ("positions", None),
                ("types", None),
                ("classes", None),
                ("qkv", None),
                ("segments", None),
                ("clusters", None),
            ]),
            activations: list(&[
                ("batch", Some("data")),
                ("heads", Some("model")),
                ("mlp", Some("model")),
                ("length", None),
                ("keys", None),
                ("embed", None),
                ("kv", None),
                ("vocab", None),
                ("relpos_buckets", None),
                ("layers", None),
                ("microbatches", None),
                ("rank", None),
                ("window", None),
                ("channels", None),
                ("factor", None),
                ("hidden", None),
                ("positions", None),
                ("types", None),
                ("classes", None),
                ("memory", None),
                ("distance", None),
                ("directions", None),
                ("predictions", None),
            ]),
            // Sequence parallelism (Korthikanti et al. 2022): between blocks each device of a `model` group keeps its
            // part of the positions. What loops save is that much smaller, norms are shared out, and the sums that
            // tensor parallelism needs become a scatter and a gather of the same size.
            residual: list(&[
                ("batch", Some("data")),
                ("length", Some("model")),
                // Few, and seldom a number that divides.
                ("predictions", None),
                ("embed", None),
                ("factor", None),
                ("layers", None),
            ]),
        }
    }

    /// The list for `kind`.
    pub fn of(&self, kind: Kind) -> &[Rule] {
        match kind {
            Kind::Weight => &self.weights,
            Kind::Activation => &self.activations,
            Kind::Residual => &self.residual,
        }
    }

    /// Whether every mesh axis that a rule names is in `mesh`.
    pub fn check(&self, mesh: &Mesh) -> Result<(), ShardingError> {
        self.weights
            .iter()
            .chain(&self.activations)
            .chain(&self.residual)
            .try_for_each(|rule| rule.positions(mesh).map(|_| ()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_reads_what_it_prints() {
        for text in ["embed->data", "batch->data+model", "kv->whole"] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_bad_syntax() {
        let refused = |text: &str| text.parse::<Rule>().unwrap_err().to_string();
        assert!(refused("embed=data").contains("there is no `->`"));
        assert!(refused("->data").contains("the tensor axis is missing"));
        assert!(refused("embed->").contains("a mesh axis is missing"));
        assert!(refused("embed->data+").contains("a mesh axis is missing"));
        assert!(refused("embed->data+data").contains("a mesh axis is repeated"));
    }

    #[test]
    fn a_rule_for_an_unknown_mesh_axis_is_an_error() {
        let mesh = Mesh::parse("data=8").unwrap();
        assert_eq!(
            Rules::standard().check(&mesh).unwrap_err().to_string(),
            "rule `mlp->model` names mesh axis `model`, but the mesh is data=8; \
             add `model=1` to the mesh, or change the rule"
        );
        let mesh = Mesh::parse("data=8,model=1").unwrap();
        assert!(Rules::standard().check(&mesh).is_ok());
    }
}
