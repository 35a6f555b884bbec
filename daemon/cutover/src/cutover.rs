//! Where one run of a policy is: all the state there is.

use serde::{Deserialize, Serialize};

use crate::event::{Check, Order, Reading};
use crate::policy::Policy;
use crate::reason::Reason;
use crate::units::{Generation, Share, Timestamp, Window};

/// One run of a policy, from preflight to done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cutover {
    /// Its id, given at the start; unique in the journal.
    pub id: String,
    /// The policy it runs by, whole: a changed file does not change a running cutover.
    pub policy: Policy,
    /// Where it is.
    pub phase: Phase,
    /// Since when.
    pub since: Timestamp,
    /// When it was started.
    pub started: Timestamp,
    /// The share we want.
    pub desired: Share,
    /// What the balancer last said, and when that read was begun.
    pub configured: Option<Reading>,
    /// The highest share that evidence has earned so far.
    pub earned: Share,
    /// The recorded original, from the read before the first write.
    pub original: Option<Reading>,
    /// The number of the last write.
    pub generation: Generation,
    /// A standing hold or pause of an operator.
    pub standing: Option<Standing>,
    /// The outcome of the last checks.
    pub checks: Vec<Check>,
    /// Why it is where it is: the reason of the last decision that changed something.
    pub reason: Reason,
}

/// A hold or a pause that an operator ordered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// The order.
    pub order: Order,
    /// Since when.
    pub since: Timestamp,
}

/// Where a cutover is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Known, not ordered to start.
    Pending,
    /// The checks run.
    Preflight,
    /// The source is recorded.
    Baseline,
    /// A step waits for its gates and its change window.
    Gated {
        /// Which step (index into the policy's steps).
        step: usize,
    },
    /// A share is being written and read back.
    Shifting {
        /// Which step.
        step: usize,
        /// How many times it was tried.
        attempts: u32,
    },
    /// The share is confirmed; evidence gathers.
    Baking {
        /// Which step.
        step: usize,
        /// The window judged last.
        judged: Option<Window>,
    },
    /// The target has everything; the source must fall silent.
    Draining,
    /// The source is drained. A revert is possible until the cutover is closed.
    Done,
    /// The original is being put back.
    Reverting {
        /// How many times it was tried.
        attempts: u32,
    },
    /// The original is back, confirmed.
    Reverted,
    /// An operator ended it; the weight stays where it was.
    Aborted,
    /// The original could not be confirmed: a human is called.
    Stuck,
}
