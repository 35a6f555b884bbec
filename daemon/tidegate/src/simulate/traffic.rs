//! What clients sent and how it ended, moment by moment, in virtual time.
//!
//! Time is made in *pieces*, each with one share, one hour and one minute's luck, and each drawn once: the judged windows
//! and the tripwires' glances are sums of the same pieces ([`Ledger`]). A piece is as long as nothing changes and no tripwire could
//! fire in it ([`Traffic::alert_until`]); where one could, pieces are as short as the daemon's own glances.

use std::time::Duration;

use cutover::policy::{GuardPolicy, Tripwire, TripwireKind};
use cutover::{Observation, Share, Timestamp, Weight, Window};
use judge::{Block, Counts, GuardKind};

use super::chance::{Purpose, Stream, binomial, poisson, stream};
use super::fault::{Fault, Kind, Size};
use super::ledger::{Ended, Ledger, Parts};
use super::service::{Level, Service};
use super::shape::{CELLS, LIMITS_MAX, Shape, Slower, TIERS, above};
use super::wander::Wander;

/// How often the daemon looks at the last moments, in milliseconds.
pub(super) const GLANCE: i64 = 500;
/// A minute, in which the service's luck does not change.
const MINUTE: i64 = 60_000;
/// A glance is left out where the chance that its tripwire fires is below e to the minus this: one in nine million.
const UNTHINKABLE: f64 = 16.0;

/// What does not change from cutover to cutover of one simulation.
#[derive(Clone, Debug)]
pub(super) struct Setting<'a> {
    service: &'a Service,
    tripwires: Vec<Tripwire>,
    /// Limits of latency tripwires, ascending, in milliseconds.
    limits: Vec<f64>,
    fault: Option<Fault>,
    latency: Durations,
    /// `None` where no guard looks at whole exchanges.
    exchange: Option<Durations>,
}

/// How long answers of a healthy side and of a faulty target take.
#[derive(Clone, Debug)]
struct Durations {
    healthy: Option<Shape>,
    faulty: Option<Shape>,
    /// The share of requests that has one.
    share: f64,
}

impl Durations {
    fn shape(&self, faulty: bool) -> Option<&Shape> {
        if faulty { self.faulty.as_ref() } else { self.healthy.as_ref() }
    }
}

impl<'a> Setting<'a> {
    pub(super) fn new(
        service: &'a Service,
        tripwires: &[Tripwire],
        guards: &[GuardPolicy],
        fault: Option<Fault>,
    ) -> Self {
        let mut limits: Vec<f64> =
            tripwires.iter().filter(|tripwire| tripwire.kind == TripwireKind::Latency).map(|t| t.limit).collect();
        limits.sort_by(f64::total_cmp);
        limits.dedup();
        limits.truncate(LIMITS_MAX);
        let slower = fault.and_then(|fault| match (fault.kind, fault.size) {
            (Kind::Latency, Size::Times(times)) => Some(Slower::All(times)),
            (Kind::Tail, Size::Times(times)) => Some(Slower::Tail(times)),
            _ => None,
        });
        let durations = |(recorded, share): &(judge::Histogram, f64), limits: &[f64]| Durations {
            healthy: Shape::of(recorded, limits, None),
            faulty: Shape::of(recorded, limits, slower),
            share: *share,
        };
        let looked_at = guards.iter().any(|guard| guard.guard.kind == GuardKind::Exchange);
        Self {
            service,
            tripwires: tripwires.to_vec(),
            latency: durations(&service.latency, &limits),
            exchange: looked_at.then(|| durations(&service.exchange, &[])),
            limits,
            fault,
        }
    }

    /// The shares of one side in one hour and minute.
    fn shares(&self, level: &Level, luck: &Luck, faulty: bool) -> Shares {
        let wanders = &self.service.wanders;
        let errors = (level.errors * wanders.errors.factor(luck.errors)).min(0.95);
        let client_errors = (level.client_errors * wanders.client_errors.factor(luck.client_errors)).min(0.95 - errors);
        let tiers = |wanders: &[Wander; TIERS - 1], states: &[f64; TIERS - 1], level: &[f64; TIERS - 1]| {
            std::array::from_fn(|tier| level[tier] * wanders[tier].factor(states[tier]))
        };
        let redirects = (self.service.redirects * wanders.redirects.factor(luck.redirects)).min(0.95);
        let mut shares = Shares {
            errors,
            client_errors,
            redirects,
            latency: tiers(&wanders.latency, &luck.latency, &level.latency),
            exchange: tiers(&wanders.exchange, &luck.exchange, &level.exchange),
            ..Shares::default()
        };
        // What a fault adds is a share of the answers that would have been sound; its size is what results in all.
        let added = |usual: f64, size: Size| match size {
            Size::Share(share) => ((share - usual) / (1.0 - usual)).max(0.0),
            Size::Times(times) => ((times - 1.0) * usual / (1.0 - usual)).clamp(0.0, 1.0),
        };
        match self.fault.filter(|_| faulty) {
            Some(Fault { kind: Kind::Errors, size, .. }) => shares.added_errors = added(level.errors, size),
            Some(Fault { kind: Kind::ClientErrors, size, .. }) => {
                shares.added_client_errors = added(level.client_errors, size);
            }
            Some(Fault { kind: Kind::Redirects, size: Size::Share(share), .. }) => shares.added_redirects = share,
            Some(Fault { kind: Kind::Outage, size: Size::Share(share), .. }) => shares.unanswered = share,
            _ => {}
        }
        shares
    }

