//! Who is told. The port, the persistent [`outbox`] in front of it, and in files of their own the adapters: [`webhook`]
//! (Standard Webhooks) and [`command`] (JSON on stdin).
//!
//! An alert is written to the outbox in the same transaction as the decision that raised it, and delivered by a task of
//! its own: no receiver, however slow, is ever in the way of a revert. [`direct`] does the same where there is no journal.

pub mod command;
pub mod direct;
pub mod outbox;
pub mod webhook;

use serde::{Deserialize, Serialize};

use cutover::policy::AlertPolicy;
use cutover::{Alert, Timestamp};

use crate::port::Answer;

/// One alert on its way to one receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The same for each try, unique among messages: receivers drop repetitions by it.
    pub id: String,
    /// Which cutover it is about.
    pub cutover: String,
    /// Which service.
    pub service: String,
    /// When it was raised.
    pub at: Timestamp,
    /// Who gets it.
    pub to: AlertPolicy,
    /// What it says.
    pub alert: Alert,
}

impl Message {
    /// What the receiver gets, as one JSON object in the form of Standard Webhooks: type, timestamp, data.
    pub fn body(&self) -> serde_json::Value {
        serde_json::json!({
            "type": "tidegate.alert",
            "timestamp": crate::clock::rfc3339(self.at),
            "data": {
                "id": self.id,
                "service": self.service,
                "cutover": self.cutover,
                "episode": self.alert.episode,
                "change": self.alert.change,
                "severity": self.alert.severity,
                "title": self.alert.title,
                "text": self.alert.text,
            },
        })
    }
}

/// Something that brings an alert to somebody.
pub trait AlertSink: Send + Sync {
    /// Brings it there once; the outbox tries again.
    ///
    /// # Errors
    /// When it is not known that the receiver has it.
    fn send<'a>(&'a self, message: &'a Message) -> Answer<'a, ()>;
}
