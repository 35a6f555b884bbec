//! Where the weights live. The port, and in files of their own the adapters: [`listener`] (our own proxies) and `alb` (the
//! default rule of an AWS load balancer's listener).
//!
//! Everything written is absolute and repeatable, and nothing written is believed before it was read: a write that
//! timed out may land later, even after a revert, and most balancers have no conditional write.

#[cfg(feature = "aws")]
pub mod alb;
pub mod listener;

use cutover::event::Reading;
use cutover::policy::Tripwire;
use cutover::{Generation, Share, Timestamp};
use serde_json::Value;

use crate::port::Answer;

/// A place where the target's share is set and read.
///
/// The controller calls it from one task, so that there is one write at a time, and gives each call a deadline; a call
/// that is dropped may still take effect.
pub trait Balancer: Send + Sync {
    /// What the balancer says now. `begun` is the time at which the call is made and becomes [`Reading::begun`].
    ///
    /// # Errors
    /// When nobody can say what the share is. Where some nodes answer and others do not, the answer names the others.
    fn read(&self, begun: Timestamp) -> Answer<'_, Reading>;

    /// Gives the target `share`.
    ///
    /// # Errors
    /// When it is not known that every node has it.
    fn write(&self, share: Share, generation: Generation) -> Answer<'_, ()>;

    /// Puts back an action as [`Reading::action`] had it, whole.
    ///
    /// # Errors
    /// As for `write`; an action that this adapter did not write itself is refused for good.
    fn restore<'a>(&'a self, action: &'a Value, generation: Generation) -> Answer<'a, ()>;

    /// Lets the balancer put back `share` by itself when a tripwire fires; does nothing where a balancer cannot.
    /// It holds until `disarm`, over restarts of nodes too.
    ///
    /// # Errors
    /// When a node could not be armed.
    fn arm<'a>(&'a self, tripwires: &'a [Tripwire], share: Share) -> Answer<'a, ()>;

    /// Takes that back.
    ///
    /// # Errors
    /// When a node could not be disarmed.
    fn disarm(&self) -> Answer<'_, ()>;

    /// Lets replies carry `Connection: close` until `until`, so that clients reconnect; does nothing where it cannot.
    ///
    /// # Errors
    /// When a node could not be told.
    fn close_connections(&self, now: Timestamp, until: Timestamp) -> Answer<'_, ()>;

    /// Looks whether something happened there by itself, and gives nodes that came up without the current weight what
    /// they lack. Called often while armed.
    ///
    /// # Errors
    /// When no node answers. The controller goes on: reads and metrics say the same to the core.
    fn watch(&self) -> Answer<'_, Vec<Fired>>;
}

/// A tripwire that a node fired by itself; the armed share is back on that node. Reported once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired {
    /// Which node, which limit, and on which figures, in one sentence.
    pub why: String,
    /// The share that node has now.
    pub share: Share,
    /// When it fired, by the node's clock.
    pub at: Timestamp,
}
