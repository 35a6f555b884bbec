//! House rules as a test: what the compiler and clippy cannot see, with the offending line and the rule in the message.
//!
//! [`picture`] holds who may know whom, [`pages`] what ARCHITECTURE.md names, [`words`] what a file may contain, [`units`]
//! what systemd says of our units. Nothing here runs the product.

mod pages;
mod picture;
mod tree;
mod units;
mod words;

use tree::Problems;

/// Proves that the root of the repository holds what the house is made of and nothing else.
#[test]
fn the_root_holds_only_what_the_house_is_made_of() {
    const ALLOWED: [&str; 21] = [
        ".ci",
        ".clippy.toml",
        ".dockerignore",
        ".github",
        ".gitignore",
        ".rustfmt.toml",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "Cargo.lock",
        "Cargo.toml",
        "Dockerfile",
        "LICENSE",
        "README.md",
        "daemon",
        "deny.toml",
        "docs",
        "policies",
        "rust-toolchain.toml",
        "systemd",
        "tests",
        ".editorconfig",
    ];
    let mut problems = Problems::default();
    for file in tree::files() {
        let top = file.path.split('/').next().expect("a path has a first part");
        if !ALLOWED.contains(&top) {
            problems.add(&file.path, 0, "nothing else lies in the root: extend the list with a reason, or move it");
        }
    }
    problems.assert_none();
}

/// Proves that every crate the workspace names is explained: by its own comment, or by the comment over its group.
#[test]
fn every_dependency_has_a_word_on_it() {
    let manifest = tree::read("Cargo.toml");
    let (mut in_table, mut group) = (false, false);
    let mut problems = Problems::default();
    for (number, line) in manifest.lines().enumerate() {
        match line.trim() {
            line if line.starts_with('[') => (in_table, group) = (line == "[workspace.dependencies]", false),
            "" => group = false,
            line if line.starts_with('#') => group = true,
            line if in_table && !group && !line.contains('#') => {
                problems.add("Cargo.toml", number + 1, "a dependency says what it is for, beside it or over its group");
            }
            _ => {}
        }
    }
    problems.assert_none();
}

/// Proves that scripts stop at their first mistake, never wait for input and can be run as they are.
#[test]
fn scripts_are_executable_and_strict() {
    let mut problems = Problems::default();
    let mut scripts = 0;
    for file in tree::files().into_iter().filter(|file| file.text.starts_with("#!")) {
        scripts += 1;
        if !file.executable {
            problems.add(&file.path, 1, "what starts with #! is executable");
        }
        if file.text.starts_with("#!/usr/bin/env bash") && !file.text.contains("\nset -euo pipefail\n") {
            problems.add(&file.path, 1, "bash scripts say `set -euo pipefail`");
        }
    }
    assert!(scripts >= 2, "found {scripts} scripts: the search is broken");
    problems.assert_none();
}
