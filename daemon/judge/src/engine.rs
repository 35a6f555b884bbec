//! Evidence from tables of counts: the method itself, free of blocks, buckets and words.
//!
//! Every block adds to each guard's evidence a number that a target within tolerance cannot be expected to win; the
//! guards' evidences are averaged by weight, and the average is compared with one limit. Because an average of such
//! numbers is one again, whatever they have to do with each other, the limit holds over all guards, alternatives,
//! steps and looks together.
//!
//! What a block is divided by (dispersion), what it is bet on (the guess of the source's share) and how much is staked
//! are all settled before the block is looked at.

use serde::{Deserialize, Serialize};

use crate::dispersion::{Outcome, Phi, Tracker};
use crate::evidence::{BAD_RATIOS, BASELINE_RATIOS, ERROR_RATIOS, Pair, Tolerance, bet, log_e_fixed, log_e22};
use crate::latency::{Part, SLOW, Shape, log_e_bins};
use crate::numbers::{LOG_ZERO, log_add_exp, log_sum_exp};
use crate::pass::{Asked, Leg};
use crate::wealth::{Stakes, Wealth};
use crate::{Guard, GuardKind, Guards};

/// One burst adds no more log evidence than this to a test of failures: e^3 is a factor of 20.
const CAP_FAILURES: f64 = 3.0;
/// The same for latency and baseline.
const CAP_OTHERS: f64 = 2.5;
/// How many alternatives a latency test has.
const SHAPES: usize = 10;
/// Requests that the baseline's share of errors counts for in the guess of the source's share.
const GUESS_ERRORS: f64 = 2_000.0;
/// The same for bad and for slow answers.
const GUESS_OTHERS: f64 = 500.0;
/// What a guess keeps after a minute.
const GUESS_KEEP: f64 = 0.9;
/// What the watch on the source's own errors keeps after a minute.
const SOURCE_KEEP: f64 = 0.5;

/// What was normal for the source, as numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normal {
    /// Share of errors.
    pub errors: f64,
    /// The most that the share of errors may really have been, at 95 %: what the target is held to. A short record
    /// that happens to hold no error must not make one error of the target a regression.
    pub errors_high: f64,
    /// Share of answers that are not 2XX or 3XX.
    pub bad: f64,
    /// Requests a minute.
    pub requests: f64,
    /// Dispersion of errors.
    pub errors_phi: Phi,
    /// Dispersion of bad answers.
    pub bad_phi: Phi,
    /// Dispersion of answers above the median, 90 % and 99 % quantile.
    pub latency_phi: [Phi; 3],
    /// The same of whole exchanges.
    pub exchange_phi: [Phi; 3],
    /// Share of answers above the buckets of the median, 90 % and 99 % quantile: at most 0.5, 0.1 and 0.01.
    pub latency_slow: [f64; 3],
    /// The same of whole exchanges.
    pub exchange_slow: [f64; 3],
    /// Whether it stands on enough to judge the target by.
    pub trusted: bool,
}

/// One block's latencies (or exchanges), binned.
#[derive(Clone, Debug)]
pub struct Latencies<'a> {
    /// The reference and the alternatives that the bins belong to.
    pub shape: &'a Shape,
    /// The target's bins, their edges moved up by the tolerance.
    pub target: Vec<f64>,
    /// The source's bins.
    pub source: Vec<f64>,
    /// Both sides' answers above the reference's median, 90 % and 99 % quantile.
    pub slow: [Pair; 3],
    /// The same, with the target's edges moved up by what the gate to the next step tolerates.
    pub over: [Pair; 3],
}

/// One block as tables.
#[derive(Clone, Debug)]
pub struct Table<'a> {
    /// How long the block is, in milliseconds; above 0.
    pub millis: u64,
    /// Whether a step begins with it.
    pub new_step: bool,
    /// The target's weight after the next step, 0 to 1.
    pub next_weight: f64,
    /// Whether the source serves at all; if not, the baseline judges without asking whether the source is normal.
    pub source_live: bool,
    /// Errors of both sides.
    pub errors: Pair,
    /// Bad answers of both sides.
    pub bad: Pair,
    /// Time to the first byte, when there is a reference shape.
    pub latency: Option<Latencies<'a>>,
    /// Time to the last byte, when there is a reference shape.
    pub exchange: Option<Latencies<'a>>,
}

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

