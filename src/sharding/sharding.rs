//! The sharding of one tensor: the mesh axes that split each of its dimensions. Mesh axes that no dimension uses replicate
//! the tensor.

use crate::graph::{AxisName, Shape};

use super::error::ShardingError;
use super::mesh::Mesh;
use super::rules::{Kind, Rule, Rules};

/// For each dimension of a tensor, positions of the mesh axes that split it, major first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sharding {
    /// One entry per dimension; empty if the dimension is whole. No mesh axis occurs twice.
    pub dims: Vec<Vec<usize>>,
}

impl Sharding {
    /// The whole tensor on every device.
    pub fn replicated(rank: usize) -> Self {
        Sharding {
            dims: vec![Vec::new(); rank],
        }
    }

    /// Whether every device holds the whole tensor (mesh axes of size 1 split nothing).
    pub fn is_replicated(&self, mesh: &Mesh) -> bool {
        self.parts(mesh).iter().all(|&parts| parts == 1)
    }

    /// The number of parts of each dimension.
    pub fn parts(&self, mesh: &Mesh) -> Vec<usize> {
        let size = |axes: &Vec<usize>| axes.iter().map(|&axis| mesh.axes()[axis].size).product();
        self.dims.iter().map(size).collect()
    }

    /// The number of devices that hold the same block.
    pub fn copies(&self, mesh: &Mesh) -> usize {
        mesh.devices() / self.parts(mesh).iter().product::<usize>()
    }

    /// The sizes of one device's block of a tensor of `dims`. [`resolve`] has checked divisibility.
    pub fn shard_dims(&self, mesh: &Mesh, dims: &[usize]) -> Vec<usize> {
        debug_assert_eq!(dims.len(), self.dims.len());
        let parts = self.parts(mesh);
        dims.iter()
            .zip(parts)
            .map(|(dim, parts)| dim / parts)
            .collect()
    }

    /// Bytes of one device's block of a tensor of `shape`, unpadded.
    pub fn shard_bytes(&self, mesh: &Mesh, shape: &Shape) -> usize {
        let elements: usize = self.shard_dims(mesh, &shape.dims()).iter().product();
        elements * shape.dtype.bytes()
    }

    /// The block of a tensor of `dims` that partition `index` of the mesh holds: an offset and a size for each dimension.
    pub fn block(&self, mesh: &Mesh, dims: &[usize], index: usize) -> Vec<(usize, usize)> {
        let at = mesh.coordinates(index);
        let sizes = self.shard_dims(mesh, dims);
        let offset = |(axes, size): (&Vec<usize>, usize)| {
            let digit = |part, &axis: &usize| part * mesh.axes()[axis].size + at[axis];
            (axes.iter().fold(0, digit) * size, size)
        };
        self.dims.iter().zip(sizes).map(offset).collect()
    }

    /// The sharding by axis names, as tables print it: `[layers, embed:data, mlp:model]`.
    pub fn describe(&self, mesh: &Mesh, shape: &Shape) -> String {
        let dim = |(name, axes): (&_, &Vec<usize>)| match axes.as_slice() {
            [] => format!("{name}"),
            axes => format!("{name}:{}", join(mesh, axes, "+")),
        };
        let dims: Vec<String> = shape.names().zip(&self.dims).map(dim).collect();
        format!("[{}]", dims.join(", "))
    }

    /// Rules that give a tensor of `shape` this sharding.
    pub fn as_rules(&self, mesh: &Mesh, shape: &Shape) -> Vec<Rule> {
        let rule = |(axis, positions): (&AxisName, &Vec<usize>)| Rule {
            axis: axis.clone(),
            mesh_axes: (positions.iter())
                .map(|&at| mesh.axes()[at].name.clone())
                .collect(),
        };
        shape.names().zip(&self.dims).map(rule).collect()
    }

    /// The sharding with a whole dimension added in front, as when a loop stacks its results.
    pub fn stacked(&self) -> Self {
        let mut dims = vec![Vec::new()];
        dims.extend(self.dims.iter().cloned());
        Sharding { dims }
    }

