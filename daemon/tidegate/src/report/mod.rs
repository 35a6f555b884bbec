//! The dossier: one self-contained HTML file about one cutover.
//!
//! Built from the journal and the intervals kept beside it, and from nothing else, so that anyone can build it again
//! years later and get the same numbers. It needs no network, no script and no other file, is readable in light and
//! dark, on paper and without colour, and ends with what the operator came for ([`answer`](mod@answer)). Everything
//! that came from outside (names, reasons, errors) is escaped by the template engine.

pub mod answer;
mod charts;
pub(crate) mod plot;
#[cfg(test)]
mod tests;

use std::time::Duration;

use cutover::{Command, Cutover, Event, Phase, Timestamp, price};
use judge::{GuardVerdict, Side};
use minijinja::{AutoEscape, Environment, context};
use serde::Serialize;

use crate::screen::format;
use crate::store::{Entry, Sample};
use crate::{permanent, undo};

/// The most decisions that are listed one by one: the first of them, and twice as many of the last, since the end is
/// what people come for. What is left out between is counted.
const DECISIONS_MAX: usize = 1500;
/// The most decisions that are marked on the charts: more would hide the lines.
const MARKS_MAX: usize = 24;

/// Why there is no dossier.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// There is nothing to report on.
    #[error("the journal has no entry of this cutover")]
    Empty,
    /// The page could not be made; a bug in the template.
    #[error("cannot fill in the page: {0}")]
    Template(#[from] minijinja::Error),
}

/// One decision, as it is shown.
#[derive(Debug, Serialize)]
struct Decision {
    id: u64,
    at: String,
    second: String,
    phase: &'static str,
    desired: String,
    event: String,
    kind: String,
    text: String,
    commands: Vec<String>,
    evidence: Option<String>,
    guards: Vec<Row>,
    alarms: Vec<String>,
    hash: String,
}

/// One guard's verdict, as it is shown.
#[derive(Debug, Serialize)]
struct Row {
    guard: &'static str,
    against: &'static str,
    reference: String,
    target: String,
    bound: String,
    /// Between what and what the reference's and the target's share really lie.
    reference_lies: String,
    target_lies: String,
    reference_requests: String,
    target_requests: String,
    evidence: String,
    verdict: &'static str,
    sentence: String,
}

/// What a side did over the whole cutover.
#[derive(Debug, Serialize)]
struct Total {
    side: &'static str,
    requests: String,
    errors: String,
    errors_share: String,
    client_errors: String,
    abandoned: String,
    p50: String,
    p99: String,
    exchange_p99: String,
}

