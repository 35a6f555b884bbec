//! What judging costs: processor time for an interval of one cutover, and for a thousand cutovers each second.
//!
//! `cargo run --release -p tidegate-judge --example cost` prints a line for each set of guards: with the usual guards
//! and with all that there are, the verdict alone and with its sentences. It counts processor time, so that other work
//! on the machine disturbs it little; the best of several rounds is taken.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::time::Duration;

use judge::{Baseline, Context, Guards, Judge};

#[path = "../tests/drawn/mod.rs"]
mod drawn;

use drawn::{all_guards, blocks};

/// Intervals a cutover is judged for in one round.
const INTERVALS: usize = 2_000;
/// Rounds, of which the quickest counts: whatever else the machine did only makes a round slower.
const ROUNDS: usize = 7;

/// Processor time of this thread so far, as Linux counts it: other work on the machine is not in it.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.expect("Linux counts the processor time of a thread in /proc/thread-self/schedstat"))
}

/// The time for one interval: of the quickest round.
fn quickest(mut round: impl FnMut()) -> Duration {
    let times = (0..ROUNDS).map(|_| {
        let start = processor_time();
        round();
        processor_time().saturating_sub(start)
    });
    times.min().unwrap_or_default() / INTERVALS as u32
}

fn main() {
    let baseline = Baseline::from_blocks(&blocks(60_000, 60), 30);
    let seconds = blocks(1_000, INTERVALS);
    println!("500 requests a second, intervals of a second, {INTERVALS} intervals, the quickest of {ROUNDS} rounds");
    for (name, guards) in [("usual guards", Guards::default()), ("all guards", all_guards())] {
        for worded in [false, true] {
            let time = quickest(|| {
                let mut judge = Judge::new(guards.clone(), baseline.clone(), 5);
                for (at, block) in seconds.iter().enumerate() {
                    let new_step = at % 400 == 0;
                    judge.observe(block, &Context { new_step, weight: 200, next_weight: Some(500), source_live: true });
                    if worded {
                        std::hint::black_box(judge.verdict());
                    } else {
                        std::hint::black_box(judge.proven());
                    }
                }
            });
            println!(
                "{name}, {}: {:.1} µs for an interval; 1,000 cutovers each second take {:.1} % of a core",
                if worded { "verdict with its sentences" } else { "verdict alone" },
                time.as_secs_f64() * 1e6,
                time.as_secs_f64() * 1_000.0 * 100.0
            );
        }
    }
}
