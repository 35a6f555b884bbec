//! Who may know whom: the picture in ARCHITECTURE.md as tables.
//!
//! The manifests keep most of it, since what a package does not list it cannot use; this keeps the manifests. Inside the
//! daemon there is no manifest between modules, so their `use crate::` lines are read.

use std::collections::BTreeSet;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::tree::{self, File, Problems};

/// A package, which of ours it may use, and which of ours its tests may use besides.
const PACKAGES: [(&str, &[&str], &[&str]); 6] = [
    ("daemon/judge", &[], &[]),
    ("daemon/cutover", &["judge"], &[]),
    ("daemon/proxy", &["judge"], &[]),
    // The lab for `demo --aws` alone, behind a feature that is off.
    ("daemon/tidegate", &["cutover", "judge", "lab", "proxy"], &[]),
    ("tests", &["cutover", "judge"], &["lab", "proxy", "tidegate"]),
    ("tests/lab", &[], &[]),
];

/// What the pure packages may use of others: values and text, nothing that opens, waits or rolls dice.
const PURE: [(&str, &[&str]); 2] = [
    ("daemon/judge", &["serde", "statrs"]),
    ("daemon/cutover", &["jiff", "schemars", "serde", "serde_json", "sha2", "strsim", "thiserror", "toml"]),
];

/// What a pure package may not name even out of the standard library. A constant worked out once, behind a `OnceLock`, is
/// as pure as one that the compiler works out.
const WET: [&str; 14] = [
    "std::net",
    "std::fs",
    "std::io",
    "std::env",
    "std::process",
    "std::thread",
    "Mutex",
    "RwLock",
    "mpsc",
    "atomic",
    "std::time::Instant",
    "SystemTime",
    "tokio",
    "async fn",
];

/// The names in one table of a manifest.
fn names(manifest: &DeTable<'_>, table: &str) -> Vec<String> {
    match manifest.get(table).map(Spanned::get_ref) {
        Some(DeValue::Table(table)) => table.keys().map(|name| name.get_ref().to_string()).collect(),
        _ => Vec::new(),
    }
}

/// Reads a manifest and hands it to `look`.
fn manifest<T>(path: &str, look: impl FnOnce(&DeTable<'_>) -> T) -> T {
    let text = tree::read(path);
    let parsed = DeTable::parse(&text).unwrap_or_else(|why| panic!("{path}: {why}"));
    look(parsed.get_ref())
}

/// Proves that the packages know of each other only what the picture shows.
#[test]
fn packages_know_of_each_other_what_the_picture_shows() {
    let ours = BTreeSet::from(["judge", "cutover", "proxy", "tidegate", "lab"]);
    let mut problems = Problems::default();
    let members: Vec<String> = manifest("Cargo.toml", |root| {
        let Some(DeValue::Array(members)) = root["workspace"].get_ref().get("members").map(Spanned::get_ref) else {
            panic!("workspace.members is a list");
        };
        members.iter().filter_map(|member| member.get_ref().as_str().map(str::to_owned)).collect()
    });
    for member in &members {
        if !PACKAGES.iter().any(|(package, ..)| package == member) {
            problems.add("Cargo.toml", 0, &format!("member {member} is not in the picture: draw it first"));
        }
    }
    for (package, may, tests_may) in PACKAGES {
        let path = format!("{package}/Cargo.toml");
        for (table, allowed) in [("dependencies", may.to_vec()), ("dev-dependencies", [may, tests_may].concat())] {
            for name in manifest(&path, |manifest| names(manifest, table)) {
                if ours.contains(name.as_str()) && !allowed.contains(&name.as_str()) {
                    problems.add(&path, 0, &format!("[{table}] may not name {name}"));
                }
            }
        }
    }
    problems.assert_none();
}

/// Proves invariant 1 as far as a manifest and names can: the pure packages have nothing to do I/O, read a clock, draw
/// chance or wait with.
#[test]
fn the_pure_packages_have_nothing_wet() {
    let mut problems = Problems::default();
    for (package, allowed) in PURE {
        let path = format!("{package}/Cargo.toml");
        for name in manifest(&path, |manifest| names(manifest, "dependencies")) {
            if name != "judge" && !allowed.contains(&name.as_str()) {
                problems.add(&path, 0, &format!("a pure package may not use {name}"));
            }
        }
        for file in tree::rust(&format!("{package}/src/")).iter().filter(|file| !is_test(file)) {
            for (number, line) in file.product_lines() {
                let code = line.split("//").next().unwrap_or_default();
                for wet in WET.iter().filter(|wet| code.contains(**wet)) {
                    problems.add(&file.path, number, &format!("`{wet}` in a pure package"));
                }
            }
        }
    }
    problems.assert_none();
}

const DAEMON: &str = "daemon/tidegate/src/";

/// The folders of adapters inside the daemon: each holds the implementations of one port.
const ADAPTERS: [&str; 5] = ["balancer", "metrics", "fleet", "store", "alert"];

/// What no adapter may know: whoever drives it, and whoever shows what it does.
const ABOVE: [&str; 6] = ["run", "controller", "cli", "demo", "http", "report"];

/// The `crate::…` paths that a line names, without `crate::`.
fn paths(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
        &rest[..end]
    })
}

