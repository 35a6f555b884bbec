//! What can be wrong with a target, as it is written on a command line: `KIND:SIZE[@WHEN]`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use cutover::Weight;
use cutover::policy::formats::{Period, period_text};
use serde::{Serialize, Serializer};

/// How a fault is written.
pub const GRAMMAR: &str = "KIND:SIZE[@WHEN], as in errors:1%  errors:x2  latency:x1.5  outage:100%@50%  errors:5%@20m
  errors       server errors: their share of the target's answers (1%), or times the source's (x2)
  4xx          the same of answers with 4XX
  3xx          the share of good answers that become redirects, to a login page for example
  latency      every answer takes so many times as long (x1.5 or +50%)
  latency-p99  the slowest hundredth takes so many times as long, the slowest tenth a part of that
  outage       the share of requests that get no answer at all
  @WHEN        not before the target has that share (@50%), or that long after its first request (@20m)";

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Server errors.
    Errors,
    /// Answers with 4XX.
    ClientErrors,
    /// Good answers that become redirects.
    Redirects,
    /// Every answer is slower.
    Latency,
    /// The slowest answers are slower.
    Tail,
    /// No answer at all.
    Outage,
}

/// How much of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Size {
    /// A share of the target's requests, above 0 and at most 1.
    Share(f64),
    /// So many times what it would be; above 1.
    Times(f64),
}

/// When it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Onset {
    /// It is there before the target's first request.
    Start,
    /// When the target first has this share.
    Share(Weight),
    /// So long after the target's first request.
    After(Duration),
}

/// One fault of the target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// What is wrong.
    pub kind: Kind,
    /// How much of it.
    pub size: Size,
    /// From when on.
    pub onset: Onset,
}

/// Faults that are simulated when nobody names any: from what hardly shows to what nobody can miss, and three that come
/// when half of the traffic has moved.
pub const USUAL: [&str; 11] = [
    "errors:0.2%",
    "errors:0.5%",
    "errors:2%",
    "errors:10%",
    "latency:x1.1",
    "latency:x1.3",
    "latency:x2",
    "outage:100%",
    "errors:2%@50%",
    "latency:x1.5@50%",
    "outage:100%@50%",
];

impl Kind {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Errors, "errors"),
        (Self::ClientErrors, "4xx"),
        (Self::Redirects, "3xx"),
        (Self::Latency, "latency"),
        (Self::Tail, "latency-p99"),
        (Self::Outage, "outage"),
    ];

    /// The kind of a name, its usual variants included.
    fn named(name: &str) -> Option<Self> {
        let name = match name {
            "error" | "5xx" => "errors",
            "redirects" => "3xx",
            "latency-mean" | "mean" => "latency",
            "p99" | "tail" => "latency-p99",
            name => name,
        };
        Self::ALL.iter().find(|(_, own)| *own == name).map(|(kind, _)| *kind)
    }

    /// How it is written.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// Whether its size is a number of times, and never a share.
    fn is_slow(self) -> bool {
        matches!(self, Self::Latency | Self::Tail)
    }
}

impl Fault {
    /// In words, for tables and pages: `2 % of its answers fail, from a share of 50 % on`.
    pub fn words(&self) -> String {
        let what = match (self.kind, self.size) {
            (Kind::Errors, Size::Share(share)) => format!("{} of its answers are errors", percent(share)),
            (Kind::Errors, Size::Times(times)) => format!("{times} times the source's errors"),
            (Kind::ClientErrors, Size::Share(share)) => format!("{} of its answers are 4XX", percent(share)),
            (Kind::ClientErrors, Size::Times(times)) => format!("{times} times the source's 4XX"),
            (Kind::Redirects, size) => format!("{} of its good answers become redirects", size.text()),
            (Kind::Latency, size) => format!("it takes {} as long", size.text()),
            (Kind::Tail, size) => format!("its slowest answers take {} as long", size.text()),
            (Kind::Outage, size) => format!("{} of its requests get no answer", size.text()),
        };
        match self.onset {
            Onset::Start => what,
            Onset::Share(weight) => format!("{what}, from a share of {weight} on"),
            Onset::After(after) => format!("{what}, from {} on", period_text(after)),
        }
    }
}

impl Size {
    fn text(self) -> String {
        match self {
            Self::Share(share) => percent(share),
            Self::Times(times) => format!("{times} times"),
        }
    }
}

/// Rounded to what can be meant, or 0.07 would be written as 7.000000000000001 %.
fn percent(share: f64) -> String {
    format!("{} %", (share * 1e10).round() / 1e8)
}

/// Reads a size: `x2`, `+10%`, `0.2%`. A bare number is one of times for latency and refused for shares, where nobody can
/// tell 1 from 1 %.
fn size(text: &str, kind: Kind) -> Option<Size> {
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    if let Some(times) = text.strip_prefix(['x', 'X']).or_else(|| text.strip_suffix('x')) {
        return number(times).map(Size::Times);
    }
    match text.strip_suffix('%') {
        Some(percent) if text.starts_with('+') || kind.is_slow() => {
            number(percent.trim_start_matches('+')).map(|percent| Size::Times(1.0 + percent / 100.0))
        }
        Some(percent) => number(percent).map(|percent| Size::Share(percent / 100.0)),
        None if kind.is_slow() => number(text).map(Size::Times),
        None => None,
    }
}

