//! Tasks that belong to someone: they end when their owner does.

use std::sync::{Mutex, PoisonError};

use tokio::task::{JoinError, JoinSet};

/// Running tasks; dropped, it ends them all.
#[derive(Debug, Default)]
pub(super) struct Tasks(Mutex<JoinSet<()>>);

impl Tasks {
    /// Runs a task until it ends or its owner does. Those that have ended are taken off, so that only running ones are
    /// held.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(ended) = tasks.try_join_next() {
            raise(ended);
        }
        tasks.spawn(task);
    }

    /// Ends all of them without waiting.
    pub(super) fn abandon(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }

    /// Ends all of them and waits until they have ended.
    pub(super) async fn stop(&self) {
        loop {
            // A task that is being ended may still start another one: until nothing is left, then.
            let mut tasks = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
            if tasks.is_empty() {
                return;
            }
            tasks.abort_all();
            while let Some(ended) = tasks.join_next().await {
                raise(ended);
            }
        }
    }
}

/// A task that panicked is a bug of the lab: whoever owns it panics as well.
fn raise(ended: Result<(), JoinError>) {
    if let Err(why) = ended
        && why.is_panic()
    {
        std::panic::resume_unwind(why.into_panic());
    }
}
