//! What a reader says about bytes, whole and cut.

use proxy::wire::{Refusal, Span};

/// The spans, those of data joined, and the refusal if there was one.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub spans: Vec<Span>,
    pub refused: Option<Refusal>,
}

/// Feeds `pieces`, keeping what is not consumed, as a caller does.
pub fn feed<'p>(pieces: impl IntoIterator<Item = &'p [u8]>, mut next: impl FnMut(&[u8]) -> Result<Span, Refusal>) -> Said {
    let mut said = Said::default();
    let mut input = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        let mut consumed = 0;
        loop {
            match next(&input[consumed..]) {
                Ok(Span::More) => break,
                Ok(span) => {
                    consumed += span.len();
                    assert!(consumed <= input.len(), "a span is longer than its input");
                    match (said.spans.last_mut(), span) {
                        (Some(Span::Data(before)), Span::Data(more)) => *before += more,
                        (Some(Span::ChunkData(before)), Span::ChunkData(more)) => *before += more,
                        _ => said.spans.push(span),
                    }
                }
                Err(refusal) => {
                    said.refused = Some(refusal);
                    return said;
                }
            }
        }
        input.drain(..consumed);
    }
    said
}

/// Cuts `bytes` into pieces whose lengths follow from `seed`; a seed of 0 cuts behind every byte.
pub fn pieces(bytes: &[u8], seed: u8) -> Vec<&[u8]> {
    let mut state = u32::from(seed);
    let mut rest = bytes;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(u32::from(seed));
        let length = (1 + (state >> 16) as usize % 24).min(if seed == 0 { 1 } else { rest.len() }).min(rest.len());
        let (piece, after) = rest.split_at(length);
        pieces.push(piece);
        rest = after;
    }
    pieces
}
