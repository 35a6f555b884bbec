//! What follows from an event.

use crate::command::Command;
use crate::cutover::Cutover;
use crate::event::Event;
use crate::reason::Reason;
use crate::units::Timestamp;

/// What to do, and why.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The cutover from now on.
    pub next: Cutover,
    /// What to carry out once `next` is on disk, in this order.
    pub commands: Vec<Command>,
    /// Why.
    pub reason: Reason,
    /// Whether an order was accepted; `true` for every other event. A refused order changes nothing, and `reason` says
    /// why.
    pub accepted: bool,
    /// Whether this must be an entry of the journal before its commands are carried out: something changed that a
    /// restart, an auditor or the dossier needs. Otherwise `next` only takes the place of the state kept last.
    pub journal: bool,
}

/// Answers one event. Total: every phase has an answer to every event.
pub fn decide(cutover: &Cutover, _event: &Event, _now: Timestamp) -> Decision {
    Decision {
        next: cutover.clone(),
        commands: Vec::new(),
        reason: cutover.reason.clone(),
        accepted: true,
        journal: false,
    }
}
