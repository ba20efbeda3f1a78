//! What can go wrong between a target's name and a tensor's placement. Each variant states what is wrong, where, the
//! arithmetic and the way out.

use thiserror::Error;

use super::kind::Kind;

/// A mistake in a target, a mesh, the rules, or their use on a tensor.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ShardingError {
    /// No target has this name.
    #[error("unknown target `{name}`; did you mean {nearest}? `ribosome targets` lists them all")]
    UnknownTarget {
        /// The name given.
        name: String,
        /// The nearest names that exist.
        nearest: String,
    },

    /// The generation is not sold in this size.
    #[error("no {generation} slice has {size} cores; nearest: {nearest}")]
    NoSuchSlice {
        /// The TPU generation, as in a cloud name.
        generation: String,
        /// The size asked for, in cores.
        size: usize,
        /// The cloud names of the nearest sizes.
        nearest: String,
    },

    /// A torus shape has the wrong number of dimensions.
    #[error(
        "{generation} chips form a {expected}-D torus, but `{shape}` has {found} dimensions; \
         write it like {example}"
    )]
    TorusRank {
        /// The TPU generation.
        generation: String,
        /// The shape asked for.
        shape: String,
        /// Dimensions of the shape asked for.
        found: usize,
        /// Dimensions of the generation's torus.
        expected: usize,
        /// A shape of the right rank.
        example: String,
    },

    /// The torus shape has the right rank, but no slice has it.
    #[error("`{shape}` is not a slice of {generation}: {reason}")]
    TorusShape {
        /// The TPU generation.
        generation: String,
        /// The shape asked for.
        shape: String,
        /// The limit it breaks, with the arithmetic.
        reason: String,
    },

    /// Part of a target's name cannot be read.
    #[error("target `{name}`: {reason}")]
    TargetSyntax {
        /// The name given.
        name: String,
        /// What is wrong with it, and the right form.
        reason: String,
    },

    /// The mesh cannot be read.
    #[error(
        "mesh `{text}`: {reason}; write it like data=256,model=4 (names and sizes, outermost first)"
    )]
    MeshSyntax {
        /// The mesh as typed.
        text: String,
        /// What is wrong with it.
        reason: String,
    },

    /// The mesh does not multiply to the number of devices.
    #[error("mesh {mesh} has {product} devices, but the target has {devices}; {fix}")]
    MeshProduct {
        /// The mesh as text.
        mesh: String,
        /// The multiplication and its result, as `256 x 8 = 2048`.
        product: String,
        /// Devices of the target.
        devices: usize,
        /// The nearest mesh that fits.
        fix: String,
    },

    /// A rule of the recipe's own is about an axis that no tensor of the program has.
    #[error("{key}: no tensor of this program has the axis of `{rule}`{}", near.as_ref().map_or(String::new(), |axis| format!("; did you mean `{axis}`?")))]
    UnusedRule {
        /// The list's key in the recipe.
        key: &'static str,
        /// The rule.
        rule: String,
        /// The program's axis with the nearest name, if one is near.
        near: Option<String>,
    },

    /// Nothing is split over a mesh axis.
    #[error(
        "mesh {mesh}: devices along `{mesh_axis}` would all do the same work, {size} times; {reason}"
    )]
    UnusedMeshAxis {
        /// The mesh as text.
        mesh: String,
        /// The mesh axis.
        mesh_axis: String,
        /// Its size.
        size: usize,
        /// Why nothing is split over it, and the way out.
        reason: String,
    },

    /// A rule cannot be read.
    #[error("rule `{text}`: {reason}; write it like embed->data, batch->data+model, or kv->whole")]
    RuleSyntax {
        /// The rule as typed.
        text: String,
        /// What is wrong with it.
        reason: String,
    },

    /// A tensor's axis has no rule.
    #[error(
        "{} `{tensor}` {shape}: no rule for axis `{axis}`; \
         add \"{axis}->whole\" or \"{axis}->MESH_AXIS\" to {}",
        kind.name(),
        list.key()
    )]
    NoRule {
        /// What the tensor is.
        kind: Kind,
        /// Whose list of rules lacks one.
        list: Kind,
        /// The tensor's name.
        tensor: String,
        /// The tensor's shape.
        shape: String,
        /// The axis without a rule.
        axis: String,
    },

    /// Every rule for an axis uses a mesh axis that another axis of the tensor already uses.
    #[error(
        "{} {tensor}: mesh axis `{mesh_axis}` used twice, by `{first}` and by `{second}`; \
         add \"{second}->whole\" to {}, below its other rules for `{second}`",
        kind.name(),
        list.key()
    )]
    UsedTwice {
        /// What the tensor is.
        kind: Kind,
        /// Whose list of rules lacks one.
        list: Kind,
        /// The tensor's name and shape.
        tensor: String,
        /// The mesh axis.
        mesh_axis: String,
        /// The tensor axis that uses it.
        first: String,
        /// The tensor axis that also needs it.
        second: String,
    },

    /// An axis is not divisible by its part of the mesh.
    #[error(
        "{} `{tensor}`: {division}; \
         nearest sizes that divide: {sizes}; nearest mesh: {meshes}",
        kind.name()
    )]
    NotDivisible {
        /// What the tensor is.
        kind: Kind,
        /// The tensor's name.
        tensor: String,
        /// The division, as `heads=12 over model=8 leaves 4`.
        division: String,
        /// Axis sizes that would divide.
        sizes: String,
        /// Mesh axis sizes that would divide.
        meshes: String,
    },

    /// The mesh does not fit the topology.
    #[error("mesh {mesh} cannot be placed on {topology}: {reason}")]
    Placement {
        /// The mesh as text.
        mesh: String,
        /// The topology's name.
        topology: String,
        /// Why, with the arithmetic.
        reason: String,
    },

    /// No mesh of the axes that the rules name divides the program.
    #[error("no {axes} mesh of {devices} devices divides this model and batch: {reason}")]
    NoMesh {
        /// The mesh axes, as `data x model`.
        axes: String,
        /// Devices of the target.
        devices: usize,
        /// Why each candidate fails, and the way out.
        reason: String,
    },
}
