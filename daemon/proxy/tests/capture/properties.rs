//! Whatever happens on a connection, its records are sound and say what happened.

use std::collections::BTreeMap;

use proptest::prelude::*;
use prost::Message as _;
use proxy::capture::chunks::{CHUNK_BYTES_MAX, Chunks, Data as Way};
use proxy::capture::read::{Chunk, DecodeError, Exchange, Outcome};
use proxy::capture::record::Observation;
use proxy::capture::{ConnectionId, Ending, Lengths, Pieces, Record, Stream, Timestamp};
use proxy::class::Class;

use crate::reference::{
    Capture, Data, Empty, EndOfMessage, Index, SegmentData, Text, Time, TrafficObservation, TrafficStream, assert_same,
};
use crate::strict::assert_strict;
use crate::support::{NODE, at, read, recorder};

/// Something that a relay tells a stream.
#[derive(Clone, Debug)]
enum Event {
    Begin(Class, usize, usize),
    Read(usize),
    End,
    Write(usize, usize),
    Drop,
    LeaveOut,
    Upgraded,
    Close(Option<String>),
    Lost,
    Flush,
}

fn bytes_max() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 0..300usize, 2 => 0..5_000usize, 1 => 0..150_000usize]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (any::<bool>(), 1..400usize, bytes_max()).prop_map(|(write, head, body)| {
            Event::Begin(if write { Class::Write } else { Class::Read }, head, body)
        }),
        4 => bytes_max().prop_map(Event::Read),
        8 => Just(Event::End),
        8 => (0..300usize, bytes_max()).prop_map(|(head, body)| Event::Write(head, body)),
        1 => Just(Event::Drop),
        1 => Just(Event::LeaveOut),
        1 => Just(Event::Upgraded),
        1 => proptest::option::of("\\PC{0,700}").prop_map(Event::Close),
        1 => Just(Event::Lost),
        3 => Just(Event::Flush),
    ]
}

fn chunk_bytes_max() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 200..600usize, 2 => 600..70_000usize, 1 => Just(CHUNK_BYTES_MAX)]
}

/// One exchange as it shall be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    request: Vec<u8>,
    complete: bool,
    response: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Now {
    Idle,
    Reading,
    Responding,
}

/// What the exchanges of each name are, and whether a record of it was lost.
#[derive(Default)]
struct Model {
    names: BTreeMap<String, (Vec<Told>, bool)>,
    now: Option<Now>,
}

impl Model {
    fn last(&mut self, stream: &Stream) -> &mut Told {
        let told = self.names.get_mut(stream.connection().as_str()).and_then(|(told, _)| told.last_mut());
        told.expect("a request has begun under this name")
    }
}

/// Bytes of which no two stretches look alike.
struct Bytes(u32);

impl Bytes {
    fn take(&mut self, count: usize) -> Vec<u8> {
        (0..count)
            .map(|_| {
                self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (self.0 >> 24) as u8
            })
            .collect()
    }
}

const LENGTHS: Lengths = Lengths { first_line: 14, headers: -1 };

