//! Durations, time zones and change windows, as text.

use std::time::Duration;

use super::super::{ChangeWindow, words};
use super::{Format, Input, Mistake, text_of};

/// No policy waits longer than this for anything; it keeps all sums of durations far from overflow.
const PERIOD_MAX: Duration = Duration::from_hours(366 * 24);

/// A length of time, with its unit: `90s`, `5m`, `1h30m`, `250ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period(pub Duration);

/// The units of a duration, the longest first, with the words people write for them.
const UNITS: [(&str, u64, &[&str]); 5] = [
    ("d", 86_400_000, &["day", "days"]),
    ("h", 3_600_000, &["hr", "hrs", "hour", "hours"]),
    ("m", 60_000, &["min", "mins", "minute", "minutes"]),
    ("s", 1000, &["sec", "secs", "second", "seconds"]),
    ("ms", 1, &["msec", "msecs", "milli", "millis", "millisecond", "milliseconds"]),
];

impl Format for Period {
    const NAME: &'static str = "period";
    const NUMBERS: bool = false;
    const EXAMPLE: &'static str = "5m";

    fn read(input: Input<'_>) -> Result<Self, Mistake> {
        let text = text_of(input, "a duration with its unit", Self::EXAMPLE)?;
        let wrong = |hint: String| Mistake::new(format!("`{text}` is not a duration"), hint);
        let usual = "write a number and its unit, such as `250ms`, `90s`, `5m`, `1h30m` or `2d`";
        match read_period(text) {
            Some(period) if period <= PERIOD_MAX => Ok(Self(period)),
            Some(_) => Err(Mistake::new(format!("`{text}` is longer than a year"), "the longest duration is `366d`")),
            None => {
                Err(wrong(mended_period(text).map_or_else(|| usual.to_owned(), |mended| format!("write `{mended}`"))))
            }
        }
    }
}

/// Reads `1h30m` and the like: whole numbers, each with a unit, the units descending.
fn read_period(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut millis: u64 = 0;
    let mut last = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let &(_, unit, _) = UNITS.iter().find(|(name, ..)| *name == &rest[..letters])?;
        rest = &rest[letters..];
        if unit >= last {
            return None;
        }
        last = unit;
        millis = millis.checked_add(number.checked_mul(unit)?)?;
    }
    (!text.is_empty()).then(|| Duration::from_millis(millis))
}

/// What somebody who wrote `5 mins`, `1.5h` or `PT5M` meant, if it can be guessed.
fn mended_period(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_prefix("pt").unwrap_or(&text).replace([' ', ',', '_'], "");
    let mut millis = 0.0;
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let word = if letters == 0 && rest.is_empty() { "s" } else { &rest[..letters] };
        let &(_, unit, _) = UNITS.iter().find(|(name, _, words)| *name == word || words.contains(&word))?;
        rest = &rest[letters..];
        millis += number * unit as f64;
    }
    let longest = PERIOD_MAX.as_millis() as f64;
    (!text.is_empty() && millis.is_finite() && (0.0..=longest).contains(&millis))
        .then(|| period_text(Duration::from_millis(millis.round() as u64)))
}

