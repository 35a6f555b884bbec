//! One cutover's judge: blocks in, a judgement out.
//!
//! Between the counts and the [`Engine`] that turns tables into evidence stands what is told here: which blocks can be
//! used, where latency is binned, what a step has seen, and when a guard passes or fails. It takes no decision about a
//! cutover; it says what is proven.

use serde::{Deserialize, Serialize};

use crate::engine::{Engine, Latencies, Normal, Table};
use crate::evidence::{Pair, Tolerance};
use crate::latency::{Bins, Cuts, Part, SHAPE_MIN, Shape, buckets_of};
use crate::mix::{AskedMix, MixGlance, MixWatch};
use crate::numbers::exp_finite;
use crate::record::HourNormal;
use crate::sentence::{Said, sentence};
use crate::watch::{Glance, Watch};
use crate::world::{Recorded, World};
use crate::{Act, Alarm, AlarmKind, Baseline, Block, Counts, Guard, GuardKind, GuardVerdict, Guards, Histogram};
use crate::{Judgement, Reference, Verdict};

/// The guards that look at latency in a way of their own, in the order of [`Latencies::target_parts`].
const LATENCY_PARTS: [GuardKind; 4] =
    [GuardKind::LatencyBody, GuardKind::LatencyTail, GuardKind::LatencySlow, GuardKind::LatencySteady];

/// A reference histogram that is gathered during the cutover stops growing here: it is known well enough.
const REFERENCE_MAX: u64 = 200_000;

/// What the counts alone do not say about a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// Whether the block is the first of its step. A step judged again after a hold or a restart is no new step; one
    /// that was left and climbed again is.
    pub new_step: bool,
    /// The target's weight while the block was counted, in per mille of this class of traffic (0 to 1000).
    pub weight: u16,
    /// The weight of the step that would come next, in per mille. `None` or 1000 on the last judged step, which is
    /// baked for [`bake_last_min_millis`](crate::Pass::bake_last_min_millis).
    pub next_weight: Option<u16>,
    /// Whether the source served clients in this block. `false` where its counts are but probes or left-overs (at a
    /// weight of 1000): it is then no reference.
    pub source_live: bool,
}

/// The histogram that latency is binned by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Binning {
    reference: Histogram,
    /// Whether the source's blocks are added to the reference, after they were judged.
    grows: bool,
    /// How many durations the reference held when the cuts were made.
    made_of: u64,
    cuts: Option<(Cuts, Shape)>,
}

impl Binning {
    /// From the baseline, or from what little there is of it and the source's blocks as they come.
    fn new(reference: &Histogram, thin: bool) -> Self {
        let grows = thin || reference.total() < SHAPE_MIN;
        let mut binning = Self { reference: reference.clone(), grows, made_of: 0, cuts: None };
        binning.cut();
        binning
    }

    fn cut(&mut self) {
        if let Some(cuts) = Cuts::of(&self.reference) {
            let shape = cuts.shape(&self.reference);
            self.made_of = self.reference.total();
            self.cuts = Some((cuts, shape));
            if !self.grows {
                // Once cut, a reference that does not grow is no longer needed, and the state is stored each interval.
                self.reference = Histogram::default();
            }
        }
    }

    /// Adds a block's latencies after the block was judged. The cuts are made anew each time the reference has doubled,
    /// so that they change seldom and always before the blocks they are used on.
    fn learn(&mut self, source: &Histogram) {
        if !self.grows || self.reference.total() >= REFERENCE_MAX {
            return;
        }
        self.reference.merge(source);
        if self.reference.total() >= self.made_of.saturating_mul(2).max(SHAPE_MIN) {
            self.cut();
        }
    }

