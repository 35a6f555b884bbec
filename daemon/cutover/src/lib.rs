//! The decisions: what a policy, a running cutover, an event and the time make of one another.
//!
//! Everything here is a value or a pure function of values. There is no I/O, no clock, no chance and no async; the
//! manifest is the proof. The daemon journals what [`decide()`] answers and then carries it out.
//!
//! Reading order: [`units`], [`policy`] (what the operator wants), [`cutover`] (where one run of it is), [`evidence`]
//! (what the counts prove), [`lever`] (what else is moved), [`lag`] (why a share lags), [`captured`] (how capture goes), [`losses`] (what it lost), [`event`] (what can happen), [`command`] (what can be asked for), [`reason`] (why),
//! [`mod@decide`] (what follows); beside them [`baseline`] (a record of the source that is kept), [`windows`] (when
//! traffic may rise) and [`price()`] (what a revert costs).

pub mod baseline;
pub mod captured;
pub mod command;
pub mod cutover;
pub mod decide;
pub mod event;
pub mod evidence;
pub mod lag;
pub mod lever;
pub mod losses;
pub mod plan;
pub mod policy;
pub mod price;
pub mod reason;
pub mod units;
pub mod windows;

pub use command::{Alert, Command, Episode, Severity};
pub use cutover::{Blocker, BlockerKind, Cutover, Phase};
pub use decide::{Decision, decide};
pub use event::{Event, Observation, Order, Verb};
pub use evidence::Evidence;
pub use lever::{Lever, Stands};
pub use policy::Policy;
pub use price::{Price, price};
pub use reason::Reason;
pub use units::{Generation, Share, Timestamp, Weight, Window};
