//! A sharding in the forms of XLA's two partitioners. One HLO module carries both, so it compiles under either.
//!
//! GSPMD reads an `OpSharding`: the number of tiles of each dimension, and the device of each tile. Devices are listed by an
//! iota (0 to N-1), reshaped to the mesh and transposed, so the list is a few integers even for a thousand devices:
//! `{devices=[1,2,4]<=[4,2]T(1,0) last_tile_dim_replicate}`. Shardy reads MLIR attributes that name mesh axes:
//! `#sdy.sharding<@mesh, [{}, {"model"}]>`. Both count partitions row-major over the mesh, as [`Sharding::block`] does.
//!
//! Mesh axes of size 1 split nothing and are left out of both, though the Shardy mesh keeps them.

use std::fmt;

use super::mesh::Mesh;
use super::sharding::Sharding;

/// A GSPMD sharding. Prints as HLO text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Gspmd {
    /// `{replicated}`: every device has the whole tensor.
    Replicated,
    /// Tiles listed by an iota.
    Tiles(Tiles),
}

/// The fields of a tiled `OpSharding` in the iota form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tiles {
    /// `tile_assignment_dimensions`: tiles of each dimension, then the copies if `replicate_last`.
    pub dims: Vec<i64>,
    /// `iota_reshape_dims`: the shape of the iota before it is transposed.
    pub reshape: Vec<i64>,
    /// `iota_transpose_perm`: the transposition, one entry for each of `reshape`.
    pub transpose: Vec<i32>,
    /// `replicate_on_last_tile_dim`: the last of `dims` counts copies, not tiles.
    pub replicate_last: bool,
}

/// The GSPMD form of `sharding`, in XLA's canonical spelling (neighbouring mesh axes that stay neighbours are one).
pub fn gspmd(sharding: &Sharding, mesh: &Mesh) -> Gspmd {
    let axes = mesh.axes();
    if sharding.is_replicated(mesh) {
        return Gspmd::Replicated;
    }
    let parts = sharding.parts(mesh);
    let mut dims: Vec<i64> = parts.iter().map(|&parts| parts as i64).collect();
    let copies = sharding.copies(mesh);
    let replicate_last = copies > 1;
    if replicate_last {
        dims.push(copies as i64);
    }
    // Major to minor, the mesh axes of each dimension, then those that only make copies.
    let used: Vec<usize> = sharding.dims.iter().flatten().copied().collect();
    let unused = (0..axes.len()).filter(|axis| !used.contains(axis));
    let order: Vec<usize> = used
        .iter()
        .copied()
        .chain(unused)
        .filter(|&axis| axes[axis].size > 1)
        .collect();
    let (reshape, transpose) = canonical_iota(mesh, &order);
    Gspmd::Tiles(Tiles {
        dims,
        reshape,
        transpose,
        replicate_last,
    })
}

/// The iota over the mesh with its axes in `order`: the reshape and the transposition. Runs of `order` that are also
/// consecutive in the mesh are merged into one dimension. `order` holds exactly the mesh axes larger than 1.
fn canonical_iota(mesh: &Mesh, order: &[usize]) -> (Vec<i64>, Vec<i32>) {
    let mut in_mesh_order = order.to_vec();
    in_mesh_order.sort_unstable();
    // Axes by rank among those kept, so a dropped axis of size 1 does not separate its neighbours.
    let rank = |axis: usize| in_mesh_order.partition_point(|&other| other < axis);
    // Each run: its first rank and its size.
    let mut runs: Vec<(usize, usize)> = Vec::new();
    let mut previous = None;
    for &axis in order {
        let size = mesh.axes()[axis].size;
        let at = rank(axis);
        match runs.last_mut() {
            Some(run) if previous.is_some_and(|previous: usize| previous + 1 == at) => {
                run.1 *= size;
            }
            _ => runs.push((at, size)),
        }
        previous = Some(at);
    }
    let mut sorted = runs.clone();
    sorted.sort_unstable();
    let reshape = sorted.iter().map(|&(_, size)| size as i64).collect();
    let place =
        |&(first, _): &(usize, usize)| sorted.partition_point(|&(other, _)| other < first) as i32;
    (reshape, runs.iter().map(place).collect())
}

impl fmt::Display for Gspmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gspmd::Replicated => f.write_str("{replicated}"),
            Gspmd::Tiles(tiles) => write!(f, "{{{tiles}}}"),
        }
    }
}

