//! What nobody can do better than: how soon a test would be sure that knew the source and the fault beforehand.
//!
//! A sequential test of one simple claim against another that errs with a chance of at most alpha and stops for certain
//! under the alternative needs at least `ln(1/alpha) / KL` requests of the target on average (Wald 1945), `KL` being how
//! much one request tells: the divergence of the fault's distribution from the *nearest one within tolerance*. Ours knows
//! neither the source nor the fault, looks at everything at once and must survive noise of which this test knows nothing;
//! so the ratio to it is the price of all that.

use judge::histogram::BUCKETS;
use judge::latency::monotone_lr;
use judge::{Guard, GuardKind};
use statrs::distribution::{Beta, ContinuousCDF};

use super::fault::{Fault, Kind, Size};
use super::latency::Spread;
use super::world::{BAD, Row};

/// The exact interval of a chance after `hits` of `trials`, at a level of confidence (0 to 1): quantiles of beta
/// distributions (Clopper and Pearson 1934).
///
/// ```
/// // None of a hundred: the upper end is 1 - 0.025^(1/100).
/// let (low, high) = tidegate_tests::judged::limit::clopper_pearson(0, 100, 0.95);
/// assert!(low == 0.0 && (high - 0.036_217).abs() < 1e-6);
/// ```
pub fn clopper_pearson(hits: u64, trials: u64, confidence: f64) -> (f64, f64) {
    let tail = (1.0 - confidence) / 2.0;
    let quantile = |a: f64, b: f64, p: f64, end: f64| Beta::new(a, b).map_or(end, |beta| beta.inverse_cdf(p));
    let (k, n) = (hits as f64, trials as f64);
    let low = if hits == 0 { 0.0 } else { quantile(k, n - k + 1.0, tail, 0.0) };
    let high = if hits >= trials { 1.0 } else { quantile(k + 1.0, n - k, 1.0 - tail, 1.0) };
    (low, high)
}

/// How many requests of the target the test that knows the fault needs on average, at least 1; `None` without a fault, or
/// where no guard looks at what is wrong.
pub fn requests(row: &Row, alpha: f64) -> Option<f64> {
    let told = told_by_a_request(row)?;
    (told > 0.0).then(|| (-alpha.ln() / told).max(1.0))
}

/// The divergence from the nearest distribution within tolerance, a request.
fn told_by_a_request(row: &Row) -> Option<f64> {
    let fault = row.fault?;
    let world = row.world;
    let within = |kind: GuardKind, share: f64| {
        let guard = Guard::usual(kind);
        (guard.ratio * share + guard.margin).min(1.0)
    };
    let scaled = |share: f64| match fault.size {
        Size::Times(factor) => share * factor,
        Size::Share(share) => share,
    };
    match fault.kind {
        Kind::Errors => {
            Some(of_shares(scaled(world.errors * world.target_errors), within(GuardKind::Errors, world.errors)))
        }
        Kind::Outage => {
            let refused = scaled(0.0);
            let failing = refused + (1.0 - refused) * world.errors;
            Some(of_shares(failing, within(GuardKind::Errors, world.errors)))
        }
        Kind::ClientErrors => {
            let bad = |client: f64| world.errors + (1.0 - world.errors) * client;
            Some(of_shares(bad(scaled(BAD)), within(GuardKind::Success, bad(BAD))))
        }
        Kind::LatencyMean | Kind::LatencyTail | Kind::Slow => Some(of_spreads(&slowed(fault, world.target_latency))),
        Kind::Redirects | Kind::Silent => None,
    }
}

/// How the target's answers are spread with a fault of latency.
fn slowed(fault: Fault, usual: f64) -> Spread {
    let spread = Spread { shift: usual.ln(), ..Spread::USUAL };
    match (fault.kind, fault.size) {
        (Kind::LatencyMean, Size::Times(factor)) => Spread { shift: spread.shift + factor.ln(), ..spread },
        (Kind::LatencyTail, Size::Times(tail)) => Spread { tail, ..spread },
        (Kind::Slow, Size::Share(paused)) => Spread { paused, ..spread },
        _ => spread,
    }
}

