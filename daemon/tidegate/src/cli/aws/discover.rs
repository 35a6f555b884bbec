//! `tidegate aws discover`: the listeners of a region whose default action weighs two target groups, and a policy for one.
//!
//! Migration Assistant's come first, by the names that its CDK gives. A listener is never known by its port.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::bail;

use crate::cli::{Context, Exit};
use crate::listeners::{Group, Weighted, name};

/// The arguments of `tidegate aws discover`.
#[derive(Debug, clap::Args)]
pub(super) struct Discover {
    /// The region; without it, the one that AWS's own tools would use.
    #[arg(long)]
    region: Option<String>,
    /// Only this listener.
    #[arg(long, value_name = "ARN")]
    listener: Option<String>,
    /// Write a policy for the one listener that was found; a file that exists is not overwritten.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// How Migration Assistant's CDK names what it makes in one stage.
const MIGRATION_BALANCER: &str = "MigrationAssistant-";
const MIGRATION_SOURCE: &str = "ALBSourceProxy-";
const MIGRATION_TARGET: &str = "ALBTargetProxy-";

impl Weighted {
    /// The stage of Migration Assistant that made it, if it did.
    fn stage(&self) -> Option<&str> {
        self.balancer.strip_prefix(MIGRATION_BALANCER)
    }

    /// Source and target: by the names that Migration Assistant gives, else the one with the greater weight is the source.
    /// `None` where that does not tell, or there are more than two.
    fn sides(&self) -> Option<(&Group, &Group)> {
        let named = |prefix: &str| self.groups.iter().find(|group| name(&group.arn).starts_with(prefix));
        if let (Some(source), Some(target)) = (named(MIGRATION_SOURCE), named(MIGRATION_TARGET)) {
            return Some((source, target));
        }
        match &self.groups[..] {
            [one, other] if one.weight > other.weight => Some((one, other)),
            [one, other] if other.weight > one.weight => Some((other, one)),
            _ => None,
        }
    }

    /// A policy for it, as a file.
    fn policy(&self) -> Option<String> {
        let (source, target) = self.sides()?;
        let service = self.stage().map_or_else(|| self.balancer.clone(), |stage| format!("migration-{stage}"));
        let (mut fleet, mut services) = (String::new(), [String::new(), String::new()]);
        if let Some(stage) = self.stage() {
            fleet = format!("\n[fleet]\ncluster = \"migration-{stage}-ecs-cluster\"\n");
            services = ["capture-proxy", "target-cluster-proxy"]
                .map(|proxy| format!("service = \"migration-{stage}-{proxy}\"\n"));
        }
        let [source_service, target_service] = services;
        Some(format!(
            "# The listener {} of {}, which clients reach at {}.\n\
             # `tidegate policy plan FILE` says what a cutover by this file does, and how long it takes.\n\
             service = \"{service}\"\n\n\
             [balancer]\nkind = \"alb\"\nlistener = \"{}\"\n{fleet}\n\
             [source]\ntarget_group = \"{}\"\n{source_service}\n\
             [target]\ntarget_group = \"{}\"\n{target_service}\n\
             [shift]\n\
             writes = \"split\"                     # an ALB cannot tell reads from writes: each step sends that share of both\n",
            self.port, self.balancer, self.address, self.listener, source.arn, target.arn
        ))
    }
}

/// Migration Assistant's first, then by name.
fn sort(found: &mut [Weighted]) {
    found.sort_by_key(|one| (one.stage().is_none(), one.balancer.clone(), one.port.clone()));
}

/// What was found, for a person.
fn told(found: &[Weighted]) -> String {
    let mut text = String::new();
    for one in found {
        writeln!(text, "{} {} ({})\n  {}", one.balancer, one.port, one.address, one.listener)
            .expect("a String takes everything");
        let sides = one.sides();
        for group in &one.groups {
            let side = match sides {
                Some((source, _)) if source == group => "source",
                Some((_, target)) if target == group => "target",
                _ => "",
            };
            writeln!(text, "  {:>3} {side:<6} {}", group.weight, group.arn).expect("a String takes everything");
        }
    }
    text
}

impl Discover {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        let mut found = found(self.region.clone(), context)?;
        sort(&mut found);
        if let Some(listener) = &self.listener {
            found.retain(|one| one.listener == *listener);
        }
        if context.json {
            context.print_json(&found)?;
        } else {
            context.print(&told(&found))?;
        }
        if found.is_empty() {
            bail!(
                "no listener's default action weighs two target groups here: look in another `--region`, or make one \
                 (Migration Assistant does with `targetClusterProxyServiceEnabled`)"
            );
        }
        if let Some(file) = &self.write {
            let [one] = &found[..] else {
                bail!("{} listeners were found: say which with `--listener ARN`", found.len());
            };
            let Some(policy) = one.policy() else {
                bail!("both target groups have the same weight, so it is not known which one is the source");
            };
            let mut options = std::fs::OpenOptions::new();
            let opened = options.write(true).create_new(true).open(file);
            let written = opened.and_then(|mut open| std::io::Write::write_all(&mut open, policy.as_bytes()));
            if let Err(error) = written {
                bail!("cannot write {}: {error}", file.display());
            }
            context.say(&format!("{} is written; look through it, then: tidegate policy plan {0}", file.display()))?;
        }
        Ok(Exit::Done)
    }
}

