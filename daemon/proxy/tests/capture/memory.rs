//! What capture costs in memory: nothing for an observation, nothing for a connection that is idle.

use allocation_counter::measure;
use proxy::capture::{Lengths, Record, Recorder, Stream};
use proxy::class::Class;

use crate::support::{at, recorder};

static HEAD: [u8; 200] = [b'h'; 200];
static BODY: [u8; 40_000] = [b'b'; 40_000];

const LENGTHS: Lengths = Lengths { first_line: 20, headers: 40 };

/// A write of a kilobyte, one of 64 KiB in two reads, and a read; the sink is done with each record at once.
fn three_exchanges(recorder: &Recorder, stream: &mut Stream, out: &mut Vec<Record>, millis: i64) {
    let (begun, later) = (at(millis), at(millis + 1));
    for (class, sizes) in [(Class::Write, &[1_000][..]), (Class::Write, &[40_000, 25_000]), (Class::Read, &[0])] {
        stream.begin(recorder, begun, class, [&HEAD, &BODY[..sizes[0]]], out);
        for &size in &sizes[1..] {
            stream.read(recorder, begun, [&BODY[..size], b""], out);
        }
        let _ = stream.end(recorder, LENGTHS, out);
        stream.write(recorder, later, [&HEAD, &BODY[..sizes[0]]], out);
        out.clear();
    }
    stream.flush(out);
    out.clear();
}

/// Proves that once spaces are there, nothing is allocated for any number of observations and records, and that a stream
/// which was flushed holds nothing but itself.
#[test]
fn observations_take_no_memory_and_idle_streams_hold_none() {
    let recorder = recorder(1_048_076);
    let mut stream = Stream::new(&recorder, at(0));
    let mut out = Vec::with_capacity(16);
    let first = measure(|| three_exchanges(&recorder, &mut stream, &mut out, 0));
    assert!(first.count_total > 0, "an allocation would be counted");
    let mut all = |rounds: std::ops::Range<i64>| {
        measure(|| rounds.for_each(|round| three_exchanges(&recorder, &mut stream, &mut out, 10 * round))).count_total
    };
    assert_eq!(all(1..500), 0);
    assert_eq!(stream.held_bytes(), 0);
    assert!(size_of::<Stream>() <= 192, "{} bytes", size_of::<Stream>());
}

/// Proves that ten thousand connections which each had an exchange take less than a kilobyte each once they are flushed,
/// and that what they hand out can go to another thread.
#[test]
fn ten_thousand_idle_connections_hold_no_buffer() {
    let recorder = recorder(1_048_076);
    let mut out: Vec<Record> = Vec::with_capacity(64);
    let mut streams = Vec::new();
    let taken = measure(|| {
        streams = (0..10_000)
            .map(|number| {
                let mut stream = Stream::new(&recorder, at(number));
                three_exchanges(&recorder, &mut stream, &mut out, number);
                stream
            })
            .collect();
    });
    let each = taken.bytes_current / 10_000;
    assert!((0..1_000).contains(&each), "{each} bytes each");

    let stream: &mut Stream = &mut streams[0];
    stream.begin(&recorder, at(20_000), Class::Write, [b"POST / HTTP/1.1\r\n\r\n", b""], &mut out);
    let _ = stream.end(&recorder, LENGTHS, &mut out);
    let record = out.pop().unwrap();
    assert!(record.held_bytes() >= record.bytes().len());
    std::thread::spawn(move || drop(record)).join().unwrap();
    let again = measure(|| three_exchanges(&recorder, stream, &mut out, 20_001));
    assert_eq!(again.count_total, 0, "the space came back from the other thread");
}
