//! Our table of machines against the TPU compiler's own descriptions: every device's id, slice, place on the torus, core
//! and memory.

use ribosome::runtime::{Platform, Purpose, Settings, TopologyDescription, topology_options};
use ribosome::sharding::{Target, known_targets};

#[test]
fn every_known_target_is_as_the_compiler_describes_it() {
    let settings = Settings::from_environment().expect("plugin settings");
    let found = settings
        .find_or_fetch(Platform::Tpu)
        .expect("the TPU plugin");
    let plugin = found.load(Purpose::Compile).expect("the TPU plugin loads");
    let more = [
        "v4:4x4x4/cores",
        "4xv6e-256",
        "2xv5p-128",
        "v3:4x8",
        "tpu7x:2x2x1",
    ];
    let more = more.iter().map(|name| name.parse::<Target>().unwrap());
    let mut checked = 0;
    for target in known_targets().into_iter().chain(more) {
        let Some(ours) = target.topology() else {
            continue;
        };
        let theirs =
            TopologyDescription::create(plugin, &ours.plugin_name(), &topology_options(ours))
                .unwrap_or_else(|error| panic!("{target}: {error}"));
        let mut devices: Vec<_> = theirs.devices().iter().collect();
        devices.sort_by_key(|device| device.id);
        let expected = ours.expected_devices();
        assert_eq!(devices.len(), expected.len(), "{target}");
        for (device, expected) in devices.iter().zip(&expected) {
            assert_eq!(device.id, expected.id as i64, "{target}");
            let coords: Vec<_> = expected.coords.iter().map(|at| *at as i64).collect();
            assert_eq!(device.coords(), coords, "{target}");
            assert_eq!(
                device.core_on_chip(),
                Some(expected.core as i64),
                "{target}"
            );
            assert_eq!(
                device.memory_bytes(),
                Some(ours.memory_bytes_per_device()),
                "{target}"
            );
        }
        checked += 1;
    }
    assert!(checked > 50, "only {checked} topologies");
}
