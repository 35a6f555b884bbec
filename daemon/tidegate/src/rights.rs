//! What Tidegate may need to be allowed in AWS, by feature: the files of `assets/iam/`, one a feature.
//!
//! Watching and acting are apart, so that a daemon that only plans can be given nothing more. Which actions can be limited
//! to a resource is AWS's to say (Service Authorization Reference): the reading ones of Elastic Load Balancing and
//! `cloudwatch:GetMetricData` cannot. That every call is in a file, and every action of a file is called, is shown by
//! `tests/contract` on the calls that a stand-in of AWS got.

use serde_json::Value;

/// Every feature, what it is for, and its policy.
pub const FEATURES: [(&str, &str, &str); 8] = [
    (
        "observe",
        "look at listeners, target groups and metrics; a plan, a preflight and a look at a capture's completeness need no more",
        include_str!("../assets/iam/observe.json"),
    ),
    ("services", "look at the ECS services of `[fleet]`", include_str!("../assets/iam/services.json")),
    (
        "shift",
        "change the weights in the listener's default rule, and put them back",
        include_str!("../assets/iam/shift.json"),
    ),
    (
        "scale",
        "raise the desired count of the target's service, and keep autoscaling from lowering it (`fleet.scale`)",
        include_str!("../assets/iam/scale.json"),
    ),
    (
        "keep-alive",
        "shorten the life of clients' connections while traffic moves (`shift.keep_alive`)",
        include_str!("../assets/iam/keep-alive.json"),
    ),
    ("rules", "change those of the numbered rules in `balancer.rules`", include_str!("../assets/iam/rules.json")),
    (
        "lease",
        "drive the listener alone among the daemons of all machines, by a lease in a DynamoDB table (`lease.table`)",
        include_str!("../assets/iam/lease.json"),
    ),
    (
        REROUTE,
        "bring clients to the proxy by `tidegate reroute`: for the operator who runs it, with `observe`; never for the daemon",
        include_str!("../assets/iam/reroute.json"),
    ),
];

/// It creates and deletes, which `shift` denies: it is printed by itself, when it is asked for.
pub const REROUTE: &str = "reroute";

/// What stands before the action in AWS's refusals: `User: … is not authorized to perform: ACTION on resource: …` (IAM user
/// guide, "Troubleshoot access denied error messages").
const PERFORM: &str = "not authorized to perform: ";

/// The action that a refusal of AWS speaks of, and the feature whose policy has it.
fn refused(message: &str) -> Option<(&str, &'static str)> {
    let action = message.split(PERFORM).nth(1)?.split([' ', ',']).next()?;
    let mut having = FEATURES.iter().filter(|(.., document)| allows(document, action)).map(|(name, ..)| *name);
    // Weights are changed at an ALB by the daemon and at an NLB by a reroute; the resource tells which.
    let of_nlb = message.contains(":listener/net/");
    let feature = if of_nlb { having.find(|name| *name == REROUTE) } else { having.next() };
    Some((action, feature?))
}

/// Whether a policy allows an action; that it denies one is no help.
fn allows(document: &str, action: &str) -> bool {
    let Ok(document) = serde_json::from_str::<Value>(document) else { return false };
    let statements = document["Statement"].as_array().into_iter().flatten();
    let mut actions = statements
        .filter(|statement| statement["Effect"] == "Allow")
        .flat_map(|statement| statement["Action"].as_array().into_iter().flatten());
    actions.any(|allowed| allowed == action)
}

/// What to do about a refusal, as the end of a sentence.
pub fn hint(message: &str) -> String {
    match refused(message) {
        Some((action, feature)) => {
            format!("; `{action}` is missing: `tidegate aws iam --feature {feature}` prints the policy that has it")
        }
        None => "; `tidegate aws iam` prints the permissions that are needed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that the action and the feature are found in AWS's own sentences, and nothing is made up where there is none.
    #[test]
    fn a_refusal_names_the_action_and_whose_it_is() {
        let of = |action: &str, resource: &str| {
            let user = "User: arn:aws:sts::123456789012:assumed-role/tidegate/i-0 is";
            let why = "because no identity-based policy allows the action";
            hint(&format!("{user} not authorized to perform: {action} on resource: {resource} {why}"))
        };
        let alb = "arn:aws:elasticloadbalancing:us-east-1:123456789012:listener/app/m/1/2";
        let nlb = "arn:aws:elasticloadbalancing:us-east-1:123456789012:listener/net/m/1/2";
        let modify = "elasticloadbalancing:ModifyListener";
        assert!(of(modify, alb).contains(&format!("`{modify}` is missing: `tidegate aws iam --feature shift`")));
        assert!(of(modify, nlb).contains("--feature reroute"));
        assert!(of("cloudwatch:GetMetricData", "*").contains("--feature observe"));
        let taken_out = of("elasticloadbalancing:DeregisterTargets", "*");
        assert!(taken_out.contains("--feature reroute"), "`shift` denies it: {taken_out}");
        assert!(!of("s3:GetObject", "*").contains("--feature"), "no policy of ours has it");
        assert!(!hint("Encoded authorization failure message: 4Gxs").contains("--feature"));
    }
}
