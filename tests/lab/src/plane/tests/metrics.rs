//! What can be read of what was served: partial at first, the truth in the end, and nothing that was not served.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::support::*;
use crate::clock::Time;
use crate::cloudwatch::arrivals::CORRECTED_SLOWLY;
use crate::plane::Past;

/// Proves that each minute reads as less than the truth at first, never as more, and as exactly the truth once it has
/// settled: by group, and over both groups.
#[tokio::test]
async fn minutes_settle_at_exactly_what_was_served() {
    // A minute is six seconds here, in which a busy machine, too, serves enough.
    let lab = Lab::start_at(10, model(), prompt()).await;
    lab.weights(7, 3).await;
    let mut clients = [lab.client().await, lab.client().await];
    let from = lab.now().minute();
    // Until two minutes have enough requests to come in parts.
    let minutes = || {
        let mut minutes: BTreeMap<Time, u64> = BTreeMap::new();
        for ((second, ..), count) in lab.shared.history.served() {
            *minutes.entry(Time(second * 1000).minute()).or_default() += count;
        }
        minutes.into_values().filter(|count| *count >= 200).count()
    };
    while minutes() < 3 {
        assert!(lab.now().since(from) < Duration::from_hours(1), "too slow to tell anything");
        for client in &mut clients {
            assert_eq!(client.get().await.status, 200);
        }
    }
    let end = lab.now().minute() + Duration::from_mins(1);
    for group in [SOURCE, TARGET] {
        let mut truth: BTreeMap<Time, u64> = BTreeMap::new();
        for ((second, arn, _), count) in lab.shared.history.served() {
            if arn == group {
                *truth.entry(Time(second * 1000).minute()).or_default() += count;
            }
        }
        assert!(truth.values().any(|count| *count >= 50), "{truth:?}");
        let read = |minute: Time, after: Duration, name: &str| {
            let store = lab.shared.cloudwatch.store();
            let now = minute + Duration::from_mins(1) + after;
            let steps = store.read(
                &metric(name, Some(group)),
                minute,
                minute + Duration::from_mins(1),
                Duration::from_mins(1),
                now,
            );
            steps.first().map_or(0, |(_, measured)| measured.count())
        };
        for (minute, expected) in truth {
            let seen: Vec<u64> =
                (0..=240).map(|after| read(minute, Duration::from_secs(after), "RequestCount")).collect();
            assert!(seen.is_sorted() && seen[0] == 0, "{seen:?}");
            // A minute with a handful of requests may have come from one node, in one part.
            let partial = seen.iter().any(|count| 0 < *count && *count < expected);
            assert!(partial || expected < 50, "partial at first: {seen:?}");
            assert_eq!(seen[CORRECTED_SLOWLY.as_secs() as usize + 1], expected, "settled");
            for name in ["HTTPCode_Target_2XX_Count", "TargetResponseTime"] {
                assert_eq!(read(minute, Duration::from_mins(5), name), expected, "{name}");
            }
        }
    }
    let both = lab.shared.cloudwatch.store().read(
        &metric("RequestCount", None),
        from,
        end,
        Duration::from_hours(1),
        end + Duration::from_mins(5),
    );
    let all: u64 = lab.shared.history.served().values().sum();
    assert_eq!(both.iter().map(|(_, measured)| measured.count()).sum::<u64>(), all);
    lab.plane.stop().await;
}

