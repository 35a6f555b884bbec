//! Carrying commands out: each in a task of its own with a deadline, so that a port that hangs becomes a failure that
//! the core answers, and never a loop that stands still.

use std::sync::Arc;
use std::time::Duration;

use cutover::event::{CommandKind, GateAnswer, Health, Observation, Reading, Retry};
use cutover::{BlockerKind, Command, Event, Generation, Phase, Share, Timestamp};
use tokio::task::AbortHandle;

use super::Controller;
use super::drifted::Drifted;
use crate::balancer::{Balancer, Fired};
use crate::events;
use crate::gate::Question;
use crate::port::{Answer, PortError, in_one_line};

/// How long a write or restore may take. Longer than three calls to a proxy, which is what a conflict costs.
const WRITE_MAX: Duration = Duration::from_secs(8);

/// How long reading the balancer may take.
const READ_MAX: Duration = Duration::from_secs(5);

/// How long arming, disarming and closing connections may take.
const ARM_MAX: Duration = Duration::from_secs(5);

/// The pause before disarming is tried again.
const DISARM_PAUSE: Duration = Duration::from_secs(2);

/// How often disarming is tried: with the pause and [`ARM_MAX`] for an hour at least.
const DISARM_TRIES_MAX: u32 = 1800;

/// How long the counts of a window may take beyond the window's end.
const OBSERVE_MAX: Duration = Duration::from_secs(10);

/// The same where counts come late and are read twice before they are believed. Shorter than the core waits for an answer.
const OBSERVE_LATE_MAX: Duration = Duration::from_secs(25);

/// How long the checks of the fleet may take.
const CHECK_MAX: Duration = Duration::from_secs(20);

/// How long the gates that are asked at preflight may take, all of them; with [`CHECK_MAX`] less than the core waits.
const GATES_MAX: Duration = Duration::from_secs(35);

/// How long a look at what keeps clients where they are may take.
const LAG_MAX: Duration = Duration::from_secs(10);

/// How long reading or moving a lever may take: some calls of AWS, one after the other.
const LEVER_MAX: Duration = Duration::from_secs(40);

/// How long one look for the tripwires or at the balancer may take.
const LOOK_MAX: Duration = Duration::from_secs(5);

/// How long one look at the health of targets may take; it waits for its turn among those of other cutovers.
const HEALTH_MAX: Duration = Duration::from_mins(1);

/// How many commands may be under way; the core asks for a handful at a time. One more fails at once.
const TASKS_MAX: usize = 64;

/// The balancer write that is under way.
pub(super) struct Write {
    task: AbortHandle,
    kind: CommandKind,
    generation: Generation,
    begun: Timestamp,
}

/// What a task ended with.
pub(super) enum Reply {
    /// The event that follows.
    Event(Event),
    /// A write or restore ended.
    Wrote { event: Event },
    /// A look for the tripwires: one observation for each window that could be counted.
    Glanced(Vec<Observation>),
    /// A look at the health of targets; nothing where it could not be read.
    Health(Option<Health>),
    /// A look at the balancer.
    Watched(Vec<Fired>),
    /// Nothing that the core must know.
    Nothing,
}

/// A command's name in logs and counters.
fn name(kind: CommandKind) -> &'static str {
    match kind {
        CommandKind::Check => "check",
        CommandKind::Read => "read",
        CommandKind::Write => "write",
        CommandKind::Restore => "restore",
        CommandKind::Arm => "arm",
        CommandKind::Observe => "observe",
        CommandKind::Gate => "gate",
        CommandKind::Lever => "lever",
    }
}

/// A failed command, as the core hears of it.
struct Failure {
    service: String,
    what: CommandKind,
    generation: Option<Generation>,
    begun: Timestamp,
}

impl Failure {
    fn event(self, error: &PortError) -> Event {
        let text = in_one_line(error);
        events::CommandFailed { service: &self.service, command: name(self.what), error: &text }.emit();
        Event::Failed {
            what: self.what,
            generation: self.generation,
            retry: error.retry,
            error: text,
            begun: self.begun,
        }
    }
}

pub(super) async fn within<T>(port: &'static str, limit: Duration, answer: Answer<'_, T>) -> Result<T, PortError> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(PortError::later(port, format!("no answer within {} s", limit.as_secs_f64()))),
    }
}

impl Controller {
    /// Carries commands out that are on disk.
    pub(super) fn carry_out(&mut self, commands: Vec<Command>, now: Timestamp) {
        for command in commands {
            self.start(command, now);
        }
    }

