//! What a reroute does next, from what is on record and what was seen: a pure function, so that each of its stages can be
//! tried out, and a program that was killed goes on where the world is and not where it thinks that it was.
//!
//! Nothing that was written is believed before it is seen. A write whose answer was lost is made again if what stands is
//! still what stood before; if it is neither that nor what was wanted, somebody else is at work, and a person decides.

use std::time::Duration;

use cutover::{Policy, Timestamp};

use super::judged::{self, Finding};
use super::record::{Record, Stage, Switched, Way};
use super::weigh;
use crate::aws::action::{self, Action};

/// How long a new target group may take until the load balancer in it is healthy.
pub const HEALTHY_MAX: Duration = Duration::from_mins(10);

/// How the load balancer in the new target group is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It is not registered.
    Absent,
    /// AWS has not made up its mind; in AWS's words.
    Waiting(String),
    /// It takes connections.
    Well,
    /// It does not; in AWS's words.
    Ill(String),
}

/// The target group by the name on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenGroup {
    /// Its ARN.
    pub arn: String,
    /// Why it cannot be ours; `None` if it can.
    pub misfit: Option<String>,
    /// How its target is.
    pub health: Health,
}

/// The listener on the port on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenListener {
    /// Its ARN.
    pub arn: String,
    /// Whether it leads to the target group on record and nowhere else.
    pub ours: bool,
}

/// What is known of the old path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OldPath {
    /// Nothing came by it for long enough; until when that is known.
    Quiet(Timestamp),
    /// It is still in use, or that is not known; in words.
    Busy(String),
}

/// What a name resolves to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolves {
    /// To the load balancer alone.
    Here,
    /// Elsewhere, or nobody knows; in words.
    Elsewhere(String),
}

/// What was seen just now. Only what a stage asks for is filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The actions of the live listener; `None` where there is none.
    pub live: Option<Vec<Action>>,
    /// Whether the weighted listener sends everything to the source.
    pub all_source: bool,
    /// The target group by the name on record.
    pub group: Option<SeenGroup>,
    /// The listener on the port on record.
    pub listener: Option<SeenListener>,
    /// The request through the new path, if it was made in this run.
    pub smoke: Option<Result<String, String>>,
    /// What the minutes since the last step prove.
    pub finding: Finding,
    /// What is known of the old path.
    pub old: OldPath,
    /// For how long the new path had no request; `None` where it had some, or nobody knows.
    pub new_quiet: Option<Duration>,
    /// What the name resolves to.
    pub resolves: Resolves,
}

/// What to do. Everything may be done again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Do {
    /// Make the target group.
    MakeGroup,
    /// Put the load balancer into it.
    Register(String),
    /// Make the listener that leads to it.
    MakeListener(String),
    /// Ask through the new path.
    Smoke,
    /// Give the new target group so much of the new connections: in percent, as a list of actions.
    Write(u8, Vec<Action>),
    /// Take the old target groups out of the live listener, as a list of actions.
    Alone(Vec<Action>),
    /// The last write is seen to stand.
    Confirm,
    /// Put the recorded original back.
    Restore(Vec<Action>),
    /// The original is seen to be back.
    Restored,
    /// Take the listener away.
    DeleteListener(String),
    /// Take the load balancer out of the target group.
    Deregister(String),
    /// Take the target group away.
    DeleteGroup(String),
    /// Go to a stage, for a reason.
    Go(Stage, String),
    /// Everything goes through the proxy, and did at that time.
    Complete(Timestamp),
    /// Look again later; what is waited for.
    Wait(String),
    /// A person has to say `advance`.
    Ask,
    /// A person has to mend something; nothing is done until then.
    Stop(String),
    /// It has ended.
    End,
}

fn go(stage: Stage, why: impl Into<String>) -> Do {
    Do::Go(stage, why.into())
}

/// What comes next.
pub fn next(record: &Record, seen: &Seen, policy: &Policy, now: Timestamp) -> Do {
    match record.stage {
        Stage::Preparing => preparing(record, seen, now),
        Stage::Testing => testing(record, seen),
        Stage::Switching => switching(record, seen, policy, now),
        Stage::Leaving => leaving(record, seen, policy, now),
        Stage::CleaningUp => cleaning_up(record, seen),
        Stage::Complete | Stage::Reverted | Stage::Undone => Do::End,
        Stage::Reverting => {
            back(record, seen, policy, now).unwrap_or_else(|| go(Stage::Reverted, "the original is back"))
        }
        Stage::Undoing => undoing(record, seen, policy, now),
    }
}

