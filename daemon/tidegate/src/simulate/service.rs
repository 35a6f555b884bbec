//! The service as its baseline shows it: what comes in each hour of the week, how it ends, how it scatters.
//!
//! A baseline knows one class of requests, the one that is judged. What it does not know is not made up: writes that wait
//! for the last step are no part of a simulated cutover.

use cutover::policy::GuardPolicy;
use judge::dispersion::Phi;
use judge::latency::SLOW;
use judge::record::{Depth, HOURS, HourOfWeek, Record};
use judge::{GuardKind, Histogram};

use super::fault::{Fault, Kind, Size};
use super::shape::TIERS;
use super::wander::Wander;
use crate::screen::format::share;

/// How an hour of the week is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Level {
    /// Requests a second, both sides together.
    pub(super) per_second: f64,
    /// Share of requests that end in a server error.
    pub(super) errors: f64,
    /// Share of requests that are answered with 4XX.
    pub(super) client_errors: f64,
    /// How many times as many answers fall into each part above the median as in the whole record.
    pub(super) latency: [f64; TIERS - 1],
    /// The same of whole exchanges.
    pub(super) exchange: [f64; TIERS - 1],
}

/// How the parts of a service wander from minute to minute.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Wanders {
    /// How many requests come; the same for both sides.
    pub(super) demand: Wander,
    /// Server errors.
    pub(super) errors: Wander,
    /// Answers with 4XX.
    pub(super) client_errors: Wander,
    /// Answers with 3XX.
    pub(super) redirects: Wander,
    /// Answers in each part above the median.
    pub(super) latency: [Wander; TIERS - 1],
    /// The same of whole exchanges.
    pub(super) exchange: [Wander; TIERS - 1],
}

/// A service that behaves as its record says.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// One for each hour of the week, in UTC, the first of Monday first.
    pub(super) hours: Vec<Level>,
    /// Of its server errors, the share that had no answer at all.
    pub(super) failed: f64,
    /// Share of requests that are answered with 3XX.
    pub(super) redirects: f64,
    /// Share of requests whose client left first.
    pub(super) abandoned: f64,
    /// How it wanders.
    pub(super) wanders: Wanders,
    /// Time to the first byte, as recorded, and the share of requests that has one.
    pub(super) latency: (Histogram, f64),
    /// Time to the last byte, and the share of requests that has one; where none were recorded, as to the first byte.
    pub(super) exchange: (Histogram, f64),
    /// Whether times to the last byte were recorded.
    pub(super) exchange_recorded: bool,
}

impl Service {
    /// The service of a record.
    pub fn of(record: &Record) -> Self {
        let whole = &record.baseline;
        let (counts, normal) = (whole.counts(), whole.normal());
        let requests = counts.requests.max(1) as f64;
        let part = |count: u64| count as f64 / requests;
        let week = (record.depth() == Depth::Week).then(|| record.week());
        // An imported baseline has no times of whole exchanges. A real source has some all the same, and without any a
        // guard on them would hold each simulated step for ever.
        let exchange_recorded = counts.exchange.total() > 0;
        let hours = (0..HOURS)
            .map(|hour| {
                let hour = HourOfWeek::try_from(hour).expect("a week has as many hours as it counts to");
                let own = week.as_ref().and_then(|week| week.normal(hour, whole));
                own.map_or(
                    Level {
                        per_second: normal.requests / 60.0,
                        errors: normal.errors,
                        client_errors: normal.client_errors,
                        latency: [1.0; TIERS - 1],
                        exchange: [1.0; TIERS - 1],
                    },
                    |own| {
                        let latency = parts(own.latency_slow, normal.latency_slow);
                        let exchange = parts(own.exchange_slow, normal.exchange_slow);
                        Level {
                            per_second: own.requests_a_minute / 60.0,
                            errors: own.errors,
                            client_errors: (own.bad - own.errors).max(0.0),
                            latency,
                            exchange: if exchange_recorded { exchange } else { latency },
                        }
                    },
                )
            })
            .collect();
        let durations = |histogram: &Histogram| (histogram.clone(), part(histogram.total()).min(1.0));
        let wander = |phi, share| Wander::of(phi, share, normal.requests);
        let latency_wanders = slow(normal.latency_phi, normal.latency_slow, normal.requests);
        let exchange_wanders = if exchange_recorded {
            slow(normal.exchange_phi, normal.exchange_slow, normal.requests)
        } else {
            latency_wanders
        };
        let arrivals = Phi { minute: record.arrivals_phi, longest: record.arrivals_phi };
        Self {
            hours,
            failed: counts.failed as f64 / counts.errors().max(1) as f64,
            redirects: normal.redirects,
            abandoned: part(counts.abandoned),
            wanders: Wanders {
                demand: demand(arrivals, normal.requests),
                errors: wander(normal.errors_phi, normal.errors),
                client_errors: wander(normal.client_errors_phi, normal.client_errors),
                redirects: wander(normal.redirects_phi, normal.redirects),
                latency: latency_wanders,
                exchange: exchange_wanders,
            },
            latency: durations(&counts.latency),
            exchange: durations(if exchange_recorded { &counts.exchange } else { &counts.latency }),
            exchange_recorded,
        }
    }

