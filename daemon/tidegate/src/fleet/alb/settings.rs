//! Settings of the load balancer, its target groups and its listener that undo a cutover or hide what it does.

use std::collections::HashMap;

use aws_sdk_elasticloadbalancingv2::types::{
    Action, ForwardActionConfig, Rule, TargetGroup, TargetGroupStickinessConfig,
};
use cutover::Stands;
use cutover::event::{Check, CheckOutcome};

use super::{AlbFleet, PORT, unknown};
use crate::aws::{failed, find};
use crate::port::PortError;

/// A client connection that may live longer than this keeps what pins it for as long (AWS's default, in seconds).
const KEEP_ALIVE_USUAL: u64 = 3600;

/// How many rules a load balancer may have pages of.
const PAGES_MAX: usize = 10;

type Attributes = HashMap<String, String>;

/// Whether an attribute is set to something else than off.
fn is_on(attributes: &Attributes, key: &str) -> bool {
    attributes.get(key).is_some_and(|value| value == "true" || value == "on")
}

fn number(attributes: &Attributes, key: &str) -> u64 {
    attributes.get(key).and_then(|value| value.parse().ok()).unwrap_or_default()
}

/// What of a target group's attributes matters to a cutover. All is as it should be when the list is empty.
pub(super) fn of_group(side: &str, attributes: &Attributes) -> Vec<Check> {
    let warn = |what: &str, evidence: String, fix: &str| {
        Check::new(format!("{side} {what}"), CheckOutcome::Warn, evidence, fix)
    };
    let mut checks = Vec::new();
    if is_on(attributes, "stickiness.enabled") {
        checks.push(warn(
            "stickiness",
            "clients stay at one target for as long as their cookie lives, which each request renews".to_owned(),
            "switch `stickiness.enabled` off, or let the policy wait: the share follows the weight only as cookies end",
        ));
    }
    let slow_start = number(attributes, "slow_start.duration_seconds");
    if slow_start > 0 {
        checks.push(warn(
            "slow start",
            format!("a target that becomes healthy gets its full share only after {slow_start} s"),
            "it does nothing for a shift of weights; set `slow_start.duration_seconds` to 0 and warm up by the ladder",
        ));
    }
    let dns = "target_group_health.dns_failover.minimum_healthy_targets";
    let count = attributes.get(&format!("{dns}.count")).map_or("1", String::as_str);
    let percent = attributes.get(&format!("{dns}.percentage")).map_or("off", String::as_str);
    if !["1", "off"].contains(&count) || percent != "off" {
        checks.push(warn(
            "DNS failover",
            format!("with fewer than {count} ({percent} %) healthy targets a zone leaves DNS for every target group"),
            "set the minimum to 1 for the time of the cutover: an ill target must not take the source's zone away",
        ));
    }
    let routing = "target_group_health.unhealthy_state_routing.minimum_healthy_targets";
    let count = attributes.get(&format!("{routing}.count")).map_or("1", String::as_str);
    let percent = attributes.get(&format!("{routing}.percentage")).map_or("off", String::as_str);
    if !["1", "off"].contains(&count) || percent != "off" {
        checks.push(warn(
            "fail-open",
            format!("with fewer than {count} ({percent} %) healthy targets requests go to every target, ill or not"),
            "set the minimum to 1 for the time of the cutover: an ill part of the group must not get more than its share",
        ));
    }
    if attributes.get("load_balancing.cross_zone.enabled").is_some_and(|value| value == "false") {
        checks.push(warn(
            "cross-zone",
            "each zone's node uses only the targets of its own zone".to_owned(),
            "have healthy targets in every zone, or set `load_balancing.cross_zone.enabled` back",
        ));
    }
    if is_on(attributes, "load_balancing.algorithm.anomaly_mitigation") {
        checks.push(warn(
            "anomaly mitigation",
            "the balancer moves requests away from targets that fail, which hides a part of the group that is bad"
                .to_owned(),
            "watch `AnomalousHostCount`, or switch `load_balancing.algorithm.anomaly_mitigation` off",
        ));
    }
    checks
}

/// Whether a health check takes answers for healthy that are none.
pub(super) fn of_matcher(side: &str, codes: &str) -> Option<Check> {
    let takes_errors = codes.split(',').any(|part| {
        let last = part.rsplit('-').next().unwrap_or_default().trim();
        last.parse::<u16>().is_ok_and(|code| code >= 400)
    });
    takes_errors.then(|| {
        Check::new(
            format!("{side} health check"),
            CheckOutcome::Warn,
            format!("an answer of {codes} counts as healthy, so one that refuses every request would"),
            "take health for a sign of life and no more; the judge looks at what clients get",
        )
    })
}