    /// Carries commands out that are not on disk: all but a write that gives the target more than it has.
    pub(super) fn carry_out_unjournalled(&mut self, commands: Vec<Command>, now: Timestamp) {
        for message in self.messages(&commands, &self.cutover, now) {
            self.ports.outbox.carry(message);
        }
        for command in commands {
            match command {
                Command::Write { share, generation } if self.would_rise(share) => {
                    let error = PortError::later("store", "nothing rises while the journal cannot be written");
                    let failure = self.failure(CommandKind::Write, Some(generation), now);
                    self.pending.push_back(failure.event(&error));
                }
                // Where it stood would be known to nobody after a crash.
                Command::SetLever { from: None, .. } => {
                    let error = PortError::later("store", "no setting is changed while the journal cannot be written");
                    let failure = self.failure(CommandKind::Lever, None, now);
                    self.pending.push_back(failure.event(&error));
                }
                other => self.start(other, now),
            }
        }
    }

    /// Whether the target would get more than the balancer is known to give it; unknown counts as a rise.
    fn would_rise(&self, share: Share) -> bool {
        self.cutover.configured.as_ref().is_none_or(|configured| share.raises(configured.share))
    }

    fn failure(&self, what: CommandKind, generation: Option<Generation>, begun: Timestamp) -> Failure {
        Failure { service: self.lease.service.clone(), what, generation, begun }
    }

    fn start(&mut self, command: Command, now: Timestamp) {
        match command {
            // Stored with the decision, or handed to the outbox in its stead.
            Command::Alert(_) => {}
            Command::WakeAt(at) => self.wake = Some(at),
            Command::Write { share, generation } => {
                let what = format!("target {share}");
                self.start_write(CommandKind::Write, generation, &what, now, move |balancer| {
                    Box::pin(async move { balancer.write(share, generation).await })
                });
            }
            Command::Restore { action, generation } => {
                let what = format!("the recorded original {action}");
                self.start_write(CommandKind::Restore, generation, &what, now, move |balancer| {
                    Box::pin(async move { balancer.restore(&action, generation).await })
                });
            }
            Command::Check => {
                let fleet = Arc::clone(&self.ports.fleet);
                let drifted = Drifted::of(&self.cutover, &self.ports.metrics, now);
                // What a gate says about the world is said before anything is moved, and again when its step comes.
                let begins = matches!(self.cutover.phase, Phase::Preflight);
                let gates = begins.then(|| (Arc::clone(&self.ports.gates), self.cutover.policy.clone()));
                let lags = self.lags().then(|| Arc::clone(&self.ports.metrics));
                let captured = self.cutover.policy.capture.clone();
                self.spawn(CommandKind::Check, now, async move {
                    let (checks, captured) = tokio::join!(
                        within("fleet", CHECK_MAX, fleet.check()),
                        within("fleet", CHECK_MAX, fleet.captured(&captured)),
                    );
                    let mut checks = checks?;
                    checks.extend(captured?);
                    if let Some((gates, policy)) = gates {
                        checks.extend(within("gate", GATES_MAX, gates.at_preflight(&policy)).await?);
                    }
                    if let Some(metrics) = lags {
                        // It explains and decides nothing: without it the rest of the causes are told all the same.
                        match within("metrics", LAG_MAX, metrics.lag()).await {
                            Ok(causes) => checks.extend(causes),
                            Err(error) => tracing::debug!(error = %in_one_line(&error), "no look at connections"),
                        }
                    }
                    if let Some(drifted) = drifted {
                        checks.push(drifted.check().await);
                    }
                    Ok(Event::Checked { checks, begun: now })
                });
            }
            Command::Read => {
                let balancer = Arc::clone(&self.ports.balancer);
                self.spawn(CommandKind::Read, now, async move {
                    let reading: Reading = within("balancer", READ_MAX, balancer.read(now)).await?;
                    Ok(Event::Read(reading))
                });
            }
            Command::Observe(window) => {
                let metrics = Arc::clone(&self.ports.metrics);
                let late = !self.cutover.policy.metrics.late().is_zero();
                let limit = if late { OBSERVE_LATE_MAX } else { OBSERVE_MAX } + window.to.since(now);
                // The core's patience is by the clock that it is shown.
                let limit = self.ports.clock.real(limit);
                self.spawn(CommandKind::Observe, now, async move {
                    Ok(Event::Observed(within("metrics", limit, metrics.observe(window)).await?))
                });
            }
            Command::Arm { tripwires, share } => {
                if let Some(disarming) = self.disarming.take() {
                    disarming.abort();
                }
                let balancer = Arc::clone(&self.ports.balancer);
                self.spawn(CommandKind::Arm, now, async move {
                    within("balancer", ARM_MAX, balancer.arm(&tripwires, share)).await?;
                    Ok(Event::Armed)
                });
            }
            Command::Disarm => self.disarm(),
            Command::CloseConnections { until } => {
                let balancer = Arc::clone(&self.ports.balancer);
                let service = self.lease.service.clone();
                self.tasks.spawn(async move {
                    // A courtesy to clients: nothing hangs on it, so its failure is told to people and not to the core.
                    if let Err(error) = within("balancer", ARM_MAX, balancer.close_connections(now, until)).await {
                        let error = in_one_line(&error);
                        events::CommandFailed { service: &service, command: "close_connections", error: &error }.emit();
                    }
                    Reply::Nothing
                });
            }
            Command::AskGate { gate, step } => self.ask(gate, step, now),
            Command::ReadLevers => {
                let fleet = Arc::clone(&self.ports.fleet);
                self.spawn(CommandKind::Lever, now, async move {
                    let stands = within("fleet", LEVER_MAX, fleet.levers()).await?;
                    Ok(Event::LeversRead { stands, begun: now })
                });
            }
            Command::SetLever { lever, from, to } => {
                let fleet = Arc::clone(&self.ports.fleet);
                self.spawn(CommandKind::Lever, now, async move {
                    let value = within("fleet", LEVER_MAX, fleet.set_lever(lever, from, to)).await?;
                    Ok(Event::LeverMoved { lever, value, begun: now })
                });
            }
        }
    }

