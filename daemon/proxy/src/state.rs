//! What the threads of one proxy share: weights, tallies, the armed tripwires, and whether it drains.
//!
//! On the way of a request only [`Weights`] and a few flags that rarely change are read; everything behind the mutex
//! belongs to the control API and the tripwires.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, RwLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rustls::{ClientConfig, ServerConfig};
use tokio::sync::watch;

use crate::{
    api::{Armed, CaptureStatus, CloseConnections, Counters, Fired, SetWeight, Status},
    capture::NodeId,
    clock,
    config::{Config, ConfigError, Side, WEIGHT_MAX},
    count::{self, Glance, SideName, Tally},
    handle::StartError,
    sides::Health,
    split::Weights,
    tls,
    wire::Overrides,
};

/// How far a proxy is with ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It serves.
    No,
    /// It takes no new connections; requests under way may end until then.
    Drain {
        /// When what is left is cut off.
        deadline: Instant,
    },
}

/// What all threads of one proxy see.
pub(crate) struct State {
    /// What it was started with.
    pub(crate) config: Config,
    /// The target's weights.
    pub(crate) weights: Weights,
    /// One for each serving thread.
    pub(crate) tallies: Vec<Arc<Tally>>,
    /// Client connections open over all threads, for the limit.
    pub(crate) clients: AtomicUsize,
    health: [Vec<Health>; 2],
    overrides: [Overrides; 2],
    client_tls: [Option<Arc<ClientConfig>>; 2],
    /// What new client connections speak TLS with; `None` is plaintext.
    server_tls: RwLock<Option<Arc<ServerConfig>>>,
    instance: String,
    /// This start of the process, as records name it, and what is the same in all names of its connections.
    pub(crate) node: NodeId,
    pub(crate) machine: u64,
    started: Instant,
    /// Milliseconds after `started` until which replies carry `Connection: close`.
    close_until: AtomicU64,
    armed_now: AtomicBool,
    /// Whether a controller has to give it a weight before it is ready.
    awaits_weight: AtomicBool,
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
pub(crate) const WINDOW_MAX: Duration = Duration::from_mins(1);

/// Most limits armed at once.
pub(crate) const LIMITS_MAX: usize = 16;

impl State {
    /// Everything that threads need, made and checked before any of them starts.
    pub(crate) fn new(config: Config, workers: usize) -> Result<Self, StartError> {
        let mut chance = fastrand::Rng::new();
        let started = clock::now();
        let sides = [Some(&config.source), config.target.as_ref()];
        let health = sides.map(|side| {
            let endpoints = side.map_or(&[][..], |side| &side.endpoints);
            endpoints.iter().map(|upstream| Health::new(upstream.clone(), started)).collect()
        });
        let mut overrides = <[Overrides; 2]>::default();
        let mut client_tls = [None, None];
        for (at, side) in sides.into_iter().enumerate() {
            let Some(side) = side else { continue };
            overrides[at] = Overrides::new(side.set_headers.iter().cloned())
                .map_err(|why| ConfigError::Header { side: SideName::BOTH[at].word(), why })?;
            if side.endpoints.iter().any(|upstream| upstream.tls) {
                client_tls[at] = Some(tls::client(&side.tls)?);
            }
        }
        let server_tls = config.tls.as_ref().map(tls::server).transpose()?;
        Ok(Self {
            weights: Weights::new(config.reads, config.writes),
            tallies: (0..workers).map(|_| Arc::default()).collect(),
            clients: AtomicUsize::new(0),
            health,
            overrides,
            client_tls,
            server_tls: RwLock::new(server_tls),
            instance: format!("{:016x}{:016x}", chance.u64(..), chance.u64(..)),
            node: NodeId::random(chance.u128(..)),
            machine: chance.u64(..),
            started,
            close_until: AtomicU64::new(0),
            armed_now: AtomicBool::new(false),
            awaits_weight: AtomicBool::new(config.await_weight),
            ending: watch::Sender::new(Ending::No),
            control: Mutex::default(),
            config,
        })
    }

    /// How a side was configured; the source's settings where there is no target, which is never asked then.
    pub(crate) fn side(&self, name: SideName) -> &Side {
        match name {
            SideName::Source => &self.config.source,
            SideName::Target => self.config.target.as_ref().unwrap_or(&self.config.source),
        }
    }

    /// The endpoints of a side, and what is known of them.
    pub(crate) fn health(&self, name: SideName) -> &[Health] {
        &self.health[name as usize]
    }

