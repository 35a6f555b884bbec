//! `GetMetricStatistics`: one series, several statistics; the older way to read, which dashboards and scripts still use.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::data::{is_period, metric, rounded};
use super::statistic::Statistic;
use super::store::Store;
use super::{Dimension, seconds};
use crate::clock::Time;
use crate::model::Refusal;

/// Points in one answer.
pub(super) const POINTS_MAX: u128 = 1440;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Input {
    namespace: Option<String>,
    metric_name: Option<String>,
    dimensions: Option<Vec<Dimension>>,
    start_time: Option<f64>,
    end_time: Option<f64>,
    period: Option<i64>,
    statistics: Vec<String>,
    extended_statistics: Vec<String>,
    unit: Option<String>,
}

fn invalid(message: String) -> Refusal {
    Refusal::new("InvalidParameterValue", message)
}

fn missing(name: &str) -> Refusal {
    Refusal::new("MissingParameter", format!("The parameter {name} is required."))
}

/// Answers one call.
pub(super) fn answer(store: &Store, raw: &Value, now: Time) -> Result<Value, Refusal> {
    let input: Input = super::parse(raw)?;
    let name = input.metric_name.clone().ok_or_else(|| missing("MetricName"))?;
    let namespace = input.namespace.ok_or_else(|| missing("Namespace"))?;
    let metric = metric("", Some(namespace), input.metric_name, input.dimensions).map_err(invalid)?;
    let start = input.start_time.and_then(seconds).ok_or_else(|| missing("StartTime"))?;
    let end = input.end_time.and_then(seconds).ok_or_else(|| missing("EndTime"))?;
    let period = input.period.ok_or_else(|| missing("Period"))?;
    if start >= end {
        return Err(invalid("The parameter StartTime must be less than the parameter EndTime.".to_owned()));
    }
    if !is_period(period) {
        return Err(invalid(format!(
            "The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60; it is {period}."
        )));
    }
    if input.statistics.is_empty() == input.extended_statistics.is_empty() {
        let (code, message) = if input.statistics.is_empty() {
            ("MissingParameter", "Must specify either Statistics or ExtendedStatistics.")
        } else {
            ("InvalidParameterCombination", "Must specify either Statistics or ExtendedStatistics, but not both.")
        };
        return Err(Refusal::new(code, message));
    }
    let simple = checked("Statistics", &input.statistics, 5, Statistic::simple)?;
    let extended = checked("ExtendedStatistics", &input.extended_statistics, 10, Statistic::extended)?;
    let period = Duration::from_secs(period.unsigned_abs());
    let start = rounded(start, now);
    let points = end.since(start).as_millis().div_ceil(period.as_millis());
    if points > POINTS_MAX {
        return Err(Refusal::new(
            "InvalidParameterCombination",
            format!(
                "You have requested up to {points} datapoints, which exceeds the limit of 1,440. You may reduce the \
                 datapoints requested by increasing Period, or decreasing the time range."
            ),
        ));
    }
    let unit = store.unit(&metric).unwrap_or("None");
    let other_unit = input.unit.is_some_and(|wanted| wanted != unit);
    let steps = if other_unit || period < Duration::from_mins(1) {
        Vec::new()
    } else {
        store.read(&metric, start, end, period, now)
    };
    let mut datapoints: Vec<Value> = steps
        .iter()
        .filter_map(|(at, measured)| {
            let values = |wanted: &[(String, Statistic)]| {
                let known =
                    wanted.iter().filter_map(|(name, statistic)| Some((name.clone(), statistic.of(measured)?.into())));
                known.collect::<Map<String, Value>>()
            };
            let mut point = values(&simple);
            let extended = values(&extended);
            if point.is_empty() && extended.is_empty() {
                return None;
            }
            point.insert("Timestamp".into(), at.seconds().into());
            point.insert("Unit".into(), unit.into());
            if !extended.is_empty() {
                point.insert("ExtendedStatistics".into(), extended.into());
            }
            Some(point.into())
        })
        .collect();
    // "The data points are not returned in chronological order" (reference page): whoever relies on it finds out here.
    let half = datapoints.len() / 2;
    datapoints.rotate_left(half);
    Ok(json!({"Label": name, "Datapoints": datapoints}))
}

/// The statistics of a list, by name.
fn checked(
    parameter: &str,
    names: &[String],
    most: usize,
    parse: impl Fn(&str) -> Option<Statistic>,
) -> Result<Vec<(String, Statistic)>, Refusal> {
    if names.len() > most {
        return Err(invalid(format!("The collection {parameter} must not have a size greater than {most}.")));
    }
    let statistic = |(number, name): (usize, &String)| match parse(name) {
        Some(statistic) => Ok((name.clone(), statistic)),
        None => Err(invalid(format!("The value {name} for parameter {parameter}.member.{} is invalid.", number + 1))),
    };
    names.iter().enumerate().map(statistic).collect()
}
