//! The command as users run it: what it prints, what it writes, and its exit status. Snapshots in `tests/snapshots` hold
//! the printed text (`INSTA_UPDATE=always cargo test --test cli` updates them).

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use assert_cmd::cargo::cargo_bin_cmd;
use insta::assert_snapshot;
use serde_json::Value;

fn ribosome(args: &str) -> Command {
    let mut command = cargo_bin_cmd!("ribosome");
    command.args(args.split_whitespace());
    command
}

/// The stdout of a command that succeeds.
fn stdout(args: &str) -> String {
    let output = ribosome(args).output().expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ribosome {args}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// The stderr of a command that fails with `status` and prints nothing on stdout.
fn refused(mut command: Command, status: i32) -> String {
    let output = command.output().expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{errors}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    errors
}

fn usage(args: &str) -> String {
    refused(ribosome(args), 2)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

/// The number at `path` of a report.
fn number(report: &Value, path: &str) -> f64 {
    let value = report.pointer(path);
    let number = value.and_then(Value::as_f64);
    number.unwrap_or_else(|| panic!("no number at {path}: {value:?}"))
}

#[test]
fn models_are_listed() {
    assert_snapshot!(stdout("models"));
}

#[test]
fn a_model_prints_its_weights() {
    assert_snapshot!(stdout("models prot-t5-tiny"));
    let model = json(&stdout("models prot-t5-tiny --json"));
    let weights = model["weights"].as_array().expect("weights");
    let sum: f64 = weights.iter().map(|one| number(one, "/elements")).sum();
    assert_eq!(sum, number(&model, "/parameters"));
    assert_eq!(model["config"]["d_model"], 64);
}

#[test]
fn targets_are_listed() {
    assert_snapshot!(stdout("targets"));
    let targets = json(&stdout("targets v4-1024 4xv6e-256 --json"));
    let of = |at: usize, key: &str| number(&targets["targets"][at], key);
    let counts = ["/chips", "/cores", "/devices"];
    assert_eq!(counts.map(|key| of(0, key)), [512.0, 1024.0, 512.0]);
    assert_eq!(counts.map(|key| of(1, key)), [1024.0, 1024.0, 1024.0]);
}

#[test]
fn a_lowered_step_says_where_everything_lies() {
    assert_snapshot!(stdout("lower prot-t5-tiny --on cpu:8 --emit sharding"));
    assert_snapshot!(stdout(
        "lower prot-t5-tiny --on cpu:8 --mesh data=2,model=4 --set optimizer.name=momentum --emit sharding"
    ));
}

#[test]
fn lowering_twice_gives_the_same_bytes() {
    let dir = tempfile::tempdir().expect("a folder");
    let text = || stdout("lower prot-t5-tiny --on cpu:8 --emit hlo");
    let first = text();
    assert!(first.starts_with("HloModule prot_t5_tiny"));
    assert_eq!(first, text());
    let graph = || stdout("lower prot-t5-tiny --on cpu:8 --emit graph");
    assert_eq!(graph(), graph());
    let files = |name: &str| {
        let module = dir.path().join(format!("{name}.hlo.pb"));
        let command = "lower prot-t5-tiny --on cpu:8 --emit proto -o";
        let output = stdout(&format!("{command} {}", module.display()));
        assert_eq!(output, "");
        let signature = dir.path().join(format!("{name}.json"));
        [module, signature].map(|file| fs::read(file).expect("a file"))
    };
    assert_eq!(files("first"), files("second"));
    // The JSON report's fingerprint is of these very bytes, wherever they are written.
    let report = |args: &str| json(&stdout(&format!("lower prot-t5-tiny --on {args} --json")));
    let plain = report("cpu:8");
    assert_eq!(plain["fingerprint"], report("cpu:8")["fingerprint"]);
    let other = report("cpu:8 --mesh data=4,model=2");
    assert_ne!(plain["fingerprint"], other["fingerprint"]);
}

#[test]
fn compile_for_the_cpu_reports_memory() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("new").join("run");
    let command =
        "compile prot-t5-tiny --on cpu:8 --mesh data=4,model=2 --set model.layers=1 --json --out";
    let report = json(&stdout(&format!("{command} {}", out.display())));
    assert_eq!(report["target"]["name"], "cpu:8");
    assert_eq!(report["target"]["chips"], Value::Null);
    assert_eq!(report["target"]["devices"], 8);
    assert_eq!(
        serde_json::to_string(&report["mesh"]).unwrap(),
        r#"{"data":4,"model":2}"#
    );
    assert_eq!(report["mesh_reason"], Value::Null);
    assert_eq!(report["memory"]["fits"], true);
    assert_eq!(report["forecast"], Value::Null);
    // What the shardings say is what the compiler takes in.
    let kept = [
        "/memory/weights",
        "/memory/optimizer_state",
        "/memory/batch",
    ];
    let kept: f64 = kept.iter().map(|key| number(&report, key)).sum();
    assert_eq!(kept, number(&report, "/memory/arguments"));
    assert!(number(&report, "/memory/temporaries") > 0.0);
    for stage in ["build", "place", "lower", "load", "compile", "analyse"] {
        assert!(number(&report, &format!("/seconds/{stage}")) >= 0.0);
    }
    let read = |name: &str| fs::read(out.join(name)).unwrap_or_else(|_| panic!("no {name}"));
    assert_eq!(
        json(&String::from_utf8(read("report.json")).unwrap()),
        report
    );
    assert_eq!(
        read("prot-t5-tiny.hlo.pb").len() as f64,
        number(&report, "/hlo/bytes")
    );
    assert_eq!(
        json(&String::from_utf8(read("prot-t5-tiny.json")).unwrap())["mesh"],
        "data=4,model=2"
    );
}

#[test]
fn compile_for_a_tpu_forecasts_a_step() {
    let report = json(&stdout("compile prot-t5-tiny --on v3-8 --json"));
    assert_eq!(report["model"], "prot-t5-tiny");
    assert!(
        report["fingerprint"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
    assert_eq!(report["target"]["topology"], "v3:2x2");
    let counts =
        ["chips", "cores", "devices"].map(|key| number(&report["target"], &format!("/{key}")));
    assert_eq!(counts, [4.0, 8.0, 8.0]);
    assert!(
        report["mesh_reason"]
            .as_str()
            .unwrap()
            .contains("fewest bytes")
    );
    assert_eq!(number(&report, "/parameters"), 337_152.0);
    assert_eq!(number(&report, "/global_batch"), 32.0);
    assert_eq!(number(&report, "/tokens_per_step"), 4096.0);
    // The capacity is the plugin's own figure for a v3 core.
    assert_eq!(
        number(&report, "/memory/capacity"),
        16_624_123_904.0 - 16.0 * 1024.0
    );
    assert_eq!(report["memory"]["fits"], true);
    assert!(number(&report, "/memory/peak") > number(&report, "/memory/weights"));
    assert!(number(&report, "/memory/code") > 0.0);
    // The step's donated weights and state come out in place.
    assert!(number(&report, "/memory/aliased") > number(&report, "/memory/weights"));
    let (model, hardware) = (
        number(&report, "/flops/model_per_step"),
        number(&report, "/flops/hardware_per_device"),
    );
    // With full rematerialisation the hardware does all of the model's products and more, but not twice as many.
    assert!(
        8.0 * hardware > model && 8.0 * hardware < 2.0 * model,
        "{model} {hardware}"
    );
    let seconds = ["compute_seconds", "collective_seconds", "step_seconds"]
        .map(|key| number(&report, &format!("/forecast/{key}")));
    assert!((number(&report, "/forecast/cycles") / 940e6 / seconds[0] - 1.0).abs() < 1e-6);
    assert!((seconds[0] + seconds[1] - seconds[2]).abs() < 1e-12);
    let mfu = number(&report, "/forecast/mfu");
    assert!(mfu > 0.0 && mfu < 1.0, "{mfu}");
    let rows = report["collectives"].as_array().expect("collectives");
    assert!(
        rows.iter()
            .any(|row| row["kind"] == "all-reduce" && row["axes"][0] == "data")
    );
    assert!(
        rows.iter()
            .any(|row| row["scope"].as_str().unwrap().contains("encoder/layer/mlp"))
    );
    let version = report["plugin"]["version"].as_str();
    assert!(
        version.is_none_or(|version| version.starts_with("0.0.")),
        "{version:?}"
    );
    assert!(report["plugin"]["pjrt"].as_str().unwrap().starts_with("0."));
}

#[test]
fn a_program_that_does_not_fit_ends_with_3_and_advice() {
    // 8192 rows of 512 a core of 8 GB, with nothing computed again.
    let args = "compile prot-t5-tiny --on v2-8 --batch 65536 --length 512 --remat none --set optimizer.name=momentum";
    let output = ribosome(&format!("{args} --json"))
        .output()
        .expect("it starts");
    assert_eq!(
        output.status.code(),
        Some(3),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report = json(&String::from_utf8(output.stdout).expect("text"));
    assert_eq!(report["memory"]["fits"], false);
    assert_eq!(report["memory"]["peak"], Value::Null);
    assert_eq!(report["forecast"], Value::Null);
    assert!(report["refused"].as_str().unwrap().contains("E1000"));
    let advice: Vec<_> = report["advice"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line.as_str().unwrap())
        .collect();
    assert!(advice[0].starts_with("--remat full"), "{advice:?}");
    assert!(
        advice[1].starts_with("--microbatches 2: a device processes 4096 of its 8192 rows"),
        "{advice:?}"
    );
}

/// A product and an update, as `lower --emit graph` prints them.
const GRAPH: &str = "graph {
  %0 = parameter name=w role=weight : f32[embed=8, mlp=4]
  %1 = parameter name=x role=batch : f32[batch=4, embed=8]
  %2 = dot over=[embed] %1, %0 : f32[batch=4, mlp=4]
  %3 = reduce kind=sum over=[batch, mlp] %2 : f32[]
  %4 = add %0, %0 : f32[embed=8, mlp=4]
  output w = %4 replaces w
  output y = %3
}
";

#[test]
fn a_program_is_compiled_without_a_recipe() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let graph = path("product.txt");
    fs::write(&graph, GRAPH).expect("a file");
    let saved = path("saved.hlo.pb");
    let mesh = "--mesh data=2,model=2";
    assert_eq!(stdout(&format!("lower {graph} {mesh} --emit graph")), GRAPH);
    stdout(&format!(
        "lower {graph} --on cpu:4 {mesh} --emit proto -o {saved}"
    ));
    let of_graph = json(&stdout(&format!(
        "compile {graph} --on v3-8 --mesh data=4,model=2 --json"
    )));
    assert_eq!(of_graph["model"], "product");
    assert_eq!(number(&of_graph, "/parameters"), 32.0);
    assert_eq!(number(&of_graph, "/flops/model_per_step"), 256.0);
    assert!(number(&of_graph, "/forecast/mfu") > 0.0);
    let out = path("out");
    let of_saved = json(&stdout(&format!(
        "compile {saved} --on cpu:4 --json --out {out}"
    )));
    assert_eq!(of_saved["model"], "product");
    assert_eq!(of_saved["mesh"]["model"], 2);
    for report in [&of_graph, &of_saved] {
        for key in ["global_batch", "length", "tokens_per_step"] {
            assert_eq!(report.get(key), Some(&Value::Null), "{key}");
        }
        assert_eq!(report["advice"], serde_json::json!([]));
    }
    assert_eq!(of_saved["flops"]["model_per_step"], Value::Null);
    // Written out again it is the same program.
    let read = |name: &str| fs::read(name).expect("a file");
    assert!(read(&format!("{out}/product.hlo.pb")) == read(&saved));
    assert!(read(&format!("{out}/product.json")) == read(&path("saved.json")));
    // The module's text and shardings need no graph.
    let hlo = stdout(&format!("lower {saved} --emit hlo"));
    assert_eq!(hlo, stdout(&format!("lower {graph} {mesh} --emit hlo")));
    let text = stdout(&format!("compile {saved} --on cpu:4"));
    assert!(text.contains("product with 32 parameters"), "{text}");
    assert!(!text.contains("tokens a step"), "{text}");

    for (args, message) in [
        (
            format!("compile {saved}"),
            "product has no target; choose one with --on",
        ),
        (
            format!("compile {saved} --on cpu:8"),
            "2 x 2 = 4 devices, but the target has 8",
        ),
        (
            format!("compile {graph} --on cpu:4"),
            "product is a graph, which needs a mesh",
        ),
        (
            format!("compile {saved} --on cpu:4 --batch 3"),
            "--batch changes a recipe, but ",
        ),
        (
            format!("lower {saved} --set steps=3"),
            "--set changes a recipe, but ",
        ),
        (
            format!("lower {saved} --phase 2"),
            "--phase changes a recipe, but ",
        ),
        (
            format!("lower {saved} --emit graph"),
            "product is a lowered program, which has no graph",
        ),
        (
            format!("compile {} --on cpu", dir.path().display()),
            " is a folder; a program is either ",
        ),
        (
            format!("train {saved} --data x --on cpu:4"),
            " is a program, but this command takes a recipe",
        ),
    ] {
        let found = usage(&args);
        assert!(found.contains(message), "{args}: {found}");
    }
    let gone = refused(
        ribosome(&format!("compile {} --on cpu", path("gone.hlo.pb"))),
        1,
    );
    assert!(gone.contains("gone.hlo.pb: No such file"), "{gone}");
}

#[test]
fn an_unknown_model_gives_the_nearest_names() {
    assert_snapshot!(usage("compile prot-t5-xll --on v3-8"));
}

#[test]
fn a_mesh_must_multiply_to_the_devices() {
    assert_snapshot!(usage(
        "compile prot-t5-tiny --on v3-8 --mesh data=8,model=2"
    ));
    assert_snapshot!(usage(
        "lower prot-t5-tiny --on cpu:8 --mesh data=eight,model=1"
    ));
}

#[test]
fn a_mesh_has_the_axes_that_rules_name() {
    // An axis that the mesh lacks counts as 1.
    let report = json(&stdout(
        "lower prot-t5-tiny --on cpu:8 --mesh data=8 --json",
    ));
    assert_eq!(report["mesh"], "data=8");
    assert_snapshot!(usage("lower prot-t5-tiny --on cpu:8 --mesh data=4,modle=2"));
    assert_snapshot!(usage(
        "lower prot-t5-tiny --on cpu:8 --mesh data=4,model=2 --rules zero1"
    ));
}

#[test]
fn rules_are_sets_by_name_with_differences() {
    assert_snapshot!(stdout("rules"));
    assert_snapshot!(stdout("rules zero1"));
    let momentum = "--set optimizer.name=momentum --set model.layers=1 --emit sharding";
    assert_snapshot!(stdout(&format!(
        "lower prot-bert-tiny --on cpu:8 --rules zero1 {momentum}"
    )));
    let other = "--set rules.weights=[\"embed->whole\"]";
    let table = stdout(&format!(
        "lower prot-bert-tiny --on cpu:8 --mesh data=8 {other} {momentum}"
    ));
    assert!(!table.contains("embed:data"), "{table}");
    assert_snapshot!(usage("lower prot-t5-tiny --on cpu:8 --rules zero"));
    assert_snapshot!(usage(
        "lower prot-t5-tiny --on cpu:8 --set rules.weights=[\"embed=data\"]"
    ));
    assert_snapshot!(usage(
        "lower prot-t5-tiny --on cpu:8 --set rules.weigths=[]"
    ));
    assert_eq!(
        usage("lower prot-t5-tiny --on cpu:8 --set rules.weights=[\"embd->data\"]").trim_end(),
        "error: rules.weights: no tensor of this program has the axis of `embd->data`; did you mean `embed`?"
    );
}

#[test]
fn an_axis_must_divide() {
    assert_snapshot!(usage(
        "lower prot-t5-tiny --on cpu:8 --mesh data=2,model=4 --set model.num_heads=6"
    ));
}

#[test]
fn a_batch_must_divide() {
    assert_snapshot!(usage("lower prot-t5-tiny --on cpu:8 --microbatches 3"));
    assert_snapshot!(usage(
        "lower prot-t5-tiny --on cpu:8 --mesh data=8,model=1 --batch 12"
    ));
    assert_snapshot!(usage(
        "lower prot-t5-tiny --on cpu:8 --batch 9 --set model.num_heads=6"
    ));
    assert_snapshot!(usage("lower prot-t5-tiny --on cpu:8 --batch 0"));
}

#[test]
fn an_unknown_target_gives_the_nearest_names() {
    assert_snapshot!(usage("compile prot-t5-tiny --on v9-8"));
    assert_snapshot!(usage("compile prot-t5-tiny --on v3-1000"));
}

#[test]
fn a_change_must_be_one_of_the_recipe_s_keys() {
    assert_snapshot!(usage("lower prot-t5-tiny --set stesp=3"));
    assert_snapshot!(usage("lower prot-t5-tiny --set steps=many"));
    assert_snapshot!(usage("lower prot-t5-tiny --set steps"));
}

#[test]
fn a_recipe_file_that_is_not_there_has_failed() {
    assert_snapshot!(refused(ribosome("lower nowhere.toml"), 1));
}

#[test]
fn without_a_plugin_there_is_one_command_to_run() {
    let cache = tempfile::tempdir().expect("a folder");
    let mut command = ribosome("compile prot-t5-tiny --on v3-8");
    command
        .env("RIBOSOME_CACHE", cache.path())
        .env("RIBOSOME_NO_FETCH", "1")
        .env("RIBOSOME_PYTHON", cache.path().join("no-python"))
        .env_remove("RIBOSOME_TPU_PLUGIN");
    assert_snapshot!(refused(command, 1));
}

#[test]
fn a_folder_that_cannot_be_written_is_found_before_compiling() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let folder = file.path().join("run");
    for command in [
        "compile prot-t5-tiny --on v3-8",
        "lower prot-t5-tiny --on cpu:8",
    ] {
        let mut command = ribosome(command);
        command.arg("--out").arg(&folder);
        let message = refused(command, 1);
        let expected = format!("error: cannot write into the folder {}: ", folder.display());
        assert!(message.starts_with(&expected), "{message}");
    }
}

#[test]
fn a_full_stdout_is_an_error_and_a_closed_one_is_not() {
    let full = Path::new("/dev/full");
    if full.exists() {
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("ribosome"));
        command.arg("models");
        command.stdout(
            fs::File::options()
                .write(true)
                .open(full)
                .expect("/dev/full"),
        );
        let output = command.output().expect("it starts");
        assert_eq!(output.status.code(), Some(1));
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(
            message.starts_with("error: cannot write to stdout: "),
            "{message}"
        );
    }
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("ribosome"));
    let output = command
        .arg("targets")
        .stdout(writer)
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn every_subcommand_has_help_with_an_example() {
    let help = stdout("--help");
    let commands = help.split("Commands:").nth(1).expect("commands");
    let names: Vec<_> = (commands.lines())
        .skip(1)
        .take_while(|line| !line.is_empty())
        // Descriptions go on in lines that stand further in.
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help")
        .collect();
    assert!(
        names.contains(&"compile") && names.contains(&"doctor"),
        "{names:?}"
    );
    for name in names {
        let help = stdout(&format!("{name} --help"));
        let example = format!("Example: ribosome {name}");
        assert!(help.contains(&example), "no `{example}` in {help}");
    }
}

