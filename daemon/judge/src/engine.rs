//! Evidence from tables of counts: the method itself, free of blocks, buckets and words.
//!
//! Every block adds to each guard's evidence a number that a target within tolerance cannot be expected to win; the
//! guards' evidences are averaged by weight, and the average is compared with one limit. Because an average of such
//! numbers is one again, whatever they have to do with each other, the limit holds over all guards, alternatives,
//! steps and looks together.
//!
//! What a block is divided by (dispersion), what it is bet on (the guess of the source's share) and how much is staked
//! are all settled before the block is looked at.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::dispersion::{Outcome, Phi, Tracker};
use crate::evidence::{BAD_RATIOS, BASELINE_RATIOS, ERROR_RATIOS, Pair, Tolerance, bet, log_e_fixed, log_e22};
use crate::gate::{AllKnown, Gate, Ground, Known};
use crate::latency::{MOVED_ANY, MOVED_BODY, MOVED_SLOW, MOVED_TAIL, Part, SLOW, log_e_bins};
use crate::numbers::{LOG_ZERO, log_add_exp, log_sum_exp};
use crate::steady::{Steady, WAYS};
pub use crate::table::{Latencies, Normal, Table};
use crate::wealth::{Stakes, Wealth};
use crate::{Guard, GuardKind, Guards};

/// No stretch of a burst's length adds more log evidence than this to a test of failures: e^3 is a factor of 20.
const CAP_FAILURES: f64 = 3.0;
/// The same for latency and baseline.
const CAP_OTHERS: f64 = 2.5;
/// The same for slow tails of a service that has them in bursts anyway. Which side the next such minute belongs to is
/// then a coin's toss: seven in a row must fall on the target before they revert, where three would at [`CAP_OTHERS`].
const CAP_PAUSES: f64 = 1.0;
/// Where a side's failures scatter more than this many times what independence would give, minute by minute, already
/// before the shift, the first burst has no head start: one bad minute is then nothing unusual.
const HEAD_START_PHI_MAX: f64 = 4.0;
/// No guard has more alternatives than latency.
const ALTERNATIVES_MAX: usize = MOVED_ANY.end;
/// Requests that the baseline's share of errors counts for in the guess of the source's share.
const GUESS_ERRORS: f64 = 2_000.0;
/// The same for bad and for slow answers.
const GUESS_OTHERS: f64 = 500.0;
/// What a guess keeps after a minute.
const GUESS_KEEP: f64 = 0.9;
/// What the watch on the source's own errors keeps after a minute.
const SOURCE_KEEP: f64 = 0.5;

/// A running guess of the source's share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Guess {
    prior: f64,
    prior_requests: f64,
    hits: f64,
    requests: f64,
}

impl Guess {
    fn new(prior: f64, prior_requests: f64) -> Self {
        Self { prior, prior_requests, hits: 0.0, requests: 0.0 }
    }

    fn share(&self) -> f64 {
        (self.hits + self.prior * self.prior_requests) / (self.requests + self.prior_requests)
    }

    /// Both sides' hits over the requests they would come from if the target were at its tolerance.
    fn observe(&mut self, pair: &Pair, ratio: f64, minutes: f64) {
        let keep = GUESS_KEEP.powf(minutes);
        self.hits = keep * self.hits + (pair.target_hits + pair.source_hits);
        self.requests = keep * self.requests + (ratio * pair.target + pair.source);
    }
}

/// What follows one class of answers: how it scatters, and how often the source gives it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Class {
    tracker: Tracker,
    guess: Guess,
}

impl Class {
    fn failures(phi: Phi, share: f64, share_requests: f64, requests: f64) -> Self {
        Self { tracker: Tracker::new(Outcome::Failure, phi, requests), guess: Guess::new(share, share_requests) }
    }

    /// One for each quantile of a latency histogram.
    fn slow(phis: [Phi; 3], requests: f64) -> [Self; 3] {
        std::array::from_fn(|at| Self {
            tracker: Tracker::new(Outcome::Slow, phis[at], requests),
            guess: Guess::new(1.0 - SLOW[at], GUESS_OTHERS),
        })
    }

    /// The dispersion for a block, from the blocks before it and from how many requests it has.
    fn phi(&self, pair: &Pair, minutes: f64) -> f64 {
        self.tracker.phi(pair.target / minutes, pair.source / minutes)
    }

    fn known(&self, phi: f64) -> Known {
        Known { share: self.guess.share(), phi }
    }
}

