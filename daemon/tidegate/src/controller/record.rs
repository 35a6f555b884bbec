//! Writing decisions down: which are worth an entry, which only overwrite the state beside the journal, and what
//! happens while neither can be written.

use std::time::Duration;

use cutover::command::{Episode, Severity};
use cutover::{Command, Cutover, Decision, Event, Share, Timestamp};

use super::Controller;
use crate::alert::Message;
use crate::events;
use crate::port::{PortError, Retry};
use crate::store::{Draft, Sample};
use crate::undo;

/// How long an entry may take to reach the disk before the journal counts as not writable.
const APPEND_MAX: Duration = Duration::from_secs(2);

/// The same for a decision that reverts, and while the journal is ill: a revert does not wait for a hanging disk.
const APPEND_URGENT_MAX: Duration = Duration::from_millis(500);

/// Topics of alerts, as they stand in the ids of episodes, that say the way back by hand while the target has traffic,
/// beside all that are critical.
const BY_HAND: [&str; 2] = ["/unknown/", "/halt/"];

impl Controller {
    /// Writes a decision down; the answer is its entry, or `None` when it was not worth one.
    ///
    /// # Errors
    /// With `Retry::Later` when it could not be written, with `Retry::Never` when the lease was lost.
    pub(super) async fn record(
        &mut self,
        event: &Event,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<Option<u64>, PortError> {
        if !decision.journal {
            self.keep(event, &decision.next).await?;
            return Ok(None);
        }
        let messages = self.messages(&decision.commands, &decision.next, now);
        let alerts = !messages.is_empty();
        let draft = Draft {
            at: now,
            event: event.clone(),
            next: decision.next.clone(),
            commands: decision.commands.clone(),
            reason: decision.reason.clone(),
            messages,
        };
        let urgent =
            !self.writable || decision.commands.iter().any(|command| matches!(command, Command::Restore { .. }));
        let limit = if urgent { APPEND_URGENT_MAX } else { APPEND_MAX };
        let id = within(limit, self.ports.store.append(&self.lease, draft)).await?;
        if self.ports.crash_after_entry == Some(id) {
            // A testing aid: what is on disk now must be enough to go on from.
            std::process::abort();
        }
        if alerts {
            self.ports.outbox.look();
        }
        if let Event::Observed(_) = event {
            self.keep(event, &decision.next).await?;
        }
        Ok(Some(id))
    }

    /// Overwrites the state beside the journal, and keeps a counted interval. Neither holds a decision, so a failure
    /// is noticed but stops nothing by itself: the next entry tells.
    async fn keep(&mut self, event: &Event, next: &Cutover) -> Result<(), PortError> {
        // Ticks and glances change clocks alone; a restart loses at most one interval of them.
        if matches!(event, Event::Tick | Event::Glanced(_) | Event::Health(_)) || !self.writable {
            return Ok(());
        }
        let mut kept = within(APPEND_MAX, self.ports.store.save(&self.lease, next)).await;
        if let (Ok(()), Event::Observed(observation)) = (&kept, event) {
            let sample = Sample::new(observation.clone(), next);
            kept = within(APPEND_MAX, self.ports.store.keep(&self.lease, &next.id, &sample)).await;
        }
        match kept {
            Err(error) if error.retry == Retry::Never => Err(error),
            Err(error) => {
                let text = crate::port::in_one_line(&error);
                events::JournalFailed { service: &self.lease.service, error: &text }.emit();
                self.writable = false;
                self.pending.push_back(Event::Journal { writable: false });
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Tries whether an ill journal is well again.
    pub(super) async fn probe(&mut self) -> Result<(), PortError> {
        match within(APPEND_URGENT_MAX, self.ports.store.save(&self.lease, &self.cutover)).await {
            Ok(()) => {
                self.recovered();
                Ok(())
            }
            Err(error) if error.retry == Retry::Never => Err(error),
            Err(_) => Ok(()),
        }
    }

    pub(super) fn recovered(&mut self) {
        events::JournalRecovered { service: &self.lease.service }.emit();
        self.writable = true;
        self.pending.push_back(Event::Journal { writable: true });
    }

    /// The alerts among the commands that made the cutover `next`, one message for each receiver of the policy. One that
    /// calls for a person says the way back by hand.
    pub(super) fn messages(&self, commands: &[Command], next: &Cutover, now: Timestamp) -> Vec<Message> {
        let alerts = commands.iter().filter_map(|command| match command {
            Command::Alert(alert) => {
                let mut alert = alert.clone();
                // What is unknown may be AWS's refusal of us, and then the way back by hand is the only one.
                let by_hand = alert.severity == Severity::Critical
                    || (next.desired != Share::NONE && BY_HAND.iter().any(|topic| alert.episode.contains(topic)));
                if by_hand && alert.change != Episode::Closed {
                    alert.text.extend(undo::told(next));
                }
                Some(alert)
            }
            _ => None,
        });
        let receivers = &self.cutover.policy.alerts;
        alerts
            .enumerate()
            .flat_map(|(nth, alert)| {
                let (cutover, service) = (&self.cutover.id, &self.lease.service);
                receivers.iter().enumerate().map(move |(receiver, to)| Message {
                    // Unique by time and place within it; the receiver drops a repetition by it.
                    id: format!("{}/{}/{nth}/{receiver}", alert.episode, now.0),
                    cutover: cutover.clone(),
                    service: service.clone(),
                    at: now,
                    to: to.clone(),
                    alert: alert.clone(),
                })
            })
            .collect()
    }
}

/// An answer of the store, or an error when it takes too long.
async fn within<T>(limit: Duration, answer: impl Future<Output = Result<T, PortError>>) -> Result<T, PortError> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(PortError::later("store", format!("the disk did not answer within {limit:?}"))),
    }
}
