//! Gates on the replay: what clients wrote to the source must be on the target before writes move, or a late replay would
//! write over what is newer there. How far the Replayer is, its consumer group says.
//!
//! Above the limit, unknown, or with nobody in the group, nothing rises, and the gate is asked again. Records that expired
//! before the group read them are another matter: no waiting brings them back, so a person has to say what follows.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use cutover::event::GateAnswer;
use cutover::policy::ReplayLag;
use cutover::policy::formats::period_text;
use proxy::capture::kafka::{Options, group};

use crate::clock;
use crate::kafka::lag::{Lag, Lags, Note};

/// How long the brokers may take for all that is asked; less than preflight gives a gate.
const ASK_MAX: Duration = Duration::from_secs(10);

/// So many partitions are named in an answer; the rest is counted.
const NAMED_MAX: usize = 3;

/// Asks how far the replay is.
///
/// # Errors
/// When the brokers do not answer, refuse us, or know no such topic; in words.
pub async fn ask(gate: &ReplayLag) -> Result<GateAnswer, String> {
    Ok(answer(&look(gate).await?, gate.max))
}

/// Asks how far the replay is, and says it in words as well.
///
/// # Errors
/// As [`ask`].
pub async fn check(gate: &ReplayLag) -> Result<(GateAnswer, String), String> {
    let lags = look(gate).await?;
    let evidence = match lags.lag_seconds {
        Some(seconds) => format!("{} behind, {} records", text(seconds), records(&lags.partitions)),
        None => "not known".to_owned(),
    };
    Ok((answer(&lags, gate.max), evidence))
}

/// Looks at the group. On a thread of its own: librdkafka blocks, and a daemon that ends does not wait for brokers that are
/// away.
async fn look(gate: &ReplayLag) -> Result<Lags, String> {
    let ReplayLag { brokers, group, topic, max: _, properties } = gate.clone();
    let (tell, told) = tokio::sync::oneshot::channel();
    let asked = move || {
        let properties = properties.as_deref().map(Path::new);
        let options = crate::kafka::options(&brokers.join(","), &topic, properties)?;
        let options = Options { start_timeout: ASK_MAX, ..options };
        let seen = group::look(&options, &group, Some(&topic)).map_err(|error| error.to_string())?;
        // The time of day, as records have it, whatever the clock of the cutover shows.
        Ok(Lags::of(&group, seen, clock::now()))
    };
    let thread = std::thread::Builder::new().name("gate-replay-lag".to_owned());
    thread.spawn(move || tell.send(asked())).map_err(|error| format!("cannot start a thread: {error}"))?;
    told.await.unwrap_or_else(|_| Err("the look at the consumer group ended without an answer".to_owned()))
}

/// What a group's lag means for a limit.
fn answer(lags: &Lags, max: Duration) -> GateAnswer {
    let expired: Vec<&Lag> =
        lags.partitions.iter().filter(|lag| matches!(lag.note, Some(Note::Expired { .. }))).collect();
    if !expired.is_empty() {
        return GateAnswer::No {
            why: format!(
                "the replay lost records: {}; what they wrote is missing on the target",
                named(&expired, |lag| lag.note.as_ref().map(ToString::to_string).unwrap_or_default())
            ),
        };
    }
    if let Some(why) = lags.idle() {
        return GateAnswer::Later { why };
    }
    if lags.partitions.is_empty() {
        return GateAnswer::Later { why: format!("group `{}` has committed nothing yet", lags.group) };
    }
    let unknown: Vec<&Lag> = lags.partitions.iter().filter(|lag| lag.lag_seconds.is_none()).collect();
    if !unknown.is_empty() {
        let why = named(&unknown, |lag| lag.note.as_ref().map_or_else(|| "unknown".to_owned(), ToString::to_string));
        return GateAnswer::Later { why: format!("how far the replay is behind is not known: {why}") };
    }
    let late: Vec<&Lag> =
        lags.partitions.iter().filter(|lag| lag.lag_seconds.is_some_and(|lag| lag > max.as_secs_f64())).collect();
    if late.is_empty() {
        return GateAnswer::Yes;
    }
    let worst = lags.lag_seconds.unwrap_or_default();
    let why = format!(
        "the replay is {} behind, and may be {}: {} records; {}",
        text(worst),
        period_text(max),
        records(&lags.partitions),
        named(&late, |lag| format!(
            "{} at offset {} of {}",
            text(lag.lag_seconds.unwrap_or_default()),
            place(lag),
            lag.end_offset
        ))
    );
    GateAnswer::Later { why }
}

