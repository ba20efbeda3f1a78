//! A saved run: the arrays that a program takes and gives, and how far two runs of it are apart. Nothing here knows
//! xla-rs, so ribosome's own tests read saved runs with this file too (`tests/xla_rs.rs`).

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use half::bf16;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

/// What a program takes and gives, in order: the file NAME.json that `ribosome lower --emit proto` writes.
#[derive(Debug, Deserialize)]
pub struct Signature {
    /// The mesh, as `data=1,model=1`.
    pub mesh: String,
    /// The program's parameters.
    pub inputs: Vec<Port>,
    /// The elements of the tuple that it gives.
    pub outputs: Vec<Port>,
}

/// One input or output.
#[derive(Debug, Deserialize)]
pub struct Port {
    /// The name, which is also the tensor's in a safetensors file.
    pub name: String,
    /// The element type as HLO calls it (`f32`, `s32`, ...).
    pub dtype: String,
    /// Names and sizes of the axes, outermost first.
    pub axes: Vec<(String, usize)>,
}

/// A dense row-major array on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// The element type.
    pub dtype: Dtype,
    /// The sizes of the axes, outermost first.
    pub dims: Vec<usize>,
    /// The elements, little-endian.
    pub bytes: Vec<u8>,
}

/// An output whose elements are all smaller is compared as if its largest were this. There are weights without a gradient,
/// such as the bias of attention's keys, which a softmax takes away: what another compiler's rounding leaves of it is
/// another number altogether.
pub const FLOOR: f64 = 0.01;

/// How far an output is from what was expected.
#[derive(Clone, Debug)]
pub struct Gap {
    /// The output.
    pub name: String,
    /// The largest difference of two elements, as a share of the largest expected one or of [`FLOOR`]. NaN if either has
    /// a NaN.
    pub relative: f64,
}

impl Signature {
    /// Reads a signature.
    ///
    /// # Errors
    /// A file that cannot be read, or a program for several devices: xla-rs has no partitions.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let signature: Signature =
            serde_json::from_str(&text).with_context(|| format!("in {}", path.display()))?;
        let sizes = signature
            .mesh
            .split(',')
            .map(|axis| axis.split_once('=').map_or("", |(_, size)| size));
        if sizes.into_iter().any(|size| size != "1") {
            bail!(
                "{} is for a mesh of {}, and this example runs programs for one device; lower it with --on cpu:1",
                path.display(),
                signature.mesh
            );
        }
        Ok(signature)
    }
}

impl Port {
    /// The sizes of the axes.
    pub fn dims(&self) -> Vec<usize> {
        self.axes.iter().map(|(_, size)| *size).collect()
    }

    /// The element type as safetensors calls it.
    ///
    /// # Errors
    /// A type that ribosome does not have.
    pub fn dtype(&self) -> Result<Dtype> {
        Ok(match self.dtype.as_str() {
            "pred" => Dtype::BOOL,
            "s32" => Dtype::I32,
            "u32" => Dtype::U32,
            "bf16" => Dtype::BF16,
            "f32" => Dtype::F32,
            "f64" => Dtype::F64,
            other => bail!("`{}` has the unknown element type `{other}`", self.name),
        })
    }
}

/// Reads the array of each port, in the order of the ports.
///
/// # Errors
/// A file that cannot be read, a port without a tensor of its name, or one of another type or shape.
pub fn read_arrays(path: &Path, ports: &[Port]) -> Result<Vec<Array>> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let file =
        SafeTensors::deserialize(&bytes).with_context(|| format!("in {}", path.display()))?;
    let read = |port: &Port| -> Result<Array> {
        let tensor = file.tensor(&port.name)?;
        let (dtype, dims) = (port.dtype()?, port.dims());
        ensure!(
            tensor.dtype() == dtype && tensor.shape() == dims,
            "`{}` is {:?} {:?}, and the program has it as {dtype:?} {dims:?}",
            port.name,
            tensor.dtype(),
            tensor.shape(),
        );
        Ok(Array {
            dtype,
            dims,
            bytes: tensor.data().to_vec(),
        })
    };
    let read = |port| read(port).with_context(|| format!("in {}", path.display()));
    ports.iter().map(read).collect()
}

/// How far each of `found` is from `expected`; both are in the order of `ports`.
///
/// # Errors
/// Arrays of different shapes, or not one for each port.
pub fn compare(ports: &[Port], found: &[Array], expected: &[Array]) -> Result<Vec<Gap>> {
    ensure!(
        found.len() == ports.len() && expected.len() == ports.len(),
        "the program has {} outputs; {} were found and {} expected",
        ports.len(),
        found.len(),
        expected.len()
    );
    let arrays = found.iter().zip(expected);
    let gap = |(port, (found, expected)): (&Port, (&Array, &Array))| {
        ensure!(
            (found.dtype, &found.dims) == (expected.dtype, &expected.dims),
            "`{}` is {:?} {:?}, not {:?} {:?}",
            port.name,
            found.dtype,
            found.dims,
            expected.dtype,
            expected.dims
        );
        let (found, expected) = (found.numbers()?, expected.numbers()?);
        let scale = largest(expected.iter().copied());
        let difference = largest(found.iter().zip(&expected).map(|(a, b)| a - b));
        Ok(Gap {
            name: port.name.clone(),
            relative: difference / scale.max(FLOOR),
        })
    };
    ports.iter().zip(arrays).map(gap).collect()
}

impl Array {
    /// The elements as the widest float.
    fn numbers(&self) -> Result<Vec<f64>> {
        Ok(match self.dtype {
            Dtype::BOOL => self.bytes.iter().map(|byte| f64::from(*byte)).collect(),
            Dtype::I32 => self.words(|word| f64::from(i32::from_le_bytes(word))),
            Dtype::U32 => self.words(|word| f64::from(u32::from_le_bytes(word))),
            Dtype::BF16 => self.words(|word| f64::from(bf16::from_le_bytes(word))),
            Dtype::F32 => self.words(|word| f64::from(f32::from_le_bytes(word))),
            Dtype::F64 => self.words(f64::from_le_bytes),
            other => bail!("elements of {other:?} are not compared"),
        })
    }

    /// The elements of `N` bytes each.
    fn words<const N: usize>(&self, number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        let (words, _) = self.bytes.as_chunks::<N>();
        words.iter().map(|word| number(*word)).collect()
    }
}

/// The largest size of any number; NaN if one is NaN.
fn largest(numbers: impl Iterator<Item = f64>) -> f64 {
    numbers.fold(0.0, |most: f64, number| {
        if number.is_nan() || most.is_nan() {
            f64::NAN
        } else {
            most.max(number.abs())
        }
    })
}
