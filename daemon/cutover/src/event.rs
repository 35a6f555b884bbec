//! Everything that can happen to a cutover.

use serde::{Deserialize, Serialize};

use crate::lever::{Lever, Stands};
use crate::losses::LossList;
use crate::policy::Policy;
use crate::units::{Generation, Share, Timestamp, Window};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Someone ordered something.
    Ordered(Order),
    /// Time passed.
    Tick,
    /// The daemon came up and found this cutover in its journal. The first event after each start; nothing that was
    /// asked for before it is answered after it.
    Restarted,
    /// Preflight, or the standing watch over the fleet, was carried out.
    Checked {
        /// Every check with its evidence.
        checks: Vec<Check>,
        /// When the checks were begun.
        begun: Timestamp,
    },
    /// The balancer was read.
    Read(Reading),
    /// The balancer acknowledged a write or a restore.
    Written {
        /// Which one.
        generation: Generation,
        /// When the write was begun.
        begun: Timestamp,
    },
    /// A closed stretch of time was counted, for the judge.
    Observed(Observation),
    /// The last moments were counted, for the tripwires. Sent each second or so while [`crate::Cutover::watched`], one
    /// for each distinct `window` of the policy's tripwires; its window is that long (a quarter more or less).
    Glanced(Observation),
    /// The health of the targets behind both sides was read, for the tripwire on it. Sent each few seconds while
    /// [`crate::Cutover::watched`], the target has weight and the policy has a `fleet.healthy_min`.
    Health(Health),
    /// The proxies hold the armed revert (or the balancer has none to arm).
    Armed,
    /// A tripwire in our own proxies fired, and they have put the armed share back already.
    Fired {
        /// Which tripwire, and on which figures, in one sentence of the proxy's.
        why: String,
        /// The share the proxies have now.
        share: Share,
        /// When it fired.
        at: Timestamp,
    },
    /// A gate answered.
    GateAnswered {
        /// Its name.
        gate: String,
        /// Before which step (index into the policy's steps) it was asked.
        step: usize,
        /// What it said.
        answer: GateAnswer,
        /// When asking it was begun.
        #[serde(default)]
        begun: Timestamp,
    },
    /// The levers of the fleet were read.
    LeversRead {
        /// How they stand.
        stands: Stands,
        /// When the reading was begun.
        begun: Timestamp,
    },
    /// A lever was moved or put back, or was left since somebody else had changed it.
    LeverMoved {
        /// Which.
        lever: Lever,
        /// What was read back afterwards.
        value: u32,
        /// When the command was begun.
        begun: Timestamp,
    },
    /// A command failed, or nobody knows whether it was carried out.
    Failed {
        /// What failed.
        what: CommandKind,
        /// The generation of a failed write or restore.
        generation: Option<Generation>,
        /// Whether to try again makes sense.
        retry: Retry,
        /// What went wrong, for a person.
        error: String,
        /// When the command was begun.
        begun: Timestamp,
    },
    /// The service's policy file no longer says what this cutover runs by; `None` when it does again.
    PolicyChanged {
        /// In one sentence, what changed.
        change: Option<String>,
    },
    /// The journal can or cannot be written.
    Journal {
        /// Whether it can.
        writable: bool,
    },
}

impl Event {
    /// Its stable word, as in the journal.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Ordered(_) => "ordered",
            Self::Tick => "tick",
            Self::Restarted => "restarted",
            Self::Checked { .. } => "checked",
            Self::Read(_) => "read",
            Self::Written { .. } => "written",
            Self::Observed(_) => "observed",
            Self::Glanced(_) => "glanced",
            Self::Health(_) => "health",
            Self::Armed => "armed",
            Self::Fired { .. } => "fired",
            Self::GateAnswered { .. } => "gate_answered",
            Self::LeversRead { .. } => "levers_read",
            Self::LeverMoved { .. } => "lever_moved",
            Self::Failed { .. } => "failed",
            Self::PolicyChanged { .. } => "policy_changed",
            Self::Journal { .. } => "journal",
        }
    }
}

/// What somebody wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// What.
    pub verb: Verb,
    /// Who: a person, a job, or `policy`.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// What can be ordered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Verb {
    /// Begin.
    Start,
    /// Open the gates that wait for a person, take what still comes to a source that did not fall silent in its time as
    /// explained, or try again what halted; traffic rises on evidence all the same.
    Advance,
    /// Stay, keep judging, no advance.
    Hold,
    /// Hold, and stop the budgets' clocks.
    Pause,
    /// End a hold or a pause.
    Resume {
        /// A changed policy to go on with.
        adopt_policy: Option<Box<Policy>>,
    },
    /// Put back the recorded original.
    Revert,
    /// End the cutover and leave the weight where it is. Latched: nothing of this cutover writes any more, no tripwire
    /// and no `revert` either.
    ///
    /// It is taken while a revert is under way, or stuck, too: who aborts has the weights in their own hands. That a
    /// revert is reachable from every state (invariant 5) is a promise against faults, not against this order; whoever
    /// wants the original back orders `revert` and not `abort`. What was asked of the balancer before may still land.
    Abort,
    /// The cutover is history: nothing can be reverted any more.
    Close,
}

