//! The decision core in a seeded world: virtual time, faults by script, and an oracle that knows what really happened.
//!
//! [`world`] is the world: a balancer that answers late, twice or never, a service that sickens, a clock that steps,
//! operators who order, a daemon that crashes; it carries out what the core asks for. [`oracle`] watches the world, not
//! the core: it is told what was carried out, delivered and ordered, and states what must never have happened. It
//! imports nothing of `decide`. First every fault is on and safety is all that counts; then the world is healed and the
//! cutover must come to an end.
//!
//! What nobody can see is left out: a foreign change undone between two reads is no drift to anyone.

pub mod coverage;
pub mod faults;
pub mod mutants;
pub mod oracle;
pub mod policy;
pub mod service;
pub mod world;

pub use coverage::Coverage;
pub use faults::{Fault, Faults};
pub use mutants::Mutant;
pub use oracle::Violation;
pub use world::{Outcome, run};
