//! One weight's name and layout in a file.

use ndarray::{ArrayD, IxDyn};

use super::layers;
use crate::graph::Weight;

/// The layout of one layer's tensor in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Ribosome's layout.
    Same,
    /// A linear layer as `[out, in]`. Of ribosome's axes, the first `inputs` are inputs and the rest outputs.
    Linear {
        /// The number of input axes.
        inputs: usize,
    },
    /// All of ribosome's axes reversed, followed by axes of size 1, as in a convolution's kernel.
    Turned {
        /// The number of axes of size 1.
        ones: usize,
    },
    /// All of ribosome's axes merged into one, as in the bias of heads.
    Flat,
    /// Ribosome's layout, preceded by axes of size 1.
    Behind {
        /// The number of axes of size 1.
        ones: usize,
    },
}

/// One weight's name and layout in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Ribosome's name.
    pub ours: String,
    /// The file's name, with `{layer}` if a stacked weight has one tensor per layer.
    pub theirs: String,
    /// Its layout there.
    pub kept: Kept,
    /// Other names of the same tensor in files, if it is tied to another.
    pub also: Vec<String>,
}

impl Entry {
    /// The entry for `ours`, called `theirs` in files.
    pub fn new(ours: impl Into<String>, theirs: impl Into<String>, kept: Kept) -> Self {
        Entry {
            ours: ours.into(),
            theirs: theirs.into(),
            kept,
            also: Vec::new(),
        }
    }

    /// Adds `names` that are tied to the entry's tensor. Reading accepts any of them and refuses two that differ. Writing uses
    /// only the entry's own name.
    pub fn also<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.also.extend(names.into_iter().map(Into::into));
        self
    }

    /// The file's name for `layer` of the weight, or for all of it if it stacks none; `name` is one of the entry's.
    pub(super) fn name(&self, name: &str, weight: &Weight, layer: usize) -> String {
        match weight.stacked {
            0 => name.to_string(),
            _ => name.replace("{layer}", &layer.to_string()),
        }
    }

    /// The file's names for the weight: one, or one per layer.
    pub(super) fn names(&self, weight: &Weight) -> Vec<String> {
        (0..layers(weight))
            .map(|layer| self.name(&self.theirs, weight, layer))
            .collect()
    }

    /// The sizes of one of the file's tensors.
    pub(super) fn file_dims(&self, own: &[usize]) -> Vec<usize> {
        match self.kept {
            Kept::Same => own.to_vec(),
            Kept::Flat => vec![own.iter().product()],
            Kept::Behind { ones } => [vec![1; ones], own.to_vec()].concat(),
            Kept::Turned { ones } => {
                let turned = own.iter().rev().copied();
                turned.chain(vec![1; ones]).collect()
            }
            Kept::Linear { inputs } => {
                let (ins, outs) = own.split_at(inputs);
                vec![outs.iter().product(), ins.iter().product()]
            }
        }
    }

    /// One layer's weight from the file's tensor.
    pub(super) fn read(&self, own: &[usize], tensor: ArrayD<f32>) -> Option<ArrayD<f32>> {
        let tensor = match self.kept {
            Kept::Linear { .. } | Kept::Turned { .. } => tensor.reversed_axes(),
            _ => tensor,
        };
        tensor
            .as_standard_layout()
            .into_owned()
            .into_shape_with_order(IxDyn(own))
            .ok()
    }

    /// The file's tensor from one layer's weight.
    pub(super) fn write(&self, own: &[usize], weight: ArrayD<f32>) -> Option<ArrayD<f32>> {
        let mut dims = self.file_dims(own);
        match self.kept {
            Kept::Linear { .. } | Kept::Turned { .. } => {
                dims.reverse();
                let matrix = weight.into_shape_with_order(IxDyn(&dims)).ok()?;
                Some(matrix.reversed_axes().as_standard_layout().into_owned())
            }
            _ => weight.into_shape_with_order(IxDyn(&dims)).ok(),
        }
    }
}
