//! CloudWatch: what was measured, late and in parts as CloudWatch has it, over the two protocols that clients speak.
//!
//! The SDK for Rust speaks Smithy RPC v2 with CBOR, the AWS command line and boto3 speak JSON 1.0; both are one set of
//! operations on one [`store`]. Not here: alarms (there are none), expressions, dashboards, streams, and who is measured.

pub mod arrivals;
pub mod cbor;
mod custom;
pub mod data;
pub mod distribution;
pub mod statistic;
mod statistics;
pub mod store;
#[cfg(test)]
mod tests;
pub mod wire;

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::clock::Time;
use crate::model::Refusal;
use store::{Metric, Store};

/// CloudWatch of one account.
#[derive(Debug, Default)]
pub struct CloudWatch {
    store: Mutex<Store>,
    broken: Mutex<Broken>,
}

/// What is wrong with reading, by script.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Broken {
    /// Series that are shown with a status other than `Complete` and without data.
    pub series: Vec<BrokenSeries>,
    /// The most points in one page of `GetMetricData`, so that few points are enough for several pages.
    pub page_points: Option<usize>,
}

/// A series that cannot be read though the call succeeds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokenSeries {
    /// The name of the metric, in whatever dimensions.
    pub metric: String,
    /// `InternalError`, `Forbidden` or `PartialData`.
    pub status: String,
    /// How many reads more.
    pub times: u32,
}

impl Broken {
    /// The status of a series that is to be shown as failed, once more.
    fn status_of(&mut self, metric: &Metric) -> Option<String> {
        let found = self.series.iter_mut().find(|series| series.metric == metric.name && series.times > 0)?;
        found.times -= 1;
        Some(found.status.clone())
    }
}

/// A dimension as requests spell it; in filters the value may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Dimension {
    name: Option<String>,
    value: Option<String>,
}

/// A moment as both protocols spell it, in seconds since 1970.
fn seconds(at: f64) -> Option<Time> {
    (at.is_finite() && at.abs() < 1e12).then(|| Time((at * 1000.0).round() as i64))
}

fn parse<T: DeserializeOwned>(input: &Value) -> Result<T, Refusal> {
    T::deserialize(input).map_err(|why| Refusal::new("SerializationException", why.to_string()))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked with the lock held has ended the lab; what is left is consistent enough to be read.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CloudWatch {
    /// The store, to be written to and read.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        locked(&self.store)
    }

    /// What is wrong by script, to be changed.
    pub fn broken(&self) -> MutexGuard<'_, Broken> {
        locked(&self.broken)
    }

    /// Carries out an operation; input and output are spelled as in the JSON protocol.
    ///
    /// # Errors
    /// As CloudWatch: `ValidationError` of `GetMetricData`, the modelled errors of the others, `UnknownOperationException`
    /// for an operation that the lab does not have.
    pub fn carry_out(&self, operation: &str, input: &Value, now: Time) -> Result<Value, Refusal> {
        match operation {
            "GetMetricData" => data::answer(&self.store(), &mut self.broken(), input, now),
            "GetMetricStatistics" => statistics::answer(&self.store(), input, now),
            "ListMetrics" => custom::list(&self.store(), input, now),
            "PutMetricData" => custom::put(&mut self.store(), input, now),
            "DescribeAlarms" => Ok(json!({"MetricAlarms": [], "CompositeAlarms": []})),
            _ => Err(Refusal::new("UnknownOperationException", format!("this lab has no operation {operation}"))),
        }
    }
}
