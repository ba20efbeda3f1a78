//! A described GPU in the form that XLA's GPU compiler reads, to compile without having one.

use crate::sharding::Gpu;

/// `gpu` as the text form of XLA's `GpuTargetConfigProto`. Figures missing from the table of GPUs are the same for every
/// generation since compute capability 8.0 (CUDA's table of compute capabilities).
pub fn target_config(gpu: &Gpu) -> String {
    let (major, minor) = gpu.compute_capability;
    let Gpu {
        description,
        core_count,
        memory,
        l2_cache,
        shared_memory_per_core,
        shared_memory_per_block,
        ..
    } = gpu;
    let fpus_per_core = if major >= 9 { 128 } else { 64 };
    let clock = gpu.clock / 1e9;
    let bandwidth = gpu.memory_bandwidth as u64;
    format!(
        "gpu_device_info {{\n  \
           threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048\n  \
           shared_memory_per_block: 49152 shared_memory_per_core: {shared_memory_per_core} \
           shared_memory_per_block_optin: {shared_memory_per_block}\n  \
           core_count: {core_count} fpus_per_core: {fpus_per_core} clock_rate_ghz: {clock}\n  \
           block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535\n  \
           memory_bandwidth: {bandwidth} l2_cache_size: {l2_cache} device_memory_size: {memory}\n  \
           registers_per_core_limit: 65536 registers_per_block_limit: 65536\n  \
           cuda_compute_capability {{ major: {major} minor: {minor} }}\n}}\n\
         platform_name: \"CUDA\" dnn_version_info {{ major: 9 minor: 8 }} device_description_str: \"{description}\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sharding::hardware::GPUS;

    #[test]
    fn a_config_carries_the_table_s_figures() {
        let h100 = GPUS.iter().find(|gpu| gpu.name == "h100").unwrap();
        let text = target_config(h100);
        for part in [
            "core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98",
            "memory_bandwidth: 3352000000000 l2_cache_size: 52428800",
            "cuda_compute_capability { major: 9 minor: 0 }",
        ] {
            assert!(text.contains(part), "no `{part}` in {text}");
        }
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }
}