    /// The header fields that a side gets instead of the client's.
    pub(crate) fn overrides(&self, name: SideName) -> &Overrides {
        &self.overrides[name as usize]
    }

    /// What is spoken to the `https` endpoints of a side.
    pub(crate) fn client_tls(&self, name: SideName) -> Option<Arc<ClientConfig>> {
        self.client_tls[name as usize].clone()
    }

    /// What TLS is spoken with to a client that connects now.
    pub(crate) fn server_tls(&self) -> Option<Arc<ServerConfig>> {
        self.config.tls.as_ref()?;
        self.server_tls.read().expect("nobody panics while holding it").clone()
    }

    /// Reads certificate, key and client authorities again; open connections keep theirs.
    pub(crate) fn reload(&self) -> Result<(), StartError> {
        if let Some(settings) = &self.config.tls {
            let fresh = tls::server(settings)?;
            *self.server_tls.write().expect("nobody panics while holding it") = Some(fresh);
        }
        Ok(())
    }

    fn applied(&self) -> MutexGuard<'_, Applied> {
        self.control.lock().expect("nobody panics while holding it")
    }

    /// Sets the weights; when it returns they hold for every request whose head is complete from now on.
    pub(crate) fn set_weight(&self, set: &SetWeight) -> Result<Status, Refused> {
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
        self.awaits_weight.store(false, Ordering::Relaxed);
        drop(applied);
        Ok(self.status())
    }

    /// Arms tripwires, or disarms them; what fired before is forgotten.
    pub(crate) fn arm(&self, armed: Option<Armed>) -> Result<Status, Refused> {
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
    pub(crate) fn is_armed(&self) -> bool {
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
    pub(crate) fn close_connections(&self, close: &CloseConnections) -> Status {
        let now = self.uptime_millis();
        let until = if close.millis == 0 { 0 } else { now.saturating_add(close.millis) };
        self.close_until.store(until, Ordering::Relaxed);
        self.status()
    }

    /// Whether a reply given at `now` carries `Connection: close` and its connection ends.
    pub(crate) fn closes(&self, now: Instant) -> bool {
        let until = self.close_until.load(Ordering::Relaxed);
        until > 0 && (now.saturating_duration_since(self.started).as_millis() as u64) < until || self.draining()
    }

    /// Whether it takes no new connections any more.
    pub(crate) fn draining(&self) -> bool {
        *self.ending.borrow() != Ending::No
    }

    /// Whether no controller has given it the weight yet that it awaits.
    pub(crate) fn awaits_weight(&self) -> bool {
        self.awaits_weight.load(Ordering::Relaxed)
    }

    /// Why it shall not be given traffic, if so.
    pub(crate) fn unready(&self) -> Option<&'static str> {
        if self.draining() {
            Some("draining")
        } else if self.awaits_weight() {
            Some("awaiting a weight from its controller")
        } else {
            None
        }
    }

    /// How far it is with ending, and whenever that changes.
    pub(crate) fn ending(&self) -> watch::Receiver<Ending> {
        self.ending.subscribe()
    }

    /// Stops accepting; what is under way may end until `deadline`. A second call may only bring the end nearer.
    pub(crate) fn drain(&self, deadline: Instant) {
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
    pub(crate) fn status(&self) -> Status {
        let now = clock::now();
        let applied = self.applied();
        let (reads, writes) = self.weights.both();
        Status {
            instance: self.instance.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_millis: self.uptime_millis(),
            reads,
            writes,
            generation: applied.generation,
            draining: self.draining(),
            awaits_weight: self.awaits_weight(),
            armed: applied.armed.clone(),
            fired: applied.fired.clone(),
            source: self.health(SideName::Source).iter().map(|health| health.status(now)).collect(),
            target: self.health(SideName::Target).iter().map(|health| health.status(now)).collect(),
            capture: self.capture(),
        }
    }

    /// How the capture of each side goes that is captured.
    pub(crate) fn capture(&self) -> Vec<CaptureStatus> {
        let sides = [(SideName::Source, Some(&self.config.source)), (SideName::Target, self.config.target.as_ref())];
        let captured = sides.into_iter().filter_map(|(name, side)| Some((name, side?.capture.as_ref()?)));
        captured.map(|(name, captured)| captured.status(name)).collect()
    }

    /// Everything counted since the start.
    pub(crate) fn counters(&self) -> Counters {
        let fired = self.applied().fired_times;
        let counted =
            count::merged(self.tallies.iter().map(AsRef::as_ref), &self.instance, clock::unix_millis(), fired);
        Counters { uptime_millis: Some(self.uptime_millis()), ..counted }
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