const NOT_ALL_SOURCE: &str = "the weighted listener does not send everything to the source: a client that is brought to it \
                              now would write to the target; put it back to 100 % source first";

fn preparing(record: &Record, seen: &Seen, now: Timestamp) -> Do {
    if !seen.all_source {
        return Do::Stop(NOT_ALL_SOURCE.to_owned());
    }
    if record.way != Way::Dns {
        let Some(group) = &seen.group else { return Do::MakeGroup };
        if let Some(misfit) = &group.misfit {
            return Do::Stop(format!("the target group `{}` is not ours: {misfit}", record.group_name));
        }
        if group.health == Health::Absent {
            return Do::Register(group.arn.clone());
        }
        match &seen.listener {
            None => return Do::MakeListener(group.arn.clone()),
            Some(listener) if !listener.ours => {
                return Do::Stop(format!(
                    "port {} of the NLB has a listener of somebody else; name another by --port",
                    record.new_port
                ));
            }
            Some(_) => {}
        }
        match &group.health {
            Health::Well => {}
            Health::Waiting(why) | Health::Ill(why) if now.since(record.stage_since) > HEALTHY_MAX => {
                return Do::Stop(format!(
                    "the load balancer is not healthy in its target group after {} minutes: {why}",
                    HEALTHY_MAX.as_secs() / 60
                ));
            }
            Health::Absent | Health::Waiting(_) | Health::Ill(_) => {
                return Do::Wait("the load balancer to be healthy in the new target group".to_owned());
            }
        }
    }
    match &seen.smoke {
        None => Do::Smoke,
        Some(Ok(answer)) => go(Stage::Testing, format!("a request by the new path was answered: {answer}")),
        Some(Err(why)) if record.accepts("smoke") => {
            go(Stage::Testing, format!("the new path was not answered from here, which was accepted: {why}"))
        }
        Some(Err(why)) => Do::Stop(format!(
            "a request by the new path failed: {why}; mend that and run `start` again, or accept it by --accept smoke=REASON \
             if real clients can reach what this machine cannot"
        )),
    }
}

fn testing(record: &Record, seen: &Seen) -> Do {
    if !record.advanced {
        return Do::Ask;
    }
    if !seen.all_source {
        return Do::Stop(NOT_ALL_SOURCE.to_owned());
    }
    match record.way {
        Way::Switch => match ill(seen) {
            None => go(Stage::Switching, "new connections of the live listener move"),
            Some(why) => Do::Stop(format!("the new path cannot take connections: {why}")),
        },
        Way::Beside => go(Stage::Leaving, format!("clients move to {}", record.new_address())),
        Way::Dns => go(Stage::Leaving, format!("the name is to lead to {}", record.weighted.address)),
    }
}

/// Why the new path cannot take connections; `None` if it can.
fn ill(seen: &Seen) -> Option<String> {
    match seen.group.as_ref().map(|group| &group.health) {
        Some(Health::Well) => None,
        Some(Health::Waiting(why) | Health::Ill(why)) => Some(why.clone()),
        Some(Health::Absent) => Some("the load balancer is not in its target group".to_owned()),
        None => Some("its target group is gone".to_owned()),
    }
}

/// The recorded original; `None` where it cannot be read, which was checked before it was recorded.
fn original(record: &Record) -> Option<Vec<Action>> {
    record.front.as_ref().and_then(|front| action::read(&front.original).ok())
}

/// What the live listener is to have at a share; `None` where that cannot be said.
fn wanted(record: &Record, seen: &Seen, percent: u8) -> Option<Vec<Action>> {
    let group = seen.group.as_ref()?;
    weigh::with_new(&original(record)?, &group.arn, percent).ok()
}

/// What the live listener is to have without the old target groups; `None` where that cannot be said.
fn alone(record: &Record, seen: &Seen) -> Option<Vec<Action>> {
    weigh::alone(&original(record)?, &seen.group.as_ref()?.arn).ok()
}

