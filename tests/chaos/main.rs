//! Chaos by hand, for as long as one likes: the end-to-end tests run the same for half a minute.
//!
//! `cargo run -p tidegate-tests --example chaos -- MINUTES`, after `tests/run` has installed and built what it needs.

#![expect(clippy::print_stdout, reason = "what was seen goes to stdout")]

mod run;
#[expect(dead_code, reason = "the end-to-end tests replace topics too")]
mod topic;

use std::time::Duration;

fn main() {
    let minutes = std::env::args().nth(1).and_then(|minutes| minutes.parse().ok());
    let Some(minutes) = minutes else {
        println!("usage: chaos MINUTES");
        return;
    };
    run::run(Duration::from_mins(minutes));
}
