//! `tidegate aws iam`: the smallest IAM policy for each feature, with the ARNs of a policy file filled in. Without one it is
//! what stands in the files of `assets/iam/`, word for word.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use cutover::Policy;
use cutover::policy::BalancerPolicy;
use serde_json::{Value, json};

use crate::cli::{Context, Exit};
use crate::policy_files;
use crate::rights::{FEATURES, REROUTE};

/// The arguments of `tidegate aws iam`.
#[derive(Debug, clap::Args)]
pub(super) struct Iam {
    /// Only this feature; may be said more than once. Without it, every feature that the policy file uses.
    #[arg(long, value_name = "NAME", value_parser = FEATURES.map(|(name, _, _)| name))]
    feature: Vec<String>,
    /// Fill in the ARNs of this policy file. Without it, they stand as `LISTENER_ARN` and so on.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

/// The ARNs that take the place of a word.
fn arns(policy: &Policy) -> Vec<(&'static str, Vec<String>)> {
    let BalancerPolicy::Alb { listener, rules, source, .. } = &policy.balancer else { return Vec::new() };
    let mut places = vec![("LISTENER_ARN", listener.iter().cloned().collect()), ("RULE_ARN", rules.clone())];
    let mut fields = source.split(':');
    let (partition, region, account) = (fields.nth(1), fields.nth(1), fields.next());
    if let (Some(cluster), Some(partition), Some(region), Some(account)) =
        (&policy.fleet.cluster, partition, region, account)
    {
        let services = [&policy.source.service, &policy.target.service].into_iter().flatten();
        let arn = |name: &String| format!("arn:{partition}:ecs:{region}:{account}:service/{cluster}/{name}");
        places.push(("SERVICE_ARN", services.map(arn).collect()));
        places.push(("TARGET_SERVICE_ARN", policy.target.service.iter().map(arn).collect()));
        // A scalable target's own id is in no policy, so it is named by its account and region.
        let scalable = format!("arn:{partition}:application-autoscaling:{region}:{account}:scalable-target/*");
        places.push(("SCALABLE_TARGET_ARN", vec![scalable]));
    }
    if let (Some(lease), Some(partition), Some(region), Some(account)) = (&policy.lease, partition, region, account) {
        places.push(("TABLE_ARN", vec![format!("arn:{partition}:dynamodb:{region}:{account}:table/{}", lease.table)]));
    }
    let balancer = listener.as_ref().and_then(|arn| arn.rsplit_once('/'));
    let balancer = balancer.map(|(arn, _)| arn.replacen(":listener/", ":loadbalancer/", 1));
    places.push(("LOAD_BALANCER_ARN", balancer.into_iter().collect()));
    places
}

/// Puts ARNs where words stand for them; a list with one of these words becomes the list of its ARNs.
fn filled(document: &mut Value, places: &[(&'static str, Vec<String>)]) {
    match document {
        Value::Object(map) => {
            for value in map.values_mut() {
                filled(value, places);
            }
        }
        Value::Array(list) => {
            let word = list.first().and_then(Value::as_str);
            let found = places.iter().find(|(place, arns)| Some(*place) == word && !arns.is_empty());
            if let Some((_, arns)) = found {
                *list = arns.iter().cloned().map(Value::String).collect();
            } else {
                for value in list {
                    filled(value, places);
                }
            }
        }
        _ => {}
    }
}

/// Whether a policy makes use of a feature.
fn uses(policy: &Policy, feature: &str) -> bool {
    let has_rules = matches!(&policy.balancer, BalancerPolicy::Alb { rules, .. } if !rules.is_empty());
    match feature {
        "services" => policy.fleet.cluster.is_some(),
        "rules" => has_rules,
        "scale" => policy.fleet.scale,
        "keep-alive" => policy.shift.keep_alive.is_some(),
        "lease" => policy.lease.is_some(),
        _ => true,
    }
}

/// The documents of the wanted features, put into one.
fn document(features: &[String], policy: Option<&Policy>) -> anyhow::Result<Value> {
    let places = policy.map(arns).unwrap_or_default();
    let mut statements = Vec::new();
    for (name, _, text) in FEATURES {
        let wanted = if features.is_empty() {
            name != REROUTE && policy.is_none_or(|policy| uses(policy, name))
        } else {
            features.iter().any(|feature| feature == name)
        };
        if wanted {
            let mut one: Value = serde_json::from_str(text).with_context(|| format!("the policy of `{name}`"))?;
            filled(&mut one, &places);
            statements.extend(one["Statement"].as_array().cloned().unwrap_or_default());
        }
    }
    Ok(json!({ "Version": "2012-10-17", "Statement": statements }))
}

impl Iam {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        let policy = match &self.policy {
            Some(file) => {
                let loaded = policy_files::load(file, &policy_files::environment())?;
                let sound = loaded.is_sound();
                match loaded.policy.filter(|_| sound) {
                    Some(policy) => Some(policy),
                    None => bail!("{} cannot be used; `tidegate policy check` says why", file.display()),
                }
            }
            None => None,
        };
        if policy.as_ref().is_some_and(|policy| matches!(policy.balancer, BalancerPolicy::Listener { .. })) {
            bail!("this policy's weights are with Tidegate's own proxies: it needs nothing of AWS");
        }
        let document = document(&self.feature, policy.as_ref())?;
        if context.json {
            context.print_json(&document)?;
            return Ok(Exit::Done);
        }
        for (name, what, _) in FEATURES {
            context.say(&format!("{name:<9} {what}"))?;
        }
        context.print(&format!("{}\n", serde_json::to_string_pretty(&document)?))?;
        Ok(Exit::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
service = "search"
[balancer]
kind = "alb"
listener = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:listener/app/search/50dc6c495c0c9188/f2f7dc8efc522ab2"
[fleet]
cluster = "migration-prod-ecs-cluster"
[source]
target_group = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/source/73e2d6bc24d8a067"
service = "migration-prod-capture-proxy"
[target]
target_group = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/target/83e2d6bc24d8a067"
service = "migration-prod-target-cluster-proxy"
[shift]
writes = "split"
"#;

    #[test]
    fn watching_changes_nothing_and_acting_changes_one_listener() {
        // Proves that whoever only watches is given nothing that writes, and that the right to write names the listener.
        for feature in ["observe", "services"] {
            let document = document(&[feature.to_owned()], None).unwrap();
            let text = document.to_string();
            assert!(text.contains(":Describe"), "{text}");
            for word in ["Modify", "Update", "Delete", "Create", "Register", "Put", "\"*:*\"", ":*\""] {
                assert!(!text.contains(word), "{feature} may not `{word}`: {text}");
            }
        }
        let policy = cutover::policy::read(POLICY, "search.toml").unwrap();
        let all = document(&[], Some(&policy)).unwrap();
        let statements = all["Statement"].as_array().unwrap();
        let writes: Vec<&Value> =
            statements.iter().filter(|one| one["Effect"] == "Allow" && one.to_string().contains(":Modify")).collect();
        assert_eq!(writes.len(), 1, "no numbered rule moves: {all}");
        let BalancerPolicy::Alb { listener: Some(listener), .. } = &policy.balancer else { panic!("it is one") };
        assert_eq!(writes[0]["Resource"], json!([listener]));
        assert_eq!(writes[0]["Action"], json!(["elasticloadbalancing:ModifyListener"]));
        let services = statements.iter().find(|one| one.to_string().contains("ecs:DescribeServices")).unwrap();
        let arn = "arn:aws:ecs:eu-central-1:123456789012:service/migration-prod-ecs-cluster";
        assert_eq!(
            services["Resource"],
            json!([
                format!("{arn}/migration-prod-capture-proxy"),
                format!("{arn}/migration-prod-target-cluster-proxy")
            ])
        );
        assert!(!all.to_string().contains("_ARN\""), "{all}");
    }

    #[test]
    fn every_feature_is_a_policy_that_says_what_it_is() {
        // Proves that each file is a policy document by itself and printed as it stands, and that without a policy file every
        // feature is printed but
        // the one that is no daemon's.
        for (name, what, text) in FEATURES {
            let document: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(document["Version"], "2012-10-17", "{name}");
            assert!(document["Statement"].as_array().is_some_and(|list| list.iter().all(|one| one["Sid"].is_string())));
            assert!(!what.is_empty());
        }
        let all = document(&[], None).unwrap();
        assert!(all["Statement"].as_array().unwrap().len() >= FEATURES.len());
        assert!(!all.to_string().contains("Create"), "{all}");
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/iam");
        let mut files: Vec<String> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        files.sort();
        let mut features: Vec<&str> = FEATURES.map(|(name, ..)| name).into();
        features.sort_unstable();
        assert_eq!(files, features, "each file of the folder is a feature, and each feature has a file");
        for file in files {
            let text = std::fs::read_to_string(folder.join(format!("{file}.json"))).unwrap();
            let read: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(document(std::slice::from_ref(&file), None).unwrap(), read, "{file} is printed as it stands");
        }
        let asked = document(&[REROUTE.to_owned()], None).unwrap();
        assert!(asked.to_string().contains("elasticloadbalancing:CreateTargetGroup"), "{asked}");
    }
}
