//! From layers to a sound [`Policy`]: what is missing, and what contradicts what.
//!
//! Each layer was checked for itself before. Here they are looked at together, with the value that won: a step ladder from
//! one file may not fit a bake time from another. Every problem points at the layer that said the value.

mod balancer;
mod baseline;
mod capture;
mod clients;
mod evidence;
mod people;
mod prometheus;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::formats::{self, STEPS_MAX, period_text};
use super::layer::{Layer, join};
use super::problem::{Problem, Severity};
use super::raw::{self, BalancerKind, Document};
use super::{
    BaselinePolicy, CaptureNeed, ChangeWindow, DrainPolicy, DriftPolicy, FleetPolicy, MetricsPolicy, OnTimeout, Policy,
    RevertPolicy, ShiftPolicy, SidePolicy, UnknownPolicy, WeightedStart, WindowPolicy, Writes,
};
use crate::units::{Share, Weight};

/// With the last comparison below this weight, most of the traffic moves without one.
const LAST_COMPARED_MIN: Weight = match Weight::new(800) {
    Some(weight) => weight,
    None => Weight::ALL,
};

/// A policy and what is worth a second thought about it; or, without a policy, everything that stands in its way.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The policy, if nothing stands in its way.
    pub policy: Option<Policy>,
    /// Problems of the layers themselves and of their sum.
    pub problems: Vec<Problem>,
}

