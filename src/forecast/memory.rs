//! Where a device's memory goes: what the step keeps there by the signature's shardings, what the compiler needs beside
//! it, and whether it fits.

use serde::Serialize;

use crate::graph::Role;
use crate::hlo::{Port, PortRole, Signature};
use crate::runtime::MemoryStats;

/// Bytes on one device. What the compiler counts is `None` where it refused the program for want of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryReport {
    /// Weights, by their shardings.
    pub weights: u64,
    /// Optimizer state, by its shardings.
    pub optimizer_state: u64,
    /// What the model remembers of the batches before, by its shardings.
    pub memories: u64,
    /// Batch, seed and counter, by their shardings.
    pub batch: u64,
    /// All inputs as the compiler lays them out.
    pub arguments: Option<u64>,
    /// All outputs.
    pub outputs: Option<u64>,
    /// The part of the inputs that outputs take over.
    pub aliased: Option<u64>,
    /// Scratch space.
    pub temporaries: Option<u64>,
    /// The program itself.
    pub code: Option<u64>,
    /// The most that is in use at one time.
    pub peak: Option<u64>,
    /// What a program can use; `None` where nobody says.
    pub capacity: Option<u64>,
    /// Whether the peak is within the capacity; true where no capacity is known.
    pub fits: bool,
}

impl MemoryReport {
    /// From the program's signature, the compiler's figures (`None` if it ran out of memory), and the device's memory.
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

    /// What stays on the device from step to step.
    pub fn kept(&self) -> u64 {
        self.weights + self.optimizer_state + self.memories
    }
}

/// Bytes of one device's part of `port`.
pub fn port_bytes(signature: &Signature, port: &Port) -> u64 {
    port.sharding.shard_bytes(&signature.mesh, &port.shape) as u64
}
