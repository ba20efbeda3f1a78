//! Runs a numeric reference (a case made by an independent implementation) and reports each tensor's distance from it.
//!
//! A case is one safetensors file with `weight.*`, `input.*`, `output.*` and `grad.*` tensors (`grad_seg1.*`, `grad_seg2.*`
//! if a text is read in segments, each with a loss) and a JSON `meta` with its kind and configuration. Each kind has a file
//! here that builds the same computation in the DSL and returns its tensors under the case's names. Every reference tensor
//! must be computed, within the tolerance.

mod bert;
mod case;
mod convolution_head;
mod lora;
mod model;
mod optimizer;
mod options;
mod t5;
mod transfo_xl;
mod xlnet;

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::ArrayD;
use serde::Serialize;

pub use case::{Case, CaseError};

use crate::graph::{Graph, GraphError};
use crate::hlo::{InternalError, Layout, LowerError, lower};
use crate::models::Families;
use crate::models::hugging_face::ConfigError;
use crate::models::weights::WeightsError;
use crate::pipeline;
use crate::runtime::{Client, CompileConfig, HostArray, Session};
use crate::sharding::{Mesh, Partitioner, Rules, ShardingError, Target};

/// How far tensors may differ. The figures come from the references, which showed that they catch deliberate mistakes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tolerance {
    /// For outputs, the largest absolute difference.
    pub outputs: f64,
    /// For gradients, the largest absolute difference as a fraction of the case's largest gradient.
    pub gradients: f64,
    /// For whole numbers.
    pub integers: f64,
}

/// The tolerance of every case.
pub const TOLERANCE: Tolerance = Tolerance {
    outputs: 3e-5,
    gradients: 1e-5,
    integers: 0.0,
};

/// One tensor's distance from the reference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Its name in the case.
    pub name: String,
    /// The largest absolute difference.
    pub max_abs: f64,
    /// The largest difference as a fraction of the reference's largest value.
    pub max_rel: f64,
    /// The largest absolute difference allowed.
    pub allowed: f64,
    /// Whether it is within the tolerance.
    pub ok: bool,
}

/// The result of a case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verified {
    /// The case's name.
    pub case: String,
    /// The class that the reference ran.
    pub kind: String,
    /// The tolerance.
    pub tolerance: Tolerance,
    /// Every tensor that the case has a reference for.
    pub tensors: Vec<Difference>,
    /// Whether all are within the tolerance.
    pub ok: bool,
}

impl Difference {
    /// The largest absolute difference as a fraction of the largest allowed.
    pub fn of_tolerance(&self) -> f64 {
        match self.max_abs == 0.0 {
            true => 0.0,
            false => self.max_abs / self.allowed,
        }
    }
}

impl Verified {
    /// The tensor nearest to its tolerance, or farthest beyond it.
    pub fn worst(&self) -> Option<&Difference> {
        (self.tensors.iter()).max_by(|a, b| a.of_tolerance().total_cmp(&b.of_tolerance()))
    }
}

