//! Sharded arrays: a host array to a buffer a device, and back.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::block::{slice_block, write_block};
use super::error::{Error, Result};
use super::pjrt::{Buffer, Client};
use crate::graph::DType;

/// Which part of an array one device holds: offset and size in each dimension.
pub type Block = Vec<(usize, usize)>;

/// Sends `array` (dense, row-major, of sizes `dims`) to devices: the part `blocks[i]` of it to the device at place
/// `devices[i]` of [`Client::devices`]. Blocks may repeat, where a tensor is replicated.
///
/// # Errors
/// Lists of different lengths, a block outside the array, an array of the wrong size, or the plugin's own.
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
        // A replicated array is sent as it is, without a copy for each device.
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

/// Puts an array of sizes `dims` together from its shards: `buffers[i]` holds the part `blocks[i]`. A block that several
/// devices hold is fetched from the first.
///
/// # Errors
/// Lists of different lengths, buffers of other types or sizes than their blocks', blocks that do not make up the whole
/// array, or the plugin's own.
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
