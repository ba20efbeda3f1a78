//! Chooses a mesh when none is given: of all `data` x `model` meshes that divide the model and the batch, the one that moves
//! the fewest bytes a step and device.
//!
//! Two things move. Weights are spread over `data` and gathered when a layer needs them (in the forward pass, when it is
//! computed again, and in the backward pass), and their gradients are reduced back. Activations are reduced over `model` at
//! the end of each residual block. More `model` moves fewer weights and more activations. This is a model of the traffic to rank
//! meshes by, not a forecast: it knows neither links nor overlap.

use super::error::ShardingError;
use super::mesh::Mesh;

/// What the choice depends on. Sizes in elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Weights of the model.
    pub parameters: u64,
    /// Examples of one step, over all devices.
    pub global_batch: usize,
    /// Parts the batch is cut into, each with its own forward and backward pass; 1 for none.
    pub microbatches: usize,
    /// Tokens of an example as one residual block sees them.
    pub length: usize,
    /// Width of the residual stream.
    pub embed: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the feed-forward layer.
    pub mlp: usize,
    /// Blocks whose result is added to the residual stream, each reduced over `model`: two a layer of an encoder (attention,
    /// feed-forward), three a layer of a decoder with cross-attention.
    pub residual_blocks: usize,
}

/// Passes over the layers: forward, forward again (rematerialisation), backward.
const PASSES: f64 = 3.0;
/// Bytes of a gathered weight or an activation (bf16).
const BF16: f64 = 2.0;
/// Bytes of a gradient (f32).
const F32: f64 = 4.0;

/// Bytes one device receives in a step.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Traffic {
    weights: f64,
    activations: f64,
}

impl Traffic {
    fn of(workload: &Workload, data: usize, model: usize) -> Self {
        let (data, model) = (data as f64, model as f64);
        let gathers = PASSES * BF16 * workload.microbatches as f64;
        let weights = workload.parameters as f64 / model * (1.0 - 1.0 / data) * (gathers + F32);
        let tokens = (workload.global_batch * workload.length) as f64 / data;
        let reduced = tokens * workload.embed as f64 * BF16 * workload.residual_blocks as f64;
        // A ring all-reduce sends every byte twice, but for a device's own share.
        let activations = 2.0 * (model - 1.0) / model * reduced * PASSES;
        Traffic {
            weights,
            activations,
        }
    }

    fn total(self) -> f64 {
        self.weights + self.activations
    }
}

/// The unit that shows `bytes`, and its size: small models move so little that it would be 0.00 GiB.
fn unit(bytes: f64) -> (&'static str, f64) {
    let gib = (1u64 << 30) as f64;
    match bytes < gib / 10.0 {
        true => ("MiB", gib / 1024.0),
        false => ("GiB", gib),
    }
}

/// The mesh `data=D,model=M` of `devices` devices in `slices` slices (1 where there are none) that moves the fewest bytes, and the
/// reason in a line.
///
/// `data` must divide the batch of a microbatch and `embed` (weights are split over it), and hold whole slices; `model` must divide
/// `heads`, `mlp` and `length`. Fails when no mesh does.
pub fn choose_mesh(
    devices: usize,
    slices: usize,
    workload: &Workload,
) -> Result<(Mesh, String), ShardingError> {
    let candidates = (1..=devices)
        .filter(|&model| devices.is_multiple_of(model))
        .map(|model| (devices / model, model));
    let mut fits: Vec<(usize, usize, Traffic)> = Vec::new();
    let mut obstacles = Vec::new();
    for (data, model) in candidates {
        match obstacle(data, model, slices, workload) {
            None => fits.push((data, model, Traffic::of(workload, data, model))),
            Some(obstacle) => obstacles.push(format!("data={data},model={model}: {obstacle}")),
        }
    }
    // Stable, and candidates come with the largest `data` first, so that ties go to it.
    fits.sort_by(|a, b| a.2.total().total_cmp(&b.2.total()));
    let Some(&(data, model, traffic)) = fits.first() else {
        return Err(no_mesh(devices, obstacles, workload));
    };
    let mesh = Mesh::new([("data", data), ("model", model)])?;
    let reason = match fits.get(1) {
        _ if devices == 1 => format!("mesh {mesh}: there is one device"),
        None => format!("mesh {mesh}: the only one that divides the model and the batch"),
        Some(&(data, model, next)) => {
            let (unit, size) = unit(traffic.total());
            format!(
                "mesh {mesh} moves the fewest bytes a step and device: \
                 {:.2} {unit} ({:.2} of weights, {:.2} of activations); \
                 next is data={data},model={model} with {:.2} {unit}",
                traffic.total() / size,
                traffic.weights / size,
                traffic.activations / size,
                next.total() / size,
            )
        }
    };
    Ok((mesh, reason))
}

