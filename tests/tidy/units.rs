//! What systemd itself says of our units, in a root where the binary is installed.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use crate::tree::{self, Problems};

const UNITS: [&str; 2] = ["tidegate.service", "tidegate-proxy.service"];

/// The most a unit may be exposed, on systemd's scale from 0 (sealed) to 10.
const EXPOSURE_MAX: &str = "2.0";

/// A root folder as a package would leave it: the units, and a program where they look for one.
fn installed_root() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a temporary folder");
    for folder in ["usr/bin", "bin", "etc/systemd/system"] {
        fs::create_dir_all(root.path().join(folder)).expect("a new folder");
    }
    // Only that it is there and can be executed is looked at.
    for program in ["usr/bin/tidegate", "bin/kill"] {
        let program = root.path().join(program);
        fs::write(&program, "#!/bin/sh\n").expect("a new file");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("our own file");
    }
    for unit in UNITS {
        fs::copy(tree::root().join("systemd").join(unit), root.path().join("etc/systemd/system").join(unit))
            .unwrap_or_else(|why| panic!("systemd/{unit}: {why}"));
    }
    // What every unit hangs on by default; without them `verify` reports them, not us.
    let host = ["/lib/systemd/system", "/usr/lib/systemd/system"].into_iter().map(Path::new).find(|path| path.is_dir());
    let host = host.expect("systemd's own units are installed: run tests/run once");
    let theirs = root.path().join("usr/lib/systemd/system");
    fs::create_dir_all(&theirs).expect("a new folder");
    for entry in fs::read_dir(host).expect("a folder that can be read").flatten() {
        let name = entry.file_name();
        if entry.path().extension().is_some_and(|kind| kind == "target" || kind == "slice") {
            fs::copy(entry.path(), theirs.join(name)).expect("a small file");
        }
    }
    root
}

fn systemd_analyze(arguments: &[&str]) -> (bool, String) {
    let out = Command::new("systemd-analyze")
        .args(arguments)
        .output()
        .expect("systemd-analyze is installed: run tests/run once");
    let text = [out.stdout, out.stderr].concat();
    (out.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Proves that systemd takes each unit as it is, without a warning.
#[test]
fn systemd_accepts_the_units() {
    let root = installed_root();
    let root_flag = format!("--root={}", root.path().display());
    for unit in UNITS {
        let (good, text) = systemd_analyze(&["verify", "--man=no", &root_flag, unit]);
        let ours: Vec<&str> = text.lines().filter(|line| line.contains("tidegate")).collect();
        assert!(good && ours.is_empty(), "systemd-analyze verify {unit}:\n{text}");
    }
}

/// Proves that the sandbox around each unit is tight by systemd's own measure.
#[test]
fn the_units_are_sealed() {
    let root = installed_root();
    let root_flag = format!("--root={}", root.path().display());
    let threshold = format!("--threshold={}", EXPOSURE_MAX.replace('.', ""));
    for unit in UNITS {
        let (good, text) = systemd_analyze(&["security", "--offline=true", "--no-pager", &root_flag, &threshold, unit]);
        let verdict = text.lines().find(|line| line.contains("Overall exposure level")).unwrap_or(&text);
        println!("{verdict}");
        assert!(good && verdict.contains("Overall"), "{unit} is more exposed than {EXPOSURE_MAX}:\n{text}");
    }
}

/// Proves that no setting of a unit stands there without the reason for it.
#[test]
fn each_line_of_a_unit_is_explained() {
    let mut problems = Problems::default();
    for unit in UNITS {
        let path = format!("systemd/{unit}");
        let mut explained = false;
        for (number, line) in tree::read(&path).lines().enumerate() {
            match line {
                line if line.starts_with('#') => explained = true,
                "" => explained = false,
                line if line.starts_with('[') || explained => {}
                _ => problems.add(&path, number + 1, "a setting has a comment over it or over its group"),
            }
        }
    }
    problems.assert_none();
}
