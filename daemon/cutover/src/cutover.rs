//! Where one run of a policy is: all the state there is.
//!
//! A [`Cutover`] is what the journal keeps after each decision and what a restart goes on from. It holds no time that
//! passes by itself: budgets are counted in [`Budgets`] from the differences between events, each of which is bounded,
//! so that a stepped clock or a night of being switched off neither spends a budget nor passes a bake.
//!
//! A decision is a new `Cutover` beside the old one. What is large and seldom changes (the policy, what was read, the judge's state) is
//! shared between the two, and copied only by the decision that changes it.
//!
//! The evidence (the judge's state, the observed share, the age of the data) is in [`crate::evidence`]; it changes with
//! each interval and is the part of the state that the journal overwrites rather than appends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::baseline::Given;
use crate::command::{Alert, Severity};
use crate::event::{Check, Order, Reading};
use crate::evidence::Evidence;
use crate::lever::Levers;
use crate::losses::Losses;
use crate::policy::{Policy, millis};
use crate::reason::Reason;
use crate::units::{Generation, Share, Timestamp};

/// One run of a policy, from preflight to done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cutover {
    /// Its id, given at the start; unique in the journal.
    pub id: String,
    /// The policy it runs by, whole: a changed file does not change a running cutover.
    pub policy: Arc<Policy>,
    /// Where it is.
    pub phase: Phase,
    /// Since when.
    pub since: Timestamp,
    /// When it was started; when it was made, until then.
    pub started: Timestamp,
    /// When the last event was answered: the far end of what the budgets have counted.
    pub seen: Timestamp,
    /// The share we want.
    pub desired: Share,
    /// What the balancer last said, and when that read was begun; `None` before the first read and after a restart.
    pub configured: Option<Arc<Reading>>,
    /// The highest share that evidence has earned so far. Raised by a step that passes and by nothing else.
    pub earned: Share,
    /// The recorded original, from the last read before the first write.
    pub original: Option<Arc<Reading>>,
    /// The number of the last write; 0 before the first.
    pub generation: Generation,
    /// The write that is under way or not yet believed.
    pub write: Option<Write>,
    /// Shares of ours whose writes failed with an unknown outcome: any of them may still land. The latest
    /// [`LATE_WRITES_MAX`] of them, each once.
    pub late: Vec<Share>,
    /// Whether the balancer was read, by a read begun since the phase began.
    pub reread: bool,
    /// When a read was asked for that has not been answered.
    pub read_asked: Option<Timestamp>,
    /// When the checks were asked for that have not been answered.
    pub check_asked: Option<Timestamp>,
    /// Whether the proxies hold the armed revert.
    pub armed: Armed,
    /// A standing hold or pause of an operator.
    pub standing: Option<Standing>,
    /// What the cutover cannot mend by itself: it stays where it is until an operator, or the world, ends this.
    pub halt: Option<Halt>,
    /// The last checks.
    pub checks: Vec<Check>,
    /// When they were begun.
    pub checked: Option<Timestamp>,
    /// What the lists of losses had, those of proxies that are gone among them.
    #[serde(default, skip_serializing_if = "Losses::is_empty")]
    pub losses: Losses,
    /// The gates of the step that waits for them.
    pub gates: BTreeMap<String, GateState>,
    /// What has been counted against the limits of the policy.
    pub budgets: Budgets,
    /// The baseline that was recorded before and stands in for the recording at the start; `None` where there is none.
    #[serde(default)]
    pub given: Option<Arc<Given>>,
    /// What the counts prove so far.
    pub evidence: Evidence,
    /// Settings beside the weights that were moved for this cutover.
    #[serde(default)]
    pub levers: Levers,
    /// How many times a share that was not the wanted one was found and answered (written over, or adopted) since
    /// evidence last earned more; an operator who goes on begins anew. Against `shift.attempts_max`.
    pub drifts: u32,
    /// Steps that were stepped back from, once each.
    pub stepped_back: BTreeSet<usize>,
    /// How the service's policy file differs from `policy`; `None` when it does not.
    pub policy_change: Option<String>,
    /// Whether the journal can be written. Nothing rises while it cannot.
    pub journal_writable: bool,
    /// Since when writes of clients may have gone to the target alone.
    pub writes_since: Option<Timestamp>,
    /// Requests of clients that the target took as writes since then, as far as they were counted.
    pub writes_on_target: u64,
    /// The order that closed it; nothing can be reverted any more.
    pub closed: Option<Order>,
    /// Open alert episodes, by topic.
    pub episodes: BTreeMap<String, OpenEpisode>,
    /// How many episodes were opened; numbers the next one.
    pub episodes_opened: u32,
    /// What stands between now and the next rise; empty when nothing does or nothing is to rise.
    pub blockers: Vec<Blocker>,
    /// What happens next and on what it waits, in one sentence.
    pub outlook: String,
    /// Why it is where it is: the reason of the last decision that changed something.
    pub reason: Reason,
}