/// The first thing that `data` x `model` does not divide.
fn obstacle(data: usize, model: usize, slices: usize, workload: &Workload) -> Option<String> {
    if data > 1 || model > 1 {
        let whole_slices = if data > 1 { data } else { model };
        if !whole_slices.is_multiple_of(slices) {
            return Some(format!("{slices} slices do not divide its first axis"));
        }
    }
    let microbatches = workload.microbatches.max(1);
    if !workload.global_batch.is_multiple_of(microbatches) {
        return Some(format!(
            "batch={} over microbatches={microbatches} leaves {}",
            workload.global_batch,
            workload.global_batch % microbatches
        ));
    }
    let batch = workload.global_batch / microbatches;
    [
        ("batch", batch, "data", data),
        ("embed", workload.embed, "data", data),
        ("heads", workload.heads, "model", model),
        ("mlp", workload.mlp, "model", model),
        // Between blocks the residual stream is split by positions.
        ("length", workload.length, "model", model),
    ]
    .into_iter()
    .find(|(_, size, _, parts)| !size.is_multiple_of(*parts))
    .map(|(name, size, axis, parts)| {
        format!("{name}={size} over {axis}={parts} leaves {}", size % parts)
    })
}

/// The error when nothing fits: what stands in the way of each mesh, and a batch that would do if it is only that.
fn no_mesh(devices: usize, mut obstacles: Vec<String>, workload: &Workload) -> ShardingError {
    const SHOWN: usize = 4;
    let more = obstacles.len().saturating_sub(SHOWN);
    obstacles.truncate(SHOWN);
    let mut reason = obstacles.join("; ");
    if more > 0 {
        reason += &format!("; and {more} more");
    }
    // The smallest `data` left once `model` is as large as it can be: the batch must be a multiple of it.
    let model = (1..=devices).rev().find(|&model| {
        devices.is_multiple_of(model)
            && workload.heads.is_multiple_of(model)
            && workload.mlp.is_multiple_of(model)
            && workload.length.is_multiple_of(model)
            && workload.embed.is_multiple_of(devices / model)
    });
    reason += &match model {
        Some(model) => {
            let microbatches = workload.microbatches.max(1);
            let step = devices / model * microbatches;
            format!(
                "; a global batch that is a multiple of {step} would do (data={},model={model})",
                devices / model
            )
        }
        None => "; choose a target whose number of devices divides by these sizes, or give --mesh"
            .to_string(),
    };
    ShardingError::NoMesh { devices, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prot_t5_xl() -> Workload {
        Workload {
            parameters: 2_818_830_336,
            global_batch: 2048,
            microbatches: 1,
            length: 512,
            embed: 1024,
            heads: 32,
            mlp: 16384,
            residual_blocks: 24 * 2 + 24 * 3,
        }
    }

    #[test]
    fn prot_t5_xl_on_v3_1024_gets_the_mesh_that_compiles_fastest() {
        let (mesh, reason) = choose_mesh(1024, 1, &prot_t5_xl()).unwrap();
        assert_eq!(mesh.to_string(), "data=256,model=4");
        assert_eq!(
            reason,
            "mesh data=256,model=4 moves the fewest bytes a step and device: \
             10.76 GiB (6.54 of weights, 4.22 of activations); next is data=128,model=8 with 13.10 GiB"
        );
        let (mesh, _) = choose_mesh(1024, 4, &prot_t5_xl()).unwrap();
        assert_eq!(mesh.to_string(), "data=256,model=4");
    }

    #[test]
    fn one_device_needs_no_choice() {
        let (mesh, reason) = choose_mesh(1, 1, &prot_t5_xl()).unwrap();
        assert_eq!(mesh.to_string(), "data=1,model=1");
        assert!(reason.ends_with("there is one device"));
    }

    #[test]
    fn the_choice_divides() {
        let small = Workload {
            global_batch: 4,
            heads: 6,
            mlp: 96,
            ..prot_t5_xl()
        };
        let (mesh, reason) = choose_mesh(8, 1, &small).unwrap();
        assert_eq!(mesh.to_string(), "data=4,model=2");
        assert!(reason.contains("the only one that divides"), "{reason}");
        let halves = Workload {
            microbatches: 2,
            heads: 4,
            mlp: 64,
            ..small
        };
        let (mesh, _) = choose_mesh(8, 1, &halves).unwrap();
        assert_eq!(mesh.to_string(), "data=2,model=4");
    }

    #[test]
    fn the_residual_stream_is_split_by_positions() {
        let odd = Workload {
            length: 510,
            ..prot_t5_xl()
        };
        let (mesh, _) = choose_mesh(1024, 1, &odd).unwrap();
        assert_eq!(mesh.to_string(), "data=512,model=2");
    }

    #[test]
    fn little_traffic_has_a_smaller_unit() {
        let tiny = Workload {
            parameters: 337_152,
            global_batch: 32,
            embed: 64,
            heads: 8,
            mlp: 256,
            residual_blocks: 10,
            ..prot_t5_xl()
        };
        let (_, reason) = choose_mesh(8, 1, &tiny).unwrap();
        assert!(
            reason.contains(" MiB (") && !reason.contains("GiB"),
            "{reason}"
        );
    }

    #[test]
    fn slices_are_crossed_by_whole_ones() {
        let tiny = Workload {
            global_batch: 2,
            ..prot_t5_xl()
        };
        let message = choose_mesh(16, 8, &tiny).map(|chosen| chosen.0.to_string());
        // data=2 would leave `model` across slices; data=1,model=16 has whole slices of 2.
        assert_eq!(message, Ok("data=1,model=16".to_string()));
    }

    #[test]
    fn nothing_that_divides_is_an_error_with_the_arithmetic() {
        let odd = Workload {
            global_batch: 9,
            heads: 6,
            mlp: 96,
            ..prot_t5_xl()
        };
        assert_eq!(
            choose_mesh(8, 1, &odd).unwrap_err().to_string(),
            "no data x model mesh of 8 devices divides this model and batch: \
             data=8,model=1: batch=9 over data=8 leaves 1; data=4,model=2: batch=9 over data=4 leaves 1; \
             data=2,model=4: batch=9 over data=2 leaves 1; data=1,model=8: heads=6 over model=8 leaves 6; \
             a global batch that is a multiple of 4 would do (data=4,model=2)"
        );
        let cut = Workload {
            microbatches: 2,
            ..odd.clone()
        };
        let message = choose_mesh(8, 1, &cut).unwrap_err().to_string();
        assert!(
            message.contains("batch=9 over microbatches=2 leaves 1"),
            "{message}"
        );
        assert!(message.contains("multiple of 8 would do"), "{message}");
        let message = choose_mesh(7, 1, &odd).unwrap_err().to_string();
        assert!(
            message.contains("choose a target whose number of devices"),
            "{message}"
        );
    }
}
