//! Finding and installing plugins with made-up wheels, on good and bad user machines.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;

use super::*;

const LIBRARY: &str = "fake/libfake.so";
const CONTENT: &[u8] = b"a library, more or less";

/// A machine with an empty cache, a folder of wheels, and no Python.
struct Machine {
    root: TempDir,
    settings: Settings,
}

impl Machine {
    /// A machine where the CPU platform's pinned wheel is `bytes`, also in the folder of wheels.
    fn with_wheel(bytes: &[u8]) -> Machine {
        let root = TempDir::new().unwrap();
        let wheels = root.path().join("wheels");
        fs::create_dir(&wheels).unwrap();
        let wheel = Wheel {
            name: "fake-pjrt".to_string(),
            version: "1.2.3".to_string(),
            file: "fake_pjrt-1.2.3-cp311-cp311-manylinux_2_31_x86_64.whl".to_string(),
            bytes: bytes.len() as u64,
            sha256: Sha256::digest(bytes)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            library: LIBRARY.to_string(),
            beside: vec!["fake/LICENSE".to_string()],
        };
        fs::write(wheels.join(&wheel.file), bytes).unwrap();
        let settings = Settings {
            paths: BTreeMap::new(),
            cache: root.path().join("cache"),
            wheels: Some(wheels),
            fetch: true,
            python: root.path().join("no-python"),
            other_wheels: BTreeMap::from([(Platform::Cpu, wheel)]),
        };
        Machine { root, settings }
    }

