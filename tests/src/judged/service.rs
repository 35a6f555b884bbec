//! A simulated service: what each minute is like, and what both sides then count in it.
//!
//! The equations are [`super::world`]'s. A minute is like what it is like for both sides before anything is counted, so
//! that blocks of any length see the same service.

use judge::{Block, Counts};

use super::chance::Chance;
use super::fault::{Fault, Kind, Size};
use super::latency::Spread;
use super::world::{Ar, BAD, Pauses, Spells, World};

/// Buckets that expect fewer answers of a block than this are drawn together, and each of their answers is put into its
/// bucket: so many answers cost about what one draw of a count does.
const ANSWERS_ONE_BY_ONE: f64 = 4.0;
/// The chances of buckets are searched from here: so many marks over 0 to 1.
const MARKS: usize = 256;
/// How far traffic swings over a day.
const SWING: f64 = 0.6;

/// What a minute is like for one side.
#[derive(Clone, Copy, Debug, PartialEq)]
struct SideMinute {
    /// Share of answers that are server errors.
    errors: f64,
    /// Share of answers that are 4XX.
    bad: f64,
    /// Share of good answers that are redirects.
    redirects: f64,
    /// Share of requests that are refused.
    refused: f64,
    spread: Spread,
}

/// A process and where it is, in its own deviations.
#[derive(Clone, Copy, Debug)]
struct Walk {
    of: Ar,
    at: f64,
}

impl Walk {
    fn new(of: Ar, chance: &mut Chance) -> Self {
        Self { of, at: if of.sd > 0.0 { chance.normal() } else { 0.0 } }
    }

    fn step(&mut self, chance: &mut Chance) -> f64 {
        if self.of.sd > 0.0 {
            let Ar { rho, .. } = self.of;
            self.at = rho * self.at + (1.0 - rho * rho).sqrt() * chance.normal();
        }
        self.of.sd * self.at
    }

    /// The factor whose log is the process, with a mean of 1.
    fn factor(&mut self, chance: &mut Chance) -> f64 {
        (self.step(chance) - self.of.sd * self.of.sd / 2.0).exp()
    }
}

/// A spell that may be going on.
#[derive(Clone, Copy, Debug)]
struct Spell {
    of: Spells,
    errors: f64,
}

impl Spell {
    /// What it adds to the errors in the next minute.
    fn step(&mut self, chance: &mut Chance) -> f64 {
        if self.of.start <= 0.0 {
            return 0.0;
        }
        if self.errors > 0.0 && chance.share() < 1.0 / self.of.minutes {
            self.errors = 0.0;
        }
        if self.errors <= 0.0 && chance.share() < self.of.start {
            let (least, most) = self.of.errors;
            self.errors = least + (most - least) * chance.share();
        }
        self.errors
    }
}

/// What one side has of its own.
#[derive(Clone, Copy, Debug)]
struct Own {
    errors: Walk,
    jitter: Walk,
    burst: Spell,
}

/// Buckets and their chances, ready to be drawn from.
#[derive(Clone, Debug, Default)]
struct Buckets {
    first: u16,
    masses: Vec<f64>,
    /// The buckets, counted from the first, whose counts are drawn each by itself.
    often: Vec<u16>,
    /// The others, ...
    rare: Vec<u16>,
    /// ... the chance of all of them together, ...
    rare_mass: f64,
    /// ... the part of it up to each, and from which of them to search for each mark.
    below: Vec<f64>,
    marks: Vec<u16>,
}

impl Buckets {
    /// Prepares for blocks of about `mean` answers; any other number can be drawn too, but not as quickly.
    fn set(&mut self, spread: &Spread, mean: f64) {
        self.first = spread.masses(&mut self.masses);
        for list in [&mut self.often, &mut self.rare, &mut self.marks] {
            list.clear();
        }
        self.below.clear();
        self.rare_mass = 0.0;
        for (bucket, &mass) in (0u16..).zip(&self.masses) {
            if mean * mass >= ANSWERS_ONE_BY_ONE {
                self.often.push(bucket);
            } else if mass > 0.0 {
                self.rare.push(bucket);
                self.rare_mass += mass;
                self.below.push(self.rare_mass);
            }
        }
        for below in &mut self.below {
            *below /= self.rare_mass;
        }
        let mut at = 0u16;
        for mark in 0..MARKS {
            while self.below.get(usize::from(at)).is_some_and(|&below| below <= mark as f64 / MARKS as f64) {
                at += 1;
            }
            self.marks.push(at);
        }
    }