impl Verb {
    /// Its stable word, as in the journal and the API.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Advance => "advance",
            Self::Hold => "hold",
            Self::Pause => "pause",
            Self::Resume { .. } => "resume",
            Self::Revert => "revert",
            Self::Abort => "abort",
            Self::Close => "close",
        }
    }
}

/// One check of preflight or of the standing watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Its name, such as `target healthy`.
    pub name: String,
    /// What came out.
    pub outcome: CheckOutcome,
    /// What was seen.
    pub evidence: String,
    /// What to do about it; empty when nothing is to be done.
    pub fix: String,
    /// What it is about, which says what it stops.
    #[serde(default, skip_serializing_if = "About::is_fleet")]
    pub about: About,
    /// The lists of losses that it counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<LossList>,
}

impl Check {
    /// A check that came out so. What to do is kept unless it passed.
    pub fn new(name: impl Into<String>, outcome: CheckOutcome, evidence: impl Into<String>, fix: &str) -> Self {
        let fix = if outcome == CheckOutcome::Pass { String::new() } else { fix.to_owned() };
        Self { name: name.into(), outcome, evidence: evidence.into(), fix, about: About::Fleet, lists: Vec::new() }
    }

    /// The same about capture.
    pub fn of_capture(name: impl Into<String>, outcome: CheckOutcome, evidence: impl Into<String>, fix: &str) -> Self {
        Self { about: About::Capture, ..Self::new(name, outcome, evidence, fix) }
    }
}

/// What a check is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// The sides and the way to them: while it fails nothing starts and nothing rises.
    #[default]
    Fleet,
    /// Whether what clients write is captured without loss: while it fails nothing starts and no writes are moved.
    Capture,
}

impl About {
    /// Whether it is about the sides, as most checks are.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    const fn is_fleet(&self) -> bool {
        matches!(self, Self::Fleet)
    }
}

/// What came out of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    /// As it must be.
    Pass,
    /// Worth knowing; stops nothing.
    Warn,
    /// Not as it must be: nothing starts, nothing rises.
    Fail,
    /// Could not be found out: nothing starts, nothing rises.
    Unknown,
}

impl CheckOutcome {
    /// Whether it stands in the way.
    pub fn stops(self) -> bool {
        match self {
            Self::Pass | Self::Warn => false,
            Self::Fail | Self::Unknown => true,
        }
    }
}

/// The balancer as it was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The target's configured share.
    pub share: Share,
    /// The whole action as the balancer states it, opaque to the core; what a revert puts back. A revert is confirmed by
    /// a read whose action equals the recorded one, so nothing may be in it that changes by itself (no generation, no
    /// time).
    pub action: serde_json::Value,
    /// When the read was begun: a read begun before a write says nothing about it.
    pub begun: Timestamp,
    /// Proxies or nodes that do not have `share`, or did not answer; the share counts as configured when empty.
    pub disagreeing: Vec<String>,
}

/// What both sides did in one window, reads and writes apart where the source of the numbers can tell them apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Which stretch of time.
    pub window: Window,
    /// Both sides' reads; empty where the source of the numbers cannot tell reads from writes.
    pub reads: judge::Block,
    /// Both sides' writes; everything, where it cannot tell: each of them may have been one.
    pub writes: judge::Block,
}

/// The targets behind both sides, as the balancer's own health checks see them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The source's; `None` where nobody looked, since the target's were well.
    pub source: Option<Targets>,
    /// The target's.
    pub target: Targets,
    /// When the reading was begun.
    pub begun: Timestamp,
}

/// The targets behind one side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Targets {
    /// How many there are, those that are being taken out included.
    pub all: u32,
    /// How many are healthy.
    pub healthy: u32,
    /// How many nobody knows about: the balancer could not say, or said a word that this version does not know.
    pub unknown: u32,
    /// Those that are not healthy, in words; empty where all are.
    pub ill: String,
}

/// What a gate said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum GateAnswer {
    /// Go on.
    Yes,
    /// Not yet; ask again.
    Later {
        /// What is not yet so, for a person; empty when nobody said.
        why: String,
    },
    /// Stay.
    No {
        /// Why, for a person.
        why: String,
    },
}

/// The commands whose failure is an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandKind {
    /// Checking the fleet.
    Check,
    /// Reading the balancer.
    Read,
    /// Writing a share.
    Write,
    /// Putting back the original.
    Restore,
    /// Arming or disarming the proxies' tripwires.
    Arm,
    /// Counting a window.
    Observe,
    /// Asking a gate.
    Gate,
    /// Reading or moving a lever.
    Lever,
}

/// Whether to try again makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// Later.
    Later,
    /// Never: it is refused, not late.
    Never,
}
