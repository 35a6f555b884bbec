//! Amazon CloudWatch as a source of numbers: whole minutes of two target groups of an Application Load Balancer.
//!
//! An interval of the core begins wherever the one before it ended, and CloudWatch has whole minutes: an interval stands for
//! the minutes that *begin* in it, so each minute is counted exactly once and nothing from before an interval is in it. A
//! minute counts once it is over for longer than the policy's `settle`, by AWS's own clock, and two readings of it with a
//! pause between them are equal: an ALB's nodes report one by one, and a minute read too early has about half of its
//! requests. A target group's requests cannot be told apart by what they do, so all are counted as writes, which is what
//! each of them may have been.
//!
//! What it does not do: tell the last seconds. Between a fault and the minute that shows it lie two to four minutes.

mod grid;
mod lag;
mod minute;
mod poller;
pub mod requests;
mod survey;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_sdk_elasticloadbalancingv2 as elb;
use cutover::event::{Check, Observation};
use cutover::{Timestamp, Window};
use judge::{Block, Counts, Side};
use tokio::sync::OnceCell;

pub use self::poller::Poller;

use self::grid::Grid;
use self::minute::{Dimensions, Key, Minute, Times};
use self::poller::{Failure, Query};
use super::MetricSource;
use super::minutes::{MINUTE, beginning_in, floor};
use crate::aws::{AwsClock, find};
use crate::clock::Clock;
use crate::port::{Answer, PortError, Retry};

const PORT: &str = "metrics";

/// How far apart two equal readings of a minute must lie.
const APART: Duration = Duration::from_secs(10);

/// How often it is looked whether a time has come.
const LOOK: Duration = Duration::from_millis(200);

/// How long minutes are kept: longer than an answer may be late.
const KEPT: Duration = Duration::from_hours(2);

/// The most minutes of one reading.
const READ_MAX: u32 = 40;

/// The time from which the edges of response times are taken.
const SHAPE: Duration = Duration::from_hours(24);

/// How long CloudWatch keeps minutes (user guide, "Metrics retention").
const RETENTION: Duration = Duration::from_hours(15 * 24);

/// The most points of one question about the past; one call takes 100 800.
const PAST_POINTS_MAX: usize = 90_000;

/// What is counted, and how.
#[derive(Clone, Debug)]
pub struct Groups {
    /// The listener's ARN, where the policy says it.
    pub listener: Option<String>,
    /// The ARN of the source's target group.
    pub source: String,
    /// The ARN of the target's.
    pub target: String,
    /// How long after its end a minute counts as complete.
    pub settle: Duration,
    /// By how many buckets of [`judge::Histogram`] the judge moves an edge before it cuts the target.
    pub tolerances: Vec<u16>,
}

/// Two target groups of a load balancer in CloudWatch.
pub struct Cloudwatch {
    poller: Poller,
    balancing: elb::Client,
    groups: Groups,
    aws: AwsClock,
    ours: Clock,
    dimensions: OnceCell<Dimensions>,
    asked: Mutex<Option<Arc<Asked>>>,
    minutes: Mutex<BTreeMap<Timestamp, Kept>>,
}

/// What is asked for each minute.
struct Asked {
    times: Times,
    keys: Vec<Key>,
    queries: Arc<[Query]>,
}

impl Asked {
    fn new(series: Vec<(Key, Query)>, times: Times) -> Arc<Self> {
        let (keys, queries): (Vec<Key>, Vec<Query>) = series.into_iter().unzip();
        Arc::new(Self { times, keys, queries: queries.into() })
    }
}

/// One minute as it was read.
struct Kept {
    read: Minute,
    /// When it was read like this first.
    since: Timestamp,
    /// When it was read last.
    last: Timestamp,
    /// Whether it counts.
    settled: bool,
}

impl Kept {
    /// Takes another reading of a minute that ended at `end`.
    fn take(&mut self, read: Minute, now: Timestamp, end: Timestamp, settle: Duration) {
        self.last = now;
        if read == self.read {
            self.settled |= now.since(self.since) >= APART && now >= end.plus(settle) && minute::is_published(&read);
        } else {
            (self.read, self.since, self.settled) = (read, now, false);
        }
    }
}

fn later(why: impl Into<String>) -> PortError {
    PortError::later(PORT, why.into())
}

