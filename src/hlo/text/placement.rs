//! Shardings and device lists: `{devices=[4,1,2]<=[8] last_tile_dim_replicate}`, `[2,4]<=[4,2]T(1,0)`.

use super::super::module::Instruction;
use super::super::proto::{
    IotaReplicaGroupListProto, MeshAxesReplicaGroupListProto, MeshProto, OpSharding,
    OpShardingType, ReplicaGroup,
};
use super::{join, numbers};

/// The text of a sharding, in braces.
pub(super) fn sharding(sharding: &OpSharding) -> String {
    let mut text = match sharding.r#type() {
        OpShardingType::Tuple => {
            return format!(
                "{{{}}}",
                join(sharding.tuple_shardings.iter().map(self::sharding))
            );
        }
        OpShardingType::Replicated => "replicated".into(),
        OpShardingType::Manual => "manual".into(),
        OpShardingType::Unknown => "unknown".into(),
        OpShardingType::Unreduced => "unreduced".into(),
        OpShardingType::Maximal => format!(
            "maximal device={}",
            numbers(&sharding.tile_assignment_devices, ",")
        ),
        OpShardingType::Other => tiling(sharding),
    };
    if sharding.is_shard_group {
        // OpSharding.ShardGroupType: 0 is AS, 1 is LIKE.
        let kind = if sharding.shard_group_type == 0 {
            "as"
        } else {
            "like"
        };
        text += &format!(" shard_{kind} {}", sharding.shard_group_id);
    }
    format!("{{{text}}}")
}

fn tiling(sharding: &OpSharding) -> String {
    let sizes = numbers(&sharding.tile_assignment_dimensions, ",");
    let devices = if sharding.iota_reshape_dims.is_empty() {
        numbers(&sharding.tile_assignment_devices, ",")
    } else {
        let order: Vec<i64> = sharding
            .iota_transpose_perm
            .iter()
            .map(|&p| p.into())
            .collect();
        iota(&sharding.iota_reshape_dims, &order)
    };
    let mut text = format!("devices=[{sizes}]{devices}");
    if sharding.replicate_on_last_tile_dim {
        text += " last_tile_dim_replicate";
    }
    if !sharding.last_tile_dims.is_empty() {
        let kinds = sharding
            .last_tile_dims()
            .map(|kind| format!("{kind:?}").to_ascii_lowercase());
        text += &format!(" last_tile_dims={{{}}}", join(kinds));
    }
    text
}

/// `<=[4,2]T(1,0)`: an iota over all devices, reshaped, then transposed.
fn iota(reshape: &[i64], transpose: &[i64]) -> String {
    let mut text = format!("<=[{}]", numbers(reshape, ","));
    if transpose.len() > 1 {
        text += &format!("T({})", numbers(transpose, ","));
    }
    text
}

/// The groups of a collective in whichever form it has them; empty if it has none.
pub(super) fn replica_groups(instruction: &Instruction) -> String {
    if let Some(mesh) = instruction.mesh_axes_replica_group_list() {
        return mesh_groups(mesh);
    }
    if let Some(groups) = instruction.iota_collective_device_list() {
        return iota_groups(groups);
    }
    match instruction.collective_device_list() {
        Some(list) => match &list.iota_replica_group_list {
            Some(groups) => iota_groups(groups),
            None => listed(&list.replica_groups),
        },
        None => listed(instruction.replica_groups()),
    }
}

fn listed(groups: &[ReplicaGroup]) -> String {
    let groups: Vec<String> = groups
        .iter()
        .map(|group| super::braces(&group.replica_ids))
        .collect();
    format!("{{{}}}", groups.join(","))
}

fn iota_groups(groups: &IotaReplicaGroupListProto) -> String {
    let order: Vec<i64> = groups
        .iota_transpose_perm
        .iter()
        .map(|&p| p.into())
        .collect();
    format!(
        "[{},{}]{}",
        groups.num_replica_groups,
        groups.num_devices_per_group,
        iota(&groups.iota_reshape_dims, &order)
    )
}

/// `mesh['data'=4,'model'=2] {'data'}`.
fn mesh_groups(list: &MeshAxesReplicaGroupListProto) -> String {
    let Some(mesh) = &list.mesh else {
        return "<groups without a mesh>".into();
    };
    let axes: Vec<String> = list
        .axes
        .iter()
        .map(|axis| {
            let name = usize::try_from(axis.mesh_axis_index)
                .ok()
                .and_then(|index| mesh.axes.get(index))
                .map_or("<missing>", |axis| axis.name.as_str());
            match &axis.sub_axis_info {
                Some(part) => format!("'{name}':({}){}", part.pre_size, part.size),
                None => format!("'{name}'"),
            }
        })
        .collect();
    format!("{} {{{}}}", self::mesh(mesh), axes.join(","))
}

fn mesh(mesh: &MeshProto) -> String {
    let axes: Vec<String> = mesh
        .axes
        .iter()
        .map(|axis| format!("'{}'={}", axis.name, axis.size))
        .collect();
    let mut text = format!("mesh[{}]", axes.join(","));
    if let Some(order) = &mesh.iota_transform {
        text += &format!(
            ", device_ids=([{}]T({}))",
            numbers(&order.reshape_dims, ","),
            numbers(&order.transpose_perm, ",")
        );
    } else if !mesh.device_ids.is_empty() {
        text += &format!(", device_ids=({})", numbers(&mesh.device_ids, ","));
    }
    text
}
