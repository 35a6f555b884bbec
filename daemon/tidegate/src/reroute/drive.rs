//! The loop of a reroute: look, ask [`stage::next`], put on record what is about to be done, do it, look again.
//!
//! A call that failed changes nothing here: the next look shows whether it was done. What AWS refuses for good ends the run
//! with its words; what may succeed later is tried again, so often and no more.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use cutover::{Policy, Timestamp, Window};

use super::check::Answered;
use super::judged::{self, Finding, MINUTE, Minute};
use super::keep::{Keep, KeepError};
use super::knock::{self, Knock};
use super::record::{Record, Stage, Switched, Way};
use super::stage::{self, Do, Health, OldPath, Resolves, Seen, SeenGroup, SeenListener};
use super::{Cloud, NewGroup, PORT, begin};
use crate::aws::action;
use crate::clock::Clock;
use crate::dns;
use crate::port::{PortError, Retry, in_one_line};
use crate::secret::Secret;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(10);

/// How far apart two equal readings of a minute must lie.
const APART: Duration = Duration::from_secs(10);

/// How many calls in a row may fail.
const FAILURES_MAX: u32 = 20;

/// The longest time of which minutes are read and kept.
const SPAN_MAX: Duration = Duration::from_hours(3 * 24);

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Real clients may try the new address; `advance` goes on.
    Asks,
    /// Everything goes through the proxy.
    Complete,
    /// Something was wrong, and the original is back.
    Reverted,
    /// All is as it was.
    Undone,
    /// A person has to mend something first.
    Stopped(String),
    /// The original could not be put back.
    Stuck(String),
}

/// Why a run could not go on.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The record could not be kept: nothing may be changed without it.
    #[error(transparent)]
    Keep(#[from] KeepError),
}

/// What a run is made with.
pub struct Drive<'a, C> {
    /// AWS.
    pub cloud: &'a C,
    /// Where the record is.
    pub keep: &'a Keep,
    /// The service's policy.
    pub policy: &'a Policy,
    /// Time.
    pub clock: &'a Clock,
    /// Connections from here.
    pub knock: &'a Knock,
    /// The identity of a real client.
    pub identity: Option<&'a Secret>,
    /// Who is asked what names resolve to; `None` for this machine's own.
    pub resolver: Option<SocketAddr>,
    /// Tells a person what happens.
    pub say: &'a dyn Fn(&str),
}

/// What a run remembers and can find out again.
#[derive(Default)]
struct Memory {
    smoke: Option<Result<String, String>>,
    /// The minutes read so far, each with the time since which it reads so.
    minutes: BTreeMap<Timestamp, (Minute, Timestamp)>,
    failures: u32,
    failing_since: Option<Timestamp>,
    last_wait: String,
}

fn unknown(why: &str) -> Finding {
    Finding::Unknown(why.to_owned())
}

