//! Weights in our own proxies: one or many, in this process or behind their control API.
//!
//! A share counts as configured when every proxy has it that there is now; one that has not, or does not answer, is named. Who
//! there is is found out afresh before each write and each read; where that cannot be known nothing is believed, and only what
//! takes traffic back goes out all the same, to those of before. Each write
//! carries a number, and a proxy refuses one that is older than the last it applied, so that a write which was given up
//! cannot land after a revert. A proxy that comes up again without the current share is given it by [`Balancer::watch`],
//! which also reports tripwires that proxies fired by themselves.
//!
//! What takes traffic back waits for no resolver: it goes to those that were there last, and while that is done it is found out
//! who else is. A newcomer of another fleet ([`welcome`]) has no traffic and is given no weight, so it is no part of what is
//! configured; the checks name it, and nothing rises. Nor is one that is starting: it is given what it lacks when it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use cutover::event::Reading;
use cutover::policy::{Tripwire, TripwireKind};
use cutover::{Generation, Share, Timestamp};
use proxy::api::{Armed, Limit, LimitKind, Status};
use serde_json::Value;

use super::{Balancer, Fired};
use crate::port::{Answer, PortError};
use crate::proxies::welcome::{self, Alike, Answered, Standing, asked, share_of};
use crate::proxies::{Known, Proxies, Remote, RemoteError, each};

/// Our own proxies as a balancer, for one cutover.
pub struct Listener {
    proxies: Proxies,
    /// When the cutover was started. In milliseconds it is added to each generation, so that the writes of a cutover
    /// have higher numbers than those of the one before.
    started: Timestamp,
    /// What proxies are given that await a weight before this process wrote any.
    standing: Standing,
    wanted: Mutex<Wanted>,
}

/// What proxies shall be armed with.
#[derive(Clone, Default)]
enum Arming {
    /// This process was not told yet; a proxy keeps what it has.
    #[default]
    Untold,
    /// Nothing.
    Nothing,
    /// This.
    These(Armed),
}

/// What this balancer was last told to do: what a proxy that comes up is given.
#[derive(Default)]
struct Wanted {
    /// The share at each place and the number of the write, from the first write of this process on.
    shares: Option<(BTreeMap<String, Share>, u64)>,
    /// What proxies shall be armed with.
    arming: Arming,
    /// Tripwires that fired and wait for the next look.
    found: Vec<Fired>,
    /// Tripwires that were found, by proxy: the instance and the number of its own change.
    known: BTreeMap<String, (String, u64)>,
    /// Newcomers of another fleet, as the last look found them, with what differs.
    strangers: BTreeMap<String, String>,
}

impl Listener {
    /// The proxies of a cutover that was started at `started`; the time makes its numbers higher than those of every
    /// earlier one.
    pub fn new(proxies: impl Into<Proxies>, started: Timestamp) -> Self {
        Self { proxies: proxies.into(), started, standing: Standing::default(), wanted: Mutex::default() }
    }

    /// The same, of a cutover that stood so when it was gone on with.
    pub fn after(self, standing: Standing) -> Self {
        Self { standing, ..self }
    }

    fn number(&self, generation: Generation) -> u64 {
        u64::try_from(self.started.0).unwrap_or_default().saturating_add(generation.0)
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().expect("nobody panics while holding it")
    }

    /// Gives every proxy the share of its place, and whoever comes up from now on.
    async fn put(&self, shares: BTreeMap<String, Share>, generation: u64) -> Result<(), PortError> {
        let Known { remotes, failed } = self.proxies.now().await;
        whole(failed)?;
        self.wanted().shares = Some((shares.clone(), generation));
        all(self.put_to(&remotes, &[], &shares, generation, false).await)
    }

