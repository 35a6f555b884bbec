//! The source of numbers against answers that are put into its mouth; the real server is asked in the contract suite.

use std::collections::BTreeMap;

use cutover::policy::{LatencyUnit, Preset};

use super::*;

const SETTLE: Duration = Duration::from_secs(20);

fn at(second: i64) -> Timestamp {
    Timestamp(1_700_000_000_000 / 60_000 * 60_000 + second * 1000)
}

fn window(from: i64, to: i64) -> Window {
    Window { from: at(from), to: at(to) }
}

fn prometheus(preset: Preset) -> Prometheus {
    let policy = PrometheusPolicy {
        url: "http://127.0.0.1:9".to_owned(),
        authorization: None,
        ca: None,
        settle: SETTLE,
        counts: preset.counts(),
        latency_unit: preset.latency_unit(),
        source: "side=\"source\"".to_owned(),
        target: "side=\"target\"".to_owned(),
        queries: preset.queries(),
    };
    Prometheus::new(policy, MINUTE, Vec::new(), Clock::held(at(0))).unwrap()
}

fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Series {
    let labels: BTreeMap<String, String> =
        labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Series { labels, samples: samples.iter().map(|(second, value)| (at(*second), *value)).collect() }
}

fn counter(samples: &[(i64, f64)]) -> Vec<Series> {
    vec![series(&[("instance", "a")], samples)]
}

fn counted(source: &Prometheus, reading: &Reading) -> Result<Observation, PortError> {
    let exporters = Exporters::of(reading.all(), SETTLE);
    source.grown(reading, &exporters, window(0, 60))
}

/// Proves that every preset asks for each status class of each side by itself, and that only our own tells reads from writes.
#[test]
fn presets_ask_for_each_class_of_each_side() {
    for preset in [Preset::Tidegate, Preset::NginxVts, Preset::Envoy, Preset::CloudwatchExporter, Preset::Yace] {
        let source = prometheus(preset);
        let mut seen = std::collections::BTreeSet::new();
        for (word, template) in preset.queries().each() {
            for side in [Side::Source, Side::Target] {
                for class in source.classes() {
                    let selector = source.selector(template, side, *class);
                    assert!(
                        !selector.contains("{side}") && !selector.contains("{class}"),
                        "{preset:?} {word}: {selector}"
                    );
                    assert!(
                        selector.contains(&format!("side=\"{}\"", side_word(side))),
                        "{preset:?} {word}: {selector}"
                    );
                    assert!(seen.insert(selector.clone()), "{preset:?} asks twice for {selector}");
                }
            }
        }
        assert_eq!(source.classes().len() == 2, preset == Preset::Tidegate);
    }
}

/// Proves that a side without any series is unknown, that a class which nobody needed yet is zero where others are there, and
/// that a side is zero where something else shows that it is exported.
#[test]
fn no_series_is_no_zero() {
    let source = prometheus(Preset::Envoy);
    let mut reading = Reading::default();
    let steady = [(0, 5.0), (15, 9.0), (60, 25.0)];
    reading.0.insert((What::Answers(2), Side::Source, Class::All), counter(&steady));
    let unknown = counted(&source, &reading).unwrap_err();
    assert!(unknown.retry == Retry::Later && unknown.to_string().contains("no series of the target"), "{unknown}");
    reading.0.insert((What::Published, Side::Target, Class::All), counter(&[(0, 1.0), (60, 1.0)]));
    let observation = counted(&source, &reading).unwrap();
    assert_eq!((observation.writes.source.requests, observation.writes.target.requests), (20, 0));
    assert_eq!((observation.writes.source.status_5xx, observation.writes.millis), (0, 60_000));
    reading.0.insert((What::Answers(5), Side::Target, Class::All), counter(&[(60, 3.0)]));
    assert_eq!(counted(&source, &reading).unwrap().writes.target.errors(), 3, "its first error made the series");
}

/// Proves that buckets which differ between the sides are not compared.
#[test]
fn buckets_that_differ_are_not_compared() {
    let source = prometheus(Preset::Envoy);
    assert_eq!(source.policy.latency_unit, LatencyUnit::Milliseconds);
    let mut reading = Reading::default();
    for (side, le) in [(Side::Source, "10"), (Side::Target, "25")] {
        reading.0.insert((What::Answers(2), side, Class::All), counter(&[(0, 0.0), (60, 9.0)]));
        let bucket = |le: &str| series(&[("instance", "a"), ("le", le)], &[(0, 0.0), (60, 9.0)]);
        reading.0.insert((What::Latency, side, Class::All), vec![bucket(le), bucket("+Inf")]);
    }
    let told = counted(&source, &reading).unwrap_err();
    assert!(told.retry == Retry::Never && told.to_string().contains("not the same on both sides"), "{told}");
}

/// Proves that CloudWatch's minutes are summed at their own times, that what a target group did not answer is a failure, that
/// a minute of which nothing was published is unknown, and that times of the scrape are refused.
#[test]
fn minutes_of_cloudwatch_are_summed() {
    let source = prometheus(Preset::Yace);
    let mut reading = Reading::default();
    reading.0.insert((What::Requests, Side::Source, Class::All), counter(&[(0, 600.0), (60, 500.0)]));
    reading.0.insert((What::Answers(2), Side::Source, Class::All), counter(&[(0, 590.0), (60, 500.0)]));
    reading.0.insert((What::Published, Side::Target, Class::All), counter(&[(0, 2.0), (60, 2.0)]));
    let both = source.minutes(&reading, window(-5, 65)).unwrap();
    let counts = &both.writes.source;
    assert_eq!((counts.requests, counts.status_2xx, counts.failed, both.writes.millis), (1100, 1090, 10, 120_000));
    assert_eq!(both.writes.target.requests, 0);
    let unknown = source.minutes(&reading, window(0, 180)).unwrap_err();
    assert!(unknown.retry == Retry::Later && unknown.to_string().contains("nothing of the minute"), "{unknown}");
    reading.0.insert((What::Answers(4), Side::Source, Class::All), counter(&[(7, 1.0)]));
    let refused = source.minutes(&reading, window(0, 60)).unwrap_err();
    assert!(refused.retry == Retry::Never && refused.to_string().contains("set_timestamp"), "{refused}");
}

/// Proves that a server which does not answer leaves a window unknown, and that another try makes sense.
#[tokio::test]
async fn a_server_that_is_gone_leaves_everything_unknown() {
    let source = prometheus(Preset::Tidegate);
    source.clock.set(at(600));
    let told = source.observe(window(0, 60)).await.unwrap_err();
    assert_eq!(told.retry, Retry::Later, "{told}");
}
