//! The frontend's result: a module and its signature. Saved as `NAME.hlo.pb` and `NAME.json`, they are all that is needed
//! to compile and run the program.

use std::borrow::Cow;
use std::str::FromStr;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::module::Module;
use super::proto::encode;
use crate::graph::{Role, Shape};
use crate::sharding::{Mesh, Sharding};

/// A lowered program.
#[derive(Clone, Debug)]
pub struct Program {
    module: Module,
    /// The module's bytes, once they were requested.
    bytes: OnceLock<Vec<u8>>,
    /// The inputs and outputs.
    pub signature: Signature,
}

/// Every input and output by name, in order.
#[derive(Clone, Debug)]
pub struct Signature {
    /// The mesh that the program is partitioned over.
    pub mesh: Mesh,
    /// The inputs.
    pub inputs: Vec<Port>,
    /// The outputs.
    pub outputs: Vec<Port>,
}

/// One input or output.
#[derive(Clone, Debug)]
pub struct Port {
    /// The model's name for it.
    pub name: String,
    /// Its purpose.
    pub role: PortRole,
    /// Its global shape.
    pub shape: Shape,
    /// Its sharding.
    pub sharding: Sharding,
    /// For an output, the number of the input whose memory it takes over.
    pub aliases: Option<usize>,
}

/// The purpose of an input or output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortRole {
    /// An input of the model, or the output that updates one.
    Input(Role),
    /// A figure to report, such as the loss.
    Metric,
}

impl PortRole {
    /// The word for it in signatures: the role's, or `metric`.
    pub fn name(self) -> &'static str {
        match self {
            PortRole::Input(role) => role.name(),
            PortRole::Metric => "metric",
        }
    }
}

impl FromStr for PortRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let inputs = Role::ALL.into_iter().map(PortRole::Input);
        let mut all = inputs.chain([PortRole::Metric]);
        all.find(|role| role.name() == text)
            .ok_or_else(|| format!("there is no role `{text}`"))
    }
}

impl PartialEq<Role> for PortRole {
    fn eq(&self, role: &Role) -> bool {
        *self == PortRole::Input(*role)
    }
}

/// A [`Port`] as in the JSON file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PortRecord<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) role: Cow<'a, str>,
    pub(super) dtype: Cow<'a, str>,
    pub(super) axes: Vec<(Cow<'a, str>, usize)>,
    pub(super) sharding: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) aliases: Option<usize>,
}

/// A [`Signature`] as in the JSON file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignatureRecord<'a> {
    pub(super) mesh: String,
    pub(super) inputs: Vec<PortRecord<'a>>,
    pub(super) outputs: Vec<PortRecord<'a>>,
}

impl Program {
    /// A program of `module` with the inputs and outputs of `signature`.
    pub fn new(module: Module, signature: Signature) -> Self {
        Program {
            module,
            bytes: OnceLock::new(),
            signature,
        }
    }

    /// The HLO.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// The module's bytes, as plugins take them; serialized once.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get_or_init(|| encode(&self.module))
    }

    /// `sha256:` and the hash of module and signature: equal for equal programs on every machine.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.bytes());
        hash.update(self.signature.json());
        let hex: String = hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("sha256:{hex}")
    }

    /// Number of instructions in all computations.
    pub fn instructions(&self) -> usize {
        self.module.instructions()
    }
}

impl Signature {
    /// The signature as JSON, one port per line.
    pub fn json(&self) -> String {
        let record = |port| self.record(port);
        let record = SignatureRecord {
            mesh: self.mesh.to_string(),
            inputs: self.inputs.iter().map(record).collect(),
            outputs: self.outputs.iter().map(record).collect(),
        };
        // Plain strings and numbers: this cannot fail.
        serde_json::to_string_pretty(&record).unwrap_or_default()
    }

    fn record<'a>(&self, port: &'a Port) -> PortRecord<'a> {
        PortRecord {
            name: port.name.as_str().into(),
            role: port.role.name().into(),
            dtype: port.shape.dtype.name().into(),
            axes: (port.shape.axes.iter())
                .map(|axis| (axis.name.as_str().into(), axis.size))
                .collect(),
            sharding: port.sharding.describe(&self.mesh, &port.shape),
            aliases: port.aliases,
        }
    }
}
