//! Alerts to a URL, signed by the rules of Standard Webhooks.

use cutover::policy::AlertPolicy;

use super::{AlertSink, Message};
use crate::clock::Clock;
use crate::outbound::{Outbound, OutboundError, shown};
use crate::port::{Answer, PortError};

/// Sends alerts to webhooks. Any 2XX answer means that the receiver has it.
pub struct Webhook {
    outbound: Outbound,
    clock: Clock,
}

impl Webhook {
    /// A sink that signs with the time of `clock`.
    pub fn new(outbound: Outbound, clock: Clock) -> Self {
        Self { outbound, clock }
    }
}

impl AlertSink for Webhook {
    fn send<'a>(&'a self, message: &'a Message) -> Answer<'a, ()> {
        Box::pin(async move {
            let AlertPolicy::Webhook { url, secret } = &message.to else {
                return Err(PortError::never("alert", "this alert is not for a webhook"));
            };
            let answer = self
                .outbound
                .post(url, secret.as_deref(), &message.id, self.clock.now(), &message.body())
                .await
                .map_err(|error| match error {
                    OutboundError::Url { .. } => PortError::never("alert", error),
                    OutboundError::Secret(_)
                    | OutboundError::NoAnswer { .. }
                    | OutboundError::Tls { .. }
                    | OutboundError::Torn { .. } => PortError::later("alert", error),
                })?;
            let refused = || format!("`{}` answered {}: {}", shown(url), answer.status, answer.text);
            match answer.status.as_u16() {
                200..=299 => Ok(()),
                // The standard's word for "never again"; everything else may be an accident of deployment.
                410 => Err(PortError::never("alert", refused())),
                _ => Err(PortError::later("alert", refused())),
            }
        })
    }
}
