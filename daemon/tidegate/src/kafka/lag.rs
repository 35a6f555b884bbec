//! How far a replay is behind: of each partition what the Replayer's group has not committed, in records and in seconds.
//!
//! A partition whose committed offset is its end is not behind. Any other is behind by the age of the first record that is not
//! committed, by that record's own time in the topic. What cannot be known is not zero but unknown.

use std::fmt;
use std::time::Duration;

use cutover::Timestamp;
use cutover::policy::formats::period_text;
use proxy::capture::kafka::group::{Group, Next, Place};
use serde::{Serialize, Serializer};

/// So far ahead of ours the clock of whoever wrote a record may be: the record then counts as new. Further, its age is unknown.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(5);

/// How far a group is behind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lags {
    /// The group's name.
    pub group: String,
    /// Its state in Kafka's own word; `None` where the brokers know of no such group.
    pub state: Option<String>,
    /// How many consumers are in it.
    pub members: usize,
    /// By the oldest record that is not committed, how long; `None` when that of any partition is unknown, or there is none.
    pub lag_seconds: Option<f64>,
    /// Its partitions.
    pub partitions: Vec<Lag>,
}

/// How far a group is behind in one partition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lag {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset that the group reads next; `None` when it has committed none.
    pub committed: Option<i64>,
    /// The first offset that is still kept.
    pub first_offset: i64,
    /// The offset that the next record will have.
    pub end_offset: i64,
    /// How many records it has not committed, those among them that are kept no more; `None` is unknown.
    pub lag_records: Option<i64>,
    /// The first record that is kept and not committed.
    pub probed_offset: Option<i64>,
    /// That record's time in the topic.
    #[serde(serialize_with = "rfc3339")]
    pub timestamp: Option<Timestamp>,
    /// How old that record is; 0 when there is none, or it is of this moment; `None` is unknown.
    pub lag_seconds: Option<f64>,
    /// What is odd.
    #[serde(serialize_with = "text")]
    pub note: Option<Note>,
}

/// What is odd about a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The group has committed nothing here; so many older records are kept no more.
    NoCommit {
        /// How many.
        expired: i64,
    },
    /// So many records that it has not committed are kept no more: they are replayed no more.
    Expired {
        /// How many.
        records: i64,
    },
    /// It has committed more than there is: the topic was deleted and made anew.
    Above,
    /// The first record has no time.
    NoTime,
    /// The first record's time is ahead of ours by so much.
    Ahead(Duration),
    /// The first record could not be read.
    Unread(String),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCommit { expired: 0 } => f.write_str("no commit yet"),
            Self::NoCommit { expired } => write!(f, "no commit yet; {expired} older records are kept no more"),
            Self::Expired { records } => write!(f, "{records} records expired unread"),
            Self::Above => f.write_str("committed above the end: the topic was made anew"),
            Self::NoTime => f.write_str("the record has no time"),
            Self::Ahead(by) => write!(f, "the record's time is {} ahead of ours", period_text(*by)),
            Self::Unread(why) => write!(f, "the record is unknown: {why}"),
        }
    }
}

#[expect(clippy::ref_option, reason = "the shape that serde wants")]
fn text<S: Serializer>(note: &Option<Note>, serializer: S) -> Result<S::Ok, S::Error> {
    note.as_ref().map(ToString::to_string).serialize(serializer)
}

#[expect(clippy::ref_option, reason = "the shape that serde wants")]
fn rfc3339<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(crate::clock::rfc3339).serialize(serializer)
}

impl Lags {
    /// How far a group is behind at `now`, which is the time of day, as records have it.
    pub fn of(group: &str, seen: Group, now: Timestamp) -> Self {
        let partitions: Vec<Lag> =
            seen.places.into_iter().map(|((topic, partition), place)| Lag::of(topic, partition, place, now)).collect();
        let known = partitions.iter().map(|lag| lag.lag_seconds);
        let lag_seconds = known.reduce(|a, b| Some(a?.max(b?))).flatten();
        Self { group: group.to_owned(), state: seen.state, members: seen.members, lag_seconds, partitions }
    }

    /// Why nobody replays, where nobody does.
    pub fn idle(&self) -> Option<String> {
        let group = &self.group;
        match self.state.as_deref() {
            None => Some(format!("there is no group `{group}`: nobody replays under that name")),
            Some(state) if self.members == 0 => {
                Some(format!("group `{group}` is {}, with nobody in it: nobody replays", state.to_ascii_lowercase()))
            }
            Some(_) => None,
        }
    }
}

