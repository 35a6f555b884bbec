//! Where the judge's numbers come from, and what is asked there.
//!
//! Prometheus is asked for plain selectors of series and nothing else: `rate` and `increase` extrapolate to the edges of a
//! window, and what the judge needs is what was counted, so increases are worked out from the samples.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::millis;

/// Where the judge's numbers come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MetricsPolicy {
    /// The counters of our own proxies: complete as soon as an interval is over.
    #[default]
    Proxy,
    /// CloudWatch's minutes of the two target groups.
    Cloudwatch {
        /// How long after its end a minute counts as complete.
        #[serde(with = "millis")]
        settle: Duration,
    },
    /// Samples of a Prometheus server.
    Prometheus(Box<PrometheusPolicy>),
}

/// What CloudWatch counts by. An interval of the core begins at any second, and stands for the minutes that begin in it.
pub(super) const CLOUDWATCH_PERIOD: Duration = Duration::from_mins(1);

impl MetricsPolicy {
    /// How long after an interval's end its counts can be had at the earliest.
    pub fn late(&self) -> Duration {
        match self {
            Self::Proxy => Duration::ZERO,
            Self::Cloudwatch { settle } => settle.saturating_add(CLOUDWATCH_PERIOD),
            Self::Prometheus(prometheus) => match prometheus.counts {
                Counted::Counters => prometheus.settle,
                Counted::Minutes => prometheus.settle.saturating_add(CLOUDWATCH_PERIOD),
            },
        }
    }

    /// Whether CloudWatch itself is asked.
    pub const fn is_cloudwatch(&self) -> bool {
        matches!(self, Self::Cloudwatch { .. })
    }

    /// Whether reads and writes are counted apart.
    pub fn tells_writes(&self) -> bool {
        match self {
            Self::Proxy => true,
            Self::Cloudwatch { .. } => false,
            Self::Prometheus(prometheus) => prometheus.queries.tells_writes(),
        }
    }
}

/// A Prometheus server and what is asked of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrometheusPolicy {
    /// Where it answers, without `/api/v1` and without a slash at the end.
    pub url: String,
    /// Where the `Authorization` value comes from: `env:NAME` or `file:PATH`; never the value itself.
    pub authorization: Option<String>,
    /// The authority that signed its certificate, as a PEM file; `None` for the usual ones.
    pub ca: Option<String>,
    /// How long after any moment its next sample must be there.
    #[serde(with = "millis")]
    pub settle: Duration,
    /// What the samples are.
    pub counts: Counted,
    /// In what the buckets of `latency` are bounded.
    pub latency_unit: LatencyUnit,
    /// The source's matchers.
    pub source: String,
    /// The target's matchers.
    pub target: String,
    /// What is asked.
    pub queries: QueriesPolicy,
}

/// Selectors of series, one for each quantity, with `{side}` and `{class}` still in them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueriesPolicy {
    /// All requests of a side; `None` for the sum of the others.
    pub requests: Option<String>,
    /// Answers with 2XX.
    pub status_2xx: String,
    /// Answers with 3XX.
    pub status_3xx: String,
    /// Answers with 4XX.
    pub status_4xx: String,
    /// Answers with 5XX.
    pub status_5xx: String,
    /// Requests that the side failed to answer; `None` where they are among its 5XX.
    pub failed: Option<String>,
    /// Requests whose client left first; `None` where nobody counts them.
    pub abandoned: Option<String>,
    /// The buckets of a histogram of response times; `None` where there is none.
    pub latency: Option<String>,
    /// What is there for every minute that was published at all; `None` for `requests` alone.
    pub published: Option<String>,
}

impl QueriesPolicy {
    /// Every selector with the word for its quantity.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let sure = [
            ("status_2xx", Some(&self.status_2xx)),
            ("status_3xx", Some(&self.status_3xx)),
            ("status_4xx", Some(&self.status_4xx)),
            ("status_5xx", Some(&self.status_5xx)),
            ("requests", self.requests.as_ref()),
            ("failed", self.failed.as_ref()),
            ("abandoned", self.abandoned.as_ref()),
            ("latency", self.latency.as_ref()),
            ("published", self.published.as_ref()),
        ];
        sure.into_iter().filter_map(|(word, selector)| Some((word, selector?.as_str())))
    }

    /// Whether every selector tells reads from writes.
    pub fn tells_writes(&self) -> bool {
        self.each().all(|(_, selector)| selector.contains("{class}"))
    }
}

/// What the samples of a series are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Counted {
    /// A counter that grows and starts at zero with its process.
    Counters,
    /// What CloudWatch counted in one minute, at the time at which that minute began: an exporter must hand on CloudWatch's
    /// own timestamps.
    Minutes,
}

/// In what the buckets of a histogram are bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LatencyUnit {
    /// Seconds, as Prometheus advises.
    Seconds,
    /// Milliseconds, as Envoy does.
    Milliseconds,
}

/// Whose figures Prometheus has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// `/metrics` of Tidegate's own proxies.
    Tidegate,
    /// nginx with `nginx-module-vts`, which counts status classes for each upstream. The stub status page does not.
    NginxVts,
    /// Envoy's `/stats/prometheus`.
    Envoy,
    /// `cloudwatch_exporter` of the Prometheus project, for an ALB's target groups, with `set_timestamp`.
    CloudwatchExporter,
    /// YACE (yet another CloudWatch exporter), for an ALB's target groups, with `addCloudwatchTimestamp`.
    Yace,
}

