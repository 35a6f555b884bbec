//! Brings alerts out, in a task of its own: what is due in the store, and what could not be written there.
//!
//! Delivery is at least once. A message keeps its id over all tries, so that a receiver can drop repetitions. When the
//! journal cannot be written, alerts are not lost with it: they wait in memory, in a short queue, and go out from there.
//! Receivers do not wait for one another: a dead chat webhook must not keep a pager silent. What one receiver gets stays in
//! order.

use std::sync::Arc;
use std::time::Duration;

use cutover::Timestamp;
use cutover::policy::AlertPolicy;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{AlertSink, Message};
use crate::clock::Clock;
use crate::events;
use crate::port::{PortError, Retry, in_one_line};
use crate::store::{Fate, Outgoing, Store};

/// How long one try may take.
pub const TRY_MAX: Duration = Duration::from_secs(10);

/// How often one message is tried. With the waits below that is about a day and a half.
pub const TRIES_MAX: u32 = 20;

/// How many messages are taken from the store at a time.
const BATCH_MAX: usize = 256;

/// How many messages wait in memory while the journal cannot be written; the oldest are kept and the rest counted as
/// dropped, for the first alert of an accident says the most.
const MEMORY_MAX: usize = 256;

/// How often the store is looked at when nobody knocks.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long a message waits after its `attempts`th try failed: 1 s, doubling, at most 3 h.
pub fn backoff(attempts: u32) -> Duration {
    Duration::from_secs(1 << attempts.min(13)).min(Duration::from_hours(3))
}

/// Where the controller hands over alerts. Clones lead to the same task; nothing here waits.
#[derive(Clone)]
pub struct Outbox {
    knock: mpsc::Sender<Knock>,
}

enum Knock {
    /// There is something new in the store.
    Look,
    /// This could not be stored.
    Carry(Box<Message>),
}

/// The task's own end; give it to [`Deliverer::run`].
pub struct Deliverer {
    courier: Courier,
    knocks: mpsc::Receiver<Knock>,
}

/// What is needed to bring a message out. Clones do the same.
#[derive(Clone)]
struct Courier {
    store: Arc<dyn Store>,
    webhook: Arc<dyn AlertSink>,
    command: Arc<dyn AlertSink>,
    clock: Clock,
}

/// An outbox over `store`, and the task that empties it into the two sinks.
pub fn outbox(
    store: Arc<dyn Store>,
    webhook: Arc<dyn AlertSink>,
    command: Arc<dyn AlertSink>,
    clock: Clock,
) -> (Outbox, Deliverer) {
    let (knock, knocks) = mpsc::channel(MEMORY_MAX);
    (Outbox { knock }, Deliverer { courier: Courier { store, webhook, command, clock }, knocks })
}

impl Outbox {
    /// Says that messages were stored.
    pub fn look(&self) {
        // A full channel knocks already.
        drop(self.knock.try_send(Knock::Look));
    }

    /// Hands over a message that could not be stored.
    pub fn carry(&self, message: Message) {
        let id = message.id.clone();
        if self.knock.try_send(Knock::Carry(Box::new(message))).is_err() {
            events::AlertDropped { id: &id }.emit();
        }
    }
}

impl Deliverer {
    /// Delivers until every [`Outbox`] is gone; then what is due is tried once more.
    pub async fn run(mut self) {
        loop {
            match tokio::time::timeout(LOOK_EVERY, self.knocks.recv()).await {
                Ok(Some(Knock::Carry(message))) => self.courier.carry(&message).await,
                Ok(Some(Knock::Look)) | Err(_) => self.courier.empty().await,
                Ok(None) => {
                    self.courier.empty().await;
                    return;
                }
            }
        }
    }
}

impl Courier {
    /// Tries a message that is in no store: a few times at once, since there is nowhere to keep it.
    async fn carry(&self, message: &Message) {
        for attempts in 0..3 {
            match self.try_once(message).await {
                Ok(()) => return events::AlertSent { id: &message.id, attempts: attempts + 1 }.emit(),
                Err(error) => {
                    events::AlertFailed { id: &message.id, error: &in_one_line(&error) }.emit();
                    if error.retry == Retry::Never {
                        return;
                    }
                    tokio::time::sleep(backoff(attempts)).await;
                }
            }
        }
        events::AlertDropped { id: &message.id }.emit();
    }

    async fn empty(&self) {
        loop {
            let now = self.clock.now();
            // An ill journal is noticed and told of by the controller.
            let Ok(due) = self.store.due(now, BATCH_MAX).await else { return };
            if due.is_empty() {
                return;
            }
            let mut rounds: Vec<Vec<Outgoing>> = Vec::new();
            for outgoing in due {
                match rounds.iter_mut().find(|round| round[0].message.to == outgoing.message.to) {
                    Some(round) => round.push(outgoing),
                    None => rounds.push(vec![outgoing]),
                }
            }
            let mut under_way = JoinSet::new();
            for round in rounds {
                let courier = self.clone();
                under_way.spawn(async move { courier.round(round, now).await });
            }
            let mut all = true;
            while let Some(ended) = under_way.join_next().await {
                all &= ended.expect("a round does not panic, and nobody aborts it");
            }
            if !all {
                return;
            }
        }
    }

    /// Brings one receiver what is for it, in order; false when something was left, which is tried at the next look. A
    /// receiver that fails is not asked for the next message at once: what is left waits behind the first.
    async fn round(&self, round: Vec<Outgoing>, now: Timestamp) -> bool {
        for outgoing in round {
            if !self.deliver(outgoing, now).await {
                return false;
            }
        }
        true
    }

    /// Tries one message and writes down what became of it; false when it is tried again or that could not be written.
    async fn deliver(&self, outgoing: Outgoing, now: Timestamp) -> bool {
        let Outgoing { message, attempts } = outgoing;
        let fate = match self.try_once(&message).await {
            Ok(()) => {
                events::AlertSent { id: &message.id, attempts: attempts + 1 }.emit();
                Fate::Sent { at: now }
            }
            Err(error) => {
                let text = in_one_line(&error);
                events::AlertFailed { id: &message.id, error: &text }.emit();
                if error.retry == Retry::Never || attempts + 1 >= TRIES_MAX {
                    events::AlertDropped { id: &message.id }.emit();
                    Fate::GivenUp { error: text }
                } else {
                    Fate::Postponed { until: now.plus(backoff(attempts)), error: text }
                }
            }
        };
        let over = !matches!(fate, Fate::Postponed { .. });
        self.store.settle(&message.id, fate).await.is_ok() && over
    }

    async fn try_once(&self, message: &Message) -> Result<(), PortError> {
        let sink = match &message.to {
            AlertPolicy::Webhook { .. } => &self.webhook,
            AlertPolicy::Command { .. } => &self.command,
        };
        match tokio::time::timeout(TRY_MAX, sink.send(message)).await {
            Ok(result) => result,
            Err(_) => Err(PortError::later("alert", format!("no answer within {} s", TRY_MAX.as_secs()))),
        }
    }
}

#[cfg(test)]
mod tests;
