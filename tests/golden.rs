//! Lowerings against golden outputs. To write them again: `INSTA_UPDATE=always cargo test --test golden`.

use assert_cmd::Command;
use serde_json::Value;

/// Compares what `ribosome lower` prints for a preset on one target and mesh, or for a recipe file on its target, where the
/// mesh has to be the one that the recipe gets by itself.
fn holds(what: &str, target: &str, mesh: &str) {
    let lower = |emit: &str| -> Value {
        let mut command = Command::cargo_bin("ribosome").unwrap();
        command.args(["lower", what, "--on", target, "--json", "--emit", emit]);
        if !what.ends_with(".toml") {
            command.args(["--mesh", mesh]);
        }
        let output = command.output().unwrap();
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{problem}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    for (emit, name) in [("sharding", "sharding"), ("hlo", "step.hlo")] {
        let report = lower(emit);
        assert_eq!(report["mesh"], mesh, "{what} on {target}");
        let place = format!(
            "../golden/{}/{}/{}",
            report["model"].as_str().unwrap(),
            target.replace(':', "-"),
            mesh.replace([',', '='], "-")
        );
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(place);
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        let text = report["text"].as_str().unwrap();
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

#[test]
fn prot_bert_tiny_on_eight_devices() {
    holds("prot-bert-tiny", "cpu:8", "data=4,model=2");
}

#[test]
fn prot_albert_tiny_on_eight_devices() {
    holds("prot-albert-tiny", "cpu:8", "data=4,model=2");
}

#[test]
fn prot_electra_tiny_on_eight_devices() {
    holds("prot-electra-tiny", "cpu:8", "data=4,model=2");
}

#[test]
fn prot_xlnet_tiny_on_eight_devices() {
    holds("prot-xlnet-tiny", "cpu:8", "data=4,model=2");
}

#[test]
fn prot_txl_tiny_on_eight_devices() {
    holds("prot-txl-tiny", "cpu:8", "data=4,model=2");
}

#[test]
fn protein_lm_tiny_on_eight_devices() {
    holds("protein-lm-tiny", "cpu:8", "data=4,model=2");
}

#[test]
fn prot_bert_on_its_pod() {
    holds("recipes/prot_bert.toml", "v3-512", "data=512,model=1");
}

#[test]
fn prot_albert_on_its_pod() {
    holds("recipes/prot_albert.toml", "v3-512", "data=512,model=1");
}

#[test]
fn prot_electra_on_its_pod() {
    holds("recipes/prot_electra.toml", "v3-512", "data=256,model=2");
}

#[test]
fn prot_xlnet_on_its_pod() {
    holds("recipes/prot_xlnet.toml", "v3-512", "data=256,model=2");
}

#[test]
fn prot_txl_on_its_pod() {
    holds("recipes/prot_txl.toml", "v3-1024", "data=1024,model=1");
}

#[test]
fn protein_lm_3b_on_its_pod() {
    holds("recipes/protein_lm_3b.toml", "v3-512", "data=256,model=2");
}
