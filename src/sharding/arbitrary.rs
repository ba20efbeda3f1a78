//! Random meshes, tensors and shardings for property tests.

use proptest::prelude::*;

use super::mesh::Mesh;
use super::sharding::Sharding;

/// A mesh of one to four axes (sizes 1 to 4), a tensor of up to four dimensions, and a sharding that divides it.
pub(crate) fn sharded() -> impl Strategy<Value = (Mesh, Vec<usize>, Sharding)> {
    let sizes = prop::collection::vec(1usize..=4, 1..=4);
    let factors = prop::collection::vec(1usize..=2, 0..=4);
    (sizes, factors).prop_flat_map(|(sizes, factors)| {
        let rank = factors.len();
        // In random order, each mesh axis is given to a dimension, or to no dimension (the index `rank`).
        let homes = prop::collection::vec(0..=rank, sizes.len());
        let order = Just((0..sizes.len()).collect::<Vec<_>>()).prop_shuffle();
        (Just(sizes), Just(factors), homes, order).prop_map(|(sizes, factors, homes, order)| {
            let named = sizes.iter().enumerate();
            let mesh = Mesh::new(named.map(|(at, &size)| (format!("m{at}"), size))).unwrap();
            let mut dims = vec![Vec::new(); factors.len()];
            for axis in order {
                if let Some(dim) = dims.get_mut(homes[axis]) {
                    dim.push(axis);
                }
            }
            let sharding = Sharding { dims };
            let parts = sharding.parts(&mesh);
            let dims = factors
                .iter()
                .zip(parts)
                .map(|(factor, parts)| factor * parts)
                .collect();
            (mesh, dims, sharding)
        })
    })
}
