//! What is asked before a step. The port, and in files of their own the adapters: [`command`], [`webhook`], and those that
//! are about the world and not about a step, and so are asked at preflight, too: [`backfill`] and `replay_lag`.
//!
//! Manual gates are not asked: a person opens them with `tidegate advance`.

pub mod backfill;
pub mod command;
#[cfg(feature = "kafka")]
pub mod replay_lag;
pub mod webhook;

use std::time::Duration;

use cutover::Cutover;
use cutover::event::{Check, CheckOutcome, GateAnswer};
use cutover::policy::{Gate, GateKind, Policy, ReplayLag};

use crate::clock::Clock;
use crate::outbound::Outbound;
use crate::port::{Answer, PortError, in_one_line};

/// How long each gate has at preflight, where its answer is one of the checks: the core waits a minute for all of them.
const PREFLIGHT_MAX: Duration = Duration::from_secs(15);

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

    /// Asks those gates of a policy that are about the world and need no step ([`GateKind::at_preflight`]), as checks of
    /// preflight: what would stand in the way later is said before anything is moved.
    ///
    /// # Errors
    /// Never: a gate that cannot be asked is a check whose outcome is unknown.
    fn at_preflight<'a>(&'a self, policy: &'a Policy) -> Answer<'a, Vec<Check>> {
        let _ = policy;
        Box::pin(async { Ok(Vec::new()) })
    }
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

    /// One gate as a check.
    async fn check(policy: &Policy, gate: &Gate) -> Option<Check> {
        let (fix, asked) = match &gate.kind {
            GateKind::Manual | GateKind::Command { .. } | GateKind::Webhook { .. } => return None,
            GateKind::Backfill { argv, tells } => {
                let body = serde_json::json!({
                    "type": "tidegate.gate", "service": policy.service, "gate": gate.name, "preflight": true,
                });
                let asked = async move {
                    Ok((
                        backfill::ask(argv, *tells, &body).await.map_err(|error| in_one_line(&error))?,
                        "complete".to_owned(),
                    ))
                };
                let fix = "let the backfill be complete first; this is asked again until it is";
                (fix, tokio::time::timeout(PREFLIGHT_MAX, asked).await)
            }
            GateKind::ReplayLag(lag) => {
                let fix = "let the Replayer catch up first; this is asked again until it has";
                (fix, tokio::time::timeout(PREFLIGHT_MAX, replay_check(lag)).await)
            }
        };
        let (outcome, evidence) = match asked {
            Ok(Ok((GateAnswer::Yes, evidence))) => (CheckOutcome::Pass, evidence),
            Ok(Ok((GateAnswer::Later { why }, _))) if why.is_empty() => (CheckOutcome::Fail, "not yet".to_owned()),
            Ok(Ok((GateAnswer::Later { why } | GateAnswer::No { why }, _))) => (CheckOutcome::Fail, why),
            Ok(Err(why)) => (CheckOutcome::Unknown, why),
            Err(_) => (CheckOutcome::Unknown, format!("no answer within {} s", PREFLIGHT_MAX.as_secs())),
        };
        Some(Check::new(format!("gate {}", gate.name), outcome, evidence, fix))
    }
}

/// How far the replay is, with it in words.
#[cfg(feature = "kafka")]
async fn replay_check(lag: &ReplayLag) -> Result<(GateAnswer, String), String> {
    replay_lag::check(lag).await
}

/// How far the replay is.
#[cfg(feature = "kafka")]
async fn replay_ask(lag: &ReplayLag) -> Result<GateAnswer, PortError> {
    replay_lag::ask(lag).await.map_err(|error| PortError::later("gate", error))
}

/// Why this program cannot ask; such a policy is refused before it comes to that.
#[cfg(not(feature = "kafka"))]
const NO_KAFKA: &str = "this program was built without the feature `kafka`, and cannot ask how far the replay is";

#[cfg(not(feature = "kafka"))]
#[expect(clippy::unused_async, reason = "with Kafka it asks")]
async fn replay_check(_: &ReplayLag) -> Result<(GateAnswer, String), String> {
    Err(NO_KAFKA.to_owned())
}

#[cfg(not(feature = "kafka"))]
#[expect(clippy::unused_async, reason = "with Kafka it asks")]
async fn replay_ask(_: &ReplayLag) -> Result<GateAnswer, PortError> {
    Err(PortError::never("gate", NO_KAFKA))
}

impl Gates for ByKind {
    fn ask<'a>(&'a self, question: Question<'a>) -> Answer<'a, GateAnswer> {
        Box::pin(async move {
            match &question.gate.kind {
                GateKind::Manual => Err(PortError::never("gate", "a manual gate waits for a person")),
                GateKind::Command { argv } => command::ask(argv, question).await,
                GateKind::Backfill { argv, tells } => backfill::ask(argv, *tells, &question.body()).await,
                GateKind::ReplayLag(lag) => replay_ask(lag).await,
                GateKind::Webhook { url, secret } => {
                    webhook::ask(&self.outbound, url, secret.as_deref(), question, self.clock.now()).await
                }
            }
        })
    }

    fn at_preflight<'a>(&'a self, policy: &'a Policy) -> Answer<'a, Vec<Check>> {
        Box::pin(async move {
            let mut checks = Vec::new();
            for gate in &policy.gates {
                checks.extend(Self::check(policy, gate).await);
            }
            Ok(checks)
        })
    }
}