/// One guard's evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Component {
    guard: Guard,
    /// Its part of the whole, 0 to 1.
    part: f64,
    wealth: Wealth,
}

/// Dispersions that a block was divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Phis {
    /// Errors.
    pub errors: f64,
    /// Bad answers.
    pub bad: f64,
    /// Client errors.
    pub client_errors: f64,
    /// Redirects.
    pub redirects: f64,
    /// Answers slower than each of the three quantiles.
    pub latency: [f64; 3],
    /// Exchanges slower than each of the three quantiles.
    pub exchange: [f64; 3],
}

/// The evidence of a whole cutover.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Engine {
    guards: Guards,
    normal: Normal,
    stakes: Stakes,
    components: Vec<Component>,
    errors: Class,
    bad: Class,
    client_errors: Class,
    redirects: Class,
    latency: [Class; 3],
    exchange: [Class; 3],
    #[serde(default)]
    steady: Steady,
    gate: Gate,
    /// The source's errors and requests, fading.
    source: (f64, f64),
    phis: Phis,
    log_evidence: f64,
    log_evidence_max: f64,
}

impl Engine {
    /// Evidence of nothing. Guards that cannot judge here (the baseline, when it is not trusted; a tolerance that cannot
    /// be meant) get no part of the whole, and of each kind only the first counts.
    pub fn new(guards: &Guards, normal: &Normal, steps: u32) -> Self {
        let mut components: Vec<Component> = Vec::with_capacity(guards.guards.len());
        for guard in &guards.guards {
            let twice = components.iter().any(|component| component.guard.kind == guard.kind);
            let off = guard.kind == GuardKind::Baseline && !normal.trusted || !guard.is_sound() || !guards.is_sound();
            if twice || off {
                continue;
            }
            let (alternatives, cap) = match guard.kind {
                GuardKind::Errors => (ERROR_RATIOS.len(), CAP_FAILURES),
                GuardKind::Success | GuardKind::ClientErrors | GuardKind::Redirects => (BAD_RATIOS.len(), CAP_FAILURES),
                GuardKind::Latency | GuardKind::Exchange => (MOVED_ANY.len(), CAP_OTHERS),
                GuardKind::LatencyBody => (MOVED_BODY.len(), CAP_OTHERS),
                GuardKind::LatencyTail => (MOVED_TAIL.len(), CAP_OTHERS),
                GuardKind::LatencySlow => (MOVED_SLOW.len(), CAP_OTHERS),
                GuardKind::LatencySteady => (WAYS, CAP_OTHERS),
                GuardKind::Baseline => (BASELINE_RATIOS.len(), CAP_OTHERS),
            };
            let head_start = match guard.kind {
                GuardKind::Errors | GuardKind::Baseline => normal.errors_phi.minute <= HEAD_START_PHI_MAX,
                GuardKind::Success => normal.bad_phi.minute <= HEAD_START_PHI_MAX,
                GuardKind::ClientErrors => normal.client_errors_phi.minute <= HEAD_START_PHI_MAX,
                GuardKind::Redirects => normal.redirects_phi.minute <= HEAD_START_PHI_MAX,
                // What both sides share moves latencies most, and its scatter says nothing of one side's.
                GuardKind::Latency
                | GuardKind::LatencyBody
                | GuardKind::LatencyTail
                | GuardKind::LatencySlow
                | GuardKind::LatencySteady
                | GuardKind::Exchange => true,
            };
            components.push(Component {
                guard: guard.clone(),
                part: guard.weight,
                wealth: Wealth::new(alternatives, cap, head_start),
            });
        }
        let whole: f64 = components.iter().map(|component| component.part).sum();
        for component in &mut components {
            component.part = if whole > 0.0 { component.part / whole } else { 0.0 };
        }
        let failures = |phi, share, share_requests| Class::failures(phi, share, share_requests, normal.requests);
        let gate = Gate::new(|kind| components.iter().any(|component| component.guard.kind == kind));
        Self {
            guards: guards.clone(),
            normal: normal.clone(),
            stakes: Stakes::new(steps),
            components,
            errors: failures(normal.errors_phi, normal.errors, GUESS_ERRORS),
            bad: failures(normal.bad_phi, normal.bad, GUESS_OTHERS),
            client_errors: failures(normal.client_errors_phi, normal.client_errors, GUESS_OTHERS),
            redirects: failures(normal.redirects_phi, normal.redirects, GUESS_OTHERS),
            latency: Class::slow(normal.latency_phi, normal.requests),
            exchange: Class::slow(normal.exchange_phi, normal.requests),
            steady: Steady::default(),
            gate,
            source: (0.0, 0.0),
            phis: Phis::default(),
            log_evidence: 0.0,
            log_evidence_max: 0.0,
        }
    }