/// Why a case could not be run.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The file is not a case.
    #[error(transparent)]
    Case(#[from] CaseError),
    /// A kind of case that ribosome does not have.
    #[error("{case} is of kind `{kind}`, which ribosome does not have; it has {}", KINDS.join(", "))]
    UnknownKind {
        /// The case.
        case: String,
        /// Its kind.
        kind: String,
    },
    /// An argument that ribosome does not support.
    #[error("{case} was made with `{key}` = {value}, which ribosome does not have")]
    UnknownOption {
        /// The case.
        case: String,
        /// The argument.
        key: String,
        /// Its value.
        value: String,
    },
    /// The configuration cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The weights do not fit.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The graph has a mistake.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The graph has several mistakes.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Check(Vec<GraphError>),
    /// A tensor cannot be placed.
    #[error(transparent)]
    Sharding(#[from] ShardingError),
    /// The case cannot be compiled for the device.
    #[error(transparent)]
    Pipeline(#[from] pipeline::Error),
    /// The lowering contradicts itself.
    #[error(transparent)]
    Lowering(#[from] InternalError),
    /// The runtime failed.
    #[error(transparent)]
    Runtime(#[from] crate::runtime::Error),
}

impl VerifyError {
    fn option(case: &Case, key: &str, value: Option<&serde_json::Value>) -> Self {
        VerifyError::UnknownOption {
            case: case.name.clone(),
            key: key.to_string(),
            value: value.map_or("nothing".to_string(), ToString::to_string),
        }
    }
}

/// The kinds of case.
const KINDS: &[&str] = &[
    "T5ForConditionalGeneration",
    "T5EncoderModel",
    "T5Buckets",
    "PeftLoraT5",
    "ProtTransLoraT5Encoder",
    "ConvHead",
    "Optimizer (adafactor, adamw, lamb)",
    "...ForMaskedLM",
    "BertForPreTraining",
    "AlbertForPreTraining",
    "ElectraForMaskedLM",
    "ElectraForPreTraining",
    "ElectraJoint",
    "XLNetLMHeadModel",
    "TransfoXLLMHeadModel",
];

/// Tensors by name.
type Tensors = BTreeMap<String, ArrayD<f32>>;

/// The CPU device that cases run on, with the compile options of their programs.
pub struct Device {
    /// A client with the device.
    pub client: Client,
    /// The compile options.
    pub config: CompileConfig,
}

impl Device {
    /// The one device of `client`, with the options of every program for the CPU.
    ///
    /// # Errors
    /// The client has another number of devices.
    pub fn of(client: Client) -> Result<Self, VerifyError> {
        let target = Target::Cpu { devices: 1 };
        let config = pipeline::config(&target, client.devices(), &one()?, Partitioner::default())?;
        Ok(Device { client, config })
    }
}

/// Runs the case in the file `path` on `device`. Its model is one of the `families`.
///
/// # Errors
/// The file is not a case, its kind is unknown, or building or running it fails.
pub fn verify(path: &Path, device: &Device, families: &Families) -> Result<Verified, VerifyError> {
    let case = Case::read(path)?;
    let computed = match case.kind.as_str() {
        "T5ForConditionalGeneration" => t5::conditional(&case, device, None)?,
        "T5EncoderModel" => t5::encoder(&case, device, None)?,
        "T5Buckets" => t5::buckets(&case)?,
        "PeftLoraT5" => lora::peft(&case, device)?,
        "ProtTransLoraT5Encoder" => lora::prottrans(&case, device)?,
        "ConvHead" => convolution_head::head(&case, device)?,
        "Optimizer" => optimizer::optimizer(&case, device)?,
        "BertForPreTraining" => {
            let names = ["next_sentence_label", "seq_relationship_logits"];
            bert::pretraining(&case, device, families, names)?
        }
        "AlbertForPreTraining" => {
            let names = ["sentence_order_label", "sop_logits"];
            bert::pretraining(&case, device, families, names)?
        }
        "ElectraForMaskedLM" => bert::electra_generator(&case, device)?,
        "ElectraForPreTraining" => bert::electra_discriminator(&case, device)?,
        "ElectraJoint" => bert::electra_joint(&case, device)?,
        "XLNetLMHeadModel" => xlnet::language_model(&case, device)?,
        "TransfoXLLMHeadModel" => transfo_xl::language_model(&case, device)?,
        // A model of any family, ours or another's.
        kind if kind.ends_with("ForMaskedLM") => {
            bert::masked_language_model(&case, device, families)?
        }
        kind => {
            return Err(VerifyError::UnknownKind {
                case: case.name.clone(),
                kind: kind.to_string(),
            });
        }
    };
    Ok(compare(&case, &computed))
}

fn compare(case: &Case, computed: &Tensors) -> Verified {
    let largest = |tensor: &ArrayD<f32>| {
        tensor
            .iter()
            .fold(0f64, |most, v| most.max(f64::from(v.abs())))
    };
    let gradients = case.tensors.iter().filter(|(name, _)| is_gradient(name));
    let largest_gradient = gradients
        .map(|(_, tensor)| largest(tensor))
        .fold(0.0, f64::max);
    let checked = case
        .tensors
        .iter()
        .filter(|(name, _)| name.starts_with("output.") || is_gradient(name));
    let tensors: Vec<_> = checked
        .map(|(name, expected)| {
            let distance = match computed.get(name) {
                Some(found) if found.shape() == expected.shape() => distance(found, expected),
                // Not computed, or of other sizes: infinitely far.
                _ => f64::INFINITY,
            };
            let allowed = if is_gradient(name) {
                TOLERANCE.gradients * largest_gradient
            } else if case.integers.contains(name) {
                TOLERANCE.integers
            } else {
                TOLERANCE.outputs
            };
            Difference {
                name: name.clone(),
                max_abs: distance,
                max_rel: distance / largest(expected).max(f64::MIN_POSITIVE),
                allowed,
                ok: distance <= allowed,
            }
        })
        .collect();
    Verified {
        case: case.name.clone(),
        kind: case.kind.clone(),
        tolerance: TOLERANCE,
        ok: !tensors.is_empty() && tensors.iter().all(|tensor| tensor.ok),
        tensors,
    }
}

/// Whether the case's tensor `name` is a gradient, of its only loss or of a segment's.
fn is_gradient(name: &str) -> bool {
    let kind = name.split_once('.').map_or(name, |(kind, _)| kind);
    kind == "grad" || kind.starts_with("grad_")
}

/// The largest absolute difference; infinite if one side is not a number.
fn distance(found: &ArrayD<f32>, expected: &ArrayD<f32>) -> f64 {
    let pairs = found.iter().zip(expected);
    pairs.fold(0.0, |most, (a, b)| {
        let apart = (f64::from(*a) - f64::from(*b)).abs();
        if apart.is_nan() {
            f64::INFINITY
        } else {
            apart.max(most)
        }
    })
}

impl From<LowerError> for VerifyError {
    fn from(error: LowerError) -> Self {
        match error {
            LowerError::Sharding(error) => VerifyError::Sharding(error),
            LowerError::Internal(error) => VerifyError::Lowering(error),
        }
    }
}

/// A graph compiled for one device.
fn session(graph: Graph, device: &Device) -> Result<Session, VerifyError> {
    let graph = graph.check().map_err(VerifyError::Check)?.compact();
    let mesh = one()?;
    let layout = Layout {
        mesh: &mesh,
        rules: &Rules::standard(),
    };
    let program = lower(&graph, "verify", layout)?;
    Ok(Session::new(&device.client, &program, &device.config)?)
}

/// The mesh of one device.
fn one() -> Result<Mesh, ShardingError> {
    Mesh::new([("data", 1), ("model", 1)])
}

/// Runs `session` on `inputs`, converted to the types it takes. Inputs that it does not take are left out.
fn evaluate(session: &Session, inputs: &Tensors) -> Result<Tensors, VerifyError> {
    let mut arrays = BTreeMap::new();
    for port in &session.signature().inputs {
        if let Some(tensor) = inputs.get(&port.name) {
            let values: Vec<_> = tensor.iter().map(|value| f64::from(*value)).collect();
            arrays.insert(
                port.name.clone(),
                HostArray::from_f64(port.shape.clone(), &values)?,
            );
        }
    }
    let outputs = session.evaluate(&arrays)?;
    let tensors = outputs.into_iter().map(|(name, array)| {
        let values = array
            .to_f64()
            .into_iter()
            .map(|value| value as f32)
            .collect();
        let dims = array.shape().dims();
        // There are as many values as the shape has elements, so this always fits.
        let tensor = ArrayD::from_shape_vec(dims.as_slice(), values).unwrap_or_default();
        (name, tensor)
    });
    Ok(tensors.collect())
}
