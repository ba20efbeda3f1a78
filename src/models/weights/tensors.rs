//! Weights from tensors in memory, and back.

use std::collections::BTreeMap;

use ndarray::{ArrayD, Axis as Dimension, IxDyn};

use super::{Entry, dims, entry_of};
use crate::graph::Weight;

/// Differences between a model and a file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeightsError {
    /// The table has no entry for a weight.
    #[error("the file's layout has no name for the weight `{0}`")]
    Unnamed(String),
    /// The file has no such tensor.
    #[error("the tensor `{theirs}`, which `{ours}` is read from, is missing")]
    Missing {
        /// Ribosome's name.
        ours: String,
        /// The file's name.
        theirs: String,
    },
    /// A tensor has other sizes.
    #[error("the tensor `{theirs}` is {found:?}, but `{ours}` is read from {expected:?}")]
    Misshapen {
        /// Ribosome's name.
        ours: String,
        /// The file's name.
        theirs: String,
        /// The sizes it should have.
        expected: Vec<usize>,
        /// The sizes it has.
        found: Vec<usize>,
    },
    /// The file has a tensor that the model does not.
    #[error("the tensor `{0}` belongs to no weight of the model")]
    Extra(String),
}

/// Reads the model's `weights` from tensors with the file's names.
///
/// # Errors
/// A missing, extra or misshapen tensor.
pub fn import(
    table: &[Entry],
    weights: &[Weight],
    mut tensors: BTreeMap<String, ArrayD<f32>>,
) -> Result<BTreeMap<String, ArrayD<f32>>, WeightsError> {
    let mut read = BTreeMap::new();
    for weight in weights {
        let entry = named(table, weight)?;
        let (stack, own) = dims(weight);
        let mut all = ArrayD::zeros(IxDyn(&weight.shape.dims()));
        for (layer, theirs) in entry.names(weight).into_iter().enumerate() {
            let Some(tensor) = tensors.remove(&theirs) else {
                return Err(WeightsError::Missing {
                    ours: weight.name.clone(),
                    theirs,
                });
            };
            let (expected, found) = (entry.file_dims(&own), tensor.shape().to_vec());
            let part = (expected == found)
                .then(|| entry.read(&own, tensor))
                .flatten();
            let Some(part) = part else {
                return Err(WeightsError::Misshapen {
                    ours: weight.name.clone(),
                    theirs,
                    expected,
                    found,
                });
            };
            match stack {
                0 => all = part,
                _ => all.index_axis_mut(Dimension(0), layer).assign(&part),
            }
        }
        read.insert(weight.name.clone(), all);
    }
    match tensors.into_keys().next() {
        Some(extra) => Err(WeightsError::Extra(extra)),
        None => Ok(read),
    }
}

/// Makes tensors with the file's names from the model's `values` (weights, or their gradients).
///
/// # Errors
/// A weight that the table does not name, or that has no value of its shape.
pub fn export(
    table: &[Entry],
    weights: &[Weight],
    values: &BTreeMap<String, ArrayD<f32>>,
) -> Result<BTreeMap<String, ArrayD<f32>>, WeightsError> {
    let mut written = BTreeMap::new();
    for weight in weights {
        let entry = named(table, weight)?;
        let (stack, own) = dims(weight);
        let misshapen = |found: Vec<usize>| WeightsError::Misshapen {
            ours: weight.name.clone(),
            theirs: entry.theirs.clone(),
            expected: weight.shape.dims(),
            found,
        };
        let value = values
            .get(&weight.name)
            .ok_or_else(|| misshapen(Vec::new()))?;
        if value.shape() != weight.shape.dims() {
            return Err(misshapen(value.shape().to_vec()));
        }
        for (layer, theirs) in entry.names(weight).into_iter().enumerate() {
            let part = match stack {
                0 => value.clone(),
                _ => value.index_axis(Dimension(0), layer).to_owned(),
            };
            let tensor = entry
                .write(&own, part)
                .ok_or_else(|| misshapen(own.clone()))?;
            written.insert(theirs, tensor);
        }
    }
    Ok(written)
}

fn named<'t>(table: &'t [Entry], weight: &Weight) -> Result<&'t Entry, WeightsError> {
    entry_of(table, weight).ok_or_else(|| WeightsError::Unnamed(weight.name.clone()))
}

#[cfg(test)]
mod tests {
    use super::super::Kept;
    use super::*;
    use crate::graph::{DType, Shape};
    use crate::graph::{Init, NodeId};

    fn example() -> (Vec<Entry>, Vec<Weight>, BTreeMap<String, ArrayD<f32>>) {
        let table = vec![
            Entry::new("norm", "norm.weight", Kept::Same),
            Entry::new("q", "block.{layer}.q.weight", Kept::Linear { inputs: 1 }),
        ];
        let weight = |name: &str, axes: &[(&str, usize)], stacked| Weight {
            name: name.into(),
            node: NodeId(0),
            stacked,
            shape: Shape::new(DType::F32, axes.iter().map(|(name, size)| (*name, *size))),
            init: Init::Zeros,
        };
        let weights = vec![
            weight("norm", &[("embed", 3)], 0),
            weight(
                "q",
                &[("layers", 2), ("embed", 3), ("heads", 2), ("kv", 2)],
                1,
            ),
        ];
        let counted = |dims: &[usize], start: usize| {
            let size: usize = dims.iter().product();
            let values = (start..start + size).map(|value| value as f32).collect();
            ArrayD::from_shape_vec(IxDyn(dims), values).unwrap()
        };
        let tensors = [
            ("norm.weight".to_string(), counted(&[3], 0)),
            ("block.0.q.weight".to_string(), counted(&[4, 3], 100)),
            ("block.1.q.weight".to_string(), counted(&[4, 3], 200)),
        ];
        (table, weights, tensors.into())
    }

    #[test]
    fn there_and_back_is_the_same() {
        let (table, weights, tensors) = example();
        let ours = import(&table, &weights, tensors.clone()).unwrap();
        // In layer 1's matrix, `head 1, kv 0` is the third row and `embed 2` the last column.
        assert_eq!(ours["q"][[1, 2, 1, 0]], 200.0 + 2.0 * 3.0 + 2.0);
        assert_eq!(export(&table, &weights, &ours).unwrap(), tensors);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let (table, weights, tensors) = example();
        let mut fewer = tensors.clone();
        fewer.remove("block.1.q.weight");
        let error = import(&table, &weights, fewer).unwrap_err().to_string();
        assert!(
            error.contains("`block.1.q.weight`, which `q` is read from, is missing"),
            "{error}"
        );
        let mut more = tensors.clone();
        more.insert("pooler".into(), ArrayD::zeros(IxDyn(&[1])));
        let error = import(&table, &weights, more).unwrap_err().to_string();
        assert!(error.contains("`pooler` belongs to no weight"), "{error}");
        let mut other = tensors;
        other.insert("norm.weight".into(), ArrayD::zeros(IxDyn(&[4])));
        let error = import(&table, &weights, other).unwrap_err().to_string();
        assert!(
            error.contains("is [4], but `norm` is read from [3]"),
            "{error}"
        );
        let error = import(&table[..1], &weights, BTreeMap::new()).unwrap_err();
        assert!(matches!(error, WeightsError::Missing { .. }));
    }
}
