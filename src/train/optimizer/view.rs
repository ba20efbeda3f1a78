//! How an optimizer sees a weight: one matrix of rows and columns per layer. Heads and their size count as one joined axis,
//! and so do the queries, keys and values of one weight, as in the weights of the originals.

use crate::graph::{AxisName, Weight};

/// Adjacent axes that count as one.
const JOINED: [(&str, &str); 2] = [("heads", "kv"), ("qkv", "heads")];

/// A weight's axes by their role in an optimizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// All axes of one layer's weight.
    pub own: Vec<AxisName>,
    /// The axes of the matrix's rows; empty if it is not a matrix.
    pub rows: Vec<AxisName>,
    /// The axes of the matrix's columns; empty if it is not a matrix.
    pub columns: Vec<AxisName>,
    /// The number of rows.
    pub row_count: usize,
    /// The number of columns.
    pub column_count: usize,
}

impl View {
    /// The view of `weight`: its last two axes, with joined axes counted as one, are a matrix's rows and columns.
    pub fn of(weight: &Weight) -> Self {
        let axes = &weight.shape.axes[weight.stacked..];
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for (at, axis) in axes.iter().enumerate() {
            let joins =
                at > 0 && JOINED.contains(&(axes[at - 1].name.as_str(), axis.name.as_str()));
            match groups.last_mut() {
                Some(group) if joins => group.push(at),
                _ => groups.push(vec![at]),
            }
        }
        let names = |group: &[usize]| group.iter().map(|at| axes[*at].name.clone()).collect();
        let size = |group: &[usize]| group.iter().map(|at| axes[*at].size).product();
        let own = axes.iter().map(|axis| axis.name.clone()).collect();
        match groups.as_slice() {
            [.., rows, columns] => View {
                own,
                rows: names(rows),
                columns: names(columns),
                row_count: size(rows),
                column_count: size(columns),
            },
            _ => View {
                own,
                rows: Vec::new(),
                columns: Vec::new(),
                row_count: 1,
                column_count: 1,
            },
        }
    }

    /// Whether it is a matrix of at least `least` rows and columns.
    pub fn is_matrix(&self, least: usize) -> bool {
        !self.rows.is_empty() && self.row_count >= least && self.column_count >= least
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{DType, Init, NodeId, Shape};

    fn weight(axes: &[(&str, usize)], stacked: usize) -> Weight {
        Weight {
            name: "w".into(),
            node: NodeId(0),
            stacked,
            shape: Shape::new(DType::F32, axes.iter().map(|(name, size)| (*name, *size))),
            init: Init::Zeros,
        }
    }

    #[test]
    fn heads_and_kv_are_one_axis() {
        let view = View::of(&weight(
            &[("layers", 2), ("embed", 8), ("heads", 4), ("kv", 3)],
            1,
        ));
        assert_eq!(view.rows, ["embed"]);
        assert_eq!(view.columns, ["heads", "kv"]);
        assert_eq!((view.row_count, view.column_count), (8, 12));
        assert!(view.is_matrix(8) && !view.is_matrix(9));
        let view = View::of(&weight(
            &[("layers", 2), ("heads", 4), ("kv", 3), ("embed", 8)],
            1,
        ));
        assert_eq!((view.row_count, view.column_count), (12, 8));
        let joined = weight(&[("embed", 8), ("qkv", 3), ("heads", 4), ("kv", 3)], 0);
        assert_eq!(View::of(&joined).columns, ["qkv", "heads", "kv"]);
    }

    #[test]
    fn a_stacked_vector_is_no_matrix() {
        assert!(!View::of(&weight(&[("layers", 200), ("embed", 200)], 1)).is_matrix(0));
        assert!(View::of(&weight(&[("vocab", 200), ("embed", 200)], 0)).is_matrix(128));
    }
}
