//! Both sides as one thread sees them: which endpoint is next, and which idle connections it has.
//!
//! Endpoints are chosen by the fewest requests under way in this thread, then in turn. One that fails several times in
//! a row gets no requests for a while (passive ejection), and one whose health check fails gets none until it passes;
//! but when nobody would be left, everybody is asked: a side is never given up by a guess.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    api,
    config::{self, Upstream},
    pool::Connection,
    socket::Sure,
};

/// Failures in a row, over all threads, after which an endpoint is ejected.
const EJECT_AFTER: u32 = 5;

/// For how long an ejected endpoint gets no requests.
const EJECT_FOR: Duration = Duration::from_secs(10);

/// An idle connection that rested for so long is asked about whatever the request. Under load connections rest for less,
/// and there the call to the system counts; otherwise it does not.
const ASK_AFTER: Duration = Duration::from_millis(20);

/// What all threads know of one endpoint; written only when something changes.
#[derive(Debug)]
pub(crate) struct Health {
    upstream: Upstream,
    started: Instant,
    failures: AtomicU32,
    /// Milliseconds after `started`; 0 is never.
    ejected_until: AtomicU64,
    checked_bad: AtomicBool,
    note: Mutex<String>,
}

impl Health {
    /// An endpoint of which nothing bad is known.
    pub(crate) fn new(upstream: Upstream, started: Instant) -> Self {
        Self {
            upstream,
            started,
            failures: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            checked_bad: AtomicBool::new(false),
            note: Mutex::default(),
        }
    }

    /// Where it is.
    pub(crate) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Whether it should get requests.
    pub(crate) fn is_good(&self, now: Instant) -> bool {
        let until = self.ejected_until.load(Ordering::Relaxed);
        !self.checked_bad.load(Ordering::Relaxed)
            && (until == 0 || now.saturating_duration_since(self.started).as_millis() as u64 >= until)
    }

