//! Prometheus as a source of numbers: counters of anyone's, read as the samples they are.
//!
//! What is asked are plain selectors; what was counted in a window is worked out here ([`series`]), since `rate` and
//! `increase` extrapolate. A sample that is not there, is not yet there, or is no number, makes the window unknown and
//! nothing zero. A side of which there is no series at all is unknown too, unless something else shows that it is exported.
//!
//! Exporters of CloudWatch have no counters but what was counted in a minute, at that minute's time; they are summed.
//!
//! What it does not do: tell the last seconds (tripwires need faster counts than scrapes), and read native histograms.

mod api;
mod buckets;
mod series;
mod survey;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use cutover::event::{Check, Observation};
use cutover::policy::{Counted, PrometheusPolicy};
use cutover::{Timestamp, Window};
use judge::{Block, Counts, Side};

use self::api::{Api, PORT};
use self::series::{Exporters, Lack, Origin, Series};
use super::MetricSource;
use super::minutes::{MINUTE, beginning_in, floor};
use crate::clock::Clock;
use crate::outbound::Outbound;
use crate::port::{Answer, BoxError, PortError, Retry};
use crate::trust;

/// How often it is looked whether a time has come, and again for a sample that should be there.
const LOOK: Duration = Duration::from_secs(1);

/// How long an exporter that fell silent is remembered, to be asked after.
const REMEMBERED: Duration = Duration::from_hours(1);

/// The most exporters that are remembered.
const EXPORTERS_MAX: usize = 1000;

/// The past is read in pieces of this length.
const PIECE: Duration = Duration::from_mins(30);

/// The most samples of one reading of the past: with our own proxies' buckets, a day and a half of one proxy.
const PAST_SAMPLES_MAX: usize = 10_000_000;

/// What is counted of a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Requests,
    /// By the first digit.
    Answers(u8),
    Failed,
    Abandoned,
    Latency,
    Published,
}

const WHATS: [(&str, What); 9] = [
    ("status_2xx", What::Answers(2)),
    ("status_3xx", What::Answers(3)),
    ("status_4xx", What::Answers(4)),
    ("status_5xx", What::Answers(5)),
    ("requests", What::Requests),
    ("failed", What::Failed),
    ("abandoned", What::Abandoned),
    ("latency", What::Latency),
    ("published", What::Published),
];

/// Reads, writes, or all requests together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Reads,
    Writes,
    All,
}

type Key = (What, Side, Class);

/// What was answered to all selectors.
#[derive(Debug, Default)]
struct Reading(BTreeMap<Key, Vec<Series>>);

/// Series of a Prometheus server as a source of numbers.
pub struct Prometheus {
    api: Api,
    policy: PrometheusPolicy,
    /// By how many buckets of [`judge::Histogram`] each guard on latency moves an edge, with the guard's name.
    tolerances: Vec<(String, u16)>,
    /// How long one judged interval is.
    interval: Duration,
    clock: Clock,
    /// Exporters that were seen, and when last.
    known: Mutex<BTreeMap<Origin, Timestamp>>,
}

fn later(why: impl Into<String>) -> PortError {
    PortError::later(PORT, why.into())
}

impl From<Lack> for PortError {
    fn from(lack: Lack) -> Self {
        match lack {
            Lack::NotYet(why) => later(why),
            Lack::Missing(why) => Self::never(PORT, why),
        }
    }
}

impl Prometheus {
    /// Counts as `policy` says, for intervals of `interval`; `tolerances` are the guards on latency, each with the number of
    /// buckets of [`judge::Histogram`] that it tolerates.
    ///
    /// # Errors
    /// When the authority that the policy names cannot be read.
    pub fn new(
        policy: PrometheusPolicy,
        interval: Duration,
        tolerances: Vec<(String, u16)>,
        clock: Clock,
    ) -> Result<Self, BoxError> {
        let outbound = match &policy.ca {
            None => Outbound::new()?,
            Some(path) => Outbound::by(trust::tls(Some(path.as_ref()), None)?),
        };
        let api = Api { outbound, url: policy.url.clone(), authorization: policy.authorization.clone() };
        Ok(Self { api, policy, tolerances, interval, clock, known: Mutex::default() })
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Origin, Timestamp>> {
        self.known.lock().expect("nobody panics while holding it")
    }

    fn classes(&self) -> &'static [Class] {
        if self.policy.queries.tells_writes() { &[Class::Reads, Class::Writes] } else { &[Class::All] }
    }

