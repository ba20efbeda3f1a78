//! Which mesh axes a collective spans, from the devices it groups.

use std::collections::BTreeSet;

use super::super::module::Instruction;
use super::super::proto::{IotaReplicaGroupListProto, MeshAxesReplicaGroupListProto, MeshProto};

/// The most devices; no machine has more.
const MOST_DEVICES: i64 = 1 << 24;

/// The axes of `mesh` (major first, device ids in row-major order) along which the members of a group differ.
///
/// Empty unless every group is exactly the devices that differ along those axes alone. A collective-permute spans the
/// axes along which any of its pairs differ.
pub(super) fn axes(instruction: &Instruction, mesh: &[(String, usize)]) -> Vec<String> {
    let devices = mesh.iter().map(|(_, size)| size).product();
    let pairs = instruction.source_target_pairs();
    let along = if pairs.is_empty() {
        let Some(groups) = groups(instruction, devices) else {
            return Vec::new();
        };
        let along = differing(&groups, mesh);
        let span: usize = pick(mesh, &along).map(|(_, size)| size).product();
        let whole = |group: &Vec<i64>| {
            let members: BTreeSet<i64> = group.iter().copied().collect();
            members.len() == span && group.len() == span
        };
        if !groups.iter().all(whole) {
            return Vec::new();
        }
        along
    } else {
        let pairs: Vec<Vec<i64>> = pairs.iter().map(|p| vec![p.source, p.target]).collect();
        differing(&pairs, mesh)
    };
    pick(mesh, &along).map(|(name, _)| name.clone()).collect()
}

fn pick<'a>(
    mesh: &'a [(String, usize)],
    along: &'a [bool],
) -> impl Iterator<Item = &'a (String, usize)> {
    mesh.iter()
        .zip(along)
        .filter(|(_, along)| **along)
        .map(|(axis, _)| axis)
}

/// For each axis, whether the members of any group differ along it.
fn differing(groups: &[Vec<i64>], mesh: &[(String, usize)]) -> Vec<bool> {
    let mut stride: i64 = mesh.iter().map(|(_, size)| *size as i64).product();
    mesh.iter()
        .map(|(_, size)| {
            let size = *size as i64;
            stride /= size.max(1);
            let place = |device: &i64| device / stride.max(1) % size.max(1);
            groups.iter().any(|group| {
                let mut places = group.iter().map(place);
                let first = places.next();
                places.any(|place| Some(place) != first)
            })
        })
        .collect()
}

/// The groups of a collective as lists of devices; no groups at all means one group of all devices. `None` if the
/// numbers do not add up.
fn groups(instruction: &Instruction, devices: usize) -> Option<Vec<Vec<i64>>> {
    if let Some(list) = instruction.mesh_axes_replica_group_list() {
        return from_mesh(list);
    }
    let list = instruction.collective_device_list();
    let iota = instruction
        .iota_collective_device_list()
        .or(list.and_then(|list| list.iota_replica_group_list.as_ref()));
    if let Some(iota) = iota {
        return from_iota(iota);
    }
    let listed = list.map_or(instruction.replica_groups(), |list| &list.replica_groups);
    if listed.is_empty() {
        return Some(vec![(0..devices as i64).collect()]);
    }
    Some(
        listed
            .iter()
            .map(|group| group.replica_ids.clone())
            .collect(),
    )
}

fn from_iota(list: &IotaReplicaGroupListProto) -> Option<Vec<Vec<i64>>> {
    let order: Vec<i64> = list.iota_transpose_perm.iter().map(|&p| p.into()).collect();
    let ids: Vec<i64> = (0..count(&list.iota_reshape_dims)?).collect();
    let ids = transpose(&ids, &list.iota_reshape_dims, &order)?;
    let size = usize::try_from(list.num_devices_per_group).ok()?;
    let groups = (size > 0).then(|| ids.chunks_exact(size))?;
    Some(groups.map(<[i64]>::to_vec).collect())
}

