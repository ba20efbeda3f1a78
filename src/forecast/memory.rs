//! The memory of a device: what the step keeps there, by the signature's shardings, what the compiler adds, and whether it
//! fits.

use serde::Serialize;

use crate::graph::Role;
use crate::hlo::{Port, PortRole, Signature};
use crate::runtime::MemoryStats;

/// Bytes on one device. The compiler's figures are `None` if it refused the program because memory ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryReport {
    /// Weights, by their shardings.
    pub weights: u64,
    /// Optimizer state, by its shardings.
    pub optimizer_state: u64,
    /// The model's memory of earlier batches, by its shardings.
    pub memories: u64,
    /// Batch, seed and counter, by their shardings.
    pub batch: u64,
    /// All inputs, in the compiler's layout.
    pub arguments: Option<u64>,
    /// All outputs, in the compiler's layout.
    pub outputs: Option<u64>,
    /// The part of the inputs whose memory outputs reuse.
    pub aliased: Option<u64>,
    /// Scratch space.
    pub temporaries: Option<u64>,
    /// The program's code.
    pub code: Option<u64>,
    /// The peak: the most in use at any time.
    pub peak: Option<u64>,
    /// The memory that a program can use; `None` if unknown.
    pub capacity: Option<u64>,
    /// Whether the peak is within the capacity; true if the capacity is unknown.
    pub fits: bool,
}

impl MemoryReport {
    /// The report of the program's signature, the compiler's figures (`None` if memory ran out) and the device's memory.
    pub fn new(signature: &Signature, stats: Option<MemoryStats>, capacity: Option<u64>) -> Self {
        let of = |wanted: fn(PortRole) -> bool| -> u64 {
            let inputs = signature.inputs.iter().filter(|port| wanted(port.role));
            inputs.map(|port| port_bytes(signature, port)).sum()
        };
        let fits = match (stats, capacity) {
            (None, _) => false,
            (Some(stats), Some(capacity)) => stats.peak <= capacity,
            (Some(_), None) => true,
        };
        MemoryReport {
            weights: of(|role| role == Role::Weight),
            optimizer_state: of(|role| role == Role::State),
            memories: of(|role| role == Role::Memory),
            batch: of(|role| {
                let kept = [Role::Weight, Role::State, Role::Memory];
                !kept.iter().any(|kept| role == *kept)
            }),
            arguments: stats.map(|stats| stats.arguments),
            outputs: stats.map(|stats| stats.outputs),
            aliased: stats.map(|stats| stats.aliased),
            temporaries: stats.map(|stats| stats.temporaries),
            code: stats.map(|stats| stats.code),
            peak: stats.map(|stats| stats.peak),
            capacity,
            fits,
        }
    }

    /// The bytes that stay on the device from step to step.
    pub fn kept(&self) -> u64 {
        self.weights + self.optimizer_state + self.memories
    }
}

/// Bytes of one device's part of `port`.
pub fn port_bytes(signature: &Signature, port: &Port) -> u64 {
    port.sharding.shard_bytes(&signature.mesh, &port.shape) as u64
}