impl fmt::Display for Tiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "devices=[{}]<=[{}]",
            commas(&self.dims),
            commas(&self.reshape)
        )?;
        // HLO text omits the order of a single dimension.
        if self.reshape.len() > 1 {
            write!(f, "T({})", commas(&self.transpose))?;
        }
        if self.replicate_last {
            f.write_str(" last_tile_dim_replicate")?;
        }
        Ok(())
    }
}

fn commas<T: ToString>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(T::to_string).collect();
    items.join(",")
}

/// The module's frontend attribute `xla.sdy.meshes`: `{mesh = #sdy.mesh<["data"=4, "model"=2]>}`.
pub fn sdy_mesh(mesh: &Mesh) -> String {
    let axis = |axis: &super::mesh::MeshAxis| format!("\"{}\"={}", axis.name, axis.size);
    let axes: Vec<String> = mesh.axes().iter().map(axis).collect();
    format!("{{mesh = #sdy.mesh<[{}]>}}", axes.join(", "))
}

/// The body of a Shardy sharding: `<@mesh, [{"data"}, {}]>`.
fn sdy_body(sharding: &Sharding, mesh: &Mesh) -> String {
    let dim = |dim: &Vec<usize>| {
        let names: Vec<String> = dim
            .iter()
            .map(|&axis| &mesh.axes()[axis])
            .filter(|axis| axis.size > 1)
            .map(|axis| format!("\"{}\"", axis.name))
            .collect();
        format!("{{{}}}", names.join(", "))
    };
    let dims: Vec<String> = sharding.dims.iter().map(dim).collect();
    format!("<@mesh, [{}]>", dims.join(", "))
}

/// A parameter's frontend attribute `xla.sdy.sharding`: `#sdy.sharding<@mesh, [{"data"}, {}]>`.
pub fn sdy_sharding(sharding: &Sharding, mesh: &Mesh) -> String {
    format!("#sdy.sharding{}", sdy_body(sharding, mesh))
}

