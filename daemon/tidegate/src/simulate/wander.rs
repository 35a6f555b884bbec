//! How a share wanders from minute to minute, fitted to the dispersion that a baseline shows.
//!
//! A recorded dispersion says how much more the minutes scatter than independent requests would. Here that becomes a
//! factor on the share, drawn anew each minute: the logarithm of it is normal, and each minute keeps a part of the
//! minute before (a first-order autoregression), so that both dispersions of a baseline are met: that of one minute, and
//! the greater one of up to ten.
//!
//! A baseline of one cluster cannot tell what both sides would have in common from what is each side's own. All of it is
//! taken for own: common trouble cancels in the comparison, so this is the hardest case for the judge.

use judge::dispersion::Phi;

use super::chance::{Stream, normal};

/// Lengths, in minutes, over which the judge measures the dispersion of a baseline.
const LENGTHS: [usize; 4] = [1, 2, 5, 10];
/// The most that one minute may keep of the one before: what lasts longer is no scatter but the hour's own level.
const KEEP_MAX: f64 = 0.95;
/// The most that a share may vary, relative to itself (a variance): a service that fails in a few bursts an hour.
const VARIANCE_MAX: f64 = 4.0;

/// How a share wanders.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Wander {
    /// Variance of the factor, whose mean is 1.
    pub(super) variance: f64,
    /// The part of a minute's deviation that the next one keeps, 0 to 1.
    pub(super) keep: f64,
}

impl Wander {
    /// The wander under which `requests` a minute, of which `share` (0 to 1) are hits, show the dispersion `phi`.
    ///
    /// With a factor of variance v on the share p, n requests have a variance of `n p (1-p) + n^2 p^2 v`, which is
    /// `1 + v n p / (1-p)` times that of independent requests. The judge measures by the differences of neighbouring
    /// stretches, in which what both share cancels, and so does [`seen`].
    pub(super) fn of(phi: Phi, share: f64, requests: f64) -> Self {
        let odds = share / (1.0 - share) * requests;
        let (minute, longest) = ((phi.minute - 1.0).max(0.0), (phi.longest - 1.0).max(0.0));
        if !odds.is_finite() || odds <= 0.0 || longest <= 0.0 {
            return Self::default();
        }
        let keep = keep_for(longest / minute.max(longest * 1e-3));
        let variance = (longest / (odds * most_seen(keep))).min(VARIANCE_MAX);
        Self { variance, keep }
    }

    /// The wander of one part of a share, when the whole wanders like `self` and other parts explain `explained` of its
    /// variance already. Parts are shares of all requests.
    pub(super) fn part(self, whole: f64, part: f64, explained: f64) -> Self {
        if part <= 0.0 {
            return Self::default();
        }
        let left = whole * whole * self.variance - explained;
        Self { variance: (left / (part * part)).clamp(0.0, VARIANCE_MAX), keep: self.keep }
    }

    /// A state to begin with.
    pub(super) fn begin(rng: &mut Stream) -> f64 {
        normal(rng)
    }

    /// The state of the next minute.
    pub(super) fn next(self, state: f64, rng: &mut Stream) -> f64 {
        self.keep * state + (1.0 - self.keep * self.keep).sqrt() * normal(rng)
    }

    /// The factor of a state; its mean over all states is 1.
    pub(super) fn factor(self, state: f64) -> f64 {
        if self.variance <= 0.0 {
            return 1.0;
        }
        let squared = self.variance.ln_1p();
        (squared.sqrt() * state - squared / 2.0).exp()
    }
}

/// Which part of the variance of a minute the differences of neighbouring stretches of `length` minutes show, times
/// `length`: half the mean squared difference of two neighbouring means.
fn seen(keep: f64, length: usize) -> f64 {
    let power = |exponent: usize| keep.powi(i32::try_from(exponent).unwrap_or(i32::MAX));
    let within: f64 = (1..length).map(|lag| 2.0 * (length - lag) as f64 * power(lag)).sum();
    let between: f64 = (1..2 * length).map(|lag| lag.min(2 * length - lag) as f64 * power(lag)).sum();
    (length as f64 + within - between) / length as f64
}

/// The greatest of that over the lengths that the judge looks at.
fn most_seen(keep: f64) -> f64 {
    LENGTHS.iter().map(|&length| seen(keep, length)).fold(f64::MIN_POSITIVE, f64::max)
}

/// The part that each minute keeps when the longest stretches show `ratio` times the excess of one minute.
fn keep_for(ratio: f64) -> f64 {
    let (mut low, mut high) = (0.0, KEEP_MAX);
    // The ratio grows with what is kept; forty halvings end below what a double can tell apart.
    for _ in 0..40 {
        let middle = f64::midpoint(low, high);
        if most_seen(middle) / seen(middle, 1) < ratio {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use judge::dispersion::phi_baseline;

    use super::super::chance::{Purpose, binomial, stream};
    use super::*;

    /// Proves that what is fitted to a dispersion shows that dispersion to the judge's own measure.
    #[test]
    fn a_fitted_wander_shows_the_dispersion_it_was_fitted_to() {
        for (phi, share, requests) in [
            (Phi { minute: 3.0, longest: 3.0 }, 0.01, 3_000.0),
            (Phi { minute: 2.0, longest: 4.0 }, 0.01, 3_000.0),
            (Phi { minute: 6.0, longest: 6.0 }, 0.5, 600.0),
        ] {
            let wander = Wander::of(phi, share, requests);
            let mut rng = stream(3, Purpose::Wander(0), 0);
            let mut state = Wander::begin(&mut rng);
            let (mut hits, mut all) = (Vec::new(), Vec::new());
            for _ in 0..40_000 {
                state = wander.next(state, &mut rng);
                hits.push(binomial(&mut rng, requests as u64, share * wander.factor(state)) as f64);
                all.push(requests);
            }
            let seen = phi_baseline(&hits, &all).expect("there are minutes enough");
            // The judge cuts the largest tenth of the differences, which is more than a tenth for a skewed factor.
            assert!((seen.minute / phi.minute - 1.0).abs() < 0.25, "{seen:?} where {phi:?} was asked for");
            assert!((seen.longest / phi.longest - 1.0).abs() < 0.25, "{seen:?} where {phi:?} was asked for");
        }
    }

    /// Proves that a source without scatter gets none, and that nonsense makes no nonsense.
    #[test]
    fn no_dispersion_is_no_wander() {
        let even = Phi { minute: 1.0, longest: 1.0 };
        assert_eq!(Wander::of(even, 0.01, 1_000.0), Wander::default());
        let wild = Phi { minute: 50.0, longest: 500.0 };
        for (share, requests) in [(0.0, 1_000.0), (1.0, 1_000.0), (0.1, 0.0)] {
            assert_eq!(Wander::of(wild, share, requests), Wander::default());
        }
        let rare = Wander::of(wild, 1e-6, 10.0);
        assert!(rare.variance <= VARIANCE_MAX && rare.keep <= KEEP_MAX, "{rare:?}");
    }
}
