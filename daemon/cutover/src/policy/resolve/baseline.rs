//! What a cutover knows of its source from before: a recording at its start, or one that was made earlier.

use super::{BaselinePolicy, Resolver, ShiftPolicy, period_text, raw};
use crate::policy::RecordedBaseline;

impl Resolver<'_> {
    pub(super) fn baseline(&mut self, baseline: &raw::Baseline, shift: &ShiftPolicy) -> Option<BaselinePolicy> {
        let record = baseline.record?.0;
        let intervals_min = baseline.intervals_min?;
        let file = baseline.file.clone().map(|file| RecordedBaseline::File(file.0));
        let name = baseline.name.clone().map(|name| RecordedBaseline::Name(name.0));
        if file.is_some() && name.is_some() {
            self.wrong(
                self.later_of("baseline.file", "baseline.use"),
                "both a file and a name say which baseline is meant",
                "keep one of `file` and `use`",
            );
        }
        let recorded = file.or(name);
        let seconds = shift.interval.as_secs_f64();
        let short = seconds > 0.0 && record.as_secs_f64() / seconds < f64::from(intervals_min) && !record.is_zero();
        if short && recorded.is_none() {
            let path = self.later_of("baseline.record", "baseline.intervals_min");
            self.doubt(
                path,
                format!(
                    "{} of recording give fewer than {intervals_min} intervals of {}: the baseline will be thin and judge nothing",
                    period_text(record),
                    period_text(shift.interval)
                ),
                "record longer; the source of the same minute judges all the same",
            );
        }
        let on_drift = baseline.on_drift.unwrap_or_default();
        Some(BaselinePolicy { record, intervals_min, recorded, on_drift })
    }
}
