//! The loop of one cutover: next event, decide, store, carry out. In that order, always.
//!
//! It holds no opinion of its own. What follows from an event is [`cutover::decide()`]'s to say; this file waits for
//! events, writes decisions to the journal before anything is done, gives each command to its port with a deadline, and
//! turns what comes back, answer or failure, into the next event.
//!
//! Two things it decides for safety's sake, whatever the core says: there is one balancer write at a time, and while
//! the journal cannot be written no share rises. Then the armed revert still fires, since the entry that armed it is on
//! disk.

mod carry;
mod drifted;
pub mod lately;
mod record;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cutover::event::{Order, Retry};
use cutover::{Cutover, Decision, Event, Phase, Policy, Reason, Share, Timestamp, decide};
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::alert::outbox::Outbox;
use crate::balancer::Balancer;
use crate::clock::{self, Clock};
use crate::events;
use crate::fleet::Fleet;
use crate::gate::Gates;
use crate::metrics::MetricSource;
use crate::port::PortError;
use crate::store::{Lease, Store};
use carry::{Reply, Write};
pub use lately::Lately;

/// How many orders and notices may wait; more are refused.
const INBOX_MAX: usize = 64;

/// How many decisions a slow listener may be behind before it is told that it missed some.
const STORY_MAX: usize = 1024;

/// How often the last moments are counted for the tripwires, while they are watched.
const GLANCE_EVERY: Duration = Duration::from_millis(500);

/// How often the health of the target's targets is looked at, while the target has weight. By the clock that is shown, like
/// the looks above: a cutover that runs fast is looked at as often for its length.
const HEALTH_EVERY: Duration = Duration::from_secs(5);

/// The shortest real pause between two looks of one kind, where the clock runs fast.
const LOOK_EVERY_MIN: Duration = Duration::from_millis(50);

/// How often the balancer is asked whether something happened there by itself.
const WATCH_EVERY: Duration = Duration::from_millis(250);

/// How often an ill journal is tried.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// How long the end of a write that is under way is awaited when the daemon stops.
const STOP_MAX: Duration = Duration::from_millis(1500);

/// How long the last commands of a closed cutover may take: the loop ends when its tripwires are disarmed.
const SEE_OUT_MAX: Duration = Duration::from_secs(5);

/// The longest sleep without looking at the clock again: a wall clock that was set is noticed after this at the latest.
const SLEEP_MAX: Duration = Duration::from_secs(5);

/// What a cutover acts on and is kept in.
#[derive(Clone)]
pub struct Ports {
    /// Where the weights live.
    pub balancer: Arc<dyn Balancer>,
    /// Where the numbers come from.
    pub metrics: Arc<dyn MetricSource>,
    /// What must be healthy.
    pub fleet: Arc<dyn Fleet>,
    /// What is asked before a step.
    pub gates: Arc<dyn Gates>,
    /// The journal.
    pub store: Arc<dyn Store>,
    /// Who is told.
    pub outbox: Outbox,
    /// What time it is.
    pub clock: Clock,
    /// Where the way back by hand is kept; `None` where it is not.
    pub undo: Option<PathBuf>,
    /// Testing aid: the process aborts right after this entry is on disk, before any of its commands.
    pub crash_after_entry: Option<u64>,
}

/// What an operator sees: the cutover after its latest event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct View {
    /// The cutover as it is now.
    pub cutover: Cutover,
    /// Why the latest event was answered as it was.
    pub reason: Reason,
    /// The journal entry of that answer; `None` when it changed nothing worth one.
    pub entry: Option<u64>,
    /// Whether it was accepted, where it was an order.
    pub accepted: bool,
    /// When it was answered.
    pub at: Timestamp,
    /// The interval counted last, side by side; `None` before the first.
    #[serde(default)]
    pub lately: Option<Lately>,
}

/// A running cutover. Clones speak to the same one.
#[derive(Clone)]
pub struct Running {
    inbox: mpsc::Sender<Message>,
    view: watch::Receiver<Arc<View>>,
    story: broadcast::Sender<Arc<View>>,
    /// When the loop last turned.
    turned: Arc<Mutex<Instant>>,
    metrics: Arc<dyn MetricSource>,
}

/// Why an order was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Too much is waiting already.
    #[error("{INBOX_MAX} orders are waiting already; look at the status before ordering more")]
    Busy,
    /// The loop has ended: the cutover was closed or the daemon stops.
    #[error("the cutover is closed, or the daemon stops")]
    Ended,
}

enum Message {
    Order(Box<Order>, oneshot::Sender<Arc<View>>),
    PolicyChanged(Option<String>),
    Stop,
}

