//! Shapes with named axes. Model code addresses a dimension by its axis name, and sharding rules map the same name to
//! mesh axes. Positions exist only in lowered code.

use std::fmt;

use smol_str::SmolStr;

use super::dtype::DType;

/// An axis name such as `batch`, `length`, `embed`, `mlp`, `heads`, `kv`, `vocab` or `layers` (the T5X vocabulary).
pub type AxisName = SmolStr;

/// One dimension of a tensor: its name and its size in elements.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Axis {
    /// The name, unique within one tensor.
    pub name: AxisName,
    /// The size in elements.
    pub size: usize,
}

impl Axis {
    /// An axis called `name` of `size` elements.
    pub fn new(name: impl Into<AxisName>, size: usize) -> Self {
        Axis {
            name: name.into(),
            size,
        }
    }
}

impl<N: Into<AxisName>> From<(N, usize)> for Axis {
    fn from((name, size): (N, usize)) -> Self {
        Axis::new(name, size)
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.size)
    }
}

/// An element type and an ordered list of named axes. Prints as `bf16[batch=8, length=512]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// The element type.
    pub dtype: DType,
    /// The axes, major first.
    pub axes: Vec<Axis>,
}

impl Shape {
    /// A shape of `axes` (major first) with elements of `dtype`.
    pub fn new<A: Into<Axis>>(dtype: DType, axes: impl IntoIterator<Item = A>) -> Self {
        Shape {
            dtype,
            axes: axes.into_iter().map(Into::into).collect(),
        }
    }

    /// The shape of one number.
    pub fn scalar(dtype: DType) -> Self {
        Shape {
            dtype,
            axes: Vec::new(),
        }
    }

    /// The shape of a node with several results (a loop), which `Get` nodes pick apart.
    pub fn tuple() -> Self {
        Shape::scalar(DType::Tuple)
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.axes.len()
    }

    /// Number of elements, at most the largest `usize`.
    pub fn elements(&self) -> usize {
        let sizes = self.axes.iter().map(|axis| axis.size);
        sizes.fold(1, usize::saturating_mul)
    }

    /// Size in bytes, unpadded and unsharded.
    pub fn bytes(&self) -> usize {
        self.elements().saturating_mul(self.dtype.bytes())
    }

    /// The position of the axis `name`, major first.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.axes.iter().position(|axis| axis.name == name)
    }

    /// Whether there is an axis `name`.
    pub fn has(&self, name: &str) -> bool {
        self.position(name).is_some()
    }

    /// The size of the axis `name`.
    pub fn size(&self, name: &str) -> Option<usize> {
        self.position(name).map(|at| self.axes[at].size)
    }

    /// The axis names, major first.
    pub fn names(&self) -> impl Iterator<Item = &AxisName> {
        self.axes.iter().map(|axis| &axis.name)
    }

    /// The sizes, major first.
    pub fn dims(&self) -> Vec<usize> {
        self.axes.iter().map(|axis| axis.size).collect()
    }

    /// The same axes with elements of `dtype`.
    pub fn with_dtype(&self, dtype: DType) -> Self {
        Shape {
            dtype,
            axes: self.axes.clone(),
        }
    }

    /// This shape with `axis` before all others, as when a loop stacks its results.
    pub fn stacked(&self, axis: Axis) -> Self {
        let mut axes = Vec::with_capacity(self.rank() + 1);
        axes.push(axis);
        axes.extend(self.axes.iter().cloned());
        Shape {
            dtype: self.dtype,
            axes,
        }
    }

    /// This shape without the axes called `names`.
    pub fn without(&self, names: &[AxisName]) -> Self {
        Shape {
            dtype: self.dtype,
            axes: self
                .axes
                .iter()
                .filter(|axis| !names.contains(&axis.name))
                .cloned()
                .collect(),
        }
    }

    /// The first axis name that occurs twice, if any.
    pub fn repeated_name(&self) -> Option<&AxisName> {
        self.axes.iter().enumerate().find_map(|(at, axis)| {
            let again = self.axes[..at].iter().any(|other| other.name == axis.name);
            again.then_some(&axis.name)
        })
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (at, axis) in self.axes.iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{axis}")?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_by_name() {
        let shape = Shape::new(DType::BF16, [("batch", 8), ("embed", 4)]);
        assert_eq!(shape.to_string(), "bf16[batch=8, embed=4]");
        assert_eq!(shape.bytes(), 64);
        assert_eq!(shape.stacked(Axis::new("layers", 2)).dims(), [2, 8, 4]);
    }

    #[test]
    fn finds_a_repeated_name() {
        let shape = Shape::new(DType::F32, [("a", 1), ("b", 2), ("a", 3)]);
        assert_eq!(shape.repeated_name().map(|name| name.as_str()), Some("a"));
    }
}
