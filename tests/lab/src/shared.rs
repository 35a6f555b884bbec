//! What all parts of a running lab hold in common: the account under its lock, the clock, the faults, the record.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::clock::{Clock, Time};
use crate::faults::Faults;
use crate::history::History;
use crate::model::{Model, Refusal};

/// One lab. Everyone holds it in an `Arc`.
#[derive(Debug)]
pub struct Shared {
    /// Lab time.
    pub clock: Clock,
    /// What is to go wrong.
    pub faults: Faults,
    /// What happened.
    pub history: History,
    model: Mutex<Model>,
    changed: watch::Sender<u64>,
}

impl Shared {
    /// A lab with such an account.
    pub fn new(clock: Clock, model: Model) -> Self {
        let history = History::default();
        history.note_actions(&model, clock.now());
        Self { clock, faults: Faults::default(), history, model: Mutex::new(model), changed: watch::Sender::new(0) }
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
