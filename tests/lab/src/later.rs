//! What is to be done at a later time: writes that a fault delays, edits by others that a script announces.
//!
//! They must happen whether or not the connection that brought them still stands, so they wait here and not with it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::clock::Time;
use crate::shared::Shared;
use crate::wire::Call;
use crate::{lab_api, operate};

/// How many things may wait.
pub const WAITING_MAX: usize = 1_000;

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Job {
    /// A call whose client hears nothing of it.
    Call(Box<Call>),
    /// An action of the `_lab` API.
    Action(lab_api::Action),
}

/// What waits.
#[derive(Debug, Default)]
pub struct Later {
    waiting: Mutex<Vec<(Time, Job)>>,
    added: Notify,
}

impl Later {
    /// Adds a job.
    ///
    /// # Errors
    /// Says so when [`WAITING_MAX`] wait already.
    pub fn add(&self, at: Time, job: Job) -> Result<(), String> {
        let mut waiting = self.lock();
        if waiting.len() == WAITING_MAX {
            return Err(format!("{WAITING_MAX} things wait to be done already"));
        }
        waiting.push((at, job));
        drop(waiting);
        self.added.notify_one();
        Ok(())
    }

    /// Takes what is due, in the order of its times.
    fn due(&self, now: Time) -> Vec<Job> {
        let mut waiting = self.lock();
        waiting.sort_by_key(|(at, _)| *at);
        let count = waiting.partition_point(|(at, _)| *at <= now);
        waiting.drain(..count).map(|(_, job)| job).collect()
    }

    fn next(&self) -> Option<Time> {
        self.lock().iter().map(|(at, _)| *at).min()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Time, Job)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does what falls due until the lab ends.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        for job in shared.later.due(shared.clock.now()) {
            match job {
                // Whether it is refused by then is no one's to hear; the history shows what came of it.
                Job::Call(call) => drop(operate::operate(&shared, &call, None)),
                Job::Action(action) => drop(lab_api::act(&shared, action)),
            }
        }
        let added = shared.later.added.notified();
        match shared.later.next() {
            Some(at) => tokio::select! {
                () = shared.clock.sleep_until(at) => {}
                () = added => {}
            },
            None => added.await,
        }
    }
}