/// How many shares of late writes are remembered.
pub const LATE_WRITES_MAX: usize = 8;

impl Cutover {
    /// A cutover that waits to be started.
    pub fn new(id: impl Into<String>, policy: impl Into<Arc<Policy>>, now: Timestamp) -> Self {
        let policy = policy.into();
        let evidence = Evidence::new(&policy, now);
        Self {
            id: id.into(),
            policy,
            phase: Phase::Pending,
            since: now,
            started: now,
            seen: now,
            desired: Share::NONE,
            configured: None,
            earned: Share::NONE,
            original: None,
            generation: Generation::default(),
            write: None,
            late: Vec::new(),
            reread: false,
            read_asked: None,
            check_asked: None,
            armed: Armed::No,
            standing: None,
            halt: None,
            checks: Vec::new(),
            checked: None,
            losses: Losses::default(),
            gates: BTreeMap::new(),
            budgets: Budgets::default(),
            given: None,
            evidence,
            levers: Levers::default(),
            drifts: 0,
            stepped_back: BTreeSet::new(),
            policy_change: None,
            journal_writable: true,
            writes_since: None,
            writes_on_target: 0,
            closed: None,
            episodes: BTreeMap::new(),
            episodes_opened: 0,
            blockers: Vec::new(),
            outlook: "waits for `start`".to_owned(),
            reason: Reason::new("created", "the cutover is known and waits to be started"),
        }
    }

    /// The share of `step`; behind the ladder it is everything.
    pub fn step_share(&self, step: usize) -> Share {
        self.policy.shift.steps.get(step).copied().unwrap_or(Share::ALL)
    }

    /// The step of the ladder that the phase is about; `None` outside of the ladder.
    pub fn step(&self) -> Option<usize> {
        match self.phase {
            Phase::Gated { step } | Phase::Shifting { step, .. } | Phase::Baking { step } => Some(step),
            Phase::Draining => Some(self.policy.shift.steps.len().saturating_sub(1)),
            Phase::Pending
            | Phase::Preflight
            | Phase::Baseline
            | Phase::Done
            | Phase::Reverting { .. }
            | Phase::Reverted
            | Phase::Aborted
            | Phase::Stuck { .. } => None,
        }
    }

    /// How long the source is recorded at the start: not at all where a baseline is given.
    pub fn recording(&self) -> Duration {
        if self.given.is_some() { Duration::ZERO } else { self.policy.baseline.record }
    }

    /// Whether the tripwires are looked at: from the first write on, in every phase but done and aborted. The shell
    /// sends `Glanced` while this holds.
    pub fn watched(&self) -> bool {
        match self.phase {
            Phase::Pending | Phase::Done | Phase::Aborted => false,
            Phase::Preflight | Phase::Baseline | Phase::Gated { .. } => self.generation > Generation::default(),
            Phase::Shifting { .. } | Phase::Baking { .. } | Phase::Draining => true,
            Phase::Reverting { .. } | Phase::Stuck { .. } => true,
            Phase::Reverted => self.closed.is_none(),
        }
    }

