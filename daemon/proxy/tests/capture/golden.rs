//! What the Java serializer wrote for given observations, byte for byte.

use prost::Message as _;
use proxy::capture::chunks::{CHUNK_BYTES_MAX, Chunks, Data};
use proxy::capture::read::{Chunk, Outcome, accumulate::Breaks};
use proxy::capture::record::{self, Observation, Opening, Version};
use proxy::capture::{ConnectionId, NodeId, Record};

use crate::reference::{Capture, TrafficStream, assert_same};
use crate::support::{NODE, Scenario, read, recorder, say, scenarios, unbase64};

fn records(scenario: &Scenario) -> Vec<Vec<u8>> {
    scenario.lines.iter().filter_map(|line| line.strip_prefix("b64 ")).map(unbase64).collect()
}

/// Proves that from the observations of each golden vector we write its very bytes, chunk for chunk, cut where Java cut
/// and flushed where it was flushed.
#[test]
fn golden_observations_are_written_byte_for_byte() {
    let mut compared = 0;
    for scenario in scenarios('G').iter().filter(|scenario| scenario.name != "G11") {
        let golden = records(scenario);
        let limit = if scenario.heading.contains("buffer=200") { 200 } else { CHUNK_BYTES_MAX };
        let ours = written_again(&golden, limit);
        assert_eq!(ours.len(), golden.len(), "{}", scenario.heading);
        for (ours, golden) in ours.iter().zip(&golden) {
            assert_eq!(ours.bytes(), golden, "{}, chunk {}", scenario.heading, ours.index());
            compared += 1;
        }
        assert!(ours.last().unwrap().is_last());
    }
    assert_eq!(compared, 22);
}

/// Writes what golden records say: segments as the data that they were cut from, flushes where a record ends without being
/// full.
fn written_again(golden: &[Vec<u8>], limit: usize) -> Vec<Record> {
    let recorder = recorder(limit);
    let first = TrafficStream::decode(golden[0].as_slice()).unwrap();
    let mut chunks = Chunks::new(ConnectionId::new(&first.connection_id).unwrap());
    let mut out = Vec::new();
    let mut segments: Vec<u8> = Vec::new();
    for record in golden {
        for observation in TrafficStream::decode(record.as_slice()).unwrap().sub_stream {
            let at = observation.at();
            let note = match observation.capture.unwrap() {
                Capture::Read(read) => {
                    chunks.data(&recorder, at, Data::Read, [&read.data, b""], &mut out);
                    continue;
                }
                Capture::Write(write) => {
                    let (one, other) = write.data.split_at(write.data.len() / 2);
                    chunks.data(&recorder, at, Data::Write, [one, other], &mut out);
                    continue;
                }
                Capture::ReadSegment(segment) => {
                    segments.extend_from_slice(&segment.data);
                    continue;
                }
                Capture::SegmentEnd(_) => {
                    chunks.data(&recorder, at, Data::Read, [&std::mem::take(&mut segments), b""], &mut out);
                    continue;
                }
                Capture::Close(_) => {
                    chunks.close(&recorder, at, &mut out);
                    continue;
                }
                Capture::EndOfMessageIndicator(end) => Observation::EndOfMessage {
                    first_line: end.first_line_byte_length.unwrap(),
                    headers: end.headers_byte_length.unwrap(),
                },
                Capture::RequestDropped(_) => Observation::Dropped,
                Capture::ConnectionException(text) => {
                    chunks.note(&recorder, at, &Observation::Exception(&text.message), &mut out);
                    continue;
                }
                other => panic!("never written: {other:?}"),
            };
            chunks.note(&recorder, at, &note, &mut out);
        }
        if segments.is_empty() {
            chunks.flush(&mut out);
        }
    }
    out
}

/// Proves that our reader and the reference read the same out of every golden record, and that the requests, responses and
/// ends are those that the real accumulator found.
#[test]
fn golden_records_are_read_as_the_replayer_reads_them() {
    for scenario in scenarios('G') {
        let golden = records(&scenario);
        for record in &golden {
            assert_same(&Chunk::decode(record).unwrap(), &TrafficStream::decode(record.as_slice()).unwrap());
        }
        let outcomes = read(golden.iter().map(Vec::as_slice));
        assert_eq!(say(&outcomes), scenario.said(), "{}", scenario.heading);
        let breaks = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Breaks(_)));
        assert_eq!(breaks, scenario.threw(), "{}", scenario.heading);
    }
}

/// Proves that the chunk without observations, which kills the Replayer, is known for what it is; that its bytes could be
/// written, and that no stream ever hands it out.
#[test]
fn a_chunk_without_observations_is_never_written() {
    let scenario = scenarios('G').pop().unwrap();
    assert_eq!(scenario.name, "G11");
    let golden = records(&scenario).remove(0);
    let connection = ConnectionId::new(Chunk::decode(&golden).unwrap().connection).unwrap();
    let node = NodeId::new(NODE).unwrap();
    let opening = Opening { connection: &connection, node: &node, prior_requests: 0, unterminated_read: false };
    let mut bytes = Vec::new();
    record::open(Version::V3_3_6, &mut bytes, &opening);
    assert_eq!(bytes.len(), record::opening_bytes(&opening));
    record::seal(&mut bytes, record::Index::Last(1));
    assert_eq!(bytes, golden);
    assert!(matches!(read([&golden[..]])[..], [Outcome::Breaks(Breaks::EmptyChunk { chunk: 1, .. })]));

    let mut chunks = Chunks::new(connection);
    let mut out = Vec::new();
    chunks.flush(&mut out);
    chunks.end_write(&mut out);
    assert!(out.is_empty());
}
