//! One asker for all cutovers of a region: what is asked for within a moment goes to CloudWatch in one call.
//!
//! `GetMetricData` takes 500 metrics and 100 800 points a call, and an account has 50 calls a second (user guide,
//! "CloudWatch service quotas"); a call costs by the metrics in it. So the questions of all cutovers are gathered for a
//! moment and asked together. An answer is whole or it is an error: pages are followed to the end, a series that is called
//! partial or that is missing makes the question fail, and nothing that did not arrive is taken for a zero. Calls take turns,
//! and from the first that AWS refuses as one too many they lie further apart: what waits meanwhile is asked together.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::types::{Dimension, Metric, MetricDataQuery, MetricStat, ScanBy, StatusCode};
use aws_smithy_types::DateTime;
use cutover::{Timestamp, Window};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::aws::pace::Pace;
use crate::aws::{failed, is_throttled};
use crate::clock::Clock;
use crate::events;
use crate::port::{PortError, Retry};

const PORT: &str = "metrics";
const NAMESPACE: &str = "AWS/ApplicationELB";

/// For how long questions are gathered: short beside the minutes that are asked for.
const GATHER: Duration = Duration::from_millis(150);
/// The most metrics of one call.
const QUERIES_MAX: usize = 500;
/// The most points of one call.
const POINTS_MAX: i64 = 100_800;
/// Questions about more time than this are not put together with others.
const SPAN_MAX: Duration = Duration::from_mins(45);
/// How many calls may be under way.
const CALLS_MAX: usize = 4;
/// How many questions may wait.
const WAITING_MAX: usize = 1024;
/// The most pages of one answer: 15 days of minutes of 500 metrics are 108.
const PAGES_MAX: usize = 200;

/// One metric and what of it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) metric: &'static str,
    /// Name and value of each dimension.
    pub(super) dimensions: Vec<(&'static str, String)>,
    pub(super) statistic: String,
}

/// What one series holds, by the beginning of each period. What is not there was not published, or has not arrived.
pub(super) type Points = BTreeMap<Timestamp, f64>;

/// Why a question was not answered; several questions may get it.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) retry: Retry,
    pub(super) why: String,
}

impl Failure {
    fn later(why: impl Into<String>) -> Self {
        Self { retry: Retry::Later, why: why.into() }
    }
}

impl From<Failure> for PortError {
    fn from(Failure { retry, why }: Failure) -> Self {
        match retry {
            Retry::Later => Self::later(PORT, why),
            Retry::Never => Self::never(PORT, why),
        }
    }
}

type Answered = Result<Vec<Points>, Failure>;

/// One question.
struct Ask {
    queries: Arc<[Query]>,
    window: Window,
    period: Duration,
    reply: oneshot::Sender<Answered>,
}

/// Asks CloudWatch in one region. Clones ask through the same.
#[derive(Clone, Debug)]
pub struct Poller {
    asks: mpsc::Sender<Ask>,
    pace: Pace,
    /// Ends the task with the last clone.
    _task: Arc<JoinSet<()>>,
}

impl Poller {
    /// Begins to answer questions by `client`, which `clock` times. Must be called within a runtime.
    pub fn new(client: Client, clock: Clock) -> Self {
        let (asks, asked) = mpsc::channel(WAITING_MAX);
        let pace = Pace::new(clock.clone());
        let mut task = JoinSet::new();
        task.spawn(answer_on(client, clock, pace.clone(), asked));
        Self { asks, pace, _task: Arc::new(task) }
    }

    /// How far its calls lie apart now, at least.
    pub fn spacing(&self) -> Duration {
        self.pace.spacing()
    }

    /// What `queries` say of `window`, which is whole minutes, in steps of `period`; in their order.
    ///
    /// # Errors
    /// When not all of it could be had.
    pub(super) async fn ask(&self, queries: Arc<[Query]>, window: Window, period: Duration) -> Answered {
        let (reply, answer) = oneshot::channel();
        let ask = Ask { queries, window, period, reply };
        self.asks.try_send(ask).map_err(|_| Failure::later("too many questions wait for CloudWatch"))?;
        answer.await.unwrap_or_else(|_| Err(Failure::later("the question to CloudWatch was given up")))
    }
}

