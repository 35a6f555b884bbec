//! The live screen of `watch` and `demo`: what an operator asks at three in the morning, in the order of asking.
//!
//! Is it my fault? Is it getting worse? What will it do next, and when? Can I undo it, and what do I lose? What do I
//! press? A [`View`] goes in, a terminal buffer comes out ([`draw`]); nothing in here asks a clock, a daemon or a
//! terminal, except [`terminal`], which owns the real one. Colour is never the only carrier: every state is a word
//! first. What is unknown is grey, never green, and every number has an age. What the terminal cannot show ([`look`]) is
//! replaced at the very end, so that nothing else has to know.

pub mod draw;
pub mod format;
pub mod keys;
pub mod look;
mod table;
pub mod terminal;
#[cfg(test)]
#[expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]
mod tests;
pub mod trend;

use cutover::{Cutover, Event, Timestamp};

use crate::store::Entry;

pub use look::Look;
pub use trend::Trend;

/// Everything one frame shows.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// The cutover as it is now.
    pub cutover: &'a Cutover,
    /// What was decided last, newest first.
    pub recent: &'a [Happened],
    /// The moment the frame is for.
    pub now: Timestamp,
    /// More lines for the head of the screen, each a label and a sentence: the demo's clients and its fault.
    pub notes: &'a [(&'static str, String)],
    /// What the keys do, or what is being asked.
    pub keys: &'a str,
    /// The last intervals of both sides.
    pub trend: &'a Trend,
    /// What the terminal can show.
    pub look: Look,
}

/// One decision, as a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// When.
    pub at: Timestamp,
    /// The stable word of its reason.
    pub kind: String,
    /// Its reason, a sentence.
    pub text: String,
    /// Who ordered it, where someone did.
    pub actor: Option<String>,
}

impl Happened {
    /// A journal entry as a line.
    pub fn of(entry: &Entry) -> Self {
        let actor = match &entry.event {
            Event::Ordered(order) => Some(order.actor.clone()),
            _ => None,
        };
        Self { at: entry.at, kind: entry.reason.kind.clone(), text: entry.reason.text.clone(), actor }
    }
}
