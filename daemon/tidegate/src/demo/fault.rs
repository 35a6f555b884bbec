//! The ways in which the demo breaks its target.

use std::fmt;
use std::str::FromStr;

/// One way to break the target; each is a way real clusters break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// 30 % of its answers are 500.
    Errors,
    /// Its latency is three times what it was.
    Slow,
    /// Its process is gone: connections are refused, those that were open are reset.
    Outage,
    /// A correct head, then the body a byte at a time.
    Drip,
    /// It accepts and never answers.
    Silent,
}

impl Fault {
    /// The word on the command line and on the wire to the upstream's process.
    pub fn word(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Slow => "slow",
            Self::Outage => "outage",
            Self::Drip => "drip",
            Self::Silent => "silent",
        }
    }

    /// What happened, for the screen.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Errors => "30 % of the target's answers are now 500",
            Self::Slow => "the target now takes three times as long",
            Self::Outage => "the target's process was killed",
            Self::Drip => "the target now sends its bodies a byte at a time",
            Self::Silent => "the target now accepts and never answers",
        }
    }

    /// What had happened, for the summary.
    pub fn past(self) -> &'static str {
        match self {
            Self::Errors => "30 % of the target's answers were 500",
            Self::Slow => "the target took three times as long",
            Self::Outage => "the target's process was killed",
            Self::Drip => "the target sent its bodies a byte at a time",
            Self::Silent => "the target accepted and never answered",
        }
    }

    /// Whether a tripwire is fast enough to see it; the judge takes longer and sees the rest.
    pub fn trips(self) -> bool {
        match self {
            Self::Errors | Self::Outage | Self::Silent => true,
            Self::Slow | Self::Drip => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        [Self::Errors, Self::Slow, Self::Outage, Self::Drip, Self::Silent]
            .into_iter()
            .find(|fault| fault.word() == word)
            .ok_or_else(|| format!("there is no fault `{word}`; known are errors, slow, outage, drip and silent"))
    }
}