    /// A selector with the matchers of a side in it.
    fn selector(&self, template: &str, side: Side, class: Class) -> String {
        let matchers = match side {
            Side::Source => &self.policy.source,
            Side::Target => &self.policy.target,
        };
        let class = match class {
            Class::Reads => "class=\"reads\"",
            Class::Writes => "class=\"writes\"",
            Class::All => "",
        };
        template.replace("{side}", matchers).replace("{class}", class)
    }

    /// Asks for everything from `from` to `to`, for these sides.
    async fn read(&self, sides: &[Side], from: Timestamp, to: Timestamp) -> Result<Reading, PortError> {
        let mut reading = Reading::default();
        for (word, template) in self.policy.queries.each() {
            let Some((_, what)) = WHATS.iter().find(|(known, _)| *known == word) else { continue };
            for side in sides {
                for class in self.classes() {
                    let found = self.api.samples(&self.selector(template, *side, *class), from, to).await?;
                    reading.0.insert((*what, *side, *class), found);
                }
            }
        }
        Ok(reading)
    }

    /// Everything that a window needs, with what lies before and after it.
    async fn about(&self, sides: &[Side], window: Window) -> Result<Reading, PortError> {
        let settle = self.policy.settle;
        self.read(sides, window.from.minus(settle), window.to.plus(settle)).await
    }

    async fn counted(&self, window: Window) -> Result<Observation, PortError> {
        let due = window.to.plus(self.late());
        loop {
            let now = self.clock.now();
            // What is sampled already needs no waiting; from `due` on it must be there.
            let counted = if now >= window.to { Some(self.count(window).await) } else { None };
            match counted {
                Some(Ok(observation)) => return Ok(observation),
                Some(Err(error)) if now >= due || error.retry == Retry::Never => return Err(error),
                _ => self.clock.sleep(LOOK.min(due.since(now)).max(Duration::from_millis(50))).await,
            }
        }
    }

    /// How long after a window its counts must be there.
    fn late(&self) -> Duration {
        match self.policy.counts {
            Counted::Counters => self.policy.settle,
            Counted::Minutes => self.policy.settle + MINUTE,
        }
    }

    async fn count(&self, window: Window) -> Result<Observation, PortError> {
        match self.policy.counts {
            Counted::Counters => {
                let reading = self.about(&[Side::Source, Side::Target], window).await?;
                let exporters = Exporters::of(reading.all(), self.policy.settle);
                self.silent(&exporters, window).await?;
                let observation = self.grown(&reading, &exporters, window)?;
                self.remember(&exporters);
                Ok(observation)
            }
            Counted::Minutes => {
                let (from, to) = (floor(window.from), window.to);
                let reading = self.read(&[Side::Source, Side::Target], from, to).await?;
                self.minutes(&reading, window)
            }
        }
    }

    /// What the counters of all sides grew by.
    fn grown(&self, reading: &Reading, exporters: &Exporters, window: Window) -> Result<Observation, PortError> {
        let millis = u64::try_from(exporters.seen(window)?.as_millis()).unwrap_or(u64::MAX);
        let unit = self.policy.latency_unit;
        let latency = |side| reading.of(What::Latency, side);
        let bounds = [Side::Source, Side::Target].map(|side| buckets::bounds(latency(side), unit));
        if bounds.iter().all(|bounds| !bounds.is_empty()) && bounds[0] != bounds[1] {
            let why = "the buckets of response times are not the same on both sides, so they cannot be compared: give both \
                       exporters the same, or switch the guards on latency off";
            return Err(PortError::never(PORT, why));
        }
        let mut blocks = [Block { millis, ..Block::default() }, Block { millis, ..Block::default() }];
        for side in [Side::Source, Side::Target] {
            let counters = reading.0.iter().filter(|((what, of, _), _)| *of == side && *what != What::Latency);
            if counters.clone().all(|(_, list)| list.is_empty()) {
                return Err(later(format!(
                    "Prometheus has no series of the {}: {}",
                    side_word(side),
                    self.example(side)
                )));
            }
            for class in self.classes() {
                let sum = |what| -> Result<u64, Lack> {
                    let list = reading.0.get(&(what, side, *class)).map_or(&[][..], Vec::as_slice);
                    let grown = list.iter().map(|series| exporters.grown(series, window)).sum::<Result<f64, _>>()?;
                    Ok(grown.round() as u64)
                };
                let mut counts = counts_of(sum, self.policy.queries.requests.is_some())?;
                if let Some(list) = reading.0.get(&(What::Latency, side, *class)) {
                    counts.latency = buckets::histogram(list, unit, exporters, window)?;
                }
                let block = &mut blocks[usize::from(*class != Class::Reads)];
                match side {
                    Side::Source => block.source = counts,
                    Side::Target => block.target = counts,
                }
            }
        }
        let [reads, writes] = blocks;
        Ok(Observation { window, reads, writes })
    }

