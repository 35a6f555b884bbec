//! What happened in a lab, for tests and for `_lab/history`: every action list a listener or rule ever had, every call to
//! the control plane, every request served. It is the truth that a client's own story is held against, so it is taken
//! where things happen and not where they are announced.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::Value;

use crate::clock::Time;
use crate::model::{Action, Model};

/// How many action lists are kept; the oldest go first.
pub const ACTIONS_MAX: usize = 10_000;
/// How many calls are kept one by one; their number per operation is kept for ever.
pub const CALLS_MAX: usize = 20_000;
/// How many (second, target group, status) counts are kept: an hour of two groups with nine statuses, and to spare.
pub const SERVED_MAX: usize = 100_000;
/// How many messages to SNS and EventBridge are kept.
pub const MESSAGES_MAX: usize = 1_000;

/// One action list, from when it was in force.
#[derive(Clone, Debug, Serialize)]
pub struct ActionsNote {
    /// Lab time, in milliseconds since 1970.
    pub at: Time,
    /// The listener, or the numbered rule.
    pub arn: String,
    /// In AWS's own spelling.
    pub actions: Vec<Value>,
}

/// One call to the control plane.
#[derive(Clone, Debug, Serialize)]
pub struct CallNote {
    /// When it came.
    pub at: Time,
    /// `elasticloadbalancing`, as credentials are scoped.
    pub service: String,
    /// `ModifyListener`.
    pub operation: String,
    /// The HTTP status of the answer; 0 if there was none.
    pub status: u16,
    /// The code of a refusal.
    pub error: Option<String>,
    /// The fault that made it so.
    pub fault: Option<&'static str>,
}

/// One message that left: published to a topic or put on a bus.
#[derive(Clone, Debug, Serialize)]
pub struct Message {
    /// When it came.
    pub at: Time,
    /// The topic's ARN or the bus's name.
    pub to: String,
    /// As it was given.
    pub body: Value,
}

#[derive(Debug, Default)]
struct Inner {
    actions: VecDeque<ActionsNote>,
    latest: BTreeMap<String, Vec<Action>>,
    calls: VecDeque<CallNote>,
    counts: BTreeMap<String, u64>,
    served: BTreeMap<(i64, String, u16), u64>,
    messages: VecDeque<Message>,
}

/// The record. Its parts are bounded; what no longer fits is forgotten from its old end.
#[derive(Debug, Default)]
pub struct History(Mutex<Inner>);

impl History {
    /// Notes each action list that is not what it was. Called with the account locked, so that the order is the true one.
    pub fn note_actions(&self, model: &Model, now: Time) {
        let mut inner = self.lock();
        let lists = model.listeners.values().flat_map(|listener| {
            let rules = listener.rules.iter().map(|rule| (&rule.arn, &rule.actions));
            rules.chain([(&listener.arn, &listener.default_actions)])
        });
        for (arn, actions) in lists {
            if inner.latest.get(arn) == Some(actions) {
                continue;
            }
            inner.latest.insert(arn.clone(), actions.clone());
            let actions = actions.iter().map(Action::spelled).collect();
            push(&mut inner.actions, ActionsNote { at: now, arn: arn.clone(), actions }, ACTIONS_MAX);
        }
    }

    /// Notes a call.
    pub fn note_call(&self, call: CallNote) {
        let mut inner = self.lock();
        *inner.counts.entry(format!("{}:{}", call.service, call.operation)).or_default() += 1;
        push(&mut inner.calls, call, CALLS_MAX);
    }

    /// Notes a message that left.
    pub fn note_message(&self, message: Message) {
        push(&mut self.lock().messages, message, MESSAGES_MAX);
    }

    /// Notes a request that a node answered: the target group (its ARN; empty if none was picked) and the status that the
    /// client saw, 0 for a connection that was cut.
    pub fn note_served(&self, at: Time, target_group: &str, status: u16) {
        let mut inner = self.lock();
        *inner.served.entry((at.0.div_euclid(1000), target_group.to_owned(), status)).or_default() += 1;
        if inner.served.len() > SERVED_MAX {
            inner.served.pop_first();
        }
    }

    /// The action lists of a listener or rule, oldest first; all of them for `None`.
    pub fn actions(&self, arn: Option<&str>) -> Vec<ActionsNote> {
        self.lock().actions.iter().filter(|note| arn.is_none_or(|arn| note.arn == arn)).cloned().collect()
    }

    /// The calls, oldest first.
    pub fn calls(&self) -> Vec<CallNote> {
        self.lock().calls.iter().cloned().collect()
    }

    /// How many calls there were of each operation, `elasticloadbalancing:ModifyListener`.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.lock().counts.clone()
    }

    /// What was published and put, oldest first.
    pub fn messages(&self) -> Vec<Message> {
        self.lock().messages.iter().cloned().collect()
    }

    /// How many requests there were, by second since 1970, target group and status.
    pub fn served(&self) -> BTreeMap<(i64, String, u16), u64> {
        self.lock().served.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn push<T>(queue: &mut VecDeque<T>, value: T, max: usize) {
    if queue.len() == max {
        queue.pop_front();
    }
    queue.push_back(value);
}
