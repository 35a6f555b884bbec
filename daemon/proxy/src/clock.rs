//! The only file of this package that reads a clock.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::time::Sleep;

/// Now, for durations.
#[expect(clippy::disallowed_methods, reason = "this is the package's clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Milliseconds since 1970-01-01T00:00:00Z; only for people and for other machines, never to order anything.
#[expect(clippy::disallowed_methods, reason = "this is the package's clock")]
pub(crate) fn unix_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Time since 1970-01-01T00:00:00Z, for what is recorded.
pub(crate) fn since_epoch() -> Duration {
    wall().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The wall clock, to hold against the times of files.
#[expect(clippy::disallowed_methods, reason = "this is the package's clock")]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// One timer for the whole life of a connection, re-armed as rarely as possible: deadlines mostly move into the future,
/// so it is left to fire early and only then set to where the deadline is by now.
pub(crate) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whom it wakes.
    waker: Option<Waker>,
}

impl Timer {
    /// A timer that is not armed.
    pub(crate) const fn new() -> Self {
        Self { sleep: None, waker: None }
    }

    /// Ready once `deadline` is past.
    pub(crate) fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let deadline = deadline.into();
        if let (Some(sleep), Some(waker)) = (&self.sleep, &self.waker)
            && sleep.deadline() <= deadline
            && !sleep.is_elapsed()
            && waker.will_wake(cx.waker())
        {
            return Poll::Pending;
        }
        self.waker.get_or_insert_with(|| cx.waker().clone()).clone_from(cx.waker());
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}
