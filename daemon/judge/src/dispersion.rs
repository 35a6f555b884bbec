//! How much more the sides scatter than independent requests would.
//!
//! Failures come in clusters, and a side has good and bad minutes of its own. Evidence is therefore divided by a
//! dispersion `phi` (at least 1), guessed before each block from the baseline and from the blocks before it. The
//! contrast is taken around the target's own running effect, so that a real regression does not pass for scatter.
//!
//! The clock of all this is the *burst* (60 s unless the policy says otherwise): shorter blocks are added up first,
//! because dispersion measured over 10 s misses what a minute does.

use serde::{Deserialize, Serialize};

use crate::evidence::Pair;
use crate::numbers::wilson_hilferty;

/// Mean of a chi-squared variable with one degree of freedom, winsorised at its 90 % quantile.
const WINSOR_MEAN: f64 = 0.8205;
/// Block sizes, in minutes, over which a baseline's dispersion is looked at.
const BLOCK_SIZES: [usize; 4] = [1, 2, 5, 10];
/// A burst that scatters more than this many times the dispersion so far counts as that: one outage is no habit.
const CLIP: f64 = 12.0;
/// So many bursts the dispersion is followed as it was measured; ...
const SETTLED_BURSTS: f64 = 120.0;
/// ... after that, where more than this part of it comes from bursts beyond [`CLIP`], which makes them an outage and no
/// habit, ...
const CLIPPED_SHARE: f64 = 0.1;
/// ... and where the mean over about the last thirty ...
const LATELY_KEEP: f64 = 29.0 / 30.0;
/// ... (none of which counts for more than this many times the mean over all) ...
const LATELY_CLIP: f64 = 1.5;
/// ... is below this part of the mean over all, ...
const CALM_SHARE: f64 = 0.2;
/// ... the past is forgotten by this much a burst.
const CALM_KEEP: f64 = 0.9;
/// From this squared coefficient of variation on, a share is not one that wanders but one that comes in bursts: it is far
/// above its mean in a few minutes and below it in all others.
const BURSTS_VARIATION: f64 = 0.15;
/// Fewer pairs of neighbouring blocks than this say nothing about dispersion.
const PAIRS_MIN: usize = 12;

/// Dispersion of a baseline: over one minute, and the greatest over 1, 2, 5 and 10 minutes. Both at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phi {
    /// `phi1`, over one minute.
    pub minute: f64,
    /// `phiL`, the greatest over longer stretches.
    pub longest: f64,
}

impl Phi {
    /// Whether what was counted comes in minutes of its own, as answers do that wait for a garbage collector, where there
    /// are so many of them in a minute on average.
    ///
    /// Counts whose mean `m` is itself drawn each minute, with a coefficient of variation `c`, have a dispersion of
    /// `1 + m c²` (the negative binomial's), so `c²` does not depend on how much traffic there is. Latency that wanders
    /// has a `c²` of about 0.01; one minute in fifty with pauses does not show; one in twelve gives 0.4.
    ///
    /// ```
    /// use judge::dispersion::Phi;
    /// // c² = (15 - 1) / 30 = 0.47, and (2.5 - 1) / 300 = 0.005.
    /// assert!(Phi { minute: 15.0, longest: 65.0 }.comes_in_bursts(30.0));
    /// assert!(!Phi { minute: 2.5, longest: 54.0 }.comes_in_bursts(300.0));
    /// ```
    pub fn comes_in_bursts(&self, hits_a_minute: f64) -> bool {
        hits_a_minute > 0.0 && (self.minute - 1.0) / hits_a_minute > BURSTS_VARIATION
    }
}

/// Dispersion of `hits` among `requests` over consecutive minutes of one side; `None` with fewer than twelve usable
/// pairs of minutes.
///
/// Successive differences, so that a slow wave of the day does not count; winsorised at the 90 % quantile, so that a
/// few outages do not either.
///
/// ```
/// // Alternating 5 and 15 hits of 1000: each pair of minutes differs by 10, where independence would give sqrt(20).
/// let (hits, requests) = ([5.0, 15.0].repeat(20), [1000.0; 40]);
/// let phi = judge::dispersion::phi_baseline(&hits, &requests).unwrap();
/// assert!((phi.minute - 100.0 / 19.8 * 1999.0 / 2000.0 / 0.8205).abs() < 1e-9);
/// ```
pub fn phi_baseline(hits: &[f64], requests: &[f64]) -> Option<Phi> {
    let mut minute = None;
    let mut longest = 1f64;
    for size in BLOCK_SIZES {
        let (k, n) = (sums(hits, size), sums(requests, size));
        let Some(phi) = successive(&k, &n) else { continue };
        if size == 1 {
            minute = Some(phi.max(1.0));
        }
        longest = longest.max(phi);
    }
    minute.map(|minute| Phi { minute, longest: longest.max(minute) })
}

