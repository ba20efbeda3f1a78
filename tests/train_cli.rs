//! `ribosome train` as users run it: one line of JSON per step, a folder to resume from, and errors.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use ribosome::train::checkpoint::Checkpoint;

fn proteins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/proteins.fasta")
}

/// Runs `ribosome train` with the example proteins and `arguments`.
fn train(what: &str, arguments: &[&str]) -> Assert {
    let mut command = Command::cargo_bin("ribosome").unwrap();
    command.args(["train", what, "--data"]).arg(proteins());
    command.args(arguments).assert()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The steps in lines of JSON.
fn steps(text: &str) -> Vec<u64> {
    let step = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        for key in [
            "loss",
            "grad_norm",
            "learning_rate",
            "tokens_per_second",
            "seconds",
        ] {
            assert!(
                value[key].as_f64().is_some_and(|number| number > 0.0),
                "{line}"
            );
        }
        assert_eq!(value.as_object().unwrap().len(), 6, "{line}");
        value["step"].as_u64().unwrap()
    };
    text.lines().map(step).collect()
}

#[test]
fn a_run_is_saved_and_goes_on() {
    // Fetched here once, so that no two processes have to.
    common::cpu_plugin();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let small = ["--batch", "8", "--length", "16", "--on", "cpu:2", "--out"];
    let with = |more: &[&str]| {
        let arguments = [&small[..], &[out.to_str().unwrap()], more].concat();
        train("prot-t5-tiny", &arguments)
    };
    let first = with(&["--steps", "3", "--save-every", "2", "--json"]).success();
    assert_eq!(steps(&text(&first.get_output().stdout)), [1, 2, 3]);
    assert!(out.join("checkpoint.safetensors").is_file());

    let again = with(&["--steps", "3"]).code(2);
    let message = text(&again.get_output().stderr);
    assert!(
        message.contains("exists already; continue from it with --resume"),
        "{message}"
    );
    let ended = with(&["--steps", "3", "--resume"]).code(2);
    let message = text(&ended.get_output().stderr);
    assert!(
        message.contains("has done 3 of the run's 3 steps; continue with --steps 4"),
        "{message}"
    );

    let more = with(&["--steps", "5", "--resume", "--partitioner", "gspmd"]).success();
    let stdout = text(&more.get_output().stdout);
    assert!(
        stdout.contains("77 proteins with 15,208 residues"),
        "{stdout}"
    );
    assert!(stdout.contains("after 5 steps the loss is "), "{stdout}");
    let log = fs::read_to_string(out.join("log.jsonl")).unwrap();
    assert_eq!(steps(&log), [1, 2, 3, 4, 5]);

    // A damaged checkpoint is refused by name, and stays as it is for whoever wants to look.
    let path = out.join("checkpoint.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let cut = with(&["--steps", "7", "--resume"]).code(1);
    let message = text(&cut.get_output().stderr);
    assert!(message.contains("checkpoint.safetensors has "), "{message}");
    assert!(message.contains("it was cut off or changed"), "{message}");
    assert_eq!(fs::metadata(&path).unwrap().len(), bytes.len() as u64 / 2);
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_stops() {
    use std::io::{BufRead, BufReader, Read};
    use std::process::Stdio;

    common::cpu_plugin();
    let folder = tempfile::tempdir().unwrap();
    let mut run = std::process::Command::new(env!("CARGO_BIN_EXE_ribosome"))
        .args(["train", "prot-t5-tiny", "--on", "cpu:1", "--json", "--data"])
        .arg(proteins())
        .args([
            "--batch", "4", "--length", "16", "--steps", "1000000", "--out",
        ])
        .arg(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(run.stdout.take().unwrap()).lines();
    assert_eq!(steps(&lines.next().unwrap().unwrap()), [1]);
    let id = run.id().to_string();
    let kill = std::process::Command::new("kill")
        .args(["-INT", &id])
        .status();
    assert!(kill.unwrap().success());
    let printed: Vec<_> = lines.map(Result::unwrap).collect();
    let last = steps(&printed.join("\n")).last().copied().unwrap_or(1);
    assert_eq!(run.wait().unwrap().code(), Some(1));
    let mut errors = String::new();
    run.stderr.unwrap().read_to_string(&mut errors).unwrap();
    let expected = format!("stopped after {last} of 1000000 steps; continue with --resume");
    assert!(errors.contains(&expected), "{errors}");
    let checkpoint = folder.path().join("checkpoint.safetensors");
    assert_eq!(
        Checkpoint::open(&checkpoint).unwrap().about().steps_done,
        last
    );
}

#[test]
fn wrong_usage_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let out = out.to_str().unwrap();
    let refused = |what: &str, arguments: &[&str], status: i32, expected: &str| {
        let message = text(&train(what, arguments).code(status).get_output().stderr);
        assert!(message.contains(expected), "{message}");
    };
    refused(
        "prot-t5-tiny",
        &["--on", "v3-1024"],
        2,
        "is only described, so nothing can run on it",
    );
    refused("prot-t5-tin", &[], 2, "the nearest are prot-t5-tiny");
    refused("prot-t5-tiny", &["--resume"], 2, "--out <DIR>");
    refused(
        "prot-t5-tiny",
        &["--out", out, "--resume"],
        1,
        "leave out --resume",
    );
    refused("prot-t5-tiny", &["--mesh", "data=3,model=1"], 2, "8");
    refused("prot-t5-tiny", &["--steps", "0"], 2, "steps is 0; ");
    refused(
        "prot-t5-tiny",
        &["--microbatches", "5"],
        2,
        "batch is 32 and microbatches is 5; ",
    );
    let empty = folder.path().join("empty.fasta");
    fs::write(&empty, "").unwrap();
    refused(
        "prot-t5-tiny",
        &["--data", empty.to_str().unwrap()],
        1,
        "empty.fasta",
    );
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    refused(
        "prot-t5-tiny",
        &["--out", file.to_str().unwrap()],
        1,
        "cannot write into the folder",
    );
}