/// The adapters as `folder::name`: a file or folder in a port's folder, `mod.rs` apart, which is the port.
fn adapters(files: &[File]) -> BTreeSet<String> {
    let found: BTreeSet<String> = files
        .iter()
        .filter_map(|file| {
            let (folder, rest) = file.path.strip_prefix(DAEMON)?.split_once('/')?;
            let name = rest.split('/').next()?.trim_end_matches(".rs");
            (ADAPTERS.contains(&folder) && name != "mod").then(|| format!("{folder}::{name}"))
        })
        .collect();
    assert!(!found.is_empty(), "found no adapter: the search is broken");
    found
}

/// Whether a file is a test's as a whole.
fn is_test(file: &File) -> bool {
    file.path.ends_with("tests.rs") || file.path.ends_with("testing.rs") || file.path.contains("/tests/")
}

/// The code lines of a file that name something of `crate`, with the paths they name; tests and comments apart.
fn uses(file: &File) -> impl Iterator<Item = (usize, &str)> {
    let is_test = is_test(file);
    file.product_lines()
        .filter(move |(_, line)| !is_test && !line.trim_start().starts_with("//"))
        .flat_map(|(number, line)| paths(line).map(move |path| (number, path)))
}

/// The first two parts of a path.
fn two_parts(path: &str) -> String {
    path.split("::").take(2).collect::<Vec<_>>().join("::")
}

/// Proves that adapters do not know each other nor what drives them; another port's own names they may.
#[test]
fn adapters_do_not_know_each_other() {
    let files = tree::rust(DAEMON);
    let adapters = adapters(&files);
    let mut problems = Problems::default();
    for file in &files {
        let inner = file.path.strip_prefix(DAEMON).unwrap_or_default();
        let Some(own) = ADAPTERS.iter().find(|folder| inner.starts_with(&format!("{folder}/"))) else { continue };
        for (number, path) in uses(file) {
            let module = path.split("::").next().unwrap_or_default();
            if ABOVE.contains(&module) || (module != *own && adapters.contains(&two_parts(path))) {
                problems.add(&file.path, number, &format!("an adapter of `{own}` may not know `crate::{path}`"));
            }
        }
    }
    problems.assert_none();
}

/// Proves that `run.rs` alone knows which adapters exist: everyone else knows the port, that is the folder's own names.
#[test]
fn only_run_names_adapters() {
    let files = tree::rust(DAEMON);
    let adapters = adapters(&files);
    let mut problems = Problems::default();
    for file in &files {
        let inner = file.path.strip_prefix(DAEMON).unwrap_or_default();
        let folder = inner.split(['/', '.']).next().unwrap_or_default();
        if folder == "run" || ADAPTERS.contains(&folder) {
            continue;
        }
        for (number, path) in uses(file).filter(|(_, path)| adapters.contains(&two_parts(path))) {
            problems.add(&file.path, number, &format!("only run.rs names adapters, here `{path}`"));
        }
    }
    problems.assert_none();
}
