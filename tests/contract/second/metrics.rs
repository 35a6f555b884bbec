//! The metrics port over CloudWatch, wherever that is.

use std::time::Duration;

use lab::clock::Time;
use lab::cloudwatch::BrokenSeries;
use tidegate::clock::Clock;
use tidegate::metrics::MetricSource as _;

use super::ground::{Ground, window};
use super::{BOTH, Case, LAB, Ran};

const MINUTE: Duration = Duration::from_mins(1);

/// The cases.
pub(crate) const CASES: [Case; 6] = [
    Case { name: "each minute is counted once, by target group", on: BOTH, unlike: "", run: counted },
    Case { name: "what was not published is no zero", on: BOTH, unlike: "", run: absent },
    Case { name: "the past ends at a gap", on: BOTH, unlike: "", run: past },
    Case { name: "what two cutovers ask goes in one call", on: BOTH, unlike: "", run: batched },
    Case { name: "pages are put together", on: LAB, unlike: "pages of metrics", run: pages },
    Case { name: "a series that is not whole fails the reading", on: LAB, unlike: "pages of metrics", run: broken },
];

/// A minute of 600 requests of the source and, where it has weight, 60 of a target that fails ten.
async fn usual(ground: &Ground, minute: Time, target: bool) {
    let scene = &ground.scene;
    ground.publish(None, minute, &[("RequestCount", if target { 660 } else { 600 })]).await;
    let answers = [("RequestCount", 600), ("HTTPCode_Target_2XX_Count", 590), ("HTTPCode_Target_4XX_Count", 8)];
    ground.publish(Some(&scene.source), minute, &answers).await;
    if target {
        let answers = [("RequestCount", 60), ("HTTPCode_Target_2XX_Count", 49), ("HTTPCode_Target_5XX_Count", 1)];
        ground.publish(Some(&scene.target), minute, &answers).await;
    }
}

fn counted(ground: &Ground) -> Ran<'_> {
    Box::pin(async move {
        let first = ground.ago(30);
        for minute in 0..6 {
            usual(ground, first + MINUTE * minute, minute >= 2).await;
        }
        let metrics = ground.metrics(&ground.poller(ground.clock.clone()));
        let from = first + Duration::from_secs(17);
        let counted = metrics.observe(window(from, 120)).await.expect("it is counted");
        let (source, target) = (&counted.writes.source, &counted.writes.target);
        assert_eq!((source.requests, source.status_2xx, source.status_4xx, source.failed), (1200, 1180, 16, 4));
        assert_eq!((target.requests, target.status_2xx, target.status_5xx, target.failed), (60, 49, 1, 10));
        let next = metrics.observe(window(from + MINUTE * 2, 120)).await.expect("it is counted");
        assert_eq!((next.writes.source.requests, next.writes.target.requests), (1200, 120));
    })
}

fn absent(ground: &Ground) -> Ran<'_> {
    Box::pin(async move {
        let first = ground.ago(30);
        usual(ground, first, false).await;
        let metrics = ground.metrics(&ground.poller(ground.clock.clone()));
        let counted = metrics.observe(window(first, 60)).await.expect("it is counted");
        let (source, target) = (&counted.writes.source, &counted.writes.target);
        assert_eq!((source.requests, source.status_5xx), (600, 0), "requests without a 5XX had none");
        assert_eq!(target.requests, 0, "and the target had no part of a minute that was published");
        let unknown = metrics.observe(window(first + MINUTE, 60)).await.expect_err("nothing is there");
        assert!(unknown.to_string().contains("nothing of the minute"), "{unknown}");
    })
}

fn past(ground: &Ground) -> Ran<'_> {
    Box::pin(async move {
        let first = ground.ago(60);
        for minute in (0..20).filter(|minute| *minute != 8) {
            usual(ground, first + MINUTE * minute, false).await;
        }
        let metrics = ground.metrics(&ground.poller(ground.clock.clone()));
        let rows = metrics.history(window(first, 1200), MINUTE).await.expect("there is a history");
        assert_eq!(rows.len(), 11, "what lies before a gap is another time");
        assert!(rows.iter().all(|row| row.writes.source.requests == 600 && row.writes.source.failed == 2));
        assert!(rows.windows(2).all(|pair| pair[0].window.to == pair[1].window.from));
    })
}

fn batched(ground: &Ground) -> Ran<'_> {
    Box::pin(async move {
        let first = ground.ago(60);
        for minute in 0..12 {
            usual(ground, first + MINUTE * minute, false).await;
        }
        // Questions are gathered for a moment; by a clock that does not run fast it is long enough to ask two.
        let poller = ground.poller(Clock::system());
        let (one, other) = (ground.metrics(&poller), ground.metrics(&poller));
        let asked = window(first, 600);
        let ask = async || {
            let before = ground.asked();
            let (one, other) = tokio::join!(one.history(asked, MINUTE), other.history(asked, MINUTE));
            let rows = [one, other].map(|rows| rows.expect("there is a history").len());
            assert_eq!(rows, [9, 9], "each has its own answer");
            ground.asked() - before
        };
        // The first time each looks where response times lie, over a day, which is not put together with anything.
        ask().await;
        assert_eq!(ask().await, 1, "both are one call");
    })
}

fn pages(ground: &Ground) -> Ran<'_> {
    Box::pin(async move {
        let first = ground.ago(30);
        for minute in 0..2 {
            usual(ground, first + MINUTE * minute, true).await;
        }
        ground.inside().lab.shared().cloudwatch.broken().page_points = Some(3);
        let metrics = ground.metrics(&ground.poller(ground.clock.clone()));
        let whole = metrics.observe(window(first, 120)).await.expect("pages are put together");
        let (source, target) = (&whole.writes.source, &whole.writes.target);
        assert_eq!((source.requests, source.failed, target.requests, target.failed), (1200, 4, 120, 20));
    })
}

fn broken(ground: &Ground) -> Ran<'_> {
    Box::pin(async move {
        let first = ground.ago(30);
        usual(ground, first, true).await;
        let metrics = ground.metrics(&ground.poller(ground.clock.clone()));
        for status in ["PartialData", "InternalError", "Forbidden"] {
            let metric = "HTTPCode_Target_5XX_Count".to_owned();
            let series = BrokenSeries { metric, status: status.to_owned(), times: 9 };
            ground.inside().lab.shared().cloudwatch.broken().series = vec![series];
            let told = metrics.observe(window(first, 60)).await.expect_err("it is not whole");
            assert!(told.to_string().contains(status), "{told}");
        }
        ground.inside().lab.shared().cloudwatch.broken().series.clear();
        assert_eq!(metrics.observe(window(first, 60)).await.expect("it is whole").writes.target.failed, 10);
    })
}
