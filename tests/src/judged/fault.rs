//! What can be wrong with a target, as it is written on a command line: `KIND:SIZE[@MINUTE]`.

use std::fmt;
use std::str::FromStr;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// More answers are server errors.
    Errors,
    /// More answers are 4XX.
    ClientErrors,
    /// A share of what would have been good answers is 3XX: a login page, a wrong redirect.
    Redirects,
    /// Every answer takes so many times as long.
    LatencyMean,
    /// The slowest tenth takes longer, and from the 99 % quantile on every answer so many times as long.
    LatencyTail,
    /// A share of all answers is very slow, as in a pause of the garbage collector.
    Slow,
    /// A share of all requests is refused.
    Outage,
    /// A share of the target's requests never reaches it.
    Silent,
}

/// How much of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Size {
    /// So many times what it would have been.
    Times(f64),
    /// A share of requests, 0 to 1.
    Share(f64),
}

/// One fault of the target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// What is wrong.
    pub kind: Kind,
    /// How much of it.
    pub size: Size,
    /// The minute of the cutover from which on it is; 0 is the start.
    pub from_minute: u32,
}

/// How a fault is written.
pub const GRAMMAR: &str = "KIND:SIZE[@MINUTE], as in errors:1%  errors:x2  latency-p99:1.2  outage:100%@33
  errors        share of server errors: a share (0.2% or 0.002) or a factor (x2, or 2 and more)
  4xx           the same of 4XX
  3xx           share of good answers that become redirects
  latency-mean  factor on every answer's latency (1.1, x1.1 or +10%)
  latency-p99   factor on the latency from the 99 % quantile on, rising from 1 at the 90 % quantile
  slow          share of answers that take half a second and more
  outage        share of requests that are refused
  silent        share of the target's requests that never reach it
  @MINUTE       not before this minute of the cutover";

impl Kind {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Errors, "errors"),
        (Self::ClientErrors, "4xx"),
        (Self::Redirects, "3xx"),
        (Self::LatencyMean, "latency-mean"),
        (Self::LatencyTail, "latency-p99"),
        (Self::Slow, "slow"),
        (Self::Outage, "outage"),
        (Self::Silent, "silent"),
    ];

    /// The kind of a name, its usual variants included.
    fn named(name: &str) -> Option<Self> {
        let name = match name {
            "error" | "5xx" | "errors-5xx" => "errors",
            "errors-4xx" | "status-4xx" => "4xx",
            "redirects" | "status-3xx" => "3xx",
            "latency" | "mean" => "latency-mean",
            "p99" | "tail" => "latency-p99",
            name => name,
        };
        Self::ALL.iter().find(|(_, own)| *own == name).map(|(kind, _)| *kind)
    }

    /// How it is written.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }
}

/// A share without a percent sign is below this; from here on a bare number is a factor.
const FACTOR_MIN: f64 = 1.0;

/// Reads a size: `x2`, `+10%`, `0.2%`, `0.002` or `2`.
fn size(text: &str) -> Option<Size> {
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    if let Some(factor) = text.strip_prefix(['x', 'X', '×']) {
        return number(factor).map(Size::Times);
    }
    if let Some(more) = text.strip_prefix('+').and_then(|text| text.strip_suffix('%')) {
        return number(more).map(|percent| Size::Times(1.0 + percent / 100.0));
    }
    if let Some(percent) = text.strip_suffix('%') {
        return number(percent).map(|percent| Size::Share(percent / 100.0));
    }
    number(text).map(|number| if number < FACTOR_MIN { Size::Share(number) } else { Size::Times(number) })
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = |why: &str| format!("cannot read the fault `{text}`: {why}\n{GRAMMAR}");
        let (rest, from_minute) = match text.split_once('@') {
            None => (text, 0),
            Some((rest, minute)) => {
                let minute = minute.trim_start_matches("min").trim();
                (rest, minute.parse().map_err(|_| refused(&format!("`{minute}` is no whole minute")))?)
            }
        };
        let (kind, written) = rest.split_once(':').unwrap_or((rest, "100%"));
        let kind = Kind::named(&kind.to_lowercase()).ok_or_else(|| refused(&format!("there is no kind `{kind}`")))?;
        let size = size(written).ok_or_else(|| refused(&format!("`{written}` is no size")))?;
        let size = match (kind, size) {
            // A bare 1 is a factor that changes nothing, or all of the requests.
            (Kind::Redirects | Kind::Slow | Kind::Outage | Kind::Silent, Size::Times(one)) if one <= FACTOR_MIN => {
                Size::Share(one)
            }
            (_, size) => size,
        };
        let fits = match (kind, size) {
            (Kind::Errors | Kind::ClientErrors, Size::Share(share)) => share <= 1.0,
            (Kind::Errors | Kind::ClientErrors | Kind::LatencyMean | Kind::LatencyTail, Size::Times(factor)) => {
                factor > 0.0
            }
            (Kind::Redirects | Kind::Slow | Kind::Outage | Kind::Silent, Size::Share(share)) => share <= 1.0,
            _ => false,
        };
        if !fits {
            return Err(refused(&format!("`{written}` cannot be the size of `{}`", kind.name())));
        }
        Ok(Self { kind, size, from_minute })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.size {
            Size::Times(factor) => write!(f, "{}:x{factor}", self.kind.name())?,
            // Rounded to what can be meant, or 0.07 would be written as 7.000000000000001 %.
            Size::Share(share) => write!(f, "{}:{}%", self.kind.name(), (share * 1e10).round() / 1e8)?,
        }
        if self.from_minute > 0 { write!(f, "@{}", self.from_minute) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_reads_as_it_is_written() {
        for (text, written) in [
            ("errors:0.2%", "errors:0.2%"),
            ("errors:0.002", "errors:0.2%"),
            ("errors:2", "errors:x2"),
            ("5xx:x1.5", "errors:x1.5"),
            ("latency-p99:1.2", "latency-p99:x1.2"),
            ("latency-mean:+10%", "latency-mean:x1.1"),
            ("outage:1@33", "outage:100%@33"),
            ("outage", "outage:100%"),
            ("3xx:0.07", "3xx:7%"),
            ("silent:50%", "silent:50%"),
        ] {
            let fault: Fault = text.parse().unwrap();
            assert_eq!(fault.to_string(), written);
            assert_eq!(written.parse::<Fault>().unwrap(), fault, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_a_fault_is_refused() {
        for text in [
            "",
            "errors:",
            "errors:x",
            "errors:-1",
            "errors:200%",
            "heat:2",
            "outage:2",
            "latency-p99:0.5%",
            "errors:2@x",
        ] {
            let refusal = text.parse::<Fault>().unwrap_err();
            assert!(refusal.contains("cannot read the fault"), "{refusal}");
        }
    }
}
