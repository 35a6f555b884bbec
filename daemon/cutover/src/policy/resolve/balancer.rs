//! Where the weights live and where the numbers come from: what each kind needs, and what it has no use for.

use std::time::Duration;

use super::{Resolver, ShiftPolicy, period_text, raw};
use crate::policy::metrics::CLOUDWATCH_PERIOD;
use crate::policy::raw::{BalancerKind, Document, MetricsKind};
use crate::policy::{BalancerPolicy, GuardPolicy, LeasePolicy, MetricsPolicy, Policy, ProxyRetry, Writes};
use crate::units::Share;

/// How long an ALB's newest minute is known to stay partial; tools that asked sooner read about half of it.
const CLOUDWATCH_SETTLE_USUAL: Duration = Duration::from_mins(2);

/// What AWS takes for `client_keep_alive.seconds` (API reference, `LoadBalancerAttribute`).
const KEEP_ALIVE: std::ops::RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(7 * 24);

/// How long a lease may last that nobody renews. Shorter, and one slow answer of DynamoDB would stop a cutover; longer, and
/// a daemon that died would keep the next one waiting.
const LEASE_EXPIRY: std::ops::RangeInclusive<Duration> = Duration::from_secs(30)..=Duration::from_mins(10);

/// The same where the policy does not say it.
const LEASE_EXPIRY_USUAL: Duration = Duration::from_mins(1);

/// The shortest name of a table (DynamoDB API reference, `TableName`).
const TABLE_NAME_BYTES_MIN: usize = 3;