async fn answer_on(client: Client, clock: Clock, pace: Pace, mut asked: mpsc::Receiver<Ask>) {
    let mut calls = JoinSet::new();
    while let Some(first) = asked.recv().await {
        clock.sleep(GATHER).await;
        // What comes while a turn is waited for goes along.
        pace.turn().await;
        let mut waiting = vec![first];
        while let Ok(next) = asked.try_recv() {
            waiting.push(next);
        }
        for group in groups(waiting) {
            while calls.len() >= CALLS_MAX {
                drop(calls.join_next().await);
            }
            calls.spawn(answer(client.clone(), pace.clone(), group));
        }
        while calls.try_join_next().is_some() {}
    }
}

/// Questions that can be put together: about short and recent time, in the same steps.
fn groups(waiting: Vec<Ask>) -> Vec<Vec<Ask>> {
    let mut groups: Vec<Vec<Ask>> = Vec::new();
    for ask in waiting {
        let fits = |group: &&mut Vec<Ask>| {
            let whole = whole(group.iter().chain([&ask]));
            group.iter().all(|other| other.period == ask.period) && whole.length() <= SPAN_MAX
        };
        match groups.iter_mut().find(fits) {
            Some(group) => group.push(ask),
            None => groups.push(vec![ask]),
        }
    }
    groups
}

/// From the earliest beginning to the latest end.
fn whole<'a>(asks: impl IntoIterator<Item = &'a Ask>) -> Window {
    let windows = asks.into_iter().map(|ask| ask.window);
    windows
        .reduce(|one, other| Window { from: one.from.min(other.from), to: one.to.max(other.to) })
        .unwrap_or(Window { from: Timestamp(0), to: Timestamp(0) })
}

/// Answers the questions of one group.
async fn answer(client: Client, pace: Pace, group: Vec<Ask>) {
    let window = whole(&group);
    let Some(period) = group.first().map(|ask| ask.period) else { return };
    let queries: Vec<Query> = group.iter().flat_map(|ask| ask.queries.iter().cloned()).collect();
    let mut points = Ok(Vec::with_capacity(queries.len()));
    for chunk in queries.chunks(QUERIES_MAX) {
        let Ok(all) = &mut points else { break };
        match chunk_of(&client, &pace, chunk, window, period).await {
            Ok(found) => all.extend(found),
            Err(failure) => points = Err(failure),
        }
    }
    let mut points = points.map(Vec::into_iter);
    for ask in group {
        let answer = points.as_mut().map_err(|failure| failure.clone()).map(|points| {
            points.take(ask.queries.len()).map(|series| within(series, ask.window)).collect::<Vec<Points>>()
        });
        // Who asked may have given up.
        drop(ask.reply.send(answer));
    }
}

/// What of a series lies in the time that was asked for.
fn within(series: Points, window: Window) -> Points {
    series.into_iter().filter(|(at, _)| (window.from..window.to).contains(at)).collect()
}

fn date(at: Timestamp) -> DateTime {
    DateTime::from_millis(at.0)
}

