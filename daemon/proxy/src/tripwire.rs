//! Tripwires: absolute limits that the proxy itself looks at each 100 ms, so that a target that is plainly gone costs
//! tenths of a second and needs nobody else to be alive.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use judge::Histogram;

use crate::{
    api::{Limit, LimitKind},
    clock,
    count::Glance,
    state::{State, WINDOW_MAX},
};

/// How often the figures are looked at.
const EVERY: Duration = Duration::from_millis(100);

/// What was seen, and when; as many as the longest window needs.
#[derive(Default)]
struct Seen {
    arming: u64,
    glances: VecDeque<(Instant, [Glance; 2])>,
}

/// Looks until the proxy ends.
pub(crate) async fn watch(state: Arc<State>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut seen = Seen::default();
    loop {
        ticks.tick().await;
        let Some((arming, armed)) = state.armed() else {
            seen.glances.clear();
            continue;
        };
        if seen.arming != arming {
            seen.arming = arming;
            seen.glances.clear();
        }
        let now = clock::now();
        seen.glances.push_back((now, state.glance()));
        while seen.glances.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > WINDOW_MAX + EVERY) {
            seen.glances.pop_front();
        }
        let why = armed.limits.iter().find_map(|limit| seen.over(limit, now));
        if let Some(fired) = why.and_then(|why| state.fire(arming, why)) {
            tracing::error!(
                why = fired.why,
                generation = fired.generation,
                "a tripwire fired: the armed share is back"
            );
        }
    }
}

impl Seen {
    /// Why a limit is reached, if it is.
    fn over(&self, limit: &Limit, now: Instant) -> Option<String> {
        let window = Duration::from_millis(limit.window_millis);
        let (_, last) = self.glances.back()?;
        // The oldest glance inside the window is what the last is compared with: right after the arming that is less
        // than the whole window, and `requests_min` decides whether it is enough.
        let (since, first) = self.glances.iter().find(|(at, _)| now.saturating_duration_since(*at) <= window)?;
        let [source, target] = [0, 1].map(|at| Figures::between(&first[at], &last[at], window));
        let (what, ours, theirs) = match limit.kind {
            LimitKind::Errors => ("errors", target.share(target.errors), source.share(source.errors)),
            LimitKind::Unanswered => {
                ("unanswered requests", target.share(target.unanswered), source.share(source.unanswered))
            }
            LimitKind::Latency => ("latency", target.quantile_millis(0.99), source.quantile_millis(0.99)),
        };
        if target.requests < limit.requests_min || ours < limit.limit || theirs > limit.source_limit {
            return None;
        }
        let over = now.saturating_duration_since(*since).as_millis();
        let figures = match limit.kind {
            LimitKind::Latency => format!(
                "p99 of the target's time to the first byte was {ours:.0} ms over {} requests in {over} ms (limit {:.0} ms; \
                 source {theirs:.0} ms)",
                target.requests, limit.limit
            ),
            LimitKind::Errors | LimitKind::Unanswered => format!(
                "{what} were {:.1} % of {} requests of the target in {over} ms (limit {:.1} %; source {:.1} %)",
                ours * 100.0,
                target.requests,
                limit.limit * 100.0,
                theirs * 100.0
            ),
        };
        Some(if limit.name.is_empty() { figures } else { format!("`{}`: {figures}", limit.name) })
    }
}

/// One side in one window.
struct Figures {
    /// Requests that ended, and those that have waited longer than the window.
    requests: u64,
    errors: u64,
    unanswered: u64,
    latency: Histogram,
}

impl Figures {
    fn between(first: &Glance, last: &Glance, window: Duration) -> Self {
        let micros = u64::try_from(window.as_micros()).unwrap_or(u64::MAX);
        let stuck_from = Histogram::bucket_of(micros);
        let stuck: u64 = last.waiting.iter().filter(|(bucket, _)| *bucket > stuck_from).map(|(_, count)| count).sum();
        let mut latency = last.latency.since(&first.latency).unwrap_or_default();
        // Those that still wait have waited at least so long.
        for (bucket, count) in last.waiting.iter().filter(|(bucket, _)| *bucket > stuck_from) {
            latency.add(bucket, count);
        }
        let since = |last: u64, first: u64| last.saturating_sub(first);
        Self {
            requests: since(last.requests, first.requests) + stuck,
            errors: since(last.errors, first.errors),
            unanswered: since(last.abandoned, first.abandoned) + since(last.timeouts, first.timeouts) + stuck,
            latency,
        }
    }

    /// A count as a share of the requests; 0 without any.
    fn share(&self, count: u64) -> f64 {
        if self.requests == 0 { 0.0 } else { count as f64 / self.requests as f64 }
    }

    fn quantile_millis(&self, q: f64) -> f64 {
        self.latency.quantile_micros(q).unwrap_or(0.0) / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glance(requests: u64, errors: u64) -> Glance {
        Glance { requests, errors, ..Glance::default() }
    }

    fn seen(first: [Glance; 2], last: [Glance; 2]) -> (Seen, Instant) {
        let start = clock::now();
        let end = start + Duration::from_millis(400);
        (Seen { arming: 1, glances: VecDeque::from([(start, first), (end, last)]) }, end)
    }

    fn errors() -> Limit {
        Limit {
            name: "errors".to_owned(),
            kind: LimitKind::Errors,
            limit: 0.2,
            requests_min: 10,
            window_millis: 500,
            source_limit: 0.1,
        }
    }

    /// Proves that errors fire at the limit, not below it, and not on too few requests.
    #[test]
    fn errors_fire_at_the_limit_and_not_on_few_requests() {
        for (requests, bad, fires) in [(10, 2, true), (10, 1, false), (9, 9, false)] {
            let (seen, now) = seen([glance(5, 5), glance(50, 50)], [glance(105, 5), glance(50 + requests, 50 + bad)]);
            assert_eq!(seen.over(&errors(), now).is_some(), fires, "{bad} of {requests}");
        }
    }

    /// Proves that a source that fails just as much keeps the tripwire quiet: what both have is not the target's doing.
    #[test]
    fn a_failing_source_keeps_it_quiet() {
        let (seen, now) = seen(<[Glance; 2]>::default(), [glance(100, 50), glance(100, 50)]);
        assert_eq!(seen.over(&errors(), now), None);
    }

    /// Proves that requests that never end fire too, although none of them was counted yet.
    #[test]
    fn requests_that_never_end_fire() {
        let mut target = Glance::default();
        target.waiting.record(800_000, 12);
        let (seen, now) = seen(<[Glance; 2]>::default(), [glance(100, 0), target]);
        let limit = Limit { kind: LimitKind::Unanswered, ..errors() };
        assert!(
            seen.over(&limit, now)
                .is_some_and(|why| why.starts_with("`errors`: ") && why.contains("100.0 % of 12 requests"))
        );
    }
}
