//! Reading what was captured, by us or by the Java proxy: single records, and whole topics as requests and responses.
//!
//! This is `tidegate capture cat`, and it is what the tests hold everything that we write against. It shares no line with
//! what writes records.

pub mod accumulate;
pub mod decode;
mod fields;

pub use accumulate::{Accumulator, End, Exchange, Outcome};
pub use decode::{Chunk, DecodeError, Index, Observation, What};
