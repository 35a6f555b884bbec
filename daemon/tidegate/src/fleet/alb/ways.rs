//! Ways to the two target groups that the weights do not touch: other listeners and rules of the same load balancer, and
//! Network Load Balancers in front of it or beside it.
//!
//! CloudWatch counts a target group's requests whatever listener they came by, so these explain a share that lags and a
//! source that does not fall silent. Migration Assistant makes two such listeners itself, one for each side.

use std::collections::BTreeSet;

use aws_sdk_elasticloadbalancingv2::types::{Action, ForwardActionConfig, TargetGroup, TargetTypeEnum};
use cutover::event::{Check, CheckOutcome};
use cutover::lag::{NLB_FLOWS, OTHER_LISTENERS};

use super::{AlbFleet, PORT};
use crate::aws::{failed, find};
use crate::port::PortError;

/// How many pages of target groups are looked through; a page has up to 400.
const PAGES_MAX: usize = 10;
/// How many groups of Network Load Balancers are looked into.
const NLB_GROUPS_MAX: usize = 20;
/// How many ways are named in a sentence.
const NAMED_MAX: usize = 5;

/// One way past the weights: how it is called, and which sides it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Way {
    name: String,
    sides: BTreeSet<&'static str>,
}

/// The ways in a sentence.
fn told(ways: &[Way]) -> String {
    let named = ways.iter().take(NAMED_MAX).map(|Way { name, sides }| {
        let sides: Vec<&str> = sides.iter().copied().collect();
        format!("{name} to the {}", sides.join(" and the "))
    });
    let more = ways.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("{}{more}", named.collect::<Vec<_>>().join(", "))
}

/// What the other listeners mean.
fn of_listeners(ways: &[Way]) -> Option<Check> {
    (!ways.is_empty()).then(|| {
        Check::new(
            OTHER_LISTENERS,
            CheckOutcome::Warn,
            format!("requests come past the weights by {}, and count as the group's like all others", told(ways)),
            "move the clients that use them, or take what comes by them as explained (`drain.on_timeout`)",
        )
    })
}

/// What Network Load Balancers mean.
fn of_flows(ways: &[Way]) -> Option<Check> {
    (!ways.is_empty()).then(|| {
        Check::new(
            NLB_FLOWS,
            CheckOutcome::Warn,
            format!("flows come by {}; each keeps its way until it ends", told(ways)),
            "have clients reconnect, and point what leads past the load balancer at it (`tidegate aws discover`)",
        )
    })
}

impl AlbFleet {
    fn side_of(&self, group: &str) -> Option<&'static str> {
        [("source", &self.groups.source), ("target", &self.groups.target)]
            .into_iter()
            .find_map(|(side, arn)| (arn == group).then_some(side))
    }

    /// The sides that a list of actions leads to.
    fn sides_of(&self, actions: &[Action]) -> BTreeSet<&'static str> {
        let weighed = actions.iter().filter_map(Action::forward_config).flat_map(ForwardActionConfig::target_groups);
        let weighed = weighed.filter(|tuple| tuple.weight() != Some(0)).filter_map(|tuple| tuple.target_group_arn());
        let plain = actions.iter().filter(|action| action.forward_config().is_none());
        let arns = weighed.chain(plain.filter_map(Action::target_group_arn));
        arns.filter_map(|arn| self.side_of(arn)).collect()
    }

    /// Ways past the weights, as checks. None where there is none.
    pub(super) async fn ways(&self) -> Result<Vec<Check>, PortError> {
        let balancer = find::balancer(&self.balancing, PORT, &self.groups.source).await?;
        let listener = self.listener().await?;
        let mut others = Vec::new();
        for other in find::listeners(&self.balancing, PORT, &balancer).await? {
            let sides = self.sides_of(other.default_actions());
            let (Some(arn), false) = (other.listener_arn(), sides.is_empty()) else { continue };
            if arn != listener {
                others.push(Way { name: format!("port {}", other.port().unwrap_or_default()), sides });
            }
        }
        let checks = of_listeners(&others).into_iter().chain(of_flows(&self.flows(&balancer).await?));
        Ok(checks.collect())
    }

    /// Network Load Balancers that lead to `balancer`, or to the targets behind it.
    async fn flows(&self, balancer: &str) -> Result<Vec<Way>, PortError> {
        let mut addresses: Vec<(&'static str, Vec<String>)> = Vec::new();
        for (side, group) in [("source", &self.groups.source), ("target", &self.groups.target)] {
            let targets = self.targets(group).await?;
            addresses.push((side, targets.into_iter().map(|target| target.address).collect()));
        }
        let mut ways = Vec::new();
        for group in self.groups_of_nlbs().await? {
            let Some(arn) = group.target_group_arn() else { continue };
            let name = format!("the NLB's group `{}`", group.target_group_name().unwrap_or_default());
            let targets = self.targets(arn).await?;
            if group.target_type() == Some(&TargetTypeEnum::Alb) {
                if targets.iter().any(|target| target.address.starts_with(balancer)) {
                    ways.push(Way { name, sides: BTreeSet::from(["load balancer"]) });
                }
                continue;
            }
            let reaches = |of_side: &[String]| targets.iter().any(|target| of_side.contains(&target.address));
            let sides: BTreeSet<&'static str> =
                addresses.iter().filter(|(_, of_side)| reaches(of_side)).map(|(side, _)| *side).collect();
            if !sides.is_empty() {
                ways.push(Way { name, sides });
            }
        }
        Ok(ways)
    }

    /// Target groups that a Network Load Balancer uses.
    async fn groups_of_nlbs(&self) -> Result<Vec<TargetGroup>, PortError> {
        let mut found = Vec::new();
        let mut marker = None;
        for _ in 0..PAGES_MAX {
            let page = self.balancing.describe_target_groups().set_marker(marker.take()).send().await;
            let page = page.map_err(|error| failed(PORT, "list the target groups", &error))?;
            let by_nlb =
                |group: &&TargetGroup| group.load_balancer_arns().iter().any(|arn| arn.contains(":loadbalancer/net/"));
            found.extend(page.target_groups().iter().filter(by_nlb).cloned());
            marker = page.next_marker().map(str::to_owned);
            if marker.is_none() || found.len() >= NLB_GROUPS_MAX {
                break;
            }
        }
        found.truncate(NLB_GROUPS_MAX);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_past_the_weights_are_named_with_the_side_they_lead_to() {
        // Proves that each is named, that many are cut short, and that none is nothing to say.
        let way = |port: u16, sides: &[&'static str]| Way {
            name: format!("port {port}"),
            sides: sides.iter().copied().collect(),
        };
        assert!(of_listeners(&[]).is_none() && of_flows(&[]).is_none());
        let two = of_listeners(&[way(9201, &["source"]), way(9202, &["source", "target"])]).unwrap();
        assert!(
            two.evidence.contains("port 9201 to the source, port 9202 to the source and the target"),
            "{}",
            two.evidence
        );
        let many: Vec<Way> = (1..9).map(|port| way(port, &["target"])).collect();
        assert!(of_flows(&many).unwrap().evidence.contains("and 3 more"));
    }
}