    /// Whether nothing will happen to it any more unless someone orders it.
    pub fn ended(&self) -> bool {
        match self.phase {
            Phase::Done | Phase::Reverted | Phase::Aborted => true,
            Phase::Stuck { .. } => self.closed.is_some(),
            Phase::Pending
            | Phase::Preflight
            | Phase::Baseline
            | Phase::Gated { .. }
            | Phase::Shifting { .. }
            | Phase::Baking { .. }
            | Phase::Draining
            | Phase::Reverting { .. } => false,
        }
    }
}

/// Where a cutover is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Known, not ordered to start.
    Pending,
    /// The checks run.
    Preflight,
    /// The source is recorded.
    Baseline,
    /// The step before is earned; this one waits for its gates, its change window and a fresh read.
    Gated {
        /// Which step would be next (index into the policy's steps).
        step: usize,
    },
    /// A share is being written and read back.
    Shifting {
        /// Which step.
        step: usize,
        /// How many times it was written.
        attempts: u32,
        /// How many reads since the last write did not show it.
        reads: u32,
    },
    /// The share is confirmed; evidence gathers.
    Baking {
        /// Which step.
        step: usize,
    },
    /// The target has everything; the source must fall silent.
    Draining,
    /// The source is drained. A revert is possible until the cutover is closed.
    Done,
    /// The original is being put back.
    Reverting {
        /// How many times it was written.
        attempts: u32,
        /// How many reads since the last write did not show it.
        reads: u32,
    },
    /// The original is back, confirmed.
    Reverted,
    /// An operator ended it; the weight stays where it was.
    Aborted,
    /// The original could not be confirmed: a human is called, and it is tried on, slowly.
    Stuck {
        /// How many times it was written.
        attempts: u32,
        /// How many reads since the last write did not show it.
        reads: u32,
    },
}

impl Phase {
    /// The phase's one word, as in the journal.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Preflight => "preflight",
            Self::Baseline => "baseline",
            Self::Gated { .. } => "gated",
            Self::Shifting { .. } => "shifting",
            Self::Baking { .. } => "baking",
            Self::Draining => "draining",
            Self::Done => "done",
            Self::Reverting { .. } => "reverting",
            Self::Reverted => "reverted",
            Self::Aborted => "aborted",
            Self::Stuck { .. } => "stuck",
        }
    }
}

/// A write that was asked for and is not yet confirmed by a read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// Its number.
    pub generation: Generation,
    /// What it gives the target.
    pub share: Share,
    /// When it was asked for.
    pub asked: Timestamp,
    /// When its answer came, or its patience ended; reads begun after this and the settle time are believed. `None`
    /// while the answer is awaited.
    pub answered: Option<Timestamp>,
    /// Whether a read was asked for after that and the settle time.
    pub probed: bool,
    /// Why putting back the original was not known to have been done, when an answer came last; it outlives the attempt that
    /// follows, until that is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// Whether our own proxies hold the armed revert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Armed {
    /// They do not.
    No,
    /// It was asked for.
    Asked {
        /// When.
        at: Timestamp,
    },
    /// They do.
    Yes,
}

/// A hold or a pause that an operator ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Which.
    pub kind: StandingKind,
    /// Who ordered it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// Hold or pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StandingKind {
    /// Stay, keep judging, no advance; budgets run on.
    Hold,
    /// Hold, and the budgets' clocks stop.
    Pause,
}

/// Why a cutover stays where it is until someone acts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halt {
    /// Which kind.
    pub kind: HaltKind,
    /// One sentence, with what was seen.
    pub text: String,
    /// Since when.
    pub since: Timestamp,
}

/// What halted a cutover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HaltKind {
    /// Someone else changed the weights, and the policy says halt.
    Drift,
    /// The balancer refused a write, or never showed it.
    Write,
    /// A step's budget is spent, and the policy says hold.
    Timeout,
    /// The start was refused.
    Start,
    /// The source did not fall silent in its time.
    Drain,
}

