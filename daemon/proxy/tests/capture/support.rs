//! Vectors, recorders and outcomes as text, for all tests of capture.

use std::{fs, io::Read as _, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::read::GzDecoder;
use proxy::capture::read::{Accumulator, Chunk, End, Outcome, accumulate::State};
use proxy::capture::record::Version;
use proxy::capture::{ConnectionIds, NodeId, Recorder, Timestamp};

/// The node of the golden vectors.
pub(crate) const NODE: &str = "b671d2f2-577b-414e-9eb4-8bc3e89ee182";

/// A file of `tests/vectors`.
pub(crate) fn vector(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors")).join(name)
}

/// The lines of a gzipped file of `tests/vectors`.
pub(crate) fn lines(name: &str) -> Vec<String> {
    let mut text = String::new();
    GzDecoder::new(fs::File::open(vector(name)).unwrap()).read_to_string(&mut text).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Bytes out of base64.
pub(crate) fn unbase64(text: &str) -> Vec<u8> {
    STANDARD.decode(text.trim()).unwrap()
}

/// One scenario of the golden file: its name, its heading, and its lines.
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) heading: String,
    pub(crate) lines: Vec<String>,
}

/// The scenarios whose names begin with `letter`.
pub(crate) fn scenarios(letter: char) -> Vec<Scenario> {
    let text = fs::read_to_string(vector("capture-golden.txt")).unwrap();
    let mut found: Vec<Scenario> = Vec::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("=== ") {
            let name = heading.split(' ').next().unwrap().to_owned();
            found.push(Scenario { name, heading: heading.to_owned(), lines: Vec::new() });
        } else {
            found.last_mut().expect("the file begins with a heading").lines.push(line.trim().to_owned());
        }
    }
    found.retain(|scenario| scenario.name.starts_with(letter));
    found
}

impl Scenario {
    /// What the real accumulator said of requests, responses and closed connections: names, numbers, packets and bytes.
    pub(crate) fn said(&self) -> Vec<String> {
        let mut said = Vec::new();
        for line in &self.lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                [kind @ ("REQ" | "RSP"), id, ..] => {
                    let id = id.split('(').next().unwrap();
                    let size = match (line.find('['), line.find(']')) {
                        _ if line.contains("<none>") => "<none>",
                        (Some(from), Some(to)) => &line[from..=to],
                        _ => panic!("{line}"),
                    };
                    said.push(format!("{kind} {id} {size}"));
                }
                ["CLOSE", requests, session, status, ..] => said.push(format!("CLOSE {requests} {session} {status}")),
                _ => {}
            }
        }
        said
    }

    /// Whether the real accumulator threw.
    pub(crate) fn threw(&self) -> bool {
        self.lines.iter().any(|line| line.starts_with("!!!"))
    }

    /// How often it warned of an observation that it had no place for.
    pub(crate) fn warned(&self) -> usize {
        self.lines.iter().filter(|line| line.contains("unaccounted for observation type")).count()
    }
}

/// Outcomes in the words of [`Scenario::said`].
pub(crate) fn say(outcomes: &[Outcome]) -> Vec<String> {
    let mut said = Vec::new();
    for outcome in outcomes {
        match outcome {
            Outcome::Exchange(exchange) if exchange.complete => {
                let id = format!("{}.{}.{}.{}", exchange.node, exchange.connection, exchange.chunk, exchange.number);
                said.push(format!("REQ {id} [{} pkts,{}B]", exchange.reads, exchange.request.len()));
                said.push(match &exchange.response {
                    Some(response) => format!("RSP {id} [{} pkts,{}B]", exchange.writes, response.len()),
                    None => format!("RSP {id} <none>"),
                });
            }
            Outcome::Closed(closed) => {
                let status = match closed.end {
                    End::Close => "COMPLETE",
                    End::Expiry => "EXPIRED_PREMATURELY",
                    End::EndOfInput => "CLOSED_PREMATURELY",
                    end => panic!("{end:?} closes nothing"),
                };
                said.push(format!("CLOSE n={} sess={} {status}", closed.requests, closed.first_number));
            }
            _ => {}
        }
    }
    said
}

/// How many observations had no place while a request or a response was read: those the Replayer warns of.
pub(crate) fn misplaced(outcomes: &[Outcome]) -> usize {
    let counts = |state| matches!(state, State::Reading | State::Responding);
    outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Ignored(ignored) if counts(ignored.state))).count()
}

/// What a topic says.
pub(crate) fn read<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> Vec<Outcome> {
    let mut accumulator = Accumulator::default();
    let mut outcomes = Vec::new();
    for record in records {
        accumulator.add(&Chunk::decode(record).unwrap(), &mut outcomes);
    }
    accumulator.finish(&mut outcomes);
    outcomes
}

/// A recorder under the golden node's name.
pub(crate) fn recorder(chunk_bytes_max: usize) -> Recorder {
    let ids = ConnectionIds::new(0x9a25_a4ff_fe62_0014, 1, 42);
    Recorder::new(Version::V3_3_6, NodeId::new(NODE).unwrap(), ids).with_chunk_bytes_max(chunk_bytes_max).unwrap()
}

/// So many milliseconds after a moment of November 2023.
pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::new(1_700_000_000, millis * 1_000_000)
}