    /// Draws the buckets of a Poisson number of answers into `counts`, and says how many there are.
    ///
    /// Both ways give the same distribution: a Poisson number split by chance is a Poisson number in each part.
    fn draw(&self, mean: f64, counts: &mut Counts, seen: &mut Vec<u64>, chance: &mut Chance) -> u64 {
        if mean <= 0.0 {
            return 0;
        }
        seen.clear();
        seen.resize(self.masses.len(), 0);
        for &bucket in &self.often {
            seen[usize::from(bucket)] = chance.poisson(mean * self.masses[usize::from(bucket)]);
        }
        if let Some(last) = self.rare.len().checked_sub(1) {
            for _ in 0..chance.poisson(mean * self.rare_mass) {
                let share = chance.share();
                let mut at = usize::from(self.marks[(share * MARKS as f64) as usize]);
                while self.below.get(at).is_some_and(|&below| below <= share) {
                    at += 1;
                }
                // Rounding may leave the last part a little short of the whole.
                seen[usize::from(self.rare[at.min(last)])] += 1;
            }
        }
        for (bucket, &count) in (self.first..).zip(seen.iter()) {
            counts.latency.add(bucket, count);
        }
        seen.iter().sum()
    }
}

/// A service that goes from minute to minute.
#[derive(Clone, Debug)]
pub struct Service<'a> {
    world: &'a World,
    rate: f64,
    phase: f64,
    minute: u64,
    chance: Chance,
    errors: Walk,
    jitter: Walk,
    outage: Spell,
    own: [Own; 2],
    now: [SideMinute; 2],
    traffic: f64,
    buckets: [Buckets; 2],
    seen: Vec<u64>,
    /// Whether the buckets are prepared for this minute.
    prepared: [bool; 2],
}

/// The source's place in pairs; the target's is the other.
const SOURCE: usize = 0;
/// The target's.
const TARGET: usize = 1;

impl<'a> Service<'a> {
    /// A service at a time of day drawn from `chance`, with `rate` requests a second on average.
    pub fn new(world: &'a World, rate: f64, mut chance: Chance) -> Self {
        let phase = chance.share();
        let quiet = SideMinute { errors: 0.0, bad: 0.0, redirects: 0.0, refused: 0.0, spread: Spread::USUAL };
        let errors = Walk::new(world.errors_shared, &mut chance);
        let jitter = Walk::new(world.jitter_shared, &mut chance);
        let own = [(); 2].map(|()| Own {
            errors: Walk::new(world.errors_own, &mut chance),
            jitter: Walk::new(world.jitter_own, &mut chance),
            burst: Spell { of: world.bursts, errors: 0.0 },
        });
        let outage = Spell { of: world.outages, errors: 0.0 };
        Self {
            world,
            rate,
            phase,
            minute: 0,
            chance,
            errors,
            jitter,
            outage,
            own,
            now: [quiet; 2],
            traffic: 0.0,
            buckets: Default::default(),
            seen: Vec::new(),
            prepared: [false; 2],
        }
    }

    /// Begins the next minute, with what is wrong with the target in it.
    pub fn next_minute(&mut self, fault: Option<Fault>) {
        let (world, chance) = (self.world, &mut self.chance);
        let turn = self.minute as f64 / 1440.0 + self.phase;
        self.minute += 1;
        self.traffic = self.rate * (1.0 + SWING * (std::f64::consts::TAU * turn).sin());
        let shared_errors = self.errors.factor(chance);
        let shared_jitter = self.jitter.step(chance);
        let outage = self.outage.step(chance);
        let noise = |sd: f64, chance: &mut Chance| {
            if sd > 0.0 { (sd * chance.normal() - sd * sd / 2.0).exp() } else { 1.0 }
        };
        let shared_bad = noise(world.bad_shared, chance);
        for (side, (own, now)) in self.own.iter_mut().zip(&mut self.now).enumerate() {
            let share = match world.errors_variation {
                variation if variation > 0.0 => chance.beta(world.errors, variation),
                _ => world.errors,
            };
            let mut errors = share * shared_errors * own.errors.factor(chance);
            let mut shift = shared_jitter + own.jitter.step(chance);
            let extra = outage + own.burst.step(chance);
            let bad = BAD * shared_bad * noise(world.bad_own, chance);
            let Pauses { minutes, share, millis: pause_millis } = world.pauses;
            let paused = minutes > 0.0 && chance.share() < minutes;
            let paused = if paused { share * (0.5 + chance.share()) } else { 0.0 };
            if side == TARGET {
                errors *= world.target_errors;
                shift += world.target_latency.ln();
            }
            *now = SideMinute {
                errors: errors + extra,
                bad,
                redirects: 0.0,
                refused: 0.0,
                spread: Spread { shift, tail: 1.0, paused, pause_millis },
            };
        }
        if let Some(fault) = fault {
            self.now[TARGET].suffer(fault, world);
        }
        self.prepared = [false; 2];
    }