/// Sums of whole groups of `size`.
fn sums(values: &[f64], size: usize) -> Vec<f64> {
    values.chunks_exact(size).map(|group| group.iter().sum()).collect()
}

/// Winsorised mean of the squared differences of neighbours over what independence would give.
fn successive(hits: &[f64], requests: &[f64]) -> Option<f64> {
    let mut squares: Vec<f64> = Vec::with_capacity(hits.len());
    for (k, n) in hits.windows(2).zip(requests.windows(2)) {
        let (hits, total) = (k[0] + k[1], n[0] + n[1]);
        if n[0] <= 0.0 || n[1] <= 0.0 || hits <= 0.0 || hits >= total {
            continue;
        }
        let p = hits / total;
        let expected = p * (1.0 - p) * (1.0 / n[0] + 1.0 / n[1]);
        squares.push((k[0] / n[0] - k[1] / n[1]).powi(2) / expected * (total - 1.0) / total);
    }
    if squares.len() < PAIRS_MIN {
        return None;
    }
    let mut sorted = squares.clone();
    sorted.sort_by(f64::total_cmp);
    let ceiling = interpolated(&sorted, 0.9);
    Some(squares.iter().map(|x| x.min(ceiling)).sum::<f64>() / squares.len() as f64 / WINSOR_MEAN)
}

/// The `q` quantile of ascending values, linear between neighbours (R's type 7).
fn interpolated(sorted: &[f64], q: f64) -> f64 {
    let at = (sorted.len() - 1) as f64 * q;
    let low = at as usize;
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (at - low as f64) * (sorted[high] - sorted[low])
}

/// The constants that differ between counts of failures and counts of slow answers.
#[derive(Clone, Copy, Debug)]
struct Constants {
    start_max: f64,
    low: f64,
    rho_below: f64,
    rho_above: f64,
    early_max: f64,
}

/// What kind of outcome a tracker follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Errors and bad answers.
    Failure,
    /// Answers slower than a quantile.
    Slow,
}

impl Outcome {
    fn constants(self) -> Constants {
        match self {
            Self::Failure => Constants { start_max: 10.0, low: 0.20, rho_below: 0.0, rho_above: 2.0, early_max: 5.0 },
            Self::Slow => Constants { start_max: 4.0, low: 0.40, rho_below: 1.0, rho_above: 0.5, early_max: 2.0 },
        }
    }
}

/// Follows the dispersion of one outcome through a cutover.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tracker {
    outcome: Outcome,
    phi: Phi,
    /// Requests a minute in the baseline.
    usual: f64,
    /// Mantel-Haenszel sums of the target's running effect.
    above: f64,
    below: f64,
    started: bool,
    squares: f64,
    df: f64,
    products: f64,
    roots: f64,
    last_root: Option<f64>,
    /// The part of `squares` that comes from bursts which were held to the most that one may count for.
    clipped: f64,
    /// How much the last bursts scattered.
    lately: f64,
    /// The burst that is being added up.
    open: Open,
}

/// Blocks of a burst that is not complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Open {
    millis: u64,
    target_hits: f64,
    target: f64,
    source_hits: f64,
    source: f64,
}

impl Tracker {
    /// A tracker that starts from a baseline's dispersion at `usual` requests a minute.
    pub fn new(outcome: Outcome, phi: Phi, usual: f64) -> Self {
        Self {
            outcome,
            phi,
            usual: usual.max(1.0),
            above: 0.0,
            below: 0.0,
            started: false,
            squares: 0.0,
            df: 0.0,
            products: 0.0,
            roots: 0.0,
            last_root: None,
            clipped: 0.0,
            lately: 1.0,
            open: Open::default(),
        }
    }

    /// The baseline's dispersion that the tracker started from.
    pub fn baseline(&self) -> Phi {
        self.phi
    }

