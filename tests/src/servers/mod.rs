//! Programs that no one here wrote, started for a test or a benchmark and stopped for sure: nginx, haproxy, OpenSearch,
//! Prometheus, Kafka; and a small resolver of ours, whose answers change when a test says so.
//!
//! What installs them is `tests/run`; nothing is downloaded here. Ports are free ones on the loopback address, files lie in
//! a folder that the caller owns.

pub mod aws;
pub mod kafka;
pub mod nginx;
mod ports;
mod process;
pub mod prometheus;
pub mod resolver;
pub mod search;

pub use ports::free_port;
pub use process::{Process, Usage, built_binary, state_folder};
