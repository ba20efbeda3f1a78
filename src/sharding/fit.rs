//! How a program fits a mesh: whether every tensor can be placed, every mesh axis splits something, and what is lost.

use super::error::ShardingError;
use super::mesh::Mesh;
use super::rules::{Kind, REPLICA, Rules, UNUSED};
use super::sharding::resolve;
use super::tensors::{Tensors, loop_axes, rows};
use crate::graph::{Graph, Role};

/// Checks `graph` under `rules` against `mesh`. Returns what is lost, one line each: devices that repeat work, and weights
/// that each group of devices holds in full.
///
/// # Errors
/// A mesh axis over which nothing is split, or a tensor that the rules cannot place.
pub fn check_mesh(graph: &Graph, rules: &Rules, mesh: &Mesh) -> Result<Vec<String>, ShardingError> {
    rules.check(mesh)?;
    let rules = rules.with_whole(loop_axes(graph));
    let tensors = Tensors::of(graph);
    let found = tensors.place(&rules, mesh)?;
    let mut lost = Vec::new();
    for (axis, (&work, &kept)) in mesh.axes().iter().zip(found.work.iter().zip(&found.kept)) {
        let (name, size) = (&axis.name, axis.size);
        if size == 1 {
            continue;
        }
        if name == UNUSED {
            let batches = near_batches(graph, &tensors, &rules, mesh, size);
            let way = batches.map_or(String::new(), |batches| {
                format!("; {batches} would divide over all of them")
            });
            lost.push(format!(
                "{UNUSED}={size}: {size} groups of {} devices do the same work{way}",
                mesh.devices() / size
            ));
        } else if kept && !work {
            lost.push(format!(
                "devices along {name}={size} do the same work: the rules split weights or state over it, but no activation"
            ));
        } else if !work {
            let split = rules.axes_over(name).into_iter();
            let split = split.map(|axis| format!("`{axis}`"));
            return Err(ShardingError::UnusedMeshAxis {
                mesh: mesh.to_string(),
                mesh_axis: name.to_string(),
                size,
                reason: format!(
                    "the rules split {} over it, but no tensor of this program has that axis",
                    split.collect::<Vec<_>>().join(", ")
                ),
            });
        }
    }
    if let Some(groups) = mesh.size(REPLICA).filter(|size| *size > 1) {
        lost.push(held_by_groups(graph, &rules, mesh, groups)?);
    }
    Ok(lost)
}

/// Positions of the mesh axes that split the rows of the batch of `graph`.
pub fn over_rows(graph: &Graph, rules: &Rules, mesh: &Mesh) -> Vec<usize> {
    let rows = rows(graph);
    let mut split = rules.of(Kind::Activation);
    let rule = split.find(|rule| rows == Some(&rule.axis));
    rule.map_or(Vec::new(), |rule| rule.positions(mesh))
}

/// The mesh with more of the last axis that splits the work of a row and less of the first axis that splits rows: the next
/// one on which every tensor can be placed.
pub fn wider(graph: &Graph, rules: &Rules, mesh: &Mesh) -> Option<Mesh> {
    let rules = rules.with_whole(loop_axes(graph));
    let rows = over_rows(graph, &rules, mesh);
    let from = *rows.iter().find(|&&at| mesh.axes()[at].size > 1)?;
    let within = |at: &usize| {
        let axes = rules.axes_over(&mesh.axes()[*at].name);
        !rows.contains(at) && !axes.is_empty()
    };
    let to = (0..mesh.axes().len()).rev().find(within)?;
    let (now, both) = (
        mesh.axes()[to].size,
        mesh.axes()[to].size * mesh.axes()[from].size,
    );
    let tensors = Tensors::of(graph);
    (now + 1..=both)
        .filter(|size| both.is_multiple_of(*size))
        .filter_map(|size| mesh.with_sizes([(to, size), (from, both / size)]))
        .find(|mesh| {
            tensors
                .place(&rules, mesh)
                .is_ok_and(|found| found.work[to])
        })
}

/// The cost of `groups` groups of devices each holding all weights.
fn held_by_groups(
    graph: &Graph,
    rules: &Rules,
    mesh: &Mesh,
    groups: usize,
) -> Result<String, ShardingError> {
    let mut bytes = 0.0;
    for (node, name, role) in graph.parameters() {
        if matches!(role, Role::Weight | Role::State) {
            let shape = graph.root().shape(node);
            let sharding = resolve(rules, mesh, role.into(), shape, name)?;
            bytes += sharding.shard_bytes(mesh, shape) as f64;
        }
    }
    let more = bytes * (1.0 - 1.0 / groups as f64);
    let (unit, size) = unit(more);
    Ok(format!(
        "{REPLICA}={groups}: weights and optimizer state are held on {groups} groups of devices, {:.2} {unit} more per device \
         than if they were split over all",
        more / size
    ))
}

/// The batch sizes nearest to that of `graph` whose rows divide over `more` times the devices of their mesh axes.
pub(super) fn near_batches(
    graph: &Graph,
    tensors: &Tensors,
    rules: &Rules,
    mesh: &Mesh,
    more: usize,
) -> Option<String> {
    let rows = rows(graph)?;
    let split = over_rows(graph, rules, mesh);
    let parts: usize = split.iter().map(|&at| mesh.axes()[at].size).product();
    // With microbatches, each microbatch must divide.
    let sizes = || tensors.iter().filter_map(|placed| placed.shape.size(rows));
    let (batch, smallest) = (sizes().max()?, sizes().min()?);
    let step = parts * more * (batch / smallest.max(1)).max(1);
    let below = batch / step * step;
    let nearest = match below {
        0 => format!("{step}"),
        _ => format!("{below} or {}", below + step),
    };
    Some(format!(
        "a global batch of {nearest} (a multiple of {step})"
    ))
}

/// The unit to print `bytes` in, and its size. Small models move so little that GiB would print as 0.00.
pub(super) fn unit(bytes: f64) -> (&'static str, f64) {
    let gib = (1u64 << 30) as f64;
    match bytes < gib / 10.0 {
        true => ("MiB", gib / 1024.0),
        false => ("GiB", gib),
    }
}
