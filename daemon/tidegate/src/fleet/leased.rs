//! Whether this daemon may drive the listener at all, told with the rest of the fleet's checks: without its lease nothing
//! begins and nothing rises, and its levers are another daemon's to move. What a lease is and what it stops is
//! [`crate::aws::lease`]'s to say.

use std::sync::Arc;

use cutover::Lever;
use cutover::event::Check;

use super::Fleet;
use crate::aws::lease::Lease;
use crate::port::Answer;

/// Another fleet, and the lease on its listener.
pub struct WithLease {
    fleet: Arc<dyn Fleet>,
    lease: Lease,
}

impl WithLease {
    /// Looks after `fleet` under `lease`.
    pub fn new(fleet: Arc<dyn Fleet>, lease: Lease) -> Self {
        Self { fleet, lease }
    }
}

impl Fleet for WithLease {
    fn check(&self) -> Answer<'_, Vec<Check>> {
        Box::pin(async move {
            let (checks, lease) = tokio::join!(self.fleet.check(), self.lease.check());
            let mut checks = checks?;
            checks.push(lease);
            Ok(checks)
        })
    }

    fn beneath(&self) -> Option<&dyn Fleet> {
        Some(&*self.fleet)
    }

    fn set_lever(&self, lever: Lever, from: Option<u32>, to: u32) -> Answer<'_, u32> {
        Box::pin(async move {
            self.lease.may_revert().await?;
            self.fleet.set_lever(lever, from, to).await
        })
    }
}
