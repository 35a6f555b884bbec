//! What the operator came for: can the source be taken offline? Yes or no, on what evidence, in what order.
//!
//! The answer is read off the journal and nothing else. It is no unless every point of the evidence holds: whoever takes
//! a cluster offline on our word cannot put it back.

use cutover::policy::DrainTimeout;
use cutover::{Cutover, Phase, Share};
use serde::Serialize;

use crate::screen::format;

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Whether the source can be taken offline.
    pub yes: bool,
    /// The answer in one sentence.
    pub sentence: String,
    /// What it rests on, point by point.
    pub evidence: Vec<Point>,
    /// What to do, in this order.
    pub order: Vec<String>,
}

/// One point of the evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Point {
    /// Whether it speaks for a yes.
    pub holds: bool,
    /// What was seen, with the numbers.
    pub text: String,
}

/// The answer for a cutover as its journal left it.
pub fn answer(cutover: &Cutover) -> Answer {
    let evidence = evidence(cutover);
    let yes = evidence.iter().all(|point| point.holds);
    let service = &cutover.policy.service;
    let sentence = match (&cutover.phase, yes) {
        (_, true) => format!("Yes: the source of {service} can be taken offline."),
        (Phase::Reverted, false) => {
            format!("No: {service} was reverted, and its source carries the traffic.")
        }
        (Phase::Stuck { .. } | Phase::Reverting { .. }, false) => {
            format!("No: a revert of {service} is not confirmed; both sides may carry traffic.")
        }
        (Phase::Aborted, false) => format!("No: the cutover of {service} was ended before it was done."),
        (_, false) => format!("No: what follows does not show that nobody needs the source of {service}."),
    };
    Answer { yes, sentence, order: order(cutover, yes), evidence }
}

fn evidence(cutover: &Cutover) -> Vec<Point> {
    let point = |holds, text: String| Point { holds, text };
    let ended = match &cutover.phase {
        Phase::Done => point(true, "the cutover went through every step and is done".to_owned()),
        phase => point(false, format!("the cutover is `{}`, not done: {}", phase.name(), cutover.reason.text)),
    };
    let configured = match &cutover.configured {
        Some(reading) if reading.share == Share::ALL && reading.disagreeing.is_empty() => {
            point(true, format!("the balancer gives the target 100 % (read at {})", reading.begun))
        }
        Some(reading) if reading.disagreeing.is_empty() => {
            point(false, format!("the balancer gives the target {} (read at {})", reading.share, reading.begun))
        }
        Some(reading) => {
            point(false, format!("not all proxies have the share: {} do not", reading.disagreeing.join(", ")))
        }
        None => point(false, "the balancer has not been read".to_owned()),
    };
    let silent = cutover.evidence.source_silent;
    let quiet = cutover.policy.drain.quiet;
    let drained = if silent >= quiet && cutover.phase == Phase::Done {
        let text = format!(
            "the source had no request for {} up to {} (the policy asks for {})",
            format::duration(silent),
            cutover.evidence.counted_to,
            format::duration(quiet)
        );
        point(true, text)
    } else {
        let explained = match cutover.policy.drain.on_timeout {
            DrainTimeout::Accept if cutover.phase == Phase::Done => {
                "; the policy accepted what still came: find out who sends it before anything is switched off"
            }
            DrainTimeout::Accept | DrainTimeout::Hold | DrainTimeout::Revert => "",
        };
        let text = format!(
            "the source was without a request for {} only, where the policy asks for {}{explained}",
            format::duration(silent),
            format::duration(quiet)
        );
        point(false, text)
    };
    let closed = match &cutover.closed {
        Some(order) => format!("closed by {}: {}", order.actor, order.reason),
        None => "not closed yet: `tidegate revert` still works, and needs the source".to_owned(),
    };
    // Not closed is no reason for a no: closing is the first thing to do.
    vec![ended, configured, drained, point(true, closed)]
}