    /// The same, whatever else was written, and at once: to those that were there last, and then to those that are there now
    /// besides.
    async fn put_back(&self, shares: BTreeMap<String, Share>, generation: u64) -> Result<(), PortError> {
        let mut before = self.proxies.before().remotes;
        before.retain(|proxy| !self.wanted().strangers.contains_key(proxy.name()));
        self.wanted().shares = Some((shares.clone(), generation));
        let at_once = each(&before, |proxy| {
            let share = share_at(&shares, &proxy);
            async move { set(&proxy, share, generation, true).await }
        });
        let (mut answers, Known { remotes, failed }) = tokio::join!(at_once, self.proxies.now());
        let names = |remotes: &[Remote]| remotes.iter().map(|proxy| proxy.name().to_owned()).collect::<BTreeSet<_>>();
        let (asked, now) = (names(&before), names(&remotes));
        answers.retain(|(proxy, _)| now.contains(proxy.name()));
        let besides: Vec<Remote> = remotes.into_iter().filter(|proxy| !asked.contains(proxy.name())).collect();
        answers.extend(self.put_to(&besides, &before, &shares, generation, true).await);
        all(answers)?;
        whole(failed)
    }

    /// Gives these proxies the shares of their places: first those that were told a weight before, and then newcomers, but for
    /// strangers among these and `others`: a share must not bring traffic to sides that it was not earned on.
    async fn put_to(
        &self,
        remotes: &[Remote],
        others: &[Remote],
        shares: &BTreeMap<String, Share>,
        generation: u64,
        always: bool,
    ) -> Vec<(Remote, Result<(), RemoteError>)> {
        let first = each(remotes, |proxy| {
            let share = share_at(shares, &proxy);
            async move {
                let status = proxy.status().await;
                let settled = status.as_ref().map_or(always, |status| !status.awaits_weight);
                let written = if settled { Some(set(&proxy, share, generation, always).await) } else { None };
                Ok((status, written))
            }
        });
        let (mut answers, mut known) = (Vec::new(), Vec::new());
        for (proxy, told) in first.await {
            match told {
                Ok((Ok(status), written)) => {
                    answers.extend(written.map(|written| (proxy.clone(), written)));
                    known.push((proxy, status));
                }
                Ok((Err(error), written)) => answers.push((proxy, written.unwrap_or(Err(error)))),
                Err(error) => answers.push((proxy, Err(error))),
            }
        }
        let mut newcomers: Vec<Remote> =
            known.iter().filter(|(_, status)| status.awaits_weight).map(|(proxy, _)| proxy.clone()).collect();
        if newcomers.is_empty() {
            return answers;
        }
        known.extend(asked(others).await.0);
        let strangers = self.strangers(&known);
        newcomers.retain(|proxy| !strangers.contains(proxy.name()));
        let given = each(&newcomers, |proxy| {
            let share = share_at(shares, &proxy);
            async move { set(&proxy, share, generation, always).await }
        });
        answers.extend(given.await);
        answers
    }

    /// Newcomers of another fleet among those that answered; each is told of once.
    fn strangers(&self, answers: &[Answered]) -> BTreeSet<String> {
        let strangers = welcome::strangers(answers, Alike::Whole);
        let names = strangers.keys().cloned().collect();
        welcome::tell(&mut self.wanted().strangers, strangers);
        names
    }
}

/// The share of a proxy's place; a place that has none gets none.
fn share_at(shares: &BTreeMap<String, Share>, proxy: &Remote) -> Share {
    shares.get(proxy.place()).copied().unwrap_or_default()
}

/// An error where those that were asked may not have been all.
fn whole(failed: Option<String>) -> Result<(), PortError> {
    failed.map_or(Ok(()), |why| Err(PortError::later("balancer", why)))
}

/// Sets one proxy's share. A proxy that has applied a later change refuses: someone else wrote, or its tripwire fired.
/// A revert goes over both; a share of ours goes over a foreign write, but not over a tripwire, which says that the
/// target must not have it.
async fn set(proxy: &Remote, share: Share, generation: u64, always: bool) -> Result<(), RemoteError> {
    match proxy.set_weight(share, generation).await {
        Ok(_) => Ok(()),
        Err(error) if error.outdated => {
            let status = proxy.status().await?;
            match &status.fired {
                Some(fired) if !always => Err(RemoteError {
                    why: format!("the proxy at {} keeps the share of its tripwire: {}", proxy.name(), fired.why),
                    transient: true,
                    outdated: true,
                }),
                _ => proxy.set_weight(share, status.generation.saturating_add(1)).await.map(drop),
            }
        }
        Err(error) => Err(error),
    }
}