    /// Which answers a faulty target's latency spoils: all, the slowest tenth, or none.
    fn slowed(&self) -> f64 {
        match self.fault.map(|fault| fault.kind) {
            Some(Kind::Latency) => 1.0,
            Some(Kind::Tail) => 0.1,
            _ => 0.0,
        }
    }
}

/// The shares by which one side's requests end.
#[derive(Clone, Copy, Debug, Default)]
struct Shares {
    errors: f64,
    client_errors: f64,
    /// Of the answers that are no errors.
    redirects: f64,
    latency: [f64; TIERS - 1],
    exchange: [f64; TIERS - 1],
    /// What a fault does: of all requests, no answer; of the sound answers, server errors, 4XX and redirects.
    unanswered: f64,
    added_errors: f64,
    added_client_errors: f64,
    added_redirects: f64,
}

impl Shares {
    /// The share of requests that end in a server error or get no answer.
    fn failing(&self) -> f64 {
        let sound = (1.0 - self.unanswered) * (1.0 - self.errors);
        1.0 - sound * (1.0 - self.added_errors)
    }
}

/// How far each part of one side has wandered, in standard deviations.
#[derive(Clone, Copy, Debug, Default)]
struct Luck {
    errors: f64,
    client_errors: f64,
    redirects: f64,
    latency: [f64; TIERS - 1],
    exchange: [f64; TIERS - 1],
}

/// What [`Traffic::alert_until`] was asked for: while none of it changes, neither does the answer.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Asked {
    minute: i64,
    share: Share,
    faulty: bool,
    /// How many tripwires have had traffic for a whole window.
    filled: usize,
}

/// The traffic of one cutover.
pub(super) struct Traffic<'a> {
    setting: &'a Setting<'a>,
    seed: u64,
    ledger: Ledger,
    /// The minute whose luck is known.
    minute: i64,
    luck: [Luck; 2],
    demand: f64,
    streams: [Stream; 3],
    /// The shares of the source and of the target in this minute, the target's with its fault or without.
    shares: Option<(i64, bool, [Shares; 2])>,
    /// Until when a tripwire could fire on what was made.
    alert_until: i64,
    /// For what it was last asked whether one could, and the longest window of those that could.
    asked: Option<(Asked, Option<Duration>)>,
    /// Answers that the fault spoiled.
    pub(super) spoiled: u64,
}

impl<'a> Traffic<'a> {
    /// Traffic from `start` on.
    pub(super) fn new(setting: &'a Setting<'a>, seed: u64, start: Timestamp) -> Self {
        let minute = start.0.div_euclid(MINUTE);
        let mut streams = [0, 1, 2].map(|side| stream(seed, Purpose::Wander(side), minute));
        let luck = [0, 1].map(|side: usize| {
            let rng = &mut streams[side];
            Luck {
                errors: Wander::begin(rng),
                client_errors: Wander::begin(rng),
                redirects: Wander::begin(rng),
                latency: std::array::from_fn(|_| Wander::begin(rng)),
                exchange: std::array::from_fn(|_| Wander::begin(rng)),
            }
        });
        let demand = Wander::begin(&mut streams[2]);
        Self {
            setting,
            seed,
            ledger: Ledger::new(start.0),
            minute,
            luck,
            demand,
            streams,
            shares: None,
            alert_until: start.0,
            asked: None,
            spoiled: 0,
        }
    }