/// Proves that the latency of a group can be counted in bins through CloudWatch's own operation, and that a slower group
/// shows there.
#[tokio::test]
#[expect(clippy::float_cmp, reason = "counts are exact")]
async fn response_times_can_be_counted_in_bins() {
    let lab = Lab::start(model(), prompt()).await;
    let mut slow = lab.shared.plane.behaviour(TARGET);
    (slow.median_ms, slow.spread) = (60.0, 0.1);
    lab.behave(TARGET, slow);
    lab.weights(1, 1).await;
    let mut client = lab.client().await;
    let from = lab.now();
    for _ in 0..60 {
        client.get().await;
    }
    let query = |id: &str, group: &str, stat: &str| {
        let dimensions = json!([
            {"Name": "LoadBalancer", "Value": "app/shop/1"},
            {"Name": "TargetGroup", "Value": group.rsplit(':').next()},
        ]);
        let metric =
            json!({"Namespace": "AWS/ApplicationELB", "MetricName": "TargetResponseTime", "Dimensions": dimensions});
        json!({"Id": id, "MetricStat": {"Metric": metric, "Period": 3600, "Stat": stat}})
    };
    let input = json!({
        "MetricDataQueries": [
            query("slow", TARGET, "TC(0.03:)"), query("fast", TARGET, "TC(:0.03)"), query("all", TARGET, "SampleCount"),
            query("source", SOURCE, "p50"),
        ],
        "StartTime": from.minute().seconds(),
        "EndTime": (from + Duration::from_hours(1)).seconds(),
    });
    let answer = lab.shared.cloudwatch.carry_out("GetMetricData", &input, lab.now() + Duration::from_mins(5)).unwrap();
    let value = |index: usize| answer["MetricDataResults"][index]["Values"][0].as_f64().unwrap();
    assert_eq!(value(0) + value(1), value(2), "{answer}");
    assert_eq!(value(1), 0.0, "{answer}");
    assert!(value(2) > 5.0 && value(3) > 0.0, "{answer}");
    lab.plane.stop().await;
}

/// Proves that hosts are counted without any traffic, requests per target are zero then, and connections are counted.
#[tokio::test]
#[expect(clippy::float_cmp, reason = "sums of such numbers are exact")]
async fn gauges_are_there_without_traffic() {
    let lab = Lab::start(model(), prompt()).await;
    let mut client = lab.client().await;
    client.get().await;
    lab.shared.clock.sleep(Duration::from_secs(30)).await;
    let hosts = lab.measured("HealthyHostCount", Some(TARGET));
    assert_eq!((hosts.minimum(), hosts.maximum()), (Some(2.0), Some(2.0)));
    assert_eq!(lab.measured("UnHealthyHostCount", Some(TARGET)).maximum(), Some(0.0));
    assert!(lab.measured("HealthyHostCount", None).is_empty(), "never for the load balancer alone");
    let per_target = lab.measured("RequestCountPerTarget", Some(TARGET));
    assert!(per_target.count() > 0 && per_target.sum() == 0.0, "reported, and zero");
    assert_eq!(lab.measured("RequestCountPerTarget", Some(SOURCE)).sum(), 0.5, "one request, two targets");
    assert_eq!(lab.measured("NewConnectionCount", None).sum(), 2.0, "the client's and the one to the target");
    assert_eq!(lab.measured("ActiveConnectionCount", None).maximum(), Some(2.0));
    assert!(lab.measured("RequestCount", Some(TARGET)).is_empty(), "nothing was served, so nothing is published");
    lab.plane.stop().await;
}

/// Proves that a past that was asked for can be read at once, in its own days, and that nothing else is made up.
#[tokio::test]
async fn a_past_can_be_read_at_once() {
    let lab = Lab::start(model(), prompt()).await;
    lab.plane.fill_past(SOURCE, Past { days: 2, rate: 20.0 });
    let now = lab.now();
    let (from, day) = (now.minute() - Duration::from_hours(48), Duration::from_hours(24));
    let read = |name, group| lab.shared.cloudwatch.store().read(&metric(name, group), from, now, day, now);
    let requests: Vec<u64> = read("RequestCount", Some(SOURCE)).iter().map(|(_, measured)| measured.count()).collect();
    // Two days of some weight around twenty a second: by weekday 8 % more, at the weekend a fifth less.
    assert!(requests.len() == 2 && requests.iter().all(|count| (1_300_000..2_000_000).contains(count)), "{requests:?}");
    for name in ["HTTPCode_Target_2XX_Count", "TargetResponseTime"] {
        let counts: Vec<u64> = read(name, Some(SOURCE)).iter().map(|(_, measured)| measured.count()).collect();
        assert_eq!(counts, requests, "{name}");
    }
    assert!(read("RequestCount", Some(TARGET)).is_empty() && read("HTTPCode_Target_5XX_Count", None).is_empty());
    lab.plane.stop().await;
}
