//! Arrays with a shape: whole on the host, or in parts on devices.

use super::element::Element;
use super::error::{Error, Result};
use super::pjrt::{Buffer, Client};
use super::sharded::{Block, download, upload};
use crate::graph::{DType, Shape};
use crate::sharding::{Mesh, Sharding};

/// A dense row-major array in the host's memory.
#[derive(Clone, Debug, PartialEq)]
pub struct HostArray {
    shape: Shape,
    bytes: Vec<u8>,
}

impl HostArray {
    /// An array of `shape` from its `bytes`, in native order.
    ///
    /// # Errors
    /// The number of bytes is not the shape's.
    pub fn from_bytes(shape: Shape, bytes: Vec<u8>) -> Result<Self> {
        if bytes.len() != shape.bytes() {
            return Err(Error::Invalid(format!(
                "{shape} takes {} bytes, but {} were given",
                shape.bytes(),
                bytes.len()
            )));
        }
        Ok(HostArray { shape, bytes })
    }

    /// An array of `shape` from its `values`.
    ///
    /// # Errors
    /// The values have another type, or their number is not the shape's.
    pub fn from_values<E: Element>(shape: Shape, values: &[E]) -> Result<Self> {
        if shape.dtype != E::DTYPE {
            return Err(Error::Invalid(format!(
                "{shape} does not hold values of {}",
                E::DTYPE
            )));
        }
        HostArray::from_bytes(shape, E::to_bytes(values))
    }

    /// A scalar array.
    pub fn scalar<E: Element>(value: E) -> Self {
        HostArray {
            shape: Shape::scalar(E::DTYPE),
            bytes: E::to_bytes(&[value]),
        }
    }

    /// An array of `shape` whose elements are `values`, converted to its type.
    ///
    /// # Errors
    /// The number of values is not the shape's.
    pub fn from_f64(shape: Shape, values: &[f64]) -> Result<Self> {
        let bytes = match shape.dtype {
            DType::Pred => bool::to_bytes(&values.iter().map(|v| *v != 0.0).collect::<Vec<_>>()),
            DType::S32 => i32::to_bytes(&values.iter().map(|v| *v as i32).collect::<Vec<_>>()),
            DType::U32 => u32::to_bytes(&values.iter().map(|v| *v as u32).collect::<Vec<_>>()),
            DType::BF16 => {
                let values: Vec<_> = values.iter().map(|v| half::bf16::from_f64(*v)).collect();
                half::bf16::to_bytes(&values)
            }
            DType::F32 => f32::to_bytes(&values.iter().map(|v| *v as f32).collect::<Vec<_>>()),
            DType::F64 => f64::to_bytes(values),
            DType::Tuple => Vec::new(),
        };
        HostArray::from_bytes(shape, bytes)
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The elements' bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The elements' bytes, without the shape.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The values, if they are of this type.
    ///
    /// # Errors
    /// The values have another type.
    pub fn values<E: Element>(&self) -> Result<Vec<E>> {
        match self.shape.dtype == E::DTYPE {
            true => Ok(E::from_bytes(&self.bytes)),
            false => Err(Error::Invalid(format!(
                "{} does not hold values of {}",
                self.shape,
                E::DTYPE
            ))),
        }
    }

    /// The values as the widest float, whatever their type.
    pub fn to_f64(&self) -> Vec<f64> {
        let bytes = &self.bytes;
        match self.shape.dtype {
            DType::Pred => bool::from_bytes(bytes)
                .into_iter()
                .map(|v| f64::from(u8::from(v)))
                .collect(),
            DType::S32 => i32::from_bytes(bytes).into_iter().map(f64::from).collect(),
            DType::U32 => u32::from_bytes(bytes).into_iter().map(f64::from).collect(),
            DType::BF16 => half::bf16::from_bytes(bytes)
                .into_iter()
                .map(f64::from)
                .collect(),
            DType::F32 => f32::from_bytes(bytes).into_iter().map(f64::from).collect(),
            DType::F64 => f64::from_bytes(bytes),
            DType::Tuple => Vec::new(),
        }
    }
}

/// An array with its parts on the devices of a mesh.
pub struct DeviceArray {
    /// The global shape.
    pub shape: Shape,
    /// The mesh.
    pub mesh: Mesh,
    /// How it is cut over the mesh.
    pub sharding: Sharding,
    /// The position in [`Client::devices`] of each partition's device, in mesh order.
    pub devices: Vec<usize>,
    /// The part of each partition, in mesh order.
    pub parts: Vec<Buffer>,
}

impl DeviceArray {
    /// Puts the parts of `array` on the client's `devices`, one per partition.
    ///
    /// # Errors
    /// Those of the plugin.
    pub fn put(
        client: &Client,
        devices: &[usize],
        mesh: &Mesh,
        array: &HostArray,
        sharding: &Sharding,
    ) -> Result<Self> {
        let shape = array.shape();
        let dims = shape.dims();
        let blocks = blocks(sharding, mesh, shape);
        Ok(DeviceArray {
            parts: upload(client, array.bytes(), shape.dtype, &dims, &blocks, devices)?,
            shape: shape.clone(),
            mesh: mesh.clone(),
            sharding: sharding.clone(),
            devices: devices.to_vec(),
        })
    }

    /// Copies all parts to the host. A part on several devices is read once.
    ///
    /// # Errors
    /// Those of the plugin.
    pub fn fetch(&self) -> Result<HostArray> {
        let parts: Vec<_> = self.parts.iter().collect();
        let blocks = self.blocks();
        let bytes = download(&parts, &self.shape.dims(), &blocks)?;
        HostArray::from_bytes(self.shape.clone(), bytes)
    }

    /// Whether each partition of `mesh` holds the part that `sharding` gives it.
    pub fn is_cut_as(&self, sharding: &Sharding, mesh: &Mesh) -> bool {
        (self.mesh == *mesh && self.sharding == *sharding)
            || self.blocks() == blocks(sharding, mesh, &self.shape)
    }

    /// The part that each partition holds.
    fn blocks(&self) -> Vec<Block> {
        blocks(&self.sharding, &self.mesh, &self.shape)
    }
}

/// The part of an array of `shape` that each partition holds.
fn blocks(sharding: &Sharding, mesh: &Mesh, shape: &Shape) -> Vec<Block> {
    let dims = shape.dims();
    (0..mesh.devices())
        .map(|partition| sharding.block(mesh, &dims, partition))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_bytes_that_do_not_fit() {
        let shape = Shape::new(DType::F32, [("a", 3)]);
        let error = HostArray::from_bytes(shape.clone(), vec![0; 11]).unwrap_err();
        assert!(error.to_string().contains("takes 12 bytes"), "{error}");
        let error = HostArray::from_values(shape, &[1i32, 2, 3]).unwrap_err();
        assert!(
            error.to_string().contains("does not hold values of s32"),
            "{error}"
        );
    }

    #[test]
    fn converts_values() {
        for dtype in [DType::S32, DType::BF16, DType::F32, DType::F64] {
            let array = HostArray::from_f64(Shape::new(dtype, [("a", 2)]), &[1.0, -2.0]).unwrap();
            assert_eq!(array.to_f64(), [1.0, -2.0]);
        }
    }
}
