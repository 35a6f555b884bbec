//! What a daemon knows of a source from before: its source of numbers where that keeps a history, else the intervals that
//! cutovers counted before they shifted anything. For baselines; nothing is decided by it.

use std::time::Duration;

use cutover::{Observation, Share, Window};

use super::{Daemon, Refused};
use crate::store::{ENTRIES_MAX, End, Query, Sample};

/// How long one stretch of the past is.
const ROW: Duration = Duration::from_mins(1);

/// In how many cutovers a past is looked for.
const PAST_CUTOVERS_MAX: usize = 10;

impl Daemon {
    /// What is still known of a service's past, by minutes, oldest first and without gaps: from where its numbers come
    /// from, or, where that keeps no history, from the intervals that its last cutovers counted before they shifted.
    ///
    /// # Errors
    /// When there is no such service, or its past cannot be read.
    pub async fn past(&self, name: &str, length: Duration) -> Result<Vec<Observation>, Refused> {
        let now = self.shared.clock.now();
        let window = Window { from: now.minus(length), to: now };
        let metrics = match self.running(name) {
            Ok(running) if !running.has_ended() => running.metrics(),
            _ => self.shared.metrics(&self.usable(name)?).await?,
        };
        let found = metrics.history(window, ROW).await?;
        if !found.is_empty() {
            return Ok(found);
        }
        let query = Query { service: Some(name.to_owned()), limit: ENTRIES_MAX, end: End::Newest, ..Query::default() };
        let mut cutovers: Vec<String> = Vec::new();
        for entry in self.shared.store.history(query).await?.into_iter().rev() {
            if !cutovers.contains(&entry.cutover) && cutovers.len() < PAST_CUTOVERS_MAX {
                cutovers.push(entry.cutover);
            }
        }
        let mut longest: Vec<Observation> = Vec::new();
        for cutover in cutovers {
            let run = before_the_shift(self.shared.store.samples(&cutover).await?, window);
            if run.len() > longest.len() {
                longest = run;
            }
        }
        Ok(longest)
    }

    /// The counters of the proxy in this process, if there is one.
    pub fn own_counters(&self) -> Option<proxy::api::Counters> {
        self.shared.own_proxy.as_ref().map(proxy::Handle::counters)
    }
}

/// The last stretch without gaps, within `window`, in which the target had nothing.
fn before_the_shift(samples: Vec<Sample>, window: Window) -> Vec<Observation> {
    let mut run: Vec<Observation> = Vec::new();
    for sample in samples {
        let observation = sample.observation;
        let target = observation.reads.target.requests + observation.writes.target.requests;
        if sample.desired != Share::NONE || sample.configured.is_some_and(|share| share != Share::NONE) || target > 0 {
            // From the first shift on the source was not alone.
            break;
        }
        if observation.window.from < window.from || observation.window.to > window.to {
            continue;
        }
        if run.last().is_some_and(|last| last.window.to != observation.window.from) {
            run.clear();
        }
        run.push(observation);
    }
    run
}

#[cfg(test)]
mod tests {
    use cutover::Timestamp;
    use judge::{Block, Counts};

    use super::*;

    /// A second of ten requests; the target's as said.
    fn sample(second: i64, target: u64) -> Sample {
        let side = |requests| Counts { requests, ..Counts::default() };
        let reads = Block { millis: 1_000, source: side(10), target: side(target) };
        let window = Window { from: Timestamp(second * 1_000), to: Timestamp((second + 1) * 1_000) };
        Sample {
            observation: Observation { window, reads, writes: Block::default() },
            desired: Share::NONE,
            configured: Some(Share::NONE),
            evidence: None,
            evidence_max: None,
            guards: Vec::new(),
        }
    }

    /// Proves that a past has no gap in it, nothing of a shift, and nothing from before it was asked for.
    #[test]
    fn a_past_is_what_came_before_the_shift_without_gaps() {
        let seconds = [0, 1, 2, 5, 6, 7];
        let mut samples: Vec<Sample> = seconds.iter().map(|second| sample(*second, 0)).collect();
        samples.push(sample(8, 1));
        samples.push(sample(9, 0));
        let window = |from: i64| Window { from: Timestamp(from * 1_000), to: Timestamp(60_000) };
        let found = |from| -> Vec<i64> {
            before_the_shift(samples.clone(), window(from)).iter().map(|row| row.window.from.0 / 1_000).collect()
        };
        assert_eq!(found(0), [5, 6, 7]);
        assert_eq!(found(6), [6, 7]);
        assert_eq!(found(9), [0i64; 0]);
    }
}