    /// A block's latencies, binned; `None` without a reference.
    fn latencies(&self, target: &Histogram, source: &Histogram, moved: &Moved) -> Option<Latencies<'_>> {
        let (cuts, shape) = self.cuts.as_ref()?;
        let (nt, ns) = (target.total() as f64, source.total() as f64);
        let pairs = |moved| {
            let (kt, ks) = (cuts.slower(target, moved), cuts.slower(source, 0));
            [0, 1, 2].map(|i| Pair { target_hits: kt[i], target: nt, source_hits: ks[i], source: ns })
        };
        Some(Latencies {
            shape,
            target: cuts.bins(target, moved.all),
            target_parts: moved.parts.map(|part| part.map_or_else(Bins::default, |moved| cuts.bins(target, moved))),
            source: cuts.bins(source, 0),
            slow: pairs(0),
            over: pairs(moved.passing),
        })
    }
}

/// By how many buckets the target's edges are moved: its tolerance.
#[derive(Clone, Copy, Debug)]
struct Moved {
    /// For the guard on all of the distribution.
    all: u16,
    /// For those on body, tail and slow answers, where the policy has them.
    parts: [Option<u16>; 4],
    /// For the gate to the next step.
    passing: u16,
}

/// What this step has seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct StepSeen {
    millis: u64,
    source: Counts,
    target: Counts,
    last: bool,
}

impl StepSeen {
    /// Begins anew in the same memory.
    fn clear(&mut self) {
        (self.millis, self.last) = (0, false);
        self.source.clear();
        self.target.clear();
    }
}

/// The judge of one cutover and one class of traffic.
///
/// Its state is a few kilobytes whatever the length of the cutover, and serializes: written after a block and read
/// back, it goes on exactly. Reads and writes that are shifted at different weights need a judge each, with a part of
/// `false_revert_max` each, because only requests that were split by one weight can be compared.
///
/// ```
/// use judge::{Baseline, Block, Context, Counts, Guards, Judge, Verdict};
/// let mut judge = Judge::new(Guards::default(), Baseline::none(), 3);
/// let side = |requests, status_5xx| Counts { requests, status_2xx: requests - status_5xx, status_5xx, ..Counts::default() };
/// let block = Block { millis: 60_000, source: side(900, 1), target: side(100, 30) };
/// let context = Context { new_step: true, weight: 100, next_weight: Some(500), source_live: true };
/// judge.observe(&block, &context);
/// // 30 of 100 where the source failed 1 of 900: once could be an accident, so one minute alone proves nothing.
/// assert_eq!(judge.verdict().verdict, Verdict::Unknown);
/// judge.observe(&block, &Context { new_step: false, ..context });
/// assert_eq!(judge.verdict().verdict, Verdict::Fail);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judge {
    guards: Guards,
    baseline: Baseline,
    /// The hour of the baseline that blocks are held to, where it has hours.
    #[serde(default)]
    hour: Option<HourNormal>,
    engine: Engine,
    latency: Binning,
    exchange: Binning,
    watch: Watch,
    mix: MixWatch,
    step: StepSeen,
    /// A step began with a block that could not be used.
    step_pending: bool,
    /// The guard that had the largest part when the evidence reached its limit; stays.
    failed: Option<GuardKind>,
    /// Why the last block could not be used.
    contradiction: Option<String>,
}

impl Judge {
    /// A judge that has seen nothing. `steps` is how many steps the ladder has: they share the evidence's head start.
    pub fn new(guards: Guards, baseline: Baseline, steps: u32) -> Self {
        let mut engine = Engine::new(&guards, baseline.normal(), steps);
        engine.expect_pauses(baseline.latency_pauses(), baseline.exchange_pauses());
        let thin = baseline.is_thin();
        let latency = Binning::new(&baseline.counts().latency, thin);
        let exchange = Binning::new(&baseline.counts().exchange, thin);
        Self {
            guards,
            baseline,
            hour: None,
            engine,
            latency,
            exchange,
            watch: Watch::default(),
            mix: MixWatch::default(),
            step: StepSeen::default(),
            step_pending: false,
            failed: None,
            contradiction: None,
        }
    }

    /// What the judge asks.
    pub fn guards(&self) -> &Guards {
        &self.guards
    }

    /// What it knows of the source from before.
    pub fn baseline(&self) -> &Baseline {
        &self.baseline
    }