    /// Says that the source's slowest answers come in bursts ([`Phi::comes_in_bursts`]), to the first byte, to the last or
    /// both. To be said before the first block.
    pub fn expect_pauses(&mut self, latency: bool, exchange: bool) {
        for Component { guard, wealth, .. } in &mut self.components {
            match guard.kind {
                GuardKind::Latency if latency => wealth.hold(MOVED_BODY.end, CAP_PAUSES),
                GuardKind::Exchange if exchange => wealth.hold(MOVED_BODY.end, CAP_PAUSES),
                GuardKind::LatencyTail | GuardKind::LatencySlow if latency => wealth.hold(0, CAP_PAUSES),
                _ => {}
            }
        }
    }

    /// What the next blocks are held to, where that changes with the hour. Whether it is trusted, how much traffic there
    /// was and dispersion stay as they were at the start. To be settled before a block is seen, as by the clock.
    pub fn refer_to(&mut self, normal: &Normal) {
        self.normal.errors = normal.errors;
        self.normal.errors_high = normal.errors_high;
        self.normal.bad = normal.bad;
        self.normal.latency_slow = normal.latency_slow;
        self.normal.exchange_slow = normal.exchange_slow;
    }

    /// Takes one block.
    pub fn observe(&mut self, table: &Table<'_>) {
        let minutes = table.millis as f64 / 60_000.0;
        let bursts = table.millis as f64 / self.guards.burst_millis.max(1) as f64;
        self.phis = self.phis_for(table, minutes);
        let keep = SOURCE_KEEP.powf(minutes);
        self.source = (keep * self.source.0 + table.errors.source_hits, keep * self.source.1 + table.errors.source);
        let stake = self.stakes.lay(minutes, table.new_step);
        let log_stake = if stake > 0.0 { stake.ln() } else { LOG_ZERO };
        for index in 0..self.components.len() {
            let mut evidence = self.evidence(&self.components[index].guard, table);
            if self.components[index].guard.kind == GuardKind::LatencySteady {
                evidence[..WAYS].copy_from_slice(&self.steady(table));
            }
            self.components[index].wealth.take(evidence, log_stake, bursts);
        }
        self.log_evidence = self.weigh();
        self.log_evidence_max = self.log_evidence_max.max(self.log_evidence);
        let ground = Ground { guards: &self.guards, normal: &self.normal, known: self.known() };
        self.gate.observe(table, &ground, bursts);
        self.learn(table, minutes);
    }

    /// Log evidence of a target that is a little slower all the time; nothing but at the end of a burst.
    fn steady(&mut self, table: &Table<'_>) -> [f64; WAYS] {
        let Some(latencies) = &table.latency else { return [0.0; WAYS] };
        let [.., target] = &latencies.target_parts;
        let (millis, burst) = (table.millis, self.guards.burst_millis);
        self.steady.observe(latencies.shape, target, &latencies.source, millis, burst, table.new_step)
    }

