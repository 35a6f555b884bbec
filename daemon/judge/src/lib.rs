//! Is the target worse than the source? The statistics behind every verdict, and nothing else.
//!
//! Counts of both sides go in, one block after the other; a [`Judgement`] with a [`Verdict`] per guard comes out, with
//! the numbers it stands on. The crate has no clock, no chance and no I/O: the same blocks give the same verdicts, in
//! production, in the simulator and when a journal is read again years later.
//!
//! Reading order: [`histogram`] and [`counts`] (what goes in), [`guard`] (what is asked), [`baseline`] (what was normal
//! before), [`judge`] (the course of one cutover), [`verdict`] (what comes out).

pub mod baseline;
pub mod counts;
pub mod dispersion;
pub mod engine;
pub mod evidence;
pub mod guard;
pub mod histogram;
pub mod interval;
pub mod judge;
pub mod latency;
pub mod numbers;
pub mod pass;
mod sentence;
pub mod share;
pub mod verdict;
mod watch;
pub mod wealth;
mod words;

pub use baseline::{Baseline, Recorder};
pub use counts::{Block, Counts, Side};
pub use guard::{Guard, GuardKind, Guards, Pass};
pub use histogram::Histogram;
pub use judge::{Context, Judge};
pub use verdict::{Act, Alarm, AlarmKind, GuardVerdict, Judgement, Reference, Verdict};
