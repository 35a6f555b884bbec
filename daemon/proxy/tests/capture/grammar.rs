//! The rules that a writer must keep and a reader does not look at, checked with the reference decoder.

use prost::Message as _;
use proxy::capture::Timestamp;

use crate::reference::{Capture, Index, TrafficStream};

/// Where in `exchange* (unfinished | Exception)? Close` a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Between,
    Reading,
    Responding,
    Failed,
    Closed,
}

/// Checks all records of one connection, in the order in which they were handed out; whether it was closed.
pub(crate) fn assert_grammar<'a>(
    names: (&str, &str),
    records: impl IntoIterator<Item = &'a [u8]>,
    chunk_bytes_max: usize,
) -> bool {
    let mut at = At::Between;
    // Whether a request was begun and neither ended nor dropped; an exception does neither.
    let mut unterminated = false;
    let (mut ended, mut read, mut latest) = (0, Timestamp::default(), Timestamp::default());
    // The segments under way: whether they are read, and when.
    let mut segments: Option<(bool, Timestamp)> = None;
    for (place, record) in records.into_iter().enumerate() {
        assert!(record.len() <= chunk_bytes_max, "{} bytes", record.len());
        let stream = TrafficStream::decode(record).unwrap();
        assert_eq!((stream.connection_id.as_str(), stream.node_id.as_str()), names);
        let number = i32::try_from(place).unwrap() + 1;
        assert_eq!(stream.prior_requests_received, (ended > 0).then_some(ended));
        assert_eq!(stream.last_observation_was_unterminated_read, unterminated.then_some(true));
        assert!(!stream.sub_stream.is_empty(), "a chunk without observations kills the reader");
        for observation in &stream.sub_stream {
            let time = observation.at();
            assert!(time >= latest, "time runs backwards");
            latest = time;
            let what = observation.capture.as_ref().unwrap();
            match (&segments, what) {
                (Some(run), Capture::ReadSegment(_)) => assert_eq!(*run, (true, time)),
                (Some(run), Capture::WriteSegment(_)) => assert_eq!(*run, (false, time)),
                (Some(run), Capture::SegmentEnd(_)) => {
                    assert_eq!(run.1, time);
                    segments = None;
                    continue;
                }
                (Some(_), other) => panic!("{other:?} among segments"),
                (None, _) => {}
            }
            at = match (at, what) {
                (At::Between | At::Reading | At::Responding, Capture::Read(_)) => At::Reading,
                (At::Between | At::Reading | At::Responding, Capture::ReadSegment(data)) => {
                    assert!(!data.data.is_empty());
                    segments = Some((true, time));
                    At::Reading
                }
                (At::Reading, Capture::EndOfMessageIndicator(end)) => {
                    assert!(end.first_line_byte_length.is_some() && end.headers_byte_length.is_some());
                    assert_eq!(time, read, "an end of message has the time of its last read");
                    ended += 1;
                    At::Responding
                }
                (At::Reading, Capture::RequestDropped(_)) => At::Between,
                (At::Responding, Capture::Write(_)) => At::Responding,
                (At::Responding, Capture::WriteSegment(data)) => {
                    assert!(!data.data.is_empty());
                    segments = Some((false, time));
                    At::Responding
                }
                (At::Between | At::Reading | At::Responding, Capture::ConnectionException(_)) => At::Failed,
                (at, Capture::Close(_)) if at != At::Closed => At::Closed,
                (at, what) => panic!("{what:?} while {at:?}"),
            };
            if at == At::Reading {
                read = time;
            }
            unterminated = at == At::Reading || (unterminated && matches!(at, At::Failed | At::Closed));
        }
        let closed = at == At::Closed;
        let index = if closed { Index::NumberOfThisLastChunk(number) } else { Index::Number(number) };
        assert_eq!(stream.index, Some(index));
    }
    assert!(segments.is_none() || at != At::Closed);
    at == At::Closed
}
