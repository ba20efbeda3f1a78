//! A model's weights in a Hugging Face folder. All problems are found before anything is read. Then one layer of one weight
//! is read at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use half::{bf16, f16};
use ndarray::{ArrayD, IxDyn};
use safetensors::Dtype;

use super::file::TensorFile;
use super::folder::{Folder, FolderError, equal};
use super::{Entry, dims, entry_of, layer_shape, layers};
use crate::graph::Weight;
use crate::runtime::{Element, HostArray};

/// Redundant tensors, by the last parts of their names: `position_ids` counts from 0, and `inv_freq` follows from the
/// model's size. They are ignored, as are tensors without elements, and not written back.
const UNUSED: [&str; 2] = ["position_ids", "inv_freq"];

/// A model's weights in a folder: all found, with the right sizes and types.
pub struct Import<'a> {
    folder: Folder,
    table: &'a [Entry],
    weights: &'a [Weight],
    /// The folder's name of each tensor whose name is not the entry's own.
    others: BTreeMap<String, String>,
}

impl<'a> Import<'a> {
    /// Finds every one of `weights` in `folder` by its entry in `table`. Tensors whose names begin with one of `dropped`
    /// are ignored.
    ///
    /// # Errors
    /// All tensors that are missing, have other sizes or a type other than F32, F16 and BF16, belong to no weight, or differ
    /// from a tensor that they are tied to, each with its file.
    pub fn new(
        folder: Folder,
        table: &'a [Entry],
        weights: &'a [Weight],
        dropped: &[String],
    ) -> Result<Self, FolderError> {
        let mut found = Search {
            folder: &folder,
            left: folder.names().collect(),
            others: BTreeMap::new(),
            tied: Vec::new(),
            problems: Vec::new(),
        };
        found.search(table, weights);
        let unused = |name: &str| {
            let last = name.rsplit('.').next();
            let info = folder.file(name).and_then(|file| file.info(name));
            last.is_some_and(|last| UNUSED.contains(&last))
                || info.is_some_and(|info| info.shape.contains(&0))
        };
        let dropped = |name: &str| {
            dropped
                .iter()
                .any(|prefix| name.starts_with(prefix.as_str()))
        };
        for name in std::mem::take(&mut found.left) {
            if !unused(name) && !dropped(name) {
                let path = folder.file(name).map_or(Path::new(""), TensorFile::path);
                found.problems.push(format!(
                    "`{name}` of {} belongs to no weight of the model",
                    path.display()
                ));
            }
        }
        let Search {
            others,
            tied,
            mut problems,
            ..
        } = found;
        if problems.is_empty() {
            for (one, other) in &tied {
                let (Some(first), Some(second)) = (folder.file(one), folder.file(other)) else {
                    continue;
                };
                if !equal((first, one), (second, other))? {
                    problems.push(format!(
                        "`{other}` of {} differs from `{one}`, which it is tied to in this model",
                        second.path().display()
                    ));
                }
            }
        }
        match problems.is_empty() {
            true => Ok(Import {
                folder,
                table,
                weights,
                others,
            }),
            false => Err(folder.mismatch(problems)),
        }
    }

    /// The weights, in order.
    pub fn weights(&self) -> &'a [Weight] {
        self.weights
    }

    /// Reads only one layer of `weight`, or all of it (`layer` 0) if it stacks none, in ribosome's layout and `f32`.
    ///
    /// # Errors
    /// Errors of the file system.
    pub fn layer(&self, weight: &Weight, layer: usize) -> Result<HostArray, FolderError> {
        let unknown = || {
            self.folder.mismatch(vec![format!(
                "`{}` is not one of the imported weights",
                weight.name
            )])
        };
        let entry = entry_of(self.table, weight).ok_or_else(unknown)?;
        let own = entry.name(&entry.theirs, weight, layer);
        let name = self.others.get(&own).unwrap_or(&own);
        let file = self.folder.file(name).ok_or_else(unknown)?;
        let info = file.info(name).ok_or_else(unknown)?;
        let mut bytes = vec![0; info.data_offsets.1 - info.data_offsets.0];
        file.read(name, 0, &mut bytes)?;
        let values = floats(info.dtype, &bytes).ok_or_else(unknown)?;
        drop(bytes);
        let (_, sizes) = dims(weight);
        let tensor = ArrayD::from_shape_vec(IxDyn(&info.shape), values).ok();
        let tensor = tensor.and_then(|tensor| entry.read(&sizes, tensor));
        let values = tensor.ok_or_else(unknown)?.into_raw_vec_and_offset().0;
        Ok(HostArray::from_values(layer_shape(weight), &values)?)
    }
}

