//! `GetMetricData`: many series in one call, in pages.
//!
//! Checks and limits are those of the service model and its reference page. A page ends where the points that the caller
//! allows are used up: series that have more to come are `PartialData`, and the token says where to go on. The token names
//! the last point given out and not a place in a list, since points arrive between two pages.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::statistic::Statistic;
use super::store::{Metric, Store};
use super::{Broken, Dimension, seconds};
use crate::clock::Time;
use crate::model::Refusal;

/// Series in one call.
pub const QUERIES_MAX: usize = 500;
/// Points in one answer, over all of its series.
pub const POINTS_MAX: usize = 100_800;
/// Dimensions of one metric.
pub const DIMENSIONS_MAX: usize = 30;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Input {
    metric_data_queries: Option<Vec<Query>>,
    start_time: Option<f64>,
    end_time: Option<f64>,
    next_token: Option<String>,
    scan_by: Option<String>,
    max_datapoints: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Query {
    id: Option<String>,
    metric_stat: Option<MetricStat>,
    expression: Option<String>,
    label: Option<String>,
    return_data: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct MetricStat {
    metric: NamedMetric,
    period: Option<i64>,
    stat: Option<String>,
    unit: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NamedMetric {
    namespace: Option<String>,
    metric_name: Option<String>,
    dimensions: Option<Vec<Dimension>>,
}

/// A query that has passed all checks.
struct Sound {
    id: String,
    label: String,
    metric: Metric,
    period: Duration,
    statistic: Statistic,
    unit: Option<String>,
}

fn invalid<T>(message: String) -> Result<T, Refusal> {
    Err(Refusal::invalid(message))
}

/// The metric that a namespace, a name and dimensions name, or what is wrong with them; `at` is the place of the parameter.
pub(super) fn metric(
    at: &str,
    namespace: Option<String>,
    name: Option<String>,
    dimensions: Option<Vec<Dimension>>,
) -> Result<Metric, String> {
    let namespace = namespace.ok_or_else(|| format!("The parameter {at}Namespace is required."))?;
    let name = name.ok_or_else(|| format!("The parameter {at}MetricName is required."))?;
    if namespace.is_empty() || namespace.len() > 255 || namespace.starts_with(':') {
        return Err(format!("The value {namespace} for parameter {at}Namespace is invalid."));
    }
    if name.is_empty() || name.len() > 255 {
        return Err(format!("The value {name} for parameter {at}MetricName is invalid."));
    }
    let dimensions = dimensions.unwrap_or_default();
    if dimensions.len() > DIMENSIONS_MAX {
        return Err(format!("The collection {at}Dimensions must not have a size greater than {DIMENSIONS_MAX}."));
    }
    let mut named = BTreeMap::new();
    for (number, dimension) in dimensions.into_iter().enumerate() {
        let place = format!("{at}Dimensions.member.{}", number + 1);
        let (Some(name), Some(value)) = (dimension.name, dimension.value) else {
            return Err(format!("The parameter {place}.Name and .Value are required."));
        };
        if name.is_empty() || name.len() > 255 || value.is_empty() || value.len() > 1024 {
            return Err(format!("The value for parameter {place} is invalid."));
        }
        if named.insert(name.clone(), value).is_some() {
            return Err(format!("The parameter {place}.Name repeats the dimension {name}."));
        }
    }
    Ok(Metric { namespace, name, dimensions: named })
}

/// Whether a period is one that CloudWatch knows.
pub(super) fn is_period(seconds: i64) -> bool {
    matches!(seconds, 1 | 5 | 10 | 20 | 30) || (seconds > 0 && seconds % 60 == 0)
}

impl Query {
    fn check(self, number: usize) -> Result<Sound, Refusal> {
        let at = format!("MetricDataQueries.member.{number}");
        let id = self.id.unwrap_or_default();
        let lower = id.starts_with(|first: char| first.is_ascii_lowercase());
        if !lower || id.len() > 255 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return invalid(format!(
                "The value {id} for parameter {at}.Id is not matching the expected pattern ^[a-z][a-zA-Z0-9_]*$."
            ));
        }
        let stat = match (self.metric_stat, self.expression) {
            (Some(stat), None) => stat,
            (None, Some(_)) => {
                let why = "this lab computes no expressions; fetch the metrics and compute with them";
                return invalid(format!("Error in expression '{id}': {why}"));
            }
            _ => {
                return invalid(format!("The parameter {at} must have either MetricStat or Expression, not both."));
            }
        };
        let inside = format!("{at}.MetricStat.Metric.");
        let metric = metric(&inside, stat.metric.namespace, stat.metric.metric_name, stat.metric.dimensions)
            .map_err(Refusal::invalid)?;
        let name = stat.stat.unwrap_or_default();
        let Some(statistic) = Statistic::parse(&name) else {
            return invalid(format!("The value {name} for parameter {at}.MetricStat.Stat is not a valid statistic."));
        };
        let period = stat.period.unwrap_or(0);
        if !is_period(period) {
            return invalid(format!(
                "The value {period} for parameter {at}.MetricStat.Period must be 1, 5, 10, 20, 30 or a multiple of 60."
            ));
        }
        let label = self.label.unwrap_or_else(|| metric.name.clone());
        let period = Duration::from_secs(period.unsigned_abs());
        Ok(Sound { id, label, metric, period, statistic, unit: stat.unit })
    }
}

impl Sound {
    /// The points that can be read at `now`, oldest first.
    fn points(&self, store: &Store, start: Time, end: Time, now: Time) -> Vec<(Time, f64)> {
        let unit = store.unit(&self.metric);
        if self.unit.as_deref().is_some_and(|wanted| Some(wanted) != unit) || self.period < Duration::from_mins(1) {
            // Points of another unit are not converted, and points of a minute are not split.
            return Vec::new();
        }
        let steps = store.read(&self.metric, start, end, self.period, now);
        steps.iter().filter_map(|(at, measured)| Some((*at, self.statistic.of(measured)?))).collect()
    }
}

/// Where the next page begins: behind the point of `after` in the query number `query`.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    query: usize,
    after: Option<Time>,
}

impl Place {
    fn token(&self, fingerprint: u64) -> String {
        let after = self.after.map_or_else(|| "-".to_owned(), |at| at.0.to_string());
        format!("{fingerprint:016x}.{}.{after}", self.query)
    }

    fn of(token: &str, fingerprint: u64, queries: usize) -> Option<Self> {
        let mut parts = token.split('.');
        let (mark, query, after, end) = (parts.next()?, parts.next()?, parts.next()?, parts.next());
        let query = query.parse().ok().filter(|query| *query < queries)?;
        let after = if after == "-" { None } else { Some(Time(after.parse().ok()?)) };
        (end.is_none() && mark == format!("{fingerprint:016x}")).then_some(Self { query, after })
    }
}

/// The start of the range, rounded as the reference page of `GetMetricData` says: by how long ago it is.
pub(super) fn rounded(start: Time, now: Time) -> Time {
    let age = now.since(start);
    let grain: i64 = match age.as_secs() / (24 * 3600) {
        0..15 => 60_000,
        15..63 => 300_000,
        _ => 3_600_000,
    };
    Time(start.0.div_euclid(grain) * grain)
}

/// What of the request must not change between two pages.
fn fingerprint(input: &Value) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut same = input.clone();
    if let Some(map) = same.as_object_mut() {
        map.shift_remove("NextToken");
    }
    let mut hasher = DefaultHasher::new();
    same.to_string().hash(&mut hasher);
    hasher.finish()
}