/// What follows one latency histogram.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Followed {
    trackers: [Tracker; 3],
    guesses: [Guess; 3],
    legs: [Leg; 3],
    last: Option<[Pair; 3]>,
}

impl Followed {
    fn new(phis: [Phi; 3], requests: f64) -> Self {
        Self {
            trackers: phis.map(|phi| Tracker::new(Outcome::Slow, phi, requests)),
            guesses: SLOW.map(|q| Guess::new(1.0 - q, GUESS_OTHERS)),
            legs: Default::default(),
            last: None,
        }
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
    errors: Tracker,
    bad: Tracker,
    errors_guess: Guess,
    bad_guess: Guess,
    latency: Followed,
    exchange: Followed,
    errors_leg: Leg,
    bad_leg: Leg,
    /// The source's errors and requests, fading.
    source: (f64, f64),
    phis: Phis,
    next_weight: f64,
    last_errors: Pair,
    last_bad: Pair,
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
                GuardKind::Success => (BAD_RATIOS.len(), CAP_FAILURES),
                GuardKind::Latency | GuardKind::Exchange => (SHAPES, CAP_OTHERS),
                GuardKind::Baseline => (BASELINE_RATIOS.len(), CAP_OTHERS),
            };
            components.push(Component {
                guard: guard.clone(),
                part: guard.weight,
                wealth: Wealth::new(alternatives, cap),
            });
        }
        let whole: f64 = components.iter().map(|component| component.part).sum();
        for component in &mut components {
            component.part = if whole > 0.0 { component.part / whole } else { 0.0 };
        }
        Self {
            guards: guards.clone(),
            normal: normal.clone(),
            stakes: Stakes::new(steps),
            components,
            errors: Tracker::new(Outcome::Failure, normal.errors_phi, normal.requests),
            bad: Tracker::new(Outcome::Failure, normal.bad_phi, normal.requests),
            errors_guess: Guess::new(normal.errors, GUESS_ERRORS),
            bad_guess: Guess::new(normal.bad, GUESS_OTHERS),
            latency: Followed::new(normal.latency_phi, normal.requests),
            exchange: Followed::new(normal.exchange_phi, normal.requests),
            errors_leg: Leg::default(),
            bad_leg: Leg::default(),
            source: (0.0, 0.0),
            phis: Phis::default(),
            next_weight: 0.0,
            last_errors: Pair::default(),
            last_bad: Pair::default(),
            log_evidence: 0.0,
            log_evidence_max: 0.0,
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
        self.next_weight = table.next_weight;
        self.phis = self.phis_for(table, minutes);
        let keep = SOURCE_KEEP.powf(minutes);
        self.source = (keep * self.source.0 + table.errors.source_hits, keep * self.source.1 + table.errors.source);
        let stake = self.stakes.lay(minutes, table.new_step);
        let log_stake = if stake > 0.0 { stake.ln() } else { LOG_ZERO };
        for index in 0..self.components.len() {
            let evidence = self.evidence(&self.components[index].guard, table);
            self.components[index].wealth.take(evidence, log_stake, bursts);
        }
        self.log_evidence = self.weigh();
        self.log_evidence_max = self.log_evidence_max.max(self.log_evidence);
        self.judge_pass(table, bursts);
        self.learn(table, minutes);
    }

    /// The dispersions for a block, from the blocks before it and from how many requests it has.
    fn phis_for(&self, table: &Table<'_>, minutes: f64) -> Phis {
        let phi = |tracker: &Tracker, pair: &Pair| tracker.phi(pair.target / minutes, pair.source / minutes);
        let slow = |followed: &Followed, latencies: &Option<Latencies<'_>>| {
            let pairs = latencies.as_ref().map_or([table.errors; 3], |latencies| latencies.slow);
            std::array::from_fn(|i| phi(&followed.trackers[i], &pairs[i]))
        };
        Phis {
            errors: phi(&self.errors, &table.errors),
            bad: phi(&self.bad, &table.bad),
            latency: slow(&self.latency, &table.latency),
            exchange: slow(&self.exchange, &table.exchange),
        }
    }

    /// Log evidence of one block, tempered by dispersion, for each alternative of a guard.
    fn evidence(&self, guard: &Guard, table: &Table<'_>) -> [f64; SHAPES] {
        let tolerance = Tolerance { ratio: guard.ratio, margin: guard.margin };
        let mut evidence = [0.0; SHAPES];
        match guard.kind {
            GuardKind::Errors => {
                let share = self.errors_guess.share();
                against_source(&mut evidence, &ERROR_RATIOS, &table.errors, tolerance, share, self.phis.errors);
            }
            GuardKind::Success => {
                let share = self.bad_guess.share();
                against_source(&mut evidence, &BAD_RATIOS, &table.bad, tolerance, share, self.phis.bad);
            }
            GuardKind::Latency => slower(&mut evidence, table.latency.as_ref(), &self.phis.latency),
            GuardKind::Exchange => slower(&mut evidence, table.exchange.as_ref(), &self.phis.exchange),
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

    /// Takes the block into the gate to the next step.
    fn judge_pass(&mut self, table: &Table<'_>, bursts: f64) {
        if table.new_step {
            self.errors_leg = Leg::default();
            self.bad_leg = Leg::default();
            for followed in [&mut self.latency, &mut self.exchange] {
                followed.legs = Default::default();
            }
        }
        let asked = self.asked_errors();
        self.errors_leg.observe(&table.errors, &Asked { bursts, ..asked });
        let asked = self.asked_bad();
        self.bad_leg.observe(&table.bad, &Asked { bursts, ..asked });
        for (exchange, latencies) in [(false, &table.latency), (true, &table.exchange)] {
            for index in 0..SLOW.len() {
                let asked = self.asked_slow(exchange, index);
                if let Some(latencies) = latencies {
                    let followed = if exchange { &mut self.exchange } else { &mut self.latency };
                    followed.legs[index].observe(&latencies.over[index], &Asked { bursts, ..asked });
                }
            }
        }
    }

    /// What the gate asks, never more than the guard of that kind tolerates: or a target in between would hold for ever.
    fn asked(&self, kind: GuardKind, pass: Tolerance, share: f64, phi: f64, baseline: f64) -> Asked {
        let guard = self.guards.guards.iter().find(|guard| guard.kind == kind);
        let tolerated = guard.map_or(Tolerance { ratio: 0.0, margin: 0.0 }, |guard| Tolerance {
            ratio: guard.ratio,
            margin: guard.margin,
        });
        Asked {
            tolerance: Tolerance {
                ratio: pass.ratio.max(tolerated.ratio),
                margin: (pass.margin / self.next_weight.clamp(0.001, 1.0)).max(tolerated.margin),
            },
            share,
            phi,
            baseline: self.normal.trusted.then_some(baseline),
            wrong_pass_max: self.guards.pass.wrong_pass_max,
            bursts: 0.0,
        }
    }

    fn asked_errors(&self) -> Asked {
        let pass = &self.guards.pass;
        let tolerance = Tolerance { ratio: pass.errors_ratio, margin: pass.errors_budget };
        let share = self.errors_guess.share();
        self.asked(GuardKind::Errors, tolerance, share, self.phis.errors, self.normal.errors)
    }

    fn asked_bad(&self) -> Asked {
        let pass = &self.guards.pass;
        let tolerance = Tolerance { ratio: pass.success_ratio, margin: pass.success_budget };
        self.asked(GuardKind::Success, tolerance, self.bad_guess.share(), self.phis.bad, self.normal.bad)
    }

    fn asked_slow(&self, exchange: bool, index: usize) -> Asked {
        let (followed, phis) =
            if exchange { (&self.exchange, &self.phis.exchange) } else { (&self.latency, &self.phis.latency) };
        // Its ratio is one of durations and lies in the counts already: a share is compared with a share.
        let margin = self.guards.pass.latency_budgets[index] / self.next_weight.clamp(0.001, 1.0);
        let slow = if exchange { &self.normal.exchange_slow } else { &self.normal.latency_slow };
        Asked {
            tolerance: Tolerance { ratio: 1.0, margin },
            share: followed.guesses[index].share(),
            phi: phis[index],
            baseline: self.normal.trusted.then_some(slow[index]),
            wrong_pass_max: self.guards.pass.wrong_pass_max,
            bursts: 0.0,
        }
    }

    /// Learns from a block what the next one is judged by.
    fn learn(&mut self, table: &Table<'_>, minutes: f64) {
        let burst = self.guards.burst_millis;
        let ratio = |kind, usual: f64| self.guards.guards.iter().find(|g| g.kind == kind).map_or(usual, |g| g.ratio);
        let (errors, bad) = (ratio(GuardKind::Errors, 1.1), ratio(GuardKind::Success, 1.1));
        self.errors_guess.observe(&table.errors, errors, minutes);
        self.bad_guess.observe(&table.bad, bad, minutes);
        self.errors.observe(&table.errors, table.millis, burst);
        self.bad.observe(&table.bad, table.millis, burst);
        self.last_errors = table.errors;
        self.last_bad = table.bad;
        for (followed, latencies) in [(&mut self.latency, &table.latency), (&mut self.exchange, &table.exchange)] {
            let Some(latencies) = latencies else { continue };
            for index in 0..SLOW.len() {
                followed.guesses[index].observe(&latencies.over[index], 1.0, minutes);
                followed.trackers[index].observe(&latencies.slow[index], table.millis, burst);
            }
            followed.last = Some(latencies.over);
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
        match kind {
            GuardKind::Errors | GuardKind::Baseline => self.errors_leg.cleared(),
            GuardKind::Success => self.bad_leg.cleared(),
            GuardKind::Latency => self.latency.legs.iter().all(Leg::cleared),
            GuardKind::Exchange => self.exchange.legs.iter().all(Leg::cleared),
        }
    }

    /// About how many more requests of the target the gate needs for a guard; `None` when nobody can say.
    pub fn requests_missing(&self, kind: GuardKind) -> Option<u64> {
        match kind {
            GuardKind::Errors | GuardKind::Baseline => {
                self.errors_leg.requests_missing(&self.last_errors, &self.asked_errors())
            }
            GuardKind::Success => self.bad_leg.requests_missing(&self.last_bad, &self.asked_bad()),
            GuardKind::Latency | GuardKind::Exchange => {
                let exchange = kind == GuardKind::Exchange;
                let followed = if exchange { &self.exchange } else { &self.latency };
                let last = followed.last.as_ref()?;
                let mut most = 0;
                for (index, (leg, pair)) in followed.legs.iter().zip(last).enumerate() {
                    most = most.max(leg.requests_missing(pair, &self.asked_slow(exchange, index))?);
                }
                Some(most)
            }
        }
    }
}

/// Log evidence against the source for each ratio.
fn against_source(
    evidence: &mut [f64; SHAPES],
    ratios: &[f64],
    pair: &Pair,
    tolerance: Tolerance,
    share: f64,
    phi: f64,
) {
    if pair.is_one_sided() {
        return;
    }
    for (evidence, &ratio) in evidence.iter_mut().zip(ratios) {
        *evidence = log_e22(pair, tolerance, share, bet(pair, tolerance, share, ratio)) / phi;
    }
}

/// Log evidence for each way of being slower.
fn slower(evidence: &mut [f64; SHAPES], latencies: Option<&Latencies<'_>>, phis: &[f64; 3]) {
    let Some(latencies) = latencies else { return };
    for (evidence, alternative) in evidence.iter_mut().zip(&latencies.shape.alternatives) {
        let phi = match alternative.part {
            Part::Body => phis[0],
            Part::Tail => phis[2],
        };
        let reference = &latencies.shape.reference;
        *evidence = log_e_bins(&latencies.target, &latencies.source, &alternative.masses, reference) / phi;
    }
}
