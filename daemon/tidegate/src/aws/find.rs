//! Which listeners weigh which target groups, and what things are called where.
//!
//! A listener is found by the target groups in its default action and never by its port: the runbook of Migration Assistant
//! says 9200, and what its CDK makes listens on 443.

use aws_sdk_elasticloadbalancingv2 as elb;
use aws_sdk_elasticloadbalancingv2::types::{
    ActionTypeEnum, ForwardActionConfig, Listener, LoadBalancer, LoadBalancerTypeEnum, TargetGroup,
};

use super::failed;
use crate::listeners::{Group, Weighted};
use crate::port::PortError;

/// The most pages of one list; a page has up to 400 entries.
const PAGES_MAX: usize = 50;

/// An ARN of a load balancer or target group as CloudWatch's dimension has it.
pub fn dimension(arn: &str) -> Option<String> {
    let resource = arn.splitn(6, ':').nth(5)?;
    if resource.starts_with("targetgroup/") {
        return Some(resource.to_owned());
    }
    resource.strip_prefix("loadbalancer/").map(str::to_owned)
}

/// The load balancer of a listener's ARN, as CloudWatch's dimension has it.
pub fn balancer_of(listener: &str) -> Option<String> {
    let resource = listener.splitn(6, ':').nth(5)?.strip_prefix("listener/")?;
    resource.rsplit_once('/').map(|(balancer, _)| balancer.to_owned())
}

/// The region of an ARN.
pub fn region(arn: &str) -> Option<&str> {
    arn.split(':').nth(3).filter(|region| !region.is_empty())
}

/// The one Application Load Balancer behind which a target group is.
///
/// # Errors
/// When there is none, or it cannot be found out.
pub async fn balancer(client: &elb::Client, port: &'static str, group: &str) -> Result<String, PortError> {
    let answer = client.describe_target_groups().target_group_arns(group).send().await;
    let answer = answer.map_err(|error| failed(port, "find the load balancer of the source's target group", &error))?;
    let mut balancers = answer.target_groups().iter().flat_map(TargetGroup::load_balancer_arns);
    balancers.find(|arn| arn.contains(":loadbalancer/app/")).cloned().ok_or_else(|| {
        let text = format!("no Application Load Balancer uses the target group `{group}`");
        PortError::never(port, text)
    })
}

/// The one listener whose default action weighs both target groups.
///
/// # Errors
/// When there is none or more than one, or it cannot be found out.
pub async fn listener(
    client: &elb::Client,
    port: &'static str,
    source: &str,
    target: &str,
) -> Result<String, PortError> {
    let balancer = balancer(client, port, source).await?;
    let holds = |listener: &&Listener| {
        let groups = groups(listener);
        [source, target].iter().all(|arn| groups.iter().any(|group| group.arn == *arn))
    };
    let listeners = listeners(client, port, &balancer).await?;
    let found: Vec<&str> = listeners.iter().filter(holds).filter_map(Listener::listener_arn).collect();
    match found[..] {
        [one] => Ok(one.to_owned()),
        [] => Err(PortError::never(
            port,
            format!(
                "no listener's default action weighs both `{source}` and `{target}`: make one (Migration Assistant does \
                 with `targetClusterProxyServiceEnabled`), or name the right target groups; `tidegate aws discover` lists \
                 what there is"
            ),
        )),
        _ => Err(PortError::never(
            port,
            format!(
                "{} listeners weigh both target groups: name one in `balancer.listener`: {}",
                found.len(),
                found.join(", ")
            ),
        )),
    }
}