/// Where one gate of a step is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "gate", rename_all = "snake_case")]
pub enum GateState {
    /// It was asked, or waits for a person.
    Asked {
        /// When it was asked last.
        at: Timestamp,
    },
    /// It said "not yet"; it is asked again then.
    Later {
        /// When.
        again: Timestamp,
        /// What is not yet so; empty when nobody said.
        #[serde(default)]
        why: String,
    },
    /// It said yes, or a person opened it.
    Open {
        /// Who or what opened it.
        by: String,
        /// When it was asked, where its yes ages; `None` where that holds for as long as the step waits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asked: Option<Timestamp>,
    },
    /// It said no, or ran out of time with `on_timeout = "hold"`; only a person goes on from here.
    Shut {
        /// Why.
        why: String,
    },
}

/// What has been counted against the policy's limits, in time that really passed between events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budgets {
    /// Time in this phase, pauses left out.
    #[serde(with = "millis")]
    pub phase: Duration,
    /// Time this step held because something was unknown, pauses left out. Against `unknown.hold_budget`.
    #[serde(with = "millis")]
    pub hold: Duration,
    /// Time at a stretch with traffic on the target and no data at all, pauses left out. Against
    /// `unknown.blind_budget`.
    #[serde(with = "millis")]
    pub blind: Duration,
    /// Time at a stretch for which something has been unknown.
    #[serde(with = "millis")]
    pub unknown: Duration,
    /// Time at a stretch for which capture has not been known to be without loss.
    #[serde(default, with = "millis")]
    pub uncaptured: Duration,
    /// Time this step baked while its evidence was not sufficient, pauses left out. Against `shift.bake_max`.
    #[serde(with = "millis")]
    pub bake: Duration,
    /// Time the gate that is asked now has had, pauses left out. Against its time-out.
    #[serde(with = "millis")]
    pub gate: Duration,
    /// Time since the last counted interval arrived: the age of the data.
    #[serde(with = "millis")]
    pub silence: Duration,
    /// Time since the last believed read of the balancer.
    #[serde(with = "millis")]
    pub unread: Duration,
    /// Time since the last checks arrived.
    #[serde(with = "millis")]
    pub unchecked: Duration,
    /// Time since the last write, restore or arming was asked for or answered.
    #[serde(with = "millis")]
    pub write: Duration,
    /// Time since a read was last asked for.
    #[serde(with = "millis")]
    pub read: Duration,
    /// Time since the checks were last asked for.
    #[serde(with = "millis")]
    pub check: Duration,
    /// Time since something was last asked of the levers, or answered about them.
    #[serde(default, with = "millis")]
    pub lever: Duration,
    /// Time for which the original has been read and written again after a confirmed revert.
    #[serde(with = "millis")]
    pub reassert: Duration,
}

/// One thing that stands between now and the next rise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocker {
    /// Which kind.
    pub kind: BlockerKind,
    /// One sentence, with what is missing and how much of it.
    pub text: String,
}

/// What can stand in the way of a rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockerKind {
    /// The cutover is halted.
    Halt,
    /// An operator holds or pauses it.
    Standing,
    /// The journal cannot be written.
    Journal,
    /// A check fails or could not be made. Spends the hold budget.
    Checks,
    /// Capture is not known to be without loss, and the cutover relies on it.
    Capture,
    /// The balancer could not be read lately, or does not say what we want. Spends the hold budget.
    Configured,
    /// No interval was counted lately. Spends the hold budget.
    Data,
    /// The requests do not show the share. Spends the hold budget.
    Observed,
    /// Our own proxies do not hold the armed revert. Spends the hold budget.
    Armed,
    /// The step has not been baked long enough.
    Bake,
    /// Too few requests.
    Requests,
    /// A guard's evidence does not suffice.
    Guard,
    /// A gate is not open.
    Gate,
    /// Outside of the change windows, or frozen.
    Window,
    /// The baseline is being recorded.
    Baseline,
    /// The source still receives requests.
    Source,
}

impl BlockerKind {
    /// Whether this is something unknown, which spends the hold budget, rather than something awaited.
    pub const fn unknown(self) -> bool {
        matches!(self, Self::Checks | Self::Configured | Self::Data | Self::Observed | Self::Armed)
    }
}

/// An alert episode that is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenEpisode {
    /// The change that was sent last.
    pub alert: Alert,
    /// How urgent it was at its worst.
    pub worst: Severity,
}
