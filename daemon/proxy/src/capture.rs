//! Capture: what clients send and get, as records that Migration Assistant's Replayer reads.
//!
//! Everything here is pure: bytes and times in, records out, and back. No socket, no clock, no Kafka. What takes the
//! records and says that they are safe is a sink's work; when a request may go upstream is the relay's.
//!
//! # The way of a byte
//!
//! 1. The relay shows a [`stream::Stream`] what passes: there is one for each client connection and captured side. It
//!    knows what a connection may say when, so that no order of events on the wire makes a record which breaks a reader.
//! 2. [`chunks`] cuts the observations into chunks, numbers them and fills one borrowed buffer a chunk (`buffers`).
//! 3. [`record`] lays an observation out, its size worked out before the first byte is written, so that every byte of
//!    traffic is copied once, from the relay's buffer into the record that the sink hands on.
//! 4. [`read`] goes the other way, bounded and never believing: [`read::decode`] for one record, [`read::accumulate`] for
//!    a topic. It reacts to odd input as the Replayer 3.3.6 does, and says so where that one throws.
//!
//! The format is the `TrafficStream` of Migration Assistant 3.3.6 (`TrafficCaptureStream.proto`), named by
//! [`record::Version`] so that another can stand beside it.

mod buffers;
pub mod chunks;
pub mod identity;
pub mod read;
pub mod record;
pub mod stream;
mod time;

pub use buffers::Buffers;
pub use identity::{ConnectionId, ConnectionIds, NodeId};
pub use record::Record;
pub use stream::{Ending, Lengths, Recorder, Stream};
pub use time::Timestamp;

/// Bytes that lie in two places and are recorded as one: a head and what of its body came with it. Either may be empty.
pub type Pieces<'a> = [&'a [u8]; 2];