impl Resolver<'_> {
    /// The lease on the listener; `None` where there is none.
    pub(super) fn lease(&mut self, document: &Document) -> Option<LeasePolicy> {
        let raw::Lease { table, expiry } = &document.lease;
        let alb = document.balancer.kind == Some(BalancerKind::Alb);
        if table.is_none() && expiry.is_some() && alb && !self.bad(&["lease.table"]) {
            self.wrong("lease.expiry", "there is no lease that could expire", "name its table: say `lease.table`");
        }
        let table = table.as_ref()?.0.clone();
        if table.len() < TABLE_NAME_BYTES_MIN {
            let what = format!("`{table}` cannot be the name of a DynamoDB table");
            self.wrong("lease.table", what, "a table's name has 3 letters at least");
        }
        let expiry = expiry.map_or(LEASE_EXPIRY_USUAL, |period| period.0);
        if !LEASE_EXPIRY.contains(&expiry) {
            let (least, most) = (period_text(*LEASE_EXPIRY.start()), period_text(*LEASE_EXPIRY.end()));
            let what = format!("a lease of {} cannot be kept", period_text(expiry));
            self.wrong("lease.expiry", what, format!("use {least} to {most}"));
        }
        Some(LeasePolicy { table, expiry })
    }

    /// The balancer; `None` when what it needs is missing, which is reported.
    pub(super) fn balancer(&mut self, document: &Document, shift: Option<&ShiftPolicy>) -> Option<BalancerPolicy> {
        let balancer = &document.balancer;
        match balancer.kind.unwrap_or(BalancerKind::Listener) {
            BalancerKind::Listener => {
                self.only_for(
                    "alb",
                    &[
                        "balancer.listener",
                        "balancer.rules",
                        "source.target_group",
                        "target.target_group",
                        "fleet.cluster",
                        "fleet.healthy_min",
                        "source.proxies",
                        "target.proxies",
                        "fleet.scale",
                        "shift.keep_alive",
                        "source.service",
                        "target.service",
                        "lease.table",
                        "lease.expiry",
                    ],
                );
                Some(BalancerPolicy::Listener {
                    proxies: balancer.proxies.iter().flatten().map(|control| control.0.clone()).collect(),
                    retry: balancer.retry.unwrap_or(ProxyRetry::Reads),
                    sticky: balancer.sticky.as_ref().map(|sticky| sticky.0.clone()),
                })
            }
            BalancerKind::Alb => {
                self.only_for("listener", &["balancer.proxies", "balancer.retry", "balancer.sticky"]);
                if let Some(shift) = shift {
                    self.one_class(shift);
                }
                self.alb(document)
            }
        }
    }

    /// Keys that another kind of balancer would read, and this one would not.
    fn only_for(&mut self, kind: &str, paths: &[&str]) {
        for path in paths {
            if self.layers.iter().any(|layer| layer.says(path) && !layer.is_builtin()) {
                self.wrong(
                    path,
                    format!("`{path}` means nothing for this balancer"),
                    format!("leave it out, or say `kind = \"{kind}\"` under `[balancer]`"),
                );
            }
        }
    }

    /// The default rule of an ALB routes every request alike.
    fn one_class(&mut self, shift: &ShiftPolicy) {
        self.alike(
            shift,
            "an ALB's rule cannot tell reads from writes, so writes cannot wait for the last step",
            "an ALB's rule cannot give the target another share of the writes than of the reads",
        );
    }

    /// Where reads and writes cannot be told apart: `last` and `apart` say why the one or the other cannot be.
    pub(super) fn alike(&mut self, shift: &ShiftPolicy, last: &str, apart: &str) {
        if shift.writes == Writes::Last && !self.bad(&["shift.writes"]) && !shift.steps.is_empty() {
            self.wrong(
                "shift.writes",
                last,
                "say `writes = \"split\"`: each step sends that share of the writes to the target alone",
            );
        }
        let differ = |share: &Share| shift.writes == Writes::Split && share.reads != share.writes;
        if let Some(index) = shift.steps.iter().position(differ).filter(|_| !self.bad(&["shift.steps"])) {
            self.wrong(&format!("shift.steps[{index}]"), apart, "write one number for both");
        }
    }

    fn alb(&mut self, document: &Document) -> Option<BalancerPolicy> {
        let hint = "`tidegate aws discover` prints the ARNs of both target groups";
        let group = |side: &raw::Side| side.target_group.as_ref().map(|arn| arn.0.clone());
        let source =
            self.need(group(&document.source), "source.target_group", "the ARN of the source's target group", hint);
        let target =
            self.need(group(&document.target), "target.target_group", "the ARN of the target's target group", hint);
        let listener = document.balancer.listener.as_ref().map(|arn| arn.0.clone());
        let rules: Vec<String> = document.balancer.rules.iter().flatten().map(|arn| arn.0.clone()).collect();
        let (source, target) = (source?, target?);
        if source == target {
            let what = "both sides name the same target group, so there is nothing to shift";
            self.wrong(self.later_of("source.target_group", "target.target_group"), what, hint);
        }
        let others = [("target.target_group", Some(&target)), ("balancer.listener", listener.as_ref())];
        for (path, arn) in others {
            if let Some(arn) = arn.filter(|arn| place(arn) != place(&source)) {
                let what = format!("this is in {}, and the source's target group in {}", place(arn), place(&source));
                self.wrong(path, what, "a listener and its target groups are in one region of one account");
            }
        }
        for (index, rule) in rules.iter().enumerate() {
            let of_it = |listener: &String| {
                rule.strip_prefix(&listener.replacen(":listener/", ":listener-rule/", 1))
                    .is_some_and(|rest| rest.starts_with('/'))
            };
            if listener.as_ref().is_some_and(|listener| !of_it(listener)) {
                let at = format!("balancer.rules[{index}]");
                self.wrong(&at, "this rule is of another listener", "name rules of `balancer.listener` alone");
            }
        }
        self.services(document);
        self.proxies(document);
        Some(BalancerPolicy::Alb { listener, rules, source, target })
    }

    /// How long a client's connection may live while the share moves.
    pub(super) fn keep_alive(&mut self, shift: &raw::Shift) -> Option<u32> {
        let period = shift.keep_alive?.0;
        if !KEEP_ALIVE.contains(&period) || period.subsec_nanos() > 0 {
            self.wrong(
                "shift.keep_alive",
                format!(
                    "an ALB lets a client's connection live for a minute to a week, and not for {}",
                    period_text(period)
                ),
                "say `60s`, or another number of whole seconds; the shorter, the sooner clients follow the weights",
            );
        }
        u32::try_from(period.as_secs()).ok()
    }

    /// A service is looked up in a cluster, and a cluster alone says nothing.
    fn services(&mut self, document: &Document) {
        let named = |side: &raw::Side| side.service.is_some();
        for (path, side) in [("source.service", &document.source), ("target.service", &document.target)] {
            if named(side) && document.fleet.cluster.is_none() && !self.bad(&["fleet.cluster"]) {
                self.wrong(path, "this service is in no cluster", "say `cluster = \"NAME\"` under `[fleet]`");
            }
        }
        if document.fleet.scale == Some(true) && !self.bad(&["fleet.scale", "fleet.cluster"]) {
            let both = named(&document.source) && named(&document.target) && document.fleet.cluster.is_some();
            if !both {
                self.wrong(
                    "fleet.scale",
                    "it is not known which service to make as large as which",
                    "say `cluster = \"NAME\"` under `[fleet]`, and `service = \"NAME\"` under `[source]` and `[target]`",
                );
            }
        }
        let any = named(&document.source) || named(&document.target);
        if document.fleet.cluster.is_some() && !any && !self.bad(&["source.service", "target.service"]) {
            self.doubt(
                "fleet.cluster",
                "no service of this cluster is named, so none is looked after",
                "say `service = \"NAME\"` under `[source]` and `[target]`",
            );
        }
    }

    /// Our own proxies behind the target groups: of both sides, since a tripwire compares them, and each on one side.
    fn proxies(&mut self, document: &Document) {
        let named = |side: &raw::Side| -> Vec<String> {
            side.proxies.iter().flatten().map(|control| control.0.clone()).collect()
        };
        let (source, target) = (named(&document.source), named(&document.target));
        for (path, own, other) in [("source.proxies", &source, &target), ("target.proxies", &target, &source)] {
            if own.is_empty() && !other.is_empty() && !self.bad(&["source.proxies", "target.proxies"]) {
                self.wrong(
                    path,
                    "the proxies of one side alone are named, and a tripwire compares both",
                    "name those behind the other target group, too",
                );
            }
        }
        if let Some(index) = target.iter().position(|control| source.contains(control)) {
            let what = format!("`{}` is on both sides, and a proxy behind a target group serves one", target[index]);
            self.wrong(&format!("target.proxies[{index}]"), what, "name each proxy where its target group is");
        }
    }

    /// Whether anything takes the traffic of an ALB back sooner than CloudWatch's minutes come.
    pub(super) fn fast_signals(&mut self, policy: &Policy) {
        let late = policy.shift.interval.saturating_add(policy.metrics.late());
        if policy.counts_fast() || policy.fleet.healthy_min > 0 || policy.tripwires.is_empty() {
            return;
        }
        let numbers = if policy.metrics.is_cloudwatch() { "CloudWatch's minutes" } else { "Prometheus' samples" };
        self.doubt(
            "fleet.healthy_min",
            format!(
                "nothing fast is looked at: the tripwires act on {numbers} alone, up to {} after the first bad answer",
                period_text(late)
            ),
            "leave `healthy_min` at 1 or more, and name your own proxies in `source.proxies` and `target.proxies` where \
             there are any",
        );
    }

    /// Where the numbers come from, and whether they fit the pace.
    pub(super) fn metrics(
        &mut self,
        document: &Document,
        balancer: Option<&BalancerPolicy>,
        shift: &ShiftPolicy,
        guards: &[GuardPolicy],
    ) -> Option<MetricsPolicy> {
        let alb = matches!(balancer, Some(BalancerPolicy::Alb { .. }));
        let usual = if alb { MetricsKind::Cloudwatch } else { MetricsKind::Proxy };
        let kind = document.metrics.kind.unwrap_or(usual);
        if kind != MetricsKind::Prometheus {
            self.without_prometheus();
        }
        Some(match kind {
            MetricsKind::Prometheus => return self.prometheus(document, balancer, shift, guards),
            MetricsKind::Proxy => {
                if alb {
                    self.wrong(
                        "metrics.kind",
                        "an ALB's target groups are not counted by Tidegate's own proxies",
                        "say `kind = \"cloudwatch\"` under `[metrics]`, or leave it out",
                    );
                }
                MetricsPolicy::Proxy
            }
            MetricsKind::Cloudwatch => {
                if balancer.is_some() && !alb {
                    self.wrong(
                        "metrics.kind",
                        "CloudWatch does not know Tidegate's own proxies",
                        "say `kind = \"proxy\"`, or leave it out",
                    );
                    return Some(MetricsPolicy::Proxy);
                }
                let settle = document.metrics.settle.map_or(CLOUDWATCH_SETTLE_USUAL, |period| period.0);
                if settle < CLOUDWATCH_SETTLE_USUAL && !self.bad(&["metrics.settle"]) {
                    self.doubt(
                        "metrics.settle",
                        format!(
                            "{} after its end a minute is often partial: its counts would be read as fewer requests",
                            period_text(settle)
                        ),
                        format!("{} are usual", period_text(CLOUDWATCH_SETTLE_USUAL)),
                    );
                }
                self.whole_minutes(shift);
                MetricsPolicy::Cloudwatch { settle }
            }
        })
    }

    /// CloudWatch has no seconds.
    pub(super) fn whole_minutes(&mut self, shift: &ShiftPolicy) {
        let whole = shift.interval.as_secs().is_multiple_of(CLOUDWATCH_PERIOD.as_secs()) && !shift.interval.is_zero();
        if !whole && !self.bad(&["shift.interval"]) {
            self.wrong(
                "shift.interval",
                format!("CloudWatch counts whole minutes, and an interval is {}", period_text(shift.interval)),
                "say `60s`, or another number of whole minutes",
            );
        }
    }
}

/// The region and account of an ARN.
fn place(arn: &str) -> String {
    let mut fields = arn.split(':').skip(3);
    let (region, account) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
    format!("{region} of account {account}")
}
