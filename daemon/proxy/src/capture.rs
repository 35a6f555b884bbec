//! Capture: what clients send and get, as records that Migration Assistant's Replayer reads, kept in a log.
//!
//! # The way of a byte
//!
//! 1. The relay shows a [`stream::Stream`] what passes: there is one for each client connection and captured side. It
//!    knows what a connection may say when, so that no order of events on the wire makes a record which breaks a reader.
//! 2. [`chunks`] cuts the observations into chunks, numbers them and fills one borrowed buffer a chunk (`buffers`).
//! 3. [`record`] lays an observation out, its size worked out before the first byte is written, so that every byte of
//!    traffic is copied once, from the relay's buffer into the record that the sink hands on.
//! 4. The serving thread gives the record to its [`Outlet`], which keeps each key's order, and has one task that waits for
//!    outcomes and wakes the connections they belong to. What is done about a loss (forward or refuse, drop a read's
//!    stream or let a write wait) is the caller's.
//! 5. A `sink` takes records in and says "safe" or "lost", with a byte budget over everything under way: `kafka` or `file`.
//!    The `breaker` makes a dead log cost one bounded delay; `loss` is the fsynced list of what was forwarded unrecorded.
//! 6. [`read`] goes the other way, bounded and never believing: [`read::decode`] for one record, [`read::accumulate`] for
//!    a topic. It reacts to odd input as the Replayer 3.3.6 does, and says so where that one throws.
//!
//! What makes records (1 to 3) and what reads them (6) is pure: bytes and times in, records out, and back. No socket, no
//! clock, no Kafka. What keeps them (4 and 5) knows nothing of requests.
//!
//! The format is the `TrafficStream` of Migration Assistant 3.3.6 (`TrafficCaptureStream.proto`), named by
//! [`record::Version`] so that another can stand beside it.

mod breaker;
mod buffers;
pub mod chunks;
pub mod file;
pub mod identity;
#[cfg(feature = "kafka")]
pub mod kafka;
mod lag;
pub mod loss;
mod outlet;
pub mod read;
pub mod record;
mod released;
pub mod side;
mod sink;
pub mod stream;
pub(crate) mod tap;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod time;

pub use breaker::{Breaker, Position, Reopen};
pub use buffers::Buffers;
pub use identity::{ConnectionId, ConnectionIds, NodeId};
pub use outlet::{Capture, Figures, Outlet};
pub use record::Record;
pub use sink::{
    BUDGET_BYTES, Batch, Entry, Keeps, Lost, Nowhere, Outcome, Parcel, Receipt, Refused, Returned, Sink,
    VALUE_BYTES_MAX, Verdict, Why,
};
pub use stream::{Ending, Lengths, Recorder, Stream};
pub use time::Timestamp;

/// Bytes that lie in two places and are recorded as one: a head and what of its body came with it. Either may be empty.
pub type Pieces<'a> = [&'a [u8]; 2];