/// One call with all its pages.
async fn chunk_of(client: &Client, turns: &Pace, queries: &[Query], window: Window, period: Duration) -> Answered {
    let asked: Vec<MetricDataQuery> = queries.iter().enumerate().map(|(n, query)| asked(n, query, period)).collect();
    let names: HashMap<String, usize> = (0..queries.len()).map(|n| (name(n), n)).collect();
    let mut points: Vec<Points> = vec![Points::new(); queries.len()];
    let mut whole: Vec<Option<StatusCode>> = vec![None; queries.len()];
    let mut token = None;
    for _ in 0..PAGES_MAX {
        events::MetricsAsked { metrics: queries.len() }.emit();
        let call = client
            .get_metric_data()
            .set_metric_data_queries(Some(asked.clone()))
            .start_time(date(window.from))
            .end_time(date(window.to))
            .scan_by(ScanBy::TimestampAscending)
            .max_datapoints(i32::try_from(POINTS_MAX).unwrap_or(i32::MAX))
            .set_next_token(token.take());
        let page = call.send().await;
        turns.answered(page.as_ref().err().is_some_and(is_throttled));
        let page = page.map_err(|error| {
            let error = failed(PORT, "read metrics from CloudWatch", &error);
            Failure { retry: error.retry, why: error.source.to_string() }
        })?;
        for series in page.metric_data_results() {
            let place = series.id().and_then(|id| names.get(id)).copied();
            let place =
                place.ok_or_else(|| Failure::later("CloudWatch answered with a series that was not asked for"))?;
            if series.timestamps().len() != series.values().len() {
                return Err(Failure::later("CloudWatch answered with times and values that do not belong together"));
            }
            for (at, value) in series.timestamps().iter().zip(series.values()) {
                points[place].insert(Timestamp(at.secs().saturating_mul(1000)), *value);
            }
            // A series comes in parts, and the last says whether it is whole; but what failed once has a hole.
            if !matches!(whole[place], Some(StatusCode::InternalError | StatusCode::Forbidden)) {
                whole[place] = series.status_code().cloned().or(Some(StatusCode::Complete));
            }
        }
        token = page.next_token().map(str::to_owned);
        if token.is_none() {
            return complete(queries, &whole).map(|()| points);
        }
    }
    Err(Failure::later(format!("an answer of CloudWatch has more than {PAGES_MAX} pages")))
}

/// Whether every series came whole.
fn complete(queries: &[Query], whole: &[Option<StatusCode>]) -> Result<(), Failure> {
    for (query, status) in queries.iter().zip(whole) {
        if *status != Some(StatusCode::Complete) {
            let status = status.as_ref().map_or("missing", |status| status.as_str());
            return Err(Failure::later(format!("CloudWatch did not answer whole: `{}` is {status}", query.metric)));
        }
    }
    Ok(())
}

/// The id of a query within its call.
fn name(n: usize) -> String {
    format!("q{n}")
}

fn asked(n: usize, query: &Query, period: Duration) -> MetricDataQuery {
    let dimensions = query.dimensions.iter();
    let dimensions = dimensions.map(|(name, value)| Dimension::builder().name(*name).value(value).build()).collect();
    let metric =
        Metric::builder().namespace(NAMESPACE).metric_name(query.metric).set_dimensions(Some(dimensions)).build();
    let period = i32::try_from(period.as_secs()).unwrap_or(i32::MAX);
    let statistic = MetricStat::builder().metric(metric).period(period).stat(&query.statistic).build();
    MetricDataQuery::builder().id(name(n)).metric_stat(statistic).return_data(true).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(from: i64, to: i64, period: u64) -> Ask {
        let window = Window { from: Timestamp(from * 60_000), to: Timestamp(to * 60_000) };
        let (reply, _) = oneshot::channel();
        Ask { queries: Arc::from([]), window, period: Duration::from_secs(period), reply }
    }

    #[test]
    fn questions_about_the_same_time_are_put_together() {
        // Proves that cutovers share calls, and that a long look back or other steps do not widen anybody's question.
        let groups = groups(vec![ask(100, 103, 60), ask(0, 100, 60), ask(101, 104, 60), ask(101, 104, 300)]);
        assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1]);
        let Window { from, to } = whole(&groups[0]);
        assert_eq!((from.0 / 60_000, to.0 / 60_000), (100, 104));
    }

    #[test]
    fn a_series_that_is_not_whole_fails_its_question() {
        // Proves that partial, failed and missing series are told from complete ones.
        let query = Query {
            metric: "RequestCount",
            dimensions: vec![("LoadBalancer", "app/a/1".to_owned())],
            statistic: "Sum".to_owned(),
        };
        let told = |status| complete(std::slice::from_ref(&query), &[status]).map_err(|failure| failure.why);
        assert!(told(Some(StatusCode::Complete)).is_ok());
        assert_eq!(
            told(Some(StatusCode::PartialData)).unwrap_err(),
            "CloudWatch did not answer whole: `RequestCount` is PartialData"
        );
        assert!(told(Some(StatusCode::InternalError)).is_err());
        assert!(told(Some(StatusCode::Forbidden)).is_err());
        assert!(told(None).unwrap_err().ends_with("is missing"));
    }
}