/// One error that names every proxy that failed, or none. It may be retried when any of them may. One that is starting is given
/// what it lacks when it answers.
fn all<T>(answers: Vec<(Remote, Result<T, RemoteError>)>) -> Result<(), PortError> {
    let failed: Vec<RemoteError> =
        answers.into_iter().filter(|(proxy, _)| !proxy.is_starting()).filter_map(|(_, answer)| answer.err()).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let transient = failed.iter().any(|error| error.transient);
    let why = failed.iter().map(|error| error.why.as_str()).collect::<Vec<_>>().join("; ");
    Err(RemoteError { why, transient, outdated: false }.of("balancer"))
}

/// The share at each place: what is recorded before the first write and put back by a revert. Proxies behind a name come and
/// go, so what they have is recorded as one, and one that has another is named.
fn action_of(shares: &BTreeMap<String, Share>) -> Value {
    serde_json::json!({ "listener": shares })
}

fn shares_of(action: &Value) -> Option<BTreeMap<String, Share>> {
    serde_json::from_value(action.get("listener")?.clone()).ok()
}

fn limits(tripwires: &[Tripwire]) -> Vec<Limit> {
    tripwires
        .iter()
        .map(|tripwire| Limit {
            name: tripwire.name.clone(),
            kind: match tripwire.kind {
                TripwireKind::Errors => LimitKind::Errors,
                TripwireKind::Unanswered => LimitKind::Unanswered,
                TripwireKind::Latency => LimitKind::Latency,
            },
            limit: tripwire.limit,
            requests_min: tripwire.requests_min,
            window_millis: u64::try_from(tripwire.window.as_millis()).unwrap_or(u64::MAX),
            source_limit: tripwire.source_limit,
        })
        .collect()
}

/// The share that most proxies have; of two that as many have, the one that gives the target more, since what is
/// believed too high is corrected and what is believed too low is not.
fn prevailing(shares: &BTreeMap<String, Share>) -> Option<Share> {
    let mut votes: Vec<(usize, u32, Share)> = Vec::new();
    for share in shares.values() {
        match votes.iter_mut().find(|(_, _, known)| known == share) {
            Some((count, ..)) => *count += 1,
            None => votes.push((1, u32::from(share.reads.per_mille()) + u32::from(share.writes.per_mille()), *share)),
        }
    }
    votes.into_iter().max_by_key(|(count, weight, _)| (*count, *weight)).map(|(_, _, share)| share)
}

