//! The statistics of CloudWatch, as its user guide defines them ("CloudWatch statistics definitions").
//!
//! Two readings of that page matter. A *fixed* range leaves out values equal to its lower bound and takes in those equal to
//! its upper bound, so that bins side by side count every value once. A *percentage* cuts at a rank: of n values in order the
//! lowest ⌈n·p⌉ are within p %. So `p99` is the greatest value that `tm99` averages, as the page says, and two ranges that
//! share a bound again split the values without rest.

use super::distribution::Distribution;

/// Parts of a per cent that a bound may name: ten decimal places.
const PERCENT: u64 = 10_000_000_000;

/// One statistic, ready to be worked out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistic {
    /// How many samples there were.
    SampleCount,
    /// Their sum.
    Sum,
    /// Sum through count.
    Average,
    /// The least.
    Minimum,
    /// The greatest.
    Maximum,
    /// `p99`: the value at a rank, in parts of a per cent.
    Percentile(u64),
    /// `tm99`, `TM(2%:98%)`, `TM(150:1000)`, `IQM`: the mean of what is in the range.
    TrimmedMean(Range),
    /// `tc99`, `TC(0.5:)`: how many are in the range.
    TrimmedCount(Range),
    /// `ts99`, `TS(80%:)`: their sum.
    TrimmedSum(Range),
    /// `wm98`, `WM(10%:90%)`: the mean of all, with those outside moved to the bound.
    WinsorizedMean(Range),
    /// `PR(:0.5)`: the percentage of values in the range.
    PercentileRank(Range),
}

/// Between which bounds; `None` is open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    /// Values above the first and up to the second.
    Fixed(Option<f64>, Option<f64>),
    /// Ranks above the first and up to the second, in parts of a per cent.
    Percent(Option<u64>, Option<u64>),
}

impl Statistic {
    /// The five that `GetMetricStatistics` calls `Statistics`.
    pub fn simple(name: &str) -> Option<Self> {
        Some(match name {
            "SampleCount" => Self::SampleCount,
            "Sum" => Self::Sum,
            "Average" => Self::Average,
            "Minimum" => Self::Minimum,
            "Maximum" => Self::Maximum,
            _ => return None,
        })
    }

    /// The others, spelled as the user guide's "Syntax" says: small letters with one number, capitals with a range.
    pub fn extended(name: &str) -> Option<Self> {
        if name == "IQM" {
            return Some(Self::TrimmedMean(Range::Percent(Some(25 * PERCENT), Some(75 * PERCENT))));
        }
        let (kind, rest) = name.split_at_checked(2)?;
        if let Some(inner) = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
            let range = Range::parse(inner)?;
            return Some(match (kind, range) {
                ("TM", _) => Self::TrimmedMean(range),
                ("TC", _) => Self::TrimmedCount(range),
                ("TS", _) => Self::TrimmedSum(range),
                ("WM", _) => Self::WinsorizedMean(range),
                ("PR", Range::Fixed(..)) => Self::PercentileRank(range),
                _ => return None,
            });
        }
        let upto = |rest| Some(Range::Percent(None, Some(percent(rest)?)));
        Some(match kind {
            "tm" => Self::TrimmedMean(upto(rest)?),
            "tc" => Self::TrimmedCount(upto(rest)?),
            "ts" => Self::TrimmedSum(upto(rest)?),
            "wm" => Self::WinsorizedMean(upto(rest)?),
            _ => Self::Percentile(percent(name.strip_prefix('p')?)?),
        })
    }

    /// Any of them.
    pub fn parse(name: &str) -> Option<Self> {
        Self::simple(name).or_else(|| Self::extended(name))
    }

    /// The statistic of what was measured. `None` is no data point: nothing was measured, or the statistic needs single,
    /// non-negative values and does not have them, or it is a mean of nothing.
    pub fn of(self, measured: &Distribution) -> Option<f64> {
        if measured.is_empty() {
            return None;
        }
        match self {
            Self::SampleCount => Some(measured.count() as f64),
            Self::Sum => Some(measured.sum()),
            Self::Average => Some(measured.sum() / measured.count() as f64),
            Self::Minimum => measured.minimum(),
            Self::Maximum => measured.maximum(),
            _ if !measured.is_raw() => None,
            Self::Percentile(percent) => value_at(measured, rank(measured.count(), percent).max(1)),
            Self::TrimmedCount(range) => Some(range.within(measured).0 as f64),
            Self::TrimmedSum(range) => Some(range.within(measured).1),
            Self::TrimmedMean(range) => match range.within(measured) {
                (0, _) => None,
                (count, sum) => Some(sum / count as f64),
            },
            Self::WinsorizedMean(range) => Some(range.moved_in(measured) / measured.count() as f64),
            Self::PercentileRank(range) => Some(100.0 * range.within(measured).0 as f64 / measured.count() as f64),
        }
    }
}

