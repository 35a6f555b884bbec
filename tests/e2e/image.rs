//! The image, which nothing here builds: what the program asks of its base, held against what the base has.

use std::{fs, process::Command};

use tidegate_tests::servers::built_binary;

/// The base whose libraries were looked up, as the Dockerfile names it.
const BASE: &str = "gcr.io/distroless/cc-debian12:nonroot";

/// The libraries of that base: of Debian's libc6, libgcc-s1, libstdc++6 and libssl3. The loader, whose name is the
/// machine's, is one of libc6.
const HAS: [&str; 11] = [
    "libc.so.6",
    "libcrypto.so.3",
    "libdl.so.2",
    "libgcc_s.so.1",
    "libm.so.6",
    "libpthread.so.0",
    "libresolv.so.2",
    "librt.so.1",
    "libssl.so.3",
    "libstdc++.so.6",
    "libutil.so.1",
];

/// The libraries that a program is linked with, by `readelf`.
fn needed() -> Vec<String> {
    let said = Command::new("readelf").args(["-d", "-W"]).arg(built_binary()).env("LC_ALL", "C").output();
    let said = said.expect("readelf starts: install binutils");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let text = String::from_utf8(said.stdout).expect("names of libraries");
    let names = text.lines().filter(|line| line.contains("(NEEDED)")).map(|line| {
        let (_, name) = line.split_once('[').unwrap_or_else(|| panic!("no name in {line:?}"));
        name.trim_end().trim_end_matches(']').to_owned()
    });
    names.collect()
}

/// Proves that the image's base has every library that the program is linked with, and that it still is the base that was
/// looked at.
#[test]
fn the_base_has_what_the_program_is_linked_with() {
    let dockerfile = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Dockerfile")).expect("the Dockerfile");
    let base = dockerfile.lines().rev().find_map(|line| line.strip_prefix("FROM ")).expect("a base");
    assert_eq!(base.trim(), BASE, "the image has another base: look up which libraries it has, and say so here");
    let needed = needed();
    assert!(needed.iter().any(|name| name == "libc.so.6"), "not linked with glibc, which the base is for: {needed:?}");
    let missing: Vec<&String> =
        needed.iter().filter(|name| !HAS.contains(&name.as_str()) && !name.starts_with("ld-linux")).collect();
    assert!(
        missing.is_empty(),
        "the program would not start in {BASE}, which lacks {missing:?}: link them statically by a feature of the crate \
         that brings them, or take a base that has them"
    );
}