    /// What both sides count in the next `millis` of this minute, at a target's weight of 0 to 1.
    pub fn block(&mut self, millis: u64, weight: f64, fault: Option<Fault>) -> Block {
        let requests = self.traffic * millis as f64 / 1000.0;
        let silent = match fault {
            Some(Fault { kind: Kind::Silent, size: Size::Share(share), .. }) => share,
            _ => 0.0,
        };
        let source = self.count(SOURCE, requests * (1.0 - weight));
        let target = self.count(TARGET, requests * weight * (1.0 - silent));
        Block { millis, source, target }
    }

    fn count(&mut self, side: usize, mean: f64) -> Counts {
        let mut counts = Counts::default();
        if mean <= 0.0 {
            return counts;
        }
        let now = self.now[side];
        let chance = &mut self.chance;
        let mean_answers = mean * (1.0 - now.refused);
        if !self.prepared[side] {
            self.buckets[side].set(&now.spread, mean_answers);
            self.prepared[side] = true;
        }
        let answers = self.buckets[side].draw(mean_answers, &mut counts, &mut self.seen, chance);
        counts.failed = chance.poisson(mean * now.refused);
        counts.requests = answers + counts.failed;
        let errors = now.errors.min(1.0);
        counts.status_5xx = match self.world.errors_cluster {
            0 | 1 => chance.binomial(answers, errors),
            many => (many * chance.poisson(answers as f64 * errors / many as f64)).min(answers),
        };
        let rest = answers - counts.status_5xx;
        let bad = if errors < 1.0 { now.bad / (1.0 - errors) } else { 0.0 };
        counts.status_4xx = chance.binomial(rest, bad);
        let rest = rest - counts.status_4xx;
        counts.status_3xx = if now.redirects > 0.0 { chance.binomial(rest, now.redirects) } else { 0 };
        counts.status_2xx = rest - counts.status_3xx;
        counts
    }
}

