//! Guards, what lets a step end, and tripwires: what the evidence must be, and whether any evidence could be that.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::formats::{self, Limit, period_text};
use super::super::layer::join;
use super::super::{GuardPolicy, OnUnknown, ShiftPolicy, Tripwire, TripwireKind, raw, words};
use super::{Resolver, tenths};

/// The proxies look at their tripwires this often; a shorter window would be empty.
const TRIP_WINDOW_MIN: Duration = Duration::from_millis(100);

/// The proxies remember the last minute and no more; what needs longer to show is a matter for the guards.
const TRIP_WINDOW_MAX: Duration = Duration::from_mins(1);

/// The proxies look at this many tripwires each 100 ms and no more.
const TRIPWIRES_MAX: usize = 16;

impl Resolver<'_> {
    pub(super) fn false_revert_max(&mut self, guards: &raw::Guards) -> f64 {
        let risk = guards.false_revert_max.map_or(0.05, |share| share.0);
        if !(0.0001..=0.5).contains(&risk) && !self.bad(&["guards.false_revert_max"]) {
            self.wrong(
                "guards.false_revert_max",
                format!("a false-revert risk of {} % cannot be kept", tenths(risk * 100.0)),
                "use 0.01 to 50 %; 5 % is usual",
            );
        }
        risk
    }

    pub(super) fn guards(&mut self, guards: &raw::Guards) -> Vec<GuardPolicy> {
        use judge::GuardKind as Kind;
        let kinds = [
            (Kind::Errors, "errors", &guards.errors),
            (Kind::Success, "success", &guards.success),
            (Kind::ClientErrors, "client_errors", &guards.client_errors),
            (Kind::Redirects, "redirects", &guards.redirects),
            (Kind::Latency, "latency", &guards.latency),
            (Kind::LatencyBody, "latency_body", &guards.latency_body),
            (Kind::LatencyTail, "latency_tail", &guards.latency_tail),
            (Kind::LatencySlow, "latency_slow", &guards.latency_slow),
            (Kind::LatencySteady, "latency_steady", &guards.latency_steady),
            (Kind::Exchange, "exchange", &guards.exchange),
            (Kind::Baseline, "baseline", &guards.baseline),
        ];
        let mut list = Vec::new();
        for (kind, name, guard) in kinds {
            let path = join("guards", name);
            if !guard.enabled.unwrap_or(true) {
                continue;
            }
            let tolerance = guard.tolerance.map_or(0.1, |tolerance| tolerance.0);
            let extra = guard.extra.map_or(0.0, |extra| extra.0);
            let timed = kind.is_timed();
            if timed && guard.extra.is_some() {
                self.wrong(
                    &join(&path, "extra"),
                    format!("`{name}` is a time, and `extra` is a share of requests"),
                    "leave it out",
                );
            } else if !timed && extra >= 1.0 {
                self.wrong(
                    &join(&path, "extra"),
                    "with 100 % extra every answer may be wrong",
                    "0.01 % is usual for errors",
                );
            }
            let silent = !self.bad(&[&join(&path, "tolerance"), &join(&path, "extra")]);
            if silent && tolerance <= 0.0 && extra <= 0.0 {
                self.wrong(
                    &join(&path, "tolerance"),
                    "a tolerance of 0 % can never be shown to hold, so no step would end",
                    if timed {
                        "4.4 % is usual, 9 to 14 % for other hardware"
                    } else {
                        "10 % is usual, or allow some `extra`"
                    },
                );
            }
            let importance = guard.importance.unwrap_or(1.0);
            if importance <= 0.0 && !self.bad(&[&join(&path, "importance")]) {
                self.wrong(
                    &join(&path, "importance"),
                    format!("an importance of {importance} gives the guard no say"),
                    "use a number above 0, or switch the guard off with `enabled = false`",
                );
            }
            list.push(GuardPolicy {
                guard: judge::Guard {
                    kind,
                    ratio: if timed { whole_buckets(1.0 + tolerance) } else { 1.0 + tolerance },
                    margin: if timed { 0.0 } else { extra },
                    weight: importance,
                },
                requests_min: guard.requests_min.unwrap_or(0),
                on_unknown: guard.on_unknown.unwrap_or(OnUnknown::Hold),
            });
        }
        if !list.is_empty() && list.iter().all(|guard| guard.on_unknown == OnUnknown::Ignore) {
            self.wrong(
                "guards",
                "every guard says `on_unknown = \"ignore\"`, so traffic would rise without any evidence",
                "let at least one guard hold",
            );
        }
        list
    }

    pub(super) fn burst(&mut self, guards: &raw::Guards, shift: &ShiftPolicy) -> Option<Duration> {
        let burst = guards.burst?.0;
        if burst < shift.interval && !self.bad(&["guards.burst", "shift.interval"]) {
            self.wrong(
                self.later_of("guards.burst", "shift.interval"),
                format!(
                    "a burst of {} is shorter than an interval of {}",
                    period_text(burst),
                    period_text(shift.interval)
                ),
                "`burst` is at least one interval; 60s is what the error rates were measured with",
            );
        }
        Some(burst)
    }

    pub(super) fn pass(&mut self, pass: &raw::Pass, guards: &[GuardPolicy]) -> judge::Pass {
        use judge::GuardKind as Kind;
        let usual = judge::Pass::default();
        let ratio = |tolerance: Option<formats::Tolerance>| tolerance.map(|tolerance| 1.0 + tolerance.0);
        let share = |share: Option<formats::Percent>| share.map(|share| share.0);
        let mut budgets = usual.latency_budgets;
        if let Some(said) = &pass.latency_budgets {
            match said[..] {
                [median, ninety, last] => budgets = [median.0, ninety.0, last.0],
                _ => self.wrong(
                    "pass.latency_budgets",
                    format!("{} budgets do not fit three quantiles", said.len()),
                    "write three: for the median, the 90th and the 99th percentile, such as `[\"5 %\", \"2 %\", \"0.5 %\"]`",
                ),
            }
        }
        let resolved = judge::Pass {
            wrong_pass_max: share(pass.wrong_pass_max).unwrap_or(usual.wrong_pass_max),
            errors_ratio: ratio(pass.errors_tolerance).unwrap_or(usual.errors_ratio),
            errors_budget: share(pass.errors_budget).unwrap_or(usual.errors_budget),
            success_ratio: ratio(pass.success_tolerance).unwrap_or(usual.success_ratio),
            success_budget: share(pass.success_budget).unwrap_or(usual.success_budget),
            redirects_ratio: ratio(pass.redirects_tolerance).unwrap_or(usual.redirects_ratio),
            redirects_budget: share(pass.redirects_budget).unwrap_or(usual.redirects_budget),
            latency_ratio: ratio(pass.latency_tolerance).map_or(usual.latency_ratio, whole_buckets),
            latency_budgets: budgets,
            suspicion_max: pass.suspicion_max.unwrap_or(usual.suspicion_max),
            ..usual
        };
        if !(0.0001..=0.5).contains(&resolved.wrong_pass_max) && !self.bad(&["pass.wrong_pass_max"]) {
            let what =
                format!("a risk of {} % to pass a bad target cannot be kept", tenths(resolved.wrong_pass_max * 100.0));
            self.wrong("pass.wrong_pass_max", what, "use 0.01 to 50 %; 5 % is usual");
        }
        if resolved.suspicion_max <= 1.0 && !self.bad(&["pass.suspicion_max"]) {
            let what = format!(
                "with `suspicion_max = {}` no step ever ends: without any evidence it stands at 1",
                resolved.suspicion_max
            );
            self.wrong("pass.suspicion_max", what, "3 is usual");
        }
        let budgets = [
            ("errors_budget", resolved.errors_budget),
            ("success_budget", resolved.success_budget),
            ("redirects_budget", resolved.redirects_budget),
            ("latency_budgets", budgets.iter().copied().fold(1.0, f64::min)),
        ];
        for (key, budget) in budgets {
            let path = join("pass", key);
            if budget <= 0.0 && !self.bad(&[&path]) {
                self.wrong(
                    &path,
                    "a budget of 0 % takes more proof than any traffic can give",
                    "0.1 % is usual for errors",
                );
            }
        }
        // Between the two lies a target that is never reverted and never passed.
        let pairs = [
            (Kind::Errors, "errors", "errors", resolved.errors_ratio),
            (Kind::Success, "success", "success", resolved.success_ratio),
            (Kind::ClientErrors, "client_errors", "success", resolved.success_ratio),
            (Kind::Redirects, "redirects", "redirects", resolved.redirects_ratio),
            (Kind::Latency, "latency", "latency", resolved.latency_ratio),
            (Kind::LatencyBody, "latency_body", "latency", resolved.latency_ratio),
            (Kind::LatencyTail, "latency_tail", "latency", resolved.latency_ratio),
            (Kind::LatencySlow, "latency_slow", "latency", resolved.latency_ratio),
            (Kind::LatencySteady, "latency_steady", "latency", resolved.latency_ratio),
            (Kind::Exchange, "exchange", "latency", resolved.latency_ratio),
        ];
        for (kind, own, name, passed) in pairs {
            let Some(guard) = guards.iter().find(|guard| guard.guard.kind == kind) else { continue };
            let path = format!("pass.{name}_tolerance");
            let told = format!("guards.{own}.tolerance");
            if passed < guard.guard.ratio - 1e-9 && !self.bad(&[&path, &told]) {
                let what = format!(
                    "a target up to {} % worse is tolerated, but one more than {} % worse does not pass: between the two a step bakes for ever",
                    tenths((guard.guard.ratio - 1.0) * 100.0),
                    tenths((passed - 1.0) * 100.0)
                );
                let at = self.later_of(&told, &path).to_owned();
                self.wrong(&at, what, format!("make `{path}` at least as wide as `{told}`"));
            }
        }
        resolved
    }

    pub(super) fn tripwires(&mut self, tripwires: &BTreeMap<String, raw::Trip>) -> Vec<Tripwire> {
        let armed: Vec<_> = tripwires.iter().filter_map(|(name, trip)| self.tripwire(name, trip)).collect();
        if armed.len() > TRIPWIRES_MAX {
            let what = format!("{} tripwires are more than the proxies watch", armed.len());
            self.wrong("tripwires", what, format!("arm at most {TRIPWIRES_MAX}"));
        }
        armed
    }

    fn tripwire(&mut self, name: &str, trip: &raw::Trip) -> Option<Tripwire> {
        let path = join("tripwires", name);
        if trip.enabled == Some(false) {
            return None;
        }
        let named = match name {
            "errors" => Some(TripwireKind::Errors),
            "unanswered" => Some(TripwireKind::Unanswered),
            "latency" => Some(TripwireKind::Latency),
            _ => None,
        };
        let hint = match words::nearest(name, ["errors", "errors-lasting", "unanswered", "latency"].into_iter()) {
            Some(near) if trip.kind.is_none() => {
                format!("write `kind = \"errors\"`, or did you mean `[tripwires.{near}]`?")
            }
            _ => "write `kind = \"errors\"`, `\"unanswered\"` or `\"latency\"`".to_owned(),
        };
        let kind = self.need(trip.kind.or(named), &join(&path, "kind"), "what this tripwire limits", &hint)?;
        let at = join(&path, "limit");
        let limit =
            self.need(trip.limit, &at, "the limit", "write `limit = \"50 %\"`, or `limit = \"800ms\"` for latency")?;
        let limit = self.limit(kind, limit, &at)?;
        if limit <= 0.0 {
            self.wrong(&at, "a limit of 0 fires at once", "50 % is usual for errors");
            return None;
        }
        let at = join(&path, "source_limit");
        let source_limit = match trip.source_limit {
            Some(source_limit) => self.limit(kind, source_limit, &at)?,
            None => limit,
        };
        let window = trip.window.map_or(Duration::from_secs(1), |window| window.0);
        let at = join(&path, "window");
        if !(TRIP_WINDOW_MIN..=TRIP_WINDOW_MAX).contains(&window) && !self.bad(&[&at]) {
            self.wrong(
                &at,
                format!("a tripwire cannot look at {}", period_text(window)),
                format!("use {} to {}; seconds are usual", period_text(TRIP_WINDOW_MIN), period_text(TRIP_WINDOW_MAX)),
            );
        }
        Some(Tripwire {
            name: name.to_owned(),
            kind,
            limit,
            requests_min: trip.requests_min.unwrap_or(20),
            window,
            source_limit,
        })
    }

    /// A limit in the unit of its kind: a share from 0 to 1, or milliseconds.
    fn limit(&mut self, kind: TripwireKind, limit: Limit, path: &str) -> Option<f64> {
        match (kind, limit) {
            (TripwireKind::Latency, Limit::Time(time)) => Some(time.as_secs_f64() * 1000.0),
            (TripwireKind::Errors | TripwireKind::Unanswered, Limit::Share(share)) => Some(share),
            (TripwireKind::Latency, Limit::Share(_)) => {
                self.wrong(path, "a limit on latency is a time", "write `\"800ms\"`");
                None
            }
            (TripwireKind::Errors | TripwireKind::Unanswered, Limit::Time(_)) => {
                self.wrong(path, "this limit is a share of requests, not a time", "write `\"50 %\"`");
                None
            }
        }
    }
}

/// The ratio of a whole number of latency buckets, when this one is as good as that.
///
/// Buckets grow by 2^(1/16) and the judge rounds a ratio up to whole ones, so `"14 %"`, meant as the three buckets of
/// 13.88 %, would become four.
fn whole_buckets(ratio: f64) -> f64 {
    let whole = (ratio.log2() * 16.0).round() / 16.0;
    let nearest = whole.exp2();
    if (nearest - ratio).abs() < 0.0025 { nearest } else { ratio }
}
