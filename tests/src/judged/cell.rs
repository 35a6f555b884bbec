//! One cell of a table: many cutovers of one world at one rate and interval, on every core.

use super::limit;
use super::rule::JudgeKind;
use super::run::{Outcome, Plan, cutover};

/// What a cell came to for one judge.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Which judge.
    pub judge: JudgeKind,
    /// The row's name as it is written in the table.
    pub row: &'static str,
    /// Requests a second.
    pub rate: f64,
    /// Seconds a block.
    pub interval: f64,
    /// What was wrong with the target.
    pub fault: Option<super::Fault>,
    /// What happened.
    pub tally: Tally,
    /// How many requests of the target the test needs that knows the fault and the source; `None` without one.
    pub limit_requests: Option<f64>,
}

/// What many cutovers came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// How many cutovers.
    pub cutovers: u64,
    /// How many of them were reverted; after the onset of the fault, where there is one.
    pub reverted: u64,
    /// How many were reverted before it.
    pub early: u64,
    /// Median of the seconds to the revert, over those that were reverted.
    pub median_seconds: Option<f64>,
    /// Median of the target's requests until then.
    pub median_requests: Option<f64>,
    /// Mean over all cutovers of how many more requests failed than would have on the source.
    pub excess_errors: f64,
}

/// The middle of values; `None` of none.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        even if even % 2 == 0 => Some(f64::midpoint(values[middle - 1], values[middle])),
        _ => Some(values[middle]),
    }
}

impl Tally {
    /// The sum of outcomes.
    pub fn of(outcomes: &[Outcome]) -> Self {
        let reverted = || outcomes.iter().filter(|outcome| outcome.reverted_seconds.is_some());
        Self {
            cutovers: outcomes.len() as u64,
            reverted: reverted().count() as u64,
            early: outcomes.iter().filter(|outcome| outcome.early).count() as u64,
            median_seconds: median(reverted().filter_map(|outcome| outcome.reverted_seconds).collect()),
            median_requests: median(reverted().map(|outcome| outcome.target_requests as f64).collect()),
            excess_errors: outcomes.iter().map(|outcome| outcome.excess_errors).sum::<f64>()
                / outcomes.len().max(1) as f64,
        }
    }

    /// The share that was reverted.
    pub fn share(&self) -> f64 {
        self.reverted as f64 / self.cutovers.max(1) as f64
    }

    /// Between what and what the chance of a revert really lies, at 95 % (Clopper and Pearson 1934).
    pub fn interval(&self) -> (f64, f64) {
        limit::clopper_pearson(self.reverted, self.cutovers, 0.95)
    }
}

/// Runs `index`es 0 to `count` on every core, in any order, and gives the results in theirs.
pub fn on_every_core<T: Send>(count: u64, work: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let mut results: Vec<(u64, T)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let work = &work;
                scope.spawn(move || {
                    (thread..count).step_by(threads as usize).map(|index| (index, work(index))).collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a cutover that panics is a bug")).collect()
    });
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Runs `cutovers` cutovers of a plan and says what they came to for each judge.
pub fn cells(plan: &Plan<'_>, judges: &[JudgeKind], cutovers: u64) -> Vec<Cell> {
    let outcomes = on_every_core(cutovers, |index| cutover(plan, judges, index));
    let limit_requests = limit::requests(plan.row, plan.alpha);
    judges
        .iter()
        .enumerate()
        .map(|(at, &judge)| Cell {
            judge,
            row: plan.row.row,
            rate: plan.rate,
            interval: plan.millis as f64 / 1000.0,
            fault: plan.row.fault,
            tally: Tally::of(&outcomes.iter().map(|outcomes| outcomes[at]).collect::<Vec<Outcome>>()),
            limit_requests,
        })
        .collect()
}

/// The worst of cells: of healthy cutovers the one that is reverted most often; of faulty ones the one that is found
/// least often, and of those the slowest.
pub fn worst(cells: &[Cell]) -> Option<&Cell> {
    let badness = |cell: &Cell| match cell.fault {
        None => (cell.tally.share(), -cell.tally.median_seconds.unwrap_or(0.0)),
        Some(_) => (1.0 - cell.tally.share(), cell.tally.median_seconds.unwrap_or(f64::MAX)),
    };
    // The first of equals, so that the answer does not depend on how maxima are searched.
    cells.iter().rev().max_by(|a, b| {
        let (a, b) = (badness(a), badness(b));
        a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(seconds: Option<f64>) -> Outcome {
        Outcome { reverted_seconds: seconds, early: false, target_requests: 10, excess_errors: 1.0 }
    }

    #[test]
    fn a_tally_counts_what_was_reverted_after_the_onset() {
        let early = Outcome { early: true, ..outcome(None) };
        let tally = Tally::of(&[outcome(Some(60.0)), outcome(Some(180.0)), outcome(None), early]);
        assert_eq!((tally.cutovers, tally.reverted, tally.early), (4, 2, 1));
        assert_eq!((tally.median_seconds, tally.median_requests), (Some(120.0), Some(10.0)));
        assert!((tally.share() - 0.5).abs() < 1e-12 && (tally.excess_errors - 1.0).abs() < 1e-12);
        assert_eq!(Tally::of(&[]).median_seconds, None);
    }

    #[test]
    fn results_keep_their_order_on_any_number_of_cores() {
        assert_eq!(on_every_core(101, |index| index * 2), (0..101).map(|index| index * 2).collect::<Vec<u64>>());
    }

    #[test]
    fn the_worst_cell_is_the_least_safe_or_the_least_seen() {
        let cell = |row, fault: Option<&str>, reverted: u64, median: f64| Cell {
            judge: JudgeKind::Ours,
            row,
            rate: 5.0,
            interval: 60.0,
            fault: fault.map(|fault| fault.parse().unwrap()),
            tally: Tally { cutovers: 100, reverted, median_seconds: Some(median), ..Tally::default() },
            limit_requests: None,
        };
        let healthy = [cell("a", None, 1, 60.0), cell("b", None, 7, 60.0), cell("c", None, 7, 60.0)];
        assert_eq!(worst(&healthy).unwrap().row, "b");
        let faulty = [cell("a", Some("errors:x2"), 90, 60.0), cell("b", Some("errors:x2"), 90, 90.0)];
        assert_eq!(worst(&faulty).unwrap().row, "b");
        assert!(worst(&[]).is_none());
    }
}