impl<C: Cloud> Drive<'_, C> {
    /// Goes on from what is on record until it ends or a person is needed.
    ///
    /// # Errors
    /// When the record cannot be kept.
    pub async fn run(&self, record: &mut Record) -> Result<Ended, DriveError> {
        let mut memory = Memory::default();
        loop {
            let began = self.clock.now();
            let done = match self.see(record, &mut memory).await {
                Ok(seen) => {
                    let what = stage::next(record, &seen, self.policy, began);
                    tracing::debug!(stage = ?record.stage, next = ?what, "reroute");
                    self.act(record, &mut memory, what).await
                }
                Err(error) => Done::Failed(error),
            };
            match done {
                Done::Ended(ended) => return Ok(ended),
                Done::Unkept(error) => return Err(error.into()),
                Done::Next => {}
                Done::Later => self.clock.sleep(LOOK).await,
                Done::Failed(error) => {
                    memory.failures += 1;
                    let since = *memory.failing_since.get_or_insert(began);
                    if let Some(ended) = self.failed(record, memory.failures, began.since(since), &error).await? {
                        return Ok(ended);
                    }
                    self.clock.sleep(LOOK).await;
                    continue;
                }
            }
            (memory.failures, memory.failing_since) = (0, None);
        }
    }

    /// What follows from a call that failed, for so many times and so long in a row; `None` to try again.
    async fn failed(
        &self,
        record: &mut Record,
        times: u32,
        length: Duration,
        error: &PortError,
    ) -> Result<Option<Ended>, DriveError> {
        let why = in_one_line(error);
        (self.say)(&why);
        let now = self.clock.now();
        match record.stage {
            Stage::Switching | Stage::Leaving if record.way == Way::Switch && !record.switched.is_empty() => {
                if error.retry == Retry::Never || length > self.policy.unknown.blind_budget {
                    record.restored = None;
                    record.go(Stage::Reverting, now, format!("nothing can be seen any more: {why}"));
                    self.keep.write(record)?;
                }
                Ok(None)
            }
            Stage::Reverting | Stage::Undoing if record.way == Way::Switch && !record.switched.is_empty() => {
                // What cannot be read may still be written; whether it was, a read has to show.
                if let Some(front) = &record.front
                    && let Ok(original) = action::read(&front.original)
                    && record.restored.is_none()
                {
                    drop(self.cloud.write(&front.listener, &original).await);
                }
                let late = now.since(record.stage_since) > self.policy.revert.deadline && times > 2;
                Ok(late.then(|| Ended::Stuck(stuck(record, error))))
            }
            _ => Ok((error.retry == Retry::Never || times >= FAILURES_MAX).then_some(Ended::Stopped(why))),
        }
    }

    /// Looks at what the stage asks for.
    async fn see(&self, record: &mut Record, memory: &mut Memory) -> Result<Seen, PortError> {
        use Stage::{CleaningUp, Leaving, Preparing, Reverting, Switching, Testing, Undoing};
        let stage = record.stage;
        let mut seen = Seen {
            live: None,
            all_source: false,
            group: None,
            listener: None,
            smoke: memory.smoke.clone(),
            finding: unknown("not looked at"),
            old: OldPath::Busy("not looked at".to_owned()),
            new_quiet: None,
            resolves: Resolves::Here,
        };
        if matches!(stage, Preparing | Testing | Switching) {
            let weighted = &record.weighted;
            let listener = self.cloud.listener(&weighted.listener).await?;
            let answered = begin::all_source(&listener, &weighted.source, &weighted.target);
            seen.all_source = matches!(answered, Answered::Yes(_));
        }
        if let Some(front) = &record.front {
            if matches!(stage, Switching | Leaving | Reverting | Undoing) {
                let live = self.cloud.listener(&front.listener).await?;
                seen.live = Some(live.actions.map_err(|why| PortError::never(PORT, why))?);
            }
            if matches!(stage, Preparing | Testing | Switching | Leaving | CleaningUp | Undoing) {
                seen.group = self.group(record).await?;
            }
            if matches!(stage, Preparing | CleaningUp | Undoing) {
                let mut listeners = self.cloud.listeners(&front.balancer).await?.into_iter();
                seen.listener = listeners.find(|listener| listener.port == record.new_port).map(|listener| {
                    let ours = seen.group.as_ref().is_some_and(|group| {
                        let groups = listener.actions.as_ref().map(|actions| action::groups(actions));
                        matches!(groups, Ok(Ok(groups)) if matches!(&groups[..], [one] if one.target_group_arn == group.arn))
                    });
                    SeenListener { arn: listener.arn, ours }
                });
            }
        }
        if matches!(stage, Switching | Leaving | CleaningUp | Undoing) {
            self.count(record, memory, &mut seen).await;
        }
        if stage == Leaving && record.way == Way::Dns {
            seen.resolves = self.resolves(record).await;
        }
        Ok(seen)
    }

    /// Our target group and how its target is.
    async fn group(&self, record: &Record) -> Result<Option<SeenGroup>, PortError> {
        let Some(group) = self.cloud.group_named(&record.group_name).await? else { return Ok(None) };
        let weighted = &record.weighted;
        let misfit = if group.kind != "alb" {
            Some(format!("it is of type `{}`", group.kind))
        } else if group.port != weighted.port {
            Some(format!("its port is {}", group.port))
        } else {
            None
        };
        let targets = self.cloud.targets(&group.arn).await?;
        let target = targets.iter().find(|target| target.id == weighted.balancer);
        let health = match target.map(|target| (target.state.as_str(), &target.why)) {
            None | Some(("draining", _)) => Health::Absent,
            Some(("healthy", _)) => Health::Well,
            Some(("initial" | "unused", why)) => Health::Waiting(why.clone()),
            Some((_, why)) => Health::Ill(why.clone()),
        };
        Ok(Some(SeenGroup { arn: group.arn, misfit, health }))
    }

    /// Reads the minutes, and says what they prove. Without figures nothing is proven, and a stage has its own patience.
    async fn count(&self, record: &Record, memory: &mut Memory, seen: &mut Seen) {
        if let Err(error) = self.read_minutes(record, memory).await {
            let why = in_one_line(&error);
            seen.finding = Finding::Blind(why.clone());
            seen.old = OldPath::Busy(why);
            return;
        }
        let minutes: Vec<Minute> = memory.minutes.values().map(|(minute, _)| minute.clone()).collect();
        if !record.switched.is_empty() {
            seen.finding = {
                let counted = !record.old.is_empty();
                judged::find(self.policy, &minutes, &record.switched, &record.steps, counted)
            };
        }
        let moved = record.alone.or(record.switched.last().map(|step| step.at));
        let moved = moved.map_or(record.stage_since, |at| at.plus(self.policy.shift.warm_up));
        let late: Vec<Minute> = minutes.iter().filter(|minute| minute.at >= moved).cloned().collect();
        seen.old = self.old(record, &late, moved);
        let restored = record.restored.unwrap_or(record.stage_since);
        let late: Vec<Minute> = minutes.into_iter().filter(|minute| minute.at >= restored).collect();
        let quiet = judged::quiet(&late, |minute| minute.new.as_ref().map(|new| new.requests));
        seen.new_quiet = quiet.map(|(from, until)| until.since(from));
    }

    /// What the minutes since everything was moved say of the old path.
    fn old(&self, record: &Record, minutes: &[Minute], moved: Timestamp) -> OldPath {
        let needed = self.policy.drain.quiet.max(record.old_idle()).max(MINUTE);
        let quiet = if record.old.is_empty() {
            // The NLB's connections as a whole: all gone is gone by the old path as well.
            judged::quiet(minutes, |minute| minute.flows.map(|flows| flows.open_max.ceil() as u64))
        } else {
            judged::quiet(minutes, |minute| minute.old.as_ref().map(|old| old.requests))
        };
        let until = self.clock.now();
        if record.way == Way::Switch && !record.old.is_empty() && record.alone.is_none() {
            return OldPath::Busy("connections of the old path to end".to_owned());
        }
        match quiet {
            Some((from, until)) if until.since(from) >= needed => OldPath::Quiet(until),
            // Nobody counts it: a person says that it is empty, after a silent connection would have been closed.
            _ if record.accepts("old path") && until.since(moved) >= record.old_idle() => OldPath::Quiet(until),
            Some((from, until)) => OldPath::Busy(format!(
                "the old path has been quiet for {} of {} s",
                until.since(from).as_secs(),
                needed.as_secs()
            )),
            None if record.old.is_empty() => OldPath::Busy(
                "AWS does not count what comes by the old path; see on the source who is still connected (`_nodes/stats/http`, \
                 `ss -tn`), and when nobody is, say so: `advance --accept 'old path=REASON'`"
                    .to_owned(),
            ),
            None => OldPath::Busy("clients still come by the old path, or its last minute is not known yet".to_owned()),
        }
    }

    /// Reads what is not settled yet. A minute counts once it is over for long enough and two readings of it agree.
    async fn read_minutes(&self, record: &Record, memory: &mut Memory) -> Result<(), PortError> {
        let settle = judged::settle(self.policy);
        let now = self.cloud.now();
        let to = Timestamp(now.0.div_euclid(60_000) * 60_000);
        let first =
            record.switched.first().map_or(record.stage_since, |step| step.at.minus(self.policy.baseline.record));
        let first = Timestamp(first.max(now.minus(SPAN_MAX)).0.div_euclid(60_000) * 60_000);
        memory.minutes.retain(|at, _| *at >= first);
        let unsettled = memory.minutes.values().find(|(minute, _)| !minute.settled).map(|(minute, _)| minute.at);
        let next = memory.minutes.keys().next_back().map(|at| at.plus(MINUTE));
        let from = unsettled.or(next).unwrap_or(first);
        if from >= to {
            return Ok(());
        }
        let counted = begin::counted_of(record)?;
        for minute in self.cloud.minutes(&counted, Window { from, to }).await? {
            let kept = memory.minutes.entry(minute.at).or_insert_with(|| (minute.clone(), now));
            let settled = std::mem::take(&mut kept.0.settled);
            if kept.0 != minute {
                *kept = (minute, now);
                continue;
            }
            let over = now >= kept.0.at.plus(MINUTE).plus(settle);
            // What is long over was not read too early.
            let old = now >= kept.0.at.plus(MINUTE).plus(settle * 3);
            kept.0.settled = settled || over && (now.since(kept.1) >= APART || old);
        }
        Ok(())
    }

    /// What the clients' name resolves to, and since when.
    async fn resolves(&self, record: &mut Record) -> Resolves {
        let Some(name) = record.name.clone() else { return Resolves::Here };
        let resolver = match self.resolver.map_or_else(dns::system_resolver, Ok) {
            Ok(resolver) => resolver,
            Err(why) => return Resolves::Elsewhere(why),
        };
        let wanted = dns::resolve(resolver, &record.weighted.address).await;
        let found = dns::resolve(resolver, &name.name).await;
        let now = self.clock.now();
        let since = match (&wanted, &found) {
            (Ok(wanted), Ok(found)) if found.addresses.is_subset(&wanted.addresses) => name.since.or(Some(now)),
            _ => None,
        };
        if let Some(kept) = &mut record.name {
            kept.since = since;
            // What clients keep was told with the longest time that was seen while it led elsewhere.
            if let (Ok(found), None) = (&found, since) {
                kept.ttl_seconds = kept.ttl_seconds.max(found.ttl_seconds);
            }
        }
        match (since, wanted.and(found)) {
            (Some(since), _) if now.since(since) >= Duration::from_secs(name.ttl_seconds) => Resolves::Here,
            (Some(_), _) => Resolves::Elsewhere(format!(
                "{} leads here; clients may keep the old answer for {} s",
                name.name, name.ttl_seconds
            )),
            (None, Err(why)) => Resolves::Elsewhere(why),
            (None, Ok(found)) => {
                let addresses: Vec<String> = found.addresses.iter().map(ToString::to_string).collect();
                Resolves::Elsewhere(format!(
                    "{} resolves to {}; lead it to {} (an alias record, or a CNAME)",
                    name.name,
                    addresses.join(", "),
                    record.weighted.address
                ))
            }
        }
    }

    /// Asks through the new path, as a client would.
    async fn smoke(&self, record: &Record) -> Result<String, String> {
        let weighted = &record.weighted;
        let (host, port) = match &record.front {
            Some(front) => (&front.address, record.new_port),
            None => (&weighted.address, weighted.port),
        };
        let name = record.server_name.as_deref().unwrap_or(host);
        let answered = self.knock.get(host, port, weighted.secure, name, self.identity).await;
        knock::smoke(answered, self.identity.is_some())
    }

    fn kept(&self, record: &Record) -> Result<(), Done> {
        self.keep.write(record).map_err(Done::Unkept)
    }

    /// Does it.
    async fn act(&self, record: &mut Record, memory: &mut Memory, what: Do) -> Done {
        self.acted(record, memory, what).await.unwrap_or_else(|done| done)
    }

    async fn acted(&self, record: &mut Record, memory: &mut Memory, what: Do) -> Result<Done, Done> {
        let now = self.clock.now();
        match what {
            Do::Wait(why) => {
                if memory.last_wait != why {
                    (self.say)(&format!("waiting: {why}"));
                    memory.last_wait = why;
                }
                self.kept(record)?;
                Ok(Done::Later)
            }
            Do::Ask => Ok(Done::Ended(Ended::Asks)),
            Do::Stop(why) => Ok(Done::Ended(Ended::Stopped(why))),
            Do::End => Ok(Done::Ended(match record.stage {
                Stage::Complete => Ended::Complete,
                Stage::Reverted => Ended::Reverted,
                _ => Ended::Undone,
            })),
            Do::Go(stage, why) => {
                if matches!(stage, Stage::Reverting | Stage::Undoing) {
                    record.restored = None;
                }
                (self.say)(&why);
                record.go(stage, now, why);
                self.kept(record)?;
                Ok(Done::Next)
            }
            Do::Complete(until) => {
                let why = format!("nothing has gone past the proxy since {until}: a snapshot may be taken from now on");
                (self.say)(&why);
                record.complete = Some(until);
                record.go(Stage::Complete, now, why);
                self.kept(record)?;
                Ok(Done::Next)
            }
            Do::Smoke => {
                memory.smoke = Some(self.smoke(record).await);
                Ok(Done::Next)
            }
            Do::Confirm => {
                if let Some(last) = record.switched.last_mut() {
                    last.confirmed = true;
                    (self.say)(&format!("{} % of new connections go by the new path", last.percent));
                }
                self.kept(record)?;
                Ok(Done::Next)
            }
            Do::Restored => {
                record.restored = Some(now);
                record.tell(now, "the original of the live listener was read back, whole");
                self.kept(record)?;
                Ok(Done::Next)
            }
            Do::Write(percent, actions) => self.write(record, percent, &actions, now).await,
            what => {
                let called = self.call(record, what, now).await?;
                Ok(called.map_or_else(Done::Failed, |()| Done::Next))
            }
        }
    }

    /// Changes something in AWS, after it was put on record that it is about to be.
    async fn call(&self, record: &mut Record, what: Do, now: Timestamp) -> Result<Result<(), PortError>, Done> {
        let weighted = record.weighted.clone();
        let (balancer, live) = in_front(record);
        Ok(match what {
            Do::Restore(actions) => {
                record.restored = None;
                record.tell(now, "putting back the original of the live listener");
                self.kept(record)?;
                self.cloud.write(&live, &actions).await
            }
            Do::Alone(actions) => {
                record.alone = Some(now);
                self.tell(record, now, "taking the old target groups out of the live listener")?;
                self.cloud.write(&live, &actions).await
            }
            Do::MakeGroup => {
                self.tell(record, now, "making the target group")?;
                let group = NewGroup {
                    name: &record.group_name,
                    port: weighted.port,
                    secure: weighted.secure,
                    vpc: &weighted.vpc,
                    service: &record.service,
                };
                self.cloud.make_group(&group).await
            }
            Do::Register(group) => {
                self.tell(record, now, "registering the load balancer")?;
                self.cloud.register(&group, &weighted.balancer).await
            }
            Do::MakeListener(group) => {
                self.tell(record, now, format!("making the listener on port {}", record.new_port))?;
                self.cloud.make_listener(&balancer, record.new_port, &group, &record.service).await
            }
            Do::DeleteListener(arn) => {
                self.tell(record, now, format!("taking away the listener on port {}", record.new_port))?;
                self.cloud.delete_listener(&arn).await
            }
            Do::Deregister(group) => {
                self.tell(record, now, "taking the load balancer out of the target group")?;
                self.cloud.deregister(&group, &weighted.balancer).await
            }
            Do::DeleteGroup(arn) => {
                self.tell(record, now, "taking away the target group")?;
                self.cloud.delete_group(&arn).await
            }
            Do::Wait(_)
            | Do::Ask
            | Do::Stop(_)
            | Do::End
            | Do::Go(..)
            | Do::Complete(_)
            | Do::Smoke
            | Do::Confirm
            | Do::Restored
            | Do::Write(..) => Ok(()),
        })
    }

    fn tell(&self, record: &mut Record, now: Timestamp, text: impl Into<String>) -> Result<(), Done> {
        let text = text.into();
        (self.say)(&text);
        record.tell(now, text);
        self.kept(record)
    }

    /// Writes a share of the live listener's new connections.
    async fn write(
        &self,
        record: &mut Record,
        percent: u8,
        actions: &[action::Action],
        now: Timestamp,
    ) -> Result<Done, Done> {
        let (_, live) = in_front(record);
        match record.switched.last_mut() {
            Some(last) if last.percent == percent => (last.at, last.confirmed) = (now, false),
            _ => record.switched.push(Switched { percent, at: now, confirmed: false }),
        }
        self.tell(record, now, format!("giving the new path {percent} % of new connections"))?;
        match self.cloud.write(&live, actions).await {
            Ok(()) => Ok(Done::Next),
            Err(error) if error.retry == Retry::Never => {
                // Refused, so nothing was changed.
                record.switched.pop();
                if record.switched.is_empty() && record.steps != [100] && speaks_of_weights(&error) {
                    record.steps = vec![100];
                    self.tell(record, now, "AWS takes no weights at this NLB: all new connections move at once")?;
                    return Ok(Done::Next);
                }
                self.kept(record)?;
                Ok(Done::Failed(error))
            }
            Err(error) => Ok(Done::Failed(error)),
        }
    }
}

