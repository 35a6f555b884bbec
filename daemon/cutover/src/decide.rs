//! What follows from an event.

use crate::command::Command;
use crate::cutover::Cutover;
use crate::event::Event;
use crate::reason::Reason;
use crate::units::Timestamp;

/// What to do, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The cutover from now on.
    pub next: Cutover,
    /// What to carry out once `next` is on disk, in this order.
    pub commands: Vec<Command>,
    /// Why.
    pub reason: Reason,
}

/// Answers one event. Total: every phase has an answer to every event.
pub fn decide(cutover: &Cutover, _event: &Event, _now: Timestamp) -> Decision {
    Decision { next: cutover.clone(), commands: Vec::new(), reason: cutover.reason.clone() }
}