/// A folder with two cases, one of which has a changed weight.
fn references() -> tempfile::TempDir {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/numeric");
    let folder = tempfile::tempdir().expect("a folder");
    let good = fs::read(golden.join("conv_head_small.safetensors")).expect("a case");
    let mut moved = good.clone();
    let header = u64::from_le_bytes(good[..8].try_into().expect("8 bytes")) as usize;
    let tensors = json(std::str::from_utf8(&good[8..8 + header]).expect("text"));
    let offset = number(&tensors, "/weight.diso_classifier.0.bias/data_offsets/0") as usize;
    moved[8 + header + offset..][..4].copy_from_slice(&9f32.to_le_bytes());
    fs::write(folder.path().join("good.safetensors"), good).expect("it is written");
    fs::write(folder.path().join("moved.safetensors"), moved).expect("it is written");
    folder
}

#[test]
fn recipes_are_one_table_and_one_that_fails_takes_nothing_from_the_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let recipe = |name: &str, batch: usize| {
        let path = folder.path().join(format!("{name}.toml"));
        let text = format!(
            "base = \"prot-bert-tiny\"\nname = \"{name}\"\ntarget = \"cpu:2\"\nmesh = \"data=2,model=1\"\n\
             batch = {batch}\nlength = 16\n"
        );
        fs::write(&path, text).expect("it is written");
        path.to_string_lossy().into_owned()
    };
    let (good, bad) = (recipe("good", 4), recipe("bad", 3));
    let report = json(&stdout(&format!("recipes {good} --json")));
    assert_eq!(report["recipes"][0]["model"], "good");
    let output = ribosome(&format!("recipes {bad} {good}")).output();
    let output = output.expect("it starts");
    let (table, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(
        table.contains("  good ") && table.contains("1 of 2 fit"),
        "{table}"
    );
    assert!(
        errors.contains("bad") && errors.contains("batch=3"),
        "{errors}"
    );
}