    /// The dispersions for a block.
    fn phis_for(&self, table: &Table<'_>, minutes: f64) -> Phis {
        let slow = |classes: &[Class; 3], latencies: &Option<Latencies<'_>>| {
            let pairs = latencies.as_ref().map_or([table.errors; 3], |latencies| latencies.slow);
            std::array::from_fn(|i| classes[i].phi(&pairs[i], minutes))
        };
        Phis {
            errors: self.errors.phi(&table.errors, minutes),
            bad: self.bad.phi(&table.bad, minutes),
            client_errors: self.client_errors.phi(&table.client_errors, minutes),
            redirects: self.redirects.phi(&table.redirects, minutes),
            latency: slow(&self.latency, &table.latency),
            exchange: slow(&self.exchange, &table.exchange),
        }
    }

    /// What is known of each class of answers.
    fn known(&self) -> AllKnown {
        let phis = &self.phis;
        AllKnown {
            errors: self.errors.known(phis.errors),
            bad: self.bad.known(phis.bad),
            client_errors: self.client_errors.known(phis.client_errors),
            redirects: self.redirects.known(phis.redirects),
            latency: std::array::from_fn(|at| self.latency[at].known(phis.latency[at])),
            exchange: std::array::from_fn(|at| self.exchange[at].known(phis.exchange[at])),
        }
    }

    /// Log evidence of one block, tempered by dispersion, for each alternative of a guard.
    fn evidence(&self, guard: &Guard, table: &Table<'_>) -> [f64; ALTERNATIVES_MAX] {
        let tolerance = Tolerance { ratio: guard.ratio, margin: guard.margin };
        let mut evidence = [0.0; ALTERNATIVES_MAX];
        let mut shares = |ratios: &[f64], pair: &Pair, class: &Class, phi: f64| {
            against_source(&mut evidence, ratios, pair, tolerance, class.guess.share(), phi);
        };
        let phis = &self.phis;
        match guard.kind {
            GuardKind::Errors => shares(&ERROR_RATIOS, &table.errors, &self.errors, phis.errors),
            GuardKind::Success => shares(&BAD_RATIOS, &table.bad, &self.bad, phis.bad),
            GuardKind::ClientErrors => {
                shares(&BAD_RATIOS, &table.client_errors, &self.client_errors, phis.client_errors);
            }
            GuardKind::Redirects => shares(&BAD_RATIOS, &table.redirects, &self.redirects, phis.redirects),
            GuardKind::Latency => slower(&mut evidence, table.latency.as_ref(), None, MOVED_ANY, &phis.latency),
            GuardKind::LatencyBody => {
                slower(&mut evidence, table.latency.as_ref(), Some(0), MOVED_BODY, &phis.latency);
            }
            GuardKind::LatencyTail => {
                slower(&mut evidence, table.latency.as_ref(), Some(1), MOVED_TAIL, &phis.latency);
            }
            GuardKind::LatencySlow => {
                slower(&mut evidence, table.latency.as_ref(), Some(2), MOVED_SLOW, &phis.latency);
            }
            // Has a memory, and is asked where that can be written to.
            GuardKind::LatencySteady => {}
            GuardKind::Exchange => slower(&mut evidence, table.exchange.as_ref(), None, MOVED_ANY, &phis.exchange),
            GuardKind::Baseline => {
                let Pair { target_hits, target, .. } = table.errors;
                if target > 0.0 && self.baseline_judges(table.source_live) {
                    let phi = self.baseline_phi(target / (table.millis as f64 / 60_000.0));
                    let p0 = tolerance.ratio * self.normal.errors_high + tolerance.margin;
                    for (evidence, ratio) in evidence.iter_mut().zip(BASELINE_RATIOS) {
                        *evidence = log_e_fixed(target_hits, target, p0, ratio) / phi;
                    }
                }
            }
        }
        evidence
    }

    /// Whether the source is itself as the baseline says, so that what the target does can be held against it; a
    /// source that no longer serves cannot be asked.
    fn baseline_judges(&self, source_live: bool) -> bool {
        let (errors, requests) = self.source;
        !source_live || requests >= 5.0 && errors <= 1.25 * self.normal.errors_high * requests + 1.0
    }

    fn baseline_phi(&self, target_a_minute: f64) -> f64 {
        let Phi { minute, longest } = self.normal.errors_phi;
        (1.0 + (longest - 1.0) * target_a_minute / self.normal.requests.max(1.0))
            .max(minute.min(4.0))
            .max(self.phis.errors)
    }

    /// Log of the weighted mean of the guards' evidences, what is not staked yet included.
    fn weigh(&self) -> f64 {
        if self.components.iter().all(|component| component.part <= 0.0) {
            return 0.0;
        }
        log_sum_exp((0..self.components.len()).map(|index| self.log_component(index)))
    }

    /// Log of one guard's part of the whole.
    fn log_component(&self, index: usize) -> f64 {
        let component = &self.components[index];
        if component.part <= 0.0 {
            return LOG_ZERO;
        }
        component.part.ln() + self.log_own(component)
    }

    /// Log of one guard's own evidence.
    fn log_own(&self, component: &Component) -> f64 {
        let rest = self.stakes.rest();
        log_add_exp(component.wealth.log_mean(), if rest > 0.0 { rest.ln() } else { LOG_ZERO })
    }

    /// Learns from a block what the next one is judged by.
    fn learn(&mut self, table: &Table<'_>, minutes: f64) {
        let Self { guards, errors, bad, client_errors, redirects, latency, exchange, .. } = self;
        let burst = guards.burst_millis;
        let ratio = |kind, usual: f64| guards.guards.iter().find(|g| g.kind == kind).map_or(usual, |g| g.ratio);
        for (class, pair, ratio) in [
            (errors, &table.errors, ratio(GuardKind::Errors, 1.1)),
            (bad, &table.bad, ratio(GuardKind::Success, 1.1)),
            (client_errors, &table.client_errors, ratio(GuardKind::ClientErrors, 1.1)),
            (redirects, &table.redirects, ratio(GuardKind::Redirects, 1.1)),
        ] {
            class.guess.observe(pair, ratio, minutes);
            class.tracker.observe(pair, table.millis, burst);
        }
        for (classes, latencies) in [(latency, &table.latency), (exchange, &table.exchange)] {
            let Some(latencies) = latencies else { continue };
            for (at, class) in classes.iter_mut().enumerate() {
                class.guess.observe(&latencies.over[at], 1.0, minutes);
                class.tracker.observe(&latencies.slow[at], table.millis, burst);
            }
        }
    }

    /// Log of the evidence of all guards together.
    pub fn log_evidence(&self) -> f64 {
        self.log_evidence
    }

    /// The greatest that it ever was.
    pub fn log_evidence_max(&self) -> f64 {
        self.log_evidence_max
    }

    /// Each guard's part of the evidence (log, weight included), in the order of the guards that judge.
    pub fn log_components(&self) -> impl Iterator<Item = (GuardKind, f64)> + '_ {
        (0..self.components.len()).map(|index| (self.components[index].guard.kind, self.log_component(index)))
    }

    /// One guard's own evidence (log, without its weight); `None` when it does not judge.
    pub fn log_evidence_of(&self, kind: GuardKind) -> Option<f64> {
        self.components.iter().find(|c| c.guard.kind == kind).map(|component| self.log_own(component))
    }

    /// One guard's part of the whole, 0 to 1; `None` when it does not judge.
    pub fn part_of(&self, kind: GuardKind) -> Option<f64> {
        self.components.iter().find(|c| c.guard.kind == kind).map(|component| component.part)
    }

    /// The dispersions that the last block was divided by.
    pub fn phis(&self) -> Phis {
        self.phis
    }

    /// Which part of the latency distribution the evidence is about, by which the more was won.
    pub fn slower_part(&self, kind: GuardKind) -> Part {
        match kind {
            GuardKind::LatencyBody => return Part::Body,
            GuardKind::LatencyTail | GuardKind::LatencySlow => return Part::Tail,
            _ => {}
        }
        let Some(component) = self.components.iter().find(|c| c.guard.kind == kind) else { return Part::Tail };
        let logs = component.wealth.logs();
        let middle = logs.len() / 2;
        if log_sum_exp(logs[..middle].iter().copied()) > log_sum_exp(logs[middle..].iter().copied()) {
            Part::Body
        } else {
            Part::Tail
        }
    }

    /// Whether the gate to the next step is open for a guard.
    pub fn passes(&self, kind: GuardKind) -> bool {
        self.gate.passes(kind)
    }

    /// Whether the gate would be open for a guard, if only it were shown that the target gives the kinds of answers
    /// (2XX and redirects) that the source gives.
    pub fn waits_for_mix(&self, kind: GuardKind) -> bool {
        self.gate.waits_for_mix(kind)
    }

    /// About how many more requests of the target the gate needs for a guard; `None` when nobody can say.
    pub fn requests_missing(&self, kind: GuardKind) -> Option<u64> {
        let ground = Ground { guards: &self.guards, normal: &self.normal, known: self.known() };
        self.gate.requests_missing(kind, &ground)
    }
}