impl Lag {
    fn of(topic: String, partition: i32, place: Place, now: Timestamp) -> Self {
        let Place { committed, range, next } = place;
        let mut lag = Self {
            topic,
            partition,
            committed,
            first_offset: range.first,
            end_offset: range.end,
            lag_records: Some((range.end - committed.unwrap_or(range.first)).max(0)),
            probed_offset: None,
            timestamp: None,
            lag_seconds: None,
            note: match committed {
                None => Some(Note::NoCommit { expired: range.first }),
                Some(offset) if offset < range.first => Some(Note::Expired { records: range.first - offset }),
                Some(offset) if offset > range.end => Some(Note::Above),
                Some(_) => None,
            },
        };
        match next {
            Next::None => match lag.note {
                // What has expired may have been replayed by a group that forgot, or by nobody.
                Some(Note::Above | Note::NoCommit { expired: 1.. }) => lag.lag_records = None,
                _ => lag.lag_seconds = Some(0.0),
            },
            Next::Record { offset, at_millis: Some(millis) } => {
                lag.probed_offset = Some(offset);
                let at = Timestamp(millis);
                lag.timestamp = Some(at);
                let ahead = at.since(now);
                if ahead > CLOCKS_APART_MAX {
                    lag.note = Some(Note::Ahead(ahead));
                } else {
                    lag.lag_seconds = Some(now.since(at).as_secs_f64());
                }
            }
            Next::Record { offset, at_millis: None } => {
                lag.probed_offset = Some(offset);
                lag.note = lag.note.or(Some(Note::NoTime));
            }
            Next::Unread(why) => lag.note = Some(Note::Unread(why)),
        }
        lag
    }
}

#[cfg(test)]
mod tests {
    use proxy::capture::kafka::read::Range;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn lag(committed: Option<i64>, first: i64, end: i64, next: Next) -> Lag {
        Lag::of("t".to_owned(), 0, Place { committed, range: Range { first, end }, next }, NOW)
    }

    fn at(offset: i64, millis: i64) -> Next {
        Next::Record { offset, at_millis: Some(millis) }
    }

    fn told(lag: &Lag) -> (Option<i64>, Option<f64>, String) {
        (lag.lag_records, lag.lag_seconds, lag.note.as_ref().map(ToString::to_string).unwrap_or_default())
    }

    /// Proves that a partition is behind by the age of its first record that is not committed, that one at its end is not
    /// behind, and one that nothing was ever written to neither.
    #[test]
    fn the_first_record_that_is_not_committed_says_how_late_it_is() {
        assert_eq!(told(&lag(Some(7), 0, 10, at(7, 987_500))), (Some(3), Some(12.5), String::new()));
        assert_eq!(told(&lag(Some(10), 0, 10, Next::None)), (Some(0), Some(0.0), String::new()));
        assert_eq!(told(&lag(Some(0), 0, 0, Next::None)), (Some(0), Some(0.0), String::new()));
        assert_eq!(told(&lag(None, 0, 0, Next::None)), (Some(0), Some(0.0), "no commit yet".to_owned()));
        assert_eq!(told(&lag(None, 0, 4, at(0, 940_000))), (Some(4), Some(60.0), "no commit yet".to_owned()));
        // A clock that is a little ahead makes a record new, not old.
        assert_eq!(told(&lag(Some(9), 0, 10, at(9, 1_002_000))), (Some(1), Some(0.0), String::new()));
    }

    /// Proves that what is odd is told, and that what is unknown is never zero.
    #[test]
    fn unknown_is_never_zero() {
        let expired = lag(Some(3), 5, 10, at(5, 990_000));
        assert_eq!(told(&expired), (Some(7), Some(10.0), "2 records expired unread".to_owned()));
        let above = lag(Some(12), 0, 10, Next::None);
        assert_eq!(told(&above), (None, None, "committed above the end: the topic was made anew".to_owned()));
        let gone = lag(None, 8, 8, Next::None);
        assert_eq!(told(&gone), (None, None, "no commit yet; 8 older records are kept no more".to_owned()));
        let timeless = lag(Some(3), 0, 10, Next::Record { offset: 3, at_millis: None });
        assert_eq!(told(&timeless), (Some(7), None, "the record has no time".to_owned()));
        let ahead = lag(Some(3), 0, 10, at(3, 1_060_000));
        assert_eq!(told(&ahead), (Some(7), None, "the record's time is 1m ahead of ours".to_owned()));
        let unread = lag(Some(3), 0, 10, Next::Unread("silent".to_owned()));
        assert_eq!(told(&unread), (Some(7), None, "the record is unknown: silent".to_owned()));
    }

    /// Proves that a group is as late as its latest partition, unknown where one of them is, and that a group in which there
    /// is nobody is told for what it is.
    #[test]
    fn a_group_is_as_late_as_its_latest_partition() {
        let place = |committed, next| Place { committed: Some(committed), range: Range { first: 0, end: 10 }, next };
        let group = |state: Option<&str>, members, places: Vec<Place>| {
            let places = (0..).zip(places).map(|(partition, place)| (("t".to_owned(), partition), place)).collect();
            Lags::of("g", Group { state: state.map(str::to_owned), members, places }, NOW)
        };
        let late = vec![place(10, Next::None), place(4, at(4, 970_000)), place(2, at(2, 980_000))];
        let lags = group(Some("Stable"), 1, late.clone());
        assert_eq!((lags.lag_seconds, lags.idle()), (Some(30.0), None));
        let unknown = [late, vec![place(4, Next::Unread(String::new()))]].concat();
        assert_eq!(group(Some("Stable"), 1, unknown).lag_seconds, None);
        assert_eq!(group(Some("Stable"), 1, Vec::new()).lag_seconds, None);
        let empty = group(Some("Empty"), 0, vec![place(10, Next::None)]).idle().unwrap();
        assert_eq!(empty, "group `g` is empty, with nobody in it: nobody replays");
        assert!(group(None, 0, Vec::new()).idle().unwrap().starts_with("there is no group `g`"));
    }
}