    /// Moves the luck on to the minute of `at`.
    fn wander(&mut self, at: i64) {
        let wanders = &self.setting.service.wanders;
        while self.minute < at.div_euclid(MINUTE) {
            self.minute += 1;
            for (luck, rng) in self.luck.iter_mut().zip(&mut self.streams) {
                luck.errors = wanders.errors.next(luck.errors, rng);
                luck.client_errors = wanders.client_errors.next(luck.client_errors, rng);
                luck.redirects = wanders.redirects.next(luck.redirects, rng);
                for (state, wander) in luck.latency.iter_mut().zip(&wanders.latency) {
                    *state = wander.next(*state, rng);
                }
                for (state, wander) in luck.exchange.iter_mut().zip(&wanders.exchange) {
                    *state = wander.next(*state, rng);
                }
            }
            self.demand = wanders.demand.next(self.demand, &mut self.streams[2]);
        }
    }

    /// The shares of both sides in the minute of `at`, to which the luck has been moved on.
    fn shares(&mut self, at: i64, faulty: bool) -> [Shares; 2] {
        if let Some((minute, same, shares)) = self.shares
            && minute == self.minute
            && same == faulty
        {
            return shares;
        }
        // Minutes do not reach over the end of an hour, so the level is that of all of it.
        let level = self.setting.service.at(at);
        let [source, target] = &self.luck;
        let shares = [self.setting.shares(level, source, false), self.setting.shares(level, target, faulty)];
        self.shares = Some((self.minute, faulty, shares));
        shares
    }

    /// Makes the traffic up to `to`, at one share and one state of the target.
    pub(super) fn make(&mut self, to: Timestamp, share: Share, faulty: bool) {
        while self.ledger.to() < to.0 {
            let from = self.ledger.to();
            let end = to.0.min((from.div_euclid(MINUTE) + 1) * MINUTE);
            self.wander(from);
            let [source, target] = self.draw(from, end, share, faulty);
            self.ledger.push(end, faulty, &source, &target);
        }
    }

    /// Draws one piece: what the source had, and the target.
    fn draw(&mut self, from: i64, to: i64, share: Share, faulty: bool) -> [Ended; 2] {
        let setting = self.setting;
        let level = setting.service.at(from);
        let mut rng = stream(self.seed, Purpose::Requests, from);
        let demand = level.per_second * setting.service.wanders.demand.factor(self.demand) * (to - from) as f64 / 1e3;
        let weight = share.reads.fraction();
        let shares = self.shares(from, faulty);
        let mut side = |weight: f64, shares: &Shares, faulty: bool| {
            let requests = poisson(&mut rng, demand * weight);
            if requests == 0 {
                return (Ended::default(), 0);
            }
            setting.end(requests, shares, faulty, &mut rng)
        };
        let (source, _) = side(1.0 - weight, &shares[0], false);
        let (target, spoiled) = side(weight, &shares[1], faulty);
        self.spoiled += spoiled;
        [source, target]
    }

    /// Until when, from `now` on, a tripwire could fire on what is being made: nobody has to glance after that. `since` is
    /// when the target had its first request.
    ///
    /// What is left out is bounded by the large-deviation bound for binomial counts (Chernoff 1952): n requests reach a
    /// share `limit` with a chance of at most `exp(-n KL(limit, p))`. For the fewest requests n that a tripwire needs,
    /// that is one bound; averaged over a Poisson number of them with the mean m it is `exp(-m (1 - exp(-KL)))`, another,
    /// once the target has had traffic for a whole window. Where few requests come, two more are sharper: that so many
    /// come at all as a tripwire needs, and that so many of them are hits ([`rarity`]).
    pub(super) fn alert_until(&mut self, now: Timestamp, share: Share, faulty: bool, since: Timestamp) -> Timestamp {
        // The luck of a new minute may only come once the minute before is made.
        if self.minute < now.0.div_euclid(MINUTE) {
            self.make(now, share, faulty);
            self.wander(now.0);
        }
        let setting = self.setting;
        let filled = |tripwire: &Tripwire| now.since(since) >= tripwire.window;
        let asked = Asked {
            minute: self.minute,
            share,
            faulty,
            filled: setting.tripwires.iter().filter(|tripwire| filled(tripwire)).count(),
        };
        if self.asked.is_none_or(|(before, _)| before != asked) {
            let level = setting.service.at(now.0);
            let shares = self.shares(now.0, faulty)[1];
            let demand = level.per_second * setting.service.wanders.demand.factor(self.demand);
            let per_second = demand * share.reads.fraction();
            let windows = setting.tripwires.iter().filter_map(|tripwire| {
                let mean = per_second * tripwire.window.as_secs_f64();
                setting.thinkable(tripwire, &shares, faulty, mean, filled(tripwire)).then_some(tripwire.window)
            });
            self.asked = Some((asked, windows.max().filter(|_| share.reads > Weight::NONE)));
        }
        if let Some((_, Some(window))) = self.asked {
            self.alert_until = self.alert_until.max(now.plus(window).0);
        }
        Timestamp(self.alert_until)
    }

