//! What can go wrong between a target's name and a tensor's place: each variant carries what, where, the arithmetic and
//! the way out.

use thiserror::Error;

use super::kind::Kind;

/// A mistake in a target, a mesh, the rules, or in how they meet a tensor.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ShardingError {
    /// No target goes by that name.
    #[error("unknown target `{name}`; did you mean {nearest}? `ribosome targets` lists them all")]
    UnknownTarget {
        /// What was asked for.
        name: String,
        /// The nearest names that exist.
        nearest: String,
    },

    /// The generation exists, but is not sold in that size.
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

    /// A torus shape of the right rank that no slice has.
    #[error("`{shape}` is not a slice of {generation}: {reason}")]
    TorusShape {
        /// The TPU generation.
        generation: String,
        /// The shape asked for.
        shape: String,
        /// Which limit it breaks, with the arithmetic.
        reason: String,
    },

    /// A part of a target's name cannot be read.
    #[error("target `{name}`: {reason}")]
    TargetSyntax {
        /// What was asked for.
        name: String,
        /// What is wrong with it, and the form that is right.
        reason: String,
    },

    /// A mesh that cannot be read.
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

    /// A mesh axis over which nothing is split.
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

    /// Rules that cannot be read.
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

    /// Every rule for an axis wants a mesh axis that another axis of the tensor already has.
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
        /// The tensor axis that has it.
        first: String,
        /// The tensor axis that wants it too.
        second: String,
    },

    /// An axis does not divide by its part of the mesh.
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

    /// Mesh and topology do not fit together.
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
        /// What each candidate fails on, and the way out.
        reason: String,
    },
}
