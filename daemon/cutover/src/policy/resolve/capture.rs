//! What a cutover asks of captured traffic, and whether there is anybody to ask.

use std::time::Duration;

use super::super::raw;
use super::super::{BalancerPolicy, CaptureNeed, CapturePolicy, Policy};
use super::Resolver;

/// What the file says; that somebody can be asked is for [`Resolver::captured`].
pub(super) fn capture(capture: &raw::Capture) -> CapturePolicy {
    CapturePolicy {
        need: capture.need.unwrap_or(CaptureNeed::NotNeeded),
        losses_accepted: capture.losses_accepted.unwrap_or(0),
        lag_max: capture.lag_max.map_or(Duration::ZERO, |lag| lag.0),
        replay_max: capture.replay_max.map_or(Duration::ZERO, |replay| replay.0),
    }
}

impl Resolver<'_> {
    /// Behind a load balancer it is the proxies that know how capture goes, and somebody must say where they are.
    pub(super) fn captured(&mut self, policy: &Policy) {
        let alb = matches!(policy.balancer, BalancerPolicy::Alb { .. });
        if policy.capture.need == CaptureNeed::Required && alb && policy.source.proxies.is_empty() {
            self.wrong(
                "capture.need",
                "capture is required, and no proxy is named that could say whether it is whole",
                "name the control addresses of the proxies behind the target groups in `source.proxies` and \
                 `target.proxies`",
            );
        }
        if policy.capture.need == CaptureNeed::Required && policy.capture.lag_max.is_zero() && !self.bad(&["capture"]) {
            self.wrong(
                "capture.lag_max",
                "no record is in the log at once, so this would stop every cutover",
                "say how long the oldest record may wait, such as `10s`",
            );
        }
    }
}