/// A duration as a policy file says it: `1h30m`.
pub fn period_text(period: Duration) -> String {
    let mut rest = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (name, unit, _) in UNITS {
        if rest >= unit {
            text.extend([(rest / unit).to_string().as_str(), name]);
            rest %= unit;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// A time zone that is compiled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(pub String);

impl Format for Zone {
    const NAME: &'static str = "time-zone";
    const NUMBERS: bool = false;
    const EXAMPLE: &'static str = "Europe/Berlin";

    fn read(input: Input<'_>) -> Result<Self, Mistake> {
        let text = text_of(input, "a time zone", Self::EXAMPLE)?;
        // The compiled-in data, whatever the machine has: a decision must come out the same everywhere.
        let zones = jiff::tz::TimeZoneDatabase::bundled();
        match zones.get(text).ok().and_then(|zone| zone.iana_name().map(str::to_owned)) {
            Some(name) => Ok(Self(name)),
            None => Err(Mistake::new(
                format!("there is no time zone `{text}`"),
                nearest_zone(&zones, text).map_or_else(
                    || "use an IANA name such as `Europe/Berlin` or `UTC`".to_owned(),
                    |name| format!("did you mean `{name}`?"),
                ),
            )),
        }
    }
}

fn nearest_zone(zones: &jiff::tz::TimeZoneDatabase, text: &str) -> Option<String> {
    let wanted = text.to_ascii_lowercase().replace(' ', "_");
    let names: Vec<String> = zones.available().map(|name| name.as_str().to_owned()).collect();
    let city = names.iter().find(|name| name.to_ascii_lowercase().rsplit('/').next() == Some(wanted.as_str()));
    let near = || words::nearest(text, names.iter().map(String::as_str));
    city.cloned().or_else(|| near().map(str::to_owned))
}

/// A weekly stretch of time; two, when it goes past midnight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weekly(pub Vec<ChangeWindow>);

/// The days as people write them; the first three letters are enough.
const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

impl Format for Weekly {
    const NAME: &'static str = "change-window";
    const NUMBERS: bool = false;
    const EXAMPLE: &'static str = "Mon-Thu 09:00-16:00";

    fn read(input: Input<'_>) -> Result<Self, Mistake> {
        let text = text_of(input, "a window", Self::EXAMPLE)?;
        let wrong = |what: String| {
            Mistake::new(what, "write days and times, such as `Mon-Thu 09:00-16:00` or `daily 22:00-02:00`")
        };
        let (days, times) = text.trim().rsplit_once(' ').ok_or_else(|| wrong(format!("`{text}` is not a window")))?;
        let days = read_days(days).ok_or_else(|| wrong(format!("`{days}` names no days of the week")))?;
        let (from, to) = times
            .split_once('-')
            .and_then(|(from, to)| Some((minute_of_day(from)?, minute_of_day(to)?)))
            .ok_or_else(|| wrong(format!("`{times}` is not a stretch of the day")))?;
        if from == to {
            return Err(Mistake::new(
                format!("the window `{text}` closes when it opens"),
                "write `00:00-24:00` for the whole day",
            ));
        }
        if from < to {
            return Ok(Self(vec![ChangeWindow { days, from_minute: from, to_minute: to }]));
        }
        // Past midnight: the evening of these days and the morning of the days after them.
        let mut after: Vec<u8> = days.iter().map(|day| day % 7 + 1).collect();
        after.sort_unstable();
        let evening = ChangeWindow { days, from_minute: from, to_minute: 1440 };
        let morning = ChangeWindow { days: after, from_minute: 0, to_minute: to };
        Ok(Self(if to == 0 { vec![evening] } else { vec![evening, morning] }))
    }
}

/// The days named by `daily`, `Mon`, `Mon-Fri` or `Mon,Wed,Sat-Sun`; Monday is 1.
fn read_days(text: &str) -> Option<Vec<u8>> {
    if text.eq_ignore_ascii_case("daily") {
        return Some((1..=7).collect());
    }
    let mut days = std::collections::BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut day, last) = (day_of_week(first.trim())?, day_of_week(last.trim())?);
        days.insert(day);
        while day != last {
            day = day % 7 + 1;
            days.insert(day);
        }
    }
    Some(days.into_iter().collect())
}

fn day_of_week(text: &str) -> Option<u8> {
    let text = text.to_ascii_lowercase();
    let index = DAYS.iter().position(|day| text.len() >= 3 && day.starts_with(&text))?;
    u8::try_from(index + 1).ok()
}

/// Minutes after midnight of `HH:MM`; `24:00` is the end of the day.
fn minute_of_day(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let digits = |part: &str| part.len() <= 2 && !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(hour) || !digits(minute) || minute.len() != 2 {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    ((hour < 24 && minute < 60) || (hour == 24 && minute == 0)).then_some(hour * 60 + minute)
}
