//! The logical mesh: named axes with sizes, outermost first, that multiply to the number of devices.
//!
//! A mesh does not place devices: position `p` of the mesh, counted row-major (the last axis fastest), is *partition* `p` of
//! the program, and [`super::placement`] picks its device.

use std::fmt;
use std::str::FromStr;

use smol_str::SmolStr;

use super::error::ShardingError;

/// One axis of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MeshAxis {
    /// The name that rules refer to, such as `data` or `model`.
    pub name: SmolStr,
    /// The number of parts it cuts a tensor's axis into.
    pub size: usize,
}

/// The mesh. Names are unique and sizes at least 1. Prints as `data=256,model=4`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mesh {
    axes: Vec<MeshAxis>,
}

impl Mesh {
    /// Builds a mesh of `axes`, outermost first.
    pub fn new<N: Into<SmolStr>>(
        axes: impl IntoIterator<Item = (N, usize)>,
    ) -> Result<Self, ShardingError> {
        let axes: Vec<MeshAxis> = axes
            .into_iter()
            .map(|(name, size)| MeshAxis {
                name: name.into(),
                size,
            })
            .collect();
        let mesh = Mesh { axes };
        match mesh.mistake() {
            Some(reason) => Err(ShardingError::MeshSyntax {
                text: mesh.to_string(),
                reason,
            }),
            None => Ok(mesh),
        }
    }

    /// Parses text such as `data=256,model=4`.
    pub fn parse(text: &str) -> Result<Self, ShardingError> {
        let mistake = |reason: String| ShardingError::MeshSyntax {
            text: text.to_string(),
            reason,
        };
        let mut axes = Vec::new();
        for part in text.split(',') {
            let part = part.trim();
            let (name, size) = part.split_once('=').ok_or_else(|| {
                mistake(if part.is_empty() {
                    "an axis is missing".to_string()
                } else {
                    format!("`{part}` has no size")
                })
            })?;
            let size = size.trim();
            let size: usize = size
                .parse()
                .map_err(|_| mistake(format!("`{size}` is not a size")))?;
            axes.push(MeshAxis {
                name: name.trim().into(),
                size,
            });
        }
        let mesh = Mesh { axes };
        mesh.mistake()
            .map_or(Ok(mesh), |reason| Err(mistake(reason)))
    }

    /// The first reason this is not a valid mesh, if any.
    fn mistake(&self) -> Option<String> {
        if self.axes.is_empty() {
            return Some("there is no axis".to_string());
        }
        for (at, axis) in self.axes.iter().enumerate() {
            if !is_name(&axis.name) {
                return Some(format!("`{}` is not a name", axis.name));
            }
            if axis.size == 0 {
                return Some(format!("axis `{}` has size 0", axis.name));
            }
            if self.axes[..at].iter().any(|other| other.name == axis.name) {
                return Some(format!("axis `{}` is repeated", axis.name));
            }
        }
        let product = self
            .axes
            .iter()
            .try_fold(1usize, |product, axis| product.checked_mul(axis.size));
        match product {
            Some(devices) if devices <= u32::MAX as usize => None,
            _ => Some("it has more devices than can be counted".to_string()),
        }
    }

    /// The axes, outermost first.
    pub fn axes(&self) -> &[MeshAxis] {
        &self.axes
    }

    /// The sizes, outermost first.
    pub fn sizes(&self) -> Vec<usize> {
        self.axes.iter().map(|axis| axis.size).collect()
    }

    /// Number of devices: the product of the sizes.
    pub fn devices(&self) -> usize {
        self.axes.iter().map(|axis| axis.size).product()
    }

