//! Whether all of the traffic is there: as much as is expected, and nothing that comes to the source past the listener.

use std::time::Duration;

use cutover::event::{Check, CheckOutcome, Observation};
use cutover::policy::{ExpectedRate, Policy};
use cutover::{Timestamp, Window};

use crate::client::{Client, received};
use crate::clock::Clock;
use crate::metrics::MetricSource;
use crate::port::in_one_line;

/// From what the rate is taken where there is a past.
const RATE_OVER: Duration = Duration::from_mins(30);
/// In what pieces it is asked for.
const RATE_EVERY: Duration = Duration::from_mins(10);

/// Over what is counted where the counts are there at once, and where they come by the minute.
const COUNTED_OVER: Duration = Duration::from_secs(10);
const COUNTED_OVER_MINUTES: Duration = Duration::from_mins(2);

/// How much longer than usual counts may take, in real time.
const COUNTS_MAX: Duration = Duration::from_mins(3);

const MINUTE: Duration = Duration::from_mins(1);

/// Requests of both sides.
fn requests(row: &Observation) -> u64 {
    let of = |block: &judge::Block| block.source.requests + block.target.requests;
    of(&row.reads) + of(&row.writes)
}

/// Whether a rate is what was expected.
fn weighed(rate: f64, over: &str, expected: ExpectedRate) -> Check {
    let outcome = if rate >= expected.least() { CheckOutcome::Pass } else { CheckOutcome::Fail };
    let evidence = format!(
        "{rate:.1} requests a second {over}, where {} are expected and {:.1} are enough",
        expected.rps,
        expected.least()
    );
    Check::new("expected rate", outcome, evidence, "find the clients that go another way before anything is moved")
}

/// Whether the service has as many requests as somebody expects.
pub(super) async fn rate(expected: ExpectedRate, policy: &Policy, metrics: &dyn MetricSource, clock: &Clock) -> Check {
    let unknown = |why: String| Check::new("expected rate", CheckOutcome::Unknown, why, "look again");
    let now = clock.now();
    let rows = match metrics.history(Window { from: now.minus(RATE_OVER), to: now }, RATE_EVERY).await {
        Ok(rows) => rows,
        Err(error) => return unknown(in_one_line(&error)),
    };
    let millis: u64 = rows.iter().map(|row| row.writes.millis).sum();
    if millis > 0 {
        let all: u64 = rows.iter().map(requests).sum();
        return weighed(all as f64 * 1000.0 / millis as f64, "in the last half hour", expected);
    }
    if !policy.metrics.late().is_zero() {
        return unknown("nothing is known of the last half hour".to_owned());
    }
    // Who counts at once keeps no past.
    clock.sleep(COUNTED_OVER).await;
    match counted(Window { from: now, to: clock.now() }, policy, metrics, clock).await {
        Ok(row) => weighed(requests(&row) as f64 / row.window.length().as_secs_f64(), "just now", expected),
        Err(why) => unknown(why),
    }
}

/// The counts of a window that is over.
async fn counted(
    window: Window,
    policy: &Policy,
    metrics: &dyn MetricSource,
    clock: &Clock,
) -> Result<Observation, String> {
    let within = clock.real(policy.metrics.late()).saturating_add(COUNTS_MAX);
    match tokio::time::timeout(within, metrics.observe(window)).await {
        Ok(counted) => counted.map_err(|error| in_one_line(&error)),
        Err(_) => Err(format!("the counts did not come within {} s", within.as_secs())),
    }
}

/// The next whole minute.
fn next_minute(now: Timestamp) -> Timestamp {
    let minute = i64::try_from(MINUTE.as_millis()).unwrap_or(i64::MAX);
    Timestamp((now.0.div_euclid(minute) + 1).saturating_mul(minute))
}

/// Whether clients ask the source at `base` past the listener.
pub(super) async fn past(base: &str, policy: &Policy, metrics: &dyn MetricSource, clock: &Clock) -> Vec<Check> {
    let client = match Client::new(&policy.clients, policy.source.authorization.as_deref()) {
        Ok(client) => client,
        Err(error) => return vec![super::no_client("past the listener", &*error)],
    };
    // Whoever counts by the minute says nothing of half a one.
    let (begin, apart) = if policy.metrics.late().is_zero() {
        (clock.now(), COUNTED_OVER)
    } else {
        (next_minute(clock.now()), COUNTED_OVER_MINUTES)
    };
    clock.sleep(begin.since(clock.now())).await;
    let before = received::read(&client, base).await;
    let end = begin.plus(apart);
    clock.sleep(end.since(clock.now())).await;
    let after = received::read(&client, base).await;
    match counted(Window { from: begin, to: end }, policy, metrics, clock).await {
        Ok(row) => {
            let sent = row.reads.source.requests + row.writes.source.requests;
            received::weigh(&before, &after, sent, apart)
        }
        Err(why) => {
            let evidence = format!("what the proxies sent the source is not known: {why}");
            vec![Check::new("past the listener", CheckOutcome::Unknown, evidence, "look again")]
        }
    }
}
