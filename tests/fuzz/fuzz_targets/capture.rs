//! Captured records: whatever the bytes are, they are read or refused, in place and without a panic; what a topic of them
//! says is bounded by them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxy::capture::read::{Accumulator, Chunk, Outcome};

// The input is a topic: records, each after two bytes with its length.
fuzz_target!(|data: &[u8]| {
    let mut accumulator = Accumulator::default();
    let mut outcomes = Vec::new();
    let mut rest = data;
    while let Some((length, behind)) = rest.split_first_chunk() {
        let (record, after) = behind.split_at(usize::from(u16::from_le_bytes(*length)).min(behind.len()));
        rest = after;
        let Ok(chunk) = Chunk::decode(record) else { continue };
        assert_eq!(chunk.count, chunk.observations().count());
        accumulator.add(&chunk, &mut outcomes);
    }
    accumulator.finish(&mut outcomes);
    let said: usize = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Exchange(one) => one.request.len() + one.response.as_ref().map_or(0, Vec::len),
            Outcome::Closed(_) | Outcome::Ignored(_) | Outcome::Breaks(_) => 0,
        })
        .sum();
    assert!(said <= data.len(), "no byte is said that was not there");
});