    /// The position of the axis `name`, outermost first.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.axes.iter().position(|axis| axis.name == name)
    }

    /// The size of the axis `name`.
    pub fn size(&self, name: &str) -> Option<usize> {
        self.position(name).map(|at| self.axes[at].size)
    }

    /// This mesh with new sizes for the axes at some positions; `None` if the result is not a valid mesh.
    pub fn with_sizes(&self, sizes: impl IntoIterator<Item = (usize, usize)>) -> Option<Self> {
        let mut mesh = self.clone();
        for (at, size) in sizes {
            mesh.axes.get_mut(at)?.size = size;
        }
        mesh.mistake().is_none().then_some(mesh)
    }

    /// The coordinates of partition `index` (row-major: the last axis counts fastest).
    pub fn coordinates(&self, index: usize) -> Vec<usize> {
        let mut rest = index;
        let mut coordinates = vec![0; self.axes.len()];
        for (coordinate, axis) in coordinates.iter_mut().zip(&self.axes).rev() {
            *coordinate = rest % axis.size;
            rest /= axis.size;
        }
        coordinates
    }

    /// Checks the mesh against a target's number of devices.
    pub fn check_devices(&self, devices: usize) -> Result<(), ShardingError> {
        if self.devices() == devices {
            return Ok(());
        }
        let sizes: Vec<String> = self.axes.iter().map(|axis| axis.size.to_string()).collect();
        let product = match sizes.len() {
            1 => self.devices().to_string(),
            _ => format!("{} = {}", sizes.join(" x "), self.devices()),
        };
        Err(ShardingError::MeshProduct {
            mesh: self.to_string(),
            product,
            devices,
            fix: self.fix_for(devices),
        })
    }

    /// Meshes with one size changed that have `devices` devices.
    fn fix_for(&self, devices: usize) -> String {
        let mut fixes = Vec::new();
        for (at, axis) in self.axes.iter().enumerate() {
            let others = self.devices() / axis.size;
            if devices > 0 && devices.is_multiple_of(others) {
                let mut fixed = self.clone();
                fixed.axes[at].size = devices / others;
                fixes.push(fixed.to_string());
            }
        }
        if fixes.is_empty() {
            format!("choose sizes that multiply to {devices}")
        } else {
            format!("nearest: {}", fixes.join(" or "))
        }
    }
}

/// Whether `name` is a valid mesh axis name: a letter, then letters, digits and `_`.
pub(super) fn is_name(name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(is_word)
}

impl fmt::Display for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, axis) in self.axes.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            write!(f, "{}={}", axis.name, axis.size)?;
        }
        Ok(())
    }
}

impl FromStr for Mesh {
    type Err = ShardingError;

    fn from_str(text: &str) -> Result<Self, ShardingError> {
        Mesh::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Mesh::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn reads_and_prints() {
        let mesh = Mesh::parse(" data=256, model=4 ").unwrap();
        assert_eq!(mesh.to_string(), "data=256,model=4");
        assert_eq!(mesh.devices(), 1024);
        assert_eq!(mesh.size("model"), Some(4));
        assert_eq!(mesh.size("modal"), None);
        assert_eq!(mesh.coordinates(1023), [255, 3]);
        assert_eq!(mesh.coordinates(5), [1, 1]);
    }

    #[test]
    fn refuses_bad_syntax() {
        assert!(refused("").contains("an axis is missing"));
        assert!(refused("data=4,").contains("an axis is missing"));
        assert!(refused("data").contains("`data` has no size"));
        assert!(refused("data=four").contains("`four` is not a size"));
        assert!(refused("data=-1").contains("`-1` is not a size"));
        assert!(refused("4=data").contains("not a size"));
        assert!(refused("da ta=4").contains("`da ta` is not a name"));
        assert!(refused("=4").contains("`` is not a name"));
        assert!(refused("data=4294967296,model=4294967296").contains("more devices than"));
        let none: [(&str, usize); 0] = [];
        assert!(Mesh::new(none).unwrap_err().to_string().contains("no axis"));
    }

    #[test]
    fn refuses_a_repeated_axis_and_a_zero() {
        assert!(refused("data=4,data=2").contains("axis `data` is repeated"));
        assert!(refused("data=0,model=2").contains("axis `data` has size 0"));
    }

    #[test]
    fn says_which_mesh_would_fit() {
        let mesh = Mesh::parse("data=256,model=8").unwrap();
        assert!(mesh.check_devices(2048).is_ok());
        assert_eq!(
            mesh.check_devices(1024).unwrap_err().to_string(),
            "mesh data=256,model=8 has 256 x 8 = 2048 devices, but the target has 1024; \
             nearest: data=128,model=8 or data=256,model=4"
        );
        let message = mesh.check_devices(12).unwrap_err().to_string();
        assert!(
            message.ends_with("choose sizes that multiply to 12"),
            "{message}"
        );
    }
}
