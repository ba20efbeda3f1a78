//! Weights under other names and layouts, in memory and in files. Reading and writing both follow a family's one table of
//! [`Entry`].
//!
//! Hugging Face has one tensor per layer, linear layers as `[out, in]`, and heads merged with their size. Ribosome stacks
//! layers and has `[in.., out..]` by name. An entry maps one to the other.
//!
//! - [`import`] and [`export`] turn tensors in memory into weights and back (numeric references);
//! - [`Import`] reads a Hugging Face folder layer by layer, and [`load`] puts the layers on devices;
//! - [`Export`] writes such a folder.
//!
//! A model can be larger than the host's memory, which never holds more than one layer of one weight.

mod devices;
mod entry;
mod file;
mod folder;
mod import;
mod tensors;
mod write;

pub use devices::load;
pub use entry::{Entry, Kept};
pub use file::{FileError, TensorFile};
pub(crate) use file::{header, temporary};
pub use folder::{Folder, FolderError};
pub use import::Import;
pub use tensors::{WeightsError, export, import};
pub use write::Export;

use crate::graph::{Shape, Weight};

/// The entry of `weight` in `table`.
fn entry_of<'t>(table: &'t [Entry], weight: &Weight) -> Option<&'t Entry> {
    table.iter().find(|entry| entry.ours == weight.name)
}

/// The number of leading axes that stack layers, and one layer's sizes.
fn dims(weight: &Weight) -> (usize, Vec<usize>) {
    (
        weight.stacked,
        weight.shape.dims()[weight.stacked..].to_vec(),
    )
}

/// The number of layers that `weight` stacks; 1 if it stacks none.
pub fn layers(weight: &Weight) -> usize {
    match weight.stacked {
        0 => 1,
        _ => weight.shape.axes[0].size,
    }
}

/// The shape of one layer of `weight`.
pub fn layer_shape(weight: &Weight) -> Shape {
    let axes = &weight.shape.axes[weight.stacked..];
    Shape {
        dtype: weight.shape.dtype,
        axes: axes.to_vec(),
    }
}