    /// The dispersion for a block with so many requests on each side *a minute*; knows only the bursts before it.
    ///
    /// Quasi-likelihood (Wedderburn, Biometrika 1974): a sum of squared
    /// deviations over what independence would give, held between two chi-squared quantiles around the baseline's.
    ///
    /// ```
    /// use judge::dispersion::{Outcome, Phi, Tracker};
    /// use judge::evidence::Pair;
    /// // Nothing seen yet: 1 + 2 (3 - 1) min(1000 * 9000 / 10000 / 6000, 0.5) = 1 + 4 * 0.15.
    /// let mut tracker = Tracker::new(Outcome::Failure, Phi { minute: 1.5, longest: 3.0 }, 6_000.0);
    /// assert!((tracker.phi(1_000.0, 9_000.0) - 1.6).abs() < 1e-12);
    /// // Sides that do as the first minute did scatter less than was thought: the dispersion goes down, not below 1.
    /// for _ in 0..20 {
    ///     tracker.observe(&Pair::new(10, 1_000, 90, 9_000), 60_000, 60_000);
    /// }
    /// assert!((tracker.phi(1_000.0, 9_000.0) - 1.0).abs() < 1e-12);
    /// ```
    pub fn phi(&self, target: f64, source: f64) -> f64 {
        let constants = self.outcome.constants();
        let start = self.start(target, source);
        if self.df < 3.0 {
            return start;
        }
        let low = self.psi() * self.squares / wilson_hilferty(0.65, self.df);
        let high = self.psi() * self.squares / wilson_hilferty(constants.low, self.df);
        start.max(low).min(high).max(1.0)
    }

    /// The dispersion that the baseline lets expect.
    fn start(&self, target: f64, source: f64) -> f64 {
        let Phi { minute, longest } = self.phi;
        let both = if target + source > 0.0 { target / (target + source) * source } else { 0.0 };
        (1.0 + 2.0 * (longest - 1.0) * (both / self.usual).min(0.5))
            .max(minute.min(4.0))
            .clamp(1.0, self.outcome.constants().start_max)
    }

    /// How much more long stretches scatter than minutes do: from the baseline, within what autocorrelation allows.
    fn psi(&self) -> f64 {
        let constants = self.outcome.constants();
        let baseline = self.phi.longest / self.phi.minute;
        if self.df < 5.0 {
            return baseline.min(constants.early_max);
        }
        let rho = if self.roots > 0.0 { self.products / self.roots } else { 0.0 };
        let inflate = |rho: f64| {
            let rho = rho.clamp(0.0, 0.9);
            (1.0 + rho) / (1.0 - rho)
        };
        let root = self.df.sqrt();
        baseline.max(inflate(rho - constants.rho_below / root)).min(inflate(rho + constants.rho_above / root))
    }

    /// Adds a block of so many milliseconds; at the end of a burst the dispersion is brought up to date.
    pub fn observe(&mut self, pair: &Pair, millis: u64, burst_millis: u64) {
        self.open.millis = self.open.millis.saturating_add(millis);
        self.open.target_hits += pair.target_hits;
        self.open.target += pair.target;
        self.open.source_hits += pair.source_hits;
        self.open.source += pair.source;
        if self.open.millis >= burst_millis {
            let Open { millis, target_hits, target, source_hits, source } = std::mem::take(&mut self.open);
            self.close(&Pair { target_hits, target, source_hits, source }, millis);
        }
    }

    /// Brings the dispersion up to date with a complete burst.
    fn close(&mut self, burst: &Pair, millis: u64) {
        if burst.is_one_sided() {
            return;
        }
        let (target, source) = (burst.target, burst.source);
        let total = target + source;
        let hits = burst.target_hits + burst.source_hits;
        if self.started && hits >= 3.0 {
            let effect = (self.above + 0.5) / (self.below + 0.5);
            let q = effect * target / (effect * target + source);
            let variance = hits * q * (1.0 - q) * (1.0 - hits / total).max(0.001);
            let minutes = millis as f64 / 60_000.0;
            let most = CLIP * self.phi(target / minutes, source / minutes);
            let difference = burst.target_hits - q * hits;
            let square = (difference * (difference / variance)).min(most);
            if square.is_finite() {
                let root = square.sqrt().copysign(difference);
                self.squares += square;
                self.clipped += if square >= most { square } else { 0.0 };
                self.df += 1.0;
                self.products += self.last_root.map_or(0.0, |last| root * last);
                self.roots += root * root;
                self.last_root = Some(root);
                self.forget(square);
            }
        }
        self.started = true;
        self.above += burst.target_hits * (source / total);
        self.below += burst.source_hits * (target / total);
    }
}