#[test]
fn several_references_are_one_table() {
    let folder = references();
    let all = format!("verify --all {} --quiet", folder.path().display());
    let output = ribosome(&all).output().expect("it starts");
    assert_eq!(output.status.code(), Some(4));
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[0].contains("of tolerance"), "{text}");
    assert!(
        lines[1].contains("good   ConvHead") && lines[1].ends_with(" ok"),
        "{text}"
    );
    assert!(
        lines[2].contains("moved") && lines[2].ends_with("DIFFERS"),
        "{text}"
    );
    assert_eq!(
        lines[3],
        "1 of 2 cases within the tolerance, 1 differ, 0 failed"
    );
    let output = ribosome(&format!("{all} --json"))
        .output()
        .expect("it starts");
    let report = json(std::str::from_utf8(&output.stdout).expect("text"));
    assert_eq!(report["ok"], false);
    assert_eq!(report["cases"][0]["ok"], true);
    assert_eq!(report["cases"][1]["case"], "moved");
    assert_eq!(report["cases"][1]["ok"], false);
}

#[test]
fn a_reference_that_cannot_be_run_leaves_the_others() {
    let folder = references();
    let path = |name: &str| folder.path().join(name);
    fs::remove_file(path("moved.safetensors")).expect("it is removed");
    fs::write(path("cut.safetensors"), [9, 0, 0, 0, 0, 0, 0, 0, b'{']).expect("it is written");
    let both = format!(
        "verify {} {} --json",
        path("cut.safetensors").display(),
        path("good.safetensors").display()
    );
    let output = ribosome(&both).output().expect("it starts");
    assert_eq!(output.status.code(), Some(1));
    let report = json(std::str::from_utf8(&output.stdout).expect("text"));
    assert_eq!(
        (&report["ok"], &report["cases"][1]["ok"]),
        (&false.into(), &true.into())
    );
    let error = report["cases"][0]["error"].as_str().expect("an error");
    assert!(
        error.contains("cut.safetensors is not a numeric reference"),
        "{error}"
    );
    let one = format!("verify {}", path("cut.safetensors").display());
    assert!(refused(ribosome(&one), 1).contains("is not a numeric reference"));
    let empty = tempfile::tempdir().expect("a folder");
    let message = usage(&format!("verify --all {}", empty.path().display()));
    assert!(
        message.contains("there is no .safetensors file in"),
        "{message}"
    );
}

