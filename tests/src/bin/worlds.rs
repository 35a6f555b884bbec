//! `worlds --count N --seed S [--skip N] [--mutant NAME|list]`: simulated cutovers against the oracle.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the command line")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use tidegate_tests::clock;
use tidegate_tests::sim::{Coverage, Fault, Mutant, Outcome, coverage, run};

/// What the command line asks for.
struct Args {
    count: u64,
    seed: u64,
    /// How many worlds of the seed are left out: to see one of a long run again.
    skip: u64,
    mutant: Option<Mutant>,
    verbose: bool,
}

/// How to call it.
const USAGE: &str = "usage: worlds [--count N] [--seed S] [--skip N] [--mutant NAME|list] [--verbose]";

/// Reads the command line; `Ok(None)` when everything is said already.
fn parse() -> Result<Option<Args>, String> {
    let mut args = Args { count: 20_000, seed: 1, skip: 0, mutant: None, verbose: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value\n{USAGE}"));
        match word.as_str() {
            "--count" => args.count = number(&value()?)?,
            "--seed" => args.seed = number(&value()?)?,
            "--skip" => args.skip = number(&value()?)?,
            "--verbose" => args.verbose = true,
            "--mutant" => match value()?.as_str() {
                "list" => {
                    for mutant in Mutant::ALL {
                        println!("{:<14} found by `{}`", mutant.name(), mutant.check());
                    }
                    return Ok(None);
                }
                name => {
                    let mutant = Mutant::named(name);
                    args.mutant =
                        Some(mutant.ok_or_else(|| format!("no mutant `{name}`; `--mutant list` names them"))?);
                }
            },
            "--help" | "-h" => {
                println!("{USAGE}");
                return Ok(None);
            }
            _ => return Err(format!("unknown argument `{word}`\n{USAGE}")),
        }
    }
    Ok(Some(args))
}

/// A whole number.
fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is no whole number\n{USAGE}"))
}

/// What the worlds of one thread came to.
#[derive(Default)]
struct Tally {
    coverage: Coverage,
    faults: BTreeMap<Fault, u64>,
    phases: BTreeMap<&'static str, u64>,
    false_reverts: u64,
    decisions: u64,
    violations: Vec<(u64, Outcome)>,
    violation_count: u64,
}

/// How many violations are printed in full.
const SHOWN: usize = 12;

impl Tally {
    /// Counts one world.
    fn add(&mut self, seed: u64, outcome: Outcome) {
        for fault in outcome.faults.iter() {
            *self.faults.entry(fault).or_default() += 1;
        }
        *self.phases.entry(outcome.phase).or_default() += 1;
        self.false_reverts += u64::from(outcome.false_revert);
        self.decisions += outcome.decisions as u64;
        if outcome.violation.is_some() {
            self.violation_count += 1;
            if self.violations.len() < SHOWN {
                self.violations.push((seed, outcome));
            }
        }
    }

    /// Adds another thread's.
    fn merge(&mut self, other: Self) {
        self.coverage.merge(&other.coverage);
        for (fault, count) in other.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        for (phase, count) in other.phases {
            *self.phases.entry(phase).or_default() += count;
        }
        self.false_reverts += other.false_reverts;
        self.decisions += other.decisions;
        self.violation_count += other.violation_count;
        self.violations.extend(other.violations);
    }
}

/// Runs the worlds on every core.
fn all(args: &Args) -> Tally {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let mut tally = Tally::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    let mut tally = Tally::default();
                    let mut coverage = Coverage::default();
                    for index in (thread..args.count).step_by(threads as usize) {
                        let seed = args.seed.wrapping_mul(1_000_000_007).wrapping_add(args.skip).wrapping_add(index);
                        let outcome = run(seed, args.mutant, &mut coverage);
                        tally.add(seed, outcome);
                    }
                    tally.coverage = coverage;
                    tally
                })
            })
            .collect();
        for worker in workers {
            tally.merge(worker.join().expect("a world that panics is a bug, and ends the run"));
        }
    });
    tally.violations.sort_by_key(|(seed, _)| *seed);
    tally
}

/// Prints what was seen; the last line is for machines.
fn print(args: &Args, tally: &Tally, took: Duration) {
    println!("faults, and in how many of {} worlds:", args.count);
    for fault in Fault::ALL {
        let worlds = tally.faults.get(&fault).copied().unwrap_or(0);
        println!(
            "  {:<16} {worlds:>8}  {:5.1} %",
            format!("{fault:?}"),
            worlds as f64 * 100.0 / args.count.max(1) as f64
        );
    }
    println!("ends: {:?}", tally.phases);
    println!("reverts on evidence with a healthy target: {} of {}", tally.false_reverts, args.count);
    println!("pairs of phase and event, and how often they were reached ({} decisions):", tally.decisions);
    for (phase, event) in coverage::pairs() {
        let count = tally.coverage.count(phase, event);
        match (count, coverage::unreachable(phase, event)) {
            (0, Some(why)) => println!("  {phase:<10} {event:<15} not reached: {why}"),
            (0, None) => println!("  {phase:<10} {event:<15} not reached"),
            (_, _) => println!("  {phase:<10} {event:<15} {count}"),
        }
    }
    for (seed, outcome) in tally.violations.iter().take(SHOWN) {
        if let Some(violation) = &outcome.violation {
            let again = seed.wrapping_sub(args.seed.wrapping_mul(1_000_000_007));
            println!("seed {seed} (--skip {again}): `{}`: {}", violation.check, violation.text);
            if args.verbose {
                println!("  faults {:?}", outcome.faults.iter().collect::<Vec<_>>());
                for line in &outcome.trace {
                    println!("  {line}");
                }
            }
        }
    }
    println!("{} worlds, {} violations, {:.1} s", args.count, tally.violation_count, took.as_secs_f64());
}

fn main() -> ExitCode {
    let args = match parse() {
        Ok(Some(args)) => args,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("worlds: {error}");
            return ExitCode::from(2);
        }
    };
    let began = clock::now();
    let tally = all(&args);
    print(&args, &tally, began.elapsed());
    ExitCode::from(u8::from(tally.violation_count > 0))
}
