//! One cutover through the fixed ladder, watched by several judges at once, so that all see the same service.

use judge::{Baseline, Block, Context};

use super::chance::Chance;
use super::rule::{JudgeKind, Rule};
use super::service::Service;
use super::world::Row;

/// The target's share on each step, in per mille.
pub const STEPS: [u16; 7] = [50, 100, 200, 350, 500, 750, 950];
/// How long a step takes.
pub const STEP_MINUTES: u32 = 10;
/// How long a cutover takes.
pub const MINUTES: u32 = STEPS.len() as u32 * STEP_MINUTES;
/// How long the baseline is.
const BASELINE_MINUTES: usize = 24 * 60;
/// With fewer blocks it would be thin.
const BASELINE_MIN: u32 = 30;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The service and what is wrong with its target.
    pub row: &'a Row,
    /// Requests a second, on average.
    pub rate: f64,
    /// How long a block is, in milliseconds: whole parts of a minute.
    pub millis: u64,
    /// The greatest chance of a false revert that our judge is given.
    pub alpha: f64,
    /// The seed of all cutovers.
    pub seed: u64,
}

impl Plan<'_> {
    /// The chance of one of its cutovers: the same for every judge, another for every cell.
    pub fn chance(&self, cutover: u64) -> Chance {
        let row = self.row.row.bytes().fold(0u64, |sum, byte| sum.wrapping_mul(131).wrapping_add(u64::from(byte)));
        Chance::of(&[self.seed, row, self.rate.to_bits(), self.millis, cutover])
    }

    /// The minute from which on the target is faulty.
    pub fn onset_minute(&self) -> u32 {
        self.row.fault.map_or(0, |fault| fault.from_minute)
    }
}

/// What one judge did in one cutover.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Seconds from the onset of the fault (or the start) to the revert, if there was one after the onset.
    pub reverted_seconds: Option<f64>,
    /// It reverted before the fault had begun.
    pub early: bool,
    /// Requests that the target had from the onset to the revert or the end.
    pub target_requests: u64,
    /// How many more of them failed than would have on the source.
    pub excess_errors: f64,
}

/// The source's record of the 24 hours before the cutover.
pub fn baseline(service: &mut Service<'_>) -> Baseline {
    let minutes: Vec<Block> = (0..BASELINE_MINUTES)
        .map(|_| {
            service.next_minute(None);
            service.block(60_000, 0.0, None)
        })
        .collect();
    Baseline::from_blocks(&minutes, BASELINE_MIN)
}

/// Somebody watching a cutover.
struct Watcher {
    rule: Box<dyn Rule>,
    outcome: Outcome,
    done: bool,
}

/// Runs one cutover; one outcome for each judge, in their order.
pub fn cutover(plan: &Plan<'_>, judges: &[JudgeKind], cutover: u64) -> Vec<Outcome> {
    let mut service = Service::new(plan.row.world, plan.rate, plan.chance(cutover));
    // Drawn even where nobody needs it would cost more than all the rest.
    let needed = judges.iter().any(|judge| judge.needs_baseline());
    let baseline = if needed { baseline(&mut service) } else { Baseline::none() };
    let steps = STEPS.len() as u32;
    let mut watchers: Vec<Watcher> = judges
        .iter()
        .map(|judge| Watcher {
            rule: judge.begin(&baseline, plan.alpha, steps),
            outcome: Outcome::default(),
            done: false,
        })
        .collect();
    let onset = plan.onset_minute();
    for minute in 0..MINUTES {
        let fault = plan.row.fault.filter(|_| minute >= onset);
        service.next_minute(fault);
        let step = (minute / STEP_MINUTES) as usize;
        for part in 0..60_000 / plan.millis {
            let weight = STEPS[step];
            let block = service.block(plan.millis, f64::from(weight) / 1000.0, fault);
            let context = Context {
                new_step: part == 0 && minute.is_multiple_of(STEP_MINUTES),
                weight,
                next_weight: STEPS.get(step + 1).copied(),
                source_live: true,
            };
            let seconds =
                f64::from(minute) * 60.0 + ((part + 1) * plan.millis) as f64 / 1000.0 - f64::from(onset) * 60.0;
            for watcher in watchers.iter_mut().filter(|watcher| !watcher.done) {
                watcher.watch(&block, context, seconds, minute >= onset);
            }
            if watchers.iter().all(|watcher| watcher.done) {
                return watchers.into_iter().map(|watcher| watcher.outcome).collect();
            }
        }
    }
    watchers.into_iter().map(|watcher| watcher.outcome).collect()
}

impl Watcher {
    fn watch(&mut self, block: &Block, context: Context, seconds: f64, begun: bool) {
        if begun {
            let (source, target) = (&block.source, &block.target);
            self.outcome.target_requests += target.requests;
            if source.requests > 0 {
                let usual = source.errors() as f64 / source.requests as f64;
                self.outcome.excess_errors += target.errors() as f64 - usual * target.requests as f64;
            }
        }
        if self.rule.reverts(block, &context) {
            self.done = true;
            self.outcome.early = !begun;
            self.outcome.reverted_seconds = begun.then_some(seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::rows;
    use super::*;

    fn run(row: &str, rate: f64, millis: u64, judges: &[JudgeKind]) -> Vec<Outcome> {
        let rows = rows(row).unwrap();
        let plan = Plan { row: &rows[0], rate, millis, alpha: 0.05, seed: 3 };
        cutover(&plan, judges, 0)
    }

    #[test]
    fn a_total_outage_is_seen_by_every_judge_when_its_rule_says_so() {
        // Flagger: five failed minutes. Argo: the fourth failed measurement of five minutes. Kayenta: its first look.
        let outcomes = run("total-outage", 50.0, 60_000, &JudgeKind::ALL);
        let minutes = outcomes.iter().map(|outcome| outcome.reverted_seconds.unwrap() / 60.0).collect::<Vec<f64>>();
        assert!(minutes[0] <= 2.0 && minutes[1] <= 2.0, "{minutes:?}");
        assert_eq!(minutes[2..], [5.0, 5.0, 5.0, 20.0]);
        assert!(outcomes[5].excess_errors > outcomes[0].excess_errors);
    }

    #[test]
    fn a_late_fault_is_counted_from_its_onset() {
        let outcome = run("total-outage-from-min-33", 50.0, 10_000, &[JudgeKind::Ours])[0];
        assert!(outcome.reverted_seconds.unwrap() <= 60.0 && !outcome.early, "{outcome:?}");
        assert!(outcome.target_requests < 60 * 50);
    }

    #[test]
    fn a_cutover_is_its_seed() {
        let judges = [JudgeKind::Ours, JudgeKind::Kayenta];
        assert_eq!(run("p99-x1.5", 50.0, 60_000, &judges), run("p99-x1.5", 50.0, 60_000, &judges));
        // A judge sees the same service whoever watches beside it.
        let alone = run("total-outage", 50.0, 60_000, &[JudgeKind::Ours])[0];
        assert_eq!(run("total-outage", 50.0, 60_000, &[JudgeKind::Ours, JudgeKind::Argo])[0], alone);
    }
}
