//! What the pages for people say of the tree must be there: the tests that hold an invariant are named in ARCHITECTURE.md.

use std::collections::BTreeSet;

use crate::tree::{self, Problems};

/// Proves that each test which ARCHITECTURE.md names exists under that name.
#[test]
fn the_tests_that_the_architecture_names_exist() {
    let tests: BTreeSet<String> = tree::rust("")
        .iter()
        .flat_map(|file| file.text.lines())
        .filter_map(|line| {
            Some(line.trim_start().trim_start_matches("async ").strip_prefix("fn ")?.split('(').next()?.to_owned())
        })
        .collect();
    let mut problems = Problems::default();
    let mut named = 0;
    for (number, line) in tree::read("ARCHITECTURE.md").lines().enumerate() {
        for code in line.split('`').skip(1).step_by(2) {
            // Tests are named as sentences; no other word in that page has as many parts.
            if code.matches('_').count() >= 3 {
                named += 1;
                if !tests.contains(code) {
                    problems.add("ARCHITECTURE.md", number + 1, &format!("there is no test `{code}`"));
                }
            }
        }
    }
    assert!(named >= 5, "found {named} names of tests: the search is broken");
    problems.assert_none();
}
