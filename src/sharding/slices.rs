//! The slices that the cloud sells: the torus shape for a number of chips, and the sizes nearest to one that does not exist.

use super::hardware::Generation;

/// Chips along an edge of the cubes that 3-D slices are built from.
const CUBE: usize = 4;

/// The longest edge of a 3-D slice in cubes, 256 chips: the lists in public launchers have 4x4x244 but not 4x4x268. Unsure.
const MAX_EDGE: usize = 64;

/// The torus shape of the slice of `chips` chips, if the cloud sells one.
///
/// 2-D slices are square or twice as long as wide, in powers of two (vendor's configuration tables of v2, v3, v5e, v6e).
/// 3-D slices below a cube of 4x4x4 are 1, 2x2x1, 2x2x2, 2x2x4 and 2x4x4 chips. Larger ones are whole cubes in the most
/// compact box, shortest edge first (vendor's tables of v4 and v5p, which list most of them).
pub(super) fn slice_shape(generation: Generation, chips: usize) -> Option<Vec<usize>> {
    let hardware = generation.hardware();
    if chips > hardware.max_chips {
        return None;
    }
    if hardware.torus_rank == 2 {
        let listed = match generation {
            // v2-8, 32, 128, 256, 512.
            Generation::V2 => chips >= 4 && chips != 8 && chips != 32,
            // v3-8, 32, 64, 128, 256, 512, 1024, 2048.
            Generation::V3 => chips >= 4 && chips != 8,
            // 1, 4, 8, 16, 32, 64, 128, 256.
            _ => chips != 2,
        };
        return (chips.is_power_of_two() && listed).then(|| {
            let width = 1 << (chips.ilog2() / 2);
            vec![width, chips / width]
        });
    }
    match chips {
        1 if generation == Generation::Tpu7x => Some(vec![1, 1, 1]),
        4 => Some(vec![2, 2, 1]),
        8 => Some(vec![2, 2, 2]),
        16 => Some(vec![2, 2, 4]),
        32 => Some(vec![2, 4, 4]),
        _ if chips > 0 && chips.is_multiple_of(CUBE.pow(3)) => {
            let [a, b, c] = most_compact(chips / CUBE.pow(3))?;
            Some(vec![a * CUBE, b * CUBE, c * CUBE])
        }
        _ => None,
    }
}

/// The box of `volume` cubes with the least sum of edges, shortest edge first.
fn most_compact(volume: usize) -> Option<[usize; 3]> {
    let divisors = |n: usize| (1..=n).filter(move |d| n.is_multiple_of(*d));
    divisors(volume)
        .flat_map(|a| divisors(volume / a).map(move |b| [a, b, volume / a / b]))
        .filter(|[a, b, c]| a <= b && b <= c && *c <= MAX_EDGE)
        .min_by_key(|edges| edges.iter().sum::<usize>())
}

/// The number of chips of every slice of `generation` with a cloud name.
pub(super) fn slice_sizes(generation: Generation) -> impl Iterator<Item = usize> {
    (1..=generation.hardware().max_chips)
        .filter(move |&chips| slice_shape(generation, chips).is_some())
}

/// The shape of the largest slice.
pub(super) fn largest(generation: Generation) -> Vec<usize> {
    slice_sizes(generation)
        .last()
        .and_then(|chips| slice_shape(generation, chips))
        .unwrap_or_default()
}

/// The cloud names of the sizes on both sides of `cores`.
pub(super) fn nearest_slices(generation: Generation, cores: usize) -> String {
    let hardware = generation.hardware();
    let sizes: Vec<usize> = slice_sizes(generation)
        .map(|chips| chips * hardware.cores_per_chip)
        .collect();
    let below = sizes.iter().rfind(|&&size| size < cores);
    let above = sizes.iter().find(|&&size| size > cores);
    let names: Vec<String> = below
        .into_iter()
        .chain(above)
        .map(|size| format!("{}-{size}", hardware.cloud_prefixes[0]))
        .collect();
    let names = names.join(" or ");
    match above {
        Some(_) => names,
        // Too large for one slice: tell how to use several.
        None => format!("{names}, or several slices, as in 2x{names}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sharding::topology::Topology;

    fn cloud(generation: Generation, cores: usize) -> Topology {
        Topology::from_cores(generation, cores).unwrap()
    }

    #[test]
    fn cloud_names_mean_the_published_shapes() {
        use Generation::*;
        for (generation, cores, shape) in [
            (V2, 8, vec![2, 2]),
            (V2, 512, vec![16, 16]),
            (V3, 8, vec![2, 2]),
            (V3, 32, vec![4, 4]),
            (V3, 64, vec![4, 8]),
            (V3, 128, vec![8, 8]),
            (V3, 256, vec![8, 16]),
            (V3, 512, vec![16, 16]),
            (V3, 1024, vec![16, 32]),
            (V3, 2048, vec![32, 32]),
            (V4, 8, vec![2, 2, 1]),
            (V4, 64, vec![2, 4, 4]),
            (V4, 512, vec![4, 8, 8]),
            (V4, 1024, vec![8, 8, 8]),
            (V4, 1536, vec![8, 8, 12]),
            (V4, 4096, vec![8, 16, 16]),
            (V5e, 1, vec![1, 1]),
            (V5e, 8, vec![2, 4]),
            (V5e, 256, vec![16, 16]),
            (V5p, 1024, vec![8, 8, 8]),
            (V5p, 1280, vec![4, 8, 20]),
            (V5p, 6912, vec![12, 12, 24]),
            (V5p, 12288, vec![16, 16, 24]),
            (V6e, 128, vec![8, 16]),
            (Tpu7x, 8, vec![2, 2, 1]),
            (Tpu7x, 128, vec![4, 4, 4]),
        ] {
            let topology = cloud(generation, cores);
            assert_eq!(topology.shape(), shape, "{generation:?}-{cores}");
            assert_eq!(topology.cores(), cores);
            let name = format!("{}-{cores}", generation.hardware().cloud_prefixes[0]);
            assert_eq!(topology.cloud_name(), Some(name));
        }
    }

    #[test]
    fn refuses_a_size_that_no_slice_has() {
        let refused = |generation, cores| {
            Topology::from_cores(generation, cores)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            refused(Generation::V3, 1000),
            "no v3 slice has 1000 cores; nearest: v3-512 or v3-1024"
        );
        assert_eq!(
            refused(Generation::V3, 2),
            "no v3 slice has 2 cores; nearest: v3-8"
        );
        assert_eq!(
            refused(Generation::V6e, 512),
            "no v6e slice has 512 cores; nearest: v6e-256, or several slices, as in 2xv6e-256"
        );
        assert!(refused(Generation::V4, 0).contains("nearest: v4-8"));
        // 61 cubes of 4x4x4 in a row make a slice; 67 do not.
        assert_eq!(cloud(Generation::V5p, 128 * 61).shape(), [4, 4, 244]);
        assert!(refused(Generation::V5p, 128 * 67).contains("v5p-8448 or v5p-8704"));
    }
}
