//! What must be healthy and large enough before traffic moves, and while it does. The port, and in files of their own
//! the adapters: [`endpoints`] (the endpoints of both sides as our own proxies and a request of ours see them), `alb`
//! (target groups of an AWS load balancer, and the ECS services behind them), [`behind`] (our own proxies behind them), [`captured`] (what
//! they record),
//! `account` (the credentials and the clock by which AWS is asked) and `leased` (whether another daemon drives it).

#[cfg(feature = "aws")]
pub mod account;
#[cfg(feature = "aws")]
pub mod alb;
pub mod behind;
pub mod captured;
pub mod endpoints;
#[cfg(feature = "aws")]
pub mod leased;

use cutover::event::{Check, Health};
use cutover::policy::CapturePolicy;
use cutover::{Lever, Stands};

use crate::port::{Answer, PortError};

/// Something that can tell whether both sides are fit for traffic.
pub trait Fleet: Send + Sync {
    /// Makes every check, in preflight and again and again while a cutover runs.
    ///
    /// # Errors
    /// When not even an unknown outcome can be told; a check that could not be made is in the list as unknown.
    fn check(&self) -> Answer<'_, Vec<Check>>;

    /// Asks every proxy that clients' writes may go through how its capture goes, by what `policy` asks of it: an adopted one
    /// may ask something else than the one that the cutover began with. Nothing where it asks nothing.
    ///
    /// # Errors
    /// As for [`Fleet::check`].
    fn captured<'a>(&'a self, policy: &'a CapturePolicy) -> Answer<'a, Vec<Check>> {
        match self.beneath() {
            Some(fleet) => fleet.captured(policy),
            None => Box::pin(async { Ok(Vec::new()) }),
        }
    }

    /// The fleet that this one only adds checks to: whatever it does not do itself is asked there.
    fn beneath(&self) -> Option<&dyn Fleet> {
        None
    }

    /// Looks at the health of both sides' targets for the tripwire on it; nothing, where no balancer checks any.
    ///
    /// # Errors
    /// When it cannot be read now; that is no sign of badness, and the checks say it.
    fn health(&self) -> Answer<'_, Option<Health>> {
        self.beneath().map_or_else(|| -> Answer<'_, _> { Box::pin(async { Ok(None) }) }, Fleet::health)
    }

    /// How the levers stand: settings beside the weights that a cutover may move. Nothing, where there are none.
    ///
    /// # Errors
    /// When it cannot be found out.
    fn levers(&self) -> Answer<'_, Stands> {
        self.beneath().map_or_else(|| -> Answer<'_, _> { Box::pin(async { Ok(Stands::default()) }) }, Fleet::levers)
    }

    /// Moves a lever to `to` if it stands at `from`, wherever it stands without one (and then a count is only raised);
    /// where it stands after that, read back. Made twice it is made once.
    ///
    /// # Errors
    /// When there is no such lever, it could not be moved, or nobody knows whether it was.
    fn set_lever(&self, lever: Lever, from: Option<u32>, to: u32) -> Answer<'_, u32> {
        match self.beneath() {
            Some(fleet) => fleet.set_lever(lever, from, to),
            None => {
                Box::pin(async move { Err(PortError::never("fleet", format!("nothing here can be moved: {lever:?}"))) })
            }
        }
    }
}
