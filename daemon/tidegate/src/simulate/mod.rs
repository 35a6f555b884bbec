//! A policy tried out on a recorded service before it is trusted: the real core and the real judge, many times.
//!
//! What is real: [`cutover::decide()`] with its judge, tripwires, budgets and windows, event by event as the daemon sends
//! them. What is simulated: virtual time ([`world`]), and the traffic of a [`service`] that behaves as its baseline was
//! recorded ([`traffic`], [`shape`], [`wander`]), with a target that is as good as the source or has a [`fault`].
//! [`mod@study`] does it many times and counts; [`told`] says it in words, and [`page`] draws it.
//!
//! What it is not: a promise. A service may do what its baseline never showed, and a fault may be of no kind known here.

mod chance;
pub mod fault;
mod ledger;
pub mod page;
pub mod service;
mod shape;
pub mod study;
pub mod told;
mod traffic;
mod wander;
mod world;

#[cfg(test)]
mod tests;

pub use fault::Fault;
pub use service::Service;
pub use study::{Extent, Study, Subject, study};
