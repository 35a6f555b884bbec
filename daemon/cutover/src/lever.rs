//! Levers: settings beside the weights that are moved for the time of a cutover, and put back where they were.
//!
//! What a lever stood at is part of the cutover before the lever is moved, so that the journal has it first and a daemon
//! that was killed at any moment puts it back. When which lever is moved is decided in [`mod@crate::decide`]; how, is the
//! fleet's business.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::units::Timestamp;

/// A setting that a cutover moves. They are moved in this order and let go in the opposite one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lever {
    /// Whether autoscaling may take tasks away from the target's service: 1 where that is suspended, 0 where it is not.
    ScaleIn,
    /// How many tasks the target's service shall have.
    Count,
    /// For how many seconds a client's connection to the load balancer may live.
    KeepAlive,
}

impl Lever {
    /// All of them, in the order in which they are moved.
    pub const ALL: [Self; 3] = [Self::ScaleIn, Self::Count, Self::KeepAlive];

    /// A value of it, in words.
    pub fn told(self, value: u32) -> String {
        match (self, value) {
            (Self::ScaleIn, 0) => "scale-in of the target's service is allowed".to_owned(),
            (Self::ScaleIn, _) => "scale-in of the target's service is suspended".to_owned(),
            (Self::Count, tasks) => format!("the target's service has {tasks} desired tasks"),
            (Self::KeepAlive, seconds) => format!("clients' connections to the load balancer live for {seconds} s"),
        }
    }
}

/// The levers as they stand, and what says where they should.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stands {
    /// How many tasks the source's service shall have; `None` where no service of it is known.
    pub source_count: Option<u32>,
    /// The same of the target's.
    pub target_count: Option<u32>,
    /// The most tasks that autoscaling lets the target's service have; `None` where nothing scales it.
    pub count_max: Option<u32>,
    /// Whether taking tasks away from the target's service is suspended; `None` where nothing scales it.
    pub scale_in_suspended: Option<bool>,
    /// For how many seconds a client's connection may live; `None` where the balancer has no such limit.
    pub keep_alive: Option<u32>,
}

/// A lever that this cutover has moved, or is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulled {
    /// Where it stood before.
    pub before: u32,
    /// Where it is moved to.
    pub wanted: u32,
    /// Whether it was read back there.
    pub set: bool,
    /// Whether an attempt to move it ended without an answer: it may land later, after the lever was let go.
    pub uncertain: bool,
}

/// What was asked of the fleet and is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeverAsked {
    /// Which lever is to be moved, and where to; `None` where all of them are read.
    pub set: Option<(Lever, u32)>,
    /// When it was asked.
    pub at: Timestamp,
}

/// Where the levers of one cutover are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Levers {
    /// As they were read last; `None` before the first reading.
    pub stands: Option<Stands>,
    /// Those that were moved and not put back.
    pub pulled: BTreeMap<Lever, Pulled>,
    /// What is under way.
    pub asked: Option<LeverAsked>,
    /// Why the last attempt failed; `None` where it did not.
    pub failed: Option<String>,
    /// How many attempts have failed one after the other.
    pub failures: u32,
    /// Whether a lever that was let go is looked at once more, since a late attempt of ours may have moved it again.
    pub settling: bool,
}

impl Levers {
    /// Whether a lever stands, as far as this cutover has moved it, where it shall.
    pub fn holds(&self, lever: Lever) -> bool {
        self.pulled.get(&lever).is_some_and(|pulled| pulled.set)
    }
}