/// The dossier of a cutover as HTML, from its journal entries and kept intervals, both oldest first.
///
/// # Errors
/// When there is no entry, or the template cannot be filled in.
pub fn html(entries: &[Entry], samples: &[Sample]) -> Result<String, ReportError> {
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Err(ReportError::Empty) };
    let start = first.at;
    let cutover = &last.next;
    let answer = answer::answer(cutover);
    let left_out = entries.len().saturating_sub(DECISIONS_MAX);
    let first_ones = if left_out == 0 { entries.len() } else { DECISIONS_MAX / 3 };
    let listed = entries.iter().take(first_ones).chain(entries.iter().skip(first_ones + left_out));
    let decisions: Vec<Decision> = listed.map(|entry| decision(entry, start)).collect();
    let marks = marks(entries, start);
    let price = price(cutover, last.at);
    let mut environment = pages();
    environment.add_template("dossier", include_str!("../../assets/dossier.html"))?;
    let page = environment.get_template("dossier")?.render(context! {
        style => STYLE,
        service => cutover.policy.service,
        id => cutover.id,
        outcome => outcome(cutover),
        good => matches!(cutover.phase, Phase::Done),
        reason => cutover.reason.text,
        reverted => revert(entries),
        started => start.to_string(),
        ended => last.at.to_string(),
        took => format::duration(Duration::from_secs(last.at.since(start).as_secs())),
        steps => cutover.policy.shift.steps.iter().map(ToString::to_string).collect::<Vec<_>>(),
        desired => cutover.desired.to_string(),
        configured => cutover.configured.as_ref().map(|reading| reading.share.to_string()),
        original => cutover.original.as_ref().map(|reading| reading.share.to_string()),
        original_action => cutover.original.as_ref().map(|reading| reading.action.to_string()),
        undo => undo::commands(cutover),
        permanent => permanent::lines(cutover),
        baseline => baseline(cutover),
        totals => [total(samples, Side::Source), total(samples, Side::Target)],
        intervals => samples.len(),
        gaps => cutover.evidence.gaps,
        charts => charts::all(samples, start, &marks),
        marks => marks.len(),
        verdicts => cutover.evidence.judgement.iter().flat_map(|j| &j.guards).map(row).collect::<Vec<_>>(),
        diagnosis => cutover.evidence.judgement.as_ref().map(|judgement| judgement.diagnosis()),
        p_value => cutover.evidence.judgement.as_ref().map(|judgement| format!("{:.4}", judgement.p_value)),
        false_revert_max => format::share(cutover.policy.false_revert_max),
        checks => cutover.checks,
        decisions => decisions,
        left_out => left_out,
        left_out_after => first_ones,
        price => price.text,
        writes => price.writes,
        policy => serde_json::to_string_pretty(&cutover.policy).unwrap_or_default(),
        source => cutover.policy.source.endpoints,
        target => cutover.policy.target.endpoints,
        version => last.version,
        entries => entries.len(),
        last_entry => last.id,
        last_hash => last.hash,
        answer => answer,
    })?;
    Ok(page)
}

/// The look of all our pages.
pub(crate) const STYLE: &str = include_str!("../../assets/page.css");

/// What fills in a page for a browser: everything that comes from outside is escaped.
pub(crate) fn pages() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment
}

/// The way back, where there was one: what everybody asks first.
#[derive(Debug, Serialize)]
struct Revert {
    /// The number of the decision.
    id: u64,
    at: String,
    /// The target's share before it.
    from: String,
    /// Why, in a sentence.
    why: String,
    /// What the guards that fail say, and the alarms.
    evidence: Vec<String>,
    /// From the decision to the confirmation; `None` without one.
    took: Option<String>,
}

/// The last revert among the entries, and how long it took until it was confirmed.
fn revert(entries: &[Entry]) -> Option<Revert> {
    let reverting = |entry: &Entry| matches!(entry.next.phase, Phase::Reverting { .. });
    let at =
        (0..entries.len()).rev().find(|&at| reverting(&entries[at]) && (at == 0 || !reverting(&entries[at - 1])))?;
    let entry = &entries[at];
    let judgement = entry.next.evidence.judgement.as_ref();
    let alarms = judgement.iter().flat_map(|judgement| &judgement.alarms).map(|alarm| alarm.sentence.clone());
    let guards = judgement.iter().flat_map(|judgement| &judgement.guards);
    let failed = guards.filter(|guard| guard.on && guard.verdict == judge::Verdict::Fail);
    let confirmed = entries.iter().skip(at).find(|entry| entry.next.phase == Phase::Reverted);
    Some(Revert {
        id: entry.id,
        at: entry.at.to_string(),
        from: entries[at.saturating_sub(1)].next.desired.to_string(),
        why: entry.reason.text.clone(),
        // The reason is often the sentence of the one guard that failed.
        evidence: alarms
            .chain(failed.map(|guard| guard.sentence.clone()))
            .filter(|sentence| !entry.reason.text.contains(sentence.as_str()))
            .collect(),
        took: confirmed.map(|confirmed| format::duration(confirmed.at.since(entry.at))),
    })
}

/// How it ended, in capitals and words.
fn outcome(cutover: &Cutover) -> &'static str {
    match cutover.phase {
        Phase::Done => "DONE",
        Phase::Reverted => "REVERTED",
        Phase::Stuck { .. } => "STUCK",
        Phase::Aborted => "ABORTED",
        Phase::Pending
        | Phase::Preflight
        | Phase::Baseline
        | Phase::Gated { .. }
        | Phase::Shifting { .. }
        | Phase::Baking { .. }
        | Phase::Draining
        | Phase::Reverting { .. } => "NOT OVER",
    }
}