fn order(cutover: &Cutover, yes: bool) -> Vec<String> {
    let service = &cutover.policy.service;
    let source = cutover.policy.source.endpoints.join(", ");
    if yes {
        let mut order = vec![
            "Take a last snapshot of the source, and check that it can be restored.".to_owned(),
            format!(
                "Stop whatever still writes to or reads from {source} directly: replication, replay, jobs, dashboards."
            ),
        ];
        if cutover.closed.is_none() {
            order.push(format!(
                "Run `tidegate close {service} --reason ...`: after this nothing can be reverted any more."
            ));
        }
        order.push("Take the source out of the proxies' configuration, so that no retry can reach it.".to_owned());
        order.push(format!("Stop the nodes of {source}; keep their disks until the snapshot has been restored once."));
        return order;
    }
    match &cutover.phase {
        Phase::Done => vec![
            "Find out who still sends requests to the source (its own access log names them).".to_owned(),
            format!("Move them, then run `tidegate report {service}` again."),
        ],
        Phase::Reverted => vec![
            "Leave the source running: it carries the traffic.".to_owned(),
            "Replay the writes that only the target has, if the price above is not zero.".to_owned(),
            "Mend the target by what the failed guard or tripwire says, then start a new cutover.".to_owned(),
        ],
        Phase::Stuck { .. } | Phase::Reverting { .. } => vec![
            "Leave both sides running.".to_owned(),
            format!(
                "Read the weights at the balancer, put back the original by hand, then run `tidegate status {service}`."
            ),
        ],
        Phase::Aborted => vec![
            "Leave both sides running: the weight stayed where it was.".to_owned(),
            "Start a new cutover that adopts the weight, or put back the original.".to_owned(),
        ],
        Phase::Pending
        | Phase::Preflight
        | Phase::Baseline
        | Phase::Gated { .. }
        | Phase::Shifting { .. }
        | Phase::Baking { .. }
        | Phase::Draining => {
            vec!["Leave the source running: the cutover is not over.".to_owned(), format!("Next: {}.", cutover.outlook)]
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use cutover::event::Reading;

    use super::*;
    use crate::testing::{START, cutover};

    fn reading(share: Share, disagreeing: &[&str]) -> Arc<Reading> {
        let disagreeing = disagreeing.iter().map(ToString::to_string).collect();
        Arc::new(Reading { share, action: serde_json::Value::Null, begun: START, disagreeing })
    }

    fn done() -> Cutover {
        let mut cutover = cutover("search");
        cutover.phase = Phase::Done;
        cutover.configured = Some(reading(Share::ALL, &[]));
        cutover.evidence.source_silent = cutover.policy.drain.quiet;
        cutover
    }

    /// Proves that a drained, done cutover is a yes, and that closing comes before anything is switched off.
    #[test]
    fn a_drained_source_may_go_offline_after_closing() {
        let answer = answer(&done());
        assert!(answer.yes, "{answer:?}");
        let close = answer.order.iter().position(|step| step.contains("tidegate close")).unwrap();
        let stop = answer.order.iter().position(|step| step.starts_with("Stop the nodes")).unwrap();
        assert!(close < stop);
    }

    /// Proves that each missing point alone makes the answer a no: not done, not all traffic, a proxy that disagrees,
    /// not read, not quiet for long enough.
    #[test]
    fn each_missing_point_is_a_no() {
        let spoil: [fn(&mut Cutover); 6] = [
            |cutover| cutover.phase = Phase::Draining,
            |cutover| cutover.phase = Phase::Reverted,
            |cutover| cutover.configured = Some(reading(Share::NONE, &[])),
            |cutover| cutover.configured = Some(reading(Share::ALL, &["proxy-2"])),
            |cutover| cutover.configured = None,
            |cutover| cutover.evidence.source_silent = Duration::ZERO,
        ];
        for (number, spoil) in spoil.into_iter().enumerate() {
            let mut cutover = done();
            spoil(&mut cutover);
            let answer = answer(&cutover);
            assert!(!answer.yes, "case {number}: {answer:?}");
            assert!(answer.sentence.starts_with("No:"), "{answer:?}");
            assert!(!answer.order.is_empty());
        }
    }
}