/// Reads when a fault begins: `50%`, `20m`, or a bare number of minutes.
fn onset(text: &str) -> Option<Onset> {
    if let Some(percent) = text.strip_suffix('%') {
        let per_mille = (percent.trim().parse::<f64>().ok()? * 10.0).round();
        let weight = (1.0..=1_000.0).contains(&per_mille).then(|| Weight::new(per_mille as u16));
        return weight.flatten().map(Onset::Share);
    }
    let period = if text.parse::<u32>().is_ok() { format!("{text}m") } else { text.to_owned() };
    serde_json::from_value(serde_json::Value::String(period)).ok().map(|Period(after)| Onset::After(after))
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = |why: String| format!("cannot read the fault `{text}`: {why}\n{GRAMMAR}");
        let (rest, when) = text.split_once('@').map_or((text, None), |(rest, when)| (rest, Some(when)));
        let (kind, written) = rest
            .split_once(':')
            .ok_or_else(|| refused("it has no size; write its kind, a colon and how much of it".to_owned()))?;
        let kind = Kind::named(&kind.trim().to_lowercase()).ok_or_else(|| {
            let known = Kind::ALL.map(|(_, name)| name).join(", ");
            refused(format!("there is no kind `{kind}`; there are {known}"))
        })?;
        let example = if kind.is_slow() { "x1.5" } else { "1%" };
        let size = size(written.trim(), kind)
            .ok_or_else(|| refused(format!("`{written}` is no size; write `{}:{example}`", kind.name())))?;
        match (kind, size) {
            (_, Size::Share(share)) if !(share > 0.0 && share <= 1.0) => {
                return Err(refused(format!("{written} of the requests cannot be; use more than 0 and at most 100%")));
            }
            (_, Size::Times(times)) if !(times > 1.0 && times <= 1e6) => {
                return Err(refused(format!("{written} is no worse than the source; use more than x1")));
            }
            (Kind::Redirects | Kind::Outage, Size::Times(_)) => {
                return Err(refused(format!(
                    "`{}` is a share of the requests; write `{}:10%`",
                    kind.name(),
                    kind.name()
                )));
            }
            _ => {}
        }
        let onset = match when {
            None => Onset::Start,
            Some(when) => onset(when.trim()).ok_or_else(|| {
                refused(format!("`{when}` is no share from 0.1% to 100% and no time; write `@50%` or `@20m`"))
            })?,
        };
        Ok(Self { kind, size, onset })
    }
}

/// As it is written on the command line.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.size {
            Size::Share(share) => write!(f, "{}:{}", self.kind.name(), percent(share).replace(' ', ""))?,
            Size::Times(times) => write!(f, "{}:x{}", self.kind.name(), (times * 1e6).round() / 1e6)?,
        }
        match self.onset {
            Onset::Start => Ok(()),
            Onset::Share(weight) => write!(f, "@{}", weight.to_string().replace(' ', "")),
            Onset::After(after) => write!(f, "@{}", period_text(after)),
        }
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that a fault is read as it is written, and written as it can be read.
    #[test]
    fn a_fault_reads_as_it_is_written() {
        for (text, written) in [
            ("errors:0.2%", "errors:0.2%"),
            ("5xx:7%", "errors:7%"),
            ("errors:x1.5", "errors:x1.5"),
            ("4xx:+100%", "4xx:x2"),
            ("latency:1.5", "latency:x1.5"),
            ("latency-mean:+10%", "latency:x1.1"),
            ("latency:20%", "latency:x1.2"),
            ("p99:2x", "latency-p99:x2"),
            ("outage:100%@50%", "outage:100%@50%"),
            ("outage:100%@0.5%", "outage:100%@0.5%"),
            ("errors:2%@33", "errors:2%@33m"),
            ("errors:2%@1h30m", "errors:2%@1h30m"),
        ] {
            let fault: Fault = text.parse().unwrap();
            assert_eq!(fault.to_string(), written);
            assert_eq!(written.parse::<Fault>().unwrap(), fault, "{text}");
        }
        for usual in USUAL {
            assert_eq!(usual.parse::<Fault>().unwrap().to_string(), usual);
        }
    }

    /// Proves that what cannot be a fault is refused with what to write instead.
    #[test]
    fn what_cannot_be_a_fault_is_refused() {
        for (text, said) in [
            ("", "it has no size"),
            ("errors", "it has no size"),
            ("heat:2%", "there is no kind `heat`; there are errors, 4xx, 3xx, latency"),
            ("errors:", "`` is no size; write `errors:1%`"),
            ("errors:0.01", "`0.01` is no size; write `errors:1%`"),
            ("errors:0%", "0% of the requests cannot be"),
            ("errors:200%", "200% of the requests cannot be; use more than 0 and at most 100%"),
            ("errors:-1%", "cannot be"),
            ("errors:NaN%", "is no size"),
            ("latency:x1", "x1 is no worse than the source"),
            ("latency:x0.5", "is no worse than the source"),
            ("outage:x2", "`outage` is a share of the requests; write `outage:10%`"),
            ("errors:2%@", "`` is no share from 0.1% to 100% and no time"),
            ("errors:2%@200%", "`200%` is no share"),
            ("errors:2%@soon", "`soon` is no share"),
        ] {
            let refusal = text.parse::<Fault>().unwrap_err();
            assert!(
                refusal.contains(&format!("cannot read the fault `{text}`")) && refusal.contains(said),
                "{refusal}"
            );
        }
    }
}