/// Log evidence against the source for each ratio.
fn against_source(evidence: &mut [f64], ratios: &[f64], pair: &Pair, tolerance: Tolerance, share: f64, phi: f64) {
    if pair.is_one_sided() {
        return;
    }
    for (evidence, &ratio) in evidence.iter_mut().zip(ratios) {
        *evidence = log_e22(pair, tolerance, share, bet(pair, tolerance, share, ratio)) / phi;
    }
}

/// Log evidence for some of the ways of being slower; `part` says whose tolerance the target's bins were moved by.
fn slower(
    evidence: &mut [f64],
    latencies: Option<&Latencies<'_>>,
    part: Option<usize>,
    ways: Range<usize>,
    phis: &[f64; 3],
) {
    let Some(latencies) = latencies else { return };
    let target = part.map_or(&latencies.target, |part| &latencies.target_parts[part]);
    let reference = &latencies.shape.reference;
    let alternatives = latencies.shape.alternatives.get(ways).unwrap_or_default();
    for (evidence, alternative) in evidence.iter_mut().zip(alternatives) {
        let phi = match alternative.part {
            Part::Body => phis[0],
            Part::Tail => phis[2],
        };
        *evidence = log_e_bins(target, &latencies.source, &alternative.masses, reference) / phi;
    }
}