/// Groups given as axes (or parts of axes) of the compiler's own mesh.
fn from_mesh(list: &MeshAxesReplicaGroupListProto) -> Option<Vec<Vec<i64>>> {
    let mesh = list.mesh.as_ref()?;
    let ids = device_order(mesh)?;
    // Each axis in three pieces: before the part, the part, after it.
    let mut sizes = Vec::new();
    let mut grouped = Vec::new();
    for (i, axis) in mesh.axes.iter().enumerate() {
        let parts: Vec<_> = list
            .axes
            .iter()
            .filter(|part| usize::try_from(part.mesh_axis_index) == Ok(i))
            .collect();
        let (before, part) = match parts.as_slice() {
            [] => (axis.size, 1),
            [whole] => match &whole.sub_axis_info {
                Some(part) => (part.pre_size, part.size),
                None => (1, axis.size),
            },
            _ => return None,
        };
        let taken = count(&[before, part])?;
        if axis.size % taken != 0 {
            return None;
        }
        sizes.extend([before, part, axis.size / taken]);
        grouped.extend([false, true, false]);
    }
    // The grouped parts become the most minor ones, so each group is a run of neighbours.
    let places = 0..sizes.len() as i64;
    let is_grouped = |place: &i64| grouped[*place as usize];
    let mut order: Vec<i64> = places.clone().filter(|place| !is_grouped(place)).collect();
    order.extend(places.filter(is_grouped));
    let ids = transpose(&ids, &sizes, &order)?;
    let grouped = sizes.iter().zip(&grouped).filter(|(_, grouped)| **grouped);
    let size = usize::try_from(grouped.map(|(size, _)| size).product::<i64>()).ok()?;
    Some(ids.chunks_exact(size).map(<[i64]>::to_vec).collect())
}

fn device_order(mesh: &MeshProto) -> Option<Vec<i64>> {
    let sizes: Vec<i64> = mesh.axes.iter().map(|axis| axis.size).collect();
    let count = count(&sizes)?;
    let iota: Vec<i64> = (0..count).collect();
    let ids = match &mesh.iota_transform {
        Some(order) => transpose(&iota, &order.reshape_dims, &order.transpose_perm)?,
        None if mesh.device_ids.is_empty() => iota,
        None => mesh.device_ids.clone(),
    };
    (ids.len() as i64 == count).then_some(ids)
}

/// The number of devices in an array of `sizes`; `None` for sizes that no machine has.
fn count(sizes: &[i64]) -> Option<i64> {
    sizes.iter().try_fold(1i64, |count, &size| {
        let count = count.checked_mul(size)?;
        (1..=MOST_DEVICES).contains(&count).then_some(count)
    })
}

/// A row-major array of `sizes` with its dimensions in `order`. An empty order leaves it as it is.
fn transpose(values: &[i64], sizes: &[i64], order: &[i64]) -> Option<Vec<i64>> {
    if order.is_empty() {
        return Some(values.to_vec());
    }
    // A broken module may hold anything: negative sizes, or a dimension twice.
    if count(sizes)? != values.len() as i64 || order.len() != sizes.len() {
        return None;
    }
    let sizes: Vec<usize> = sizes.iter().map(|&s| s as usize).collect();
    let order: Vec<usize> = (order.iter())
        .map(|&d| usize::try_from(d).ok().filter(|&d| d < sizes.len()))
        .collect::<Option<_>>()?;
    if (0..sizes.len()).any(|d| !order.contains(&d)) {
        return None;
    }
    let mut strides = vec![1; sizes.len()];
    for d in (1..sizes.len()).rev() {
        strides[d - 1] = strides[d] * sizes[d];
    }
    let mut places = vec![0];
    for &d in &order {
        let along = |place: &usize| {
            let (place, stride) = (*place, strides[d]);
            (0..sizes[d]).map(move |i| place + i * stride)
        };
        places = places.iter().flat_map(along).collect();
    }
    Some(places.into_iter().map(|place| values[place]).collect())
}