    /// Whether a tripwire could fire on what ends at `now`.
    pub(super) fn alert(&self, now: Timestamp) -> bool {
        now.0 <= self.alert_until
    }

    /// The end of the minute of `now`: what is thinkable is asked again then.
    pub(super) fn next_change(now: Timestamp) -> Timestamp {
        Timestamp((now.0.div_euclid(MINUTE) + 1) * MINUTE)
    }

    /// Windows of the tripwires that may fire on what ends at `now`, judged by the target's figures alone: the core
    /// decides, this only spares it what cannot matter.
    pub(super) fn glances(&mut self, now: Timestamp) -> Vec<Window> {
        let mut windows: Vec<Window> = Vec::new();
        let setting = self.setting;
        for tripwire in &setting.tripwires {
            let window = Window { from: now.minus(tripwire.window), to: now };
            if windows.contains(&window) {
                continue;
            }
            let target = self.sums(window)[1].both();
            if setting.may_fire(tripwire, &target) {
                windows.push(window);
            }
        }
        windows
    }

    /// What both sides had in a window; pieces at its edges are cut.
    fn sums(&mut self, window: Window) -> [Parts; 2] {
        let seed = self.seed;
        self.ledger.sums(window, &mut |at| stream(seed, Purpose::Cut, at))
    }

    /// What both sides did in a window.
    pub(super) fn count(&mut self, window: Window) -> Observation {
        // A glance may begin where a judged window does: each has its own luck inside of the cells.
        let named = window.from.0.wrapping_mul(31).wrapping_add(window.to.0);
        let mut rng = stream(self.seed, Purpose::Latencies, named);
        let [source, target] = self.sums(window).map(|Parts { healthy, faulty }| {
            let mut counts = Counts::default();
            self.setting.tell(&healthy, false, &mut rng, &mut counts);
            self.setting.tell(&faulty, true, &mut rng, &mut counts);
            counts
        });
        let millis = u64::try_from(window.length().as_millis()).unwrap_or(u64::MAX);
        let writes = Block { millis, ..Block::default() };
        Observation { window, reads: Block { millis, source, target }, writes }
    }

    /// Forgets what ended before `moment`.
    pub(super) fn forget(&mut self, moment: Timestamp) {
        self.ledger.forget(moment.0);
    }

    /// The longest window of a tripwire: so much must not be forgotten.
    pub(super) fn memory(&self) -> Duration {
        self.setting.tripwires.iter().map(|tripwire| tripwire.window).max().unwrap_or_default()
    }
}