impl Tracker {
    /// After an outage the dispersion would fall only as slowly as a mean over all bursts does. Where a stretch shows
    /// that the sides have calmed down, the past is forgotten instead; not so where a service scatters much as a habit,
    /// whose lulls prove nothing.
    fn forget(&mut self, square: f64) {
        let usual = self.squares / self.df;
        self.lately = LATELY_KEEP * self.lately + (1.0 - LATELY_KEEP) * square.min(LATELY_CLIP * usual);
        let outage = self.clipped > CLIPPED_SHARE * self.squares;
        if self.df >= SETTLED_BURSTS && outage && usual > 1.0 && self.lately < CALM_SHARE * usual {
            self.squares *= CALM_KEEP;
            self.clipped *= CALM_KEEP;
            self.products *= CALM_KEEP;
            self.roots *= CALM_KEEP;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn too_short_a_baseline_says_nothing_of_dispersion() {
        // Twelve minutes have eleven pairs.
        assert_eq!(phi_baseline(&[3.0; 12], &[1000.0; 12]), None);
        assert!(phi_baseline(&[3.0; 13], &[1000.0; 13]).is_some());
    }

    #[test]
    fn an_outage_is_forgotten_within_hours() {
        // Ten minutes in which the sides fail by very different shares, early, late, and late for two hours; then as
        // before. Within three hours the dispersion is of the order of what it was, where a mean over all bursts would
        // take two weeks after the first.
        let phi = Phi { minute: 1.2, longest: 1.5 };
        for (before, outage) in [(5, 10), (120, 10), (600, 120)] {
            let mut rng = fastrand::Rng::with_seed(before);
            let mut tracker = Tracker::new(Outcome::Failure, phi, 3_000.0);
            let mut minute = |tracker: &mut Tracker, shares: (f64, f64)| {
                let mut hits = |requests: u64, share: f64| (0..requests).filter(|_| rng.f64() < share).count() as u64;
                let pair = Pair::new(hits(1_000, shares.0), 1_000, hits(2_000, shares.1), 2_000);
                tracker.observe(&pair, 60_000, 60_000);
                tracker.phi(1_000.0, 2_000.0)
            };
            for _ in 0..before {
                minute(&mut tracker, (0.01, 0.01));
            }
            let usual = tracker.phi(1_000.0, 2_000.0);
            for at in 0..outage {
                minute(&mut tracker, if at % 2 == 0 { (0.5, 0.2) } else { (0.2, 0.5) });
            }
            let after = tracker.phi(1_000.0, 2_000.0);
            assert!(after > 1.5 * usual, "an outage does scatter: {after}, usually {usual}");
            let mut minutes = 0;
            while minute(&mut tracker, (0.01, 0.01)) > 5.0 * phi.longest {
                minutes += 1;
                assert!(minutes <= 180, "still {tracker:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn dispersion_does_not_depend_on_how_a_minute_is_split(
            minutes in prop::collection::vec((0u64..30, 100u64..2000, 0u64..30, 100u64..2000), 1..20),
            parts in 1u64..7,
        ) {
            // A tracker fed with whole minutes and one fed with parts of them end in the same state.
            let phi = Phi { minute: 1.3, longest: 2.0 };
            let mut whole = Tracker::new(Outcome::Failure, phi, 1000.0);
            let mut split = whole.clone();
            for (kt, nt, ks, ns) in minutes {
                whole.observe(&Pair::new(kt, nt, ks, ns), 60_000, 60_000);
                let mut seen = [0; 4];
                for part in 1..=parts {
                    let now = [kt, nt, ks, ns].map(|count| count * part / parts);
                    let [a, b, c, d]: [u64; 4] = std::array::from_fn(|i| now[i] - seen[i]);
                    split.observe(&Pair::new(a, b, c, d), 60_000 * part / parts - 60_000 * (part - 1) / parts, 60_000);
                    seen = now;
                }
            }
            prop_assert_eq!(whole, split);
        }

        #[test]
        fn any_counts_give_a_dispersion(
            bursts in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>()), 1..12),
            slow: bool,
        ) {
            let outcome = if slow { Outcome::Slow } else { Outcome::Failure };
            let mut tracker = Tracker::new(outcome, Phi { minute: 2.0, longest: 9.0 }, 100.0);
            for (kt, nt, ks, ns) in bursts {
                tracker.observe(&Pair::new(kt.min(nt), nt, ks.min(ns), ns), 60_000, 60_000);
                let phi = tracker.phi(nt as f64, ns as f64);
                prop_assert!(phi.is_finite() && phi >= 1.0, "{}", phi);
            }
        }
    }
}
