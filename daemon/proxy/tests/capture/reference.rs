//! The messages of `TrafficCaptureStream.proto` for prost, written by hand: the reference for what we encode and decode.

use prost::Message;
use proxy::capture::Timestamp;
use proxy::capture::read::{Chunk, Index as OurIndex, What};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TrafficStream {
    #[prost(string, tag = "1")]
    pub(crate) connection_id: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) sub_stream: Vec<TrafficObservation>,
    #[prost(oneof = "Index", tags = "3, 4")]
    pub(crate) index: Option<Index>,
    #[prost(string, tag = "5")]
    pub(crate) node_id: String,
    #[prost(int32, optional, tag = "6")]
    pub(crate) prior_requests_received: Option<i32>,
    #[prost(bool, optional, tag = "7")]
    pub(crate) last_observation_was_unterminated_read: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, prost::Oneof)]
pub(crate) enum Index {
    #[prost(int32, tag = "3")]
    Number(i32),
    #[prost(int32, tag = "4")]
    NumberOfThisLastChunk(i32),
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Time {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TrafficObservation {
    #[prost(message, optional, tag = "1")]
    pub(crate) ts: Option<Time>,
    #[prost(oneof = "Capture", tags = "2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 14, 15, 16")]
    pub(crate) capture: Option<Capture>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Capture {
    #[prost(message, tag = "2")]
    Bind(Empty),
    #[prost(message, tag = "3")]
    Connect(Empty),
    #[prost(message, tag = "4")]
    Read(Data),
    #[prost(message, tag = "5")]
    ReadSegment(SegmentData),
    #[prost(message, tag = "6")]
    RequestReleasedDownstream(Released),
    #[prost(message, tag = "8")]
    Write(Data),
    #[prost(message, tag = "9")]
    WriteSegment(SegmentData),
    #[prost(message, tag = "10")]
    Disconnect(Empty),
    #[prost(message, tag = "11")]
    Close(Empty),
    #[prost(message, tag = "12")]
    ConnectionException(Text),
    #[prost(message, tag = "14")]
    SegmentEnd(Empty),
    #[prost(message, tag = "15")]
    EndOfMessageIndicator(EndOfMessage),
    #[prost(message, tag = "16")]
    RequestDropped(Empty),
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Empty {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Data {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SegmentData {
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) data: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Released {
    #[prost(bool, tag = "1")]
    pub(crate) timed_out: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Text {
    #[prost(string, tag = "1")]
    pub(crate) message: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct EndOfMessage {
    #[prost(int32, optional, tag = "1")]
    pub(crate) first_line_byte_length: Option<i32>,
    #[prost(int32, optional, tag = "2")]
    pub(crate) headers_byte_length: Option<i32>,
}

impl TrafficObservation {
    /// An observation at a time.
    pub(crate) fn new(at: Timestamp, capture: Capture) -> Self {
        Self { ts: Some(Time { seconds: at.seconds(), nanos: at.nanos().cast_signed() }), capture: Some(capture) }
    }

    /// Its time as ours.
    pub(crate) fn at(&self) -> Timestamp {
        self.ts.map_or(Timestamp::default(), |time| Timestamp::new(time.seconds, i64::from(time.nanos)))
    }
}

/// Proves that our reader and the reference read the same out of a record.
pub(crate) fn assert_same(chunk: &Chunk<'_>, reference: &TrafficStream) {
    assert_eq!(chunk.connection, reference.connection_id);
    assert_eq!(chunk.node, reference.node_id);
    let index = reference.index.map(|index| match index {
        Index::Number(number) => OurIndex::Number(number),
        Index::NumberOfThisLastChunk(number) => OurIndex::Last(number),
    });
    assert_eq!(chunk.index, index);
    assert_eq!(chunk.prior_requests, reference.prior_requests_received);
    assert_eq!(chunk.unterminated_read, reference.last_observation_was_unterminated_read);
    assert_eq!(chunk.count, reference.sub_stream.len());
    let mut ours = chunk.observations();
    for theirs in &reference.sub_stream {
        let ours = ours.next().expect("as many observations as were counted");
        assert_eq!(ours.at, theirs.at());
        let theirs = theirs.capture.as_ref().map(|capture| match capture {
            Capture::Bind(_) => What::Bind,
            Capture::Connect(_) => What::Connect,
            Capture::Read(read) => What::Read(&read.data),
            Capture::ReadSegment(segment) => What::ReadSegment(&segment.data),
            Capture::RequestReleasedDownstream(released) => What::ReleasedDownstream { timed_out: released.timed_out },
            Capture::Write(write) => What::Write(&write.data),
            Capture::WriteSegment(segment) => What::WriteSegment(&segment.data),
            Capture::Disconnect(_) => What::Disconnect,
            Capture::Close(_) => What::Close,
            Capture::ConnectionException(text) => What::Exception(&text.message),
            Capture::SegmentEnd(_) => What::SegmentEnd,
            Capture::EndOfMessageIndicator(end) => {
                What::EndOfMessage { first_line: end.first_line_byte_length, headers: end.headers_byte_length }
            }
            Capture::RequestDropped(_) => What::Dropped,
        });
        assert_eq!(ours.what, theirs);
    }
    assert_eq!(ours.next(), None);
}
