//! Many simulated cutovers, and what they come to.
//!
//! Every cutover has a seed of its own, made of the run's seed and its number alone, so that the same run comes to the
//! same figures on any number of threads, and a healthy and a faulty target, or two policies, meet the same traffic.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use cutover::baseline::Given;
use cutover::policy::Policy;
use serde::Serialize;

use super::chance::seed_of;
use super::fault::Fault;
use super::service::Service;
use super::traffic::Setting;
use super::world::{By, Case, End, Tale, live};
use crate::screen::format;

/// The most cutovers of one run: more would take hours and tell nothing new.
pub const CUTOVERS_MAX: u32 = 100_000;
/// The most faults of one run.
pub const FAULTS_MAX: usize = 50;
/// How often whoever waits is told how far it is.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// How much is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Cutovers with a healthy target, for each policy.
    pub healthy: u32,
    /// Cutovers with each fault, for each policy.
    pub faulty: u32,
    /// Decides all chance.
    pub seed: u64,
    /// How many threads work.
    pub threads: usize,
}

/// How many out of how many, and between which shares (0 to 1) the truth lies, with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Portion {
    /// How many.
    pub count: u64,
    /// Out of how many.
    pub of: u64,
    /// The share of them; `None` out of none.
    pub share: Option<f64>,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
}

/// One in ten is below `p10`, half below `median`, and one in ten above `p90`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The 10 % quantile.
    pub p10: f64,
    /// The middle.
    pub median: f64,
    /// The 90 % quantile.
    pub p90: f64,
}

/// One step of the ladder, with a healthy target.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepTold {
    /// The target's share.
    pub share: String,
    /// How many cutovers it passed.
    pub passed: u64,
    /// How many stayed on it and called a person.
    pub held: u64,
    /// How long it lasted where it passed, in seconds, waits for change windows included.
    pub seconds: Option<Spread>,
}

/// What became of a healthy target.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Healthy {
    /// Went through.
    pub done: Portion,
    /// Were reverted, by the judge or a tripwire, though nothing was wrong.
    pub false_reverts: Portion,
    /// Were reverted because nothing could be proven in time.
    pub gave_up: Portion,
    /// Stayed on a step and called a person, because nothing could be proven in time.
    pub held: Portion,
    /// Were not over after two weeks.
    pub unfinished: Portion,
    /// What decided the false reverts, and how often.
    pub reverted_by: BTreeMap<&'static str, u64>,
    /// The reason of the first false revert, in the words of its dossier.
    pub revert_example: Option<String>,
    /// The reason of the first that stayed, in the words of its dossier.
    pub held_example: Option<String>,
    /// From start to done, in seconds.
    pub seconds: Option<Spread>,
    /// How much of that was waiting for change windows.
    pub waiting_seconds: Option<Spread>,
    /// Step by step.
    pub steps: Vec<StepTold>,
    /// How long each one took that went through, in seconds, ascending; for charts.
    #[serde(skip)]
    pub durations: Vec<f64>,
}

/// What became of a faulty target.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Faulty {
    /// The fault, as it is written on the command line.
    pub fault: Fault,
    /// The same in words.
    pub words: String,
    /// Cutovers that had the fault; the others ended before it came.
    pub met: u64,
    /// Were reverted by the judge or a tripwire.
    pub detected: Portion,
    /// Stayed on a step, or were reverted for want of proof.
    pub stopped: Portion,
    /// Went through, or were not over after two weeks.
    pub missed: Portion,
    /// From the fault to the decision to revert, in seconds.
    pub seconds: Option<Spread>,
    /// The target's share when that was decided, in per mille.
    pub share_at_revert: Option<Spread>,
    /// Answers that the fault spoiled, of all cutovers that had it, until the original was back or the cutover ended.
    pub bad_answers: Option<Spread>,
    /// What decided the reverts, and how often.
    pub reverted_by: BTreeMap<&'static str, u64>,
    /// The delay of each revert in seconds, ascending; for charts.
    #[serde(skip)]
    pub delays: Vec<f64>,
}

/// What one policy came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Study {
    /// With a healthy target.
    pub healthy: Healthy,
    /// With each fault.
    pub faults: Vec<Faulty>,
}

/// One of the cutovers of a run.
struct Job {
    case: usize,
    number: u64,
}