    fn new() -> Machine {
        Machine::with_wheel(&wheel_of(&[
            (LIBRARY, CONTENT),
            ("fake/LICENSE", b"free"),
            ("fake/huge.bin", b"unneeded"),
        ]))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn wheel(&self) -> Wheel {
        self.settings.wheel(Platform::Cpu)
    }

    fn wheel_file(&self) -> PathBuf {
        self.path("wheels").join(&self.wheel().file)
    }

    fn find(&self) -> Option<Found> {
        self.settings.find(Platform::Cpu).unwrap()
    }

    fn install(&self) -> Result<Found> {
        self.settings.install(Platform::Cpu)
    }

    fn refusal(&self) -> String {
        let message = self.install().unwrap_err().to_string();
        assert_eq!(self.find(), None, "counts as installed after: {message}");
        message
    }

    /// Replaces Python by a shell script, and removes the folder of wheels so that pip is used.
    fn with_python(mut self, script: &str) -> Machine {
        let python = self.path("python");
        // Another process writes it. If this one did, a process started by another test at that moment could hold the file
        // open for writing, and the system refuses to run such files.
        let mut shell = Command::new("sh")
            .args(["-c", "cat > \"$0\" && chmod +x \"$0\""])
            .arg(&python)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        shell
            .stdin
            .take()
            .unwrap()
            .write_all(format!("#!/bin/sh\n{script}\n").as_bytes())
            .unwrap();
        assert!(shell.wait().unwrap().success());
        self.settings.python = python;
        self.settings.wheels = None;
        self
    }
}

fn wheel_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        archive
            .start_file(*name, SimpleFileOptions::default())
            .unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_wheel_is_installed_once_and_found_from_then_on() {
    let machine = Machine::new();
    assert_eq!(machine.find(), None);
    let found = machine.settings.find_or_fetch(Platform::Cpu).unwrap();
    assert_eq!(fs::read(&found.library).unwrap(), CONTENT);
    assert_eq!(found.source, Source::Cache);
    assert_eq!(
        found.package,
        Some(("fake-pjrt".to_string(), "1.2.3".to_string()))
    );
    let plugins = machine.path("cache/plugins");
    assert_eq!(
        names_in(&plugins),
        ["fake-pjrt-1.2.3", "fake-pjrt-1.2.3.lock"]
    );
    // Only the needed files, to save space.
    assert_eq!(
        names_in(&plugins.join("fake-pjrt-1.2.3/fake")),
        ["LICENSE", "libfake.so"]
    );
    fs::remove_file(machine.wheel_file()).unwrap();
    assert_eq!(machine.find().unwrap(), found);
    assert_eq!(machine.install().unwrap(), found);
}

#[test]
fn a_cut_off_wheel_is_refused() {
    let machine = Machine::new();
    let whole = fs::read(machine.wheel_file()).unwrap();
    fs::write(machine.wheel_file(), &whole[..100]).unwrap();
    let message = machine.refusal();
    assert!(
        message.contains(&format!("is cut off: 100 of {} bytes", whole.len())),
        "{message}"
    );
    assert_eq!(
        names_in(&machine.path("cache/plugins")),
        ["fake-pjrt-1.2.3.lock"]
    );
}

#[test]
fn a_wheel_with_another_hash_is_refused() {
    let machine = Machine::new();
    let mut bytes = fs::read(machine.wheel_file()).unwrap();
    bytes[40] ^= 1;
    fs::write(machine.wheel_file(), &bytes).unwrap();
    let message = machine.refusal();
    assert!(
        message.contains("is not the pinned one: its SHA-256 is"),
        "{message}"
    );
    assert!(message.contains(&machine.wheel().sha256), "{message}");
}

#[test]
fn a_wheel_that_is_no_archive_or_lacks_the_library_is_refused() {
    let message = Machine::with_wheel(b"PK, but not really").refusal();
    assert!(
        message.contains("cannot be read as a zip archive"),
        "{message}"
    );
    let message = Machine::with_wheel(&wheel_of(&[("other.so", b"x")])).refusal();
    assert!(message.contains("has no fake/libfake.so"), "{message}");
}

#[test]
fn a_half_unpacked_cache_does_not_count_and_is_replaced() {
    let damages: [fn(&Path); 5] = [
        |folder| fs::remove_file(folder.join("installed.json")).unwrap(),
        |folder| fs::write(folder.join("installed.json"), "{\"wheel\": ").unwrap(),
        |folder| fs::write(folder.join(LIBRARY), &CONTENT[..7]).unwrap(),
        |folder| fs::remove_file(folder.join("fake/LICENSE")).unwrap(),
        |folder| {
            let manifest = fs::read_to_string(folder.join("installed.json")).unwrap();
            fs::write(
                folder.join("installed.json"),
                manifest.replace("\"sha256\": \"", "\"sha256\": \"0"),
            )
            .unwrap();
        },
    ];
    for (at, damage) in damages.iter().enumerate() {
        let machine = Machine::new();
        machine.install().unwrap();
        damage(&machine.path("cache/plugins/fake-pjrt-1.2.3"));
        assert_eq!(machine.find(), None, "damage {at}");
        let found = machine.install().unwrap();
        assert_eq!(fs::read(found.library).unwrap(), CONTENT, "damage {at}");
    }
}

#[test]
fn what_a_killed_process_left_behind_is_removed() {
    let machine = Machine::new();
    let left = machine.path("cache/plugins/.fake-pjrt-1.2.3.Abc123/unpacked");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("libfake.so"), "half").unwrap();
    assert_eq!(machine.find(), None);
    machine.install().unwrap();
    assert_eq!(
        names_in(&machine.path("cache/plugins")),
        ["fake-pjrt-1.2.3", "fake-pjrt-1.2.3.lock"]
    );
}

/// The test below runs this binary again with only that test and this variable set to a machine's folder.
const CHILD: &str = "RIBOSOME_TEST_INSTALL_IN";