impl Running {
    /// Gives an order and waits for the decision that answers it.
    ///
    /// # Errors
    /// When too many orders wait or the loop has ended.
    pub async fn order(&self, order: Order) -> Result<Arc<View>, OrderError> {
        let (reply, answer) = oneshot::channel();
        self.inbox.try_send(Message::Order(Box::new(order), reply)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => OrderError::Busy,
            mpsc::error::TrySendError::Closed(_) => OrderError::Ended,
        })?;
        answer.await.map_err(|_| OrderError::Ended)
    }

    /// Says that the service's policy file differs from what the cutover runs by; `None` when it does not any more.
    pub async fn policy_changed(&self, change: Option<String>) {
        // A loop that has ended has no use for it.
        drop(self.inbox.send(Message::PolicyChanged(change)).await);
    }

    /// Ends the loop when what is in flight has ended. The cutover stays where it is.
    pub async fn stop(&self) {
        drop(self.inbox.send(Message::Stop).await);
    }

    /// The cutover as it is now.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// The cutover as it is now and becomes; changes that nobody looked at in between are passed over.
    pub fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// Every answer from now on, one after the other.
    pub fn story(&self) -> broadcast::Receiver<Arc<View>> {
        self.story.subscribe()
    }

    /// Whether the loop has ended.
    pub fn has_ended(&self) -> bool {
        self.inbox.is_closed()
    }

    /// Waits until the loop has ended.
    pub async fn loop_ended(&self) {
        self.inbox.closed().await;
    }

    /// Where this cutover's numbers come from.
    pub fn metrics(&self) -> Arc<dyn MetricSource> {
        Arc::clone(&self.metrics)
    }

    /// How long the loop has not turned. It turns every few seconds whatever happens, so one that has been silent for
    /// longer hangs.
    pub fn silent_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(*self.turned.lock().expect("nobody panics while holding it"))
    }

    /// Waits until the cutover has ended one way or another (done, reverted, aborted, stuck), or its loop has, and
    /// answers with the last view.
    pub async fn outcome(&self) -> Arc<View> {
        let mut view = self.view.clone();
        loop {
            let now = Arc::clone(&view.borrow_and_update());
            if now.cutover.ended() || matches!(now.cutover.phase, Phase::Stuck { .. }) || view.changed().await.is_err()
            {
                return now;
            }
        }
    }
}

/// The loop of one cutover. Made by [`Controller::new`], driven by [`Controller::run`].
#[expect(clippy::struct_excessive_bools, reason = "each says whether one kind of look is under way")]
pub struct Controller {
    ports: Ports,
    lease: Lease,
    cutover: Cutover,
    inbox: mpsc::Receiver<Message>,
    view: watch::Sender<Arc<View>>,
    story: broadcast::Sender<Arc<View>>,
    /// Events that came of our own doing and wait to be answered.
    pending: VecDeque<Event>,
    /// Commands that are being carried out.
    tasks: JoinSet<Reply>,
    /// The balancer write that is under way.
    write: Option<Write>,
    /// The disarming that is under way.
    disarming: Option<AbortHandle>,
    wake: Option<Timestamp>,
    glancing: bool,
    watching: bool,
    seeing_health: bool,
    /// Whether the last write to the journal succeeded.
    writable: bool,
    /// The interval counted last.
    lately: Option<Lately>,
    turned: Arc<Mutex<Instant>>,
}

/// Whether the balancer is looked at. After `done` too, until it is closed: a proxy that comes up then, with the share on its
/// command line, must be given the whole of the traffic again.
pub(crate) fn looks_at_balancer(cutover: &Cutover) -> bool {
    let done = cutover.phase == Phase::Done && cutover.closed.is_none();
    cutover.watched() || cutover.armed != cutover::cutover::Armed::No || done
}

impl Controller {
    /// A loop for `cutover`, under the lease on its service.
    pub fn new(ports: Ports, lease: Lease, cutover: Cutover) -> (Self, Running) {
        let (sender, inbox) = mpsc::channel(INBOX_MAX);
        let reason = cutover.reason.clone();
        let at = cutover.since;
        let (view, views) = watch::channel(Arc::new(View {
            cutover: cutover.clone(),
            reason,
            entry: None,
            accepted: true,
            at,
            lately: None,
        }));
        let story = broadcast::Sender::new(STORY_MAX);
        let turned = Arc::new(Mutex::new(clock::instant()));
        let metrics = Arc::clone(&ports.metrics);
        let running =
            Running { inbox: sender, view: views, story: story.clone(), turned: Arc::clone(&turned), metrics };
        let controller = Self {
            ports,
            lease,
            cutover,
            inbox,
            view,
            story,
            pending: VecDeque::new(),
            tasks: JoinSet::new(),
            write: None,
            disarming: None,
            wake: None,
            glancing: false,
            watching: false,
            seeing_health: false,
            writable: true,
            lately: None,
            turned,
        };
        (controller, running)
    }