impl Balancer for Listener {
    fn read(&self, begun: Timestamp) -> Answer<'_, Reading> {
        Box::pin(async move {
            let Known { remotes, failed } = self.proxies.now().await;
            whole(failed)?;
            let (answers, silent) = asked(&remotes).await;
            let strangers = self.strangers(&answers);
            let mut shares = BTreeMap::new();
            let mut by_place: BTreeMap<String, BTreeMap<String, Share>> = BTreeMap::new();
            let mut awaiting = BTreeSet::new();
            let mut disagreeing = Vec::new();
            for (proxy, status) in answers.iter().filter(|(proxy, _)| !strangers.contains(proxy.name())) {
                let (name, share) = (proxy.name().to_owned(), share_of(status));
                if status.awaits_weight {
                    awaiting.insert(name.clone());
                }
                by_place.entry(proxy.place().to_owned()).or_default().insert(name.clone(), share);
                shares.insert(name, share);
            }
            let mut errors = Vec::new();
            for (proxy, error) in silent {
                if !proxy.is_starting() {
                    disagreeing.push(format!("{} (no answer)", proxy.name()));
                }
                errors.push(error.why);
            }
            // What a proxy has that takes no traffic yet counts only where there is no other.
            let told = |shares: &BTreeMap<String, Share>| {
                let told: BTreeMap<String, Share> = shares
                    .iter()
                    .filter(|(name, _)| !awaiting.contains(*name))
                    .map(|(name, share)| (name.clone(), *share))
                    .collect();
                prevailing(if told.is_empty() { shares } else { &told })
            };
            let Some(share) = told(&shares) else {
                errors.extend(
                    self.wanted().strangers.iter().map(|(name, why)| format!("{name} is of another fleet: {why}")),
                );
                return Err(PortError::later("balancer", errors.join("; ")));
            };
            for (name, other) in &shares {
                if awaiting.contains(name) {
                    disagreeing.push(format!("{name} (awaits its share)"));
                } else if *other != share {
                    disagreeing.push(format!("{name} ({other})"));
                }
            }
            let by_place: BTreeMap<String, Share> =
                by_place.iter().filter_map(|(place, shares)| Some((place.clone(), told(shares)?))).collect();
            Ok(Reading { share, action: action_of(&by_place), begun, disagreeing })
        })
    }

    fn write(&self, share: Share, generation: Generation) -> Answer<'_, ()> {
        let shares = self.proxies.places().map(|place| (place.to_owned(), share)).collect();
        Box::pin(self.put(shares, self.number(generation)))
    }

    fn restore<'a>(&'a self, action: &'a Value, generation: Generation) -> Answer<'a, ()> {
        Box::pin(async move {
            let Some(recorded) = shares_of(action) else {
                return Err(PortError::never("balancer", format!("`{action}` is not an action of our own proxies")));
            };
            // A proxy that was added since then gets the lowest of the recorded shares.
            let lowest = recorded.values().copied().min_by_key(|share| (share.reads, share.writes)).unwrap_or_default();
            let shares = self
                .proxies
                .places()
                .map(|place| (place.to_owned(), recorded.get(place).copied().unwrap_or(lowest)))
                .collect();
            self.put_back(shares, self.number(generation)).await
        })
    }

    fn arm<'a>(&'a self, tripwires: &'a [Tripwire], share: Share) -> Answer<'a, ()> {
        let armed =
            Armed { reads: share.reads.per_mille(), writes: share.writes.per_mille(), limits: limits(tripwires) };
        self.wanted().arming = Arming::These(armed.clone());
        Box::pin(async move {
            // Arming makes a proxy forget what fired. So one that fired while nobody looked is not armed again: it keeps
            // that until the core has heard of it and the revert is in the journal.
            let known = self.proxies.now().await;
            whole(known.failed)?;
            let (answers, silent) = asked(&known.remotes).await;
            let strangers = self.strangers(&answers);
            let mut failed: Vec<_> = silent.into_iter().map(|(proxy, error)| (proxy, Err(error))).collect();
            let mut ready = Vec::new();
            for (proxy, status) in answers.into_iter().filter(|(proxy, _)| !strangers.contains(proxy.name())) {
                match self.ours(&status) {
                    Some(fired) => {
                        self.notice(&proxy, &status);
                        let why = format!("the tripwire of the proxy at {} has fired: {}", proxy.name(), fired.why);
                        failed.push((proxy, Err(RemoteError { why, transient: true, outdated: false })));
                    }
                    None => ready.push(proxy),
                }
            }
            let mut answers = each(&ready, |proxy| {
                let armed = armed.clone();
                async move { proxy.arm(Some(&armed)).await }
            })
            .await;
            answers.append(&mut failed);
            all(answers)
        })
    }

    fn disarm(&self) -> Answer<'_, ()> {
        self.wanted().arming = Arming::Nothing;
        Box::pin(async move {
            let Known { remotes, failed } = self.proxies.now().await;
            all(each(&remotes, |proxy| async move { proxy.arm(None).await }).await)?;
            whole(failed)
        })
    }

    fn close_connections(&self, now: Timestamp, until: Timestamp) -> Answer<'_, ()> {
        let millis = u64::try_from(until.since(now).as_millis()).unwrap_or(u64::MAX);
        Box::pin(async move {
            let Known { remotes, failed } = self.proxies.lately().await;
            all(each(&remotes, |proxy| async move { proxy.close_connections(millis).await }).await)?;
            whole(failed)
        })
    }

    fn watch(&self) -> Answer<'_, Vec<Fired>> {
        Box::pin(async move {
            // Those that are known are looked after, whether they are all or not.
            let Known { remotes, failed } = self.proxies.lately().await;
            let mut errors: Vec<String> = failed.into_iter().collect();
            let (answers, silent) = asked(&remotes).await;
            let unknown = !errors.is_empty() || silent.iter().any(|(proxy, _)| !proxy.is_starting());
            errors.extend(silent.into_iter().map(|(_, error)| error.why));
            for (proxy, status) in &answers {
                self.notice(proxy, status);
            }
            let strangers = self.strangers(&answers);
            for ours in answers.iter().filter(|(proxy, _)| !strangers.contains(proxy.name())) {
                let (proxy, status) = ours;
                let waits = status.awaits_weight && self.writes_nothing();
                let given =
                    waits.then(|| welcome::given(ours, &answers, Alike::Whole, unknown, self.stood())).flatten();
                let mended = match &given {
                    Some(given) => welcome::give(proxy, given).await,
                    None => self.mend(proxy, status).await,
                };
                errors.extend(mended.err().map(|error| error.why));
            }
            let answered = answers.len();
            let found = std::mem::take(&mut self.wanted().found);
            if found.is_empty() && answered == 0 {
                return Err(PortError::later("balancer", errors.join("; ")));
            }
            Ok(found)
        })
    }
}