    /// Returns a warning, with the arithmetic, if a tensor of at least `large` bytes is whole on several devices.
    pub fn warn_if_whole(
        &self,
        mesh: &Mesh,
        shape: &Shape,
        tensor_name: &str,
        large: usize,
    ) -> Option<String> {
        let bytes = shape.bytes();
        let devices = mesh.devices();
        if devices == 1 || bytes < large || !self.is_replicated(mesh) {
            return None;
        }
        let gib = |bytes: usize| bytes as f64 / (1u64 << 30) as f64;
        Some(format!(
            "`{tensor_name}` {shape} is whole on each of {devices} devices: {:.3} GiB per device, {:.1} GiB in all; \
             a rule that splits one of its axes would save up to {:.3} GiB per device",
            gib(bytes),
            gib(bytes * devices),
            gib(bytes - bytes / devices),
        ))
    }
}

/// Places the tensor `tensor_name` on the mesh.
///
/// For each axis in order, the first rule for its name whose mesh axes are all free in this tensor applies.
///
/// # Errors
/// - An axis has no rule, or all its rules need a mesh axis that an earlier axis of the tensor uses.
/// - A rule names a mesh axis twice.
/// - An axis is not divisible by its part of the mesh.
pub fn resolve(
    rules: &Rules,
    mesh: &Mesh,
    kind: Kind,
    shape: &Shape,
    tensor_name: &str,
) -> Result<Sharding, ShardingError> {
    let mut taken: Vec<Option<&str>> = vec![None; mesh.axes().len()];
    let mut dims = Vec::with_capacity(shape.rank());
    for axis in &shape.axes {
        // The first mesh axis that a rule needs but is taken.
        let mut clash = None;
        let mut chosen = None;
        for rule in rules.of(kind).filter(|rule| rule.axis == axis.name) {
            rule.check()?;
            let positions = rule.positions(mesh);
            match positions.iter().find(|&&at| taken[at].is_some()) {
                Some(&at) => clash = clash.or(Some(at)),
                None => {
                    chosen = Some(positions);
                    break;
                }
            }
        }
        let positions = match (chosen, clash) {
            (Some(positions), _) => positions,
            (None, None) => {
                return Err(ShardingError::NoRule {
                    kind,
                    // State without a rule follows its weight.
                    list: match kind {
                        Kind::State => Kind::Weight,
                        kind => kind,
                    },
                    tensor: tensor_name.to_string(),
                    shape: shape.to_string(),
                    axis: axis.name.to_string(),
                });
            }
            (None, Some(at)) => {
                return Err(ShardingError::UsedTwice {
                    kind,
                    list: kind,
                    tensor: format!("`{tensor_name}` {shape}"),
                    mesh_axis: mesh.axes()[at].name.to_string(),
                    first: taken[at].unwrap_or_default().to_string(),
                    second: axis.name.to_string(),
                });
            }
        };
        let parts: usize = positions.iter().map(|&at| mesh.axes()[at].size).product();
        if !axis.size.is_multiple_of(parts) {
            return Err(ShardingError::NotDivisible {
                kind,
                tensor: tensor_name.to_string(),
                division: format!(
                    "{axis} over {}={parts} leaves {}",
                    join(mesh, &positions, "*"),
                    axis.size % parts
                ),
                sizes: nearest_multiples(axis.size, parts),
                meshes: nearest_meshes(axis.size, &positions, mesh),
            });
        }
        for &at in &positions {
            taken[at] = Some(&axis.name);
        }
        dims.push(positions);
    }
    Ok(Sharding { dims })
}

/// Mesh axis names joined by `by`.
fn join(mesh: &Mesh, axes: &[usize], by: &str) -> String {
    let names: Vec<&str> = axes
        .iter()
        .map(|&at| mesh.axes()[at].name.as_str())
        .collect();
    names.join(by)
}

/// The multiples of `parts` on both sides of `size`.
fn nearest_multiples(size: usize, parts: usize) -> String {
    let below = size / parts * parts;
    match below {
        0 => parts.to_string(),
        _ => format!("{below}, {}", below + parts),
    }
}