/// The divergence of one chance from another; 0 where the first is within the second.
fn of_shares(share: f64, tolerated: f64) -> f64 {
    let part = |p: f64, q: f64| if p > 0.0 { p * (p / q).ln() } else { 0.0 };
    if share <= tolerated { 0.0 } else { part(share, tolerated) + part(1.0 - share, 1.0 - tolerated) }
}

/// The divergence of a spread of latency from the nearest one that is stochastically no slower than the source's times
/// the tolerance.
///
/// That nearest one is to the fault's what a greatest convex minorant is (Barlow and Brunk 1972): seen from the slowest
/// bucket on, its ratio to the fault's never falls; pool adjacent violators finds it.
fn of_spreads(faulty: &Spread) -> f64 {
    let all = |spread: &Spread| {
        let mut masses = Vec::new();
        let first = usize::from(spread.masses(&mut masses));
        let mut all = vec![0.0; BUCKETS];
        all[first..first + masses.len()].copy_from_slice(&masses);
        all
    };
    let tolerance = Guard::usual(GuardKind::Latency).ratio;
    let tolerated = all(&Spread { shift: tolerance.ln(), ..Spread::USUAL });
    // From the slowest bucket on; what the fault never reaches belongs to the next that it does.
    let (mut a, mut s): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
    let mut left = 0.0;
    for (&fault, &within) in all(faulty).iter().zip(&tolerated).rev() {
        left += within;
        if fault > 1e-12 {
            a.push(fault);
            s.push(left);
            left = 0.0;
        }
    }
    if let Some(last) = s.last_mut() {
        *last += left;
    }
    let nearest = monotone_lr(&s, &a);
    a.iter().zip(&nearest).map(|(a, q)| a * (a / q).ln()).sum()
}

#[cfg(test)]
mod tests {
    use super::super::names::rows;
    use super::*;

    fn limit(row: &str) -> f64 {
        requests(&rows(row).unwrap()[0], 0.05).unwrap()
    }

    #[test]
    fn exact_intervals_are_those_of_the_tables() {
        // 24 of 1000 (R's binom.test): 1.54 to 3.55 %.
        let (low, high) = clopper_pearson(24, 1000, 0.95);
        assert!((low - 0.015_437).abs() < 1e-5 && (high - 0.035_507).abs() < 1e-4, "{low} {high}");
        assert!((clopper_pearson(7, 7, 0.95).1 - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_limit_of_a_share_is_walds() {
        // 0.1 to 0.2 %: against 0.12 %, a request tells 0.002 ln(0.002/0.0012) + 0.998 ln(0.998/0.9988) = 0.000221.
        let told = 0.002 * (0.002f64 / 0.0012).ln() + 0.998 * (0.998f64 / 0.9988).ln();
        assert!((limit("5xx-.1-.2") - 20f64.ln() / told).abs() < 1e-6);
        assert!((limit("total-outage") - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_limit_of_a_shifted_log_normal_is_its_own() {
        // 10 % slower against 4.4 % slower: two normal distributions (ln 1.1 - ln 1.044) / 0.7 apart.
        let apart = (1.1f64.ln() - 2f64.ln() / 16.0) / 0.7;
        let exact = 20f64.ln() / (apart * apart / 2.0);
        assert!((limit("mean-10") / exact - 1.0).abs() < 0.03, "{} {exact}", limit("mean-10"));
        // A tail tells more the slower it is; its body, faster than tolerated, tells nothing.
        assert!(limit("p99-x1.2") > limit("p99-x1.5") && limit("p99-x1.5") > limit("p99-x2"));
    }

    #[test]
    fn what_is_within_tolerance_has_no_limit() {
        let mut row = rows("p99-x2").unwrap()[0].clone();
        for (fault, has) in [("latency-p99:1.01", false), ("errors:x1.1", false), ("3xx:50%", false), ("slow:1%", true)]
        {
            row.fault = Some(fault.parse().unwrap());
            let limit = requests(&row, 0.05);
            assert_eq!(limit.is_some_and(|limit| limit < 1e7), has, "{fault}: {limit:?}");
        }
    }
}