impl SideMinute {
    /// Makes the minute what the fault says.
    fn suffer(&mut self, fault: Fault, world: &World) {
        match (fault.kind, fault.size) {
            (Kind::Errors, Size::Times(factor)) => self.errors *= factor,
            // The noise stays: what was the usual share is now this one.
            (Kind::Errors, Size::Share(share)) => self.errors *= share / world.errors,
            (Kind::ClientErrors, Size::Times(factor)) => self.bad *= factor,
            (Kind::ClientErrors, Size::Share(share)) => self.bad *= share / BAD,
            (Kind::Redirects, Size::Share(share)) => self.redirects = share,
            (Kind::LatencyMean, Size::Times(factor)) => self.spread.shift += factor.ln(),
            (Kind::LatencyTail, Size::Times(factor)) => self.spread.tail = factor,
            (Kind::Slow, Size::Share(share)) => self.spread.paused = (self.spread.paused + share).min(1.0),
            (Kind::Outage, Size::Share(share)) => self.refused = share,
            // Requests that never come are left out of the block, and the rest cannot be written.
            (Kind::Silent, _)
            | (Kind::LatencyMean | Kind::LatencyTail, Size::Share(_))
            | (Kind::Redirects | Kind::Slow | Kind::Outage, Size::Times(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::rows;
    use super::*;

    /// Both sides' counts over many minutes at half the weight.
    fn counted(world: &str, fault: Option<&str>, minutes: usize, rate: f64, millis: u64) -> Block {
        let row = &rows(world).unwrap()[0];
        let fault = fault.map(|fault| fault.parse().unwrap());
        let mut service = Service::new(row.world, rate, Chance::of(&[5]));
        let mut sum = Block::default();
        for _ in 0..minutes {
            service.next_minute(fault);
            for _ in 0..60_000 / millis {
                let block = service.block(millis, 0.5, fault);
                assert_eq!(block.source.contradiction(), None);
                assert_eq!(block.target.contradiction(), None);
                sum.source.merge(&block.source);
                sum.target.merge(&block.target);
            }
        }
        sum
    }

    fn share(hits: u64, requests: u64) -> f64 {
        hits as f64 / requests as f64
    }

    #[test]
    fn a_service_counts_what_its_world_says() {
        // A day of each kind of errors has the stated mean; a request is counted once, with its latency.
        for (world, errors) in
            [("iid-binomial", 0.001), ("clustered", 0.001), ("beta-binomial-cv-1", 0.001), ("base", 0.01)]
        {
            let sum = counted(world, None, 1440, 50.0, 60_000);
            for side in [&sum.source, &sum.target] {
                assert!((share(side.requests, 50 * 43_200) - 1.0).abs() < 0.01);
                assert!((share(side.errors(), side.requests) / errors - 1.0).abs() < 0.1, "{world}");
                assert!((share(side.status_4xx, side.requests) / BAD - 1.0).abs() < 0.03, "{world}");
                assert_eq!(side.latency.total(), side.requests);
            }
        }
    }

    #[test]
    fn blocks_of_any_length_see_the_same_service() {
        // Most buckets drawn each by itself, and all of them together: the same quantiles, the same shares.
        let long = counted("latency-jitter-gc", None, 300, 60.0, 60_000);
        let short = counted("latency-jitter-gc", None, 300, 60.0, 1_000);
        for q in [0.1, 0.5, 0.9, 0.99] {
            let ratio =
                long.source.latency.quantile_micros(q).unwrap() / short.source.latency.quantile_micros(q).unwrap();
            assert!((0.95..1.06).contains(&ratio), "{q}: {ratio}");
        }
        let ratio = share(long.source.requests, short.source.requests);
        assert!((0.98..1.02).contains(&ratio), "{ratio}");
    }

    #[test]
    fn every_bucket_gets_the_answers_of_its_chance_however_it_is_drawn() {
        // Blocks for which no, some and most buckets are drawn together: over all of them each bucket's count is Poisson
        // with the sum of its means, so the squares of their deviations are about as many as there are buckets.
        let mut chance = Chance::of(&[8]);
        for (prepared, mean) in [(1e9, 40.0), (2_000.0, 2_000.0), (2_000.0, 50.0), (30.0, 30.0)] {
            let mut buckets = Buckets::default();
            buckets.set(&Spread { paused: 0.03, ..Spread::USUAL }, prepared);
            let (mut counts, mut seen, blocks) = (Counts::default(), Vec::new(), 400_000.0 / mean);
            let mut drawn = 0;
            for _ in 0..blocks as u64 {
                let mut block = Counts::default();
                let answers = buckets.draw(mean, &mut block, &mut seen, &mut chance);
                assert_eq!(answers, block.latency.total());
                drawn += answers;
                counts.latency.merge(&block.latency);
            }
            assert!((share(drawn, 400_000) - 1.0).abs() < 0.01, "{drawn}");
            let (mut squares, mut of) = (0.0, 0.0);
            for (at, mass) in (buckets.first..).zip(&buckets.masses) {
                let expected = mass * mean * blocks.floor();
                if expected > 5.0 {
                    let off = counts.latency.count_of(at) as f64 - expected;
                    (squares, of) = (squares + off * off / expected, of + 1.0);
                }
            }
            assert!(
                of > 90.0 && (squares - of).abs() < 5.0 * (2.0 * of).sqrt(),
                "{prepared} {mean}: {squares} of {of}"
            );
        }
    }

    #[test]
    fn a_fault_does_what_it_says_to_the_target_alone() {
        let of = |fault| counted("iid-binomial", Some(fault), 400, 50.0, 60_000);
        let sum = of("errors:2%");
        assert!((share(sum.target.errors(), sum.target.requests) / 0.02 - 1.0).abs() < 0.05);
        assert!((share(sum.source.errors(), sum.source.requests) / 0.001 - 1.0).abs() < 0.2);
        let sum = of("3xx:100%");
        assert_eq!((sum.target.status_2xx, sum.source.status_3xx), (0, 0));
        let sum = of("outage:1");
        assert_eq!((sum.target.failed, sum.target.latency.total()), (sum.target.requests, 0));
        let sum = of("silent:1");
        assert!(sum.target.requests == 0 && sum.source.requests > 0);
        let sum = of("latency-mean:1.4");
        let median = |counts: &Counts| counts.latency.quantile_micros(0.5).unwrap();
        assert!((median(&sum.target) / median(&sum.source) / 1.4 - 1.0).abs() < 0.05);
        let sum = of("slow:3%");
        let slow = |counts: &Counts| counts.latency.quantile_micros(0.99).unwrap();
        assert!(slow(&sum.target) > 1.5 * slow(&sum.source));
    }

    #[test]
    fn outages_are_shared_and_bursts_are_not() {
        let minutes = |world: &str| {
            let row = &rows(world).unwrap()[0];
            let mut service = Service::new(row.world, 50.0, Chance::of(&[6]));
            let mut bad = [0, 0, 0];
            for _ in 0..5000 {
                service.next_minute(None);
                let [source, target] = service.now.map(|side| side.errors > 0.008);
                bad[0] += u32::from(source);
                bad[1] += u32::from(target);
                bad[2] += u32::from(source && target);
            }
            bad
        };
        let [source, target, both] = minutes("shared-outages");
        assert!(source == both && target == both && (150..500).contains(&both), "{both}");
        let [source, target, both] = minutes("own-error-bursts");
        assert!((40..120).contains(&source) && (40..120).contains(&target) && both < 10, "{source} {target} {both}");
    }
}
