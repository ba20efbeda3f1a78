//! Lowerings against golden outputs. To write them again: `INSTA_UPDATE=always cargo test --test golden`.

use assert_cmd::Command;

/// Compares what `ribosome lower` prints for one preset, target and mesh.
fn holds(preset: &str, target: &str, mesh: &str) {
    let place = format!(
        "../golden/{preset}/{}/{}",
        target.replace(':', "-"),
        mesh.replace([',', '='], "-")
    );
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(place);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (emit, name) in [("sharding", "sharding"), ("hlo", "step.hlo")] {
        let output = Command::cargo_bin("ribosome")
            .unwrap()
            .args([
                "lower", preset, "--on", target, "--mesh", mesh, "--quiet", "--emit", emit,
            ])
            .output()
            .unwrap();
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{problem}");
        let text = String::from_utf8(output.stdout).unwrap();
        settings.bind(|| insta::assert_snapshot!(name, text));
    }
}

#[test]
fn prot_t5_tiny_on_eight_devices() {
    holds("prot-t5-tiny", "cpu:8", "data=4,model=2");
}

#[test]
fn prot_t5_xl_on_a_pod() {
    holds("prot-t5-xl", "v3-1024", "data=256,model=4");
}

#[test]
fn prot_t5_xl_on_a_pod_with_more_tensor_parallelism() {
    holds("prot-t5-xl", "v3-1024", "data=64,model=16");
}
