//! What is asked before a step. The port, and in files of their own the adapters: [`command`] and [`webhook`].
//!
//! Manual gates are not asked: a person opens them with `tidegate advance`.

pub mod command;
pub mod webhook;

use cutover::Cutover;
use cutover::event::GateAnswer;
use cutover::policy::{Gate, GateKind};

use crate::clock::Clock;
use crate::outbound::Outbound;
use crate::port::{Answer, PortError};

/// What a gate is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The gate as the policy states it.
    pub gate: &'a Gate,
    /// Before which step (index into the policy's steps).
    pub step: usize,
    /// The cutover that waits.
    pub cutover: &'a Cutover,
}

impl Question<'_> {
    /// The same for each time this gate is asked before this step of this cutover, so that a receiver can tell a
    /// repetition from a new question.
    pub fn id(&self) -> String {
        format!("{}/{}/{}", self.cutover.id, self.step, self.gate.name)
    }

    /// What a program or a receiver is told, as one JSON object.
    pub fn body(&self) -> serde_json::Value {
        serde_json::json!({
            "type": "tidegate.gate",
            "id": self.id(),
            "service": self.cutover.policy.service,
            "cutover": self.cutover.id,
            "gate": self.gate.name,
            "step": self.step,
            "share_now": self.cutover.desired,
            "share_next": self.cutover.policy.shift.steps.get(self.step),
            "reason": self.cutover.reason,
        })
    }
}

/// Something that can be asked whether to go on.
pub trait Gates: Send + Sync {
    /// Asks; the controller gives the call the gate's own time-out.
    ///
    /// # Errors
    /// When there was no answer: no connection, no such program. A refusal is [`GateAnswer::No`], not an error.
    fn ask<'a>(&'a self, question: Question<'a>) -> Answer<'a, GateAnswer>;
}

/// Asks each gate the way its kind wants it.
pub struct ByKind {
    outbound: Outbound,
    clock: Clock,
}

impl ByKind {
    /// Gates that sign with the time of `clock`.
    pub fn new(outbound: Outbound, clock: Clock) -> Self {
        Self { outbound, clock }
    }
}

impl Gates for ByKind {
    fn ask<'a>(&'a self, question: Question<'a>) -> Answer<'a, GateAnswer> {
        Box::pin(async move {
            match &question.gate.kind {
                GateKind::Manual => Err(PortError::never("gate", "a manual gate waits for a person")),
                GateKind::Command { argv } => command::ask(argv, question).await,
                GateKind::Webhook { url, secret } => {
                    webhook::ask(&self.outbound, url, secret.as_deref(), question, self.clock.now()).await
                }
            }
        })
    }
}