    /// Runs until the cutover is closed or the daemon stops. `first` is answered before anything else: `Restarted` for
    /// a cutover from the journal.
    ///
    /// # Errors
    /// When the lease was lost: someone else drives this cutover now, and this loop must do nothing more.
    pub async fn run(mut self, first: Option<Event>) -> Result<(), PortError> {
        self.keep_undo();
        if let Some(event) = first {
            self.answer(event).await?;
        }
        let often = |period| every(self.ports.clock.real(period).max(LOOK_EVERY_MIN));
        let (mut glance, mut health) = (often(GLANCE_EVERY), often(HEALTH_EVERY));
        let mut watch = every(WATCH_EVERY);
        let mut probe = every(PROBE_EVERY);
        loop {
            while let Some(event) = self.pending.pop_front() {
                self.answer(event).await?;
            }
            if self.cutover.closed.is_some() && self.write.is_none() {
                Box::pin(self.see_out()).await;
                return Ok(());
            }
            self.turn();
            let sleep = self.until_wake();
            tokio::select! {
                // Answers first: what has happened counts before what is wanted next.
                biased;
                Some(ended) = self.tasks.join_next() => {
                    // An aborted task is a write that was given up; it was answered when it was.
                    if let Some(event) = ended.ok().and_then(|reply| self.received(reply)) {
                        self.answer(event).await?;
                    }
                }
                message = self.inbox.recv() => match message {
                    Some(Message::Order(order, reply)) => {
                        let view = self.answer(Event::Ordered(*order)).await?;
                        // Who ordered may have gone; the order stands.
                        drop(reply.send(view));
                    }
                    Some(Message::PolicyChanged(change)) => drop(self.answer(Event::PolicyChanged { change }).await?),
                    Some(Message::Stop) | None => return Box::pin(self.wind_down()).await,
                },
                _ = watch.tick(), if looks_at_balancer(&self.cutover) && !self.watching => self.watch_balancer(),
                _ = glance.tick(), if self.cutover.watched() && !self.glancing => self.glance(),
                _ = health.tick(), if self.looks_at_health() && !self.seeing_health => self.see_health(),
                _ = probe.tick(), if !self.writable => self.probe().await?,
                () = tokio::time::sleep(sleep) => {
                    if self.wake.is_some_and(|wake| wake <= self.ports.clock.now()) {
                        self.wake = None;
                        self.answer(Event::Tick).await?;
                    }
                }
            }
        }
    }

    fn until_wake(&self) -> Duration {
        let clock = &self.ports.clock;
        self.wake.map_or(SLEEP_MAX, |wake| clock.real(wake.since(clock.now())).min(SLEEP_MAX))
    }

    /// Whether the health of the target's targets can take the traffic back now.
    fn looks_at_health(&self) -> bool {
        let next = &self.cutover;
        let has_weight = next.desired != Share::NONE
            || next.configured.as_ref().is_some_and(|configured| configured.share != Share::NONE);
        let forth =
            matches!(next.phase, Phase::Gated { .. } | Phase::Shifting { .. } | Phase::Baking { .. } | Phase::Draining);
        next.policy.fleet.healthy_min > 0 && next.watched() && has_weight && forth
    }

    fn turn(&self) {
        *self.turned.lock().expect("nobody panics while holding it") = clock::instant();
    }

