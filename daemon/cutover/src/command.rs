//! Everything a cutover can ask for. Each command is absolute: carrying it out twice is carrying it out once.

use serde::{Deserialize, Serialize};

use crate::policy::Tripwire;
use crate::units::{Generation, Share, Timestamp, Window};

/// One thing to be done by the shell, after the decision is on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Check the fleet; answered by `Checked`.
    Check,
    /// Read the balancer; answered by `Read`.
    Read,
    /// Give the target this share; answered by `Written` or `Failed`.
    Write {
        /// The share.
        share: Share,
        /// The number of this write.
        generation: Generation,
    },
    /// Put back the recorded original action, whole; answered by `Written` or `Failed`.
    Restore {
        /// The action as it was read before the first write.
        action: serde_json::Value,
        /// The number of this write.
        generation: Generation,
    },
    /// Let our own proxies put back `share` by themselves when a tripwire fires. Nothing to do for other balancers.
    Arm {
        /// The limits.
        tripwires: Vec<Tripwire>,
        /// The original share.
        share: Share,
    },
    /// Take that back.
    Disarm,
    /// Count a closed window for the judge; answered by `Observed`.
    Observe(Window),
    /// Ask a gate; answered by `GateAnswered`.
    AskGate {
        /// Its name in the policy.
        gate: String,
        /// Before which step.
        step: usize,
    },
    /// Let our own proxies' replies carry `Connection: close` until then. Nothing to do for other balancers.
    CloseConnections {
        /// Until when.
        until: Timestamp,
    },
    /// Tell people.
    Alert(Alert),
    /// Send a `Tick` then, at the latest.
    WakeAt(Timestamp),
}

/// One change of an alert episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// One id from opened to closed: `CUTOVER/TOPIC/NUMBER`.
    pub episode: String,
    /// Which change.
    pub change: Episode,
    /// How urgent.
    pub severity: Severity,
    /// What is going on, in a few words.
    pub title: String,
    /// The reason in full.
    pub text: String,
}

/// Where an alert episode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Episode {
    /// It began.
    Opened,
    /// Something about it changed.
    Updated,
    /// It is over.
    Closed,
}

/// How urgent an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The operator's story.
    Info,
    /// Something needs a look.
    Warning,
    /// A human must act now.
    Critical,
}
