//! Brings alerts out of a process that has no journal, such as `tidegate proxy`: they wait in memory, each receiver in a
//! queue of its own and in order, and are tried as those in the [`outbox`](super::outbox) are. What the process takes with it
//! when it ends is in its log.

use std::sync::Arc;

use cutover::policy::AlertPolicy;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::outbox::{TRIES_MAX, TRY_MAX, backoff};
use super::{AlertSink, Message, command, webhook};
use crate::clock::Clock;
use crate::events;
use crate::outbound::Outbound;
use crate::port::{PortError, Retry, in_one_line};

/// How many messages wait for one receiver; what comes while it is full is told by the log alone, and counted.
const WAITING_MAX: usize = 256;

/// Where messages are handed over; never waits.
pub struct Direct {
    receivers: Vec<(AlertPolicy, mpsc::Sender<Message>)>,
}

impl Direct {
    /// A way to each of `receivers`. The tasks bring messages out, and end when this is gone and nothing is left.
    pub fn new(receivers: &[AlertPolicy], outbound: &Outbound, clock: &Clock, tasks: &mut JoinSet<()>) -> Self {
        let receivers = receivers.iter().map(|receiver| {
            let (send, waiting) = mpsc::channel(WAITING_MAX);
            let sink: Arc<dyn AlertSink> = match receiver {
                AlertPolicy::Webhook { .. } => Arc::new(webhook::Webhook::new(outbound.clone(), clock.clone())),
                AlertPolicy::Command { .. } => Arc::new(command::Command),
            };
            tasks.spawn(deliver(sink, waiting, clock.clone()));
            (receiver.clone(), send)
        });
        Self { receivers: receivers.collect() }
    }

    /// Hands a message over to every receiver; `to` is set for each.
    pub fn send(&self, message: &Message) {
        for (number, (receiver, waiting)) in self.receivers.iter().enumerate() {
            let id = format!("{}/{number}", message.id);
            let message = Message { id: id.clone(), to: receiver.clone(), ..message.clone() };
            if waiting.try_send(message).is_err() {
                events::AlertDropped { id: &id }.emit();
            }
        }
    }
}

/// Brings one receiver its messages, one after the other.
async fn deliver(sink: Arc<dyn AlertSink>, mut waiting: mpsc::Receiver<Message>, clock: Clock) {
    while let Some(message) = waiting.recv().await {
        let mut attempts = 0;
        loop {
            let sent = tokio::time::timeout(TRY_MAX, sink.send(&message)).await.unwrap_or_else(|_| {
                Err(PortError::later("alert", format!("no answer within {} s", TRY_MAX.as_secs())))
            });
            attempts += 1;
            let Err(error) = sent else {
                events::AlertSent { id: &message.id, attempts }.emit();
                break;
            };
            events::AlertFailed { id: &message.id, error: &in_one_line(&error) }.emit();
            if error.retry == Retry::Never || attempts >= TRIES_MAX {
                events::AlertDropped { id: &message.id }.emit();
                break;
            }
            clock.sleep(backoff(attempts - 1)).await;
        }
    }
}