fn play(events: &[(Event, i64)], chunk_bytes_max: usize) -> (Vec<Record>, Model) {
    let recorder = recorder(chunk_bytes_max);
    let mut stream = Stream::new(&recorder, at(0));
    let (mut out, mut model, mut bytes, mut millis) = (Vec::new(), Model::default(), Bytes(1), 0);
    for (event, later) in events {
        millis += later;
        let time = at(millis);
        match event {
            Event::Begin(class, head, body) => {
                let (head, body) = (bytes.take(*head), bytes.take(*body));
                stream.begin(&recorder, time, *class, [&head, &body], &mut out);
                let name = stream.connection().as_str().to_owned();
                let request = [head, body].concat();
                model.names.entry(name).or_default().0.push(Told { request, ..Told::default() });
                model.now = Some(Now::Reading);
            }
            Event::Read(count) => {
                let more = bytes.take(*count);
                stream.read(&recorder, time, [&more, b""], &mut out);
                if model.now == Some(Now::Reading) {
                    model.last(&stream).request.extend(more);
                }
            }
            Event::End => {
                let records = out.len();
                let ending = stream.end(&recorder, LENGTHS, &mut out);
                if model.now == Some(Now::Reading) {
                    model.last(&stream).complete = true;
                    model.now = Some(Now::Responding);
                    assert_ne!(ending, Ending::Unrecorded);
                } else {
                    assert_eq!((ending, out.len()), (Ending::Unrecorded, records));
                }
                assert_eq!(ending == Ending::Held, out[records..].last().is_some_and(Record::ends_write));
            }
            Event::Write(head, body) => {
                let (head, body) = (bytes.take(*head), bytes.take(*body));
                stream.write(&recorder, time, [&head, &body], &mut out);
                match model.now {
                    Some(Now::Reading) => model.now = Some(Now::Idle),
                    Some(Now::Responding) if head.len() + body.len() > 0 => {
                        model.last(&stream).response.get_or_insert_default().extend([head, body].concat());
                    }
                    _ => {}
                }
            }
            Event::Drop => {
                stream.drop_request(&recorder, time, &mut out);
                if model.now == Some(Now::Reading) {
                    model.now = Some(Now::Idle);
                }
            }
            Event::LeaveOut => {
                stream.leave_out(&recorder, time, &mut out);
                model.now = model.now.map(|_| Now::Idle);
            }
            Event::Upgraded => {
                stream.upgraded();
                if model.now == Some(Now::Responding) {
                    model.now = Some(Now::Idle);
                }
            }
            Event::Close(why) => {
                stream.close(&recorder, time, why.as_deref(), &mut out);
                model.now = None;
            }
            Event::Lost => {
                stream.lost();
                if let Some((_, lost)) = model.names.get_mut(stream.connection().as_str()) {
                    *lost |= model.now.is_some();
                }
                model.now = None;
            }
            Event::Flush => {
                stream.flush(&mut out);
                assert_eq!(stream.held_bytes(), 0, "what was flushed holds no memory");
            }
        }
    }
    stream.close(&recorder, at(millis), None, &mut out);
    assert_eq!(stream.held_bytes(), 0);
    (out, model)
}

/// Checks the records of one run against what was told.
fn check(records: &[Record], model: &Model, chunk_bytes_max: usize) {
    for record in records {
        assert_same(&Chunk::decode(record.bytes()).unwrap(), &TrafficStream::decode(record.bytes()).unwrap());
    }
    let mut read_back: BTreeMap<String, Vec<Box<Exchange>>> = BTreeMap::new();
    for outcome in read(records.iter().map(Record::bytes)) {
        match outcome {
            Outcome::Exchange(exchange) => {
                read_back.entry(exchange.connection.to_string()).or_default().push(exchange);
            }
            Outcome::Closed(_) => {}
            odd => panic!("{odd:?}"),
        }
    }
    for (name, (told, lost)) in &model.names {
        let of_name: Vec<&Record> = records.iter().filter(|record| record.key() == name).collect();
        assert_eq!(assert_strict(&of_name, chunk_bytes_max), !lost, "closed, if nothing was lost");
        let exchanges = read_back.remove(name).unwrap_or_default();
        assert!(*lost || exchanges.len() == told.len());
        for (place, (exchange, told)) in exchanges.iter().zip(told).enumerate() {
            let response = exchange.response.as_deref().unwrap_or_default();
            let wanted = told.response.as_deref().unwrap_or_default();
            if *lost && place + 1 == exchanges.len() {
                assert!(told.request.starts_with(&exchange.request) && wanted.starts_with(response));
                continue;
            }
            assert!(exchange.request == told.request, "{name}: request {place}");
            assert_eq!(exchange.complete, told.complete);
            assert!(response == wanted, "{name}: response {place}");
            assert_eq!(exchange.response.is_some(), told.response.is_some());
        }
    }
    assert!(read_back.is_empty(), "requests that nobody told of");
}

