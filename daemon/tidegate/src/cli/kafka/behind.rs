//! What a load balancer counted before the proxies, for `describe-topic-records --expect-from alb`.
//!
//! Counted is `RequestCount` of the target group that holds the proxies: each request for which one of them was chosen, by
//! whichever listener it came, and no health check. The load balancer's own count has the requests of its other groups too (in
//! Migration Assistant's deployment those that go straight to the target), which no capture can have. A proxy that is chosen and
//! does not answer is counted as well, as it should be: its requests are captured by nobody.

use std::path::PathBuf;
use std::time::Duration;

use cutover::Timestamp;
use cutover::policy::{BalancerPolicy, MetricsPolicy};

use super::interval::{Looked, PROGRESS, Side, Topic};
use crate::aws::find;
use crate::cli::Context;
use crate::clock::{self, Clock};
use crate::policy_files;
use crate::run;

/// Where the load balancer's count is.
#[derive(Debug, clap::Args)]
pub(super) struct Behind {
    /// The policy file whose target group holds the proxies (the source's, or that of --side), with --expect-from alb.
    #[arg(long, value_name = "FILE", requires = "interval", conflicts_with = "target_group")]
    policy: Option<PathBuf>,

    /// The ARN of a target group that holds the proxies, with --expect-from alb; each that leads to the topic is named.
    #[arg(long, value_name = "ARN", requires = "interval")]
    target_group: Vec<String>,

    /// As that of `tidegate run`.
    #[arg(long, hide = true, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3600))]
    clock_speed: u32,
}

/// The target groups that are asked about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Groups {
    region: String,
    arns: Vec<String>,
    /// How long the policy says that a minute takes.
    settle: Duration,
}

impl Behind {
    /// The name of a flag that is given and means nothing without a load balancer.
    pub(super) fn given(&self) -> Option<&'static str> {
        let policy = self.policy.as_ref().map(|_| "--policy");
        policy.or_else(|| self.target_group.first().map(|_| "--target-group"))
    }

    /// The target groups that the flags, or the policy, name.
    pub(super) fn groups(&self, side: Side) -> Result<Groups, String> {
        let (arns, settle) = match &self.policy {
            None => (self.target_group.clone(), Duration::ZERO),
            Some(file) => {
                let loaded = policy_files::load(file, &policy_files::environment())
                    .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
                let sound = loaded.is_sound();
                let policy = loaded.policy.filter(|_| sound).ok_or_else(|| {
                    format!("{0} cannot be used; `tidegate policy check {0}` says why", file.display())
                })?;
                let BalancerPolicy::Alb { source, target, .. } = policy.balancer else {
                    return Err(format!(
                        "the weights of {} are with our own proxies and not with a load balancer: say --expect-from proxy, \
                         or name --target-group",
                        file.display()
                    ));
                };
                let settle = match policy.metrics {
                    MetricsPolicy::Cloudwatch { settle } => settle,
                    MetricsPolicy::Proxy | MetricsPolicy::Prometheus(_) => Duration::ZERO,
                };
                let group = match side {
                    Side::Source => source,
                    Side::Target => target,
                };
                (vec![group], settle)
            }
        };
        let Some(first) = arns.first() else {
            return Err("--expect-from alb needs the target group that holds the proxies: name --policy FILE, or \
                        --target-group ARN; `tidegate aws discover` lists them"
                .to_owned());
        };
        let region = find::region(first).unwrap_or_default().to_owned();
        for arn in &arns {
            if !find::dimension(arn).is_some_and(|group| group.starts_with("targetgroup/")) {
                return Err(format!("`{arn}` is not the ARN of a target group; `tidegate aws discover` lists them"));
            }
            if find::region(arn) != Some(&*region) {
                return Err("the target groups are in several regions: ask about one region at a time".to_owned());
            }
        }
        Ok(Groups { region, arns, settle })
    }

    /// What comes into the topic and to the target groups in the next whole minutes.
    pub(super) fn look(
        &self,
        Groups { region, arns, settle }: &Groups,
        length: Duration,
        topic: Topic<'_>,
        context: &Context,
    ) -> anyhow::Result<Looked> {
        context.block_on(async {
            let clock = Clock::fast(self.clock_speed);
            let requests = run::balancer_requests(region, arns, *settle, &clock).await?;
            let first = topic.ends()?;
            let window = requests.next(length);
            let (from, to) = (requests.here(window.from), requests.here(window.to));
            context.say(&format!(
                "the load balancer counts whole minutes: what comes from {} to {} is looked at, beginning in {} s",
                clock::rfc3339(window.from),
                clock::rfc3339(window.to),
                from.since(clock::now()).as_secs(),
            ))?;
            until(from).await;
            let all = to.since(from);
            while clock::now() < to {
                until(to.min(clock::now().plus(PROGRESS))).await;
                context.say(&format!(
                    "{} of {} s are over",
                    clock::now().since(from).min(all).as_secs(),
                    all.as_secs()
                ))?;
            }
            let captured = topic.captured(&first, from..to)?;
            let due = requests.here(requests.due(window));
            context.say(&format!(
                "{} requests are captured; CloudWatch's minutes are complete by {} at the earliest, in {} s",
                captured.requests,
                clock::rfc3339(requests.due(window)),
                due.since(clock::now()).as_secs(),
            ))?;
            let missing = |why: &str| drop(context.say(&format!("waiting: {why}")));
            let expected = requests.settled(window, missing).await?;
            Ok(Looked { captured, seconds: window.length().as_secs_f64(), expected, window: Some(window) })
        })
    }
}