/// Answers one call. `broken` says which series are to be shown as failed, and at which size pages are cut though the
/// caller allows more.
pub(super) fn answer(store: &Store, broken: &mut Broken, raw: &Value, now: Time) -> Result<Value, Refusal> {
    let input: Input = super::parse(raw)?;
    let Some(queries) = input.metric_data_queries.filter(|queries| !queries.is_empty()) else {
        return invalid("The parameter MetricDataQueries is required.".to_owned());
    };
    if queries.len() > QUERIES_MAX {
        return invalid(format!(
            "The collection MetricDataQueries must not have a size greater than {QUERIES_MAX}; it has {}.",
            queries.len()
        ));
    }
    let (start, end) = match (input.start_time.and_then(seconds), input.end_time.and_then(seconds)) {
        (Some(start), Some(end)) => (start, end),
        (None, _) => return invalid("The parameter StartTime is required.".to_owned()),
        (_, None) => return invalid("The parameter EndTime is required.".to_owned()),
    };
    if start >= end {
        return invalid("The parameter StartTime must be less than the parameter EndTime.".to_owned());
    }
    let descending = match input.scan_by.as_deref() {
        None | Some("TimestampDescending") => true,
        Some("TimestampAscending") => false,
        Some(other) => return invalid(format!("The value {other} for parameter ScanBy is invalid.")),
    };
    let allowed = match input.max_datapoints {
        None => POINTS_MAX,
        Some(count @ 1..=100_800) => count as usize,
        Some(count) => return invalid(format!("The value {count} for parameter MaxDatapoints is invalid.")),
    };
    let hidden: Vec<bool> = queries.iter().map(|query| query.return_data == Some(false)).collect();
    let mut sound = Vec::with_capacity(queries.len());
    let mut ids = BTreeSet::new();
    for (number, query) in queries.into_iter().enumerate() {
        let query = query.check(number + 1)?;
        if !ids.insert(query.id.clone()) {
            return invalid(format!("The values for parameter Id in MetricDataQueries are not unique: {}.", query.id));
        }
        sound.push(query);
    }
    let mark = fingerprint(raw);
    let place = match input.next_token {
        None => Place { query: 0, after: None },
        Some(token) => Place::of(&token, mark, sound.len())
            .ok_or_else(|| Refusal::new("InvalidNextToken", "The next token specified is invalid."))?,
    };
    let start = rounded(start, now);
    let mut left = allowed.min(broken.page_points.unwrap_or(usize::MAX)).max(1);
    let mut next = None;
    let mut results = Vec::new();
    for (number, query) in sound.iter().enumerate().filter(|(number, _)| !hidden[*number]) {
        let mut row = json!({"Id": query.id, "Label": query.label, "Timestamps": [], "Values": []});
        row["StatusCode"] = if let Some(status) = broken.status_of(&query.metric) {
            status.into()
        } else if number < place.query {
            "Complete".into() // all of it was on an earlier page
        } else if next.is_some() {
            "PartialData".into() // its turn comes on a later page
        } else {
            let mut points = query.points(store, start, end, now);
            if descending {
                points.reverse();
            }
            if let Some(after) = place.after.filter(|_| number == place.query) {
                points.retain(|(at, _)| if descending { *at < after } else { *at > after });
            }
            let page = &points[..points.len().min(left)];
            left -= page.len();
            row["Timestamps"] = page.iter().map(|(at, _)| at.seconds()).collect();
            row["Values"] = page.iter().map(|(_, value)| *value).collect();
            if page.len() < points.len() {
                let after = page.last().map(|(at, _)| *at).or(place.after.filter(|_| number == place.query));
                next = Some(Place { query: number, after });
                "PartialData".into()
            } else {
                "Complete".into()
            }
        };
        results.push(row);
    }
    let mut answer = json!({"MetricDataResults": results, "Messages": []});
    if let Some(next) = next {
        answer["NextToken"] = next.token(mark).into();
    }
    Ok(answer)
}