/// A pip that takes a while, records each call, and provides the wheel.
const SLOW_PIP: &str = r#"
here=$(dirname "$0")
[ "$1" = -c ] && exit 0
echo called >> "$here/calls"
sleep 0.5
while [ "$1" != -d ]; do shift; done
cp "$here"/wheels/*.whl "$2"
"#;

#[test]
fn processes_at_once_install_once() {
    if let Some(folder) = std::env::var_os(CHILD) {
        let mut machine = Machine::new().with_python(SLOW_PIP);
        let wheel = machine.wheel_file();
        let folder = PathBuf::from(folder);
        machine.settings.cache = folder.join("cache");
        machine.settings.python = folder.join("python");
        assert_eq!(
            fs::read(&wheel).unwrap().len() as u64,
            machine.wheel().bytes
        );
        let found = machine.install().unwrap();
        assert_eq!(fs::read(found.library).unwrap(), CONTENT);
        return;
    }
    let machine = Machine::new().with_python(SLOW_PIP);
    let child = || {
        Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "runtime::plugin::tests::processes_at_once_install_once",
            ])
            .env(CHILD, machine.root.path())
            .stdout(File::create(machine.path("out")).unwrap())
            .spawn()
            .unwrap()
    };
    for mut child in [child(), child(), child()] {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(
        fs::read_to_string(machine.path("calls")).unwrap(),
        "called\n"
    );
    assert!(machine.find().is_some());
}

#[test]
fn pip_is_asked_for_the_very_file() {
    let script = r#"
here=$(dirname "$0")
[ "$1" = -c ] && exit 0
echo "$@" > "$here/asked"
while [ "$1" != -d ]; do shift; done
cp "$here"/wheels/*.whl "$2"
"#;
    let machine = Machine::new().with_python(script);
    machine.install().unwrap();
    let asked = fs::read_to_string(machine.path("asked")).unwrap();
    for part in [
        "-m pip download --no-deps --only-binary=:all:",
        "--implementation cp --python-version 311 --abi cp311 --platform manylinux_2_31_x86_64",
        "fake-pjrt==1.2.3",
    ] {
        assert!(asked.contains(part), "{part} is not in {asked}");
    }
}

#[test]
fn a_missing_python_pip_or_network_is_said_with_the_command_to_run() {
    let mut machine = Machine::new();
    machine.settings.wheels = None;
    let message = machine.refusal();
    assert!(
        message.contains("no-python` was not found; install Python 3 with pip"),
        "{message}"
    );
    assert!(
        message.ends_with("to install it: ribosome plugins install cpu"),
        "{message}"
    );

    let no_pip = "[ \"$1\" = -c ] && exit 0; echo \"$0: No module named pip\" >&2; exit 1";
    let message = Machine::new().with_python(no_pip).refusal();
    assert!(
        message.contains("has no pip; install it, or put"),
        "{message}"
    );

    let offline = "[ \"$1\" = -c ] && exit 0
        echo 'WARNING: Retrying after connection broken' >&2
        echo 'ERROR: No matching distribution found for fake-pjrt==1.2.3' >&2; exit 1";
    let message = Machine::new().with_python(offline).refusal();
    assert!(
        message.contains("pip could not fetch fake-pjrt==1.2.3: No matching distribution"),
        "{message}"
    );
    assert!(message.contains("is there a network?"), "{message}");
    assert!(
        message.ends_with("to install it: ribosome plugins install cpu"),
        "{message}"
    );

    let silent = "exit 0";
    let message = Machine::new().with_python(silent).refusal();
    assert!(
        message.contains("but not the file fake_pjrt-1.2.3"),
        "{message}"
    );

    let mut machine = Machine::new();
    fs::remove_file(machine.wheel_file()).unwrap();
    assert!(
        machine
            .refusal()
            .contains("(RIBOSOME_WHEELS) has no fake_pjrt-1.2.3")
    );
    machine.settings.fetch = false;
    let message = machine
        .settings
        .find_or_fetch(Platform::Cpu)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("RIBOSOME_NO_FETCH forbids fetching it"),
        "{message}"
    );
    assert!(
        message.ends_with("to install it: ribosome plugins install cpu"),
        "{message}"
    );
}

#[test]
fn a_download_that_pip_cuts_off_is_refused() {
    let script = r#"
here=$(dirname "$0")
[ "$1" = -c ] && exit 0
while [ "$1" != -d ]; do shift; done
for wheel in "$here"/wheels/*.whl; do head -c 50 "$wheel" > "$2/$(basename "$wheel")"; done
"#;
    let message = Machine::new().with_python(script).refusal();
    assert!(message.contains("is cut off: 50 of"), "{message}");
}

#[test]
fn a_given_path_goes_first_then_the_cache_then_site_packages() {
    let machine = Machine::new().with_python("[ \"$1\" = -c ] && echo \"$(dirname \"$0\")/site\"");
    let site = machine.path("site");
    fs::create_dir_all(site.join("fake")).unwrap();
    fs::create_dir_all(site.join("fake_pjrt-0.9.dist-info")).unwrap();
    fs::write(site.join(LIBRARY), "of python").unwrap();
    let found = machine.find().unwrap();
    assert_eq!(
        (&found.source, &found.library),
        (&Source::SitePackages, &site.join(LIBRARY))
    );
    assert_eq!(
        found.package,
        Some(("fake-pjrt".to_string(), "0.9".to_string()))
    );

    let mut settings = Settings {
        wheels: Some(machine.path("wheels")),
        ..machine.settings.clone()
    };
    settings.install(Platform::Cpu).unwrap();
    assert_eq!(machine.find().unwrap().source, Source::Cache);

    let mine = machine.path("mine.so");
    fs::write(&mine, "mine").unwrap();
    settings
        .paths
        .insert(Platform::Cpu, (mine.clone(), Source::Environment));
    let found = settings.find(Platform::Cpu).unwrap().unwrap();
    assert_eq!((found.source, &found.library), (Source::Environment, &mine));
    assert_eq!(
        settings
            .with_path(Platform::Cpu, &mine)
            .find(Platform::Cpu)
            .unwrap()
            .unwrap()
            .source,
        Source::Given
    );
}

#[test]
fn a_given_path_that_is_no_file_is_an_error() {
    let mut settings = Machine::new().settings;
    settings.paths.insert(
        Platform::Cpu,
        (PathBuf::from("gone.so"), Source::Environment),
    );
    let message = settings
        .find_or_fetch(Platform::Cpu)
        .unwrap_err()
        .to_string();
    assert_eq!(
        message,
        "the cpu plugin gone.so (from RIBOSOME_CPU_PLUGIN) is not a file"
    );
}

#[test]
fn a_library_that_is_no_plugin_is_refused() {
    let machine = Machine::new();
    let message = machine
        .install()
        .unwrap()
        .load(Purpose::Compile)
        .unwrap_err()
        .to_string();
    assert!(message.starts_with("cannot load the plugin"), "{message}");
    assert!(message.contains("libfake.so"), "{message}");
}

#[test]
fn the_pins_name_their_files_and_platforms_their_names() {
    for platform in Platform::ALL {
        let wheel = Wheel::pinned(platform);
        let start = format!("{}-{}-", wheel.distribution(), wheel.version);
        assert!(
            wheel.file.starts_with(&start),
            "{} does not start with {start}",
            wheel.file
        );
        assert_eq!(wheel.sha256.len(), 64);
        assert_eq!(platform.name().parse::<Platform>().unwrap(), platform);
    }
    assert_eq!(
        Wheel::pinned(Platform::Tpu).tags(),
        ["cp311", "cp311", "manylinux_2_31_x86_64"]
    );
    assert_eq!(
        Wheel::pinned(Platform::Cpu).tags(),
        ["py3", "none", "manylinux_2_27_x86_64"]
    );
    let message = "gpu".parse::<Platform>().unwrap_err().to_string();
    assert_eq!(
        message,
        "unknown platform `gpu`; the platforms are cpu, tpu and cuda"
    );
}
