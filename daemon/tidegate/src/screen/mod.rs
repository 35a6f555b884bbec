//! The live screen of `watch` and `demo`: what an operator asks at three in the morning, in the order of asking.
//!
//! Is it my fault? Is it getting worse? What will it do next, and when? Can I undo it, and what do I lose? What do I
//! press? A [`View`] goes in, a terminal buffer comes out ([`draw`]); nothing in here asks a clock, a daemon or a
//! terminal, except [`terminal`], which owns the real one. Colour is never the only carrier: every state is a word
//! first. What is unknown is grey, never green, and every number has an age.

pub mod draw;
pub mod format;
pub mod keys;
pub mod terminal;
#[cfg(test)]
mod tests;

use cutover::{Cutover, Timestamp};

/// Everything one frame shows.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// The cutover as it is now.
    pub cutover: &'a Cutover,
    /// What was decided last, newest first.
    pub recent: &'a [Happened],
    /// The moment the frame is for.
    pub now: Timestamp,
    /// More lines for the head of the screen: the demo's clients and its fault.
    pub notes: &'a [String],
    /// What the keys do, or what is being asked.
    pub keys: &'a str,
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
