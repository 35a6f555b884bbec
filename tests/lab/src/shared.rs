//! What all parts of a running lab hold in common: the account under its lock, the clock, the faults, the record.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::clock::{Clock, Time};
use crate::cloudwatch::CloudWatch;
use crate::faults::Faults;
use crate::history::History;
use crate::later::Later;
use crate::limits::Limits;
use crate::model::{Model, Refusal};
use crate::plane::Controls;
use crate::scenario::Scene;

/// One lab. Everyone holds it in an `Arc`.
#[derive(Debug)]
pub struct Shared {
    /// Lab time.
    pub clock: Clock,
    /// The names of what the scenario made.
    pub scene: Scene,
    /// The account as the scenario made it.
    pub origin: Model,
    /// What is to go wrong.
    pub faults: Faults,
    /// What happened.
    pub history: History,
    /// What was measured.
    pub cloudwatch: CloudWatch,
    /// How the data plane is to be.
    pub plane: Controls,
    /// How many calls are taken.
    pub limits: Limits,
    /// What is to be done at a later time.
    pub later: Later,
    model: Mutex<Model>,
    changed: watch::Sender<u64>,
}

impl Shared {
    /// A lab with such an account, in which `scene` is named, and which takes so many calls.
    pub fn new(clock: Clock, model: Model, scene: Scene, limits: Limits) -> Self {
        let history = History::default();
        history.note_actions(&model, clock.now());
        Self {
            clock,
            scene,
            origin: model.clone(),
            faults: Faults::default(),
            history,
            cloudwatch: CloudWatch::default(),
            plane: Controls::default(),
            limits,
            later: Later::default(),
            model: Mutex::new(model),
            changed: watch::Sender::new(0),
        }
    }

    /// Looks at the account. Nothing in `look` may wait.
    pub fn read<T>(&self, look: impl FnOnce(&Model) -> T) -> T {
        look(&self.lock())
    }

    /// Changes the account, and wakes who waits for a change. `act` checks before it changes: what it refuses is as it was.
    pub fn change<T>(&self, act: impl FnOnce(&mut Model, Time) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let mut model = self.lock();
        let now = self.clock.now();
        let answer = act(&mut model, now)?;
        self.history.note_actions(&model, now);
        drop(model);
        self.changed.send_modify(|count| *count += 1);
        Ok(answer)
    }

    /// The same for what cannot be refused: what the lab itself makes happen.
    pub fn happen<T>(&self, act: impl FnOnce(&mut Model, Time) -> T) -> T {
        let mut model = self.lock();
        let answer = act(&mut model, self.clock.now());
        drop(model);
        self.changed.send_modify(|count| *count += 1);
        answer
    }

    /// Counts changes: wait on it to hear of the next one.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Model> {
        // A panic while it was held is a bug that ends the lab's test anyway; the account itself is checked before it is changed.
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