    /// Whether requests go where the weights do not send them, so that it is worth asking who sends them.
    fn lags(&self) -> bool {
        let lags = |kind| matches!(kind, BlockerKind::Observed | BlockerKind::Source);
        self.cutover.blockers.iter().any(|blocker| lags(blocker.kind))
    }

    /// Disarms, and tries on until it is done or something is armed again: a proxy that stayed armed after the end would
    /// put clients back to a source that may be gone by then.
    fn disarm(&mut self) {
        if let Some(earlier) = self.disarming.take() {
            earlier.abort();
        }
        let (balancer, service) = (Arc::clone(&self.ports.balancer), self.lease.service.clone());
        self.disarming = Some(self.tasks.spawn(async move {
            for _ in 0..DISARM_TRIES_MAX {
                let Err(error) = within("balancer", ARM_MAX, balancer.disarm()).await else { break };
                let error = in_one_line(&error);
                events::CommandFailed { service: &service, command: "disarm", error: &error }.emit();
                tokio::time::sleep(DISARM_PAUSE).await;
            }
            Reply::Nothing
        }));
    }

    fn ask(&mut self, gate: String, step: usize, now: Timestamp) {
        let Some(named) = self.cutover.policy.gates.iter().find(|known| known.name == gate).cloned() else {
            let error = PortError::never("gate", format!("the policy has no gate `{gate}`"));
            let event = self.failure(CommandKind::Gate, None, now).event(&error);
            return self.pending.push_back(event);
        };
        let (gates, cutover) = (Arc::clone(&self.ports.gates), self.cutover.clone());
        self.spawn(CommandKind::Gate, now, async move {
            let question = Question { gate: &named, step, cutover: &cutover };
            let answer: GateAnswer = within("gate", named.timeout, gates.ask(question)).await?;
            Ok(Event::GateAnswered { gate, step, answer, begun: now })
        });
    }

    /// Carries a command out in a task; its failure is an event as its success is.
    fn spawn(
        &mut self,
        what: CommandKind,
        begun: Timestamp,
        task: impl Future<Output = Result<Event, PortError>> + Send + 'static,
    ) {
        let failure = self.failure(what, None, begun);
        if self.tasks.len() >= TASKS_MAX {
            let error = PortError::later("controller", format!("{TASKS_MAX} commands are under way already"));
            return self.pending.push_back(failure.event(&error));
        }
        self.tasks.spawn(async move {
            Reply::Event(match task.await {
                Ok(event) => event,
                Err(error) => failure.event(&error),
            })
        });
    }

