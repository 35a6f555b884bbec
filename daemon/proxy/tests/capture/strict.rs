//! The rules that a writer must keep, and what a record says of itself, checked with the reference decoder.

use prost::Message as _;
use proxy::capture::Record;

use crate::grammar::assert_grammar;
use crate::reference::{Capture, TrafficStream};
use crate::support::NODE;

/// Checks all records of one connection, in the order in which they were handed out; whether it was closed.
pub(crate) fn assert_strict(records: &[&Record], chunk_bytes_max: usize) -> bool {
    let Some(last) = records.last() else { return false };
    let closed = assert_grammar((last.key(), NODE), records.iter().map(|record| record.bytes()), chunk_bytes_max);
    assert_eq!(closed, last.is_last());
    for (number, record) in (1..).zip(records) {
        assert_eq!((record.key(), record.index()), (last.key(), number));
        if record.ends_write() {
            let stream = TrafficStream::decode(record.bytes()).unwrap();
            let last = stream.sub_stream.last().unwrap().capture.as_ref();
            assert!(matches!(last, Some(Capture::EndOfMessageIndicator(_))));
        }
    }
    closed
}