#[test]
fn weights_come_from_a_folder_and_go_to_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let weights = ribosome::train::recipe::Recipe::preset("prot-bert-tiny").expect("a recipe");
    let part = weights.model.folders().expect("parts").remove(0);
    let export = ribosome::models::weights::Export {
        table: &part.files.table,
        weights: &part.weights,
        zeros: &part.zeros,
        config: &part.files.config,
        shard_size: 1 << 40,
    };
    let zeros = |weight: &ribosome::graph::Weight, _| {
        let shape = ribosome::models::weights::layer_shape(weight);
        let bytes = vec![0; shape.bytes()];
        ribosome::runtime::HostArray::from_bytes(shape, bytes)
            .map_err(ribosome::models::weights::FolderError::from)
    };
    export
        .write(&folder.path().join("model"), zeros)
        .expect("it is written");
    let import = format!("import {} --out {}", path("model"), path("run"));
    let report = json(&stdout(&format!("{import} --json")));
    assert_eq!(
        (&report["family"], number(&report, "/parameters")),
        (&"bert".into(), 368_416.0)
    );
    assert!(usage(&import).contains("checkpoint.safetensors exists already; choose another --out"));
    let export = format!("export {} --out {}", path("run"), path("again"));
    let text = stdout(&format!("{export} --shard-size 200kB"));
    assert!(
        text.contains("bert: exported 368,416 parameters to"),
        "{text}"
    );
    assert!(
        text.contains("again/model.safetensors.index.json"),
        "{text}"
    );
    assert!(usage(&export).contains("exists already; choose another folder"));
    assert!(usage(&format!("{export} --shard-size 5XB")).contains("write it like 5GB"));
    let missing = refused(
        ribosome(&format!("import {} --out {}", path("none"), path("other"))),
        1,
    );
    assert!(missing.contains("config.json"), "{missing}");
}
