//! Who must know: alert episodes, opened, updated and closed with one id.
//!
//! What is alerted is a function of the state alone; each decision compares it with the episodes that are open. So an
//! alert cannot be forgotten on some path, is never sent twice for one thing, and closes by itself when it is over.

use std::time::Duration;

use super::turn::Turn;
use super::{bake, capture, preflight};
use crate::command::{Alert, Command, Episode, Severity};
use crate::cutover::{BlockerKind, Cutover, GateState, HaltKind, OpenEpisode, Phase};
use crate::event::CheckOutcome;
use crate::policy::GateKind;

/// For how long something must have been unknown before people are told: a single late answer is not news.
pub(super) const UNKNOWN_GRACE: Duration = Duration::from_secs(15);
/// For how long preflight may be in the way before people are told.
pub(super) const PREFLIGHT_GRACE: Duration = Duration::from_secs(15);
/// How often reading or moving a lever must have failed before people are told.
pub(super) const LEVER_FAILURES: u32 = 3;

/// One thing people must know now.
struct Condition {
    topic: &'static str,
    severity: Severity,
    title: String,
    text: String,
}

/// Everything people must know now.
fn conditions(cutover: &Cutover) -> Vec<Condition> {
    let service = &cutover.policy.service;
    let reason = &cutover.reason.text;
    let mut list = Vec::new();
    let mut add = |topic, severity, title: String, text: &str| {
        list.push(Condition { topic, severity, title: format!("{service}: {title}"), text: text.to_owned() });
    };
    if cutover.closed.is_some() {
        return list;
    }
    match cutover.phase {
        Phase::Done => add("outcome", Severity::Info, "cutover done".to_owned(), reason),
        Phase::Reverted => add("outcome", Severity::Warning, "cutover reverted".to_owned(), reason),
        Phase::Aborted => add("outcome", Severity::Warning, "cutover aborted".to_owned(), reason),
        Phase::Reverting { .. } => add("revert", Severity::Critical, "reverting".to_owned(), reason),
        Phase::Stuck { .. } => {
            add("revert", Severity::Critical, "revert STUCK: the original is not confirmed".to_owned(), reason);
        }
        Phase::Preflight if cutover.budgets.phase >= PREFLIGHT_GRACE => {
            if let Some(blocker) = cutover.blockers.first() {
                add("preflight", Severity::Warning, "preflight does not pass".to_owned(), &blocker.text);
            }
        }
        Phase::Gated { .. } | Phase::Shifting { .. } => {
            let waits = cutover.gates.iter().find(|(name, state)| match state {
                GateState::Shut { .. } => true,
                GateState::Asked { .. } => {
                    cutover.policy.gates.iter().any(|gate| gate.name == **name && gate.kind == GateKind::Manual)
                }
                GateState::Open { .. } | GateState::Later { .. } => false,
            });
            if let Some((name, _)) = waits {
                let text = cutover.blockers.iter().find(|blocker| blocker.kind == BlockerKind::Gate);
                let text = text.map_or(reason.as_str(), |blocker| &blocker.text);
                add("gate", Severity::Warning, format!("gate `{name}` waits for a person"), text);
            }
        }
        Phase::Pending | Phase::Preflight | Phase::Baseline | Phase::Baking { .. } | Phase::Draining => {}
    }
    if let Some(halt) = &cutover.halt {
        let (severity, title) = match halt.kind {
            HaltKind::Drift => (Severity::Critical, "someone else changed the weights"),
            HaltKind::Write => (Severity::Critical, "a weight cannot be written"),
            HaltKind::Timeout => (Severity::Warning, "a step ran out of its budget"),
            HaltKind::Start => (Severity::Warning, "the start was refused"),
            HaltKind::Drain => (Severity::Warning, "the source does not fall silent"),
        };
        add("halt", severity, title.to_owned(), &halt.text);
    }
    if let Some(standing) = &cutover.standing {
        let title = match standing.kind {
            crate::cutover::StandingKind::Hold => "held",
            crate::cutover::StandingKind::Pause => "paused",
        };
        add("standing", Severity::Info, format!("{title} by {}", standing.actor), &standing.reason);
    }
    let unknown = cutover.blockers.iter().find(|blocker| blocker.kind.unknown());
    if let Some(blocker) = unknown.filter(|_| {
        cutover.halt.is_none()
            && cutover.phase != Phase::Preflight
            && cutover.budgets.unknown >= UNKNOWN_GRACE.max(cutover.policy.shift.interval * 2)
    }) {
        add("unknown", Severity::Warning, "holding: something is unknown".to_owned(), &blocker.text);
    }
    if let Some((title, text)) = uncaptured(cutover) {
        add("capture", Severity::Critical, title, &text);
    }
    let levers = &cutover.levers;
    let matters = levers.failures >= LEVER_FAILURES && (!cutover.ended() || !levers.pulled.is_empty());
    if let Some(error) = levers.failed.as_ref().filter(|_| matters) {
        let (severity, title) = if cutover.ended() {
            (Severity::Critical, "a setting that was changed for the cutover cannot be put back")
        } else {
            (Severity::Warning, "a setting that the policy asks for cannot be changed")
        };
        add("levers", severity, title.to_owned(), error);
    }
    let ended = cutover.ended() || cutover.phase == Phase::Pending;
    if !cutover.journal_writable && !ended {
        add("journal", Severity::Critical, "the journal cannot be written; nothing rises".to_owned(), reason);
    }
    if let Some(change) = &cutover.policy_change
        && !ended
    {
        add("policy", Severity::Info, "the policy file was changed; the cutover keeps its own".to_owned(), change);
    }
    list
}

