//! What a cutover takes along of a recorded baseline: enough to judge by and to explain, small enough to be stored with
//! each of its states. The document itself is kept beside the journal under its digest.

use judge::Baseline;
use judge::record::{Depth, HourNormal, HourOfWeek, Week};
use serde::{Deserialize, Serialize};

use super::{Origin, Read};
use crate::policy::Policy;
use crate::units::Timestamp;

/// A recorded baseline as a cutover has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Given {
    /// The file or the name that it was taken from.
    pub name: String,
    /// The digest of its document, under which that is kept.
    pub digest: String,
    /// What was counted.
    pub source: String,
    /// Where the numbers came from.
    pub origin: Origin,
    /// When the record began.
    pub from: Timestamp,
    /// When it ended.
    pub to: Timestamp,
    /// Whether it has a normal for each hour of the week.
    pub depth: Depth,
    /// How much time was left out of it as outages, in milliseconds.
    pub outage_millis: u64,
    /// The record as a whole.
    pub baseline: Baseline,
    /// The record by hour of the week.
    pub week: Week,
}

impl Given {
    /// What a cutover by `policy` takes along of a document that is called `name`.
    ///
    /// # Errors
    /// In one sentence with what to do, when the document is of another service, or does not count the requests that the
    /// policy judges.
    pub fn of(read: &Read, name: &str, policy: &Policy) -> Result<Self, String> {
        let document = &read.document;
        if document.service != policy.service {
            return Err(format!(
                "the baseline `{name}` is a record of `{}`, and this is `{}`: name the one of this service, or record it \
                 with `tidegate baseline record {}`",
                document.service, policy.service, policy.service
            ));
        }
        let record = document
            .record_for(policy.shift.writes)
            .map_err(|why| format!("the baseline `{name}` cannot be used here: {why}"))?;
        Ok(Self {
            name: name.to_owned(),
            digest: read.digest.clone(),
            source: document.source.clone(),
            origin: document.origin,
            from: Timestamp(record.from),
            to: Timestamp(record.to),
            depth: record.depth(),
            outage_millis: record.outage_millis,
            baseline: record.baseline(policy.baseline.intervals_min),
            week: record.week(),
        })
    }

    /// What was normal in the hour of the week of a moment; `None` where the record is thin or lacks that hour, and the
    /// whole of it counts.
    pub fn hour_normal(&self, at: Timestamp) -> Option<HourNormal> {
        let hour = HourOfWeek::of(at.0);
        (self.depth == Depth::Week).then(|| self.week.normal(hour, &self.baseline)).flatten()
    }

    /// What it is, in one sentence.
    pub fn told(&self) -> String {
        let hours = self.to.since(self.from).as_secs_f64() / 3600.0;
        let depth = match self.depth {
            Depth::Week => "by hour of the week".to_owned(),
            Depth::Thin => "thin: less than a week, so one normal for all hours".to_owned(),
        };
        let outages = match self.outage_millis / 60_000 {
            0 => String::new(),
            minutes => format!(", {minutes} min of outages left out"),
        };
        format!(
            "the baseline `{}` is used: {hours:.1} h from {}, {} requests, {depth}{outages}",
            self.name,
            self.from,
            self.baseline.requests()
        )
    }
}