    /// Waits until nothing stays armed, within bounds.
    async fn see_out(&mut self) {
        let Some(disarming) = self.disarming.take() else { return };
        let ending = async { while !disarming.is_finished() && self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(SEE_OUT_MAX, ending).await.is_err() {
            tracing::error!(
                service = self.lease.service,
                "the cutover is closed and its tripwires could not be disarmed: restart the proxies that do not answer"
            );
        }
    }

    /// Answers one event: decide, store, carry out.
    async fn answer(&mut self, event: Event) -> Result<Arc<View>, PortError> {
        self.turn();
        let now = self.ports.clock.now();
        let decision = decide(&self.cutover, &event, now);
        let entry = match self.record(&event, &decision, now).await {
            Ok(entry) => entry,
            Err(error) if error.retry == Retry::Never => return Err(error),
            Err(error) => return Ok(self.answer_unjournalled(&event, now, &error)),
        };
        let view = self.go_on(&decision, entry, &event, now);
        self.carry_out(decision.commands, now);
        if entry.is_some() && !self.writable {
            // It was written, so the journal is well again. The core hears of it in an event of its own.
            self.recovered();
        }
        Ok(view)
    }

    /// The answer when the journal could not be written: the core is told so, decides again, and what it asks for is
    /// carried out less what would raise a share.
    fn answer_unjournalled(&mut self, event: &Event, now: Timestamp, error: &PortError) -> Arc<View> {
        let text = crate::port::in_one_line(error);
        events::JournalFailed { service: &self.lease.service, error: &text }.emit();
        self.writable = false;
        if self.cutover.journal_writable {
            let told = Event::Journal { writable: false };
            let decision = decide(&self.cutover, &told, now);
            self.go_on(&decision, None, &told, now);
            self.carry_out_unjournalled(decision.commands, now);
        }
        let decision = decide(&self.cutover, event, now);
        let view = self.go_on(&decision, None, event, now);
        self.carry_out_unjournalled(decision.commands, now);
        view
    }

    /// Makes what was decided the state and shows it.
    fn go_on(&mut self, decision: &Decision, entry: Option<u64>, event: &Event, now: Timestamp) -> Arc<View> {
        let Decision { next, reason, accepted, .. } = decision;
        let service = &self.lease.service;
        events::Answered { service, event: event.word(), kind: &reason.kind }.emit();
        if entry.is_some() {
            events::Decided {
                service,
                cutover: &next.id,
                entry,
                phase: next.phase.name(),
                desired: next.desired,
                kind: &reason.kind,
                text: &reason.text,
            }
            .emit();
        }
        let recorded =
            self.cutover.original != next.original || self.cutover.levers.pulled.keys().ne(next.levers.pulled.keys());
        self.cutover = next.clone();
        if recorded {
            self.keep_undo();
        }
        if let Event::Observed(observation) = event {
            self.lately = Some(Lately::new(observation));
        }
        let (cutover, reason, lately) = (next.clone(), reason.clone(), self.lately.clone());
        let view = Arc::new(View { cutover, reason, entry, accepted: *accepted, at: now, lately });
        self.view.send_replace(Arc::clone(&view));
        // Nobody listening is the usual case.
        drop(self.story.send(Arc::clone(&view)));
        view
    }

    /// Keeps the way back by hand on disk. Nothing waits for it: the journal has the original, and a disk that hangs must
    /// not hold up a revert.
    fn keep_undo(&mut self) {
        let Some(directory) = self.ports.undo.clone() else { return };
        let cutover = self.cutover.clone();
        self.tasks.spawn(async move {
            let service = cutover.policy.service.clone();
            let kept = tokio::task::spawn_blocking(move || crate::undo::keep(&directory, &cutover)).await;
            match kept.map_err(std::io::Error::other).flatten() {
                Ok(Some(file)) => events::UndoKept { service: &service, file: &file }.emit(),
                Ok(None) => {}
                Err(error) => {
                    events::CommandFailed { service: &service, command: "undo", error: &error.to_string() }.emit();
                }
            }
            Reply::Nothing
        });
    }

    /// Waits for a write that is under way, writes down how it ended, and ends. Everything else is asked for again
    /// after the next start.
    async fn wind_down(mut self) -> Result<(), PortError> {
        if self.write.is_none() {
            return Ok(());
        }
        let ended = tokio::time::timeout(STOP_MAX, async {
            while let Some(ended) = self.tasks.join_next().await {
                if let Ok(reply) = ended {
                    let wrote = matches!(reply, Reply::Wrote { .. });
                    if let Some(event) = self.received(reply) {
                        let now = self.ports.clock.now();
                        let decision = decide(&self.cutover, &event, now);
                        self.record(&event, &decision, now).await?;
                        self.cutover = decision.next;
                    }
                    if wrote {
                        break;
                    }
                }
            }
            Ok(())
        });
        // Nobody knows how the write ended; after the next start the balancer is read.
        ended.await.unwrap_or(Ok(()))
    }
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval
}

/// In one sentence, how the policy file differs from what a cutover runs by; `None` when it does not.
pub fn policy_change(runs_by: &Policy, file: &Policy) -> Option<String> {
    if runs_by == file {
        return None;
    }
    let (old, new) = (serde_json::to_value(runs_by).ok()?, serde_json::to_value(file).ok()?);
    let mut changed = Vec::new();
    differences("", &old, &new, &mut changed);
    Some(format!("the policy file now differs in {}", changed.join(", ")))
}

fn differences(path: &str, old: &serde_json::Value, new: &serde_json::Value, found: &mut Vec<String>) {
    match (old, new) {
        (serde_json::Value::Object(old), serde_json::Value::Object(new)) => {
            for key in old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match (old.get(key), new.get(key)) {
                    (Some(old), Some(new)) => differences(&path, old, new, found),
                    _ => found.push(path),
                }
            }
        }
        (old, new) if old != new => found.push(path.to_owned()),
        _ => {}
    }
}