/// The numbers in `bytes`; `None` if weights are not read from their type.
fn floats(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    // safetensors is little-endian, and so is every host for which plugins exist.
    let halves = || bytes.as_chunks::<2>().0.iter().copied();
    match dtype {
        Dtype::F32 => Some(f32::from_bytes(bytes)),
        Dtype::BF16 => Some(
            halves()
                .map(|half| bf16::from_le_bytes(half).to_f32())
                .collect(),
        ),
        Dtype::F16 => Some(
            halves()
                .map(|half| f16::from_le_bytes(half).to_f32())
                .collect(),
        ),
        _ => None,
    }
}

/// A search for a model's weights in a folder.
struct Search<'f> {
    folder: &'f Folder,
    /// Tensors not yet matched with a weight.
    left: BTreeSet<&'f str>,
    others: BTreeMap<String, String>,
    /// Tensors that must be equal.
    tied: Vec<(String, String)>,
    problems: Vec<String>,
}

impl Search<'_> {
    fn search(&mut self, table: &[Entry], weights: &[Weight]) {
        // A name that is a weight's own is not another's tied name: the model does not tie these two.
        let entries = || {
            weights
                .iter()
                .map(|weight| (weight, entry_of(table, weight)))
        };
        let own: BTreeSet<String> = entries()
            .filter_map(|(weight, entry)| Some(entry?.names(weight)))
            .flatten()
            .collect();
        for (weight, entry) in entries() {
            let Some(entry) = entry else {
                let name = &weight.name;
                self.problems.push(format!(
                    "files of this family have no name for the weight `{name}`"
                ));
                continue;
            };
            for layer in 0..layers(weight) {
                let also = entry
                    .also
                    .iter()
                    .map(|name| entry.name(name, weight, layer));
                let also = also.filter(|name| !own.contains(name)).collect();
                self.tensor(entry, weight, layer, also);
            }
        }
    }

    /// Looks for one tensor under its own name and its tied names.
    fn tensor(&mut self, entry: &Entry, weight: &Weight, layer: usize, also: Vec<String>) {
        let own = entry.name(&entry.theirs, weight, layer);
        let names: Vec<_> = std::iter::once(own.clone())
            .chain(also)
            .filter(|name| self.folder.has(name))
            .collect();
        for name in &names {
            self.left.remove(name.as_str());
            self.check(name, entry, weight);
        }
        match names.as_slice() {
            [] => self.problems.push(format!(
                "`{own}`, which `{}` is read from, is missing",
                weight.name
            )),
            [name, others @ ..] => {
                if *name != own {
                    self.others.insert(own, name.clone());
                }
                let tied = others.iter().map(|other| (name.clone(), other.clone()));
                self.tied.extend(tied);
            }
        }
    }

    /// Compares the tensor `name` with the layout that `weight` is read from.
    fn check(&mut self, name: &str, entry: &Entry, weight: &Weight) {
        let file = self.folder.file(name);
        let Some((file, info)) = file.and_then(|file| Some((file, file.info(name)?))) else {
            return;
        };
        let path = file.path().display();
        let expected = entry.file_dims(&dims(weight).1);
        if info.shape != expected {
            self.problems.push(format!(
                "`{name}` of {path} is {:?}, but `{}` is read from {expected:?}",
                info.shape, weight.name
            ));
        } else if floats(info.dtype, &[]).is_none() {
            self.problems.push(format!(
                "`{name}` of {path} has type {:?}; it must be F32, F16 or BF16",
                info.dtype
            ));
        }
    }
}