    /// The evidence behind the verdicts.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Holds the next blocks to what was normal in an hour of the baseline's week; `None` to the baseline as a whole.
    ///
    /// To be said before the block, by its time alone: then a service that fails more each Monday morning is not held
    /// to its Sunday nights, and what is bet stays settled before the block is seen.
    pub fn refer_to(&mut self, hour: Option<&HourNormal>) {
        let whole = self.baseline.normal();
        let normal = hour.map(|hour| Normal {
            errors: hour.errors,
            errors_high: hour.errors_high,
            bad: hour.bad,
            latency_slow: hour.latency_slow,
            exchange_slow: hour.exchange_slow,
            ..whole.clone()
        });
        self.engine.refer_to(normal.as_ref().unwrap_or(whole));
        self.hour = hour.copied();
    }

    /// Takes the next block, of any length from 1 to 60 s, each exactly once and in order of time.
    ///
    /// A block whose counts contradict each other proves nothing and is said to be so by the next judgement.
    pub fn observe(&mut self, block: &Block, context: &Context) {
        let new_step = context.new_step || self.step_pending;
        self.contradiction = contradiction(block, *context);
        self.step_pending = new_step && self.contradiction.is_some();
        if self.contradiction.is_some() {
            return;
        }
        let next = context.next_weight.filter(|&weight| weight < 1000);
        if new_step {
            self.step.clear();
        }
        self.step.last = next.is_none();
        let nothing = Counts::default();
        let source = if context.source_live { &block.source } else { &nothing };
        let target = &block.target;
        let counts = |hits: fn(&Counts) -> u64| Pair::new(hits(target), target.requests, hits(source), source.requests);
        let errors = counts(Counts::errors);
        let glance = Glance { millis: block.millis, weight: context.weight, errors, source_live: context.source_live };
        let tolerance = self.guard(GuardKind::Errors).map(|g| Tolerance { ratio: g.ratio, margin: g.margin });
        self.watch.observe(&glance, tolerance);
        if context.source_live {
            let glance = MixGlance { millis: block.millis, weight: context.weight, source, target };
            self.mix.observe(&glance, &AskedMix::of(&self.guards));
        }
        let table = Table {
            millis: block.millis,
            new_step,
            next_weight: f64::from(context.next_weight.unwrap_or(context.weight)) / 1000.0,
            source_live: context.source_live,
            errors,
            bad: counts(Counts::bad),
            client_errors: counts(Counts::client_errors),
            redirects: counts(Counts::redirects),
            latency: self
                .moved_latency()
                .and_then(|moved| self.latency.latencies(&target.latency, &source.latency, &moved)),
            exchange: self
                .moved_exchange()
                .and_then(|moved| self.exchange.latencies(&target.exchange, &source.exchange, &moved)),
        };
        self.engine.observe(&table);
        if self.failed.is_none() && self.engine.log_evidence() >= self.evidence_max().ln() {
            self.failed = self.engine.log_components().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(kind, _)| kind);
        }
        if !errors.is_one_sided() || !context.source_live && target.requests > 0 {
            self.step.millis = self.step.millis.saturating_add(block.millis);
        }
        self.step.source.merge(source);
        self.step.target.merge(target);
        self.latency.learn(&source.latency);
        self.exchange.learn(&source.exchange);
    }

    /// Where the cutover reverts.
    fn evidence_max(&self) -> f64 {
        if self.guards.is_sound() { 1.0 / self.guards.false_revert_max } else { f64::MAX }
    }

    fn guard(&self, kind: GuardKind) -> Option<&Guard> {
        self.guards.guards.iter().find(|guard| guard.kind == kind)
    }

    /// The tolerance of a guard in buckets; `None` where the policy has no such guard.
    fn tolerated(&self, kind: GuardKind) -> Option<u16> {
        self.guard(kind).map(|guard| buckets_of(guard.ratio))
    }

    /// How far the gate moves the target's edges: it may never ask for more than the guards tolerate, or a target in
    /// between would hold for ever.
    fn passing(&self, tolerated: u16) -> u16 {
        buckets_of(self.guards.pass.latency_ratio).max(tolerated.saturating_add(1))
    }

    fn moved_latency(&self) -> Option<Moved> {
        let all = self.tolerated(GuardKind::Latency);
        let parts = LATENCY_PARTS.map(|kind| self.tolerated(kind));
        let widest = parts.into_iter().chain([all]).flatten().max()?;
        Some(Moved { all: all.unwrap_or(0), parts, passing: self.passing(widest) })
    }

    fn moved_exchange(&self) -> Option<Moved> {
        let all = self.tolerated(GuardKind::Exchange)?;
        Some(Moved { all, parts: [None; 4], passing: self.passing(all) })
    }

    /// The verdict after the last block, the same as [`verdict`](Self::verdict) gives, without the words: it takes no
    /// memory and a fraction of the time, for those who ask thousands of times a second.
    pub fn proven(&self) -> Verdict {
        let mut act = self.watch.act(self.guards.burst_millis);
        if self.contradiction.is_some() {
            act = act.max(Act::Hold);
        }
        if self.failed.is_some() || self.mix.seen().is_some() || act == Act::Revert {
            return Verdict::Fail;
        }
        let suspicion = exp_finite(self.engine.log_evidence());
        let guards = &self.guards.guards;
        // Of each kind only the first counts.
        let mut on = guards
            .iter()
            .enumerate()
            .filter(|(at, guard)| guards[..*at].iter().all(|other| other.kind != guard.kind))
            .map(|(_, guard)| guard.kind)
            .filter(|&kind| self.engine.part_of(kind).is_some())
            .peekable();
        if act == Act::Tell && on.peek().is_some() && on.all(|kind| self.passes(kind, suspicion)) {
            Verdict::Pass
        } else {
            Verdict::Unknown
        }
    }

    /// Whether a guard fails by itself.
    fn fails(&self, kind: GuardKind) -> bool {
        let otherwise = self.mix.seen().is_some_and(|otherwise| match kind {
            GuardKind::Redirects => otherwise.redirects,
            GuardKind::ClientErrors => !otherwise.redirects,
            GuardKind::Success => !otherwise.redirects && self.guard(GuardKind::ClientErrors).is_none(),
            _ => false,
        });
        self.failed == Some(kind) || kind == GuardKind::Errors && self.watch.failing() || otherwise
    }

    /// Whether everything is shown that a guard needs, and for long enough.
    fn passes(&self, kind: GuardKind, suspicion: f64) -> bool {
        !self.fails(kind)
            && self.shown(kind)
            && self.step.target.requests >= self.guards.requests_min
            && self.step.millis >= self.bake_min()
            && suspicion < self.guards.pass.suspicion_max
    }

    fn shown(&self, kind: GuardKind) -> bool {
        self.guards.pass.is_sound()
            && self.engine.part_of(kind).is_some()
            && self.engine.passes(kind)
            && self.step.target.requests > 0
    }

    fn bake_min(&self) -> u64 {
        let pass = &self.guards.pass;
        if self.step.last { pass.bake_last_min_millis } else { pass.bake_min_millis }
    }

    /// What is proven after the last block.
    pub fn verdict(&self) -> Judgement {
        let evidence = exp_finite(self.engine.log_evidence());
        let mut alarms: Vec<Alarm> = self.mix.seen().map(|otherwise| otherwise.alarm()).into_iter().collect();
        alarms.extend(self.watch.alarms(self.guards.burst_millis));
        if let Some(why) = &self.contradiction {
            alarms.push(Alarm { kind: AlarmKind::BadBlock, act: Act::Hold, sentence: why.clone() });
        }
        let mut guards: Vec<GuardVerdict> = Vec::with_capacity(self.guards.guards.len());
        for guard in &self.guards.guards {
            if guards.iter().all(|verdict| verdict.guard != guard.kind) {
                guards.push(self.guard_verdict(guard, evidence));
            }
        }
        Judgement {
            verdict: self.proven(),
            guards,
            evidence,
            evidence_max: self.evidence_max(),
            p_value: (-self.engine.log_evidence_max()).exp().min(1.0),
            judged_millis: self.step.millis,
            alarms,
            world: self.world(),
        }
    }

    /// The source of this step against its own record.
    fn world(&self) -> World {
        let normal = self.baseline.normal();
        // An hour of the week has its own share of errors; latency is that of the whole record.
        let (errors_high, errors) =
            self.hour.map_or((normal.errors_high, normal.errors), |hour| (hour.errors_high, hour.errors));
        let recorded =
            Recorded { thin: self.baseline.is_thin(), errors_high, errors, latency: &self.baseline.counts().latency };
        World::of(&recorded, &self.step.source)
    }

    fn guard_verdict(&self, guard: &Guard, suspicion: f64) -> GuardVerdict {
        let kind = guard.kind;
        let own = self.engine.log_evidence_of(kind);
        let on = own.is_some();
        let seen = self.seen(guard);
        let target_requests = self.step.target.requests;
        let verdict = match (self.fails(kind), self.passes(kind, suspicion)) {
            (true, _) => Verdict::Fail,
            (false, true) => Verdict::Pass,
            (false, false) => Verdict::Unknown,
        };
        let missing = if on && verdict == Verdict::Unknown {
            let needed = self.guards.requests_min.saturating_sub(target_requests);
            self.engine.requests_missing(kind).map(|missing| missing.max(needed))
        } else {
            None
        };
        let reference = if kind == GuardKind::Baseline { Reference::Baseline } else { Reference::Source };
        let off = match on {
            true => None,
            false if !self.guards.is_sound() => {
                Some("the chance of a false revert that the policy allows cannot be kept")
            }
            false if !guard.is_sound() => Some("its tolerance cannot be meant"),
            false => Some("the baseline is thin, so nothing is judged by it"),
        };
        let said = Said {
            guard,
            verdict,
            off,
            seen: &seen,
            missing,
            shown: self.shown(kind),
            passable: self.guards.pass.is_sound(),
            mix: self.engine.waits_for_mix(kind).then(|| self.mix_seen()),
            bake_left: self.bake_min().saturating_sub(self.step.millis),
            chance: (-self.engine.log_evidence_max()).exp().min(1.0),
            wrong_pass_max: self.guards.pass.wrong_pass_max,
            suspicion: (suspicion >= self.guards.pass.suspicion_max).then_some(suspicion / self.evidence_max()),
        };
        GuardVerdict {
            guard: kind,
            verdict,
            on,
            reference,
            reference_value: seen.reference,
            target_value: seen.target,
            bound: seen.bound,
            reference_requests: seen.reference_requests,
            target_requests: seen.target_requests,
            evidence: own.map_or(1.0, exp_finite),
            evidence_max: self.engine.part_of(kind).map_or(f64::MAX, |part| (self.evidence_max() / part).min(f64::MAX)),
            requests_missing: missing,
            sentence: sentence(&said),
        }
    }

    /// What the step shows for one guard.
    fn seen(&self, guard: &Guard) -> Seen {
        let (target, source) = (&self.step.target, &self.step.source);
        match guard.kind {
            GuardKind::Errors => Seen::shares(guard, Counts::errors, source, target),
            GuardKind::Success => Seen::shares(guard, Counts::bad, source, target),
            GuardKind::ClientErrors => Seen::shares(guard, Counts::client_errors, source, target),
            GuardKind::Redirects => Seen::shares(guard, Counts::redirects, source, target),
            GuardKind::Baseline => match &self.hour {
                Some(hour) => Seen::shares(guard, Counts::errors, &hour.counts(), target),
                None => Seen::shares(guard, Counts::errors, self.baseline.counts(), target),
            },
            GuardKind::Latency | GuardKind::LatencyBody | GuardKind::LatencyTail | GuardKind::LatencySteady => {
                self.seen_latency(guard, &source.latency, &target.latency)
            }
            GuardKind::LatencySlow => Seen::slow(guard, &source.latency, &target.latency),
            GuardKind::Exchange => self.seen_latency(guard, &source.exchange, &target.exchange),
        }
    }

    /// The shares of redirects on this step, of target and source.
    fn mix_seen(&self) -> (f64, f64) {
        let share = |counts: &Counts| counts.redirects() as f64 / counts.requests.max(1) as f64;
        (share(&self.step.target), share(&self.step.source))
    }

    fn seen_latency(&self, guard: &Guard, source: &Histogram, target: &Histogram) -> Seen {
        let fewest = source.total().min(target.total());
        // A quantile is shown only where enough answers lie beyond it.
        let quantile = match (self.engine.slower_part(guard.kind), fewest) {
            (Part::Body, _) | (_, 0..100) => 0.50,
            (_, 100..2_000) => 0.90,
            _ => 0.99,
        };
        let value = |histogram: &Histogram| histogram.quantile_micros(quantile).map(|micros| micros / 1_000.0);
        let reference = value(source);
        let tolerated = (f64::from(buckets_of(guard.ratio)) / 16.0).exp2();
        Seen {
            reference,
            target: value(target),
            bound: reference.map(|reference| reference * tolerated),
            reference_requests: source.total(),
            target_requests: target.total(),
            reference_hits: 0,
            target_hits: 0,
            quantile: Some(quantile),
            slower_than: None,
        }
    }
}