    fn example(&self, side: Side) -> String {
        self.selector(&self.policy.queries.status_2xx, side, self.classes()[0])
    }

    /// Fails when an exporter that was there has no samples any more and Prometheus says that it cannot be scraped: it may
    /// serve all the same. One that is not to be scraped any more is gone.
    async fn silent(&self, exporters: &Exporters, window: Window) -> Result<(), PortError> {
        let now: Vec<&Origin> = exporters.origins().collect();
        let missing: Vec<Origin> = self.known().keys().filter(|origin| !now.contains(origin)).cloned().collect();
        for origin in missing {
            let text = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
            let selector = format!("up{{job=\"{}\",instance=\"{}\"}}", text(&origin.0), text(&origin.1));
            let to = window.to.plus(self.policy.settle);
            let up = self.api.samples(&selector, window.from, to).await?;
            if up.iter().filter_map(|series| series.samples.last()).any(|(_, value)| *value == 0.0) {
                return Err(later(format!("Prometheus cannot scrape `{}`, which was counted before", origin.1)));
            }
        }
        Ok(())
    }

    fn remember(&self, exporters: &Exporters) {
        let now = self.clock.now();
        let mut known = self.known();
        known.extend(exporters.origins().map(|origin| (origin.clone(), now)));
        known.retain(|_, seen| now.since(*seen) <= REMEMBERED);
        while known.len() > EXPORTERS_MAX {
            let oldest = known.iter().min_by_key(|(_, seen)| **seen).map(|(origin, _)| origin.clone());
            if let Some(origin) = oldest {
                known.remove(&origin);
            }
        }
    }

    /// What the minutes of all sides hold that begin in a window.
    fn minutes(&self, reading: &Reading, window: Window) -> Result<Observation, PortError> {
        let minutes = beginning_in(window);
        if minutes.is_empty() {
            return Err(PortError::never(PORT, "no minute begins in this interval, and CloudWatch has whole minutes"));
        }
        if let Some((at, _)) = reading.all().flat_map(|series| &series.samples).find(|(at, _)| floor(*at) != *at) {
            let why = format!(
                "a sample is of {} ms after 1970, which is no whole minute: the exporter must hand on CloudWatch's own times \
                 (`set_timestamp` of cloudwatch_exporter, `addCloudwatchTimestamp` of YACE)",
                at.0
            );
            return Err(PortError::never(PORT, why));
        }
        let shows = |minute: &Timestamp| {
            let of = |what| [Side::Source, Side::Target].into_iter().flat_map(move |side| reading.of(what, side));
            [What::Published, What::Requests]
                .into_iter()
                .flat_map(of)
                .any(|series| series.samples.iter().any(|(at, _)| at == minute))
        };
        if let Some(minute) = minutes.iter().find(|minute| !shows(minute)) {
            return Err(later(format!("Prometheus has nothing of the minute from {minute}")));
        }
        let millis = minutes.len() as u64 * 60_000;
        let mut sides = [Counts::default(), Counts::default()];
        for (counts, side) in sides.iter_mut().zip([Side::Source, Side::Target]) {
            let sum = |what| -> Result<u64, Lack> {
                let of = reading.of(what, side).flat_map(|series| &series.samples);
                Ok(of.filter(|(at, _)| minutes.contains(at)).map(|(_, value)| *value).sum::<f64>().round() as u64)
            };
            *counts = counts_of(sum, self.policy.queries.requests.is_some())?;
            // An ALB's target group has no count of what it did not answer: that is what is left of its requests.
            let answered = counts.status_2xx + counts.status_3xx + counts.status_4xx + counts.status_5xx;
            counts.failed = counts.failed.max(counts.requests.saturating_sub(answered));
        }
        let [source, target] = sides;
        let reads = Block { millis, ..Block::default() };
        Ok(Observation { window, reads, writes: Block { millis, source, target } })
    }

