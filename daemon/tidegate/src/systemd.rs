//! What systemd is told: that a process is ready, reads its settings again, ends, and lives. Both units are of
//! `Type=notify` with a watchdog; whoever runs without systemd misses nothing.
//!
//! The watchdog is fed by a process's main task, so what it proves is that signals are still heard and that the runtime
//! turns. Threads that serve are awaited by the same task: one that ends, ends the process.

use std::time::Duration;

pub use sd_notify::NotifyState;

/// How often the watchdog's interval ticks where nobody asked for it: so rarely that it does not matter.
const IDLE: Duration = Duration::from_hours(1);

/// Tells systemd, where there is one.
pub fn tell(states: &[NotifyState<'_>]) {
    drop(sd_notify::notify(false, states));
}

/// Ticks whenever the watchdog wants to be told, twice as often as systemd asks for.
pub fn watchdog() -> tokio::time::Interval {
    let mut micros = 0;
    let every = if sd_notify::watchdog_enabled(false, &mut micros) {
        Duration::from_micros(micros / 2).max(Duration::from_millis(1))
    } else {
        IDLE
    };
    tokio::time::interval(every)
}