    /// It answered a request.
    pub(crate) fn answered(&self) {
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// It failed a request.
    pub(crate) fn failed(&self, now: Instant, why: &str) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        self.set_note(why);
        if failures >= EJECT_AFTER {
            let until = now.saturating_duration_since(self.started) + EJECT_FOR;
            self.ejected_until.store(until.as_millis() as u64, Ordering::Relaxed);
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// What a health check found; `None` is good.
    pub(crate) fn checked(&self, bad: Option<&str>) {
        self.checked_bad.store(bad.is_some(), Ordering::Relaxed);
        self.set_note(bad.unwrap_or_default());
    }

    fn set_note(&self, note: &str) {
        let mut held = self.note.lock().expect("nobody panics while holding it");
        if *held != note {
            note.clone_into(&mut held);
        }
    }

    /// As the control API says it.
    pub(crate) fn status(&self, now: Instant) -> api::Endpoint {
        let note = self.note.lock().expect("nobody panics while holding it").clone();
        api::Endpoint { url: self.upstream.to_string(), healthy: self.is_good(now), note }
    }
}

/// One endpoint in one thread.
#[derive(Default)]
struct Endpoint {
    #[expect(clippy::vec_box, reason = "each request moves one out and in again, and they are half a kilobyte")]
    idle: Vec<Box<Connection>>,
    in_flight: usize,
}

/// One side in one thread.
pub(crate) struct Side {
    endpoints: Vec<Endpoint>,
    turn: usize,
    idle_max: usize,
}

impl Side {
    /// A side without connections.
    pub(crate) fn new(side: &config::Side, idle_max: usize) -> Self {
        Self { endpoints: side.endpoints.iter().map(|_| Endpoint::default()).collect(), turn: 0, idle_max }
    }

    /// Chooses the endpoint of the next request and counts it in; `shunned` are those just tried in vain, of which
    /// one is chosen only when there is no other.
    pub(crate) fn choose(&mut self, health: &[Health], shunned: &[usize], now: Instant) -> usize {
        let count = self.endpoints.len();
        self.turn = (self.turn + 1) % count;
        let from_turn = (self.turn..count).chain(0..self.turn);
        let best = |wanted: &dyn Fn(usize) -> bool| {
            from_turn.clone().filter(|&at| wanted(at)).min_by_key(|&at| self.endpoints[at].in_flight)
        };
        let at = best(&|at| !shunned.contains(&at) && health[at].is_good(now))
            .or_else(|| best(&|at| !shunned.contains(&at)))
            .or_else(|| best(&|_| true))
            .expect("a side has at least one endpoint");
        self.endpoints[at].in_flight += 1;
        at
    }

    /// A request of that endpoint is over.
    pub(crate) fn over(&mut self, at: usize) {
        self.endpoints[at].in_flight -= 1;
    }

    /// The connection that was used last, if it is still alive and silent: bytes that nobody asked for would be taken
    /// for the answer to the next request, somebody else's perhaps, and an end would be the failure of that request.
    pub(crate) fn reuse(&mut self, at: usize, idle_max: Duration, sure: Sure, now: Instant) -> Option<Box<Connection>> {
        let idle = &mut self.endpoints[at].idle;
        while let Some(mut connection) = idle.pop() {
            let idle_for = now.saturating_duration_since(connection.idle_since);
            let sure = if idle_for >= ASK_AFTER { Sure::Asked } else { sure };
            if idle_for < idle_max && connection.socket.is_alive(sure) {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection for later requests.
    pub(crate) fn keep(&mut self, connection: Box<Connection>) {
        let idle = &mut self.endpoints[connection.endpoint].idle;
        if idle.len() < self.idle_max {
            idle.push(connection);
        }
    }

    /// Closes the connections that are idle for too long or that the upstream has closed.
    pub(crate) fn prune(&mut self, idle_max: Duration, now: Instant) {
        for endpoint in &mut self.endpoints {
            endpoint.idle.retain_mut(|connection| {
                now.saturating_duration_since(connection.idle_since) < idle_max
                    && connection.socket.is_alive(Sure::Told)
            });
        }
    }

    /// Closes every idle connection.
    pub(crate) fn close_idle(&mut self) {
        for endpoint in &mut self.endpoints {
            endpoint.idle.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn endpoints(count: u16) -> (Side, Vec<Health>) {
        let upstreams: Vec<Upstream> =
            (0..count).map(|n| Upstream { tls: false, host: "127.0.0.1".to_owned(), port: n + 1 }).collect();
        let health = upstreams.iter().map(|upstream| Health::new(upstream.clone(), clock::now())).collect();
        (Side::new(&config::Side::new(upstreams), 8), health)
    }

    /// Proves that requests go round, and to whoever has the fewest under way.
    #[test]
    fn the_endpoint_with_the_fewest_requests_is_next() {
        let (mut side, health) = endpoints(3);
        let mut chosen: Vec<usize> = (0..3).map(|_| side.choose(&health, &[], clock::now())).collect();
        chosen.sort_unstable();
        assert_eq!(chosen, [0, 1, 2]);
        side.over(1);
        assert_eq!(side.choose(&health, &[], clock::now()), 1);
    }

    /// Proves that an endpoint that fails in a row is left out for a while, but never when it is the last.
    #[test]
    fn ejection_never_takes_the_last_endpoint() {
        let (mut side, health) = endpoints(2);
        let now = clock::now();
        for _ in 0..EJECT_AFTER {
            health[0].failed(now, "connection refused");
        }
        assert!(!health[0].is_good(now) && health[0].is_good(now + EJECT_FOR + Duration::from_millis(1)));
        assert!((0..6).all(|_| side.choose(&health, &[], now) == 1));
        for _ in 0..EJECT_AFTER {
            health[1].failed(now, "connection refused");
        }
        assert_eq!(side.choose(&health, &[], now), 0, "everybody is bad, so the one with the fewest requests is asked");
    }
}
