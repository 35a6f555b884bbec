//! Cutovers whose steps the evidence opens: how long a healthy one takes, and how soon a faulty one is found.
//!
//! The ladder is the fixed one's; a step ends when the judge says *pass*. One that does not pass for an hour goes on all
//! the same if there is no suspicion, as the prototype's runs did, so that the tables can be compared (Tidegate's own
//! policies hold and alert); after six hours the run ends as it is.

use judge::{Context, Verdict};

use super::cell::on_every_core;
use super::rule::{Ours, Rule};
use super::run::{Plan, STEPS, baseline};
use super::service::Service;

/// How long a step waits for its proof, in minutes.
const STEP_MINUTES_MAX: u32 = 60;
/// How long a cutover may take, in minutes.
const MINUTES_MAX: u32 = 360;

/// How one cutover ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    /// All steps passed, after so many seconds.
    Done(f64),
    /// Reverted, so many seconds after the onset of the fault (or the start); negative before it.
    Reverted(f64),
    /// Neither, when time was up.
    Open,
}

/// What many cutovers came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Closed {
    /// How many.
    pub cutovers: u64,
    /// How many were reverted after the onset of the fault, or at all where there is none.
    pub reverted: u64,
    /// Median of the seconds until then.
    pub median_seconds: Option<f64>,
    /// How many came to the end of the ladder.
    pub done: u64,
    /// Median and 90 % quantile of the seconds that all took to their end; `None` where the quantile never came to one.
    pub done_seconds: [Option<f64>; 2],
    /// How many more of the target's requests failed than would have on the source, per cutover.
    pub excess_errors: f64,
}

/// Runs one cutover to its end.
fn cutover(plan: &Plan<'_>, index: u64) -> (End, f64) {
    let mut service = Service::new(plan.row.world, plan.rate, plan.chance(index));
    let baseline = baseline(&mut service);
    let mut ours = Ours::new(baseline, plan.alpha, STEPS.len() as u32);
    let onset = plan.onset_minute();
    let (mut step, mut step_millis, mut excess) = (0usize, 0u64, 0.0);
    for minute in 0..MINUTES_MAX {
        let fault = plan.row.fault.filter(|_| minute >= onset);
        service.next_minute(fault);
        for part in 1..=60_000 / plan.millis {
            let weight = STEPS[step];
            let context = Context {
                new_step: step_millis == 0,
                weight,
                next_weight: STEPS.get(step + 1).copied(),
                source_live: true,
            };
            let block = service.block(plan.millis, f64::from(weight) / 1000.0, fault);
            step_millis += plan.millis;
            let (source, target) = (&block.source, &block.target);
            if source.requests > 0 {
                excess +=
                    target.errors() as f64 - source.errors() as f64 / source.requests as f64 * target.requests as f64;
            }
            let seconds = f64::from(minute) * 60.0 + (part * plan.millis) as f64 / 1000.0;
            if ours.reverts(&block, &context) {
                return (End::Reverted(seconds - f64::from(onset) * 60.0), excess);
            }
            let judge = ours.judge();
            let late = step_millis >= u64::from(STEP_MINUTES_MAX) * 60_000;
            let unsuspected = judge.engine().log_evidence() < judge.guards().pass.suspicion_max.ln();
            if judge.proven() == Verdict::Pass || late && unsuspected {
                (step, step_millis) = (step + 1, 0);
                if step == STEPS.len() {
                    return (End::Done(seconds), excess);
                }
            }
        }
    }
    (End::Open, excess)
}

/// The `q` quantile of what all took, those that never ended counted as the longest.
fn quantile(seconds: &[f64], q: f64) -> Option<f64> {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len() as f64 * q).ceil() as usize).max(1) - 1;
    sorted.get(at).copied().filter(|seconds| seconds.is_finite())
}

/// Runs `cutovers` cutovers of a plan on every core.
pub fn run(plan: &Plan<'_>, cutovers: u64) -> Closed {
    let ends = on_every_core(cutovers, |index| cutover(plan, index));
    let reverts: Vec<f64> = ends
        .iter()
        .filter_map(|(end, _)| if let End::Reverted(seconds) = end { Some(*seconds) } else { None })
        .filter(|seconds| *seconds > 0.0)
        .collect();
    // A reverted cutover says nothing about how long a ladder takes.
    let took: Vec<f64> = ends
        .iter()
        .filter_map(|(end, _)| match end {
            End::Done(seconds) => Some(*seconds),
            End::Open => Some(f64::INFINITY),
            End::Reverted(_) => None,
        })
        .collect();
    Closed {
        cutovers,
        reverted: reverts.len() as u64,
        median_seconds: quantile(&reverts, 0.5),
        done: took.iter().filter(|seconds| seconds.is_finite()).count() as u64,
        done_seconds: [0.5, 0.9].map(|q| quantile(&took, q)),
        excess_errors: ends.iter().map(|(_, excess)| excess).sum::<f64>() / ends.len().max(1) as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::rows;
    use super::*;

    #[test]
    fn a_healthy_target_climbs_and_a_bad_one_does_not() {
        let run = |row: &str| {
            let rows = rows(row).unwrap();
            run(&Plan { row: &rows[0], rate: 500.0, millis: 60_000, alpha: 0.05, seed: 2 }, 2)
        };
        let healthy = run("latency-jitter-gc");
        assert_eq!((healthy.done, healthy.reverted), (2, 0));
        // Six steps of three minutes at least, and a last one of ten.
        assert!(healthy.done_seconds[0].unwrap() >= 28.0 * 60.0, "{healthy:?}");
        let faulty = run("5xx-.1-1");
        assert_eq!((faulty.done, faulty.reverted), (0, 2));
        assert!(faulty.median_seconds.unwrap() <= 600.0);
    }
}
