//! Levers: when settings beside the weights are moved, and when they are put back.
//!
//! One thing at a time is asked of the fleet, and each decision that moves a lever holds where it stood, so the journal
//! has that first. What is wanted follows from the phase alone; a restart, an order or a changed policy needs no path of
//! its own. Nothing here holds up a revert: a lever that cannot be moved keeps traffic from rising and does no more.

use std::time::Duration;

use super::turn::Turn;
use super::{bake, preflight};
use crate::command::Command;
use crate::cutover::{Blocker, BlockerKind, Cutover, Phase};
use crate::event::Retry;
use crate::lever::{Lever, LeverAsked, Pulled, Stands};
use crate::policy::Policy;
use crate::units::{Share, Timestamp};

/// How long an answer is waited for. Longer than the shell waits, so that this is a shell that has lost it.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);
/// The pause after an attempt that failed.
pub(super) const PAUSE: Duration = Duration::from_secs(15);
/// When a lever that was let go is looked at again, where an attempt to move it had ended without an answer.
pub(super) const SETTLE: Duration = Duration::from_mins(1);
/// How often the levers are read while traffic may rise: the source may have grown, and the target must too.
pub(super) const READ_EVERY: Duration = Duration::from_mins(5);
/// For how long a target must have had no request after a revert before its tasks are taken away.
pub(super) const SILENT_MIN: Duration = Duration::from_mins(5);
/// How long that is waited for. Then its autoscaling, which has a measure of its own, is put back and its tasks stay.
pub(super) const SILENCE_PATIENCE: Duration = Duration::from_mins(15);
/// After how many failures in a row somebody may close a cutover whose levers are not back.
const FAILURES_MAX: u32 = 3;

/// Whether traffic may still rise, or waits to.
const fn climbs(phase: &Phase) -> bool {
    preflight::checks(phase)
}

/// Whether a lever is to be moved, or to stay moved.
fn wants(cutover: &Cutover, lever: Lever) -> bool {
    let scale = cutover.policy.fleet.scale;
    let reverts = matches!(cutover.phase, Phase::Reverting { .. } | Phase::Stuck { .. });
    let rests = cutover.phase != Phase::Reverted || rested(cutover);
    match lever {
        Lever::ScaleIn => scale && (climbs(&cutover.phase) || reverts || !rests),
        Lever::Count => scale && (climbs(&cutover.phase) || reverts || !rests),
        // The longer a connection may live the earlier it must be told, so before the first step and not with it.
        Lever::KeepAlive => {
            let moves = climbs(&cutover.phase) && !matches!(cutover.phase, Phase::Preflight | Phase::Baseline);
            cutover.policy.shift.keep_alive.is_some() && (moves || reverts)
        }
    }
}

/// Whether a reverted target serves nothing any more, or nobody can tell in good time.
fn rested(cutover: &Cutover) -> bool {
    silent(cutover) || cutover.budgets.phase >= SILENCE_PATIENCE
}

/// Whether a reverted target is known to serve nothing: it is to have nothing, was read to have nothing, and has had no
/// request for a while. Before our first write too: what somebody else has given it since shows in its requests alone.
fn silent(cutover: &Cutover) -> bool {
    let read = cutover.configured.as_ref().is_some_and(|reading| reading.share == Share::NONE);
    cutover.desired == Share::NONE && read && cutover.evidence.target_silent >= SILENT_MIN
}

/// Whether levers are of any concern to this cutover now.
pub(super) fn concerns(cutover: &Cutover) -> bool {
    let levers = &cutover.levers;
    cutover.closed.is_none()
        && (!levers.pulled.is_empty()
            || levers.asked.is_some()
            || Lever::ALL.into_iter().any(|lever| wants(cutover, lever)))
}

