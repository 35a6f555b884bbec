//! What the threads of one proxy share: weights, tallies, the armed tripwires, and whether it drains.
//!
//! On the way of a request only [`Weights`] and a few flags that rarely change are read; everything behind the mutex
//! belongs to the control API and the tripwires.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{
    api::{Armed, CloseConnections, Counters, Endpoint, Fired, SetWeight, Status},
    clock,
    config::{Config, WEIGHT_MAX},
    count::{self, Glance, Tally},
    split::Weights,
};

/// How far a proxy is with ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It serves.
    No,
    /// It takes no new connections; requests under way may end until then.
    Drain {
        /// When what is left is cut off.
        deadline: Instant,
    },
}

/// What all threads of one proxy see.
pub struct State {
    /// What it was started with.
    pub config: Config,
    /// The target's weights.
    pub weights: Weights,
    /// One for each serving thread.
    pub tallies: Vec<Arc<Tally>>,
    /// Client connections open over all threads, for the limit.
    pub clients: AtomicUsize,
    instance: String,
    started: Instant,
    /// Milliseconds after `started` until which replies carry `Connection: close`.
    close_until: AtomicU64,
    armed_now: AtomicBool,
    ending: watch::Sender<Ending>,
    control: Mutex<Applied>,
}

#[derive(Debug, Default)]
struct Applied {
    generation: u64,
    /// Whether the last change was a tripwire of our own.
    by_tripwire: bool,
    armed: Option<Armed>,
    armings: u64,
    fired: Option<Fired>,
    fired_times: u64,
}

/// Why a change was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A newer change was applied before.
    #[error("generation {asked} is older than the applied {applied}: read the status and decide again")]
    Older {
        /// The generation of the refused change.
        asked: u64,
        /// The last applied one.
        applied: u64,
    },
    /// A tripwire fired in between, and gave this number to its own change.
    #[error("generation {applied} is the change of a tripwire that fired: read the status and decide again")]
    Fired {
        /// The last applied one.
        applied: u64,
    },
    /// A value that cannot be.
    #[error("{0}")]
    Invalid(String),
}

/// The longest window of a tripwire; the figures of that time are kept.
pub const WINDOW_MAX: Duration = Duration::from_secs(60);

/// Most limits armed at once.
pub const LIMITS_MAX: usize = 16;

impl State {
    pub(crate) fn new(config: Config, workers: usize) -> Self {
        let mut chance = fastrand::Rng::new();
        Self {
            weights: Weights::new(config.reads, config.writes),
            tallies: (0..workers).map(|_| Arc::default()).collect(),
            clients: AtomicUsize::new(0),
            instance: format!("{:016x}{:016x}", chance.u64(..), chance.u64(..)),
            started: clock::now(),
            close_until: AtomicU64::new(0),
            armed_now: AtomicBool::new(false),
            ending: watch::Sender::new(Ending::No),
            control: Mutex::default(),
            config,
        }
    }

