//! The decisions: what a policy, a running cutover, an event and the time make of one another.
//!
//! Everything here is a value or a pure function of values. There is no I/O, no clock, no chance and no async; the
//! manifest is the proof. The daemon journals what [`decide`] answers and then carries it out.
//!
//! Reading order: [`units`], [`policy`] (what the operator wants), [`cutover`] (where one run of it is), [`event`] (what
//! can happen), [`command`] (what can be asked for), [`reason`] (why), [`decide`] (what follows).

pub mod command;
pub mod cutover;
pub mod decide;
pub mod event;
pub mod policy;
pub mod reason;
pub mod units;

pub use command::{Alert, Command, Episode};
pub use cutover::{Cutover, Phase};
pub use decide::{Decision, decide};
pub use event::{Event, Observation, Order, Verb};
pub use policy::Policy;
pub use reason::Reason;
pub use units::{Generation, Share, Timestamp, Weight, Window};