/// What is wrong with the capture that a cutover relies on, while it is looked at. What could not be found out is no news at
/// once; a preflight that does not pass is told as that.
fn uncaptured(cutover: &Cutover) -> Option<(String, String)> {
    let looked_at = preflight::checks(&cutover.phase) && cutover.phase != Phase::Preflight;
    if !looked_at || !capture::relies(cutover) {
        return None;
    }
    let lasts = cutover.budgets.uncaptured >= UNKNOWN_GRACE;
    let wrong: Vec<_> = capture::wrong(cutover).collect();
    if !lasts && wrong.iter().all(|check| check.outcome != CheckOutcome::Fail) {
        return None;
    }
    let names: Vec<&str> = wrong.iter().map(|check| check.name.as_str()).collect();
    let texts: Vec<String> = wrong.iter().map(|check| bake::told(check)).collect();
    let title = format!("capture is not whole, so no writes are moved: {}", names.join(", "));
    (!wrong.is_empty()).then(|| (title, texts.join("; ")))
}

/// Sends what changed.
pub(super) fn sync(turn: &mut Turn) {
    let conditions = conditions(&turn.next);
    let over: Vec<String> = turn
        .next
        .episodes
        .keys()
        .filter(|topic| conditions.iter().all(|condition| condition.topic != topic.as_str()))
        .cloned()
        .collect();
    for topic in over {
        if let Some(open) = turn.next.episodes.remove(&topic) {
            let text = turn.next.reason.text.clone();
            turn.commands.push(Command::Alert(Alert { change: Episode::Closed, text, ..open.alert }));
        }
    }
    for condition in conditions {
        let open = turn.next.episodes.get(condition.topic);
        // Texts hold numbers that change each second; only a new title is news.
        if open.is_some_and(|open| open.alert.title == condition.title && open.alert.severity == condition.severity) {
            continue;
        }
        let (episode, change, worst) = if let Some(open) = open {
            (open.alert.episode.clone(), Episode::Updated, open.worst.max(condition.severity))
        } else {
            turn.next.episodes_opened = turn.next.episodes_opened.saturating_add(1);
            let episode = format!("{}/{}/{}", turn.next.id, condition.topic, turn.next.episodes_opened);
            (episode, Episode::Opened, condition.severity)
        };
        let alert =
            Alert { episode, change, severity: condition.severity, title: condition.title, text: condition.text };
        turn.next.episodes.insert(condition.topic.to_owned(), OpenEpisode { alert: alert.clone(), worst });
        turn.commands.push(Command::Alert(alert));
    }
}