/// Whether the live listener is as the last step has it: what to do if it is not.
fn drifted(record: &Record, seen: &Seen) -> Option<Do> {
    let (live, original) = (seen.live.as_ref()?, original(record)?);
    let last = record.switched.last()?;
    let step = wanted(record, seen, last.percent)?;
    if record.alone.is_some() {
        let wanted = alone(record, seen)?;
        if action::same(live, &wanted) {
            return None;
        }
        if action::same(live, &step) {
            return Some(Do::Alone(wanted));
        }
    } else if action::same(live, &step) {
        return (!last.confirmed).then_some(Do::Confirm);
    }
    let before = match record.switched.len() {
        0 | 1 => Some(original.clone()),
        count => wanted(record, seen, record.switched[count - 2].percent),
    };
    if !last.confirmed && before.is_some_and(|before| action::same(live, &before)) {
        // It did not land, or has not yet: the same once more does no harm.
        return Some(Do::Write(last.percent, step));
    }
    Some(if action::same(live, &original) {
        go(Stage::Reverting, "somebody else put the live listener back")
    } else {
        Do::Stop(
            "somebody else changed the live listener, and it is left as it is; `tidegate reroute undo` puts back the recorded \
             original"
                .to_owned(),
        )
    })
}

fn switching(record: &Record, seen: &Seen, policy: &Policy, now: Timestamp) -> Do {
    if record.switched.is_empty() {
        let stands = seen.live.as_ref().zip(original(record)).is_some_and(|(live, old)| action::same(live, &old));
        if !stands {
            return Do::Stop("the live listener is not what it was at `start`; `undo`, and begin again".to_owned());
        }
    }
    if let Some(why) = ill(seen) {
        return go(Stage::Reverting, format!("the new path does not take connections: {why}"));
    }
    if let Some(what) = drifted(record, seen) {
        return what;
    }
    let Some(last) = record.switched.last() else { return write(record, seen, 0) };
    if last.percent >= 100 {
        return go(Stage::Leaving, "every new connection goes by the new path");
    }
    match stepped(seen, *last, policy, now) {
        Some(what) => what,
        None => write(record, seen, record.switched.len()),
    }
}

/// What is to be done because of what a step shows; `None` if it passed.
fn stepped(seen: &Seen, last: Switched, policy: &Policy, now: Timestamp) -> Option<Do> {
    let since = now.since(last.at);
    match &seen.finding {
        Finding::Fail(why) => Some(go(Stage::Reverting, why.clone())),
        Finding::Pass(_) if since >= policy.shift.bake_min => None,
        Finding::Pass(why) => Some(Do::Wait(format!("{} % to be baked: {why}", last.percent))),
        Finding::Blind(why) if since >= policy.shift.warm_up + judged::settle(policy) + policy.unknown.blind_budget => {
            Some(go(Stage::Reverting, format!("nothing is known of the new path for too long: {why}")))
        }
        Finding::Unknown(why) if since >= policy.shift.bake_min + policy.unknown.hold_budget => {
            Some(go(Stage::Reverting, format!("nothing is proven of {} % for too long: {why}", last.percent)))
        }
        Finding::Blind(why) | Finding::Unknown(why) => Some(Do::Wait(format!("{} %: {why}", last.percent))),
    }
}

fn write(record: &Record, seen: &Seen, step: usize) -> Do {
    let percent = record.steps.get(step).copied().unwrap_or(100);
    match wanted(record, seen, percent) {
        Some(actions) if seen.all_source => Do::Write(percent, actions),
        Some(_) => Do::Stop(NOT_ALL_SOURCE.to_owned()),
        None => Do::Stop("what was recorded of the live listener cannot be read".to_owned()),
    }
}