/// Where a lever must stand while it is pulled, by how the levers stand; `None` where it may stay.
fn wanted(policy: &Policy, stands: &Stands, lever: Lever) -> Result<Option<u32>, String> {
    match lever {
        Lever::ScaleIn => Ok((stands.scale_in_suspended == Some(false)).then_some(1)),
        Lever::Count => {
            let (Some(source), Some(target)) = (stands.source_count, stands.target_count) else { return Ok(None) };
            if target >= source {
                return Ok(None);
            }
            match stands.count_max {
                Some(most) if most < source => Err(too_few(policy, source, most)),
                _ => Ok(Some(source)),
            }
        }
        Lever::KeepAlive => {
            let lower = |most: &u32| stands.keep_alive.is_some_and(|stands| stands > *most);
            Ok(policy.shift.keep_alive.filter(lower))
        }
    }
}

/// Why the target's service cannot be made as large as the source's, and what to do.
fn too_few(policy: &Policy, source: u32, most: u32) -> String {
    let cluster = policy.fleet.cluster.as_deref().unwrap_or("CLUSTER");
    let service = policy.target.service.as_deref().unwrap_or("SERVICE");
    format!(
        "the source's service has {source} desired tasks, and autoscaling lets the target's have {most} at most: raise \
         that first, by `aws application-autoscaling register-scalable-target --service-namespace ecs \
         --scalable-dimension ecs:service:DesiredCount --resource-id service/{cluster}/{service} --max-capacity {source}`"
    )
}

/// Levers, as blockers of a rise.
pub(super) fn blockers(cutover: &Cutover, blockers: &mut Vec<Blocker>) {
    let levers = &cutover.levers;
    let mut add = |text: String| blockers.push(bake::blocker(BlockerKind::Checks, text));
    let failed = levers.failed.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    for lever in Lever::ALL.into_iter().filter(|lever| wants(cutover, *lever)) {
        let Some(stands) = &levers.stands else {
            add(format!("it is not known yet what must be set before traffic moves{failed}"));
            return;
        };
        match (levers.pulled.get(&lever), wanted(&cutover.policy, stands, lever)) {
            (_, Err(why)) => add(why),
            (Some(_), Ok(Some(wanted))) if lever == Lever::Count => {
                add(format!("not true yet: {}{failed}", lever.told(wanted)));
            }
            (Some(pulled), _) if pulled.set => {}
            (Some(pulled), _) => add(format!("not true yet: {}{failed}", lever.told(pulled.wanted))),
            (None, Ok(Some(wanted))) => add(format!("not true yet: {}{failed}", lever.told(wanted))),
            (None, Ok(None)) => {}
        }
    }
}

/// Why a cutover cannot be closed yet, if it cannot: nobody would put its levers back.
pub(super) fn holds_open(cutover: &Cutover) -> Option<String> {
    let levers = &cutover.levers;
    let lever = levers.pulled.keys().next_back()?;
    if levers.failures >= FAILURES_MAX {
        return None;
    }
    if wants(cutover, *lever) {
        let left = SILENCE_PATIENCE.saturating_sub(cutover.budgets.phase).as_secs();
        return Some(format!(
            "the target's tasks and autoscaling are put back when it has had no request for {} s, and its autoscaling in \
             {left} s at the latest: close it then",
            SILENT_MIN.as_secs()
        ));
    }
    Some("what was set for the cutover is being put back: close it when that is done, in a minute at most".to_owned())
}

/// What is said when a cutover is closed though levers are not back.
pub(super) fn left(cutover: &Cutover) -> String {
    let pulled = cutover.levers.pulled.iter();
    let told = pulled.map(|(lever, pulled)| {
        format!("; NOT PUT BACK: {}, and before the cutover {}", lever.told(pulled.wanted), lever.told(pulled.before))
    });
    told.collect()
}

/// How long until something is due; `None` where nothing is.
pub(super) fn due(cutover: &Cutover) -> Option<Duration> {
    let (levers, waited) = (&cutover.levers, cutover.budgets.lever);
    if !concerns(cutover) {
        return None;
    }
    let waits = [
        levers.asked.is_some().then_some(PATIENCE),
        (levers.failures > 0).then_some(PAUSE),
        levers.settling.then_some(SETTLE),
        climbs(&cutover.phase).then(|| read_every(cutover)),
    ];
    // What is overdue was asked for in this very decision, or waits for something else: it must not make the loop spin.
    let left =
        waits.into_iter().flatten().map(|wait| wait.saturating_sub(waited)).filter(|left| *left > Duration::ZERO);
    Some(left.min().unwrap_or(super::wake::WAKE_MAX))
}

