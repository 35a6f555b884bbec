//! Why a share lags behind its weight, and who still sends to a side that shall have nothing.
//!
//! A load balancer tells nobody why a client stays where it is. What is known is which settings and connections can keep
//! it there: checks of the fleet and of the metrics say each, and here they are put in the order in which they are worth
//! looking at. A cause is a check by its name; one that is as it must be is no cause.

use crate::event::{Check, CheckOutcome};

/// Connections that carry hardly a request: an upgraded one stays with its target for life.
pub const WEBSOCKETS: &str = "websockets";
/// Listeners and rules that send to the same groups whatever the weights say.
pub const OTHER_LISTENERS: &str = "other listeners";
/// A Network Load Balancer in front, which gives a way to a connection and not to a request.
pub const NLB_FLOWS: &str = "NLB flows";
/// Connections that carry many requests and are kept for long.
pub const PINNED: &str = "pinned connections";

/// A cause, in the order in which they are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// A cookie keeps a client at its target group, or at its target.
    Stickiness,
    /// Upgraded connections end when the client wants.
    WebSockets,
    /// Other listeners and numbered rules send to the same groups.
    OtherListeners,
    /// Flows of a Network Load Balancer keep their way.
    NlbFlows,
    /// A zone lacks targets, and its nodes use those of their own zone alone.
    Zones,
    /// Clients keep their connections.
    Pinned,
}

impl Cause {
    /// All of them, in order.
    pub const ALL: [Self; 6] =
        [Self::Stickiness, Self::WebSockets, Self::OtherListeners, Self::NlbFlows, Self::Zones, Self::Pinned];

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stickiness => "stickiness",
            Self::WebSockets => "WebSockets",
            Self::OtherListeners => "other listeners",
            Self::NlbFlows => "NLB flows",
            Self::Zones => "zones",
            Self::Pinned => "pinned connections",
        }
    }

    /// The cause that a check of this name speaks of, if it speaks of one.
    pub fn of(check: &str) -> Option<Self> {
        Some(match check {
            "group stickiness" | "source stickiness" | "target stickiness" => Self::Stickiness,
            WEBSOCKETS => Self::WebSockets,
            OTHER_LISTENERS | "numbered rules" => Self::OtherListeners,
            NLB_FLOWS => Self::NlbFlows,
            "target zones" | "source cross-zone" | "target cross-zone" => Self::Zones,
            PINNED => Self::Pinned,
            _ => return None,
        })
    }
}

/// The checks that explain a lag, in order.
pub fn causes(checks: &[Check]) -> Vec<(Cause, &Check)> {
    let bad = checks.iter().filter(|check| matches!(check.outcome, CheckOutcome::Warn | CheckOutcome::Fail));
    let mut causes: Vec<(Cause, &Check)> = bad.filter_map(|check| Some((Cause::of(&check.name)?, check))).collect();
    causes.sort_by_key(|(cause, _)| *cause);
    causes
}

/// The causes in a sentence, each with its evidence and what to do; or that none of them is seen.
pub fn told(checks: &[Check]) -> String {
    let causes = causes(checks);
    if causes.is_empty() {
        let words: Vec<&str> = Cause::ALL.iter().map(|cause| cause.word()).collect();
        return format!("none of the usual causes is seen ({})", words.join(", "));
    }
    let told = causes.iter().map(|(cause, check)| {
        let fix = if check.fix.is_empty() { String::new() } else { format!(" ({})", check.fix) };
        format!("{}: {}{fix}", cause.word(), check.evidence)
    });
    format!("likely causes in order: {}", told.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, outcome: CheckOutcome) -> Check {
        Check::new(name, outcome, format!("{name} was seen"), "")
    }

    #[test]
    fn causes_are_told_in_the_order_in_which_they_are_worth_looking_at() {
        // Proves the order whatever that of the checks, and that what is in order or speaks of something else is left out.
        let names = [PINNED, "target zones", NLB_FLOWS, OTHER_LISTENERS, WEBSOCKETS, "target stickiness"];
        let mut checks: Vec<Check> = names.iter().map(|name| check(name, CheckOutcome::Warn)).collect();
        checks.push(check("target healthy", CheckOutcome::Fail));
        checks.push(check("group stickiness", CheckOutcome::Pass));
        let found: Vec<Cause> = causes(&checks).into_iter().map(|(cause, _)| cause).collect();
        assert_eq!(found, Cause::ALL);
        assert_eq!(
            told(&checks),
            "likely causes in order: stickiness: target stickiness was seen; WebSockets: websockets was seen; other \
             listeners: other listeners was seen; NLB flows: NLB flows was seen; zones: target zones was seen; pinned \
             connections: pinned connections was seen"
        );
        assert!(told(&checks[6..]).contains("none of the usual causes is seen"));
    }
}