    fn applied(&self) -> MutexGuard<'_, Applied> {
        self.control.lock().expect("nobody panics while holding it")
    }

    /// Sets the weights; when it returns they hold for every request whose head is complete from now on.
    pub fn set_weight(&self, set: &SetWeight) -> Result<Status, Refused> {
        let (reads, writes) = (set.reads.unwrap_or(set.target), set.writes.unwrap_or(set.target));
        self.check_weights(reads, writes)?;
        if set.target > WEIGHT_MAX {
            return Err(Refused::Invalid(format!("weight {} is above 1000 per mille", set.target)));
        }
        let mut applied = self.applied();
        if set.generation < applied.generation {
            return Err(Refused::Older { asked: set.generation, applied: applied.generation });
        }
        if set.generation == applied.generation && applied.by_tripwire && self.weights.both() != (reads, writes) {
            return Err(Refused::Fired { applied: applied.generation });
        }
        applied.by_tripwire &= set.generation == applied.generation;
        applied.generation = set.generation;
        self.weights.set(reads, writes);
        drop(applied);
        Ok(self.status())
    }

    /// Arms tripwires, or disarms them; what fired before is forgotten.
    pub fn arm(&self, armed: Option<Armed>) -> Result<Status, Refused> {
        if let Some(armed) = &armed {
            self.check_weights(armed.reads, armed.writes)?;
            if armed.limits.len() > LIMITS_MAX {
                return Err(Refused::Invalid(format!(
                    "{} limits are more than the {LIMITS_MAX} that can be armed",
                    armed.limits.len()
                )));
            }
            for limit in &armed.limits {
                let window_max = WINDOW_MAX.as_millis() as u64;
                if !(100..=window_max).contains(&limit.window_millis) {
                    return Err(Refused::Invalid(format!(
                        "a window of {} ms is outside of 100 to {window_max} ms",
                        limit.window_millis
                    )));
                }
                if !(limit.limit.is_finite() && limit.limit > 0.0) || limit.source_limit.is_nan() {
                    return Err(Refused::Invalid(format!("a limit of {} cannot be looked at", limit.limit)));
                }
            }
        }
        let mut applied = self.applied();
        self.armed_now.store(armed.is_some(), Ordering::Relaxed);
        applied.armed = armed;
        applied.armings += 1;
        applied.fired = None;
        drop(applied);
        Ok(self.status())
    }

    fn check_weights(&self, reads: u16, writes: u16) -> Result<(), Refused> {
        for (class, weight) in [("reads", reads), ("writes", writes)] {
            if weight > WEIGHT_MAX {
                return Err(Refused::Invalid(format!("weight {weight} for {class} is above 1000 per mille")));
            }
            if weight > 0 && self.config.target.is_none() {
                return Err(Refused::Invalid(format!(
                    "weight {weight} for {class} needs a target, but the proxy was started without one"
                )));
            }
        }
        Ok(())
    }

    /// The armed tripwires, and the number of their arming; `None` when there is nothing to look at.
    pub(crate) fn armed(&self) -> Option<(u64, Armed)> {
        if !self.is_armed() {
            return None;
        }
        let applied = self.applied();
        applied.armed.clone().filter(|_| applied.fired.is_none()).map(|armed| (applied.armings, armed))
    }

    /// Whether tripwires are armed; cheap enough for each tick of each thread.
    pub fn is_armed(&self) -> bool {
        self.armed_now.load(Ordering::Relaxed)
    }

    /// Puts the armed share back, unless other tripwires were armed in between.
    pub(crate) fn fire(&self, arming: u64, why: String) -> Option<Fired> {
        let mut applied = self.applied();
        if applied.armings != arming || applied.fired.is_some() {
            return None;
        }
        let (reads, writes) = applied.armed.as_ref().map(|armed| (armed.reads, armed.writes))?;
        self.weights.set(reads, writes);
        applied.generation = applied.generation.saturating_add(1);
        applied.by_tripwire = true;
        applied.fired_times += 1;
        let fired = Fired { at_millis: clock::unix_millis(), why, generation: applied.generation };
        applied.fired = Some(fired.clone());
        Some(fired)
    }

    /// For how long replies carry `Connection: close`.
    pub fn close_connections(&self, close: &CloseConnections) -> Status {
        let now = self.uptime_millis();
        let until = if close.millis == 0 { 0 } else { now.saturating_add(close.millis) };
        self.close_until.store(until, Ordering::Relaxed);
        self.status()
    }

    /// Whether a reply given at `now` carries `Connection: close` and its connection ends.
    pub fn closes(&self, now: Instant) -> bool {
        let until = self.close_until.load(Ordering::Relaxed);
        until > 0 && (now.saturating_duration_since(self.started).as_millis() as u64) < until || self.draining()
    }

    /// Whether it takes no new connections any more.
    pub fn draining(&self) -> bool {
        *self.ending.borrow() != Ending::No
    }

    /// How far it is with ending, and whenever that changes.
    pub fn ending(&self) -> watch::Receiver<Ending> {
        self.ending.subscribe()
    }

    /// Stops accepting; what is under way may end until `deadline`. A second call may only bring the end nearer.
    pub fn drain(&self, deadline: Instant) {
        self.ending.send_if_modified(|ending| match *ending {
            Ending::Drain { deadline: earlier } if earlier <= deadline => false,
            _ => {
                *ending = Ending::Drain { deadline };
                true
            }
        });
    }

    fn uptime_millis(&self) -> u64 {
        clock::now().saturating_duration_since(self.started).as_millis() as u64
    }

    /// What the proxy is and does now.
    pub fn status(&self) -> Status {
        let (reads, writes) = self.weights.both();
        let applied = self.applied();
        Status {
            instance: self.instance.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_millis: self.uptime_millis(),
            reads,
            writes,
            generation: applied.generation,
            draining: self.draining(),
            armed: applied.armed.clone(),
            fired: applied.fired.clone(),
            source: self.endpoints(&self.config.source),
            target: self.config.target.as_ref().map_or_else(Vec::new, |target| self.endpoints(target)),
        }
    }

    #[expect(clippy::unused_self, reason = "the health of endpoints is looked up in the state")]
    fn endpoints(&self, side: &crate::config::Side) -> Vec<Endpoint> {
        side.endpoints
            .iter()
            .map(|upstream| Endpoint { url: upstream.to_string(), healthy: true, note: String::new() })
            .collect()
    }

    /// Everything counted since the start.
    pub fn counters(&self) -> Counters {
        let fired = self.applied().fired_times;
        count::merged(self.tallies.iter().map(AsRef::as_ref), &self.instance, clock::unix_millis(), fired)
    }

    /// What the tripwires look at: source and target.
    pub(crate) fn glance(&self) -> [Glance; 2] {
        let mut glance = <[Glance; 2]>::default();
        for tally in &self.tallies {
            tally.add_to_glance(&mut glance);
        }
        glance
    }
}
