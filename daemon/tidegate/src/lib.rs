//! The daemon, its adapters and its command line, as a library: the binary is one call into [`cli`], and `tidegate demo`
//! and the tests run the same control loop in their own process.
//!
//! Reading order: [`cli`] (what a person can say), [`demo`] (a whole cutover on one machine).

pub mod cli;
pub mod clock;
pub mod demo;
