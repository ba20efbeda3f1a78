//! Sharded arrays: from a host array to one buffer per device, and back.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::block::{slice_block, write_block};
use super::error::{Error, Result};
use super::pjrt::{Buffer, Client};
use crate::graph::DType;

/// The part of an array that one device holds: offset and size in each dimension.
pub type Block = Vec<(usize, usize)>;

/// Sends `array` (dense, row-major, of sizes `dims`) to devices: its part `blocks[i]` to the device at position `devices[i]`
/// of [`Client::devices`]. Blocks repeat if a tensor is replicated.
///
/// # Errors
/// The lists differ in length, a block is outside the array, the array has the wrong size, or the plugin fails.
pub fn upload(
    client: &Client,
    array: &[u8],
    dtype: DType,
    dims: &[usize],
    blocks: &[Block],
    devices: &[usize],
) -> Result<Vec<Buffer>> {
    same_length(blocks, devices.len())?;
    let send = |(block, &device): (&Block, &usize)| {
        let whole = block.len() == dims.len()
            && block
                .iter()
                .zip(dims)
                .all(|(&block, &dim)| block == (0, dim));
        // A replicated array is sent directly, without a copy for each device.
        let shard = if whole {
            Cow::Borrowed(array)
        } else {
            Cow::Owned(slice_block(array, dims, dtype.bytes(), block)?)
        };
        let sizes: Vec<usize> = block.iter().map(|&(_, size)| size).collect();
        client.buffer(&shard, dtype, &sizes, device)
    };
    blocks.iter().zip(devices).map(send).collect()
}

/// Assembles an array of sizes `dims` from its shards: `buffers[i]` holds the part `blocks[i]`. A block on several devices is
/// fetched from the first.
///
/// # Errors
/// The lists differ in length, a buffer's type or size is not its block's, the blocks do not cover the array, or the plugin
/// fails.
pub fn download(buffers: &[&Buffer], dims: &[usize], blocks: &[Block]) -> Result<Vec<u8>> {
    same_length(blocks, buffers.len())?;
    let Some(first) = buffers.first() else {
        return Err(Error::Invalid(
            "cannot assemble an array from no buffers".to_string(),
        ));
    };
    let dtype = first.dtype()?;
    let elements: usize = dims.iter().product();
    let distinct: BTreeSet<&Block> = blocks.iter().collect();
    let covered: usize = distinct
        .iter()
        .map(|block| block.iter().map(|&(_, size)| size).product::<usize>())
        .sum();
    if covered != elements {
        return Err(Error::Invalid(format!(
            "the shards hold {covered} elements, but an array of {dims:?} has {elements}"
        )));
    }
    let mut array = vec![0u8; elements * dtype.bytes()];
    let mut written = BTreeSet::new();
    for (buffer, block) in buffers.iter().zip(blocks) {
        let sizes: Vec<usize> = block.iter().map(|&(_, size)| size).collect();
        if buffer.dtype()? != dtype || buffer.dims()? != sizes {
            return Err(Error::Invalid(format!(
                "the shard at {block:?} (offset, size) is {}{:?}, not {dtype}{sizes:?}",
                buffer.dtype()?,
                buffer.dims()?
            )));
        }
        if written.insert(block) {
            write_block(&mut array, dims, dtype.bytes(), block, &buffer.to_host()?)?;
        }
    }
    Ok(array)
}

fn same_length(blocks: &[Block], others: usize) -> Result<()> {
    if blocks.len() == others {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "{} blocks were given for {others} devices",
        blocks.len()
    )))
}