    /// What a policy with these guards judges and the baseline does not have, if anything, and what that means.
    pub fn lacks(&self, guards: &[GuardPolicy]) -> Option<&'static str> {
        let any = |kinds: &[GuardKind]| guards.iter().any(|guard| kinds.contains(&guard.guard.kind));
        let timed = [
            GuardKind::Latency,
            GuardKind::LatencyBody,
            GuardKind::LatencyTail,
            GuardKind::LatencySlow,
            GuardKind::LatencySteady,
        ];
        if self.latency.0.total() == 0 && any(&timed) {
            return Some(
                "judges latency and the baseline has none, so no simulated step can end; record the baseline from the \
                 proxies, or import it with columns `le_25ms` and the like",
            );
        }
        (!self.exchange_recorded && any(&[GuardKind::Exchange])).then_some(
            "judges whole exchanges and the baseline has no times of them, so they are simulated with those to the first \
             byte",
        )
    }

    /// How the hour of a moment (milliseconds since 1970) is.
    pub(super) fn at(&self, moment: i64) -> &Level {
        &self.hours[usize::from(u8::from(HourOfWeek::of(moment)))]
    }

    /// Why a fault of that size would be none on this service, if so.
    pub fn hides(&self, fault: &Fault) -> Option<String> {
        let most = |of: fn(&Level) -> f64| self.hours.iter().map(of).fold(0.0, f64::max);
        let (usual, what) = match fault.kind {
            Kind::Errors => (most(|level| level.errors), "answers of the source are errors"),
            Kind::ClientErrors => (most(|level| level.client_errors), "answers of the source are 4XX"),
            Kind::Latency | Kind::Tail if self.latency.0.total() == 0 => {
                return Some("the baseline has no latencies".to_owned());
            }
            Kind::Redirects | Kind::Latency | Kind::Tail | Kind::Outage => return None,
        };
        match fault.size {
            Size::Share(size) if size <= usual => Some(format!("up to {} of the {what}", share(usual))),
            Size::Times(_) if usual <= 0.0 => Some(format!("none of the {what}, and any times none is none")),
            Size::Share(_) | Size::Times(_) => None,
        }
    }

    /// Requests in a mean hour of the week, a second: both sides together.
    pub fn requests_per_second(&self) -> f64 {
        self.hours.iter().map(|hour| hour.per_second).sum::<f64>() / self.hours.len().max(1) as f64
    }

    /// The fewest and the most of any hour.
    pub fn requests_per_second_between(&self) -> (f64, f64) {
        let rates = || self.hours.iter().map(|hour| hour.per_second);
        (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max))
    }
}

/// The wander of demand: of `requests` a minute the count has the variance `phi` times its mean.
fn demand(phi: Phi, requests: f64) -> Wander {
    // A share so small that its complement is 1: the count of requests is no share of anything.
    const TINY: f64 = 1e-9;
    Wander::of(phi, TINY, requests / TINY)
}

/// The parts above the median of shares above the median, the 90 % and the 99 % quantile.
fn split(above: [f64; SLOW.len()]) -> [f64; TIERS - 1] {
    std::array::from_fn(|tier| (above[tier] - above.get(tier + 1).copied().unwrap_or(0.0)).max(0.0))
}

/// How many times as large the parts of an hour are as those of the whole record.
fn parts(own: [f64; SLOW.len()], whole: [f64; SLOW.len()]) -> [f64; TIERS - 1] {
    let (own, whole) = (split(own), split(whole));
    std::array::from_fn(|tier| if whole[tier] > 0.0 { own[tier] / whole[tier] } else { 1.0 })
}

/// The wander of each part above the median, so that the shares above the three quantiles disperse as recorded: from the
/// tail inwards, each part explains what the parts beyond it do not.
fn slow(phi: [Phi; SLOW.len()], above: [f64; SLOW.len()], requests: f64) -> [Wander; TIERS - 1] {
    let masses = split(above);
    let mut explained = 0.0;
    let mut wanders = [Wander::default(); TIERS - 1];
    for tier in (0..TIERS - 1).rev() {
        let whole = Wander::of(phi[tier], above[tier], requests);
        wanders[tier] = whole.part(above[tier], masses[tier], explained);
        explained += masses[tier].powi(2) * wanders[tier].variance;
    }
    wanders
}
