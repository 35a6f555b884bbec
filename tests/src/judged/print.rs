//! How cells read: a line each, and the tables with the judges side by side.

use std::fmt::Write;

use serde_json::{Value, json};

use super::cell::{Cell, Tally};
use super::closed::Closed;
use super::names::spelled;
use super::prototype;
use super::run::Plan;
use super::world::EXTREME;

/// A duration as a person says it.
fn duration(seconds: f64) -> String {
    if seconds >= 120.0 { format!("{} min", rounded(seconds / 60.0)) } else { format!("{} s", rounded(seconds)) }
}

/// A number with at most one digit behind the point.
fn rounded(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// A count as a person says it.
fn count(count: f64) -> String {
    match count {
        count if count >= 999_500.0 => format!("{:.2}M", count / 1e6),
        count if count >= 9_995.0 => format!("{:.1}k", count / 1e3),
        count if count >= 999.5 => format!("{:.2}k", count / 1e3),
        count => format!("{count:.0}"),
    }
}

/// How many times as many requests as the limit were needed, if both are known.
fn ratio(cell: &Cell) -> Option<f64> {
    Some(cell.tally.median_requests? / cell.limit_requests?)
}

/// A cell as one line.
pub fn line(cell: &Cell) -> String {
    let tally = &cell.tally;
    let (low, high) = tally.interval();
    let mut line =
        format!("{:<11} {:<28} {:>6} rps {:>3} s  ", cell.judge.name(), spelled(cell.row), cell.rate, cell.interval);
    let share = tally.share() * 100.0;
    let (low, high) = (low * 100.0, high * 100.0);
    let (reverted, of) = (tally.reverted, tally.cutovers);
    // Writing to a string cannot fail.
    let _ = match cell.fault {
        None => write!(line, "reverted {reverted} of {of}: {share:.1} % ({low:.1} to {high:.1})"),
        Some(fault) => write!(line, "{fault}: found {reverted} of {of}: {share:.1} %"),
    };
    if let (Some(_), Some(seconds), Some(requests)) = (cell.fault, tally.median_seconds, tally.median_requests) {
        let _ = write!(line, ", median {} and {} requests", duration(seconds), count(requests));
        let _ = write!(line, ", excess errors {:.0}", tally.excess_errors);
    }
    if let (Some(limit), Some(ratio)) = (cell.limit_requests, ratio(cell)) {
        let _ = write!(line, ", limit {} (x{})", count(limit), rounded(ratio));
    }
    if tally.early > 0 {
        let _ = write!(line, ", {} reverted before it", tally.early);
    }
    line
}

/// A cell as an object.
pub fn object(cell: &Cell) -> Value {
    let tally = &cell.tally;
    let (low, high) = tally.interval();
    json!({
        "judge": cell.judge.name(),
        "world": spelled(cell.row),
        "rate": cell.rate,
        "interval": cell.interval,
        "fault": cell.fault.map(|fault| fault.to_string()),
        "cutovers": tally.cutovers,
        "reverted": tally.reverted,
        "median_seconds": tally.median_seconds,
        "reverted_share_95": [low, high],
        "reverted_before_fault": tally.early,
        "median_target_requests": tally.median_requests,
        "excess_errors": tally.excess_errors,
        "limit_target_requests": cell.limit_requests,
        "limit_ratio": ratio(cell),
    })
}

/// A cell of cutovers whose steps the evidence opened, as one line.
pub fn closed_line(plan: &Plan<'_>, closed: &Closed) -> String {
    let mut line = format!(
        "ours        {:<28} {:>6} rps {:>3} s  ",
        spelled(plan.row.row),
        plan.rate,
        plan.millis as f64 / 1000.0
    );
    let share = |part: u64| part as f64 * 100.0 / closed.cutovers.max(1) as f64;
    let time = |seconds: Option<f64>| seconds.map_or_else(|| "over 6 h".to_owned(), duration);
    let _ = write!(line, "reverted {:.1} %", share(closed.reverted));
    if closed.reverted > 0 {
        let _ = write!(line, ", median {}", time(closed.median_seconds));
    }
    let [middle, long] = closed.done_seconds;
    let _ = write!(line, "; done {:.1} %", share(closed.done));
    if closed.done > 0 {
        let _ = write!(line, ", median {}, 90 % within {}", time(middle), time(long));
    }
    let _ = write!(line, "; excess errors {:.0}", closed.excess_errors);
    line
}

/// The same as an object.
pub fn closed_object(plan: &Plan<'_>, closed: &Closed) -> Value {
    json!({
        "judge": "ours",
        "world": spelled(plan.row.row),
        "rate": plan.rate,
        "interval": plan.millis as f64 / 1000.0,
        "fault": plan.row.fault.map(|fault| fault.to_string()),
        "cutovers": closed.cutovers,
        "reverted": closed.reverted,
        "median_seconds": closed.median_seconds,
        "done": closed.done,
        "done_median_seconds": closed.done_seconds[0],
        "done_90_seconds": closed.done_seconds[1],
        "excess_errors": closed.excess_errors,
    })
}

/// The values of cells in the order in which they first come.
fn distinct<T: PartialEq>(cells: &[Cell], of: impl Fn(&Cell) -> T) -> Vec<T> {
    let mut values = Vec::new();
    for cell in cells {
        let value = of(cell);
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

/// The tables in Markdown: of false reverts, with the rates side by side in each field; of detection, one for each rate.
pub fn tables(cells: &[Cell]) -> String {
    let mut text = String::new();
    for interval in distinct(cells, |cell| cell.interval) {
        let here = |cell: &&Cell| (cell.interval - interval).abs() < 1e-9;
        let healthy: Vec<Cell> = cells.iter().filter(here).filter(|cell| cell.fault.is_none()).cloned().collect();
        let faulty: Vec<Cell> = cells.iter().filter(here).filter(|cell| cell.fault.is_some()).cloned().collect();
        false_reverts(&mut text, interval, &healthy);
        detection(&mut text, interval, &faulty);
    }
    text
}

/// A row of a table in Markdown.
fn row(text: &mut String, first: &str, rest: impl Iterator<Item = String>) {
    let _ = write!(text, "| {first} |");
    for field in rest {
        let _ = write!(text, " {field} |");
    }
    text.push('\n');
}

fn false_reverts(text: &mut String, interval: f64, cells: &[Cell]) {
    if cells.is_empty() {
        return;
    }
    let (judges, rates) = (distinct(cells, |cell| cell.judge), distinct(cells, |cell| cell.rate));
    let rates_text = rates.iter().map(f64::to_string).collect::<Vec<String>>().join(" / ");
    let cutovers = cells.iter().map(|cell| cell.tally.cutovers).min().unwrap_or(0);
    let _ = writeln!(
        text,
        "**False reverts**, % of healthy cutovers, at {rates_text} requests a second; blocks of {interval} s, {cutovers} cutovers a cell\n"
    );
    let beside = ["prototype".to_owned()];
    row(text, "healthy service", judges.iter().map(|judge| judge.name().to_owned()).chain(beside));
    row(text, "---", judges.iter().map(|_| "---".to_owned()).chain(["---".to_owned()]));
    let field = |name: &str, judge| {
        let shares = rates.iter().map(|rate| {
            let cell =
                cells.iter().find(|cell| cell.row == name && cell.judge == judge && (cell.rate - rate).abs() < 1e-9);
            cell.map_or("-".to_owned(), |cell| format!("{:.1}", cell.tally.share() * 100.0))
        });
        shares.collect::<Vec<String>>().join(" / ")
    };
    for name in distinct(cells, |cell| cell.row) {
        let prototypes = rates.iter().map(|&rate| {
            prototype::false_reverts(name, rate, interval).map_or("-".to_owned(), |percent| format!("{percent:.1}"))
        });
        let prototypes = prototypes.collect::<Vec<String>>().join(" / ");
        row(text, name, judges.iter().map(|&judge| field(name, judge)).chain([prototypes]));
    }
    let worst = |judge| {
        let shares = cells.iter().filter(|cell| cell.judge == judge && cell.row != EXTREME);
        format!("**{:.1}**", shares.map(|cell| cell.tally.share() * 100.0).fold(0.0, f64::max))
    };
    row(text, "**worst, EXTREME apart**", judges.iter().map(|&judge| worst(judge)).chain([String::new()]));
    text.push('\n');
    for &judge in &judges {
        above(text, cells, judge);
    }
    text.push('\n');
}

/// The share of healthy cutovers that ours may revert.
const ALLOWED: f64 = 0.05;
/// No more cells than this are named; the rest is counted.
const NAMED_MAX: usize = 6;

/// The cells of a judge that lie above what ours promises, by name: nobody should have to search a table for them.
fn above(text: &mut String, cells: &[Cell], judge: super::JudgeKind) {
    let above: Vec<String> = cells
        .iter()
        .filter(|cell| cell.judge == judge && cell.tally.share() > ALLOWED)
        .map(|cell| {
            let (low, high) = cell.tally.interval();
            let share = cell.tally.share() * 100.0;
            format!("{} at {} ({share:.1} %, {:.1} to {:.1})", cell.row, cell.rate, low * 100.0, high * 100.0)
        })
        .collect();
    let more = above.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let named = if above.is_empty() { "none".to_owned() } else { above[..above.len().min(NAMED_MAX)].join("; ") };
    let _ = writeln!(text, "- {}: cells above 5 %: {named}{more}", judge.name());
}

fn detection(text: &mut String, interval: f64, cells: &[Cell]) {
    let judges = distinct(cells, |cell| cell.judge);
    for rate in distinct(cells, |cell| cell.rate) {
        let here: Vec<&Cell> = cells.iter().filter(|cell| (cell.rate - rate).abs() < 1e-9).collect();
        let cutovers = here.iter().map(|cell| cell.tally.cutovers).min().unwrap_or(0);
        let _ = writeln!(
            text,
            "**Detection** at {rate} requests a second: % found, median time and requests of the target from the onset, mean excess errors; blocks of {interval} s, {cutovers} cutovers a cell. Prototype: what its report says. Limit: requests that the test needs on average which knows the fault; in brackets, how many times as many the first judge took\n"
        );
        let beside = ["prototype".to_owned(), "limit".to_owned()];
        row(text, "regression", judges.iter().map(|judge| judge.name().to_owned()).chain(beside));
        row(text, "---", judges.iter().map(|_| "---".to_owned()).chain(["---".to_owned(), "---".to_owned()]));
        for name in distinct(cells, |cell| cell.row) {
            let find = |judge| here.iter().find(|cell| cell.row == name && cell.judge == judge).copied();
            let fields = judges.iter().map(|&judge| find(judge).map_or("-".to_owned(), found));
            let first = judges.first().and_then(|&judge| find(judge));
            let limit = first.and_then(|cell| Some((cell.limit_requests?, ratio(cell))));
            let limit = limit.map_or("-".to_owned(), |(limit, ratio)| {
                format!("{}{}", count(limit), ratio.map_or(String::new(), |ratio| format!(" (x{})", rounded(ratio))))
            });
            let prototype = prototype::detection(name, rate, interval).map_or("-".to_owned(), |found| {
                let requests = count(found.kilorequests * 1e3);
                format!("{:.0}% {} {requests}", found.percent, duration(found.minutes * 60.0))
            });
            row(text, name, fields.chain([prototype, limit]));
        }
        text.push('\n');
    }
}

/// One field of a table of detection.
fn found(cell: &Cell) -> String {
    let Tally { median_seconds, median_requests, .. } = &cell.tally;
    let share = cell.tally.share() * 100.0;
    match (median_seconds, median_requests) {
        (Some(seconds), Some(requests)) => {
            format!("{share:.0}% {} {} ex{:.0}", duration(*seconds), count(*requests), cell.tally.excess_errors)
        }
        _ => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::rule::JudgeKind;
    use super::*;

    fn cell(row: &'static str, fault: Option<&str>) -> Cell {
        Cell {
            judge: JudgeKind::Ours,
            row,
            rate: 50.0,
            interval: 60.0,
            fault: fault.map(|fault| fault.parse().unwrap()),
            tally: Tally {
                cutovers: 1000,
                reverted: 24,
                early: 0,
                median_seconds: Some(300.0),
                median_requests: Some(30_000.0),
                excess_errors: 12.2,
            },
            limit_requests: fault.map(|_| 10_000.0),
        }
    }

    #[test]
    fn a_cell_reads_as_a_sentence() {
        let healthy = cell("heavy GC 8%x5%", None);
        assert_eq!(
            line(&healthy),
            "ours        heavy-gc-8-x5                    50 rps  60 s  reverted 24 of 1000: 2.4 % (1.5 to 3.6)"
        );
        let faulty = cell("5xx .1->.2%", Some("errors:0.2%"));
        assert!(line(&faulty).ends_with(
            "errors:0.2%: found 24 of 1000: 2.4 %, median 5 min and 30.0k requests, excess errors 12, limit 10.0k (x3)"
        ));
    }

    #[test]
    fn an_object_has_what_a_reader_of_it_expects() {
        let object = object(&cell("5xx .1->.2%", Some("errors:0.2%")));
        for key in ["judge", "world", "rate", "interval", "fault", "cutovers", "reverted", "median_seconds"] {
            assert!(object.get(key).is_some_and(|value| !value.is_null()), "{key}");
        }
    }

    #[test]
    fn tables_have_the_judges_side_by_side() {
        let mut peer = cell("heavy GC 8%x5%", None);
        peer.judge = JudgeKind::Argo;
        let text = tables(&[cell("heavy GC 8%x5%", None), peer, cell("p99 x2", Some("latency-p99:2"))]);
        // Ours, Argo and the prototype; ours, the prototype and the limit.
        assert!(text.contains("| heavy GC 8%x5% | 2.4 | 2.4 | 2.4 |\n"), "{text}");
        assert!(text.contains("| p99 x2 | 2% 5 min 30.0k ex12 | 100% 3 min 570 | 10.0k (x3) |\n"), "{text}");
        assert!(text.contains("- ours: cells above 5 %: none\n"), "{text}");
    }

    #[test]
    fn a_cell_above_what_is_allowed_is_named() {
        let mut bad = cell("heavy GC 8%x5%", None);
        bad.tally.reverted = 90;
        let text = tables(&[bad]);
        assert!(text.contains("- ours: cells above 5 %: heavy GC 8%x5% at 50 (9.0 %, 7.3 to 10.9)\n"), "{text}");
    }
}