/// Numbered rules that take requests before the default rule sees them, less those that move with it.
pub(super) fn of_rules(rules: &[(String, Option<String>)], moved: &[String]) -> Option<Check> {
    let past: Vec<&str> = rules
        .iter()
        .filter(|(priority, arn)| priority != "default" && !arn.as_ref().is_some_and(|arn| moved.contains(arn)))
        .map(|(priority, _)| priority.as_str())
        .collect();
    (!past.is_empty()).then(|| {
        Check::new(
            "numbered rules",
            CheckOutcome::Warn,
            format!("{} numbered rules come before the default rule: {}", past.len(), past.join(", ")),
            "what they take does not follow the weights; name those that weigh the two target groups in `balancer.rules`",
        )
    })
}

/// Whether the default rule can be a cutover's: by these weights of source and target, `None` for one that it does not weigh.
/// The balancer refuses it as well, and says so to whoever asks it; this says it where the checks are shown.
pub(super) fn of_weights(source: Option<i32>, target: Option<i32>) -> Option<Check> {
    let fail = |evidence: &str, fix: &str| Some(Check::new("listener action", CheckOutcome::Fail, evidence, fix));
    match (source, target) {
        (Some(0), Some(0)) => fail(
            "both target groups have weight 0, so it is not known who gets the traffic",
            "give the source 1 and the target 0",
        ),
        (Some(_), Some(_)) => None,
        _ => fail(
            "the listener's default action does not weigh both target groups",
            "make it weigh both (Migration Assistant does with `targetClusterProxyServiceEnabled`); `tidegate aws discover` \
             lists listeners that do",
        ),
    }
}

/// What of the load balancer's attributes matters.
pub(super) fn of_balancer(attributes: &Attributes) -> Vec<Check> {
    let seconds = number(attributes, "client_keep_alive.seconds");
    let long = (seconds > KEEP_ALIVE_USUAL).then(|| {
        Check::new(
            "client keep-alive",
            CheckOutcome::Warn,
            format!("a client's connection may live for {seconds} s"),
            "say `keep_alive = \"60s\"` under `[shift]`, which lowers `client_keep_alive.seconds` while traffic moves and puts it \
             back, or lower it yourself: where the share lags behind the weight, old connections may be why",
        )
    });
    long.into_iter().collect()
}

/// Whether autoscaling may take tasks away from the target while it has few requests, or keeps it too small.
pub(super) fn of_scaling(stands: &Stands, scale: bool) -> Vec<Check> {
    let mut checks = Vec::new();
    if let (Some(source), Some(most)) = (stands.source_count, stands.count_max)
        && most < source
    {
        checks.push(Check::new(
            "target scaling",
            CheckOutcome::Warn,
            format!("autoscaling lets the target's service have {most} tasks at most, and the source's has {source}"),
            "raise its maximum (`aws application-autoscaling register-scalable-target --max-capacity`) first",
        ));
    }
    if stands.scale_in_suspended == Some(false) && !scale {
        checks.push(Check::new(
            "target scale-in",
            CheckOutcome::Warn,
            "autoscaling may take tasks away from the target while it has few requests",
            "say `scale = true` under `[fleet]`, which suspends that while traffic moves and puts it back",
        ));
    }
    checks
}

impl AlbFleet {
    pub(super) async fn read_settings(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        for (side, group) in [("source", &self.groups.source), ("target", &self.groups.target)] {
            match self.attributes(group).await {
                Ok(attributes) => checks.extend(of_group(side, &attributes)),
                Err(error) => checks.push(unknown(&format!("{side} attributes"), &error)),
            }
        }
        let groups = [self.groups.source.clone(), self.groups.target.clone()];
        let answer = self.balancing.describe_target_groups().set_target_group_arns(Some(groups.to_vec())).send().await;
        match answer.map_err(|error| failed(PORT, "read the target groups", &error)) {
            Ok(answer) => {
                for group in answer.target_groups() {
                    let side = if group.target_group_arn() == Some(&self.groups.source) { "source" } else { "target" };
                    checks.extend(codes(group).and_then(|codes| of_matcher(side, codes)));
                }
            }
            Err(error) => checks.push(unknown("health checks", &error)),
        }
        match self.of_listener().await {
            Ok(found) => checks.extend(found),
            Err(error) => checks.push(unknown("listener", &error)),
        }
        match self.ways().await {
            Ok(found) => checks.extend(found),
            // It explains a share that lags and stands in nobody's way.
            Err(error) => checks.push(Check::new(
                "ways",
                CheckOutcome::Warn,
                format!("not known whether requests come past the weights: {}", error.source),
                "`tidegate aws iam --feature observe` prints the permissions that are needed",
            )),
        }
        if self.groups.cluster.is_some() {
            match self.stands().await {
                Ok(stands) => checks.extend(of_scaling(&stands, self.groups.scale)),
                // Without `fleet.scale` nothing hangs on it, and the permission may not be there.
                Err(error) if !self.groups.scale => {
                    let fix = "`tidegate aws iam --feature services` prints the permission that is needed";
                    checks.push(Check::new("target scale-in", CheckOutcome::Warn, error.source.to_string(), fix));
                }
                Err(error) => checks.push(unknown("target scale-in", &error)),
            }
        }
        if checks.is_empty() {
            checks.push(Check::new("settings", CheckOutcome::Pass, "nothing in them undoes a cutover", ""));
        }
        checks
    }

