//! What a file may contain: words that mean unfinished work, places that exist on one machine only, files that grew long.

use crate::tree::{self, Problems};

/// A file longer than this holds more than one idea; the exceptions say why theirs is one.
const LINES_MAX: usize = 700;

/// Files that may be longer, each with its reason.
const LONG: [(&str, &str); 0] = [];

/// What no file may say, and what to do instead. Written apart so that this file does not say it.
fn banned() -> Vec<(String, &'static str)> {
    let word = |parts: &[&str]| parts.concat();
    vec![
        (word(&["FIX", "ME"]), "mend it, or open an issue"),
        (word(&["XX", "X "]), "mend it, or open an issue"),
        (word(&["todo", "!("]), "finish it before it lands"),
        (word(&["unimplem", "ented!("]), "finish it before it lands"),
        (word(&["#[ig", "nore"]), "a test runs or is deleted"),
        (word(&["#[al", "low("]), "`expect` with a reason, so that a stale exception is noticed"),
        (word(&["#![al", "low("]), "`expect` with a reason, so that a stale exception is noticed"),
        (word(&["|| ", "true"]), "name the failure that is expected, and let the others through"),
        (word(&["continue-", "on-error"]), "a failure is a failure"),
        (word(&["/wo", "rk/"]), "a path of one machine"),
        (word(&["/ro", "ot/"]), "a path of one machine"),
        (word(&["/ho", "me/"]), "a path of one machine"),
    ]
}

/// Proves that nothing unfinished, switched off or tied to one machine is in the tree.
#[test]
fn no_file_holds_banned_words() {
    let banned = banned();
    let mut problems = Problems::default();
    for file in tree::files().into_iter().filter(|file| file.path != "Cargo.lock") {
        for (number, line) in file.text.lines().enumerate() {
            for (word, instead) in &banned {
                if line.contains(word) {
                    problems.add(&file.path, number + 1, &format!("`{word}`: {instead}"));
                }
            }
        }
    }
    problems.assert_none();
}

/// Proves that a file holds one idea: short, and opened by a sentence that says which.
#[test]
fn rust_files_are_short_and_say_what_they_are_for() {
    let mut problems = Problems::default();
    for file in tree::rust("") {
        let lines = file.text.lines().count();
        let excused = LONG.iter().any(|(path, _)| *path == file.path);
        if lines > LINES_MAX && !excused {
            problems.add(&file.path, 0, &format!("{lines} lines, more than {LINES_MAX}: what are its two ideas?"));
        }
        if lines <= LINES_MAX && excused {
            problems.add(&file.path, 0, "is short now: take it off the list of long files");
        }
        let opening = file.text.lines().next().unwrap_or_default();
        if !opening.starts_with("//! ") && !opening.starts_with("#![") {
            problems.add(&file.path, 1, "starts with `//!` and why it exists");
        }
    }
    problems.assert_none();
}

/// Proves that a clock is read in files named `clock.rs` alone: everywhere else time is an argument.
#[test]
fn only_clock_files_are_excused_from_the_rule_about_clocks() {
    let reads = [["Instant::", "now"].concat(), ["SystemTime::", "now"].concat()];
    let mut problems = Problems::default();
    let mut clocks = 0;
    for file in tree::rust("") {
        if file.path.ends_with("clock.rs") {
            clocks += 1;
            continue;
        }
        for (number, line) in file.text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if reads.iter().any(|read| code.contains(read.as_str())) {
                problems.add(
                    &file.path,
                    number + 1,
                    "reads a clock: take `now` as an argument, or ask this package's clock.rs",
                );
            }
        }
    }
    assert!(clocks >= 2, "found {clocks} clock.rs: the search is broken");
    problems.assert_none();
}

/// Proves that every exception from a lint says why.
#[test]
fn exceptions_from_lints_have_reasons() {
    let mut problems = Problems::default();
    let expect = ["#[exp", "ect("].concat();
    for file in tree::rust("") {
        for (start, _) in file.text.match_indices(&expect).chain(file.text.match_indices(&expect.replace("#[", "#![")))
        {
            let attribute = &file.text[start..];
            let end = attribute.find(")]").unwrap_or(attribute.len());
            if !attribute[..end].contains("reason =") {
                let line = file.text[..start].lines().count() + 1;
                problems.add(&file.path, line, "an exception from a lint says its reason");
            }
        }
    }
    problems.assert_none();
}
