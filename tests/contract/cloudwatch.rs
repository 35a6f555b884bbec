//! The metrics port over CloudWatch: settled minutes, each counted once, and nothing taken for zero that did not arrive.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover::{Timestamp, Window};
use lab::clock::Time;
use lab::cloudwatch::BrokenSeries;
use lab::cloudwatch::store::Metric;
use lab::faults::FaultName;
use tidegate::aws::find;
use tidegate::metrics::MetricSource;
use tidegate::metrics::cloudwatch::{Cloudwatch, Groups, Poller};

use crate::support::Stand;

pub(crate) const MINUTE: Duration = Duration::from_mins(1);

fn source_of(stand: &Stand) -> Cloudwatch {
    let scene = stand.lab.scene();
    let groups = Groups {
        listener: None,
        source: scene.source_tg.clone(),
        target: scene.target_tg.clone(),
        settle: Duration::from_mins(2),
        tolerances: vec![1, 3],
    };
    let poller = Poller::new(stand.aws.watching(), stand.clock.clone());
    Cloudwatch::new(poller, stand.aws.balancing(), groups, stand.aws.clock.clone(), stand.clock.clone())
}

/// Puts figures of one minute into the lab's CloudWatch: of the source's or the target's group, or the balancer's.
fn publish(stand: &Stand, group: Option<&str>, minute: Time, figures: &[(&str, f64, u64)]) {
    let balancer = find::balancer_of(&stand.lab.scene().listener_arn).expect("it is a listener");
    let mut dimensions = BTreeMap::from([("LoadBalancer".to_owned(), balancer)]);
    dimensions.extend(group.map(|arn| ("TargetGroup".to_owned(), find::dimension(arn).expect("it is a group"))));
    let mut store = stand.lab.shared().cloudwatch.store();
    for (name, value, count) in figures {
        let metric = Metric {
            namespace: "AWS/ApplicationELB".to_owned(),
            name: (*name).to_owned(),
            dimensions: dimensions.clone(),
        };
        let series = store.open(metric, "Count").expect("the lab has room");
        store.measured(series, minute, minute + MINUTE).add(*value, *count);
    }
}

/// A minute of 600 requests of the source and, where it has weight, 60 of a target that fails ten and answers slowly.
pub(crate) fn usual(stand: &Stand, minute: Time, target: bool) {
    let scene = stand.lab.scene();
    publish(stand, None, minute, &[("RequestCount", 1.0, if target { 660 } else { 600 })]);
    publish(
        stand,
        Some(&scene.source_tg),
        minute,
        &[
            ("RequestCount", 1.0, 600),
            ("HTTPCode_Target_2XX_Count", 1.0, 590),
            ("HTTPCode_Target_4XX_Count", 1.0, 8),
            ("TargetResponseTime", 0.010, 500),
            ("TargetResponseTime", 0.100, 98),
        ],
    );
    if target {
        publish(
            stand,
            Some(&scene.target_tg),
            minute,
            &[
                ("RequestCount", 1.0, 60),
                ("HTTPCode_Target_2XX_Count", 1.0, 49),
                ("HTTPCode_Target_5XX_Count", 1.0, 1),
                ("TargetResponseTime", 0.020, 40),
                ("TargetResponseTime", 0.500, 10),
            ],
        );
    }
}

/// The whole minute that began `minutes` ago.
pub(crate) fn ago(stand: &Stand, minutes: u32) -> Time {
    stand.lab.shared().clock.now().minute() - MINUTE * minutes
}

fn window(from: Time, seconds: u64) -> Window {
    let from = Timestamp(from.0);
    Window { from, to: from.plus(Duration::from_secs(seconds)) }
}

#[tokio::test]
async fn intervals_that_touch_count_every_minute_once() {
    // Proves what an interval holds: requests, answers, what was not answered, response times, of the minutes that begin in
    // it; and that the next interval goes on where it ended.
    let stand = Stand::start().await;
    let first = ago(&stand, 30);
    for minute in 0..6 {
        usual(&stand, first + MINUTE * minute, minute >= 2);
    }
    let metrics = source_of(&stand);
    let from = first + Duration::from_secs(17);
    let counted = metrics.observe(window(from, 120)).await.expect("it is counted");
    let (source, target) = (&counted.writes.source, &counted.writes.target);
    assert_eq!((source.requests, source.status_2xx, source.status_4xx, source.failed), (1200, 1180, 16, 4));
    assert_eq!((target.requests, target.status_5xx, target.failed), (60, 1, 10));
    assert_eq!((source.latency.total(), target.latency.total()), (1196, 50));
    assert_eq!((counted.writes.millis, counted.reads.source.requests), (120_000, 0));
    let bucket = |seconds: f64| judge::Histogram::bucket_of((seconds * 1e6) as u64);
    assert_eq!(source.latency.above(bucket(0.010)), 196, "cut where the source's quantiles lie");
    for tolerance in [1, 3] {
        assert_eq!(target.latency.above(bucket(0.100) + tolerance), 10, "and the target that much further");
    }
    let next = metrics.observe(window(from + MINUTE * 2, 120)).await.expect("it is counted");
    assert_eq!((next.writes.source.requests, next.writes.target.requests), (1200, 120));
}