/// The NLB and its live listener; empty where there is none, and then nobody asks.
fn in_front(record: &Record) -> (String, String) {
    record.front.as_ref().map_or_else(Default::default, |front| (front.balancer.clone(), front.listener.clone()))
}

/// Whether AWS refused because an NLB has no weights here, as it once had none ("You cannot specify a target group weight on
/// load balancers of type 'network'").
fn speaks_of_weights(error: &PortError) -> bool {
    error.source.to_string().contains("target group weight")
}

/// What a person is told whose original could not be put back.
fn stuck(record: &Record, error: &PortError) -> String {
    let by_hand = record.by_hand().map_or_else(String::new, |command| format!("; by hand: {command}"));
    format!("the original of the live listener could not be put back: {}{by_hand}", in_one_line(error))
}

/// What became of one turn.
enum Done {
    /// Look at once.
    Next,
    /// Look later.
    Later,
    /// A call failed.
    Failed(PortError),
    /// The record could not be kept.
    Unkept(KeepError),
    /// It ended.
    Ended(Ended),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that an NLB without weights is known by AWS's own sentence, and no other refusal is taken for it.
    #[test]
    fn an_nlb_without_weights_is_known_by_aws_own_words() {
        let refused = |words: &str| {
            let text = format!("cannot change the live listener's default action: InvalidLoadBalancerAction: {words}");
            speaks_of_weights(&PortError::never(PORT, text))
        };
        assert!(refused("You cannot specify a target group weight on load balancers of type 'network'"));
        assert!(!refused("A target group can be specified only once in a forward action"));
    }
}
