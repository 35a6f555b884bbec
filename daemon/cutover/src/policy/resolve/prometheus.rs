//! What Prometheus is asked, and whether its answers could carry what the policy asks of them.

use std::time::Duration;

use super::{Resolver, ShiftPolicy, period_text};
use crate::policy::metrics::{Counted, LatencyUnit, MetricsPolicy, Preset, PrometheusPolicy, QueriesPolicy};
use crate::policy::raw::{self, Document};
use crate::policy::{BalancerPolicy, GuardPolicy, formats};

/// Two scrapes at the usual interval of 15 s.
const COUNTERS_SETTLE_USUAL: Duration = Duration::from_secs(30);

/// `cloudwatch_exporter` asks for what is ten minutes old (its `delay_seconds`), and is scraped once a minute or so.
const MINUTES_SETTLE_USUAL: Duration = Duration::from_mins(12);

/// Keys that mean something for Prometheus alone.
const KEYS: [&str; 9] = [
    "metrics.url",
    "metrics.authorization",
    "metrics.ca",
    "metrics.preset",
    "metrics.source",
    "metrics.target",
    "metrics.counts",
    "metrics.latency_unit",
    "metrics.queries",
];

impl Resolver<'_> {
    /// Keys that would be read if Prometheus were asked.
    pub(super) fn without_prometheus(&mut self) {
        for path in KEYS {
            if self.layers.iter().any(|layer| layer.says(path) && !layer.is_builtin()) {
                self.wrong(
                    path,
                    format!("`{path}` means nothing for these numbers"),
                    "leave it out, or say `kind = \"prometheus\"` under `[metrics]`",
                );
            }
        }
    }

    pub(super) fn prometheus(
        &mut self,
        document: &Document,
        balancer: Option<&BalancerPolicy>,
        shift: &ShiftPolicy,
        guards: &[GuardPolicy],
    ) -> Option<MetricsPolicy> {
        let metrics = &document.metrics;
        let url = self.need(
            metrics.url.as_ref().map(|url| url.0.trim_end_matches('/').to_owned()),
            "metrics.url",
            "where Prometheus answers",
            "such as `url = \"http://prometheus:9090\"` under `[metrics]`",
        );
        let queries = self.queries(metrics);
        let groups = match balancer {
            Some(BalancerPolicy::Alb { source, target, .. }) => [Some(source.as_str()), Some(target.as_str())],
            _ => [None, None],
        };
        let source = self.matchers(metrics.preset, "source", metrics.source.as_ref(), groups[0]);
        let target = self.matchers(metrics.preset, "target", metrics.target.as_ref(), groups[1]);
        let counts = metrics.counts.or(metrics.preset.map(Preset::counts)).unwrap_or(Counted::Counters);
        let latency_unit =
            metrics.latency_unit.or(metrics.preset.map(Preset::latency_unit)).unwrap_or(LatencyUnit::Seconds);
        let (queries, source, target) = (queries?, source?, target?);
        if source == target {
            self.wrong(
                self.later_of("metrics.source", "metrics.target"),
                "both sides are counted by the same series, so there is nothing to compare",
                "say matchers under which the two sides differ",
            );
        }
        // What an ALB assumes is meant for CloudWatch itself.
        let said = self.layers.iter().any(|layer| layer.says("metrics.settle") && !layer.is_builtin());
        let usual = match counts {
            Counted::Counters => COUNTERS_SETTLE_USUAL,
            Counted::Minutes => MINUTES_SETTLE_USUAL,
        };
        let settle = metrics.settle.filter(|_| said).map_or(usual, |period| period.0);
        if settle.is_zero() && !self.bad(&["metrics.settle"]) {
            self.wrong("metrics.settle", "no sample comes in no time", format!("{} are usual", period_text(usual)));
        }
        if counts == Counted::Minutes {
            self.whole_minutes(shift);
            if queries.latency.is_some() {
                self.wrong(
                    "metrics.queries.latency",
                    "CloudWatch's minutes have no buckets",
                    "leave it out, and switch the guards on latency off",
                );
            }
        }
        self.carried(&queries, guards);
        let policy = PrometheusPolicy {
            url: url?,
            authorization: metrics.authorization.as_ref().map(|secret| secret.0.clone()),
            ca: metrics.ca.as_ref().map(|path| path.0.clone()),
            settle,
            counts,
            latency_unit,
            source,
            target,
            queries,
        };
        if matches!(balancer, Some(BalancerPolicy::Listener { .. })) && !policy.queries.tells_writes() {
            self.alike(
                shift,
                "these queries count reads and writes together, so writes cannot wait for the last step: their share \
                 could not be seen",
                "these queries count reads and writes together, so both need the same share",
            );
        }
        Some(MetricsPolicy::Prometheus(Box::new(policy)))
    }

    /// What is asked: what the policy says, over what the preset says.
    fn queries(&mut self, metrics: &raw::Metrics) -> Option<QueriesPolicy> {
        let base = metrics.preset.map(Preset::queries);
        let own = &metrics.queries;
        let text = |selector: &Option<formats::Selector>| selector.as_ref().map(|selector| selector.0.clone());
        let preset = base.is_some();
        let base = base.unwrap_or_default();
        let mut sure = |own: &Option<formats::Selector>, usual: String, word: &str| {
            let usual = Some(usual).filter(|_| preset);
            self.need(
                text(own).or(usual),
                &format!("metrics.queries.{word}"),
                "what is counted",
                "or name a `preset` under `[metrics]`; what has no query would be unknown, and never zero",
            )
        };
        let [status_2xx, status_3xx, status_4xx, status_5xx] = [
            sure(&own.status_2xx, base.status_2xx, "status_2xx"),
            sure(&own.status_3xx, base.status_3xx, "status_3xx"),
            sure(&own.status_4xx, base.status_4xx, "status_4xx"),
            sure(&own.status_5xx, base.status_5xx, "status_5xx"),
        ];
        let queries = QueriesPolicy {
            requests: text(&own.requests).or(base.requests),
            status_2xx: status_2xx?,
            status_3xx: status_3xx?,
            status_4xx: status_4xx?,
            status_5xx: status_5xx?,
            failed: text(&own.failed).or(base.failed),
            abandoned: text(&own.abandoned).or(base.abandoned),
            latency: text(&own.latency).or(base.latency),
            published: text(&own.published).or(base.published),
        };
        let classed = queries.each().filter(|(_, selector)| selector.contains("{class}")).count();
        if classed > 0 && !queries.tells_writes() {
            self.wrong(
                "metrics.queries",
                "some queries tell reads from writes by `{class}`, and others do not",
                "put `{class}` into all of them, or into none",
            );
        }
        Some(queries)
    }

    fn matchers(
        &mut self,
        preset: Option<Preset>,
        side: &str,
        own: Option<&formats::Matchers>,
        group: Option<&str>,
    ) -> Option<String> {
        let usual = preset.and_then(|preset| preset.matchers(side, group));
        let example = preset.map_or("upstream=\"blue\"", Preset::example);
        self.need(
            own.map(|matchers| matchers.0.clone()).or(usual),
            &format!("metrics.{side}"),
            &format!("by which labels the {side} is counted"),
            &format!("such as `{side} = '{example}'`"),
        )
    }

    /// A guard on something that is not counted could never say anything.
    fn carried(&mut self, queries: &QueriesPolicy, guards: &[GuardPolicy]) {
        for guard in guards.iter().filter(|guard| guard.guard.kind.is_timed()) {
            let exchange = guard.guard.kind == judge::GuardKind::Exchange;
            if !exchange && queries.latency.is_some() {
                continue;
            }
            let what = if exchange { "times to the last byte" } else { "response times" };
            let name = serde_json::to_value(guard.guard.kind).ok();
            let name = name.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default();
            self.wrong(
                &format!("guards.{name}"),
                format!("the guard `{name}` could never say anything: these queries have no {what}"),
                format!(
                    "say `enabled = false` under `[guards.{name}]`{}",
                    if exchange { "" } else { ", or `latency` under `[metrics.queries]`" }
                ),
            );
        }
    }
}
