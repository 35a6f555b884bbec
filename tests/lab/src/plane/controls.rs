//! What can be set while a data plane runs: what AWS does not document, and how the servers behind target groups behave.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::Behaviour;

/// The longest a changed rule takes to reach a node unless a switch says otherwise, in lab time. AWS documents no bound;
/// users plan with up to a minute.
const DELAY_MAX: Duration = Duration::from_mins(1);

/// Whether an open connection keeps the target group that its first request got. AWS's guide says that each request is
/// routed by itself, the runbook of Migration Assistant that open connections stay: nobody outside knows, so it is a switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pinning {
    /// Each request by itself.
    #[default]
    None,
    /// Until either side closes it.
    UntilClose,
}

/// What AWS does not document, as the lab is to have it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Switches {
    /// Whether open connections keep their target group.
    pub pinning: Pinning,
    /// Whether a client with a cookie stays with a target group at weight 0.
    pub cookie_beats_zero: bool,
    /// The longest that a changed rule takes to reach a node, in lab seconds; each node draws its own time, up to this.
    pub propagation_max_seconds: f64,
}

impl Default for Switches {
    fn default() -> Self {
        Self { pinning: Pinning::None, cookie_beats_zero: true, propagation_max_seconds: DELAY_MAX.as_secs_f64() }
    }
}

impl Switches {
    /// The longest that a change takes to reach a node.
    pub fn propagation_max(&self) -> Duration {
        Duration::try_from_secs_f64(self.propagation_max_seconds).unwrap_or(DELAY_MAX)
    }
}

/// What is set.
#[derive(Debug, Default)]
pub struct Controls {
    switches: Mutex<Switches>,
    behaviours: Mutex<BTreeMap<String, watch::Sender<Behaviour>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Controls {
    /// The switches as they are.
    pub fn switches(&self) -> Switches {
        *locked(&self.switches)
    }

    /// The switches as they shall be from now on.
    pub fn set_switches(&self, switches: Switches) {
        *locked(&self.switches) = switches;
    }

    /// How the servers of a target group behave.
    pub fn behaviour(&self, group: &str) -> Behaviour {
        self.sender(group).borrow().clone()
    }

    /// Changes how the servers of a target group behave, those that are running and those to come.
    pub fn behave(&self, group: &str, behaviour: Behaviour) {
        self.sender(group).send_replace(behaviour);
    }

    /// Tells of changes of a group's behaviour.
    pub(super) fn follow(&self, group: &str) -> watch::Receiver<Behaviour> {
        self.sender(group).subscribe()
    }

    fn sender(&self, group: &str) -> watch::Sender<Behaviour> {
        let mut behaviours = locked(&self.behaviours);
        behaviours.entry(group.to_owned()).or_insert_with(|| watch::Sender::new(Behaviour::default())).clone()
    }
}
