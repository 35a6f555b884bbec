//! Is the target worse than the source? The statistics behind every verdict, and nothing else.
//!
//! Counts of both sides go in, one block after the other; a [`Judgement`] with a [`Verdict`] per guard comes out, with
//! the numbers it stands on. The crate has no clock, no chance and no I/O: the same blocks give the same verdicts, in
//! production, in the simulator and when a journal is read again years later.
//!
//! What goes in: [`counts`] and [`histogram`] (what both sides did), [`guard`] (what is asked), [`baseline`] (what was
//! normal before), [`record`] (the same by hour of the week). What comes out: [`verdict`]. Between them [`judge`] follows
//! one cutover, and [`engine`] is the method, on the counts of a [`table`]: [`evidence`] and [`latency`] (what one block
//! says), [`dispersion`] (what it is divided by), [`wealth`] (what is staked), [`pass`] (what opens the next step),
//! [`share`] (whether the split is as configured). [`steady`] is a
//! second look at latency that a policy may ask for.
//!
//! # The method in five sentences
//! For each guard and block a number is computed that a target within tolerance cannot be expected to win: a bet at
//! fair odds, with both sides of the same block on the table, so that whatever they share (the hour, a shared outage)
//! cancels. Its logarithm is divided by how much the sides scatter beyond independence, and capped, so that no single
//! burst decides. The bets are accumulated with stakes laid down at each step and in between, and averaged over the
//! guards. Where the average reaches `1 / false_revert_max`, the cutover reverts: over all guards, steps and looks, a
//! target within tolerance is reverted with at most that chance (exactly so for independent requests, measured
//! otherwise). The same bets turned round, against "the next weight would do more harm than the budget", open the next
//! step.
//!
//! # What to tune for a short cutover
//! The usual numbers are made for minutes a step. A ladder that must climb in seconds at some hundred requests a second,
//! with a baseline of seconds, needs wider budgets, since a step of eight seconds at 100 requests a second and 10 % has
//! seen 80 requests of the target, which cannot prove much: [`Pass::errors_budget`] 3 %, [`Pass::latency_budgets`] 15,
//! 8 and 4 %, the bake times in seconds, [`Guards::burst_millis`] 10 000. With these, at 100 requests a second, a
//! healthy target climbs 10, 25, 50 and 95 % in 30 to 70 s (at 300: in 25 s), and one three times slower is reverted
//! within half a minute; `tests/cutover.rs` shows both. What is given up: a target may be let through to the next step
//! that is worse by up to these budgets, and a burst of trouble of half a minute on the target alone can revert.

pub mod baseline;
pub mod counts;
pub mod dispersion;
pub mod engine;
pub mod evidence;
mod gate;
pub mod guard;
pub mod histogram;
pub mod interval;
pub mod judge;
pub mod latency;
mod mix;
pub mod numbers;
pub mod pass;
pub mod record;
mod sentence;
pub mod share;
pub mod steady;
pub mod table;
pub mod verdict;
mod watch;
pub mod wealth;
mod words;
pub mod world;

pub use baseline::{Baseline, Recorder};
pub use counts::{Block, Counts, Side};
pub use guard::{Guard, GuardKind, Guards, Pass};
pub use histogram::Histogram;
pub use judge::{Context, Judge};
pub use verdict::{Act, Alarm, AlarmKind, GuardVerdict, Judgement, Reference, Verdict};
pub use world::{Standing, World};