impl Listener {
    /// Whether no write of this process says what a proxy has to have.
    fn writes_nothing(&self) -> bool {
        self.wanted().shares.is_none()
    }

    /// What stood when this process began; what it has been told to arm goes with it.
    fn stood(&self) -> Standing {
        let untold = matches!(self.wanted().arming, Arming::Untold);
        Standing { armed: self.standing.armed && untold, ..self.standing }
    }

    /// The tripwire that fired in this cutover. One that fired before it was started is history; the proxy's clock
    /// decides, so it may not be wrong by more than the time between two cutovers.
    fn ours<'s>(&self, status: &'s Status) -> Option<&'s proxy::api::Fired> {
        status.fired.as_ref().filter(|fired| fired.at_millis >= self.started.0)
    }

    /// Notes a tripwire of this cutover that is not known yet. From then on no proxy is given the share of before: what
    /// follows is the core's to say.
    fn notice(&self, proxy: &Remote, status: &Status) {
        let Some(fired) = self.ours(status) else { return };
        let mark = (status.instance.clone(), fired.generation);
        let mut wanted = self.wanted();
        if wanted.known.get(proxy.name()) == Some(&mark) {
            return;
        }
        wanted.known.insert(proxy.name().to_owned(), mark);
        wanted.shares = None;
        wanted.found.push(Fired {
            why: format!("{}: {}", proxy.name(), fired.why),
            share: share_of(status),
            at: Timestamp(fired.at_millis),
        });
    }

    /// Gives a proxy that came up again what it lacks. The number of the write it missed goes with it, so that a later
    /// write of ours, under way at the same time, wins.
    async fn mend(&self, proxy: &Remote, status: &Status) -> Result<(), RemoteError> {
        let (share, arming) = {
            let wanted = self.wanted();
            let share = wanted.shares.as_ref().and_then(|(shares, generation)| {
                let missed = status.fired.is_none() && status.generation < *generation;
                shares.get(proxy.place()).filter(|_| missed).map(|share| (*share, *generation))
            });
            (share, wanted.arming.clone())
        };
        // Armed first: the share must not come up without its tripwires. What fired is left to be seen.
        match (arming, &status.armed) {
            _ if status.fired.is_some() => {}
            (Arming::These(armed), has) if has.as_ref() != Some(&armed) => drop(proxy.arm(Some(&armed)).await?),
            (Arming::Nothing, Some(_)) => drop(proxy.arm(None).await?),
            (Arming::Untold | Arming::Nothing | Arming::These(_), _) => {}
        }
        if let Some((share, generation)) = share {
            proxy.set_weight(share, generation).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