    /// Starts a write. There is one at a time: an earlier one is given up and answered as failed, since what was asked
    /// for last is what is wanted. Should it land all the same, its lower number gives it away.
    fn start_write(
        &mut self,
        kind: CommandKind,
        generation: Generation,
        what: &str,
        begun: Timestamp,
        call: impl FnOnce(Arc<dyn Balancer>) -> Answer<'static, ()> + Send + 'static,
    ) {
        if let Some(earlier) = self.write.take() {
            earlier.task.abort();
            let error =
                PortError { port: "balancer", retry: Retry::Later, source: "given up for a later write".into() };
            let failure = self.failure(earlier.kind, Some(earlier.generation), earlier.begun);
            self.pending.push_back(failure.event(&error));
        }
        events::Writing { service: &self.lease.service, what, generation: generation.0 }.emit();
        let failure = self.failure(kind, Some(generation), begun);
        let balancer = Arc::clone(&self.ports.balancer);
        let task = self.tasks.spawn(async move {
            let event = match within("balancer", WRITE_MAX, call(balancer)).await {
                Ok(()) => Event::Written { generation, begun },
                Err(error) => failure.event(&error),
            };
            Reply::Wrote { event }
        });
        self.write = Some(Write { task, kind, generation, begun });
    }

    /// Takes the answer of a task; what it answers with, when the core must know.
    pub(super) fn received(&mut self, reply: Reply) -> Option<Event> {
        match reply {
            Reply::Event(event) => Some(event),
            Reply::Wrote { event } => {
                let generation = match &event {
                    Event::Written { generation, .. } => Some(*generation),
                    Event::Failed { generation, .. } => *generation,
                    _ => None,
                };
                if self.write.as_ref().map(|write| write.generation) != generation {
                    // It ended in the moment it was given up, and was answered as failed already.
                    return None;
                }
                self.write = None;
                Some(event)
            }
            Reply::Glanced(observations) => {
                self.glancing = false;
                self.pending.extend(observations.into_iter().map(Event::Glanced));
                None
            }
            Reply::Health(health) => {
                self.seeing_health = false;
                health.map(Event::Health)
            }
            Reply::Watched(fired) => {
                self.watching = false;
                self.pending.extend(fired.into_iter().map(|Fired { why, share, at }| Event::Fired { why, share, at }));
                None
            }
            Reply::Nothing => None,
        }
    }

    /// Counts the last moments, once for each window that a tripwire looks at.
    pub(super) fn glance(&mut self) {
        let mut windows: Vec<Duration> = Vec::new();
        for tripwire in &self.cutover.policy.tripwires {
            if !windows.contains(&tripwire.window) {
                windows.push(tripwire.window);
            }
        }
        if windows.is_empty() || !self.cutover.policy.counts_fast() {
            return;
        }
        let (metrics, now) = (Arc::clone(&self.ports.metrics), self.ports.clock.now());
        self.glancing = true;
        self.tasks.spawn(async move {
            let mut observations = Vec::with_capacity(windows.len());
            for window in windows {
                // What cannot be counted is no event: the judged intervals tell the core that it is blind.
                match within("metrics", LOOK_MAX, metrics.glance(now, window)).await {
                    Ok(observation) => observations.push(observation),
                    Err(error) => tracing::debug!(error = %in_one_line(&error), "no glance"),
                }
            }
            Reply::Glanced(observations)
        });
    }

    /// Looks at the health of the target's targets.
    pub(super) fn see_health(&mut self) {
        let fleet = Arc::clone(&self.ports.fleet);
        self.seeing_health = true;
        self.tasks.spawn(async move {
            // What cannot be read is no sign of badness; the checks say it, and then nothing rises.
            Reply::Health(within("fleet", HEALTH_MAX, fleet.health()).await.unwrap_or_else(|error| {
                tracing::debug!(error = %in_one_line(&error), "the health of targets could not be read");
                None
            }))
        });
    }

    /// Asks the balancer whether something happened there by itself.
    pub(super) fn watch_balancer(&mut self) {
        let balancer = Arc::clone(&self.ports.balancer);
        self.watching = true;
        self.tasks.spawn(async move {
            match within("balancer", LOOK_MAX, balancer.watch()).await {
                Ok(fired) => Reply::Watched(fired),
                Err(error) => {
                    tracing::debug!(error = %in_one_line(&error), "the balancer did not answer a look at it");
                    Reply::Watched(Vec::new())
                }
            }
        });
    }
}