fn baseline(cutover: &Cutover) -> String {
    match &cutover.evidence.baseline {
        None => "none was recorded".to_owned(),
        Some(baseline) => {
            let thin = if baseline.is_thin() {
                format!(
                    " It is thin: {} intervals are asked for, so nothing was judged against it.",
                    cutover.policy.baseline.intervals_min
                )
            } else {
                String::new()
            };
            if let Some(given) = &cutover.given {
                return format!("Nothing was recorded at the start: {} (digest {}).{thin}", given.told(), given.digest);
            }
            format!(
                "{} intervals with {} requests of the source were recorded.{thin}",
                baseline.intervals(),
                format::count(baseline.requests())
            )
        }
    }
}

fn decision(entry: &Entry, start: Timestamp) -> Decision {
    let judgement = entry.next.evidence.judgement.as_ref();
    Decision {
        id: entry.id,
        at: format::clock(entry.at),
        second: format!("{:.1}", charts::seconds(entry.at, start)),
        phase: entry.next.phase.name(),
        desired: entry.next.desired.to_string(),
        event: event(&entry.event),
        kind: entry.reason.kind.clone(),
        text: entry.reason.text.clone(),
        commands: entry.commands.iter().filter_map(command).collect(),
        evidence: judgement.map(|judgement| {
            format!("{} of {}", format::evidence(judgement.evidence), format::evidence(judgement.evidence_max))
        }),
        guards: judgement.iter().flat_map(|judgement| &judgement.guards).map(row).collect(),
        alarms: judgement.iter().flat_map(|j| &j.alarms).map(|alarm| alarm.sentence.clone()).collect(),
        hash: entry.hash.chars().take(12).collect(),
    }
}

/// What happened, in words.
fn event(event: &Event) -> String {
    match event {
        Event::Ordered(order) => {
            let verb = serde_json::to_value(&order.verb).ok();
            let verb = verb.as_ref().and_then(|verb| verb["verb"].as_str()).unwrap_or("order");
            format!("{} ordered `{verb}`: {}", order.actor, order.reason)
        }
        Event::Tick => "time passed".to_owned(),
        Event::Restarted => "the daemon came up and found this cutover".to_owned(),
        Event::Checked { checks, .. } => format!("{} checks were made", checks.len()),
        Event::Read(reading) => format!("the balancer was read: {}", reading.share),
        Event::Written { generation, .. } => format!("write {} was acknowledged", generation.0),
        Event::Observed(seen) => {
            format!("an interval of {} was counted", format::duration(seen.window.length()))
        }
        Event::Glanced(seen) => format!("the last {} were looked at", format::duration(seen.window.length())),
        Event::Health(health) => {
            format!("{} of {} targets of the target were healthy", health.target.healthy, health.target.all)
        }
        Event::Armed => "the proxies hold the armed revert".to_owned(),
        Event::Fired { why, share, .. } => format!("a tripwire fired in the proxies, share now {share}: {why}"),
        Event::GateAnswered { gate, step, .. } => format!("gate `{gate}` answered for step {}", step + 1),
        Event::LeversRead { .. } => "the settings beside the weights were read".to_owned(),
        Event::LeverMoved { lever, value, .. } => format!("a setting was read back: {}", lever.told(*value)),
        Event::Failed { error, .. } => format!("a command failed: {error}"),
        Event::PolicyChanged { change: Some(change) } => format!("the policy file changed: {change}"),
        Event::PolicyChanged { change: None } => "the policy file says the same again".to_owned(),
        Event::Journal { writable: true } => "the journal can be written again".to_owned(),
        Event::Journal { writable: false } => "the journal cannot be written".to_owned(),
    }
}