/// The same attribute on an instruction with the given results:
/// `#sdy.sharding_per_value<[<@mesh, [{"data"}, {}]>]>`.
pub fn sdy_per_value(results: &[Sharding], mesh: &Mesh) -> String {
    let bodies: Vec<String> = results.iter().map(|one| sdy_body(one, mesh)).collect();
    format!("#sdy.sharding_per_value<[{}]>", bodies.join(", "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(mesh: &str, dims: &[&[usize]]) -> String {
        let sharding = Sharding {
            dims: dims.iter().map(|dim| dim.to_vec()).collect(),
        };
        gspmd(&sharding, &Mesh::parse(mesh).unwrap()).to_string()
    }

    #[test]
    fn gspmd_text() {
        let mesh = "data=4,model=2";
        assert_eq!(text(mesh, &[&[], &[]]), "{replicated}");
        assert_eq!(text(mesh, &[]), "{replicated}");
        assert_eq!(text(mesh, &[&[0], &[1]]), "{devices=[4,2]<=[8]}");
        assert_eq!(text(mesh, &[&[1], &[0]]), "{devices=[2,4]<=[4,2]T(1,0)}");
        assert_eq!(
            text(mesh, &[&[0], &[]]),
            "{devices=[4,1,2]<=[8] last_tile_dim_replicate}"
        );
        assert_eq!(
            text(mesh, &[&[], &[1]]),
            "{devices=[1,2,4]<=[4,2]T(1,0) last_tile_dim_replicate}"
        );
        assert_eq!(text(mesh, &[&[0, 1], &[]]), "{devices=[8,1]<=[8]}");
        assert_eq!(text(mesh, &[&[1, 0], &[]]), "{devices=[8,1]<=[4,2]T(1,0)}");
    }

    #[test]
    fn three_mesh_axes_merge_where_they_can() {
        let mesh = "slice=2,data=4,model=3";
        assert_eq!(
            text(mesh, &[&[0, 1], &[]]),
            "{devices=[8,1,3]<=[24] last_tile_dim_replicate}"
        );
        assert_eq!(text(mesh, &[&[2], &[0, 1]]), "{devices=[3,8]<=[8,3]T(1,0)}");
        assert_eq!(
            text(mesh, &[&[1], &[]]),
            "{devices=[4,1,6]<=[2,4,3]T(1,0,2) last_tile_dim_replicate}"
        );
        assert_eq!(
            text(mesh, &[&[2], &[1], &[0]]),
            "{devices=[3,4,2]<=[2,4,3]T(2,1,0)}"
        );
    }

    #[test]
    fn mesh_axes_of_size_one_are_dropped() {
        assert_eq!(
            text("data=8,model=1", &[&[0], &[1]]),
            "{devices=[8,1]<=[8]}"
        );
        assert_eq!(text("data=1,model=1", &[&[0], &[1]]), "{replicated}");
        let mesh = Mesh::parse("data=8,model=1").unwrap();
        let sharding = Sharding {
            dims: vec![vec![0], vec![1]],
        };
        assert_eq!(
            sdy_sharding(&sharding, &mesh),
            r#"#sdy.sharding<@mesh, [{"data"}, {}]>"#
        );
        assert_eq!(
            sdy_mesh(&mesh),
            r#"{mesh = #sdy.mesh<["data"=8, "model"=1]>}"#
        );
        // Two axes merge across an axis of size 1 between them.
        assert_eq!(text("a=2,b=1,c=3", &[&[0, 2]]), "{devices=[6]<=[6]}");
    }

    #[test]
    fn shardy_text() {
        let mesh = Mesh::parse("data=4,model=2").unwrap();
        let row = Sharding {
            dims: vec![vec![0], vec![]],
        };
        let both = Sharding {
            dims: vec![vec![0, 1]],
        };
        assert_eq!(
            sdy_mesh(&mesh),
            r#"{mesh = #sdy.mesh<["data"=4, "model"=2]>}"#
        );
        assert_eq!(
            sdy_sharding(&row, &mesh),
            r#"#sdy.sharding<@mesh, [{"data"}, {}]>"#
        );
        assert_eq!(
            sdy_sharding(&Sharding::replicated(0), &mesh),
            "#sdy.sharding<@mesh, []>"
        );
        assert_eq!(
            sdy_per_value(&[row, both], &mesh),
            r#"#sdy.sharding_per_value<[<@mesh, [{"data"}, {}]>, <@mesh, [{"data", "model"}]>]>"#
        );
    }

    /// The device at each position of the tile assignment, row-major: the definition of the iota form.
    fn decode(tiles: &Tiles) -> Vec<usize> {
        let shape: Vec<usize> = tiles.reshape.iter().map(|&size| size as usize).collect();
        let perm: Vec<usize> = tiles.transpose.iter().map(|&at| at as usize).collect();
        let strides: Vec<usize> = (0..shape.len())
            .map(|at| shape[at + 1..].iter().product())
            .collect();
        let total = shape.iter().product();
        let device = |position: usize| {
            let (mut rest, mut device) = (position, 0);
            for &at in perm.iter().rev() {
                device += rest % shape[at] * strides[at];
                rest /= shape[at];
            }
            device
        };
        (0..total).map(device).collect()
    }

    proptest! {
        /// The decoded iota gives each partition the block that `Sharding::block` gives it.
        #[test]
        fn iota_agrees_with_block((mesh, dims, sharding) in super::super::arbitrary::sharded()) {
            let tiles = match gspmd(&sharding, &mesh) {
                Gspmd::Replicated => {
                    prop_assert!(sharding.is_replicated(&mesh));
                    return Ok(());
                }
                Gspmd::Tiles(tiles) => tiles,
            };
            let counts: Vec<usize> = tiles.dims.iter().map(|&count| count as usize).collect();
            prop_assert_eq!(counts.iter().product::<usize>(), mesh.devices());
            prop_assert_eq!(counts.len(), dims.len() + usize::from(tiles.replicate_last));
            for (position, device) in decode(&tiles).into_iter().enumerate() {
                let mut rest = position;
                let mut tile = vec![0; counts.len()];
                for (index, count) in tile.iter_mut().zip(&counts).rev() {
                    *index = rest % count;
                    rest /= count;
                }
                let block: Vec<(usize, usize)> = dims
                    .iter()
                    .zip(counts.iter().zip(&tile))
                    .map(|(dim, (count, index))| (index * (dim / count), dim / count))
                    .collect();
                prop_assert_eq!(block, sharding.block(&mesh, &dims, device));
            }
        }

        /// Canonical: no two neighbours of the transposition could be merged, and no dimension is 1.
        #[test]
        fn iota_is_minimal((mesh, _, sharding) in super::super::arbitrary::sharded()) {
            if let Gspmd::Tiles(tiles) = gspmd(&sharding, &mesh) {
                prop_assert!(tiles.reshape.iter().all(|&size| size > 1));
                prop_assert!(tiles.transpose.windows(2).all(|pair| pair[0] + 1 != pair[1]));
            }
        }
    }
}
