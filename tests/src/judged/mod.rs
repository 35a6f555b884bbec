//! Judges compared on simulated services: ours, and the rules of its peers.
//!
//! [`world`] holds the services, each with its equations, and [`fault`] what can be wrong with a target; [`service`]
//! makes both sides' counts of them, block by block, with [`chance`] and [`latency`]. [`rule`] is what a judge is to the
//! simulation, [`peers`] are the others' rules, [`run`] is one cutover, [`cell`] many of them, [`closed`] one whose steps
//! the evidence opens. [`limit`] says what a test could do that knew the fault beforehand; [`stream`] judges counts that
//! somebody else made; [`print`](mod@print) is how all of it reads.
//!
//! What it is not: a proof. The families of worlds are ours, and the peers' settings are their documented defaults and
//! examples; other services and settings give other figures.

pub mod cell;
pub mod chance;
pub mod closed;
pub mod fault;
pub mod latency;
pub mod limit;
pub mod names;
pub mod peers;
pub mod print;
pub mod rule;
pub mod run;
pub mod service;
pub mod stream;
pub mod world;

pub use cell::{Cell, Tally};
pub use fault::Fault;
pub use rule::JudgeKind;
pub use world::{Row, World};