/// What was asked for, in words; reads and wake-ups are no news.
fn command(command: &Command) -> Option<String> {
    match command {
        Command::Write { share, generation } => Some(format!("write {}: target {share}", generation.0)),
        Command::Restore { generation, .. } => Some(format!("write {}: put back the original", generation.0)),
        Command::Arm { share, tripwires, .. } => Some(format!("arm {} tripwires to put back {share}", tripwires.len())),
        Command::Disarm => Some("disarm the tripwires".to_owned()),
        Command::AskGate { gate, step } => Some(format!("ask gate `{gate}` before step {}", step + 1)),
        Command::CloseConnections { until } => Some(format!("ask clients to reconnect until {until}")),
        Command::SetLever { lever, from: None, to } => Some(format!("set, for now: {}", lever.told(*to))),
        Command::SetLever { lever, from: Some(_), to } => Some(format!("put back: {}", lever.told(*to))),
        Command::Alert(alert) => Some(format!("alert: {}", alert.title)),
        Command::Check | Command::Read | Command::ReadLevers | Command::Observe(_) | Command::WakeAt(_) => None,
    }
}

fn row(guard: &GuardVerdict) -> Row {
    let lies = guard
        .shown_intervals()
        .map(|sides| sides.map(|(low, high)| format!("{} to {}", format::share(low), format::share(high))));
    let [reference_lies, target_lies] = lies.unwrap_or_else(|| ["-", "-"].map(str::to_owned));
    Row {
        reference_lies,
        target_lies,
        guard: format::guard(guard.guard),
        against: match guard.reference {
            judge::Reference::Source => "source",
            judge::Reference::Baseline => "baseline",
        },
        reference: format::figure(guard.guard, guard.reference_value),
        target: format::figure(guard.guard, guard.target_value),
        bound: format::figure(guard.guard, guard.bound),
        reference_requests: format::count(guard.reference_requests),
        target_requests: format::count(guard.target_requests),
        evidence: format!("{} of {}", format::evidence(guard.evidence), format::evidence(guard.evidence_max)),
        verdict: match guard.verdict {
            _ if !guard.on => "off",
            judge::Verdict::Pass => "pass",
            judge::Verdict::Fail => "fail",
            judge::Verdict::Unknown => "unknown",
        },
        sentence: guard.sentence.clone(),
    }
}

fn total(samples: &[Sample], side: Side) -> Total {
    let mut counts = judge::Counts::default();
    for sample in samples {
        counts.merge(&sample.side(side));
    }
    let quantile = |histogram: &judge::Histogram, q| {
        histogram.quantile_micros(q).map_or_else(|| "-".to_owned(), |micros| format::millis(micros / 1000.0))
    };
    Total {
        side: match side {
            Side::Source => "source",
            Side::Target => "target",
        },
        requests: format::count(counts.requests),
        errors: format::count(counts.errors()),
        errors_share: if counts.requests == 0 {
            "-".to_owned()
        } else {
            format::share(counts.errors() as f64 / counts.requests as f64)
        },
        client_errors: format::count(counts.status_4xx),
        abandoned: format::count(counts.abandoned),
        p50: quantile(&counts.latency, 0.5),
        p99: quantile(&counts.latency, 0.99),
        exchange_p99: quantile(&counts.exchange, 0.99),
    }
}

/// The decisions that changed the desired share or the phase, for the charts.
fn marks(entries: &[Entry], start: Timestamp) -> Vec<plot::Mark> {
    let mut marks: Vec<plot::Mark> = Vec::new();
    let mut before: Option<&Entry> = None;
    for entry in entries {
        let news = before.is_none_or(|before| {
            before.next.desired != entry.next.desired || before.next.phase.name() != entry.next.phase.name()
        });
        let loud = matches!(
            entry.next.phase,
            Phase::Shifting { .. } | Phase::Reverting { .. } | Phase::Draining | Phase::Done | Phase::Reverted
        );
        if news && loud && marks.len() < MARKS_MAX {
            marks.push((charts::seconds(entry.at, start), entry.id));
        }
        before = Some(entry);
    }
    marks
}
