//! Judges compared on simulated services: ours, and the rules of its peers.
//!
//! [`world`] holds the services, each with its equations, and [`fault`] what can be wrong with a target; [`service`]
//! makes both sides' counts of them, block by block, with [`chance`] and [`latency`]. [`rule`] is what a judge is to the
//! simulation, [`peers`] are the others' rules, [`run`] is one cutover, [`cell`] many of them, [`closed`] one whose steps
//! the evidence opens. [`limit`] says what a test could do that knew the fault beforehand; [`stream`] judges counts that
//! somebody else made; [`print`](mod@print) is how all of it reads, with [`prototype`]'s figures beside.
//!
//! What it is not: a proof. The families of worlds are ours, and the peers' settings are their documented defaults and
//! examples; other services and settings give other figures.
//!
//! # Small shifts in thin traffic, and what was tried
//! The method's prototype, and so the default guards, find small shifts later than Kayenta does: p99 x 1.2 after 28 min at
//! 50 requests a second and 11 at 500 (Kayenta 20 and 5, its first look), mean + 10 % after 22 and 8 (10 and 5). Two things
//! cost that. Kayenta has no tolerance: + 10 % is but 5 % past ours, which takes 3.4 times as many requests to show, and it
//! reverts a target that is 3 % slower most times where there is traffic. And a baseline cannot tell what one side has of its own from what both
//! share, so dispersion must be thought to be 4 at first, where that of the sides' difference is 1.1 to 1.5.
//!
//! - *One bet a minute* (`judge::steady`, the guard `latency_steady`, here `ours-steady`) needs no dispersion: 25 and 10 min,
//!   18 and 8. Of the target that is 3 % slower, within tolerance, it reverts 1.0 % at 500 requests a second and 0.5 % at 5000
//!   (3.8 % before bets were made smaller with more traffic). It is off by default, since the default set is that of the
//!   recorded streams and p99 x 2 at 50 requests a second is found a little later (583 requests of the target for 572).
//! - *The same on errors*, gathered until the source has ten: 0.1 to 0.2 % is found no sooner (19 min at 500 requests a
//!   second with and without), and at 50 no more often (41 % for 42 %), since its part of the risk is taken from the others.
//! - *Bets of fixed size*, or one purse for body and tail that goes to the better one: within half a minute of what is there.
//! - *Nearer bins and alternatives*: a minute of p99 x 1.2 gives 91 % of the evidence that the limit says there is.

pub mod cell;
pub mod chance;
pub mod closed;
pub mod fault;
pub mod latency;
pub mod limit;
pub mod names;
pub mod peers;
pub mod print;
pub mod prototype;
pub mod rule;
pub mod run;
pub mod service;
pub mod stream;
pub mod world;

pub use cell::{Cell, Tally};
pub use fault::Fault;
pub use rule::JudgeKind;
pub use world::{Row, World};