/// What a step shows for one guard: figures of both sides.
pub(crate) struct Seen {
    pub(crate) reference: Option<f64>,
    pub(crate) target: Option<f64>,
    pub(crate) bound: Option<f64>,
    pub(crate) reference_requests: u64,
    pub(crate) target_requests: u64,
    pub(crate) reference_hits: u64,
    pub(crate) target_hits: u64,
    /// Which quantile the figures are; `None` for shares.
    pub(crate) quantile: Option<f64>,
    /// What counts as very slow, in milliseconds; `None` where nothing does.
    pub(crate) slower_than: Option<f64>,
}

impl Seen {
    fn shares(guard: &Guard, hits: fn(&Counts) -> u64, reference: &Counts, target: &Counts) -> Self {
        let share = |counts: &Counts| (counts.requests > 0).then(|| hits(counts) as f64 / counts.requests as f64);
        let seen = share(reference);
        Self {
            reference: seen,
            target: share(target),
            bound: seen.map(|seen| (guard.ratio * seen + guard.margin).min(1.0)),
            reference_requests: reference.requests,
            target_requests: target.requests,
            reference_hits: hits(reference),
            target_hits: hits(target),
            quantile: None,
            slower_than: None,
        }
    }

    /// The shares of answers that take longer than 99 % of the source's do; the tolerance is in how long that is at the
    /// target.
    fn slow(guard: &Guard, reference: &Histogram, target: &Histogram) -> Self {
        let edge = reference.quantile_bucket(0.99);
        let moved = edge.map(|edge| edge.saturating_add(buckets_of(guard.ratio)));
        let hits = |histogram: &Histogram, edge: Option<u16>| edge.map_or(0, |edge| histogram.above(edge));
        let share = |hits: u64, histogram: &Histogram| match histogram.total() {
            0 => None,
            total => Some(hits as f64 / total as f64),
        };
        let (reference_hits, target_hits) = (hits(reference, edge), hits(target, moved));
        let seen = share(reference_hits, reference);
        Self {
            reference: seen,
            target: share(target_hits, target).filter(|_| edge.is_some()),
            bound: seen,
            reference_requests: reference.total(),
            target_requests: target.total(),
            reference_hits,
            target_hits,
            quantile: None,
            slower_than: edge.map(|edge| Histogram::upper_micros(edge) / 1_000.0),
        }
    }
}

/// Why a block cannot be used; `None` when it can.
fn contradiction(block: &Block, context: Context) -> Option<String> {
    if block.millis == 0 {
        return Some("the last interval could not be used: it has no length".to_owned());
    }
    if context.weight > 1000 || context.next_weight.is_some_and(|weight| weight > 1000) {
        return Some("the last interval could not be used: its weight is above 1000 per mille".to_owned());
    }
    [("source", &block.source), ("target", &block.target)].iter().find_map(|(side, counts)| {
        counts.contradiction().map(|why| format!("the last interval could not be used: at the {side}, {why}"))
    })
}