/// The nearest sizes, below and above, of the mesh axes at `positions` (together) that divide both `size` and the devices.
fn nearest_meshes(size: usize, positions: &[usize], mesh: &Mesh) -> String {
    let parts: usize = positions.iter().map(|&at| mesh.axes()[at].size).product();
    let devices = mesh.devices();
    let fits = |&parts: &usize| size.is_multiple_of(parts) && devices.is_multiple_of(parts);
    // 1 always fits, so some size below is always found.
    let below = (1..parts).rev().find(fits);
    let above = (parts + 1..=devices.min(size)).find(fits);
    let names = join(mesh, positions, "*");
    let found: Vec<String> = below
        .into_iter()
        .chain(above)
        .map(|parts| format!("{names}={parts}"))
        .collect();
    found.join(" or ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::graph::DType;

    use super::*;

    fn mesh(text: &str) -> Mesh {
        Mesh::parse(text).unwrap()
    }

    fn weight<const N: usize>(axes: [(&str, usize); N]) -> Shape {
        Shape::new(DType::F32, axes)
    }

    fn place(rules: &Rules, mesh: &Mesh, shape: &Shape) -> Result<Sharding, String> {
        resolve(rules, mesh, Kind::Weight, shape, "wi").map_err(|error| error.to_string())
    }

    fn rules(weights: &[&str]) -> Rules {
        Rules {
            weights: weights.iter().map(|rule| rule.parse().unwrap()).collect(),
            ..Rules::default()
        }
    }

    #[test]
    fn standard_rules_place_a_stacked_weight() {
        let mesh = mesh("data=256,model=4");
        let shape = weight([("layers", 24), ("embed", 1024), ("mlp", 16384)]);
        let sharding = place(&Rules::standard(), &mesh, &shape).unwrap();
        assert_eq!(sharding.dims, [vec![], vec![0], vec![1]]);
        assert_eq!(
            sharding.describe(&mesh, &shape),
            "[layers, embed:data, mlp:model]"
        );
        assert_eq!(sharding.shard_dims(&mesh, &shape.dims()), [24, 4, 4096]);
        assert_eq!(sharding.shard_bytes(&mesh, &shape), 24 * 4 * 4096 * 4);
        assert_eq!(sharding.copies(&mesh), 1);
        let last = sharding.block(&mesh, &shape.dims(), 1023);
        assert_eq!(last, [(0, 24), (1020, 4), (12288, 4096)]);
    }

    #[test]
    fn a_scalar_is_replicated() {
        let mesh = mesh("data=4,model=2");
        let sharding = place(&Rules::standard(), &mesh, &Shape::scalar(DType::F32)).unwrap();
        assert_eq!(sharding, Sharding::replicated(0));
        assert!(sharding.is_replicated(&mesh));
        assert_eq!(sharding.copies(&mesh), 8);
    }

    #[test]
    fn the_first_rule_with_free_mesh_axes_wins() {
        let rules = rules(&["embed->model", "mlp->model", "mlp->data"]);
        let mesh = mesh("data=4,model=2");
        let both = place(&rules, &mesh, &weight([("embed", 8), ("mlp", 8)])).unwrap();
        assert_eq!(both.dims, [vec![1], vec![0]]);
        let alone = place(&rules, &mesh, &weight([("mlp", 8)])).unwrap();
        assert_eq!(alone.dims, [vec![1]]);
    }

    #[test]
    fn an_axis_without_a_rule_is_an_error() {
        let message = place(&rules(&[]), &mesh("data=2"), &weight([("embd", 8)])).unwrap_err();
        assert_eq!(
            message,
            "weight `wi` f32[embd=8]: no rule for axis `embd`; \
             add \"embd->whole\" or \"embd->MESH_AXIS\" to rules.weights"
        );
    }

    #[test]
    fn a_mesh_axis_used_twice_is_an_error() {
        let rules = rules(&["embed->model", "mlp->data+model"]);
        let shape = weight([("embed", 8), ("mlp", 8)]);
        assert_eq!(
            place(&rules, &mesh("data=4,model=2"), &shape).unwrap_err(),
            "weight `wi` f32[embed=8, mlp=8]: mesh axis `model` used twice, by `embed` and by `mlp`; \
             add \"mlp->whole\" to rules.weights, below its other rules for `mlp`"
        );
    }

    #[test]
    fn a_mesh_axis_that_is_not_there_counts_as_one() {
        let rules = rules(&["embed->data+fsdp"]);
        let sharding = place(&rules, &mesh("data=2"), &weight([("embed", 8)])).unwrap();
        assert_eq!(sharding.dims, [[0]]);
        let sharding = place(&rules, &mesh("model=2"), &weight([("embed", 8)])).unwrap();
        assert!(sharding.is_replicated(&mesh("model=2")));
    }

    #[test]
    fn a_mesh_axis_twice_in_a_rule_is_an_error() {
        let mut rules = rules(&["embed->data"]);
        rules.weights[0].mesh_axes.push("data".into());
        let message = place(&rules, &mesh("data=4"), &weight([("embed", 16)])).unwrap_err();
        assert!(
            message.contains("mesh axis `data` is repeated"),
            "{message}"
        );
    }

    #[test]
    fn state_follows_its_weight_unless_said() {
        let mut rules = rules(&["embed->model", "mlp->whole"]);
        let (mesh, shape) = (mesh("data=4,model=2"), weight([("embed", 8), ("mlp", 8)]));
        let state = |rules: &Rules| resolve(rules, &mesh, Kind::State, &shape, "m/wi").unwrap();
        assert_eq!(state(&rules), place(&rules, &mesh, &shape).unwrap());
        rules.state = vec!["mlp->data".parse().unwrap()];
        assert_eq!(state(&rules).dims, [vec![1], vec![0]]);
        let unknown = weight([("experts", 8)]);
        let message = resolve(&rules, &mesh, Kind::State, &unknown, "m/wi").unwrap_err();
        assert!(
            message.to_string().ends_with("to rules.weights"),
            "{message}"
        );
    }

    #[test]
    fn an_axis_that_does_not_divide_is_an_error_with_the_arithmetic() {
        let rules = Rules::standard();
        let shape = weight([("embed", 64), ("heads", 12)]);
        assert_eq!(
            place(&rules, &mesh("data=4,model=8"), &shape).unwrap_err(),
            "weight `wi`: heads=12 over model=8 leaves 4; nearest sizes that divide: 8, 16; \
             nearest mesh: model=4"
        );
        let message = place(&rules, &mesh("data=3,model=8"), &weight([("heads", 12)])).unwrap_err();
        assert!(
            message.ends_with("nearest mesh: model=6 or model=12"),
            "{message}"
        );
        let message = place(&rules, &mesh("data=1,model=8"), &weight([("heads", 3)])).unwrap_err();
        assert!(
            message.contains("heads=3 over model=8 leaves 3; nearest sizes that divide: 8;"),
            "{message}"
        );
    }

    #[test]
    fn warns_of_a_large_weight_left_whole() {
        let mesh = mesh("data=4,model=2");
        let shape = weight([("vocab", 1 << 16), ("kv", 1 << 12)]);
        let sharding = place(&Rules::standard(), &mesh, &shape).unwrap();
        let warning = sharding
            .warn_if_whole(&mesh, &shape, "table", 1 << 20)
            .unwrap();
        assert!(
            warning.contains("whole on each of 8 devices: 1.000 GiB per device, 8.0 GiB in all"),
            "{warning}"
        );
        assert_eq!(
            sharding.warn_if_whole(&mesh, &shape, "table", 1 << 31),
            None
        );
        let split = Sharding {
            dims: vec![vec![0], vec![]],
        };
        assert_eq!(split.warn_if_whole(&mesh, &shape, "table", 1 << 20), None);
    }

    proptest! {
        /// The blocks of all partitions cover every element exactly as often as there are copies.
        #[test]
        fn blocks_tile_the_tensor((mesh, dims, sharding) in super::super::arbitrary::sharded()) {
            let mut held = vec![0usize; dims.iter().product()];
            for index in 0..mesh.devices() {
                let block = sharding.block(&mesh, &dims, index);
                let elements: usize = block.iter().map(|&(_, size)| size).product();
                for element in 0..elements {
                    let (mut rest, mut flat, mut stride) = (element, 0, 1);
                    for (&(offset, size), dim) in block.iter().zip(&dims).rev() {
                        flat += (offset + rest % size) * stride;
                        rest /= size;
                        stride *= dim;
                    }
                    held[flat] += 1;
                }
            }
            let copies = sharding.copies(&mesh);
            prop_assert!(held.iter().all(|&times| times == copies));
        }
    }
}