/// A percentage from 0 to 100 with at most ten decimal places, in parts of a per cent.
fn percent(text: &str) -> Option<u64> {
    let (whole, parts) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(parts) || whole.len() > 3 || parts.len() > 10 {
        return None;
    }
    let parts: u64 = format!("{parts:0<10}").parse().ok()?;
    let all = whole.parse::<u64>().ok()? * PERCENT + parts;
    (all <= 100 * PERCENT).then_some(all)
}

/// How many of `count` values in order are within the lowest `percent`.
fn rank(count: u64, percent: u64) -> u64 {
    let all = u128::from(count) * u128::from(percent);
    u64::try_from(all.div_ceil(u128::from(100 * PERCENT))).unwrap_or(count)
}

/// The value at a rank, counted from 1.
fn value_at(measured: &Distribution, rank: u64) -> Option<f64> {
    let mut below = 0;
    measured.values().find_map(|(value, count)| {
        below += count;
        (below >= rank).then_some(value)
    })
}

impl Range {
    /// What stands between the parentheses: `2%:98%`, `:0.5`, `150:`. At least one bound, both of one kind.
    fn parse(inner: &str) -> Option<Self> {
        let (low, high) = inner.split_once(':')?;
        let bounds = [low, high].map(str::trim);
        if bounds == ["", ""] {
            return None;
        }
        if bounds.iter().any(|bound| bound.ends_with('%')) {
            let [low, high] = bounds.map(|bound| match bound {
                "" => Some(None),
                bound => bound.strip_suffix('%').and_then(percent).map(Some),
            });
            let (low, high) = (low?, high?);
            return (low.unwrap_or(0) < high.unwrap_or(100 * PERCENT)).then_some(Self::Percent(low, high));
        }
        let [low, high] = bounds.map(|bound| match bound {
            "" => Some(None),
            bound => bound.parse::<f64>().ok().filter(|bound| bound.is_finite()).map(Some),
        });
        let (low, high) = (low?, high?);
        (low.unwrap_or(f64::NEG_INFINITY) < high.unwrap_or(f64::INFINITY)).then_some(Self::Fixed(low, high))
    }

    /// How many values are in the range, and their sum.
    fn within(self, measured: &Distribution) -> (u64, f64) {
        let total = measured.count();
        let mut below = 0;
        measured.values().fold((0, 0.0), |(count, sum), (value, times)| {
            let inside = match self {
                Self::Fixed(low, high) => {
                    let inside = low.is_none_or(|low| value > low) && high.is_none_or(|high| value <= high);
                    if inside { times } else { 0 }
                }
                Self::Percent(low, high) => {
                    let (low, high) =
                        (low.map_or(0, |low| rank(total, low)), high.map_or(total, |high| rank(total, high)));
                    (below + times).min(high).saturating_sub(below.max(low))
                }
            };
            below += times;
            (count + inside, sum + value * inside as f64)
        })
    }