/// An observation for the reference, and the same for us.
fn observation() -> impl Strategy<Value = Capture> {
    let data = || proptest::collection::vec(any::<u8>(), 0..400);
    prop_oneof![
        data().prop_map(|data| Capture::Read(Data { data })),
        data().prop_map(|data| Capture::Write(Data { data })),
        data().prop_map(|data| Capture::ReadSegment(SegmentData { data })),
        data().prop_map(|data| Capture::WriteSegment(SegmentData { data })),
        Just(Capture::SegmentEnd(Empty {})),
        Just(Capture::RequestDropped(Empty {})),
        "\\PC{0,200}".prop_map(|message| Capture::ConnectionException(Text { message })),
        (any::<i32>(), any::<i32>()).prop_map(|(first, headers)| {
            Capture::EndOfMessageIndicator(EndOfMessage {
                first_line_byte_length: Some(first),
                headers_byte_length: Some(headers),
            })
        }),
        Just(Capture::Close(Empty {})),
    ]
}

fn pieces(data: &[u8]) -> Pieces<'_> {
    let (one, other) = data.split_at(data.len() / 3);
    [one, other]
}

fn ours(capture: &Capture) -> Observation<'_> {
    match capture {
        Capture::Read(read) => Observation::Read(pieces(&read.data)),
        Capture::Write(write) => Observation::Write(pieces(&write.data)),
        Capture::ReadSegment(segment) => Observation::ReadSegment(pieces(&segment.data)),
        Capture::WriteSegment(segment) => Observation::WriteSegment(pieces(&segment.data)),
        Capture::SegmentEnd(_) => Observation::SegmentEnd,
        Capture::RequestDropped(_) => Observation::Dropped,
        Capture::ConnectionException(text) => Observation::Exception(&text.message),
        Capture::EndOfMessageIndicator(end) => Observation::EndOfMessage {
            first_line: end.first_line_byte_length.unwrap(),
            headers: end.headers_byte_length.unwrap(),
        },
        Capture::Close(_) => Observation::Close,
        other => panic!("never written: {other:?}"),
    }
}

fn moment() -> impl Strategy<Value = Timestamp> {
    (1..i64::MAX, prop_oneof![Just(0), 1..1_000_000_000i64]).prop_map(|(seconds, nanos)| Timestamp::new(seconds, nanos))
}