/// Every listener of every Application Load Balancer that weighs two target groups or more.
///
/// # Errors
/// When not all of them could be listed.
pub async fn weighted(client: &elb::Client, port: &'static str) -> Result<Vec<Weighted>, PortError> {
    let mut found = Vec::new();
    for balancer in balancers(client, port).await? {
        let (Some(arn), Some(LoadBalancerTypeEnum::Application)) = (balancer.load_balancer_arn(), balancer.r#type())
        else {
            continue;
        };
        for listener in listeners(client, port, arn).await? {
            let groups = groups(&listener);
            let (Some(arn), true) = (listener.listener_arn(), groups.len() > 1) else { continue };
            let protocol = listener.protocol().map_or("?", |protocol| protocol.as_str());
            found.push(Weighted {
                balancer: balancer.load_balancer_name().unwrap_or_default().to_owned(),
                address: balancer.dns_name().unwrap_or_default().to_owned(),
                listener: arn.to_owned(),
                port: format!("{protocol}:{}", listener.port().unwrap_or_default()),
                groups,
            });
        }
    }
    Ok(found)
}

async fn balancers(client: &elb::Client, port: &'static str) -> Result<Vec<LoadBalancer>, PortError> {
    let mut all = Vec::new();
    let mut marker = None;
    for _ in 0..PAGES_MAX {
        let page = client.describe_load_balancers().set_marker(marker.take()).send().await;
        let page = page.map_err(|error| failed(port, "list the load balancers", &error))?;
        all.extend(page.load_balancers().iter().cloned());
        marker = page.next_marker().map(str::to_owned);
        if marker.is_none() {
            return Ok(all);
        }
    }
    Err(PortError::never(port, "there are more load balancers than Tidegate looks through; name the ARNs yourself"))
}

/// The listeners of a load balancer.
///
/// # Errors
/// When not all of them could be listed.
pub async fn listeners(client: &elb::Client, port: &'static str, balancer: &str) -> Result<Vec<Listener>, PortError> {
    let mut all = Vec::new();
    let mut marker = None;
    for _ in 0..PAGES_MAX {
        let page = client.describe_listeners().load_balancer_arn(balancer).set_marker(marker.take()).send().await;
        let page = page.map_err(|error| failed(port, "list the listeners of the load balancer", &error))?;
        all.extend(page.listeners().iter().cloned());
        marker = page.next_marker().map(str::to_owned);
        if marker.is_none() {
            return Ok(all);
        }
    }
    Err(PortError::never(port, format!("`{balancer}` has more listeners than a load balancer may have")))
}

/// The target groups in a listener's default action. One that is not given a weight has 1.
fn groups(listener: &Listener) -> Vec<Group> {
    let forwards = listener.default_actions().iter().filter(|action| action.r#type() == Some(&ActionTypeEnum::Forward));
    let tuples = forwards.filter_map(|action| action.forward_config()).flat_map(ForwardActionConfig::target_groups);
    tuples
        .filter_map(|tuple| {
            Some(Group { arn: tuple.target_group_arn()?.to_owned(), weight: tuple.weight().unwrap_or(1) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_are_dimensions_without_what_comes_before_their_name() {
        // Proves that CloudWatch is asked by the names it uses, in other partitions too.
        let of = |partition: &str, rest: &str| {
            format!("arn:{partition}:elasticloadbalancing:eu-central-1:123456789012:{rest}")
        };
        for partition in ["aws", "aws-cn", "aws-us-gov"] {
            let group = of(partition, "targetgroup/ALBSourceProxy-prod-TG/73e2d6bc24d8a067");
            assert_eq!(dimension(&group).unwrap(), "targetgroup/ALBSourceProxy-prod-TG/73e2d6bc24d8a067");
            assert_eq!(crate::listeners::name(&group), "ALBSourceProxy-prod-TG");
            assert_eq!(region(&group), Some("eu-central-1"));
            let balancer = of(partition, "loadbalancer/app/MigrationAssistant-prod/50dc6c495c0c9188");
            assert_eq!(dimension(&balancer).unwrap(), "app/MigrationAssistant-prod/50dc6c495c0c9188");
            let listener = of(partition, "listener/app/MigrationAssistant-prod/50dc6c495c0c9188/f2f7dc8efc522ab2");
            assert_eq!(balancer_of(&listener), dimension(&balancer));
        }
        assert_eq!(dimension("arn:aws:s3:::bucket"), None);
        assert_eq!(balancer_of("nonsense"), None);
    }
}