#[tokio::test]
async fn a_series_that_is_not_whole_is_no_zero() {
    // Proves that a partial or forbidden series fails the reading, that pages are put together, and that a minute of which
    // nothing was published is unknown.
    let stand = Stand::start().await;
    let first = ago(&stand, 30);
    for minute in 0..2 {
        usual(&stand, first + MINUTE * minute, true);
    }
    let metrics = source_of(&stand);
    stand.lab.shared().cloudwatch.broken().page_points = Some(3);
    let whole = metrics.observe(window(first, 120)).await.expect("pages are put together");
    assert_eq!((whole.writes.source.requests, whole.writes.target.requests), (1200, 120));
    let unknown = metrics.observe(window(first + MINUTE * 2, 60)).await.expect_err("nothing is there");
    assert!(unknown.to_string().contains("nothing of the minute"), "{unknown}");

    let fresh = source_of(&stand);
    // What failed on an early page has failed, though a later page calls the rest of it complete.
    for (status, page_points) in [("Forbidden", Some(3)), ("InternalError", Some(3)), ("PartialData", None)] {
        stand.lab.shared().cloudwatch.broken().page_points = page_points;
        let series =
            BrokenSeries { metric: "HTTPCode_Target_5XX_Count".to_owned(), status: status.to_owned(), times: 9 };
        stand.lab.shared().cloudwatch.broken().series = vec![series];
        let told = fresh.observe(window(first, 60)).await.expect_err("it is not whole");
        assert!(told.to_string().contains(status), "{told}");
    }
    stand.lab.shared().cloudwatch.broken().series.clear();
    assert_eq!(fresh.observe(window(first, 60)).await.expect("it is whole").writes.source.requests, 600);
}

#[tokio::test]
async fn a_fresh_minute_is_waited_for() {
    // Proves that a minute is not counted before it is settled, and not while it still grows.
    let stand = Stand::start().await;
    let minute = ago(&stand, 1);
    usual(&stand, minute, false);
    let metrics = source_of(&stand);
    let late = {
        let stand = &stand;
        async move {
            // What a second node reports half a minute after the first.
            while stand.lab.shared().clock.now() < minute + MINUTE + Duration::from_secs(100) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            usual(stand, minute, false);
        }
    };
    let (counted, ()) = tokio::join!(metrics.observe(window(minute, 60)), late);
    assert_eq!(counted.expect("it is counted").writes.source.requests, 1200);
    let now = stand.lab.shared().clock.now();
    assert!(now >= minute + MINUTE + Duration::from_mins(2), "it settled at {}", now.rfc3339());
}

#[tokio::test]
async fn the_past_is_there_at_once_and_ends_at_a_gap() {
    // Proves that a baseline can be had from days ago, row by row, and that nothing before a gap is in it.
    let stand = Stand::start().await;
    let first = ago(&stand, 3 * 1440);
    for minute in (0..400).filter(|minute| *minute != 99) {
        usual(&stand, first + MINUTE * minute, false);
    }
    let metrics = source_of(&stand);
    let asked = Window { from: Timestamp(first.0), to: Timestamp((first + MINUTE * 400).0) };
    let rows = metrics.history(asked, MINUTE).await.expect("there is a history");
    assert_eq!(rows.len(), 300);
    assert_eq!(rows[0].window.from, Timestamp((first + MINUTE * 100).0));
    assert!(rows.windows(2).all(|pair| pair[0].window.to == pair[1].window.from));
    assert!(rows.iter().all(|row| row.writes.source.requests == 600 && row.writes.source.failed == 2));
}

#[tokio::test]
async fn questions_come_slower_when_cloudwatch_refuses_one_too_many() {
    // Proves that being throttled moves the calls apart, each time further.
    let stand = Stand::start().await;
    let scene = stand.lab.scene();
    let (source, target) = (scene.source_tg.clone(), scene.target_tg.clone());
    let groups = Groups { listener: None, source, target, settle: Duration::from_mins(2), tolerances: vec![1] };
    let poller = Poller::new(stand.aws.watching(), stand.clock.clone());
    let before = poller.spacing();
    let (clock, aws) = (stand.clock.clone(), stand.aws.clock.clone());
    let metrics = Cloudwatch::new(poller.clone(), stand.aws.balancing(), groups, aws, clock);
    stand.fault(FaultName::Throttle, "GetMetricData", 100);
    let past = window(ago(&stand, 20), 600);
    for times in [2, 4] {
        metrics.history(past, MINUTE).await.expect_err("AWS has too many calls");
        assert_eq!(poller.spacing(), before * times);
    }
}