/// Any message of the format, most of them nothing that a writer would write.
fn message() -> impl Strategy<Value = TrafficStream> {
    let capture = prop_oneof![observation(), Just(Capture::Bind(Empty {})), Just(Capture::Disconnect(Empty {}))];
    let time = proptest::option::of((any::<i64>(), any::<i32>()).prop_map(|(seconds, nanos)| Time { seconds, nanos }));
    let one = (time, proptest::option::of(capture)).prop_map(|(ts, capture)| TrafficObservation { ts, capture });
    let index = prop_oneof![any::<i32>().prop_map(Index::Number), any::<i32>().prop_map(Index::NumberOfThisLastChunk)];
    let many = proptest::collection::vec(one, 0..5);
    (".{0,70}", many, proptest::option::of(index), ".{0,40}", any::<Option<i32>>(), any::<Option<bool>>()).prop_map(
        |(connection_id, sub_stream, index, node_id, prior, unterminated)| TrafficStream {
            connection_id,
            sub_stream,
            index,
            node_id,
            prior_requests_received: prior,
            last_observation_was_unterminated_read: unterminated,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any events, in any order, at any times and in chunks of any size, give records that keep every rule of the format,
    /// that our reader and the reference read alike, and in which each exchange is whole and in its place.
    #[test]
    fn whatever_a_relay_tells_is_read_back_whole(
        events in proptest::collection::vec((event(), -50..500i64), 1..60),
        chunk_bytes_max in chunk_bytes_max(),
    ) {
        let (records, model) = play(&events, chunk_bytes_max);
        check(&records, &model, chunk_bytes_max);
    }

    /// Every observation is written with the very bytes that the reference would use, in our order, and in as many as were
    /// said beforehand.
    #[test]
    fn observations_are_written_as_the_reference_writes_them(
        told in proptest::collection::vec((moment(), observation()), 1..12),
        prior in 0..100_000u32,
        unterminated in any::<bool>(),
        index in 1..i32::MAX,
        last in any::<bool>(),
    ) {
        use proxy::capture::record::{self, Opening, Version};
        let (connection, node) = (ConnectionId::new("c").unwrap(), proxy::capture::NodeId::new(NODE).unwrap());
        let opening =
            Opening { connection: &connection, node: &node, prior_requests: prior, unterminated_read: unterminated };
        let mut bytes = Vec::new();
        record::open(Version::V3_3_6, &mut bytes, &opening);
        prop_assert_eq!(bytes.len(), record::opening_bytes(&opening));
        let mut message = TrafficStream {
            connection_id: "c".to_owned(),
            node_id: NODE.to_owned(),
            index: Some(if last { Index::NumberOfThisLastChunk(index) } else { Index::Number(index) }),
            prior_requests_received: (prior > 0).then_some(prior.cast_signed()),
            last_observation_was_unterminated_read: unterminated.then_some(true),
            ..TrafficStream::default()
        };
        for (at, capture) in told {
            let before = bytes.len();
            record::observe(&mut bytes, at, &ours(&capture));
            prop_assert_eq!(bytes.len() - before, record::observation_bytes(at, &ours(&capture)));
            let observation = TrafficObservation::new(at, capture);
            let mut reference = vec![0x12];
            reference.extend(observation.encode_length_delimited_to_vec());
            prop_assert_eq!(&bytes[before..], &reference);
            message.sub_stream.push(observation);
        }
        record::seal(&mut bytes, if last { record::Index::Last(index as u32) } else { record::Index::Number(index as u32) });
        prop_assert_eq!(TrafficStream::decode(bytes.as_slice()).unwrap(), message.clone());
        prop_assert_eq!(bytes.len(), message.encoded_len());
        assert_same(&Chunk::decode(&bytes).unwrap(), &message);
    }

    /// Data of any length, in chunks of any size, comes back as one read or write, and no chunk is larger than allowed.
    #[test]
    fn data_is_cut_to_any_chunk(length in 0..20_000usize, chunk_bytes_max in 200..3_000usize, write in any::<bool>()) {
        let recorder = recorder(chunk_bytes_max);
        let mut chunks = Chunks::new(ConnectionId::new("c").unwrap());
        let data = Bytes(9).take(length);
        let mut out = Vec::new();
        let way = if write { Way::Write } else { Way::Read };
        chunks.data(&recorder, at(1), way, [&data[..length / 2], &data[length / 2..]], &mut out);
        chunks.flush(&mut out);
        let mut found = Vec::new();
        for record in &out {
            prop_assert!(record.bytes().len() <= chunk_bytes_max);
            for observation in TrafficStream::decode(record.bytes()).unwrap().sub_stream {
                match observation.capture.unwrap() {
                    Capture::Read(data) | Capture::Write(data) => found.extend(data.data),
                    Capture::ReadSegment(data) | Capture::WriteSegment(data) => found.extend(data.data),
                    _ => {}
                }
            }
        }
        prop_assert!(found == data);
    }

    /// Records that are cut, changed or made up never panic, and what we accept of them is what the reference accepts. Only
    /// groups, which the format never had, are refused by us alone.
    #[test]
    fn malformed_records_are_refused_as_the_reference_refuses_them(
        message in message(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
        soup in proptest::option::weighted(0.1, proptest::collection::vec(any::<u8>(), 0..64)),
    ) {
        let mut bytes = soup.unwrap_or_else(|| message.encode_to_vec());
        for (place, byte) in changes {
            if !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        match (Chunk::decode(&bytes), TrafficStream::decode(bytes.as_slice())) {
            (Ok(ours), Ok(theirs)) => assert_same(&ours, &theirs),
            (Err(_), Err(_)) | (Err(DecodeError::Tag { .. }), Ok(_)) => {}
            (ours, theirs) => prop_assert!(false, "{ours:?} and {theirs:?}"),
        }
    }
}
