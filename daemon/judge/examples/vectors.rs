//! Checks files of published and computed values against the crate: `vectors FILE…`.
//!
//! A file holds either `{"vectors": [{"id", "fn", "inputs", "expected", "tol", "rel"}, …]}` or golden streams (one, or
//! an object of named ones): counts block by block with the dispersion and the evidence they must give. Prints a line
//! per function and stream, names what it skips, and ends with `N passed, M failed, K skipped`; exit code 1 if any
//! failed or a file cannot be read.

#[path = "vectors/check.rs"]
mod check;

use std::process::ExitCode;

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]
fn main() -> ExitCode {
    let files: Vec<String> = std::env::args().skip(1).collect();
    if files.is_empty() {
        eprintln!("usage: vectors FILE…");
        return ExitCode::from(2);
    }
    let mut report = check::Report::default();
    let mut broken = false;
    for file in &files {
        let read = std::fs::read_to_string(file).map_err(|error| error.to_string());
        let checked = read.and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string()));
        match checked.and_then(|value| report.file(&value)) {
            Ok(()) => {}
            Err(error) => {
                eprintln!("cannot check `{file}`: {error}");
                broken = true;
            }
        }
    }
    for line in report.lines() {
        println!("{line}");
    }
    println!("{} passed, {} failed, {} skipped", report.passed(), report.failed(), report.skipped());
    if broken || report.failed() > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
