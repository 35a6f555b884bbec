//! When traffic may rise: the policy's change windows, in their time zone, and the freeze switch.
//!
//! Time-zone data is compiled in, so that the same moment has the same answer on every machine and in every replay.
//! Reverts never ask here.

use jiff::civil::Date;
use jiff::tz::{Disambiguation, TimeZone};
use jiff::{Timestamp as Instant, ToSpan, Zoned};

use crate::policy::{ChangeWindow, WindowPolicy};
use crate::units::Timestamp;

/// Whether traffic may rise at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// It may.
    Open,
    /// The freeze switch is on.
    Frozen,
    /// It may not before then; `None` when no window opens within [`LOOK_AHEAD_DAYS`] or the zone is unknown.
    Closed {
        /// The next moment a window opens.
        until: Option<Timestamp>,
    },
}

/// How far ahead the next opening is looked for: a week and a day, since windows repeat weekly.
pub const LOOK_AHEAD_DAYS: i32 = 8;

/// Whether a rise may begin at `now`.
///
/// A local time that a clock change skips opens or closes at the moment of the change; one that happens twice opens
/// with the first and closes with the first, so that a window never lasts longer than it says.
pub fn opening(policy: &WindowPolicy, now: Timestamp) -> Opening {
    if policy.freeze {
        return Opening::Frozen;
    }
    if policy.allow.is_empty() {
        return Opening::Open;
    }
    let (Ok(zone), Ok(instant)) = (TimeZone::get(&policy.zone), Instant::from_millisecond(now.0)) else {
        return Opening::Closed { until: None };
    };
    let today = instant.to_zoned(zone.clone()).date();
    let mut next: Option<Timestamp> = None;
    for ahead in 0..=LOOK_AHEAD_DAYS {
        let Ok(date) = today.checked_add(ahead.days()) else { break };
        for window in policy.allow.iter().filter(|window| window.days.contains(&(weekday(date)))) {
            let Some((from, to)) = stretch(date, window, &zone) else { continue };
            if from <= now && now < to {
                return Opening::Open;
            }
            if from > now && from < to {
                next = Some(next.map_or(from, |earlier| earlier.min(from)));
            }
        }
        // The windows of later dates are later.
        if next.is_some() {
            break;
        }
    }
    Opening::Closed { until: next }
}

/// Monday is 1 and Sunday 7.
fn weekday(date: Date) -> u8 {
    date.weekday().to_monday_one_offset().unsigned_abs()
}

/// The moments between which a window is open on a date.
fn stretch(date: Date, window: &ChangeWindow, zone: &TimeZone) -> Option<(Timestamp, Timestamp)> {
    Some((moment(date, window.from_minute, zone)?, moment(date, window.to_minute, zone)?))
}

/// The moment of a local time given as minutes after midnight; 1440 is the midnight that ends the date.
fn moment(date: Date, minute: u16, zone: &TimeZone) -> Option<Timestamp> {
    let local = date.at(0, 0, 0, 0).checked_add(i64::from(minute).minutes()).ok()?;
    let zoned: Zoned = zone.to_ambiguous_zoned(local).disambiguate(Disambiguation::Compatible).ok()?;
    Some(Timestamp(zoned.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<Instant>().unwrap().as_millisecond())
    }

    fn office(zone: &str) -> WindowPolicy {
        let allow = vec![ChangeWindow { days: vec![1, 2, 3, 4, 5], from_minute: 8 * 60, to_minute: 16 * 60 }];
        WindowPolicy { zone: zone.to_owned(), allow, freeze: false }
    }

    #[test]
    fn a_window_opens_and_closes_by_local_time() {
        // Proves that the zone is applied: 08:00 in Berlin is 07:00Z in winter and 06:00Z in summer.
        let policy = office("Europe/Berlin");
        assert_eq!(opening(&policy, at("2026-01-12T07:00:00Z")), Opening::Open);
        assert_eq!(
            opening(&policy, at("2026-01-12T06:59:59Z")),
            Opening::Closed { until: Some(at("2026-01-12T07:00:00Z")) }
        );
        assert_eq!(opening(&policy, at("2026-07-13T06:00:00Z")), Opening::Open);
        assert_eq!(
            opening(&policy, at("2026-07-13T14:00:00Z")),
            Opening::Closed { until: Some(at("2026-07-14T06:00:00Z")) }
        );
    }

    #[test]
    fn a_closed_window_names_its_next_opening_over_the_weekend() {
        // Proves that Friday evening points at Monday morning, across the change to summer time on Sunday.
        let policy = office("Europe/Berlin");
        assert_eq!(
            opening(&policy, at("2026-03-27T20:00:00Z")),
            Opening::Closed { until: Some(at("2026-03-30T06:00:00Z")) }
        );
    }

    #[test]
    fn a_skipped_hour_opens_nothing() {
        // Proves that a window that lies wholly in the skipped hour (02:00 to 03:00 on 2026-03-29) does not open.
        let allow = vec![ChangeWindow { days: vec![7], from_minute: 120, to_minute: 180 }];
        let policy = WindowPolicy { zone: "Europe/Berlin".to_owned(), allow, freeze: false };
        for minute in 0..180 {
            let now = Timestamp(at("2026-03-29T00:00:00Z").0 + minute * 60_000);
            assert!(opening(&policy, now) != Opening::Open, "open at {now:?}");
        }
    }

    #[test]
    fn freeze_wins_and_no_windows_means_always() {
        // Proves the two ends: an empty list never closes, the switch closes everything.
        let mut policy = WindowPolicy { zone: "UTC".to_owned(), allow: Vec::new(), freeze: false };
        assert_eq!(opening(&policy, Timestamp(0)), Opening::Open);
        policy.freeze = true;
        assert_eq!(opening(&policy, Timestamp(0)), Opening::Frozen);
    }

    #[test]
    fn an_unknown_zone_is_closed() {
        // Proves that what cannot be known never counts as open.
        assert_eq!(opening(&office("Nowhere/Atlantis"), Timestamp(0)), Opening::Closed { until: None });
    }
}