fn leaving(record: &Record, seen: &Seen, policy: &Policy, now: Timestamp) -> Do {
    if record.way == Way::Switch {
        if let Some(why) = ill(seen) {
            return go(Stage::Reverting, format!("the new path does not take connections: {why}"));
        }
        if let Some(what) = drifted(record, seen) {
            return what;
        }
        if let Finding::Fail(why) = &seen.finding {
            return go(Stage::Reverting, why.clone());
        }
        let baked = now.since(record.stage_since) >= policy.shift.bake_min.max(record.old_idle());
        if record.alone.is_none()
            && !record.old.is_empty()
            && baked
            && !matches!(seen.finding, Finding::Blind(_))
            && let Some(actions) = alone(record, seen)
        {
            return Do::Alone(actions);
        }
    }
    if let (Resolves::Elsewhere(why), Way::Dns) = (&seen.resolves, record.way) {
        return late(record, policy, now, why.clone());
    }
    match &seen.old {
        // A new path of which nothing is known is no reason to call it complete.
        OldPath::Quiet(_) if matches!(seen.finding, Finding::Blind(_)) && record.way == Way::Switch => {
            late(record, policy, now, "the old path is quiet, and nothing is known of the new one".to_owned())
        }
        OldPath::Quiet(_) if record.way == Way::Switch => {
            go(Stage::CleaningUp, "the old path carries nothing any more")
        }
        OldPath::Quiet(until) => Do::Complete(*until),
        OldPath::Busy(why) => late(record, policy, now, why.clone()),
    }
}

/// Waits, for as long as the policy's drain may take.
fn late(record: &Record, policy: &Policy, now: Timestamp, why: String) -> Do {
    if now.since(record.stage_since) > policy.drain.timeout {
        return Do::Stop(format!(
            "{why}; that is so for longer than `drain.timeout`. Look who still comes that way, and run `advance` again"
        ));
    }
    Do::Wait(why)
}

fn cleaning_up(record: &Record, seen: &Seen) -> Do {
    match (&seen.listener, &seen.old) {
        (Some(listener), _) if listener.ours => Do::DeleteListener(listener.arn.clone()),
        // Whoever has the port now is none of ours.
        (_, OldPath::Quiet(until)) => Do::Complete(*until),
        // It was quiet when this stage began.
        (_, OldPath::Busy(_)) => Do::Complete(record.stage_since),
    }
}

/// What brings the original back; `None` when it is back and stayed.
fn back(record: &Record, seen: &Seen, policy: &Policy, now: Timestamp) -> Option<Do> {
    if record.way != Way::Switch || record.switched.is_empty() {
        return None;
    }
    let (Some(live), Some(original)) = (&seen.live, original(record)) else {
        return Some(Do::Stop("what was recorded of the live listener cannot be read".to_owned()));
    };
    if !action::same(live, &original) {
        return Some(Do::Restore(original));
    }
    match record.restored {
        None => Some(Do::Restored),
        // A write that was lost on its way may still land.
        Some(at) if now.since(at) < policy.revert.reassert => {
            Some(Do::Wait("the original to stay, in case that a late write lands".to_owned()))
        }
        Some(_) => None,
    }
}

fn undoing(record: &Record, seen: &Seen, policy: &Policy, now: Timestamp) -> Do {
    if let Some(what) = back(record, seen, policy, now) {
        return what;
    }
    if record.way == Way::Dns {
        return go(Stage::Undone, "nothing was made; lead the name back yourself, if it was changed");
    }
    let listener = seen.listener.as_ref().filter(|listener| listener.ours);
    let sure = record.accepts("new path");
    if record.way == Way::Beside && record.advanced && listener.is_some() && !sure {
        return Do::Stop(
            "clients on the new listener cannot be told from the NLB's own health checks, which AWS counts like any request: \
             when they have gone, say `undo --now`"
                .to_owned(),
        );
    }
    // That of a switch was for the test alone. Without it the NLB checks its target no more.
    if let Some(listener) = listener {
        return Do::DeleteListener(listener.arn.clone());
    }
    let idle = Duration::from_secs(record.weighted.idle_seconds);
    if !record.switched.is_empty() && seen.new_quiet.is_none_or(|quiet| quiet < idle) && !sure {
        return late(record, policy, now, "clients are still on the new path".to_owned());
    }
    match &seen.group {
        Some(group) if group.misfit.is_some() => go(Stage::Undone, "all of ours is gone"),
        Some(SeenGroup { arn, health: Health::Absent, .. }) => Do::DeleteGroup(arn.clone()),
        Some(group) => Do::Deregister(group.arn.clone()),
        None => go(Stage::Undone, "all is as it was"),
    }
}

#[cfg(test)]
mod tests;