/// Where a group goes on reading.
fn place(lag: &Lag) -> i64 {
    lag.committed.unwrap_or(lag.first_offset)
}

/// Partitions with something about each, the first few by name.
fn named(lags: &[&Lag], about: impl Fn(&Lag) -> String) -> String {
    let first = lags.iter().take(NAMED_MAX).map(|lag| format!("`{}` {}: {}", lag.topic, lag.partition, about(lag)));
    let mut text = first.collect::<Vec<_>>().join(", ");
    if lags.len() > NAMED_MAX {
        write!(text, ", and {} more partitions", lags.len() - NAMED_MAX).expect("a text takes what is written to it");
    }
    text
}

fn records(lags: &[Lag]) -> i64 {
    lags.iter().filter_map(|lag| lag.lag_records).sum()
}

/// Seconds for people: below ten with fractions, so that what is not zero does not look like it.
fn text(seconds: f64) -> String {
    period_text(if seconds < 10.0 { Duration::from_secs_f64(seconds) } else { Duration::from_secs(seconds as u64) })
}

#[cfg(test)]
mod tests {
    use cutover::Timestamp;
    use proxy::capture::kafka::group::{Group, Next, Place};
    use proxy::capture::kafka::read::Range;

    use super::*;

    const NOW: Timestamp = Timestamp(10_000_000);

    fn at(committed: i64, ago_seconds: i64) -> Place {
        let next = Next::Record { offset: committed, at_millis: Some(NOW.0 - ago_seconds * 1000) };
        Place { committed: Some(committed), range: Range { first: 0, end: 100 }, next }
    }

    fn done() -> Place {
        Place { committed: Some(100), range: Range { first: 0, end: 100 }, next: Next::None }
    }

    fn told(members: usize, places: Vec<Place>) -> String {
        let places = (0..).zip(places).map(|(partition, place)| (("t".to_owned(), partition), place)).collect();
        let state = Some(if members > 0 { "Stable" } else { "Empty" }.to_owned());
        match answer(&Lags::of("g", Group { state, members, places }, NOW), Duration::from_secs(30)) {
            GateAnswer::Yes => "yes".to_owned(),
            GateAnswer::Later { why } => format!("later: {why}"),
            GateAnswer::No { why } => format!("no: {why}"),
        }
    }

    /// Proves that the gate opens up to the limit and not above it, for the latest partition, with the numbers.
    #[test]
    fn the_latest_partition_decides() {
        assert_eq!(told(1, vec![done(), done()]), "yes");
        assert_eq!(told(1, vec![done(), at(90, 30)]), "yes");
        assert_eq!(
            told(1, vec![at(90, 31), done(), at(80, 5)]),
            "later: the replay is 31s behind, and may be 30s: 30 records; `t` 0: 31s at offset 90 of 100"
        );
        let many = told(1, (0..5).map(|_| at(0, 7200)).collect());
        assert!(many.ends_with(", and 2 more partitions"), "{many}");
    }

    /// Proves that nothing opens the gate by being unknown, nor by nobody being there, and that lost records need a person.
    #[test]
    fn what_is_unknown_or_lost_opens_nothing() {
        let unread = Place { next: Next::Unread("silent".to_owned()), ..at(90, 0) };
        assert_eq!(
            told(1, vec![done(), unread]),
            "later: how far the replay is behind is not known: `t` 1: the record is unknown: silent"
        );
        let unbegun = Place { committed: None, ..at(0, 7200) };
        assert_eq!(
            told(1, vec![unbegun]),
            "later: the replay is 2h behind, and may be 30s: 100 records; `t` 0: 2h at offset 0 of 100"
        );
        let above = Place { committed: Some(101), ..done() };
        assert!(told(1, vec![above]).starts_with("later: how far the replay is behind is not known"));
        assert_eq!(told(1, Vec::new()), "later: group `g` has committed nothing yet");
        assert_eq!(told(0, vec![done()]), "later: group `g` is empty, with nobody in it: nobody replays");
        let expired = Place { range: Range { first: 95, end: 100 }, ..at(90, 1) };
        assert_eq!(
            told(1, vec![expired]),
            "no: the replay lost records: `t` 0: 5 records expired unread; what they wrote is missing on the target"
        );
    }
}
