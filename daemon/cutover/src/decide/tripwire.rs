//! Tripwires: absolute limits on the target that revert at once.
//!
//! They look at the last moments only, at all requests of the target whatever their class, and they hold still while
//! the source is itself beyond its limit: then the world is broken and moving traffic mends nothing. Where nobody counts
//! the last moments (an ALB whose proxies are not ours) they look at each judged interval as a whole, as late as that
//! comes. Beside them stands one on the health of the target's targets, as the balancer's own checks see them.

use std::time::Duration;

use judge::Counts;

use super::turn::Turn;
use super::{revert, time};
use crate::cutover::{Armed, Phase};
use crate::event::{Health, Observation, Targets};
use crate::policy::{Tripwire, TripwireKind};
use crate::units::{Generation, Timestamp, Window};

/// A glance whose end lies further back than this many of its lengths is of the past and says nothing about now.
pub(super) const GLANCE_AGE_MAX: u32 = 4;
/// A reading of health that was begun longer ago says nothing about now.
pub(super) const HEALTH_AGE_MAX: Duration = Duration::from_secs(30);

/// The last moments were counted.
pub(super) fn glanced(turn: &mut Turn, glance: &Observation) {
    let length = glance.window.length();
    if glance.window.to > turn.now || turn.now.since(glance.window.to) > length.saturating_mul(GLANCE_AGE_MAX) {
        turn.note("stale_glance", "a glance of the past came late, or claims to be of the future");
        return;
    }
    turn.next.budgets.blind = Duration::ZERO;
    let fired = looking(turn).then(|| tripped(turn, glance, |tripwire| looks_at(tripwire, glance.window))).flatten();
    match fired {
        Some(text) => revert::begin(turn, "tripwire", text),
        None => turn.note("glance", "the last moments were counted"),
    }
}

/// Whether the tripwires are awake: from the first write on until the source is left alone, or has the traffic again.
fn looking(turn: &Turn) -> bool {
    match turn.next.phase {
        Phase::Gated { .. } => turn.next.generation > Generation::default(),
        Phase::Shifting { .. } | Phase::Baking { .. } | Phase::Draining => true,
        Phase::Pending
        | Phase::Preflight
        | Phase::Baseline
        | Phase::Done
        | Phase::Reverting { .. }
        | Phase::Reverted
        | Phase::Aborted
        | Phase::Stuck { .. } => false,
    }
}

/// The first of some tripwires that fires on these counts, in words.
fn tripped(turn: &Turn, counted: &Observation, looks: impl Fn(&Tripwire) -> bool) -> Option<String> {
    let mut source = counted.reads.source.clone();
    source.merge(&counted.writes.source);
    let mut target = counted.reads.target.clone();
    target.merge(&counted.writes.target);
    let mut tripwires = turn.next.policy.tripwires.iter().filter(|tripwire| looks(tripwire));
    tripwires.find_map(|tripwire| fires(tripwire, &source, &target))
}

/// A judged interval, where nothing shorter is counted; whether that began a revert.
pub(super) fn counted(turn: &mut Turn, observation: &Observation) -> bool {
    if turn.next.policy.counts_fast() || !looking(turn) {
        return false;
    }
    let Some(text) = tripped(turn, observation, |_| true) else { return false };
    let late = turn.now.since(observation.window.to).as_secs();
    revert::begin(turn, "tripwire", format!("{text} (counted {late} s late: nothing counts the last moments here)"));
    true
}

/// The health of both sides' targets was read.
///
/// Fewer than the policy's least is definite badness: an ALB that finds no healthy target sends to all of them, ill as
/// they are, and answers 503 by itself where there is none (ELB user guide, "Health checks for target groups"). Targets of
/// which nobody knows anything count as healthy here, and the source must have its least.
pub(super) fn health(turn: &mut Turn, health: &Health) {
    if health.begun > turn.now || turn.now.since(health.begun) > HEALTH_AGE_MAX {
        turn.note("stale_health", "a reading of the targets' health came late, or claims to be of the future");
        return;
    }
    let least = turn.next.policy.fleet.healthy_min;
    let target = &health.target;
    let well = |targets: &Targets| targets.healthy >= least;
    let bad = target.healthy.saturating_add(target.unknown) < least;
    let source = health.source.as_ref().filter(|source| well(source));
    let Some(source) = source.filter(|_| bad && looking(turn) && time::exposed(turn)) else {
        turn.note("health", "the health of the targets was read");
        return;
    };
    let ill = match &target.ill[..] {
        "" => String::new(),
        ill => format!(" ({ill})"),
    };
    let text = format!(
        "target health: {} of {} targets of the target are healthy{ill}; {least} is the least, and the source has {} of {}",
        target.healthy, target.all, source.healthy, source.all
    );
    revert::begin(turn, "target_unhealthy", text);
}

