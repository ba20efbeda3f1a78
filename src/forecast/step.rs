//! The expected duration of a step on a TPU, and the traffic between its devices.
//!
//! Computation is the compiler's own estimate: the cycles of the scheduled program, with loop bodies counted once per
//! iteration, at the chip's clock. Communication is the ledger's bytes at the chip's published link bandwidth. The sum
//! assumes no overlap, which is true of v2 and v3 and pessimistic for newer chips. It also assumes that all links work at
//! once and carry no other traffic, which is optimistic. The figures serve to compare meshes; they are not a promise.

use serde::Serialize;

use crate::hlo::{Analysis, Collective};
use crate::sharding::{Mesh, Topology};

/// One step on the target, as far as it is known without the machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// Cycles of computation on one device.
    pub cycles: u64,
    /// The same in seconds.
    pub compute_seconds: f64,
    /// Seconds that a device's links are busy.
    pub collective_seconds: f64,
    /// The two together.
    pub step_seconds: f64,
    /// The model's own arithmetic as a fraction of the chips' peak, if it is known.
    pub mfu: Option<f64>,
    /// Loops with an unknown number of iterations. Their bodies count once, so the figures are too low.
    pub unknown_trips: Vec<String>,
    /// Bytes that one device copies in reshapes, for which the compiler has no estimate.
    pub reshaped_bytes: u64,
    /// The least time that these reshapes take, in seconds: each byte is read and written once at the memory's full speed. It
    /// is not part of the other figures.
    pub reshaped_seconds: f64,
    /// Whether the mesh crosses slices, whose network is slower than the links that the figures assume.
    pub crosses_slices: bool,
}

impl Forecast {
    /// Whether reshapes without an estimate take more than 1 % of the step.
    pub fn misses_reshapes(&self) -> bool {
        self.reshaped_seconds > 0.01 * self.step_seconds
    }

    /// Whether the step takes longer than these figures say.
    pub fn is_too_low(&self) -> bool {
        self.misses_reshapes() || !self.unknown_trips.is_empty() || self.crosses_slices
    }
}

/// The collectives of one kind over the same mesh axes for the same part of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CollectiveReport {
    /// The opcode.
    pub kind: String,
    /// The mesh axes that its groups span.
    pub axes: Vec<String>,
    /// The scope of the model that they serve.
    pub scope: String,
    /// Bytes of their results on one device in one step.
    pub bytes: u64,
    /// How often they run in one step.
    pub count: u64,
}

impl From<&Collective> for CollectiveReport {
    fn from(row: &Collective) -> Self {
        CollectiveReport {
            kind: row.kind.clone(),
            axes: row.axes.clone(),
            scope: row.scope.clone(),
            bytes: row.bytes,
            count: row.count,
        }
    }
}

/// The forecast for `topology`, whose clock must be known, if the compiler gives the number of cycles.
pub fn forecast(
    analysis: &Analysis,
    mesh: &Mesh,
    topology: &Topology,
    model_flops: Option<u64>,
) -> Option<Forecast> {
    let hardware = topology.hardware();
    let clock = hardware.clock?;
    if analysis.cycles <= 0.0 {
        return None;
    }
    let compute_seconds = analysis.cycles / clock;
    // The published figure counts both directions; a byte sent by one device is received by another.
    let one_way = hardware.ici_bandwidth / 2.0 / hardware.devices_per_chip as f64;
    let sent: f64 = analysis.collectives.iter().map(|row| sent(row, mesh)).sum();
    let collective_seconds = sent / one_way;
    let step_seconds = compute_seconds + collective_seconds;
    let memory = hardware.hbm_bandwidth / hardware.devices_per_chip as f64;
    let peak = topology.peak_flops_per_device() * topology.devices() as f64;
    Some(Forecast {
        cycles: analysis.cycles as u64,
        compute_seconds,
        collective_seconds,
        step_seconds,
        mfu: model_flops.map(|flops| flops as f64 / (step_seconds * peak)),
        unknown_trips: analysis.unknown_trips.clone(),
        reshaped_bytes: analysis.reshaped,
        reshaped_seconds: 2.0 * analysis.reshaped as f64 / memory,
        crosses_slices: topology.slices() > 1,
    })
}

/// Bytes that one device sends for `row`, by the ring algorithm over a group of n devices.
fn sent(row: &Collective, mesh: &Mesh) -> f64 {
    let group: usize = (row.axes.iter())
        .map(|axis| mesh.size(axis).unwrap_or(1))
        .product();
    let n = match row.axes.as_slice() {
        // Groups that do not match mesh axes count as the whole mesh.
        [] => mesh.devices(),
        _ => group,
    } as f64;
    let others = (n - 1.0) / n;
    let share = match row.kind.as_str() {
        "all-reduce" => 2.0 * others,
        // The result is one device's part of what is summed.
        "reduce-scatter" => n - 1.0,
        "collective-permute" => 1.0,
        // All-gather, all-to-all, and any other kind.
        _ => others,
    };
    share * row.bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sharding::Target;

    fn row(kind: &str, axes: &[&str], bytes: u64) -> Collective {
        Collective {
            kind: kind.into(),
            axes: axes.iter().map(|axis| axis.to_string()).collect(),
            scope: "encoder".into(),
            bytes,
            count: 1,
        }
    }

    #[test]
    fn rings_send_what_their_algorithm_sends() {
        let mesh = Mesh::parse("data=8,model=4").unwrap();
        assert_eq!(sent(&row("all-reduce", &["model"], 400), &mesh), 600.0);
        assert_eq!(sent(&row("all-gather", &["data"], 800), &mesh), 700.0);
        assert_eq!(sent(&row("reduce-scatter", &["data"], 100), &mesh), 700.0);
        assert_eq!(
            sent(&row("collective-permute", &["data"], 100), &mesh),
            100.0
        );
        assert_eq!(sent(&row("all-gather", &[], 3200), &mesh), 3100.0);
    }

    #[test]
    fn seconds_follow_from_clock_and_links() {
        let Target::Tpu(topology) = "v3-8".parse().unwrap() else {
            panic!("v3-8 is a TPU");
        };
        let mesh = Mesh::parse("data=4,model=2").unwrap();
        let analysis = Analysis {
            cycles: 940e6,
            // 82e9 bytes/s one way and device.
            collectives: vec![row("all-reduce", &["model"], 82_000_000_000)],
            // 450e9 bytes/s of a device, there and back.
            reshaped: 225_000_000_000,
            ..Analysis::default()
        };
        // A quarter of what 8 cores at 61.5 TFLOP/s do in 2 seconds.
        let flops = Some(246_000_000_000_000);
        let forecast = forecast(&analysis, &mesh, &topology, flops).unwrap();
        assert!((forecast.compute_seconds - 1.0).abs() < 1e-9);
        assert!(
            (forecast.collective_seconds - 1.0).abs() < 1e-9,
            "{forecast:?}"
        );
        assert!((forecast.mfu.unwrap() - 0.25).abs() < 1e-9, "{forecast:?}");
        assert!(
            (forecast.reshaped_seconds - 1.0).abs() < 1e-9,
            "{forecast:?}"
        );
    }

    #[test]
    fn without_cycles_there_is_no_forecast() {
        let Target::Tpu(topology) = "v3-8".parse().unwrap() else {
            panic!("v3-8 is a TPU");
        };
        let mesh = Mesh::parse("data=4,model=2").unwrap();
        let none = forecast(&Analysis::default(), &mesh, &topology, Some(1));
        assert_eq!(none, None);
    }
}
