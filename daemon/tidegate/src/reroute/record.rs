//! What is on record of one reroute: all that a program needs which knows nothing else, because the one before it was
//! killed. It is written before anything is changed.
//!
//! Names are given out here and not by AWS, so that what was made is found again even if nobody heard that it was: the
//! target group by its name, the new listener by its port. The original of the live listener is kept whole.

use std::time::Duration;

use cutover::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How many sentences of the story are kept.
pub const TOLD_MAX: usize = 200;

/// The layout of the record.
pub const LAYOUT: u32 = 1;

/// How clients come to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// The NLB's live listener is sent to the load balancer with the weighted listener; clients change nothing.
    Switch,
    /// The NLB gets one more listener that leads there, and clients move to it; the live one is left alone.
    Beside,
    /// There is no NLB: a name is to resolve to the load balancer.
    Dns,
}

/// Where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Target group, target, listener; until a request through it is answered.
    Preparing,
    /// Real clients may try the new address; waits for `advance`.
    Testing,
    /// New connections of the live listener move, step by step.
    Switching,
    /// All that is left on the old path has to leave.
    Leaving,
    /// What was only for the test is taken away.
    CleaningUp,
    /// Nothing goes past the proxy any more.
    Complete,
    /// The recorded original goes back, since something was wrong.
    Reverting,
    /// It is back; what was made is still there.
    Reverted,
    /// The recorded original goes back and what was made goes away, since somebody wants it.
    Undoing,
    /// All is as it was.
    Undone,
}

/// The listener that weighs source and target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weighted {
    /// Its ARN.
    pub listener: String,
    /// Its port.
    pub port: u16,
    /// Whether it speaks HTTPS.
    pub secure: bool,
    /// Its load balancer's ARN.
    pub balancer: String,
    /// That load balancer's name in DNS.
    pub address: String,
    /// Its VPC.
    pub vpc: String,
    /// The source's target group.
    pub source: String,
    /// The target's.
    pub target: String,
    /// How long a client's connection may be silent there, in seconds.
    pub idle_seconds: u64,
}

/// The NLB in front, and its listener that clients use today.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Front {
    /// The NLB's ARN.
    pub balancer: String,
    /// Its name in DNS.
    pub address: String,
    /// The live listener's ARN.
    pub listener: String,
    /// Its port.
    pub port: u16,
    /// Its actions before anything was changed, whole, in AWS's spelling.
    pub original: Value,
}

/// A name that is to resolve to the load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// The name that clients ask for.
    pub name: String,
    /// For how long its answers may be kept, as seen before the change, in seconds.
    pub ttl_seconds: u64,
    /// Since when it resolves to the load balancer and to nothing else; `None` while it does not.
    pub since: Option<Timestamp>,
}

/// A target group of an Application Load Balancer that clients reach today without the proxy: its requests are counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldGroup {
    /// The load balancer as CloudWatch's dimension has it.
    pub balancer: String,
    /// The target group, likewise.
    pub group: String,
}

/// A share of the live listener's new connections that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switched {
    /// In percent, 1 to 100.
    pub percent: u8,
    /// When the write began.
    pub at: Timestamp,
    /// Whether a read that began after it showed it.
    pub confirmed: bool,
}

/// What an operator took upon themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Which check, or `old path`.
    pub what: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// A sentence of the story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub text: String,
}

/// What is on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`LAYOUT`].
    pub layout: u32,
    /// The policy's service.
    pub service: String,
    /// How.
    pub way: Way,
    /// Where it is.
    pub stage: Stage,
    /// Since when it is there.
    pub stage_since: Timestamp,
    /// The listener that weighs source and target.
    pub weighted: Weighted,
    /// The NLB; `None` where there is none.
    pub front: Option<Front>,
    /// The name; `None` but for [`Way::Dns`].
    pub name: Option<Name>,
    /// Who serves the old path, where AWS counts its requests; empty where nobody does.
    pub old: Vec<OldGroup>,
    /// How long a connection of the old path can be silent and still carry a request later, in seconds.
    pub old_idle_seconds: u64,
    /// The name that clients ask for, which the certificate must be good for; `None` where nobody said it.
    pub server_name: Option<String>,
    /// The name of the target group that is ours.
    pub group_name: String,
    /// The port of the listener that is ours; 0 where there is none.
    pub new_port: u16,
    /// The shares of new connections, in percent, rising to 100.
    pub steps: Vec<u8>,
    /// Those that were written, in order; empty while the live listener is untouched.
    pub switched: Vec<Switched>,
    /// When the old target groups were taken out of the live listener; `None` before. While they are in it, the NLB's own
    /// health checks go by the old path and are counted there.
    pub alone: Option<Timestamp>,
    /// When the original was seen back in place after a revert; `None` before.
    pub restored: Option<Timestamp>,
    /// Whether somebody said `advance`.
    pub advanced: bool,
    /// What an operator took upon themselves.
    pub accepted: Vec<Accepted>,
    /// Since when nothing goes past the proxy: a snapshot may start from then on. `None` before, and after an undo.
    pub complete: Option<Timestamp>,
    /// The last sentences, oldest first.
    pub told: Vec<Told>,
}

impl Record {
    /// Goes to a stage.
    pub fn go(&mut self, stage: Stage, now: Timestamp, why: impl Into<String>) {
        (self.stage, self.stage_since) = (stage, now);
        self.tell(now, why);
    }

    /// Adds a sentence to the story.
    pub fn tell(&mut self, now: Timestamp, text: impl Into<String>) {
        if self.told.len() >= TOLD_MAX {
            self.told.remove(0);
        }
        self.told.push(Told { at: now, text: text.into() });
    }

    /// Whether an operator accepted something.
    pub fn accepts(&self, what: &str) -> bool {
        self.accepted.iter().any(|accepted| accepted.what == what)
    }

    /// How long a connection of the old path can be silent and still carry a request later.
    pub fn old_idle(&self) -> Duration {
        Duration::from_secs(self.old_idle_seconds)
    }

    /// Where clients can try the proxy, and later find it where they have to move.
    pub fn new_address(&self) -> String {
        match &self.front {
            Some(front) => format!("{}:{}", front.address, self.new_port),
            None => format!("{}:{}", self.weighted.address, self.weighted.port),
        }
    }

    /// The command that puts the live listener back without Tidegate; `None` where none is touched.
    pub fn by_hand(&self) -> Option<String> {
        let front = self.front.as_ref().filter(|_| self.way == Way::Switch)?;
        let region = front.listener.split(':').nth(3).unwrap_or_default();
        let actions = front.original.to_string().replace('\'', r"'\''");
        Some(format!(
            "aws elbv2 modify-listener --region {region} --listener-arn '{}' --default-actions '{actions}'",
            front.listener
        ))
    }
}