impl Setting<'_> {
    /// How `requests` of one side end, and how many of them a fault spoils.
    fn end(&self, requests: u64, shares: &Shares, faulty: bool, rng: &mut Stream) -> (Ended, u64) {
        let service = self.service;
        let unanswered = binomial(rng, requests, shares.unanswered);
        let answered = requests - unanswered;
        let errors = binomial(rng, answered, shares.errors);
        let failed = binomial(rng, errors, service.failed);
        let client_errors = binomial(rng, answered - errors, shares.client_errors / (1.0 - shares.errors));
        let mut sound = answered - errors - client_errors;
        let added_errors = binomial(rng, sound, shares.added_errors);
        sound -= added_errors;
        let added_client_errors = binomial(rng, sound, shares.added_client_errors);
        sound -= added_client_errors;
        let abandoned = binomial(rng, sound, service.abandoned);
        let redirects = binomial(rng, sound - abandoned, shares.redirects);
        let added_redirects = binomial(rng, sound - abandoned - redirects, shares.added_redirects);
        let drawn = |durations: &Durations, factors, rng: &mut Stream| {
            let measured = binomial(rng, answered, durations.share);
            durations.shape(faulty).map_or([0; CELLS], |shape| shape.draw(measured, factors, rng))
        };
        let latency = drawn(&self.latency, shares.latency, rng);
        let exchange = self.exchange.as_ref().map_or([0; CELLS], |exchange| drawn(exchange, shares.exchange, rng));
        let ended = Ended {
            requests,
            redirects: redirects + added_redirects,
            client_errors: client_errors + added_client_errors,
            server_errors: errors - failed + added_errors,
            failed: failed + unanswered,
            abandoned,
            latency,
            exchange,
        };
        let slowed = if faulty { binomial(rng, answered, self.slowed()) } else { 0 };
        (ended, unanswered + added_errors + added_client_errors + added_redirects + slowed)
    }

    /// Adds what ended to a side's counts.
    fn tell(&self, ended: &Ended, faulty: bool, rng: &mut Stream, counts: &mut Counts) {
        counts.requests += ended.requests;
        counts.status_2xx += ended.sound();
        counts.status_3xx += ended.redirects;
        counts.status_4xx += ended.client_errors;
        counts.status_5xx += ended.server_errors;
        counts.failed += ended.failed;
        counts.abandoned += ended.abandoned;
        if let Some(shape) = self.latency.shape(faulty) {
            shape.fill(&ended.latency, rng, &mut counts.latency);
        }
        if let Some(shape) = self.exchange.as_ref().and_then(|exchange| exchange.shape(faulty)) {
            shape.fill(&ended.exchange, rng, &mut counts.exchange);
        }
    }

    /// The place of a tripwire's limit among the limits that cells are cut at.
    fn limit(&self, tripwire: &Tripwire) -> usize {
        self.limits.iter().rposition(|&limit| limit <= tripwire.limit).unwrap_or(0)
    }

    /// Whether a tripwire might fire on a target with these shares and `mean` requests in its window, beyond what is
    /// [`UNTHINKABLE`]; `filled` when the target has had its traffic for a whole window.
    fn thinkable(&self, tripwire: &Tripwire, shares: &Shares, faulty: bool, mean: f64, filled: bool) -> bool {
        let (share, limit) = match tripwire.kind {
            TripwireKind::Errors => (shares.failing(), tripwire.limit),
            TripwireKind::Unanswered => {
                let failed = shares.errors * self.service.failed + self.service.abandoned;
                (shares.unanswered + (1.0 - shares.unanswered) * failed, tripwire.limit)
            }
            TripwireKind::Latency => {
                let shape = self.latency.shape(faulty);
                let above = shape.map_or(0.0, |shape| shape.share_above(self.limit(tripwire), shares.latency));
                (above, BEYOND)
            }
        };
        let divergence = if share < limit { divergence(limit, share) } else { 0.0 };
        let fewest = tripwire.requests_min.max(1) as f64;
        let full = if filled { mean } else { 0.0 };
        [
            fewest * divergence,
            full * -(-divergence).exp_m1(),
            // Too few requests come at all, or too few of those that it counts.
            rarity(fewest, mean),
            rarity(self.hits_min(tripwire, fewest), mean * share),
        ]
        .iter()
        .all(|&unlikely| unlikely < UNTHINKABLE)
    }

    /// How many hits among `requests` a tripwire needs at least.
    fn hits_min(&self, tripwire: &Tripwire, requests: f64) -> f64 {
        /// Of the durations that are expected, at least so many are measured.
        const MEASURED: f64 = 0.9;
        match tripwire.kind {
            TripwireKind::Errors | TripwireKind::Unanswered => (tripwire.limit * requests).max(1.0),
            TripwireKind::Latency => (BEYOND * requests * self.latency.share * MEASURED).floor() + 1.0,
        }
    }

    /// Whether a tripwire may fire on the target's requests of its window.
    fn may_fire(&self, tripwire: &Tripwire, target: &Ended) -> bool {
        let requests = target.requests as f64;
        let (hits, least) = match tripwire.kind {
            TripwireKind::Errors => (target.failing(), tripwire.limit * requests),
            TripwireKind::Unanswered => (target.failed + target.abandoned, tripwire.limit * requests),
            // The 99th percentile lies above the limit when more than a hundredth of what was measured does.
            TripwireKind::Latency => {
                let measured: u64 = target.latency.iter().sum();
                (above(&target.latency, self.limit(tripwire)), BEYOND * measured as f64)
            }
        };
        target.requests >= tripwire.requests_min.max(1) && hits > 0 && hits as f64 >= least
    }
}

/// The share of answers beyond the quantile that a latency tripwire looks at.
const BEYOND: f64 = 0.01;

/// Minus the logarithm of a bound on the chance that a Poisson number with this mean reaches `least`: the same large
/// deviations, `least ln(least / mean) - least + mean`; 0 where that is no wonder.
fn rarity(least: f64, mean: f64) -> f64 {
    match mean {
        mean if mean >= least => 0.0,
        mean if mean <= 0.0 => f64::INFINITY,
        mean => least * (least / mean).ln() - least + mean,
    }
}

/// The Kullback-Leibler divergence of a share `q` from a share `p` below it; infinite where `p` is 0.
fn divergence(q: f64, p: f64) -> f64 {
    let part = |q: f64, p: f64| if q <= 0.0 { 0.0 } else { q * (q / p).ln() };
    part(q, p) + part(1.0 - q, 1.0 - p)
}