/// A policy as it is simulated.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The policy.
    pub policy: Arc<Policy>,
    /// The recorded baseline that its cutovers take along, as with `start --baseline`; `None` where they record one of
    /// their own at the start.
    pub given: Option<Arc<Given>>,
    /// The service as far as the policy judges it.
    pub service: Arc<Service>,
}

/// Simulates each policy on its service, healthy and with each fault. `tell` hears how many of how many are done.
pub fn study(subjects: &[Subject], faults: &[Fault], extent: Extent, tell: &mut dyn FnMut(usize, usize)) -> Vec<Study> {
    let mut cases = Vec::new();
    for Subject { policy, given, service } in subjects {
        for fault in std::iter::once(None).chain(faults.iter().copied().map(Some)) {
            let setting = Setting::new(service, &policy.tripwires, &policy.guards, fault);
            let (policy, given) = (Arc::clone(policy), given.clone());
            cases.push(Case { policy, given, setting, fault, core: cutover::decide });
        }
    }
    let tales = tales(&cases, extent, tell);
    subjects
        .iter()
        .zip(tales.chunks(faults.len() + 1))
        .map(|(subject, tales)| Study {
            healthy: healthy(&subject.policy, &tales[0]),
            faults: faults.iter().zip(&tales[1..]).map(|(fault, tales)| faulty(*fault, tales)).collect(),
        })
        .collect()
}

