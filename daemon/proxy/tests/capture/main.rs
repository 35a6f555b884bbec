//! What is captured, held against what the Java proxy wrote, what the Replayer made of it, and a reference encoder.
//!
//! The vectors are in `tests/vectors`: golden bytes and outcomes of the real classes, a real topic, and what its client
//! really sent and got.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall fail where it stands")]

mod golden;
mod grammar;
mod memory;
mod outcomes;
mod properties;
mod reference;
mod relayed;
mod second_reader;
mod strict;
mod support;
mod topic;