    /// Stretches of `every` up to now, oldest first, as far back as there are samples without a gap.
    async fn past(&self, window: Window, every: Duration) -> Result<Vec<Observation>, PortError> {
        let every = match self.policy.counts {
            Counted::Counters => every.max(Duration::from_secs(1)),
            Counted::Minutes => MINUTE,
        };
        let mut to = window.to.min(self.clock.now().minus(self.late()));
        if self.policy.counts == Counted::Minutes {
            to = floor(to);
        }
        let rows_of_piece = u32::try_from(PIECE.as_millis() / every.as_millis().max(1)).unwrap_or(u32::MAX).max(1);
        let (mut rows, mut samples) = (Vec::new(), 0);
        while to > window.from && samples < PAST_SAMPLES_MAX {
            let fit = u32::try_from(to.since(window.from).as_millis() / every.as_millis()).unwrap_or(u32::MAX);
            if fit == 0 {
                break;
            }
            let from = to.minus(every * fit.min(rows_of_piece));
            let piece = Window { from, to };
            let reading = match self.policy.counts {
                Counted::Counters => self.about(&[Side::Source, Side::Target], piece).await?,
                Counted::Minutes => self.read(&[Side::Source, Side::Target], from, to).await?,
            };
            samples += reading.all().map(|series| series.samples.len()).sum::<usize>();
            let exporters = Exporters::of(reading.all(), self.policy.settle);
            let mut end = to;
            while end > from {
                let row = Window { from: end.minus(every), to: end };
                let counted = match self.policy.counts {
                    Counted::Counters => self.grown(&reading, &exporters, row),
                    Counted::Minutes => self.minutes(&reading, row),
                };
                // What came before a gap is another time.
                let Ok(observation) = counted else { return Ok(reversed(rows)) };
                rows.push(observation);
                end = row.from;
            }
            to = from;
        }
        if samples >= PAST_SAMPLES_MAX {
            tracing::info!(from = %to, "the past is long; what lies before this is not read");
        }
        Ok(reversed(rows))
    }
}

impl Reading {
    fn all(&self) -> impl Iterator<Item = &Series> {
        self.0.values().flatten()
    }

    fn of(&self, what: What, side: Side) -> impl Iterator<Item = &Series> {
        self.0.iter().filter(move |((of, whose, _), _)| *of == what && *whose == side).flat_map(|(_, list)| list)
    }
}

fn reversed(mut rows: Vec<Observation>) -> Vec<Observation> {
    rows.reverse();
    rows
}

fn side_word(side: Side) -> &'static str {
    match side {
        Side::Source => "source",
        Side::Target => "target",
    }
}

/// Counts of one side and class. Requests are what was counted as such, where that is asked for, and never fewer than ended.
fn counts_of(sum: impl Fn(What) -> Result<u64, Lack>, requests: bool) -> Result<Counts, Lack> {
    let mut counts = Counts {
        status_2xx: sum(What::Answers(2))?,
        status_3xx: sum(What::Answers(3))?,
        status_4xx: sum(What::Answers(4))?,
        status_5xx: sum(What::Answers(5))?,
        failed: sum(What::Failed)?,
        abandoned: sum(What::Abandoned)?,
        ..Counts::default()
    };
    let ended = counts.status_2xx + counts.status_3xx + counts.status_4xx + counts.status_5xx;
    let ended = ended + counts.failed + counts.abandoned;
    counts.requests = if requests { sum(What::Requests)?.max(ended) } else { ended };
    Ok(counts)
}

impl MetricSource for Prometheus {
    fn observe(&self, window: Window) -> Answer<'_, Observation> {
        Box::pin(self.counted(window))
    }

    fn glance(&self, _: Timestamp, _: Duration) -> Answer<'_, Observation> {
        Box::pin(async { Err(later("Prometheus' samples lie apart and know nothing of the last moments")) })
    }

    fn history(&self, window: Window, every: Duration) -> Answer<'_, Vec<Observation>> {
        Box::pin(self.past(window, every))
    }

    fn survey(&self) -> Answer<'_, Vec<Check>> {
        Box::pin(self.surveyed())
    }
}
