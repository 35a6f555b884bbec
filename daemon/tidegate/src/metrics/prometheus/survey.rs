//! What Prometheus says before anything moves: whether what is asked for is there, often enough, and fine enough for the
//! guards, and whether all of the traffic is.

use std::time::Duration;

use cutover::event::{Check, CheckOutcome};
use cutover::policy::Counted;
use cutover::{Timestamp, Window};
use judge::{Histogram, Side};

use super::series::Exporters;
use super::{Prometheus, Reading, WHATS, What, buckets, side_word};
use crate::metrics::usual::{HOUR, usual};
use crate::port::PortError;

/// What is looked at as the present.
const PRESENT: Duration = Duration::from_mins(10);

/// How many days back.
const DAYS: u32 = 7;

/// Where the source's response times are looked at.
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

impl Prometheus {
    /// What can be said.
    pub(super) async fn surveyed(&self) -> Result<Vec<Check>, PortError> {
        let now = self.clock.now();
        let both = [Side::Source, Side::Target];
        let to = match self.policy.counts {
            Counted::Counters => now,
            Counted::Minutes => now.minus(self.late()),
        };
        let reading = self.read(&both, to.minus(PRESENT), to).await?;
        let mut checks = vec![self.numbers(&reading)];
        if checks[0].outcome == CheckOutcome::Fail {
            return Ok(checks);
        }
        if self.policy.counts == Counted::Counters {
            checks.push(self.samples(&reading));
            checks.extend(self.fine(&reading, Window { from: to.minus(PRESENT / 2), to: to.minus(self.late()) }));
        }
        checks.push(self.rate(to).await?);
        Ok(checks)
    }

    /// Which series are there.
    fn numbers(&self, reading: &Reading) -> Check {
        let empty = |side: Side| -> Vec<&str> {
            let asked = self.policy.queries.each().map(|(word, _)| word);
            let what = |word: &&str| WHATS.iter().find(|(known, _)| known == word).map(|(_, what)| *what);
            asked.filter(|word| what(word).is_some_and(|what| reading.of(what, side).next().is_none())).collect()
        };
        let (source, target) = (empty(Side::Source), empty(Side::Target));
        let count = reading.all().count();
        let asked = self.policy.queries.each().count();
        let minutes = PRESENT.as_secs() / 60;
        for (missing, side) in [(&source, Side::Source), (&target, Side::Target)] {
            if missing.len() == asked {
                let evidence = format!(
                    "no series of the {} in the last {minutes} minutes: {}",
                    side_word(side),
                    self.example(side)
                );
                let fix = "let Prometheus scrape the exporter, or mend `metrics.source`, `metrics.target` or the preset; for a \
                           side that has no series before its first request, say `metrics.queries.published`";
                return Check::new("numbers", CheckOutcome::Fail, evidence, fix);
            }
        }
        if source.contains(&"latency") {
            let evidence = format!("{count} series, and none of response times of the source");
            let fix = "let the exporter publish its histogram, or switch the guards on latency off";
            return Check::new("numbers", CheckOutcome::Fail, evidence, fix);
        }
        if source.is_empty() {
            return Check::new("numbers", CheckOutcome::Pass, format!("{count} series"), "");
        }
        Check::new(
            "numbers",
            CheckOutcome::Warn,
            format!("{count} series, and none of the source for {}", source.join(", ")),
            "right where there were none so far; otherwise the query is a slip",
        )
    }

    /// Whether they are sampled often enough.
    fn samples(&self, reading: &Reading) -> Check {
        let exporters = Exporters::of(reading.all(), self.policy.settle);
        let Some((most, usual)) = exporters.apart() else {
            let evidence = format!("fewer than two samples in {} minutes", PRESENT.as_secs() / 60);
            return Check::new("samples", CheckOutcome::Fail, evidence, "let Prometheus scrape the exporter");
        };
        let evidence = format!("a sample each {:.0} s, {:.0} s apart at most", usual.as_secs_f64(), most.as_secs_f64());
        let (settle, interval) = (self.policy.settle, self.interval);
        let (outcome, fix) = match () {
            () if interval < usual => (
                CheckOutcome::Fail,
                "make `shift.interval` twice the scrape interval, or let Prometheus scrape more often",
            ),
            () if settle < usual => (CheckOutcome::Fail, "make `metrics.settle` twice the scrape interval"),
            () if interval < usual * 2 || settle < most => {
                (CheckOutcome::Warn, "make `shift.interval` and `metrics.settle` twice the scrape interval")
            }
            () => (CheckOutcome::Pass, ""),
        };
        Check::new("samples", outcome, evidence, fix)
    }