#[cfg(feature = "aws")]
fn found(region: Option<String>, context: &Context) -> anyhow::Result<Vec<Weighted>> {
    use crate::aws::{Aws, find};

    context.block_on(async {
        let aws = Aws::new(region, crate::clock::Clock::system()).await;
        Ok(find::weighted(&aws.balancing(), "aws").await?)
    })
}

#[cfg(not(feature = "aws"))]
fn found(_: Option<String>, _: &Context) -> anyhow::Result<Vec<Weighted>> {
    bail!("this program was built without the feature `aws`")
}

#[cfg(test)]
mod tests {
    use cutover::policy::{self, BalancerPolicy};

    use super::*;

    fn found(balancer: &str, port: u16, groups: &[(&str, i32)]) -> Weighted {
        let place = "arn:aws:elasticloadbalancing:eu-central-1:123456789012";
        let group = |(name, weight): &(&str, i32)| Group {
            arn: format!("{place}:targetgroup/{name}/73e2d6bc24d8a067"),
            weight: *weight,
        };
        Weighted {
            balancer: balancer.to_owned(),
            address: "internal-search.eu-central-1.elb.amazonaws.com".to_owned(),
            listener: format!("{place}:listener/app/{balancer}/50dc6c495c0c9188/f2f7dc8efc5{port:05}"),
            port: format!("HTTPS:{port}"),
            groups: groups.iter().map(group).collect(),
        }
    }

    #[test]
    fn the_policy_that_is_written_is_sound_and_means_what_was_found() {
        // Proves it for Migration Assistant, whose services are named too, and for a listener of anyone's.
        let groups = [("ALBTargetProxy-prod-TG", 0), ("ALBSourceProxy-prod-TG", 1)];
        for one in [found("MigrationAssistant-prod", 443, &groups), found("shop", 9200, &[("old", 100), ("new", 0)])] {
            let text = one.policy().unwrap();
            let policy = policy::read(&text, "found.toml").unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
            let BalancerPolicy::Alb { listener, source, target, .. } = &policy.balancer else { panic!("it is one") };
            assert_eq!(listener.as_ref(), Some(&one.listener));
            assert!(["ALBSourceProxy-prod-TG", "old"].contains(&name(source)), "{source}");
            assert!(["ALBTargetProxy-prod-TG", "new"].contains(&name(target)), "{target}");
            assert_eq!(policy.fleet.cluster.is_some(), one.stage().is_some());
        }
    }

    #[test]
    fn who_is_the_source_is_not_guessed() {
        // Proves that equal weights and a third target group are left to the operator, and that names go before weights.
        assert!(found("shop", 443, &[("old", 1), ("new", 1)]).sides().is_none());
        assert!(found("shop", 443, &[("old", 1), ("new", 0), ("other", 0)]).sides().is_none());
        let moved = found("MigrationAssistant-a", 443, &[("ALBTargetProxy-a-TG", 1), ("ALBSourceProxy-a-TG", 0)]);
        assert_eq!(moved.sides().map(|(source, _)| name(&source.arn)), Some("ALBSourceProxy-a-TG"));
    }

    #[test]
    fn migration_assistant_comes_first() {
        // Proves the order, and that the list tells ARNs, weights and where clients reach the balancer.
        let mut all = [found("a-shop", 443, &[("old", 1), ("new", 0)]), found("MigrationAssistant-prod", 443, &[])];
        sort(&mut all);
        assert_eq!(all[0].balancer, "MigrationAssistant-prod");
        let text = told(&all);
        for word in ["internal-search", "HTTPS:443", "  1 source arn:", "  0 target arn:", &all[1].listener] {
            assert!(text.contains(word), "{text}");
        }
    }
}