/// Whether a glance is as long as the tripwire's window, a quarter more or less.
fn looks_at(tripwire: &Tripwire, window: Window) -> bool {
    let wanted = tripwire.window.as_millis();
    let length = window.length().as_millis();
    length * 4 >= wanted * 3 && length * 4 <= wanted * 5
}

/// Why a tripwire fires, if it does.
pub(super) fn fires(tripwire: &Tripwire, source: &Counts, target: &Counts) -> Option<String> {
    if target.requests < tripwire.requests_min.max(1) {
        return None;
    }
    let ours = figure(tripwire.kind, target)?;
    let theirs = figure(tripwire.kind, source).unwrap_or(0.0);
    if ours < tripwire.limit || theirs > tripwire.source_limit {
        return None;
    }
    let n = target.requests;
    let figures = match tripwire.kind {
        TripwireKind::Errors => format!(
            "{:.1} % of {n} requests of the target failed; {:.1} % is the limit, the source has {:.1} %",
            100.0 * ours,
            100.0 * tripwire.limit,
            100.0 * theirs
        ),
        TripwireKind::Unanswered => format!(
            "{:.1} % of {n} requests of the target were not answered; {:.1} % is the limit, the source has {:.1} %",
            100.0 * ours,
            100.0 * tripwire.limit,
            100.0 * theirs
        ),
        TripwireKind::Latency => format!(
            "the target's 99th percentile is {ours:.0} ms over {n} requests; {:.0} ms is the limit, the source has \
             {theirs:.0} ms",
            tripwire.limit
        ),
    };
    Some(format!("tripwire `{}`: {figures}", tripwire.name))
}

/// A side's figure; `None` without requests.
fn figure(kind: TripwireKind, counts: &Counts) -> Option<f64> {
    if counts.requests == 0 {
        return None;
    }
    let requests = counts.requests as f64;
    match kind {
        TripwireKind::Errors => Some(counts.errors() as f64 / requests),
        // A request that timed out is counted as failed, like one that found no connection: neither was answered.
        TripwireKind::Unanswered => Some(counts.abandoned.saturating_add(counts.failed) as f64 / requests),
        TripwireKind::Latency => counts.latency.quantile_micros(0.99).map(|micros| micros / 1000.0),
    }
}

/// A tripwire fired in our own proxies: the armed share is back there already. The whole original is put back all the
/// same, everywhere, and read.
pub(super) fn fired(turn: &mut Turn, why: &str, at: Timestamp) {
    if turn.next.armed == Armed::No && turn.next.generation == Generation::default() {
        turn.note("tripwire_foreign", format!("a proxy's tripwire fired that this cutover had not armed: {why}"));
        return;
    }
    // The proxy gave its own change the number after the last one it had; ours must be higher than that.
    turn.next.generation = turn.next.generation.next();
    let text = format!("a proxy's tripwire fired at {at}: {why}");
    match turn.next.phase {
        // After done a shot that was under way still put the source back: what is, is told, and made whole.
        Phase::Preflight
        | Phase::Baseline
        | Phase::Gated { .. }
        | Phase::Shifting { .. }
        | Phase::Baking { .. }
        | Phase::Draining => revert::begin(turn, "tripwire_fired", text),
        Phase::Done if turn.next.closed.is_none() => revert::begin(turn, "tripwire_fired", text),
        Phase::Reverting { .. } | Phase::Stuck { .. } => {
            turn.because("tripwire_fired", format!("{text}; the revert is under way"));
            revert::restore(turn);
        }
        Phase::Pending | Phase::Done | Phase::Reverted | Phase::Aborted => {
            turn.note("tripwire_late", format!("{text}; too late to matter"));
        }
    }
}
