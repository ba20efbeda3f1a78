//! Compile options: the settings of the partitioner and the backend, and libtpu's settings of a topology. Field numbers are
//! those of XLA's `CompileOptionsProto` and its children; the messages have only the fields used here.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use super::error::{Error, Result};
use super::value::Value;
use crate::sharding::{Partitioner, Topology};

/// How to compile one program over `partitions` devices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CompileConfig {
    /// Number of devices to split the program over (SPMD partitions; there is one replica).
    pub partitions: usize,
    /// The device id of each partition, in mesh order. If empty, the plugin uses its own order. Ids are the plugin's
    /// ([`super::DeviceDescription::id`]), not always 0 to N-1.
    pub device_assignment: Vec<i64>,
    /// The partitioner that splits the program.
    pub partitioner: Partitioner,
    /// XLA flags for this compilation, by name without dashes (`xla_...`).
    pub xla_flags: BTreeMap<String, Value>,
}

impl CompileConfig {
    /// A config for `partitions` devices with ids 0 to `partitions` - 1, partitioned by Shardy.
    pub fn for_devices(partitions: usize) -> CompileConfig {
        CompileConfig {
            partitions,
            device_assignment: (0..partitions as i64).collect(),
            partitioner: Partitioner::Shardy,
            xla_flags: BTreeMap::new(),
        }
    }

    /// As [`CompileConfig::for_devices`], for the CPU plugin's virtual devices. They share the host's few cores, so one may
    /// be late to a collective though nothing is wrong. By default XLA ends the process when the first has waited for 40 s;
    /// here, for 20 minutes.
    pub fn for_virtual_devices(partitions: usize) -> CompileConfig {
        let name = "xla_cpu_collective_call_terminate_timeout_seconds".to_string();
        let xla_flags = BTreeMap::from([(name, Value::Int(1200))]);
        CompileConfig {
            xla_flags,
            ..CompileConfig::for_devices(partitions)
        }
    }

    /// The same, partitioned by `partitioner`.
    pub fn with_partitioner(self, partitioner: Partitioner) -> CompileConfig {
        CompileConfig {
            partitioner,
            ..self
        }
    }

    /// The serialized `CompileOptionsProto`.
    ///
    /// # Errors
    /// There are no partitions, the assignment does not name one device per partition or names one twice, or an XLA flag's
    /// value is a list.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let partitions = self.partitions;
        if partitions == 0 || i32::try_from(partitions).is_err() {
            return Err(Error::Invalid(format!(
                "cannot compile for {partitions} partitions; at least 1 is needed"
            )));
        }
        let assigned = &self.device_assignment;
        let distinct = assigned.iter().collect::<BTreeSet<_>>().len();
        if !assigned.is_empty() && assigned.len() != partitions {
            return Err(Error::Invalid(format!(
                "the device assignment names {} devices for {partitions} partitions",
                assigned.len()
            )));
        }
        if distinct != assigned.len() {
            return Err(Error::Invalid(format!(
                "the device assignment names {} devices, but only {distinct} different ones",
                assigned.len()
            )));
        }
        let device_assignment = (!assigned.is_empty()).then(|| DeviceAssignment {
            replica_count: 1,
            computation_count: partitions as i32,
            computation_devices: assigned
                .iter()
                .map(|&id| ComputationDevice {
                    replica_device_ids: vec![id],
                })
                .collect(),
        });
        let options = CompileOptions {
            executable_build_options: Some(ExecutableBuildOptions {
                device_ordinal: -1,
                num_replicas: 1,
                num_partitions: partitions as i64,
                use_spmd_partitioning: true,
                device_assignment,
                use_shardy_partitioner: self.partitioner == Partitioner::Shardy,
            }),
            env_option_overrides: self
                .xla_flags
                .iter()
                .map(|(name, value)| Ok((name.clone(), flag(name, value)?)))
                .collect::<Result<_>>()?,
        };
        Ok(options.encode_to_vec())
    }
}

/// The options that libtpu needs for `topology` besides its name.
pub fn topology_options(topology: &Topology) -> Vec<(&'static str, Value)> {
    let mut options = Vec::new();
    if topology.megacore() {
        options.push(("chip_config_name", Value::from("megacore")));
    }
    if topology.slices() > 1 {
        options.push(("num_slices", Value::Int(topology.slices() as i64)));
    }
    options
}