/// The layers' values in one, later layers over earlier ones; tables are merged, everything else replaces.
pub fn merge(layers: &[&Layer]) -> Value {
    fn over(below: &mut Value, above: &Value) {
        match (below, above) {
            (Value::Object(below), Value::Object(above)) => {
                for (key, value) in above {
                    over(below.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
            (below, above) => *below = above.clone(),
        }
    }
    let mut merged = Value::Object(serde_json::Map::new());
    for layer in layers {
        over(&mut merged, &layer.value);
    }
    merged
}

/// Makes a policy of the merged value of some layers, given lowest first; the layers say where each value came from.
///
/// `layers` must not be empty, and the last one that is a file should be the service's own: what is missing is reported
/// there.
pub fn resolve(layers: &[&Layer], merged: &Value) -> Resolved {
    let mut problems: Vec<Problem> = layers.iter().flat_map(|layer| layer.problems.iter().cloned()).collect();
    let home = layers.iter().rev().find(|layer| !layer.is_variable()).or(layers.last());
    let document: Document = match serde_json::from_value(merged.clone()) {
        Ok(document) => document,
        Err(error) => {
            // Each layer was checked against the schema of this very type, so this is a bug of ours; say so.
            let at = |layer: &&Layer| {
                let what = format!("the policy passed its schema but cannot be read: {error}");
                layer.problem("", Severity::Error, what, "please report this as a bug".to_owned())
            };
            problems.extend(home.map(at));
            return Resolved { policy: None, problems };
        }
    };
    let mut resolver = Resolver { layers, home: home.copied(), problems };
    let policy = resolver.policy(&document);
    let mut problems = resolver.problems;
    let order = |problem: &Problem| {
        let layer = layers.iter().position(|layer| layer.name == problem.file);
        (std::cmp::Reverse(layer), problem.span.start)
    };
    problems.sort_by_key(order);
    problems.dedup();
    let sound = problems.iter().all(|problem| problem.severity == Severity::Warning);
    Resolved { policy: policy.filter(|_| sound), problems }
}

struct Resolver<'a> {
    layers: &'a [&'a Layer],
    home: Option<&'a Layer>,
    problems: Vec<Problem>,
}

impl Resolver<'_> {
    /// Reports at the value that won, or at the nearest table around it, or at the beginning of the service's file.
    fn report(&mut self, path: &str, severity: Severity, what: impl Into<String>, hint: impl Into<String>) {
        let mut at = path;
        loop {
            if let Some(layer) = self.layers.iter().rev().find(|layer| layer.says(at) && !layer.is_builtin()) {
                self.problems.push(layer.problem(at, severity, what.into(), hint.into()));
                return;
            }
            match at.rfind(['.', '[']) {
                Some(end) => at = &at[..end],
                None => break,
            }
        }
        if let Some(home) = self.home.or(self.layers.last().copied()) {
            self.problems.push(home.problem("", severity, what.into(), hint.into()));
        }
    }

    fn wrong(&mut self, path: &str, what: impl Into<String>, hint: impl Into<String>) {
        self.report(path, Severity::Error, what, hint);
    }

    fn doubt(&mut self, path: &str, what: impl Into<String>, hint: impl Into<String>) {
        self.report(path, Severity::Warning, what, hint);
    }

    /// Whether one of these was left out as wrong, so that nothing may be concluded from it.
    fn bad(&self, paths: &[&str]) -> bool {
        paths.iter().any(|path| {
            let mut at = *path;
            loop {
                if self.layers.iter().any(|layer| layer.is_bad(at)) {
                    return true;
                }
                match at.rfind(['.', '[']) {
                    // Only what holds this value counts, not its bad neighbours.
                    Some(end) => at = &at[..end],
                    None => return false,
                }
                if !self.layers.iter().any(|layer| layer.is_left_out(at)) {
                    return false;
                }
            }
        })
    }

    /// Whether what seems to be missing may only be torn off by a syntax error.
    fn torn(&self) -> bool {
        self.layers.iter().any(|layer| layer.is_torn())
    }

    /// A value that must be there; what is missing is reported unless it is there and wrong.
    fn need<T>(&mut self, value: Option<T>, path: &str, what: &str, hint: &str) -> Option<T> {
        if value.is_none() && !self.torn() && !self.bad(&[path]) {
            self.wrong(path, format!("{what} is missing: say `{path}`"), hint);
        }
        value
    }

    fn policy(&mut self, document: &Document) -> Option<Policy> {
        let service = self.need(
            document.service.clone(),
            "service",
            "the service's name",
            "write `service = \"NAME\"` at the top of the file",
        );
        let capture = capture::capture(&document.capture);
        let shift = self.shift(&document.shift, capture.need);
        let moves = shift.as_ref().is_none_or(|shift| !shift.steps.is_empty());
        // An ALB reaches its targets by itself.
        let ours = document.balancer.kind.unwrap_or(BalancerKind::Listener) == BalancerKind::Listener;
        let source = self.side(&document.source, "source", ours);
        let target = self.side(&document.target, "target", ours && moves);
        let balancer = self.balancer(document, shift.as_ref());
        self.sides(&source, &target);
        let guards = self.guards(&document.guards);
        let tripwires = self.tripwires(&document.tripwires);
        if moves && guards.is_empty() && !self.bad(&["guards"]) {
            self.wrong("guards", "every guard is off, so no step could be judged", "leave at least `errors` on");
        } else if moves && tripwires.is_empty() && !self.bad(&["tripwires"]) {
            self.doubt(
                "tripwires",
                "no tripwire is armed: an outage reverts in minutes and not in seconds",
                "leave at least `errors` armed",
            );
        }
        let shift = shift?;
        let metrics = self.metrics(document, balancer.as_ref(), &shift, &guards);
        let gates = self.gates(&document.gates, &shift);
        let policy = Policy {
            service: service?.0,
            balancer: balancer?,
            source,
            target,
            clients: self.clients(&document.clients),
            fleet: FleetPolicy {
                cluster: document.fleet.cluster.as_ref().map(|name| name.0.clone()),
                healthy_min: document.fleet.healthy_min.unwrap_or(0),
                scale: document.fleet.scale.unwrap_or(false),
            },
            lease: self.lease(document),
            capture,
            baseline: self.baseline(&document.baseline, &shift)?,
            pass: self.pass(&document.pass, &guards),
            guards,
            false_revert_max: self.false_revert_max(&document.guards),
            burst: self.burst(&document.guards, &shift)?,
            tripwires,
            unknown: self.unknown(&document.unknown, &shift, &metrics.clone().unwrap_or_default())?,
            gates,
            windows: windows(&document.windows),
            drift: document.drift.unwrap_or(DriftPolicy::Halt),
            revert: self.revert(&document.revert)?,
            drain: self.drain(&document.drain)?,
            alerts: self.alerts(&document.alerts),
            metrics: metrics?,
            shift,
        };
        self.fast_signals(&policy);
        self.captured(&policy);
        Some(policy)
    }

    fn side(&mut self, side: &raw::Side, name: &str, needed: bool) -> SidePolicy {
        let path = join(name, "endpoints");
        let endpoints: Vec<String> = side.endpoints.iter().flatten().map(|endpoint| endpoint.0.clone()).collect();
        if needed && endpoints.is_empty() && !self.torn() && !self.bad(&[&path]) {
            let hint = format!("write `endpoints = [\"http://HOST:PORT\"]` under `[{name}]`");
            self.wrong(&path, format!("the {name} has no endpoints: say `{path}`"), hint);
        }
        let mut seen = BTreeSet::new();
        for (index, endpoint) in endpoints.iter().enumerate() {
            if !seen.insert(endpoint) {
                let at = format!("{path}[{index}]");
                self.wrong(
                    &at,
                    format!("`{endpoint}` is named twice"),
                    "it would get twice the requests; name it once",
                );
            }
        }
        for (field, value) in &side.headers {
            let at = join(&join(name, "headers"), field);
            if !formats::is_field_name(field) {
                self.wrong(&at, format!("`{field}` cannot be the name of a header field"), "letters, digits and `-`");
            } else if ["connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer"]
                .contains(&field.to_ascii_lowercase().as_str())
            {
                self.wrong(&at, format!("`{field}` belongs to the framing of a message"), "it cannot be overridden");
            } else if field.eq_ignore_ascii_case("authorization") {
                let hint = format!("say `authorization = \"env:NAME\"` under `[{name}]`");
                self.wrong(&at, "a secret is never written into a policy", hint);
            }
            if value.bytes().any(|b| b < b' ' && b != b'\t' || b == 0x7f) {
                self.wrong(&at, "a header value has no line breaks or control characters", "write it on one line");
            }
        }
        SidePolicy {
            endpoints,
            headers: side.headers.clone(),
            authorization: side.authorization.as_ref().map(|secret| secret.0.clone()),
            service: side.service.as_ref().map(|name| name.0.clone()),
            proxies: side.proxies.iter().flatten().map(|control| control.0.clone()).collect(),
        }
    }

    fn sides(&mut self, source: &SidePolicy, target: &SidePolicy) {
        for (index, endpoint) in target.endpoints.iter().enumerate() {
            if source.endpoints.contains(endpoint) {
                self.doubt(
                    &format!("target.endpoints[{index}]"),
                    format!("`{endpoint}` is on both sides, so there is nothing to compare"),
                    "fine for a rehearsal; otherwise one of the two is a slip",
                );
            }
        }
    }

    fn shift(&mut self, shift: &raw::Shift, capture: CaptureNeed) -> Option<ShiftPolicy> {
        let writes = self.need(
            shift.writes,
            "shift.writes",
            "what a split means for writes",
            "write `writes = \"last\"` (they stay with the source until the last step) or `writes = \"split\"`",
        );
        let steps = self.steps(shift.steps.as_ref()?, writes, capture);
        let period = |period: Option<formats::Period>| period.map_or(Duration::ZERO, |period| period.0);
        let resolved = ShiftPolicy {
            steps,
            writes: writes.unwrap_or(Writes::Last),
            interval: period(shift.interval),
            bake_min: period(shift.bake_min),
            bake_max: period(shift.bake_max),
            warm_up: period(shift.warm_up),
            settle: period(shift.settle),
            share_tolerance: shift.share_tolerance.map_or(0.05, |share| share.0),
            requests_min: shift.requests_min.unwrap_or(0),
            attempts_max: shift.attempts_max.unwrap_or(1),
            on_weighted_start: shift.on_weighted_start.unwrap_or(WeightedStart::Refuse),
            keep_alive: self.keep_alive(shift),
        };
        self.pace(&resolved);
        writes.map(|_| resolved)
    }

    /// What the times of a step must be to each other.
    fn pace(&mut self, shift: &ShiftPolicy) {
        let text = period_text;
        if !self.bad(&["shift.interval"]) && (shift.interval.is_zero() || shift.interval.subsec_nanos() > 0) {
            self.wrong(
                "shift.interval",
                format!("an interval of {} cannot be judged: counters are merged each second", text(shift.interval)),
                "use whole seconds, such as `1s` or `10s`",
            );
        }
        if !self.bad(&["shift.bake_min", "shift.bake_max"]) && shift.bake_min > shift.bake_max {
            let path = self.later_of("shift.bake_min", "shift.bake_max");
            self.wrong(
                path,
                format!("a step must bake at least {} and at most {}", text(shift.bake_min), text(shift.bake_max)),
                "`bake_min` is not above `bake_max`",
            );
        }
        let fits = shift.warm_up + shift.bake_min.max(shift.interval) <= shift.bake_max;
        if !self.bad(&["shift.warm_up", "shift.interval", "shift.bake_min", "shift.bake_max"])
            && shift.bake_min <= shift.bake_max
            && !fits
        {
            let path = self.later_of("shift.warm_up", self.later_of("shift.bake_min", "shift.bake_max"));
            self.wrong(
                path,
                format!(
                    "a warm-up of {} and a bake of at least {} do not fit into a bake of at most {}",
                    text(shift.warm_up),
                    text(shift.bake_min.max(shift.interval)),
                    text(shift.bake_max)
                ),
                "make `bake_max` longer: a step that cannot end in time would always time out",
            );
        }
        if !self.bad(&["shift.share_tolerance"]) && !(0.001..=0.5).contains(&shift.share_tolerance) {
            self.wrong(
                "shift.share_tolerance",
                format!("a share tolerance of {} % is impossible", tenths(shift.share_tolerance * 100.0)),
                "chance alone moves a share by a point or two; use 0.1 to 50 %",
            );
        }
        if !self.bad(&["shift.settle", "shift.bake_max"]) && shift.settle > shift.bake_max {
            self.wrong("shift.settle", "a step could end before its weight has settled", "make `settle` shorter");
        }
    }

    /// The path that the higher layer says: the other one was there first.
    fn later_of<'p>(&self, one: &'p str, other: &'p str) -> &'p str {
        let rank = |path: &str| self.layers.iter().rposition(|layer| layer.says(path));
        if rank(one) >= rank(other) { one } else { other }
    }

    fn steps(&mut self, steps: &raw::Steps, writes: Option<Writes>, capture: CaptureNeed) -> Vec<Share> {
        let path = "shift.steps";
        let list = match steps {
            raw::Steps::Shorthand(ladder) => ladder.0.iter().map(|weight| numbered(*weight, writes)).collect(),
            raw::Steps::List(list) => self.list(list, writes),
        };
        if self.bad(&[path]) {
            return list;
        }
        if list.is_empty() {
            if capture != CaptureNeed::Required {
                self.wrong(
                    path,
                    "no step, and no capture either: this policy does nothing",
                    "list the shares, such as `[1, 5, 20, 50, 95, 100]`; to capture only, say `need = \"required\"` under `[capture]`",
                );
            }
            return list;
        }
        if list.len() > STEPS_MAX {
            self.wrong(path, format!("{} steps are no ladder", list.len()), format!("use at most {STEPS_MAX}"));
        }
        let mut before = Share::NONE;
        for (index, share) in list.iter().enumerate() {
            let at = format!("{path}[{index}]");
            if share == &before {
                let what = if index == 0 {
                    "a step of 0 % moves nothing".to_owned()
                } else {
                    format!("the step {} is there twice", short(*share))
                };
                self.wrong(&at, what, "each step moves more than the one before it; leave this one out");
            } else if before.reads > share.reads || before.writes > share.writes {
                let what = format!("the step {} goes down from {}", short(*share), short(before));
                self.wrong(&at, what, "a ladder only rises; going down is what `revert` is for");
            }
            before = *share;
        }
        let end = format!("{path}[{}]", list.len() - 1);
        if before == Share::ALL {
            let compared = list.iter().rev().nth(1).map_or(Weight::NONE, |share| share.reads);
            if compared < LAST_COMPARED_MIN {
                self.doubt(
                    &end,
                    format!(
                        "the last comparison with the source is made at {compared}; from there everything moves at once"
                    ),
                    "put a step such as 95 before the last one",
                );
            }
        } else {
            let what = format!("the last step is {}, and the rest would stay with the source for ever", short(before));
            self.wrong(&end, what, "end the ladder with 100");
        }
        list
    }

    fn list(&mut self, list: &[raw::Step], writes: Option<Writes>) -> Vec<Share> {
        let mut shares = Vec::new();
        for (index, step) in list.iter().enumerate() {
            shares.push(match *step {
                raw::Step::Percent(percent) => numbered(percent.0, writes),
                raw::Step::Apart { reads, writes: moved } => {
                    let share = Share { reads: reads.0, writes: moved.0 };
                    self.comparable(&format!("shift.steps[{index}]"), share);
                    if writes == Some(Writes::Last) && share.writes > Weight::NONE && share != Share::ALL {
                        self.wrong(
                            &format!("shift.steps[{index}]"),
                            format!(
                                "this step moves {} of the writes, but `writes = \"last\"` keeps them back",
                                share.writes
                            ),
                            "say `writes = \"split\"`, or let the writes wait for the last step",
                        );
                    }
                    share
                }
            });
        }
        shares
    }

    /// A step is judged on what both sides have: reads with reads, and writes too where both are split alike.
    fn comparable(&mut self, path: &str, share: Share) {
        if share == Share::ALL || share == Share::NONE {
            return;
        }
        if share.reads == Weight::NONE || share.reads == Weight::ALL {
            self.wrong(
                path,
                format!(
                    "with {share} one side has no reads, so there is nothing to compare and the step could not end"
                ),
                "give both sides some reads, such as 5 or 95",
            );
        } else if share.writes != Weight::NONE && share.writes != share.reads {
            self.doubt(
                path,
                format!("with {share} only the reads are compared: the writes move without a judge"),
                "split both alike, and the writes are judged with the reads",
            );
        }
    }

    fn unknown(
        &mut self,
        unknown: &raw::Unknown,
        shift: &ShiftPolicy,
        metrics: &MetricsPolicy,
    ) -> Option<UnknownPolicy> {
        let policy = UnknownPolicy {
            hold_budget: unknown.hold_budget?.0,
            blind_budget: unknown.blind_budget?.0,
            on_timeout: unknown.on_timeout.unwrap_or(OnTimeout::Hold),
        };
        if !self.bad(&["unknown.blind_budget", "shift.interval", "shift.settle"])
            && policy.blind_budget < shift.interval + shift.settle + metrics.late()
        {
            let path = self.later_of("unknown.blind_budget", "shift.interval");
            self.wrong(
                path,
                format!(
                    "a blind budget of {} is spent before the first interval of {} can be seen, so every step would revert",
                    period_text(policy.blind_budget),
                    period_text(shift.interval)
                ),
                "allow at least two intervals and the settle time",
            );
        }
        Some(policy)
    }

    fn revert(&mut self, revert: &raw::Revert) -> Option<RevertPolicy> {
        let deadline = revert.deadline?.0;
        if deadline < Duration::from_secs(1) && !self.bad(&["revert.deadline"]) {
            self.wrong(
                "revert.deadline",
                format!("no revert is confirmed in {}", period_text(deadline)),
                "30s is usual",
            );
        }
        Some(RevertPolicy { deadline, reassert: revert.reassert?.0, close_connections: revert.close_connections?.0 })
    }

    fn drain(&mut self, drain: &raw::Drain) -> Option<DrainPolicy> {
        let (quiet, timeout) = (drain.quiet?.0, drain.timeout?.0);
        if quiet > timeout && !self.bad(&["drain.quiet", "drain.timeout"]) {
            let path = self.later_of("drain.quiet", "drain.timeout");
            self.wrong(
                path,
                format!("{} of quiet do not fit into a drain of {}", period_text(quiet), period_text(timeout)),
                "make `quiet` shorter or `timeout` longer",
            );
        }
        Some(DrainPolicy {
            quiet,
            timeout,
            on_timeout: drain.on_timeout?,
            close_connections: drain.close_connections?.0,
        })
    }
}

/// The share that a bare number on the ladder means.
fn numbered(weight: Weight, writes: Option<Writes>) -> Share {
    match writes {
        Some(Writes::Last) if weight < Weight::ALL => Share { reads: weight, writes: Weight::NONE },
        _ => Share::both(weight),
    }
}

/// A share as the ladder says it: where no writes move, the reads alone.
fn short(share: Share) -> String {
    if share.writes == Weight::NONE { share.reads.to_string() } else { share.to_string() }
}

fn windows(windows: &raw::Windows) -> WindowPolicy {
    let allow: Vec<ChangeWindow> = windows.allow.iter().flatten().flat_map(|weekly| weekly.0.clone()).collect();
    WindowPolicy {
        zone: windows.zone.as_ref().map_or_else(|| "UTC".to_owned(), |zone| zone.0.clone()),
        allow,
        freeze: windows.freeze.unwrap_or(false),
    }
}

/// A number of percent with as many decimals as it has.
fn tenths(percent: f64) -> f64 {
    (percent * 1000.0).round() / 1000.0
}