impl Cloudwatch {
    /// Counts `groups` through `poller`; `balancing` finds their load balancer where the policy names no listener.
    pub fn new(poller: Poller, balancing: elb::Client, groups: Groups, aws: AwsClock, ours: Clock) -> Self {
        let (asked, minutes) = (Mutex::new(None), Mutex::default());
        Self { poller, balancing, groups, aws, ours, dimensions: OnceCell::new(), asked, minutes }
    }

    fn now(&self) -> Timestamp {
        self.aws.at(self.ours.now())
    }

    fn minutes(&self) -> MutexGuard<'_, BTreeMap<Timestamp, Kept>> {
        self.minutes.lock().expect("nobody panics while holding it")
    }

    async fn dimensions(&self) -> Result<&Dimensions, PortError> {
        let Groups { listener, source, target, .. } = &self.groups;
        let found = self.dimensions.get_or_try_init(|| async {
            let balancer = if let Some(balancer) = listener.as_deref().and_then(find::balancer_of) {
                balancer
            } else {
                let arn = find::balancer(&self.balancing, PORT, source).await?;
                find::dimension(&arn).ok_or_else(|| later(format!("`{arn}` is not a load balancer")))?
            };
            let group = |arn: &str| find::dimension(arn).ok_or_else(|| later(format!("`{arn}` is not a target group")));
            Ok(Dimensions { balancer, source: group(source)?, target: group(target)? })
        });
        found.await
    }

    /// What is asked for; decided once, from where the source's response times lay in the last day.
    async fn asked(&self) -> Result<Arc<Asked>, PortError> {
        if let Some(asked) = self.asked.lock().expect("nobody panics while holding it").clone() {
            return Ok(asked);
        }
        let dimensions = self.dimensions().await?;
        let to = floor(self.now());
        let window = Window { from: to.minus(SHAPE), to };
        let found = self.poller.ask(dimensions.quantiles().into(), window, SHAPE).await;
        let quantiles: Vec<f64> = match found {
            Ok(points) => points.iter().filter_map(|series| series.values().next_back().copied()).collect(),
            // Without percentiles the usual edges do; whether counts are refused too shows when they are asked for.
            Err(failure) if failure.retry == Retry::Never => Vec::new(),
            Err(failure) => return Err(failure.into()),
        };
        Ok(self.ask_for(dimensions, Times::Counts(Grid::new(&quantiles, &self.groups.tolerances))))
    }

    fn ask_for(&self, dimensions: &Dimensions, times: Times) -> Arc<Asked> {
        let asked = Asked::new(dimensions.series(&times), times);
        *self.asked.lock().expect("nobody panics while holding it") = Some(Arc::clone(&asked));
        asked
    }

    /// Reads the minutes of a window, which is whole minutes, by the series of `asked`.
    async fn read(&self, asked: &Asked, window: Window) -> Result<BTreeMap<Timestamp, Minute>, Failure> {
        let points = self.poller.ask(Arc::clone(&asked.queries), window, MINUTE).await?;
        let mut minutes: BTreeMap<Timestamp, Minute> = BTreeMap::new();
        for (key, series) in asked.keys.iter().zip(points) {
            for (at, value) in series {
                minutes.entry(floor(at)).or_default().insert(*key, value);
            }
        }
        Ok(minutes)
    }

    /// Reads from `from` up to now and keeps what was read.
    async fn refresh(&self, from: Timestamp) -> Result<(), PortError> {
        let asked = self.asked().await?;
        let now = self.now();
        // What lies ahead of the last minute that was asked for is read as well: it is its first reading.
        let to = floor(now).min(from.plus(MINUTE * READ_MAX));
        let read = match self.read(&asked, Window { from, to }).await {
            Err(failure) if failure.retry == Retry::Never && matches!(asked.times, Times::Counts(_)) => {
                // Counts between edges are refused: percentiles may not be. What was read before meant something else.
                tracing::warn!(
                    error = failure.why,
                    "CloudWatch refuses counts of response times; asking for percentiles"
                );
                self.ask_for(self.dimensions().await?, Times::Percentiles);
                self.minutes().clear();
                return Ok(());
            }
            read => read?,
        };
        let mut read = read;
        let mut kept = self.minutes();
        for at in beginning_in(Window { from, to }) {
            let minute = read.remove(&at).unwrap_or_default();
            match kept.get_mut(&at) {
                Some(known) => known.take(minute, now, at.plus(MINUTE), self.groups.settle),
                None => drop(kept.insert(at, Kept { read: minute, since: now, last: now, settled: false })),
            }
        }
        kept.retain(|at, _| now.since(*at) <= KEPT);
        Ok(())
    }

    /// The counts of these minutes, if all are settled.
    fn settled(&self, minutes: &[Timestamp], window: Window) -> Option<Observation> {
        let asked = self.asked.lock().expect("nobody panics while holding it").clone()?;
        let kept = self.minutes();
        let mut rows = minutes.iter().map(|at| kept.get(at).filter(|kept| kept.settled));
        let sum = rows.try_fold([Counts::default(), Counts::default()], |mut sum, kept| {
            let kept = kept?;
            for (sum, side) in sum.iter_mut().zip([Side::Source, Side::Target]) {
                sum.merge(&minute::counts(&kept.read, side, &asked.times));
            }
            Some(sum)
        })?;
        Some(observation(window, sum, minutes.len()))
    }

    async fn counted(&self, window: Window) -> Result<Observation, PortError> {
        let minutes = beginning_in(window);
        let Some(last) = minutes.last().copied() else {
            return Err(PortError::never(PORT, "no minute begins in this interval, and CloudWatch has whole minutes"));
        };
        let due = last.plus(MINUTE).plus(self.groups.settle);
        loop {
            if let Some(observation) = self.settled(&minutes, window) {
                return Ok(observation);
            }
            let now = self.now();
            let oldest = {
                let kept = self.minutes();
                let unsettled =
                    |at: &&Timestamp| kept.get(at).is_none_or(|kept| !kept.settled && now.since(kept.last) >= APART);
                minutes.iter().find(unsettled).copied()
            };
            match oldest {
                Some(from) if now >= due => {
                    self.refresh(from).await?;
                    let kept = self.minutes();
                    let silent =
                        minutes.iter().find(|at| kept.get(at).is_some_and(|kept| !minute::is_published(&kept.read)));
                    if let Some(at) = silent {
                        return Err(later(format!(
                            "CloudWatch has nothing of the minute from {at}: it is late, or the load balancer had no \
                             request and no healthy target"
                        )));
                    }
                }
                _ => self.ours.sleep(LOOK).await,
            }
        }
    }

    async fn past(&self, window: Window) -> Result<Vec<Observation>, PortError> {
        let asked = self.asked().await?;
        let dimensions = self.dimensions().await?;
        let asked = Asked::new(dimensions.past(&asked.times), asked.times.clone());
        let now = self.now();
        let from = floor(window.from.max(now.minus(RETENTION))).plus(MINUTE);
        let to = floor(window.to.min(now.minus(self.groups.settle)));
        let step = MINUTE * u32::try_from((PAST_POINTS_MAX / asked.keys.len().max(1)).max(1)).unwrap_or(1);
        let mut rows: Vec<Observation> = Vec::new();
        let mut at = from;
        while at < to {
            let part = Window { from: at, to: at.plus(step).min(to) };
            let mut read = self.read(&asked, part).await?;
            for at in beginning_in(part) {
                let Some(minute) = read.remove(&at).filter(minute::is_published) else {
                    // What came before a gap is another time.
                    rows.clear();
                    continue;
                };
                let row = Window { from: at, to: at.plus(MINUTE) };
                let mut sides = [Side::Source, Side::Target].map(|side| minute::counts(&minute, side, &asked.times));
                // The target's response times are not asked for.
                sides[1].latency.clear();
                rows.push(observation(row, sides, 1));
            }
            at = part.to;
        }
        Ok(rows)
    }
}

fn observation(window: Window, [source, target]: [Counts; 2], minutes: usize) -> Observation {
    let millis = minutes as u64 * 60_000;
    let reads = Block { millis, ..Block::default() };
    Observation { window, reads, writes: Block { millis, source, target } }
}

impl MetricSource for Cloudwatch {
    fn observe(&self, window: Window) -> Answer<'_, Observation> {
        Box::pin(self.counted(window))
    }

    fn glance(&self, _: Timestamp, _: Duration) -> Answer<'_, Observation> {
        Box::pin(async { Err(later("CloudWatch counts minutes and knows nothing of the last moments")) })
    }

    /// Rows are whole minutes, whatever `every` says.
    fn history(&self, window: Window, _: Duration) -> Answer<'_, Vec<Observation>> {
        Box::pin(self.past(window))
    }

    fn survey(&self) -> Answer<'_, Vec<Check>> {
        Box::pin(self.surveyed())
    }

    fn lag(&self) -> Answer<'_, Vec<Check>> {
        Box::pin(self.lagging())
    }
}

#[cfg(test)]
mod tests;
