//! `judged`: what a judge does to healthy and to faulty cutovers of simulated services; `--help` says how to ask.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the command line")]

use std::io::{self, Write};
use std::process::ExitCode;

use tidegate_tests::judged::{
    Cell, Fault, JudgeKind, Row, cell, closed, fault, names, print, run::Plan, stream, world,
};

/// How to call it.
const USAGE: &str = "\
usage: judged [--judge NAMES] [--world NAME|all|table-b|file:PATH] [--rate RPS] [--interval SECONDS] [--cutovers N]
              [--seed S] [--fault KIND:SIZE] [--alpha A] [--closed-loop] [--table] [--json]

Simulates cutovers over a ladder of 5, 10, 20, 35, 50, 75 and 95 %, ten minutes a step, after a baseline of 24 hours, and
says how often and when the judge reverts them: a line for each cell, the worst cell again as the last line.

  --judge     ours (default), ours-steady (with the guard `latency_steady`), flagger, argo, kayenta, kayenta-1.1 (with an
              allowed increase of 10 %), all, or several with commas; they watch the same cutovers
  --world     a row of the tables in lower case with dashes: all (default) is every healthy service, table-b every
              regression; `--world list` names them. file:PATH judges a given stream of counts (golden_stream.json) with
              ours and prints M and the verdict after each block
  --rate      requests a second (500), several with commas
  --interval  seconds a block: 1 to 60, a whole part of a minute (60), several with commas
  --cutovers  how many for each cell (200)
  --seed      the same seed gives the same cutovers (1)
  --fault     what is wrong with the target of a healthy row; `--fault list` explains it
  --alpha     the greatest chance of a false revert that ours is given (0.05)
  --closed-loop  ours alone, steps opened by the evidence: how long a cutover takes
  --table     tables in Markdown instead of lines
  --json      an object for each line: judge, world, rate, interval, fault, cutovers, reverted, median_seconds (from the
              onset of the fault, over those reverted), and more

exit code: 0 done, 1 something could not be read, 2 wrong arguments";

/// The most cutovers a cell.
const CUTOVERS_MAX: u64 = 1_000_000;
/// The most requests a second.
const RATE_MAX: f64 = 1_000_000.0;

/// What the command line asks for.
struct Args {
    judges: Vec<JudgeKind>,
    world: String,
    rates: Vec<f64>,
    intervals: Vec<u64>,
    cutovers: u64,
    seed: u64,
    fault: Option<Fault>,
    alpha: f64,
    closed_loop: bool,
    table: bool,
    json: bool,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            judges: vec![JudgeKind::Ours],
            world: "all".to_owned(),
            rates: vec![500.0],
            intervals: vec![60_000],
            cutovers: 200,
            seed: 1,
            fault: None,
            alpha: 0.05,
            closed_loop: false,
            table: false,
            json: false,
        }
    }
}

/// The parts of a list with commas, each read.
fn list<T>(text: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    text.split(',').map(|part| read(part.trim())).collect()
}

/// A number.
fn number<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no {what}"))
}

fn judges(text: &str) -> Result<Vec<JudgeKind>, String> {
    if text == "all" {
        return Ok(JudgeKind::ALL.to_vec());
    }
    list(text, |name| {
        JudgeKind::named(name).ok_or_else(|| {
            let names: Vec<&str> = JudgeKind::ALL.iter().map(|judge| judge.name()).collect();
            format!("there is no judge `{name}`; there are {}", names.join(", "))
        })
    })
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = number(text, "number of requests a second")?;
    if rate > 0.0 && rate <= RATE_MAX {
        Ok(rate)
    } else {
        Err(format!("a rate of {rate} requests a second cannot be simulated: above 0, at most {RATE_MAX}"))
    }
}

fn interval(text: &str) -> Result<u64, String> {
    let seconds: f64 = number(text.strip_suffix('s').unwrap_or(text), "number of seconds")?;
    let millis = (seconds * 1000.0).round() as u64;
    if (1_000..=60_000).contains(&millis) && 60_000 % millis == 0 {
        Ok(millis)
    } else {
        Err(format!("an interval of {seconds} s cannot be simulated: 1 to 60 s, and a whole part of a minute"))
    }
}

