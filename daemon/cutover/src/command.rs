//! Everything a cutover can ask for. Each command is absolute: carrying it out twice is carrying it out once.

use serde::{Deserialize, Serialize};

use crate::lever::Lever;
use crate::policy::Tripwire;
use crate::units::{Generation, Share, Timestamp, Window};

/// One thing to be done by the shell, after the decision is on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", content = "with", rename_all = "snake_case")]
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
    ///
    /// It goes before everything else: a write that is under way is given up, if it can be, and answered as failed.
    Restore {
        /// The action as it was read before the first write.
        action: serde_json::Value,
        /// The number of this write.
        generation: Generation,
    },
    /// Let our own proxies put back `share` by themselves when a tripwire fires; answered by `Armed` or `Failed`.
    ///
    /// It holds until `Disarm`: a proxy that comes back is armed again without being asked for. Other balancers have
    /// nothing to do and answer `Armed` at once.
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
    /// Ask a gate; answered by `GateAnswered` or `Failed`. Asked once for each step, again only after "later", after a
    /// restart, and where its answer ages: `CUTOVER/STEP/GATE` is the idempotency key. Not sent for manual gates.
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
    /// Read how the levers of the fleet stand; answered by `LeversRead` or `Failed`.
    ReadLevers,
    /// Move a lever, or put it back; answered by `LeverMoved` with what is read back afterwards, or `Failed`. One at a
    /// time.
    SetLever {
        /// Which.
        lever: Lever,
        /// Only if it stands there: what somebody else has set since is left as it is. `None` to move it wherever it
        /// stands; a count is then only ever raised.
        from: Option<u32>,
        /// Where to.
        to: u32,
    },
    /// Tell people.
    Alert(Alert),
    /// Send a `Tick` then, at the latest. At most one in a decision; it takes the place of the one before.
    WakeAt(Timestamp),
}

/// One change of an alert episode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// One id from opened to closed: `CUTOVER/TOPIC/NUMBER`, where NUMBER counts the cutover's episodes.
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
