//! How fast one service of a region is asked for what can wait.
//!
//! An account has a bucket of calls in each region for everything that describes load balancers: 40 tokens, 10 of them new
//! each second (ELB API reference, "Throttling"), shared with the console and every other tool. Looks at the health of
//! targets are most of what we ask, they are many as soon as many services shift, and each of them can come later. So they
//! take turns, at half of what AWS allows, and at less from the first time that AWS refuses one: what a revert reads and
//! writes never waits here, and finds the other half. Questions to CloudWatch take turns of their own.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::clock::{self, Clock};

/// The pause between two turns while AWS takes all of them.
const SPACING: Duration = Duration::from_millis(200);

/// How many times as long it becomes at most: a turn every 6.4 s.
const STRETCH_MAX: u32 = 32;

/// How many turns in a row must be taken before the pause is halved again.
const CALM: u32 = 20;

/// By how much a turn may come late so that several daemons of one account do not ask in step, in milliseconds.
const JITTER_MILLIS: i64 = 64;

/// The turns of one service in one region. Clones share them.
#[derive(Clone, Debug)]
pub struct Pace {
    clock: Clock,
    /// When the next turn may be taken. Whoever waits for it stands in line for the lock, first come first served.
    next: Arc<tokio::sync::Mutex<Instant>>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    stretch: u32,
    calm: u32,
}

impl Pace {
    /// Nobody waits yet; the pauses are those of `clock`.
    pub fn new(clock: Clock) -> Self {
        let state = State { stretch: 1, calm: 0 };
        let next = Arc::new(tokio::sync::Mutex::new(clock::instant()));
        Self { clock, next, state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding it")
    }

    /// Waits for the next turn. Who gives up leaves the line and takes no turn from those behind.
    pub async fn turn(&self) {
        let mut next = self.next.lock().await;
        tokio::time::sleep_until((*next).into()).await;
        let jitter = Duration::from_millis(self.clock.now().0.rem_euclid(JITTER_MILLIS).unsigned_abs());
        *next = clock::instant() + self.clock.real(self.spacing() + jitter);
    }

    /// A call was answered; whether with a refusal since there were too many.
    pub fn answered(&self, throttled: bool) {
        let mut state = self.state();
        if throttled {
            state.stretch = (state.stretch * 2).min(STRETCH_MAX);
            state.calm = 0;
            return;
        }
        state.calm += 1;
        if state.calm >= CALM {
            state.stretch = (state.stretch / 2).max(1);
            state.calm = 0;
        }
    }

    /// The pause between two turns as it is now, jitter aside.
    pub fn spacing(&self) -> Duration {
        SPACING * self.state().stretch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that each refusal doubles the pause up to a bound, and that calm halves it again.
    #[test]
    fn refusals_slow_the_pace_down_and_calm_brings_it_back() {
        let pace = Pace::new(Clock::system());
        assert_eq!(pace.spacing(), SPACING);
        for _ in 0..10 {
            pace.answered(true);
        }
        assert_eq!(pace.spacing(), SPACING * STRETCH_MAX);
        for _ in 0..CALM - 1 {
            pace.answered(false);
        }
        assert_eq!(pace.spacing(), SPACING * STRETCH_MAX, "not yet");
        for _ in 0..CALM * 6 {
            pace.answered(false);
        }
        assert_eq!(pace.spacing(), SPACING);
    }

    /// Proves that turns lie apart by the pause, whoever waits for them.
    #[tokio::test]
    async fn turns_lie_apart() {
        let pace = Pace::new(Clock::fast(10));
        let began = clock::instant();
        tokio::join!(pace.turn(), pace.turn(), pace.turn());
        assert!(began.elapsed() >= SPACING * 2 / 10);
    }

    /// Proves that whoever gives up waiting takes no turn from the others.
    #[tokio::test]
    async fn who_gives_up_leaves_no_gap() {
        let pace = Pace::new(Clock::system());
        pace.turn().await;
        for _ in 0..50 {
            drop(tokio::time::timeout(Duration::ZERO, pace.turn()).await);
        }
        let began = clock::instant();
        pace.turn().await;
        assert!(began.elapsed() < SPACING * 10, "{:?}", began.elapsed());
    }
}