/// Reads the command line; `Ok(None)` when everything is said already.
fn parse(words: impl Iterator<Item = String>) -> Result<Option<Args>, String> {
    let mut args = Args::default();
    let mut words = words.flat_map(|word| match word.split_once('=') {
        Some((name, value)) if name.starts_with("--") => vec![name.to_owned(), value.to_owned()],
        _ => vec![word],
    });
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--judge" => args.judges = judges(&value()?)?,
            "--world" => args.world = value()?,
            "--rate" | "--rates" => args.rates = list(&value()?, rate)?,
            "--interval" | "--intervals" => args.intervals = list(&value()?, interval)?,
            "--cutovers" => {
                args.cutovers = number(&value()?, "number of cutovers")?;
                if !(1..=CUTOVERS_MAX).contains(&args.cutovers) {
                    return Err(format!("{} cutovers cannot be run: 1 to {CUTOVERS_MAX}", args.cutovers));
                }
            }
            "--seed" => args.seed = number(&value()?, "seed")?,
            "--fault" => match value()?.as_str() {
                "list" => {
                    println!("{}", fault::GRAMMAR);
                    return Ok(None);
                }
                "none" => args.fault = None,
                text => args.fault = Some(text.parse()?),
            },
            "--alpha" => {
                args.alpha = number(&value()?, "chance")?;
                if !(args.alpha > 0.0 && args.alpha <= 0.5) {
                    return Err(format!("a chance of {} cannot be kept: above 0, at most 0.5", args.alpha));
                }
            }
            "--closed-loop" => args.closed_loop = true,
            "--table" => args.table = true,
            "--json" => args.json = true,
            "--help" | "-h" => {
                println!("{USAGE}");
                return Ok(None);
            }
            _ => return Err(format!("unknown argument `{word}`")),
        }
    }
    if args.world == "list" {
        for row in names::rows("all")?.iter().chain(&names::rows("table-b")?).chain(&world::beyond()) {
            let fault = row.fault.map_or(String::new(), |fault| fault.to_string());
            println!("{:<28} {fault}", names::spelled(row.row));
        }
        return Ok(None);
    }
    let ours_alone = args.judges == [JudgeKind::Ours];
    if !ours_alone && (args.closed_loop || args.world.starts_with("file:")) {
        return Err("a given stream and --closed-loop are for `--judge ours` alone".to_owned());
    }
    if args.table && (args.json || args.closed_loop) {
        return Err("--table goes with neither --json nor --closed-loop".to_owned());
    }
    Ok(Some(args))
}

/// The rows that are asked for, with the fault that is.
fn rows(args: &Args) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for name in args.world.split(',') {
        rows.extend(names::rows(name)?);
    }
    if let Some(fault) = args.fault {
        for row in &mut rows {
            if let Some(own) = row.fault {
                return Err(format!("`{}` has a fault of its own, {own}; --fault is for a healthy row", row.row));
            }
            row.fault = Some(fault);
        }
    }
    Ok(rows)
}

/// Prints a line at once: a cell can take minutes, and whoever reads along wants to see it.
fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Runs every cell that is asked for.
fn simulate(args: &Args, rows: &[Row]) -> io::Result<()> {
    let mut all: Vec<Cell> = Vec::new();
    let show = |cell: &Cell| if args.json { print::object(cell).to_string() } else { print::line(cell) };
    for &millis in &args.intervals {
        for &rate in &args.rates {
            for row in rows {
                let plan = Plan { row, rate, millis, alpha: args.alpha, seed: args.seed };
                if args.closed_loop {
                    let closed = closed::run(&plan, args.cutovers);
                    let object = || print::closed_object(&plan, &closed).to_string();
                    say(&if args.json { object() } else { print::closed_line(&plan, &closed) })?;
                    continue;
                }
                for cell in cell::cells(&plan, &args.judges, args.cutovers) {
                    if args.table {
                        eprintln!("{}", print::line(&cell));
                    } else {
                        say(&show(&cell))?;
                    }
                    all.push(cell);
                }
            }
        }
    }
    if args.table {
        say(print::tables(&all).trim_end())?;
    } else if let Some(worst) = cell::worst(&all) {
        say(&show(worst))?;
    }
    Ok(())
}

/// Judges the streams of a file.
fn judge_file(path: &str, args: &Args) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|why| why.to_string())?;
    let file = serde_json::from_str(&text).map_err(|why| format!("it is no JSON: {why}"))?;
    for (name, given) in stream::streams(&file)? {
        let judged = stream::judge(given, args.alpha).map_err(|why| format!("stream `{name}`: {why}"))?;
        for (at, judged) in judged.iter().enumerate() {
            let verdict = if judged.fails { "fail" } else { "unknown" };
            let m = judged.log_evidence.exp();
            if args.json {
                let line = serde_json::json!({
                    "judge": "ours", "stream": name, "block": at, "m": m, "log_m": judged.log_evidence,
                    "verdict": verdict, "revert": judged.fails, "guard": judged.guard,
                });
                say(&line.to_string()).map_err(|why| why.to_string())?;
            } else {
                let guard = judged.guard.map_or(String::new(), |guard| format!("{guard:?}").to_lowercase());
                // Seven digits while a person compares it with the limit; past that, how large it is.
                let m = if m < 1e6 { format!("{m:.6}") } else { format!("{m:.6e}") };
                say(&format!("{name} block {at:>4}  M {m:>13}  {verdict:<7}  most from {guard}"))
                    .map_err(|why| why.to_string())?;
            }
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let wrong = |why: &str| {
        eprintln!("judged: {why}\n\n{USAGE}");
        ExitCode::from(2)
    };
    let args = match parse(std::env::args().skip(1)) {
        Ok(Some(args)) => args,
        Ok(None) => return ExitCode::SUCCESS,
        Err(why) => return wrong(&why),
    };
    if let Some(path) = args.world.strip_prefix("file:") {
        return match judge_file(path, &args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("judged: cannot judge `{path}`: {why}");
                ExitCode::FAILURE
            }
        };
    }
    match rows(&args) {
        Ok(rows) => match simulate(&args, &rows) {
            // Whoever reads may have seen enough.
            Ok(()) => ExitCode::SUCCESS,
            Err(why) if why.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("judged: cannot print: {why}");
                ExitCode::FAILURE
            }
        },
        Err(why) => wrong(&why),
    }
}