/// Lives through the cutovers of every case, in the order of their numbers.
pub(super) fn tales(cases: &[Case<'_>], extent: Extent, tell: &mut dyn FnMut(usize, usize)) -> Vec<Vec<Tale>> {
    let jobs: Vec<Job> = cases
        .iter()
        .enumerate()
        .flat_map(|(case, Case { fault, .. })| {
            let count = if fault.is_none() { extent.healthy } else { extent.faulty };
            (0..u64::from(count)).map(move |number| Job { case, number })
        })
        .collect();
    let next = AtomicUsize::new(0);
    let mut found: Vec<Option<Tale>> = vec![None; jobs.len()];
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..extent.threads.clamp(1, jobs.len().max(1)) {
            let (sender, jobs, next) = (sender.clone(), &jobs, &next);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(index) else { return };
                    let tale = live(&cases[job.case], seed_of(extent.seed, job.number));
                    // Who collects is gone only when this is being torn down.
                    if sender.send((index, tale)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut done = 0;
        tell(done, jobs.len());
        loop {
            match receiver.recv_timeout(TELL_EVERY) {
                Ok((index, tale)) => {
                    found[index] = Some(tale);
                    done += 1;
                    // The rest of what is there already: the screen need not be told of each.
                    for (index, tale) in receiver.try_iter() {
                        found[index] = Some(tale);
                        done += 1;
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
            tell(done, jobs.len());
        }
    });
    let mut tales: Vec<Vec<Tale>> = cases.iter().map(|_| Vec::new()).collect();
    for (job, tale) in jobs.iter().zip(found) {
        tales[job.case].extend(tale);
    }
    tales
}

/// What the healthy cutovers of a policy came to.
fn healthy(policy: &Policy, tales: &[Tale]) -> Healthy {
    let count = |is: &dyn Fn(&End) -> bool| portion(tales.iter().filter(|tale| is(&tale.end)).count(), tales.len());
    let by_patience = |end: &End| matches!(end, End::Reverted(back) if back.by == By::Patience);
    let falsely = |end: &End| matches!(end, End::Reverted(back) if back.by != By::Patience);
    let done = || tales.iter().filter(|tale| tale.end == End::Done);
    let seconds = |of: &dyn Fn(&Tale) -> Duration| ascending(done().map(|tale| of(tale).as_secs_f64()));
    let durations = seconds(&|tale| tale.took);
    let held = |end: &End| match end {
        End::Held { step, why } => Some((*step, why.clone())),
        _ => None,
    };
    let steps = policy.shift.steps.iter().enumerate().map(|(index, share)| {
        let lasted = ascending(tales.iter().filter_map(|tale| Some(tale.steps.get(index)?.as_ref()?.as_secs_f64())));
        StepTold {
            share: share.to_string(),
            passed: lasted.len() as u64,
            held: tales.iter().filter_map(|tale| held(&tale.end)).filter(|(step, _)| *step == index).count() as u64,
            seconds: spread(&lasted),
        }
    });
    Healthy {
        done: count(&|end| *end == End::Done),
        false_reverts: count(&falsely),
        gave_up: count(&by_patience),
        held: count(&|end| matches!(end, End::Held { .. })),
        unfinished: count(&|end| *end == End::Unfinished),
        reverted_by: by(tales),
        revert_example: tales.iter().find_map(|tale| match &tale.end {
            End::Reverted(back) if back.by != By::Patience => Some(back.why.clone()),
            _ => None,
        }),
        held_example: tales.iter().find_map(|tale| held(&tale.end)).map(|(_, why)| why),
        seconds: spread(&durations),
        waiting_seconds: spread(&seconds(&|tale| tale.waited)),
        steps: steps.collect(),
        durations,
    }
}

/// What the cutovers with one fault came to.
fn faulty(fault: Fault, tales: &[Tale]) -> Faulty {
    let met: Vec<Tale> = tales.iter().filter(|tale| tale.met).cloned().collect();
    let backs = || {
        met.iter().filter_map(|tale| match &tale.end {
            End::Reverted(back) if back.by != By::Patience => Some(back),
            _ => None,
        })
    };
    let count = |is: &dyn Fn(&End) -> bool| portion(met.iter().filter(|tale| is(&tale.end)).count(), met.len());
    let delays = ascending(backs().filter_map(|back| Some(back.delay?.as_secs_f64())));
    Faulty {
        fault,
        words: fault.words(),
        met: met.len() as u64,
        detected: portion(backs().count(), met.len()),
        stopped: count(&|end| match end {
            End::Held { .. } => true,
            End::Reverted(back) => back.by == By::Patience,
            End::Done | End::Unfinished => false,
        }),
        missed: count(&|end| matches!(end, End::Done | End::Unfinished)),
        seconds: spread(&delays),
        share_at_revert: spread(&ascending(backs().map(|back| f64::from(back.share.reads.per_mille())))),
        bad_answers: spread(&ascending(met.iter().map(|tale| tale.spoiled as f64))),
        reverted_by: by(&met),
        delays,
    }
}

/// What decided the reverts, and how often.
fn by(tales: &[Tale]) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for tale in tales {
        let End::Reverted(back) = &tale.end else { continue };
        let name = match back.by {
            By::Guard(guard) => format::guard(guard),
            By::Judge => "judge",
            By::Tripwire => "tripwire",
            By::Patience => continue,
        };
        *counts.entry(name).or_default() += 1;
    }
    counts
}

fn ascending(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The spread of ascending values; `None` of none.
fn spread(values: &[f64]) -> Option<Spread> {
    let last = values.len().checked_sub(1)?;
    let at = |q: f64| values[((last as f64) * q).round() as usize];
    Some(Spread { p10: at(0.1), median: at(0.5), p90: at(0.9) })
}

/// A share with its interval at 95 % (Wilson 1927), which is sound near 0 and 1, where these shares lie.
pub(super) fn portion(count: usize, of: usize) -> Portion {
    /// The 97.5 % quantile of the normal distribution.
    const Z: f64 = 1.959_963_984_540_054;
    let (k, n) = (count as f64, of as f64);
    if of == 0 {
        return Portion { count: 0, of: 0, share: None, low: 0.0, high: 1.0 };
    }
    let share = k / n;
    let middle = (share + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    // At the ends the formula is exact up to rounding.
    let low = if count == 0 { 0.0 } else { (middle - half).max(0.0) };
    let high = if count == of { 1.0 } else { (middle + half).min(1.0) };
    Portion { count: count as u64, of: of as u64, share: Some(share), low, high }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves the interval against published values: 10 of 100 lie within 5.5 % and 17.4 % (Newcombe 1998), 0 of 1,000
    /// below 0.38 %.
    #[test]
    fn a_share_comes_with_its_interval() {
        let ten = portion(10, 100);
        assert!((ten.low - 0.0552).abs() < 1e-4 && (ten.high - 0.1744).abs() < 1e-4, "{ten:?}");
        let none = portion(0, 1_000);
        assert!(none.low == 0.0 && (none.high - 0.003_826).abs() < 1e-5, "{none:?}");
        assert_eq!((portion(7, 7).high, portion(0, 0).share), (1.0, None));
    }

    /// Proves that quantiles are values that were seen.
    #[test]
    fn a_spread_is_made_of_what_was_seen() {
        let spread = |values: &[f64]| spread(values).map(|s| (s.p10, s.median, s.p90));
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[3.0]), Some((3.0, 3.0, 3.0)));
        let values: Vec<f64> = (0..=10).map(f64::from).collect();
        assert_eq!(spread(&values), Some((1.0, 5.0, 9.0)));
    }
}