    /// The sum of all values, with those outside of the range moved to its bounds: to the bounds themselves where they are
    /// values, to the values at their ranks where they are percentages.
    fn moved_in(self, measured: &Distribution) -> f64 {
        let total = measured.count();
        let (low, high) = match self {
            Self::Fixed(low, high) => (low, high),
            Self::Percent(low, high) => {
                let at = |percent| value_at(measured, rank(total, percent).max(1));
                (low.and_then(at), high.and_then(at))
            }
        };
        let (low, high) = (low.unwrap_or(f64::NEG_INFINITY), high.unwrap_or(f64::INFINITY));
        measured.values().map(|(value, times)| value.clamp(low, high) * times as f64).sum()
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use super::*;

    /// 1 to 10, each once.
    fn ten() -> Distribution {
        let mut ten = Distribution::default();
        (1..=10).for_each(|value| ten.add(f64::from(value), 1));
        ten
    }

    fn of(name: &str, measured: &Distribution) -> Option<f64> {
        Statistic::parse(name).unwrap_or_else(|| panic!("{name} is a statistic")).of(measured)
    }

    /// Proves the five simple statistics.
    #[test]
    fn simple_statistics() {
        let ten = ten();
        let got = ["SampleCount", "Sum", "Average", "Minimum", "Maximum"].map(|name| of(name, &ten));
        assert_eq!(got, [10.0, 55.0, 5.5, 1.0, 10.0].map(Some));
    }

    /// Proves that a fixed range leaves its lower bound out and takes its upper bound in, as the user guide says.
    #[test]
    fn fixed_ranges_exclude_the_lower_and_include_the_upper_bound() {
        let ten = ten();
        for (name, expected) in [
            ("TC(3:7)", 4.0),
            ("TC(:3)", 3.0),
            ("TC(3:)", 7.0),
            ("TS(3:7)", 4.0 + 5.0 + 6.0 + 7.0),
            ("TM(3:7)", 5.5),
            ("PR(:3)", 30.0),
            ("PR(3:7)", 40.0),
            ("PR(7:)", 30.0),
            // 1..3 become 3, 8..10 become 7
            ("WM(3:7)", (3.0 * 3.0 + 4.0 + 5.0 + 6.0 + 7.0 + 3.0 * 7.0) / 10.0),
        ] {
            assert_eq!(of(name, &ten), Some(expected), "{name}");
        }
    }

    /// Proves that `p` is the greatest value of what `tm` averages, and that `tm99` is `TM(:99%)`.
    #[test]
    fn percentages_cut_at_ranks() {
        let ten = ten();
        for (name, expected) in [
            ("p90", 9.0),
            ("p99", 10.0),
            ("p0", 1.0),
            ("p100", 10.0),
            ("p10.0000000001", 2.0),
            ("tc90", 9.0),
            ("tm90", 5.0),
            ("TM(:90%)", 5.0),
            ("ts90", 45.0),
            ("TS(80%:)", 19.0),
            ("TC(10%:90%)", 8.0),
            ("IQM", 6.0), // ranks 4 to 8: ⌈2.5⌉ = 3 are left out below, ⌈7.5⌉ = 8 are in
            ("TM(25%:75%)", 6.0),
            ("wm90", (45.0 + 9.0) / 10.0),
            ("WM(10%:90%)", (45.0 + 9.0) / 10.0),
        ] {
            assert_eq!(of(name, &ten), Some(expected), "{name}");
        }
    }

    /// Proves that ranges side by side count every value once, wherever the bounds lie: what makes bins out of them.
    #[test]
    fn ranges_side_by_side_miss_nothing_and_count_nothing_twice() {
        let mut rng = fastrand::Rng::with_seed(11);
        for _ in 0..200 {
            let mut some = Distribution::default();
            for _ in 0..rng.u32(1..300) {
                some.add(f64::from(rng.u32(0..50)) / 10.0, rng.u64(1..4));
            }
            let bound = f64::from(rng.u32(0..50)) / 10.0;
            for (low, high) in [
                (format!("TC(:{bound})"), format!("TC({bound}:)")),
                (format!("TC(:{}%)", bound + 1.0), format!("TC({}%:)", bound + 1.0)),
            ] {
                let both = of(&low, &some).unwrap() + of(&high, &some).unwrap();
                assert_eq!(both, some.count() as f64, "{low} and {high}");
            }
        }
    }

    /// Proves that what CloudWatch refuses as a statistic is refused.
    #[test]
    fn other_spellings_are_no_statistics() {
        for name in [
            "",
            "p",
            "P99",
            "p101",
            "p99.12345678901",
            "p-1",
            "tm",
            "TM99",
            "tm(10%:90%)",
            "TM()",
            "TM(:)",
            "TM(10)",
            "TM(10%:90)",
            "TM(90%:10%)",
            "TM(5:5)",
            "PR(10%:90%)",
            "pr90",
            "PR(1e999:)",
            "bogus",
            "sum",
            "IQM(1:2)",
            "p9 9",
        ] {
            assert_eq!(Statistic::parse(name), None, "{name}");
        }
    }

    /// Proves that nothing measured is no data point, and that a count of none is one.
    #[test]
    fn an_empty_range_counts_zero_and_has_no_mean() {
        assert_eq!(of("Sum", &Distribution::default()), None);
        assert_eq!(of("TC(100:)", &ten()), Some(0.0));
        assert_eq!(of("PR(100:)", &ten()), Some(0.0));
        assert_eq!(of("TM(100:)", &ten()), None);
    }
}