/// How often the levers are read. In preflight somebody waits.
fn read_every(cutover: &Cutover) -> Duration {
    READ_EVERY.min(preflight::check_every(&cutover.phase) * 2)
}

/// Asks for what is due.
pub(super) fn ask(turn: &mut Turn) {
    if !concerns(&turn.next) {
        return;
    }
    if turn.next.levers.asked.is_some() {
        if turn.next.budgets.lever < PATIENCE {
            return;
        }
        failed(turn, Retry::Later, "no answer came");
    }
    let levers = &turn.next.levers;
    let pause = match (levers.failures, levers.settling) {
        (1.., _) => PAUSE,
        (0, true) => SETTLE,
        (0, false) => Duration::ZERO,
    };
    if turn.next.budgets.lever < pause {
        return;
    }
    if let_go(turn) || !climbs(&turn.next.phase) {
        return;
    }
    if pull(turn) {
        return;
    }
    let read = turn.next.levers.stands.is_some() && turn.next.budgets.lever < read_every(&turn.next);
    if !read && Lever::ALL.into_iter().any(|lever| wants(&turn.next, lever)) {
        turn.next.levers.asked = Some(LeverAsked { set: None, at: turn.now });
        turn.next.budgets.lever = Duration::ZERO;
        turn.commands.push(Command::ReadLevers);
    }
}

/// Puts back the last lever that is not wanted any more; whether there was one.
fn let_go(turn: &mut Turn) -> bool {
    for lever in Lever::ALL.into_iter().rev() {
        let Some(pulled) = turn.next.levers.pulled.get(&lever).copied() else { continue };
        if wants(&turn.next, lever) {
            continue;
        }
        // The target's tasks are taken away only where it is known to serve nothing.
        if lever == Lever::Count && !(turn.next.phase == Phase::Reverted && silent(&turn.next)) {
            turn.next.levers.pulled.remove(&lever);
            turn.note("lever_left", format!("{}, and keeps them", lever.told(pulled.wanted)));
            continue;
        }
        let text = format!("put back: {}", lever.told(pulled.before));
        set(turn, lever, Some(pulled.wanted), pulled.before, text);
        return true;
    }
    false
}

/// Moves the first lever that is wanted and does not stand where it shall; whether there was one.
fn pull(turn: &mut Turn) -> bool {
    // Where it stood must be on disk before it is moved.
    let Some(stands) = turn.next.levers.stands.filter(|_| turn.next.journal_writable) else { return false };
    for lever in Lever::ALL {
        if !wants(&turn.next, lever) {
            continue;
        }
        let known = turn.next.levers.pulled.get(&lever).copied();
        let to = match (known, wanted(&turn.next.policy, &stands, lever)) {
            (_, Err(_)) => continue,
            (Some(known), _) if !known.set => known.wanted,
            // A count that somebody has lowered since is raised again: the target may not be smaller while traffic moves.
            (Some(known), Ok(Some(to))) if lever == Lever::Count || to != known.wanted => to,
            (None, Ok(Some(to))) => to,
            (_, Ok(_)) => continue,
        };
        let stood = match lever {
            Lever::ScaleIn => 0,
            Lever::Count => stands.target_count.unwrap_or_default(),
            Lever::KeepAlive => stands.keep_alive.unwrap_or_default(),
        };
        let pulled = Pulled {
            before: known.map_or(stood, |known| known.before),
            wanted: to,
            set: false,
            uncertain: known.is_some_and(|known| known.uncertain),
        };
        turn.next.levers.pulled.insert(lever, pulled);
        let text = format!("for the time of the cutover: {}; before: {}", lever.told(to), lever.told(pulled.before));
        set(turn, lever, None, to, text);
        return true;
    }
    false
}

