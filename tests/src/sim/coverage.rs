//! Which (phase, event) pairs the worlds have reached.

use std::collections::BTreeMap;

use cutover::{Event, Phase};

/// Every phase, in the order of a cutover.
pub const PHASES: [&str; 12] = [
    "pending",
    "preflight",
    "baseline",
    "gated",
    "shifting",
    "baking",
    "draining",
    "done",
    "reverting",
    "reverted",
    "aborted",
    "stuck",
];

/// Every kind of event; orders by their verb.
pub const EVENTS: [&str; 24] = [
    "tick",
    "restarted",
    "checked",
    "read",
    "written",
    "observed",
    "glanced",
    "health",
    "armed",
    "fired",
    "gate_answered",
    "levers_read",
    "lever_moved",
    "failed",
    "policy_changed",
    "journal",
    "start",
    "advance",
    "hold",
    "pause",
    "resume",
    "revert",
    "abort",
    "close",
];

/// The event's name in [`EVENTS`].
pub fn name(event: &Event) -> &'static str {
    match event {
        Event::Ordered(order) => order.verb.word(),
        other => other.word(),
    }
}

/// How often each pair was reached.
#[derive(Clone, Debug, Default)]
pub struct Coverage(BTreeMap<(&'static str, &'static str), u64>);

impl Coverage {
    /// Counts one decision.
    pub fn reached(&mut self, phase: &Phase, event: &Event) {
        *self.0.entry((phase.name(), name(event))).or_default() += 1;
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (pair, count) in &other.0 {
            *self.0.entry(*pair).or_default() += count;
        }
    }

    /// How often a pair was reached.
    pub fn count(&self, phase: &str, event: &str) -> u64 {
        self.0.iter().find(|((p, e), _)| *p == phase && *e == event).map_or(0, |(_, count)| *count)
    }

    /// Pairs that were not reached and have no reason not to be.
    pub fn unexplained(&self) -> Vec<(&'static str, &'static str)> {
        pairs().filter(|&(p, e)| self.count(p, e) == 0 && unreachable(p, e).is_none()).collect()
    }
}

/// Every pair.
pub fn pairs() -> impl Iterator<Item = (&'static str, &'static str)> {
    PHASES.into_iter().flat_map(|phase| EVENTS.into_iter().map(move |event| (phase, event)))
}

/// Why a pair cannot be reached, if it cannot. The core answers it all the same: the transition table shows how.
pub fn unreachable(phase: &str, event: &str) -> Option<&'static str> {
    // The way back to these leads through weights that were changed before our first write, and through nothing else.
    let before_writes = matches!(phase, "pending" | "preflight" | "baseline");
    match event {
        "written" if before_writes => {
            Some("nothing is written before the first step, and after it no way leads back here")
        }
        "glanced" | "health" if before_writes => {
            Some("the shell looks at the last moments only once something was written")
        }
        "armed" | "fired" if before_writes => Some(
            "only a foreign change between an arming and its first write, a second at most, leads back here: too rare",
        ),
        "levers_read" | "lever_moved" if matches!(phase, "reverting" | "stuck" | "aborted") => {
            Some("nothing is asked of the levers here, and what was asked before is answered within seconds: too rare")
        }
        "lever_moved" if matches!(phase, "shifting" | "draining") => {
            Some("levers are moved before a share is, and an answer that is as late as the next phase is too rare")
        }
        _ => None,
    }
}