/// The message for the XLA flag `name`. Text works for every type of flag: XLA parses it as on a command line.
fn flag(name: &str, value: &Value) -> Result<OptionOverride> {
    let value = match value {
        Value::String(value) => Override::String(value.clone()),
        Value::Bool(value) => Override::Bool(*value),
        Value::Int(value) => Override::Int(*value),
        Value::Float(value) => Override::Double(*value),
        Value::Ints(values) => {
            return Err(Error::Invalid(format!(
                "the XLA flag {name} cannot be the list {values:?}; write it as text"
            )));
        }
    };
    Ok(OptionOverride { value: Some(value) })
}

#[derive(Clone, PartialEq, Message)]
struct CompileOptions {
    #[prost(message, optional, tag = "3")]
    executable_build_options: Option<ExecutableBuildOptions>,
    #[prost(btree_map = "string, message", tag = "7")]
    env_option_overrides: BTreeMap<String, OptionOverride>,
}

#[derive(Clone, PartialEq, Message)]
struct ExecutableBuildOptions {
    #[prost(int64, tag = "1")]
    device_ordinal: i64,
    #[prost(int64, tag = "4")]
    num_replicas: i64,
    #[prost(int64, tag = "5")]
    num_partitions: i64,
    #[prost(bool, tag = "6")]
    use_spmd_partitioning: bool,
    #[prost(message, optional, tag = "9")]
    device_assignment: Option<DeviceAssignment>,
    #[prost(bool, tag = "19")]
    use_shardy_partitioner: bool,
}

#[derive(Clone, PartialEq, Message)]
struct DeviceAssignment {
    #[prost(int32, tag = "1")]
    replica_count: i32,
    #[prost(int32, tag = "2")]
    computation_count: i32,
    #[prost(message, repeated, tag = "3")]
    computation_devices: Vec<ComputationDevice>,
}

#[derive(Clone, PartialEq, Message)]
struct ComputationDevice {
    #[prost(int64, repeated, tag = "1")]
    replica_device_ids: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct OptionOverride {
    #[prost(oneof = "Override", tags = "1, 2, 3, 4")]
    value: Option<Override>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Override {
    #[prost(string, tag = "1")]
    String(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(int64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_must_fit_the_partitions() {
        let config = |partitions, ids: &[i64]| CompileConfig {
            partitions,
            device_assignment: ids.to_vec(),
            ..CompileConfig::default()
        };
        let message = |config: CompileConfig| config.encode().unwrap_err().to_string();
        assert!(config(2, &[100_001, 100_000]).encode().is_ok());
        assert!(config(2, &[]).encode().is_ok());
        assert_eq!(
            message(config(0, &[])),
            "cannot compile for 0 partitions; at least 1 is needed"
        );
        assert_eq!(
            message(config(4, &[0, 1])),
            "the device assignment names 2 devices for 4 partitions"
        );
        assert_eq!(
            message(config(3, &[0, 1, 1])),
            "the device assignment names 3 devices, but only 2 different ones"
        );
    }

    #[test]
    fn a_flag_cannot_be_a_list() {
        let config = CompileConfig {
            xla_flags: [("xla_a".to_string(), Value::Ints(vec![1, 2]))].into(),
            ..CompileConfig::for_devices(1)
        };
        assert_eq!(
            config.encode().unwrap_err().to_string(),
            "the XLA flag xla_a cannot be the list [1, 2]; write it as text"
        );
    }

    #[test]
    fn libtpu_is_told_what_it_needs() {
        let options = |target: &str| {
            let target: crate::sharding::Target = target.parse().unwrap();
            topology_options(target.topology().unwrap())
        };
        assert!(options("v3-1024").is_empty());
        assert_eq!(
            options("2xv4-1024"),
            [
                ("chip_config_name", Value::from("megacore")),
                ("num_slices", Value::Int(2))
            ]
        );
        assert!(options("v4:8x8x8/cores").is_empty());
    }

    #[test]
    fn the_bytes_do_not_depend_on_the_order_of_flags() {
        let flags = |names: [&str; 2]| CompileConfig {
            xla_flags: names
                .map(|name| (name.to_string(), Value::Bool(true)))
                .into(),
            ..CompileConfig::for_devices(8)
        };
        let bytes = flags(["xla_a", "xla_b"]).encode().unwrap();
        assert_eq!(bytes, flags(["xla_b", "xla_a"]).encode().unwrap());
        let read = CompileOptions::decode(bytes.as_slice()).unwrap();
        assert_eq!(
            read.env_option_overrides["xla_a"].value,
            Some(Override::Bool(true))
        );
        let build = read.executable_build_options.unwrap();
        assert_eq!(build.num_partitions, 8);
        assert!(build.use_shardy_partitioner);
        assert_eq!(
            build.device_assignment.unwrap().computation_devices[7].replica_device_ids,
            [7]
        );
    }
}
