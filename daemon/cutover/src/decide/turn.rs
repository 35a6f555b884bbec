//! One decision in the making: the cutover as it will be, what is to be carried out, and why.

use crate::command::Command;
use crate::cutover::{Cutover, Halt, HaltKind, LATE_WRITES_MAX, Phase};
use crate::reason::Reason;
use crate::units::{Share, Timestamp};

/// What the concerns of `decide` work on, one after the other.
pub(super) struct Turn {
    /// The cutover as it will be.
    pub(super) next: Cutover,
    /// What to carry out, in this order.
    pub(super) commands: Vec<Command>,
    /// Why; the last transition has the word.
    pub(super) reason: Option<Reason>,
    /// Whether the order, if the event is one, is accepted.
    pub(super) accepted: bool,
    /// The time.
    pub(super) now: Timestamp,
}

impl Turn {
    pub(super) fn new(cutover: &Cutover, now: Timestamp) -> Self {
        Self { next: cutover.clone(), commands: Vec::new(), reason: None, accepted: true, now }
    }

    /// Enters a phase.
    pub(super) fn enter(&mut self, phase: Phase, kind: &str, text: impl Into<String>) {
        self.next.phase = phase;
        self.next.since = self.now;
        self.next.reread = false;
        self.next.budgets.phase = std::time::Duration::ZERO;
        self.because(kind, text);
    }

    /// Says why, over anything said before in this turn.
    pub(super) fn because(&mut self, kind: &str, text: impl Into<String>) {
        self.reason = Some(Reason::new(kind, text));
    }

    /// Says what was noted, unless something better was said.
    pub(super) fn note(&mut self, kind: &str, text: impl Into<String>) {
        if self.reason.is_none() {
            self.because(kind, text);
        }
    }

    /// Refuses the order; nothing changes.
    pub(super) fn refuse(&mut self, text: impl Into<String>) {
        self.accepted = false;
        self.because("refused", text);
    }

    /// Stays until someone acts. A halt that stands is not replaced by one of the same kind, so that its age is true; nor by
    /// the news that time ran out, since that was halted for already and the two would take turns at every read.
    pub(super) fn halt(&mut self, kind: HaltKind, text: impl Into<String>) {
        let text = text.into();
        if self.next.halt.as_ref().is_some_and(|halt| halt.kind == kind || kind == HaltKind::Timeout) {
            return;
        }
        self.because(
            match kind {
                HaltKind::Drift => "drift",
                HaltKind::Write => "write_failed",
                HaltKind::Timeout => "timeout",
                HaltKind::Start => "start_refused",
                HaltKind::Drain => "drain_timeout",
            },
            text.clone(),
        );
        self.next.halt = Some(Halt { kind, text, since: self.now });
    }

    /// Gives up the write that is under way: it may still land, and a read that shows it later is no drift.
    pub(super) fn drop_write(&mut self) {
        if let Some(write) = self.next.write.take() {
            self.remember_late(write.share);
        }
    }

    /// Remembers that a write of `share` may still land.
    pub(super) fn remember_late(&mut self, share: Share) {
        let late = &mut self.next.late;
        late.retain(|known| *known != share);
        late.push(share);
        if late.len() > LATE_WRITES_MAX {
            late.remove(0);
        }
    }

    /// The share of a step; everything for a step past the ladder.
    pub(super) fn step_share(&self, step: usize) -> Share {
        self.next.step_share(step)
    }
}