fn set(turn: &mut Turn, lever: Lever, from: Option<u32>, to: u32, text: String) {
    turn.next.levers.asked = Some(LeverAsked { set: Some((lever, to)), at: turn.now });
    turn.next.budgets.lever = Duration::ZERO;
    turn.commands.push(Command::SetLever { lever, from, to });
    turn.note("lever_moves", text);
}

/// The answer to what was asked at `begun`, or to something earlier.
fn answered(turn: &mut Turn, begun: Timestamp, is: impl Fn(Option<(Lever, u32)>) -> bool) -> bool {
    let ours = turn.next.levers.asked.is_some_and(|asked| begun >= asked.at && begun <= turn.now && is(asked.set));
    if ours {
        let levers = &mut turn.next.levers;
        (levers.asked, levers.failed, levers.failures, levers.settling) = (None, None, 0, false);
        turn.next.budgets.lever = Duration::ZERO;
    } else {
        turn.note("late_lever", "an answer about a setting came late");
    }
    ours
}

/// The levers were read.
pub(super) fn read(turn: &mut Turn, stands: &Stands, begun: Timestamp) {
    if answered(turn, begun, |set| set.is_none()) {
        turn.next.levers.stands = Some(*stands);
    }
}

/// A lever was moved, or was found to be elsewhere: `value` is what was read back.
pub(super) fn moved(turn: &mut Turn, lever: Lever, value: u32, begun: Timestamp) {
    let to = turn.next.levers.asked.and_then(|asked| asked.set).map(|(_, to)| to);
    if !answered(turn, begun, |set| set.is_some_and(|(asked, _)| asked == lever)) {
        return;
    }
    let Some(pulled) = turn.next.levers.pulled.get_mut(&lever) else { return };
    if to == Some(pulled.wanted) && to != Some(pulled.before) {
        let stands = if lever == Lever::Count { value >= pulled.wanted } else { value == pulled.wanted };
        if stands {
            pulled.set = true;
            let text = format!("{}; before the cutover: {}", lever.told(value), lever.told(pulled.before));
            if let Some(stands) = &mut turn.next.levers.stands {
                match lever {
                    Lever::ScaleIn => stands.scale_in_suspended = Some(value != 0),
                    Lever::Count => stands.target_count = Some(value),
                    Lever::KeepAlive => stands.keep_alive = Some(value),
                }
            }
            turn.note("lever_set", text);
        } else {
            let error = format!("it was set and reads back as if not: {}", lever.told(value));
            failed(turn, Retry::Later, &error);
        }
        return;
    }
    let (before, uncertain) = (pulled.before, pulled.uncertain);
    if uncertain {
        // An attempt that nobody heard of again may land after this one, so it is looked at once more.
        pulled.uncertain = false;
        turn.next.levers.settling = true;
    } else {
        turn.next.levers.pulled.remove(&lever);
    }
    if value == before {
        turn.note("lever_back", format!("put back: {}", lever.told(value)));
    } else {
        turn.note("lever_left", format!("someone else has changed it, so it is left: {}", lever.told(value)));
    }
}

/// What was asked failed, or nobody knows.
pub(super) fn failed(turn: &mut Turn, retry: Retry, error: &str) {
    let pulling = turn.next.levers.asked.and_then(|asked| asked.set);
    let levers = &mut turn.next.levers;
    levers.asked = None;
    levers.failures = levers.failures.saturating_add(1);
    levers.failed = Some(error.to_owned());
    if let Some((lever, to)) = pulling
        && let Some(pulled) = levers.pulled.get_mut(&lever)
        && to == pulled.wanted
        && retry == Retry::Later
    {
        pulled.uncertain = true;
    }
    turn.next.budgets.lever = Duration::ZERO;
    turn.note("lever_failed", error.to_owned());
}

/// The daemon came up: what was under way is asked for again, and may have been done.
pub(super) fn restarted(turn: &mut Turn) {
    let levers = &mut turn.next.levers;
    if let Some((lever, to)) = levers.asked.take().and_then(|asked| asked.set)
        && let Some(pulled) = levers.pulled.get_mut(&lever)
        && to == pulled.wanted
    {
        pulled.uncertain = true;
    }
    turn.next.budgets.lever = PATIENCE;
}
