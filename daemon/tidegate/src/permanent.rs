//! What makes the end of a cutover last: the lines for whoever describes the load balancer in Terraform or in the CDK.
//!
//! A balancer that is described somewhere is put back to what stands there by the next deployment, which after a cutover
//! gives everything to the source again. Nothing is written for anybody here: the lines are to be read and taken over.

use std::fmt::Write as _;

use cutover::policy::BalancerPolicy;
use cutover::{Cutover, Phase};
use serde_json::Value;

/// The lines to take over once a cutover is done; `None` before, and for our own proxies, whose share no deployment knows.
pub fn lines(cutover: &Cutover) -> Option<String> {
    let BalancerPolicy::Alb { source, target, .. } = &cutover.policy.balancer else { return None };
    let action = cutover.configured.as_ref().filter(|_| cutover.phase == Phase::Done).map(|reading| &reading.action)?;
    let actions = action.get("DefaultActions").and_then(Value::as_array)?;
    let forward = actions.iter().find(|action| action.get("Type").and_then(Value::as_str) == Some("forward"))?;
    let forward = forward.get("ForwardConfig")?;
    let groups: Vec<(&str, i64)> = forward.get("TargetGroups")?.as_array()?.iter().filter_map(group).collect();
    let side = |arn: &str| match arn {
        _ if arn == source => " # the source",
        _ if arn == target => " # the target",
        _ => "",
    };
    let listener = action.get("ListenerArn").and_then(Value::as_str).unwrap_or("the listener");
    let mut text = format!(
        "The next deployment of {listener} puts back what is described for it. Describe what stands now.\n\n\
         Terraform, in the `aws_lb_listener`, in place of its `forward` action:\n\n"
    );
    let mut add = |line: &str| writeln!(text, "  {line}").expect("a String takes everything");
    add("default_action {");
    add("  type = \"forward\"");
    add("  forward {");
    for (arn, weight) in &groups {
        add("    target_group {");
        add(&format!("      arn    = \"{arn}\"{}", side(arn)));
        add(&format!("      weight = {weight}"));
        add("    }");
    }
    let sticky = forward.get("TargetGroupStickinessConfig").filter(|config| config["Enabled"] == true);
    let seconds = sticky.and_then(|config| config.get("DurationSeconds")).and_then(Value::as_i64);
    if let Some(seconds) = seconds {
        add("    stickiness {");
        add("      enabled  = true");
        add(&format!("      duration = {seconds}"));
        add("    }");
    }
    add("  }");
    add("}");
    text.push_str(
        "\nCDK (TypeScript), where the listener gets its action; in Migration Assistant's that is the network stack:\n\n",
    );
    let mut add = |line: &str| writeln!(text, "  {line}").expect("a String takes everything");
    add("elbv2.ListenerAction.weightedForward([");
    for (arn, weight) in &groups {
        let name = arn.rsplit('/').nth(1).unwrap_or(arn);
        let side = side(arn).replace('#', "//");
        let place = if side.is_empty() { format!(" // {name}") } else { format!("{side}, {name}") };
        add(&format!("  {{ targetGroup: {}, weight: {weight} }},{place}", variable(arn, source, target)));
    }
    let options = seconds.map(|seconds| format!(", {{ stickinessDuration: Duration.seconds({seconds}) }}"));
    add(&format!("]{})", options.unwrap_or_default()));
    Some(text)
}

/// A target group's ARN and weight. One that is not said is 1.
fn group(tuple: &Value) -> Option<(&str, i64)> {
    let arn = tuple.get("TargetGroupArn")?.as_str()?;
    Some((arn, tuple.get("Weight").and_then(Value::as_i64).unwrap_or(1)))
}

/// What a target group may be called in a program.
fn variable(arn: &str, source: &str, target: &str) -> &'static str {
    if arn == source {
        "sourceTargetGroup"
    } else if arn == target {
        "targetTargetGroup"
    } else {
        "otherTargetGroup"
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cutover::Share;
    use cutover::event::Reading;
    use serde_json::json;

    use super::*;
    use crate::testing::{START, cutover};

    /// Proves that the lines say what stands, weights and stickiness, and that there are none before the end and none for
    /// our own proxies.
    #[test]
    fn what_stands_at_the_end_is_told_in_both_languages() {
        let mut cutover = cutover("search");
        cutover.phase = Phase::Done;
        assert_eq!(lines(&cutover), None, "our own proxies");
        let group =
            |name: &str| format!("arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/{name}/73e2");
        let (source, target) = (group("old"), group("new"));
        let tuples = json!([{"TargetGroupArn": source, "Weight": 0}, {"TargetGroupArn": target, "Weight": 1}]);
        Arc::make_mut(&mut cutover.policy).balancer =
            BalancerPolicy::Alb { listener: None, rules: Vec::new(), source, target };
        let forward =
            json!({"TargetGroups": tuples, "TargetGroupStickinessConfig": {"Enabled": true, "DurationSeconds": 60}});
        let action = json!({"ListenerArn": "arn:l", "DefaultActions": [{"Type": "forward", "ForwardConfig": forward}]});
        let reading = Reading { share: Share::ALL, action, begun: START, disagreeing: Vec::new() };
        cutover.configured = Some(reading.into());
        let text = lines(&cutover).unwrap();
        for line in [
            "      target_group {\n        arn    = \"arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/new/73e2\" # the target\n        weight = 1\n",
            "      duration = 60",
            "{ targetGroup: sourceTargetGroup, weight: 0 }, // the source, old",
            "{ targetGroup: targetTargetGroup, weight: 1 }, // the target, new",
            "], { stickinessDuration: Duration.seconds(60) })",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        cutover.phase = Phase::Draining;
        assert_eq!(lines(&cutover), None, "nothing is certain before the end");
    }
}