/// Waits until the system's clock shows it.
async fn until(at: Timestamp) {
    tokio::time::sleep(at.since(clock::now())).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: &str = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/source/73e2d6bc24d8a067";

    fn behind(policy: Option<PathBuf>, groups: &[&str]) -> Behind {
        Behind { policy, target_group: groups.iter().map(|arn| (*arn).to_owned()).collect(), clock_speed: 1 }
    }

    /// Proves that a policy's target group of the side that the topic has is asked, by the time that its minutes take.
    #[test]
    fn a_policy_names_the_group_of_the_side() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("search.toml");
        let target = GROUP.replace("/source/", "/target/");
        let policy = |kind: &str| {
            format!(
                "service = \"search\"\n[metrics]\nsettle = \"4m\"\n[balancer]\nkind = \"{kind}\"\n[source]\ntarget_group = \
                 \"{GROUP}\"\n[target]\ntarget_group = \"{target}\"\n[shift]\nwrites = \"split\"\n"
            )
        };
        std::fs::write(&file, policy("alb")).unwrap();
        let named = behind(Some(file.clone()), &[]);
        let groups = |side| named.groups(side).unwrap();
        let wanted = |arn: &str| Groups {
            region: "eu-central-1".to_owned(),
            arns: vec![arn.to_owned()],
            settle: Duration::from_mins(4),
        };
        assert_eq!((groups(Side::Source), groups(Side::Target)), (wanted(GROUP), wanted(&target)));
        std::fs::write(&file, policy("alb").replace("split", "nonsense")).unwrap();
        let wrong = named.groups(Side::Source).unwrap_err();
        assert!(wrong.contains("cannot be used; `tidegate policy check"), "{wrong}");
        let own = "service = \"s\"\n[source]\nendpoints = [\"http://a:9200\"]\n[target]\nendpoints = [\"http://b:9200\"]\n\
                   [shift]\nwrites = \"last\"\n";
        std::fs::write(&file, own).unwrap();
        let wrong = named.groups(Side::Source).unwrap_err();
        assert!(wrong.contains("--expect-from proxy"), "{wrong}");
        std::fs::remove_file(&file).unwrap();
        assert!(named.groups(Side::Source).unwrap_err().contains("cannot read"));
    }

    /// Proves that what names no target group is refused before anything is asked, and that several of one region are taken.
    #[test]
    fn what_is_no_target_group_is_refused() {
        let of = |groups: &[&str]| behind(None, groups).groups(Side::Source);
        let second = GROUP.replace("source", "second");
        assert_eq!(of(&[GROUP, &second]).unwrap().arns, [GROUP, &second]);
        let balancer = GROUP.replace("targetgroup/source", "loadbalancer/app/search");
        let elsewhere = GROUP.replace("eu-central-1", "eu-west-1");
        for (groups, wanted) in [
            (&[][..], "name --policy FILE, or --target-group ARN"),
            (&["source"], "`source` is not the ARN of a target group"),
            (&[&balancer], "is not the ARN of a target group"),
            (&[GROUP, &elsewhere], "in several regions"),
        ] {
            let wrong = of(groups).unwrap_err();
            assert!(wrong.contains(wanted), "{wrong}");
        }
    }
}
