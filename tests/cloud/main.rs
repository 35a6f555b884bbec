//! `tests/bench/cloud`: what a cutover of a load balancer costs and survives, in the lab, as tables.
//!
//! `faults`: a cutover under each fault that AWS, its users or a target may have. `signals`: how long it takes from a fault of
//! the target to the call that takes the traffic back, by what is looked at. `many`: what hundreds of services in one daemon ask of AWS. Times are of the lab's clock, which runs fast;
//! time-outs of the network stay real, so what waits for one is shown longer than it would be.
#![expect(clippy::print_stdout, reason = "a program whose output is its result")]

#[path = "world.rs"]
mod cloud;
mod faults;
mod many;
mod signals;

use std::fmt::Write as _;
use std::process::ExitCode;

use faults::{CASES, Ended};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["faults"] => println!("{}", cases()),
        ["signals"] => println!("{}", signals::table()),
        ["many"] => many::table(|row| println!("{row}")),
        _ => {
            println!("usage: cloud faults|signals|many");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// Every case as a row.
fn cases() -> String {
    let mut text = String::from(
        "| fault | ended | weights source/target | requests | bad answers | back after, s | actions as they were |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for (name, wrong) in CASES {
        let Ended { phase, weights: [source, target], requests: (all, bad), seconds, same } = faults::run(wrong);
        let seconds = seconds.map_or("-".to_owned(), |seconds| format!("{seconds:.0}"));
        let same = if same { "yes" } else { "no" };
        writeln!(text, "| {name} | {phase} | {source}/{target} | {all} | {bad} | {seconds} | {same} |")
            .expect("a String takes everything");
    }
    text
}