impl Preset {
    /// What is asked for.
    pub fn queries(self) -> QueriesPolicy {
        match self {
            // The names are those of `proxy::metrics`.
            Self::Tidegate => {
                let of = |name: &str, more: &str| format!("tidegate_proxy_{name}{{{more}{{side}},{{class}}}}");
                let answers = |code: &str| of("responses_total", &format!("code=\"{code}\","));
                QueriesPolicy {
                    requests: Some(of("requests_total", "")),
                    status_2xx: answers("2xx"),
                    status_3xx: answers("3xx"),
                    status_4xx: answers("4xx"),
                    status_5xx: answers("5xx"),
                    failed: Some(of("failed_total", "")),
                    abandoned: Some(of("abandoned_total", "")),
                    latency: Some(of("latency_seconds_bucket", "")),
                    published: None,
                }
            }
            // README of vozlt/nginx-module-vts, "Prometheus": `code` is a class or `total`. What nginx answers in an upstream's
            // stead, 502 and 504, is among its 5XX.
            Self::NginxVts => {
                let answers = |code: &str| format!("nginx_vts_upstream_requests_total{{code=\"{code}\",{{side}}}}");
                QueriesPolicy {
                    status_2xx: answers("2xx"),
                    status_3xx: answers("3xx"),
                    status_4xx: answers("4xx"),
                    status_5xx: answers("5xx"),
                    latency: Some("nginx_vts_upstream_response_duration_seconds_bucket{{side}}".to_owned()),
                    ..QueriesPolicy::default()
                }
            }
            // Envoy's "Cluster manager statistics": `upstream_rq_<*xx>` counts complete answers by class, those that Envoy makes
            // for an upstream that refuses, resets or is too late among them; `upstream_rq_time` is in milliseconds.
            Self::Envoy => {
                let answers = |class: u8| {
                    format!("envoy_cluster_upstream_rq_xx{{envoy_response_code_class=\"{class}\",{{side}}}}")
                };
                QueriesPolicy {
                    status_2xx: answers(2),
                    status_3xx: answers(3),
                    status_4xx: answers(4),
                    status_5xx: answers(5),
                    latency: Some("envoy_cluster_upstream_rq_time_bucket{{side}}".to_owned()),
                    ..QueriesPolicy::default()
                }
            }
            // Both exporters spell a metric of `AWS/ApplicationELB` in snake case with its statistic behind it; they differ in
            // their labels. A target group's host count is published while it has targets, requests or none.
            Self::CloudwatchExporter | Self::Yace => {
                let sum = |name: &str| format!("aws_applicationelb_{name}_sum{{{{side}}}}");
                let answers = |class: u8| sum(&format!("httpcode_target_{class}_xx_count"));
                QueriesPolicy {
                    requests: Some(sum("request_count")),
                    status_2xx: answers(2),
                    status_3xx: answers(3),
                    status_4xx: answers(4),
                    status_5xx: answers(5),
                    published: Some("{__name__=~\"aws_applicationelb_healthy_host_count_.+\",{side}}".to_owned()),
                    ..QueriesPolicy::default()
                }
            }
        }
    }

    /// What its samples are.
    pub const fn counts(self) -> Counted {
        match self {
            Self::Tidegate | Self::NginxVts | Self::Envoy => Counted::Counters,
            Self::CloudwatchExporter | Self::Yace => Counted::Minutes,
        }
    }

    /// In what its buckets are bounded.
    pub const fn latency_unit(self) -> LatencyUnit {
        match self {
            Self::Envoy => LatencyUnit::Milliseconds,
            Self::Tidegate | Self::NginxVts | Self::CloudwatchExporter | Self::Yace => LatencyUnit::Seconds,
        }
    }

    /// The matchers of a side, where they follow from the policy: `side` is `source` or `target`, `group` the ARN of its
    /// target group.
    pub fn matchers(self, side: &str, group: Option<&str>) -> Option<String> {
        let group = group.and_then(|arn| arn.rsplit(':').next());
        match self {
            Self::Tidegate => Some(format!("side=\"{side}\"")),
            // The same requests may be published by zone as well, and would count twice.
            Self::CloudwatchExporter => group.map(|group| format!("target_group=\"{group}\",availability_zone=\"\"")),
            Self::Yace => {
                group.map(|group| format!("dimension_TargetGroup=\"{group}\",dimension_AvailabilityZone=\"\""))
            }
            Self::NginxVts | Self::Envoy => None,
        }
    }

    /// An example of a side's matchers.
    pub const fn example(self) -> &'static str {
        match self {
            Self::Tidegate => "side=\"source\"",
            Self::NginxVts => "upstream=\"blue\"",
            Self::Envoy => "envoy_cluster_name=\"blue\"",
            Self::CloudwatchExporter => "target_group=\"targetgroup/blue/73e2d6bc24d8a067\"",
            Self::Yace => "dimension_TargetGroup=\"targetgroup/blue/73e2d6bc24d8a067\"",
        }
    }
}
