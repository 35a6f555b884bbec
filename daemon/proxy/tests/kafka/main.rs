//! The Kafka log against a real broker: what it says is safe is in the topic, whatever happens to the broker.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall fail where it stands")]
#![expect(clippy::print_stdout, reason = "the figures that a run has seen")]

mod certificates;
mod chaos;
mod client;
mod clock;
mod disk;
mod group;
mod promises;
mod replaced;
mod security;
#[path = "../../../../tests/src/servers/mod.rs"]
#[expect(
    unreachable_pub,
    dead_code,
    unused_imports,
    reason = "shared with the package of the end-to-end tests, which uses all of it"
)]
mod servers;
