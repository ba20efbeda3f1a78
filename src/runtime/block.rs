//! Blocks of dense row-major arrays: cuts a device's shard out of a host array, and puts it back.

use std::ops::Range;

use super::error::{Error, Result};

/// Copies a block out of a dense row-major array of sizes `dims` and `element` bytes per element. `block` holds the block's
/// offset and size in each dimension; the result is also dense and row-major.
///
/// # Errors
/// [`Error::Invalid`] if the array's length is not that of its shape, or the block is not within it.
pub fn slice_block(
    array: &[u8],
    dims: &[usize],
    element: usize,
    block: &[(usize, usize)],
) -> Result<Vec<u8>> {
    check(array.len(), dims, element, block)?;
    let mut out = Vec::with_capacity(bytes(block.iter().map(|&(_, size)| size), element));
    for_each_run(dims, element, block, |run| {
        out.extend_from_slice(&array[run])
    });
    Ok(out)
}

/// Copies `shard`, a dense row-major block, to its place in a dense row-major array; the inverse of [`slice_block`].
///
/// # Errors
/// Those of [`slice_block`], and [`Error::Invalid`] if the length of `shard` is not that of the block.
pub fn write_block(
    array: &mut [u8],
    dims: &[usize],
    element: usize,
    block: &[(usize, usize)],
    shard: &[u8],
) -> Result<()> {
    check(array.len(), dims, element, block)?;
    let needed = bytes(block.iter().map(|&(_, size)| size), element);
    if shard.len() != needed {
        return Err(Error::Invalid(format!(
            "the block {block:?} takes {needed} bytes, but {} were given",
            shard.len()
        )));
    }
    let mut at = 0;
    for_each_run(dims, element, block, |run| {
        let size = run.len();
        array[run].copy_from_slice(&shard[at..at + size]);
        at += size;
    });
    Ok(())
}

fn bytes(sizes: impl Iterator<Item = usize>, element: usize) -> usize {
    sizes.product::<usize>() * element
}

fn check(len: usize, dims: &[usize], element: usize, block: &[(usize, usize)]) -> Result<()> {
    let needed = bytes(dims.iter().copied(), element);
    if len != needed {
        return Err(Error::Invalid(format!(
            "an array of {dims:?} takes {needed} bytes, but {len} were given"
        )));
    }
    let inside = dims.len() == block.len()
        && dims
            .iter()
            .zip(block)
            .all(|(&dim, &(offset, size))| offset.checked_add(size).is_some_and(|end| end <= dim));
    if !inside {
        return Err(Error::Invalid(format!(
            "the block {block:?} (offset, size) is not within {dims:?}"
        )));
    }
    Ok(())
}

/// Calls `run` with each contiguous byte range of the array that is part of the block, in the block's order.
fn for_each_run(
    dims: &[usize],
    element: usize,
    block: &[(usize, usize)],
    mut run: impl FnMut(Range<usize>),
) {
    if block.iter().any(|&(_, size)| size == 0) {
        return;
    }
    // Trailing dimensions that the block covers in full are contiguous, together with the dimension before them.
    let whole = dims
        .iter()
        .zip(block)
        .rev()
        .take_while(|&(&dim, &(_, size))| size == dim)
        .count();
    let outer = dims.len().saturating_sub(whole + 1);
    // The bytes of one step along each dimension.
    let mut strides = vec![element; dims.len()];
    for at in (1..dims.len()).rev() {
        strides[at - 1] = strides[at] * dims[at];
    }
    let size = bytes(block[outer..].iter().map(|&(_, size)| size), element);
    let start: usize = block
        .iter()
        .zip(&strides)
        .map(|(&(offset, _), &stride)| offset * stride)
        .sum();
    let mut index = vec![0; outer];
    loop {
        let at = start
            + index
                .iter()
                .zip(&strides)
                .map(|(&index, &stride)| index * stride)
                .sum::<usize>();
        run(at..at + size);
        // The next index of the outer dimensions, the last counting fastest.
        let Some(next) = (0..outer).rev().find(|&dim| index[dim] + 1 < block[dim].1) else {
            return;
        };
        index[next] += 1;
        index[next + 1..].fill(0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Dimensions, the number of equal parts of each, and an element's size.
    fn cases() -> impl Strategy<Value = (Vec<(usize, usize)>, usize)> {
        (
            prop::collection::vec((1..4usize, 1..4usize), 0..5),
            prop::sample::select(vec![1usize, 2, 4, 8]),
        )
    }

    proptest! {
        /// Every element of a block equals the array's at the block's offset, by plain index arithmetic; all blocks of a
        /// cut, written back, restore the array.
        #[test]
        fn blocks_hold_the_right_elements_and_make_the_array_again((cut, element) in cases()) {
            let dims: Vec<usize> = cut.iter().map(|(parts, size)| parts * size).collect();
            let elements: usize = dims.iter().product();
            let array: Vec<u8> = (0..elements * element).map(|at| (at % 251) as u8).collect();
            let mut again = vec![0xff; array.len()];
            for part in 0..cut.iter().map(|(parts, _)| parts).product() {
                let (mut rest, mut block) = (part, Vec::new());
                for &(parts, size) in &cut {
                    block.push((rest % parts * size, size));
                    rest /= parts;
                }
                let shard = slice_block(&array, &dims, element, &block).unwrap();
                for place in 0..block.iter().map(|(_, size)| size).product() {
                    let (mut rest, mut at, mut stride) = (place, 0, 1);
                    for (&dim, &(offset, size)) in dims.iter().zip(&block).rev() {
                        at += (offset + rest % size) * stride;
                        rest /= size;
                        stride *= dim;
                    }
                    prop_assert_eq!(
                        &shard[place * element..][..element],
                        &array[at * element..][..element]
                    );
                }
                write_block(&mut again, &dims, element, &block, &shard).unwrap();
            }
            prop_assert_eq!(again, array);
        }
    }

    #[test]
    fn an_empty_block_is_empty() {
        assert!(
            slice_block(&[1, 2, 3, 4], &[2, 2], 1, &[(0, 0), (0, 2)])
                .unwrap()
                .is_empty()
        );
        assert!(
            slice_block(&[], &[0, 2], 4, &[(0, 0), (0, 2)])
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn blocks_outside_and_wrong_sizes_are_refused() {
        let array = [0u8; 12];
        let refused = |dims: &[usize], block: &[(usize, usize)]| {
            slice_block(&array, dims, 2, block).unwrap_err().to_string()
        };
        assert_eq!(
            refused(&[2, 4], &[(0, 2), (0, 4)]),
            "an array of [2, 4] takes 16 bytes, but 12 were given"
        );
        let outside = "is not within [2, 3]";
        assert!(refused(&[2, 3], &[(1, 2), (0, 3)]).contains(outside));
        assert!(refused(&[2, 3], &[(0, 2)]).contains(outside));
        assert!(refused(&[2, 3], &[(0, 2), (usize::MAX, 2)]).contains(outside));
        let short = write_block(&mut [0; 12], &[2, 3], 2, &[(0, 1), (0, 3)], &[0; 5]).unwrap_err();
        assert!(
            short
                .to_string()
                .contains("takes 6 bytes, but 5 were given"),
            "{short}"
        );
    }
}
