//! Cores that are broken on purpose, one for each invariant: the simulator must find each, by the check meant for it.
//!
//! A mutant is a wrapper around the real `decide` that spoils what goes in or what comes out, so the product carries no
//! trace of it.

use std::cell::Cell;
use std::sync::Arc;

use cutover::event::{About, CheckOutcome, CommandKind};
use cutover::policy::GateKind;
use cutover::{Command, Cutover, Decision, Event, Phase, Timestamp, decide};
use judge::{Block, Counts};
use serde_json::Value;

/// One way to be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Invariant 1: two runs of the same decision differ.
    Impure,
    /// Invariant 2: a rise is not journalled before it is carried out.
    Unjournalled,
    /// Invariant 3: any read confirms a write, even one begun before it.
    Credulous,
    /// Invariant 4: a window without data counts as a good one.
    Hopeful,
    /// Invariant 4: what a gate said of a moment counts for as long as the step waits.
    Patient,
    /// Invariant 5: a revert puts back the weights and forgets the rest of the original action.
    Forgetful,
    /// Invariant 6: writes move although capture is not known to be without loss.
    Lossy,
    /// Invariant 7: a revert is tried for ever.
    Endless,
    /// Invariant 8: what was set beside the weights stays set.
    Keeping,
}

impl Mutant {
    /// Every mutant.
    pub const ALL: [Self; 9] = [
        Self::Impure,
        Self::Unjournalled,
        Self::Credulous,
        Self::Hopeful,
        Self::Patient,
        Self::Forgetful,
        Self::Lossy,
        Self::Endless,
        Self::Keeping,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Impure => "impure",
            Self::Unjournalled => "unjournalled",
            Self::Credulous => "credulous",
            Self::Hopeful => "hopeful",
            Self::Patient => "patient",
            Self::Forgetful => "forgetful",
            Self::Lossy => "lossy",
            Self::Endless => "endless",
            Self::Keeping => "keeping",
        }
    }

    /// The oracle's check that must find it.
    pub const fn check(self) -> &'static str {
        match self {
            Self::Impure => "pure",
            Self::Unjournalled => "journal",
            Self::Credulous => "belief",
            Self::Hopeful => "evidence",
            Self::Patient => "gates",
            Self::Forgetful => "revert",
            Self::Lossy => "capture",
            Self::Endless => "limits",
            Self::Keeping => "levers",
        }
    }

    /// The mutant of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mutant| mutant.name() == name)
    }
}

thread_local! {
    /// What makes the impure core impure.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

/// What the real core answers, or the mutant in its place.
pub fn answer(mutant: Option<Mutant>, cutover: &Cutover, event: &Event, now: Timestamp) -> Decision {
    match mutant {
        None => decide(cutover, event, now),
        Some(Mutant::Impure) => {
            let calls = CALLS.with(|calls| calls.replace(calls.get() + 1));
            let mut decision = decide(cutover, event, now);
            decision.reason.text.push_str(if calls.is_multiple_of(2) { "" } else { " " });
            decision
        }
        Some(Mutant::Unjournalled) => {
            let mut decision = decide(cutover, event, now);
            let writes = decision.commands.iter().any(|command| matches!(command, Command::Write { .. }));
            if writes && !matches!(decision.next.phase, Phase::Reverting { .. }) {
                decision.journal = false;
            }
            decision
        }
        Some(Mutant::Credulous) => {
            let mut event = event.clone();
            if let Event::Read(reading) = &mut event {
                reading.begun = now;
                if let Some(write) = &cutover.write {
                    reading.share = write.share;
                    reading.disagreeing.clear();
                }
            }
            decide(cutover, &event, now)
        }
        Some(Mutant::Hopeful) => {
            let mut event = event.clone();
            if let (Event::Failed { what: CommandKind::Observe, .. }, Some(asked)) = (&event, &cutover.evidence.asked) {
                let good = Counts { requests: 5_000, status_2xx: 5_000, ..Counts::default() };
                let share = cutover.desired.reads.fraction();
                let side = |share: f64| {
                    let mut counts = good.clone();
                    counts.requests = (5_000.0 * share) as u64;
                    counts.status_2xx = counts.requests;
                    counts.latency.record(40_000, counts.requests);
                    counts.exchange.record(80_000, counts.requests);
                    counts
                };
                let window = asked.window;
                let millis = u64::try_from(window.to.0 - window.from.0).unwrap_or(0);
                let reads = Block { millis, source: side(1.0 - share), target: side(share) };
                event = Event::Observed(cutover::Observation { window, reads, writes: Block::default() });
            }
            decide(cutover, &event, now)
        }
        Some(Mutant::Patient) => patient(cutover, event, now),
        Some(Mutant::Forgetful) => {
            let mut decision = decide(cutover, event, now);
            for command in &mut decision.commands {
                if let Command::Restore { action: Value::Object(action), .. } = command {
                    action.remove("note");
                }
            }
            decision
        }
        Some(Mutant::Lossy) => {
            let mut event = event.clone();
            if let Event::Checked { checks, .. } = &mut event {
                for check in checks.iter_mut().filter(|check| check.about == About::Capture) {
                    check.outcome = CheckOutcome::Pass;
                }
            }
            decide(cutover, &event, now)
        }
        Some(Mutant::Keeping) => {
            let mut decision = decide(cutover, event, now);
            for command in &mut decision.commands {
                if let Command::SetLever { from: Some(from), to, .. } = command {
                    *to = *from;
                }
            }
            decision
        }
        Some(Mutant::Endless) => {
            let mut cutover = cutover.clone();
            if let Phase::Reverting { attempts, reads } = &mut cutover.phase {
                *attempts = (*attempts).min(1);
                *reads = 0;
                cutover.budgets.phase = std::time::Duration::ZERO;
            }
            let mut event = event.clone();
            if let Event::Failed { retry, .. } = &mut event {
                *retry = cutover::event::Retry::Later;
            }
            decide(&cutover, &event, now)
        }
    }
}

/// A core that believes what it was told of the replay for as long as it likes.
fn patient(cutover: &Cutover, event: &Event, now: Timestamp) -> Decision {
    let mut believes = cutover.clone();
    for gate in &mut Arc::make_mut(&mut believes.policy).gates {
        if matches!(gate.kind, GateKind::ReplayLag(_)) {
            gate.kind = GateKind::Command { argv: Vec::new() };
        }
    }
    let mut decision = decide(&believes, event, now);
    if Arc::ptr_eq(&decision.next.policy, &believes.policy) {
        decision.next.policy = Arc::clone(&cutover.policy);
    }
    decision
}