    async fn attributes(&self, group: &str) -> Result<Attributes, PortError> {
        let answer = self.balancing.describe_target_group_attributes().target_group_arn(group).send().await;
        let answer = answer.map_err(|error| failed(PORT, "read the attributes of a target group", &error))?;
        let pairs = answer.attributes().iter();
        Ok(pairs.filter_map(|pair| Some((pair.key()?.to_owned(), pair.value()?.to_owned()))).collect())
    }

    /// The listener's stickiness and rules, and its load balancer's attributes.
    async fn of_listener(&self) -> Result<Vec<Check>, PortError> {
        let listener = self.listener().await?;
        let mut checks = Vec::new();
        let rules = self.rules(listener).await?;
        let priorities: Vec<(String, Option<String>)> = rules
            .iter()
            .map(|rule| (rule.priority().unwrap_or_default().to_owned(), rule.rule_arn().map(str::to_owned)))
            .collect();
        checks.extend(of_rules(&priorities, &self.groups.rules));
        let sticky = rules.iter().filter(|rule| rule.is_default() == Some(true)).find_map(|rule| {
            let configs = rule.actions().iter().filter_map(|action| action.forward_config());
            let configs = configs.filter_map(|forward| forward.target_group_stickiness_config());
            configs
                .filter(|config| config.enabled() == Some(true))
                .find_map(TargetGroupStickinessConfig::duration_seconds)
        });
        if let Some(seconds) = sticky {
            checks.push(Check::new(
                "group stickiness",
                CheckOutcome::Warn,
                format!("a client stays with its target group for {seconds} s, and each request renews that"),
                "the share follows the weight only as cookies end; switch it off where the cutover may not wait",
            ));
        }
        let weight = |group: &str| {
            let actions = rules.iter().filter(|rule| rule.is_default() == Some(true)).flat_map(Rule::actions);
            let mut tuples = actions.filter_map(Action::forward_config).flat_map(ForwardActionConfig::target_groups);
            // One that is not given a weight has 1.
            tuples.find(|tuple| tuple.target_group_arn() == Some(group)).map(|tuple| tuple.weight().unwrap_or(1))
        };
        checks.extend(of_weights(weight(&self.groups.source), weight(&self.groups.target)));
        let balancer = find::balancer(&self.balancing, PORT, &self.groups.source).await?;
        let answer = self.balancing.describe_load_balancer_attributes().load_balancer_arn(balancer).send().await;
        let answer = answer.map_err(|error| failed(PORT, "read the attributes of the load balancer", &error))?;
        let pairs = answer.attributes().iter();
        let attributes: Attributes =
            pairs.filter_map(|pair| Some((pair.key()?.to_owned(), pair.value()?.to_owned()))).collect();
        checks.extend(of_balancer(&attributes));
        Ok(checks)
    }

    async fn rules(&self, listener: &str) -> Result<Vec<Rule>, PortError> {
        let mut all = Vec::new();
        let mut marker = None;
        for _ in 0..PAGES_MAX {
            let page = self.balancing.describe_rules().listener_arn(listener).set_marker(marker.take()).send().await;
            let page = page.map_err(|error| failed(PORT, "read the listener's rules", &error))?;
            all.extend(page.rules().iter().cloned());
            marker = page.next_marker().map(str::to_owned);
            if marker.is_none() {
                return Ok(all);
            }
        }
        Err(PortError::never(PORT, format!("`{listener}` has more rules than a listener may have")))
    }
}

fn codes(group: &TargetGroup) -> Option<&str> {
    group.matcher()?.http_code()
}
