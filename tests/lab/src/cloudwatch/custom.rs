//! `PutMetricData`: metrics of one's own, and `ListMetrics`: which there are.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::data::metric;
use super::distribution::Set;
use super::store::{Metric, Store};
use super::{Dimension, seconds};
use crate::clock::Time;
use crate::model::Refusal;

/// Metrics in one `PutMetricData`.
pub(super) const METRICS_MAX: usize = 1000;
/// Values in one of its metrics.
pub(super) const VALUES_MAX: usize = 150;
/// Metrics on one page of `ListMetrics`.
pub(super) const PAGE: usize = 500;
/// How long after it is put a custom metric can be read.
pub(super) const DELAY: Duration = Duration::from_secs(5);

const UNITS: [&str; 27] = [
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
    "Percent",
    "Count",
    "Bytes/Second",
    "Kilobytes/Second",
    "Megabytes/Second",
    "Gigabytes/Second",
    "Terabytes/Second",
    "Bits/Second",
    "Kilobits/Second",
    "Megabits/Second",
    "Gigabits/Second",
    "Terabits/Second",
    "Count/Second",
    "None",
];

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Put {
    namespace: Option<String>,
    metric_data: Vec<Datum>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Datum {
    metric_name: Option<String>,
    dimensions: Option<Vec<Dimension>>,
    timestamp: Option<f64>,
    value: Option<f64>,
    statistic_values: Option<StatisticValues>,
    values: Vec<f64>,
    counts: Vec<f64>,
    unit: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StatisticValues {
    sample_count: f64,
    sum: f64,
    minimum: f64,
    maximum: f64,
}

fn invalid(message: String) -> Refusal {
    Refusal::new("InvalidParameterValue", message)
}

/// A datum that has passed all checks.
struct Sound {
    metric: Metric,
    unit: &'static str,
    at: Time,
    values: Vec<(f64, u64)>,
    set: Option<Set>,
}

/// Takes metrics in, all of a call or none.
pub(super) fn put(store: &mut Store, raw: &Value, now: Time) -> Result<Value, Refusal> {
    let input: Put = super::parse(raw)?;
    let namespace =
        input.namespace.ok_or_else(|| Refusal::new("MissingParameter", "The parameter Namespace is required."))?;
    if namespace.starts_with("AWS/") {
        return Err(invalid(format!(
            "The value {namespace} for parameter Namespace is invalid: namespaces that begin with AWS/ are reserved."
        )));
    }
    if input.metric_data.is_empty() {
        return Err(Refusal::new("MissingParameter", "The parameter MetricData is required."));
    }
    if input.metric_data.len() > METRICS_MAX {
        return Err(invalid(format!("The collection MetricData must not have a size greater than {METRICS_MAX}.")));
    }
    let sound: Vec<Sound> = input
        .metric_data
        .into_iter()
        .enumerate()
        .map(|(number, datum)| datum.check(&namespace, number + 1, now))
        .collect::<Result<_, _>>()?;
    for datum in sound {
        let id = store.open(datum.metric, datum.unit).ok_or_else(|| {
            Refusal::new("LimitExceeded", "this lab keeps no more series; put fewer different metrics")
        })?;
        let measured = store.measured(id, datum.at, now + DELAY);
        datum.values.iter().for_each(|(value, count)| measured.add(*value, *count));
        if let Some(set) = datum.set {
            measured.add_set(set);
        }
    }
    Ok(json!({}))
}

impl Datum {
    fn check(self, namespace: &str, number: usize, now: Time) -> Result<Sound, Refusal> {
        let at = format!("MetricData.member.{number}.");
        let metric = metric(&at, Some(namespace.to_owned()), self.metric_name, self.dimensions).map_err(invalid)?;
        let unit = self.unit.as_deref().unwrap_or("None");
        let unit = UNITS.into_iter().find(|known| *known == unit);
        let unit = unit.ok_or_else(|| invalid(format!("The value for parameter {at}Unit is invalid.")))?;
        let time = self.timestamp.and_then(seconds).unwrap_or(now);
        if time > now + Duration::from_hours(2) || now.since(time) > Duration::from_hours(14 * 24) {
            return Err(invalid(format!(
                "The parameter {at}Timestamp must specify a time no more than two weeks past and two hours ahead."
            )));
        }
        let given = [self.value.is_some(), self.statistic_values.is_some(), !self.values.is_empty()];
        if given.iter().filter(|given| **given).count() != 1 {
            return Err(Refusal::new(
                "InvalidParameterCombination",
                format!("The parameter {at}: exactly one of Value, StatisticValues and Values must be given."),
            ));
        }
        if self.values.len() > VALUES_MAX || (!self.counts.is_empty() && self.counts.len() != self.values.len()) {
            return Err(invalid(format!(
                "The parameters {at}Values and Counts must have one size, at most {VALUES_MAX}."
            )));
        }
        let whole = |count: f64| {
            let fits = count >= 0.0 && count.fract() == 0.0 && count < 1e15;
            fits.then_some(count as u64)
                .ok_or_else(|| invalid(format!("The value {count} for a count of {at} is invalid.")))
        };
        let counts = self.counts.iter().copied().chain(std::iter::repeat(1.0));
        let mut values: Vec<(f64, u64)> = self.value.map(|value| (value, 1)).into_iter().collect();
        for (value, count) in self.values.iter().zip(counts) {
            values.push((*value, whole(count)?));
        }
        if values.iter().any(|(value, _)| !value.is_finite() || value.abs() > 2f64.powi(360)) {
            return Err(invalid(format!("The value for parameter {at}Value is out of range.")));
        }
        let set = match self.statistic_values {
            None => None,
            Some(StatisticValues { sample_count, sum, minimum, maximum }) if minimum <= maximum && sum.is_finite() => {
                Some(Set { count: whole(sample_count)?, sum, minimum, maximum })
            }
            Some(_) => return Err(invalid(format!("The value for parameter {at}StatisticValues is invalid."))),
        };
        Ok(Sound { metric, unit, at: time, values, set })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct List {
    namespace: Option<String>,
    metric_name: Option<String>,
    dimensions: Vec<Dimension>,
    next_token: Option<String>,
    recently_active: Option<String>,
}

/// Lists the series of the last two weeks, or of the last three hours if asked for, a page at a time.
pub(super) fn list(store: &Store, raw: &Value, now: Time) -> Result<Value, Refusal> {
    let input: List = super::parse(raw)?;
    let since = match input.recently_active.as_deref() {
        None => now - Duration::from_hours(14 * 24),
        Some("PT3H") => now - Duration::from_hours(3),
        Some(other) => return Err(invalid(format!("The value {other} for parameter RecentlyActive is invalid."))),
    };
    if input.dimensions.len() > 10 {
        return Err(invalid("The collection Dimensions must not have a size greater than 10.".to_owned()));
    }
    let skip = match &input.next_token {
        None => 0,
        Some(token) => {
            token.parse().map_err(|_| invalid("The value for parameter NextToken is invalid.".to_owned()))?
        }
    };
    let fits = |metric: &&Metric| {
        input.namespace.as_ref().is_none_or(|namespace| *namespace == metric.namespace)
            && input.metric_name.as_ref().is_none_or(|name| *name == metric.name)
            && input.dimensions.iter().all(|wanted| {
                let value = wanted.name.as_ref().and_then(|name| metric.dimensions.get(name));
                value.is_some_and(|value| wanted.value.as_ref().is_none_or(|wanted| wanted == value))
            })
    };
    let mut found = store.list(since, now).filter(fits).skip(skip);
    let page: Vec<Value> = found.by_ref().take(PAGE).map(spelled).collect();
    let mut answer = json!({"Metrics": page});
    if found.next().is_some() {
        answer["NextToken"] = (skip + PAGE).to_string().into();
    }
    Ok(answer)
}

fn spelled(metric: &Metric) -> Value {
    let dimensions: Vec<Value> =
        metric.dimensions.iter().map(|(name, value)| json!({"Name": name, "Value": value})).collect();
    json!({"Namespace": metric.namespace, "MetricName": metric.name, "Dimensions": dimensions})
}