    /// Whether the buckets can carry what the guards tolerate, where the source's response times lie.
    fn fine(&self, reading: &Reading, window: Window) -> Option<Check> {
        if self.tolerances.is_empty() {
            return None;
        }
        let unit = self.policy.latency_unit;
        let exporters = Exporters::of(reading.all(), self.policy.settle);
        let mut all = Histogram::default();
        for list in reading.0.iter().filter(|((what, side, _), _)| *what == What::Latency && *side == Side::Source) {
            // What cannot be counted yet says nothing of the buckets.
            all.merge(&buckets::histogram(list.1, unit, &exporters, window).unwrap_or_default());
        }
        let bounds = buckets::bounds(reading.of(What::Latency, Side::Source), unit);
        let lie: Vec<u16> = QUANTILES.iter().filter_map(|quantile| all.quantile_bucket(*quantile)).collect();
        if lie.is_empty() {
            let evidence = format!("{} bounds; no response times lately to hold them against", bounds.len());
            return Some(Check::new(
                "latency buckets",
                CheckOutcome::Warn,
                evidence,
                "look again when there is traffic",
            ));
        }
        let steps = lie.iter().filter_map(|bucket| buckets::tolerated(&bounds, *bucket));
        let Some(step) = steps.max_by(f64::total_cmp) else {
            let evidence = "the source is slower than the last bound".to_owned();
            let fix = "let the exporter have buckets where response times lie, or switch the guards on latency off";
            return Some(Check::new("latency buckets", CheckOutcome::Fail, evidence, fix));
        };
        let wide = judge::latency::buckets_of(step);
        let none: Vec<&str> =
            self.tolerances.iter().filter(|(_, tolerated)| *tolerated < wide).map(|(name, _)| name.as_str()).collect();
        let percent = (step - 1.0) * 100.0;
        if none.is_empty() {
            let evidence = format!("{} bounds, at most {percent:.1} % apart where the source answers", bounds.len());
            return Some(Check::new("latency buckets", CheckOutcome::Pass, evidence, ""));
        }
        let evidence = format!(
            "bounds are {percent:.0} % apart where the source answers, so {} compare both sides at the same bound and tolerate \
             nothing: a target that is a little slower may revert",
            none.join(", ")
        );
        let fix = "let the exporter have finer buckets, or give these guards a tolerance as wide, or switch them off";
        Some(Check::new("latency buckets", CheckOutcome::Warn, evidence, fix))
    }

    /// The source's rate against the same hour of earlier days.
    async fn rate(&self, now: Timestamp) -> Result<Check, PortError> {
        let hour = Timestamp(now.minus(self.late()).0.div_euclid(3_600_000) * 3_600_000);
        let mut before = Vec::new();
        let mut last = 0.0;
        for day in 0..=DAYS {
            let to = hour.minus(HOUR * 24 * day);
            let requests = self.requests(Window { from: to.minus(HOUR), to }).await?;
            match (day, requests) {
                (0, requests) => last = requests.unwrap_or_default(),
                (_, Some(requests)) => before.push(requests),
                (_, None) => {}
            }
        }
        Ok(usual(last, before))
    }

    /// The source's requests in an hour; `None` where nothing was sampled in it.
    async fn requests(&self, hour: Window) -> Result<Option<f64>, PortError> {
        let mut sum = 0.0;
        let mut seen = false;
        let whole = self.policy.queries.requests.is_some();
        for (word, template) in self.policy.queries.each() {
            if (whole && word != "requests") || matches!(word, "latency" | "published") {
                continue;
            }
            for class in self.classes() {
                let selector = self.selector(template, Side::Source, *class);
                for series in self.api.samples(&selector, hour.from, hour.to).await? {
                    seen = true;
                    sum += match self.policy.counts {
                        Counted::Minutes => series.samples.iter().map(|(_, value)| value).sum::<f64>(),
                        Counted::Counters => {
                            let steps = series.samples.windows(2);
                            steps
                                .map(|pair| if pair[1].1 < pair[0].1 { pair[1].1 } else { pair[1].1 - pair[0].1 })
                                .sum()
                        }
                    };
                }
            }
        }
        Ok(seen.then_some(sum))
    }
}
