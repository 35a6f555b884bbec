//! The health prober: asks each target of each group that is in use, at the group's interval, and tells the account what
//! it found, with AWS's states and reasons.
//!
//! One success makes a new target healthy; a target that was unhealthy needs as many in a row as the group says (ELB guide,
//! "Target group health checks"). Intervals are lab time. A time-out is one of the network and so a real one, but a lab
//! that runs sixty times as fast cannot wait five real seconds for each silent answer: it is shortened with the speed, down
//! to [`TIMEOUT_MIN`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::live::address;
use super::world::World;
use crate::clock::Time;
use crate::model::group::HealthCheck;
use crate::model::{Health, HealthState, Target};

/// The shortest that a probe waits, in real time: a busy machine must not look like a dead target.
pub(super) const TIMEOUT_MIN: Duration = Duration::from_secs(2);

/// How often the prober looks for probes that are due, at the least, in real time.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A target group and one of its targets.
type Name = (String, String, u16);

/// What one probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Well,
    Status(u16),
    Timeout,
    Refused,
}

impl Found {
    /// The state of a target of which this was found often enough.
    fn health(&self) -> Health {
        let unhealthy = |reason, description: String| Health::of(HealthState::Unhealthy, reason, description);
        match self {
            Self::Well => Health::healthy(),
            Self::Status(status) => {
                unhealthy("Target.ResponseCodeMismatch", format!("Health checks failed with these codes: [{status}]"))
            }
            Self::Timeout => unhealthy("Target.Timeout", "Request timed out".to_owned()),
            Self::Refused => unhealthy("Target.FailedHealthChecks", "Health checks failed".to_owned()),
        }
    }
}

/// What the prober remembers of one target.
#[derive(Debug, Default)]
struct Seen {
    /// When it was registered: one that left and came back is a new one.
    registered: Time,
    next: Time,
    asking: bool,
    /// How many in a row were well, or were not.
    well: u32,
    ill: u32,
}

impl Seen {
    /// Takes in what was found, and gives the health that follows, if the target was so before.
    fn take(&mut self, found: &Found, check: &HealthCheck, before: HealthState) -> Option<Health> {
        if *found == Found::Well {
            (self.well, self.ill) = (self.well + 1, 0);
        } else {
            (self.well, self.ill) = (0, self.ill + 1);
        }
        let decided = match before {
            HealthState::Unhealthy => self.well >= check.healthy_threshold || self.ill > 0,
            HealthState::Healthy => self.ill >= check.unhealthy_threshold,
            // New, or not in use until now: one success is enough.
            _ => self.well > 0 || self.ill >= check.unhealthy_threshold,
        };
        decided.then(|| found.health())
    }
}

/// A probe that is due.
struct Due {
    name: Name,
    check: HealthCheck,
    to: Option<SocketAddr>,
}

/// Probes until the lab ends.
pub(super) async fn probe(world: Arc<World>) {
    let seen: Arc<Mutex<BTreeMap<Name, Seen>>> = Arc::default();
    loop {
        let now = world.shared.clock.now();
        for due in look(&world, &seen, now) {
            let (owner, seen) = (Arc::clone(&world), Arc::clone(&seen));
            world.tasks.spawn(async move {
                let patience = (due.check.timeout / owner.shared.clock.speed()).max(TIMEOUT_MIN);
                let found = match due.to {
                    None => Found::Timeout,
                    Some(to) => {
                        let asked = tokio::time::timeout(patience, ask(to, &due.check));
                        asked.await.unwrap_or(Found::Timeout)
                    }
                };
                conclude(&owner, &seen, &due, &found);
            });
        }
        tokio::time::sleep((Duration::from_secs(1) / world.shared.clock.speed()).max(LOOK_EVERY)).await;
    }
}

/// Notes who is not in use, and lists the probes that are due.
fn look(world: &World, seen: &Mutex<BTreeMap<Name, Seen>>, now: Time) -> Vec<Due> {
    let ports = world.ports();
    let mut due = Vec::new();
    let mut changes: Vec<(Name, Health)> = Vec::new();
    let mut present: BTreeSet<Name> = BTreeSet::new();
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    world.shared.read(|model| {
        for group in model.target_groups.values() {
            let used = !model.users_of(&group.arn).is_empty();
            for target in &group.targets {
                let name = (group.arn.clone(), target.id.clone(), target.port);
                if target.draining_until.is_some() {
                    continue;
                }
                if !used {
                    if target.health.state != HealthState::Unused {
                        changes.push((name, Health::not_in_use()));
                    }
                    continue;
                }
                present.insert(name.clone());
                let known = seen.entry(name.clone()).or_default();
                if known.registered != target.registered || target.health.state == HealthState::Unused {
                    *known = Seen { registered: target.registered, ..Seen::default() };
                }
                if let Some(health) = begun(target) {
                    changes.push((name.clone(), health));
                }
                if known.asking || known.next > now {
                    continue;
                }
                known.asking = true;
                known.next = now + group.health_check.interval;
                let to = address(group.target_type, target, &world.upstreams, &ports);
                let port = group.health_check.port.filter(|port| *port != target.port);
                let to = to.map(|to| port.map_or(to, |port| SocketAddr::new(to.ip(), port)));
                due.push(Due { name, check: group.health_check.clone(), to });
            }
        }
    });
    seen.retain(|name, _| present.contains(name));
    drop(seen);
    if !changes.is_empty() {
        world.shared.happen(|model, _| {
            for ((group, id, port), health) in changes {
                model.set_health(&group, &id, port, health);
            }
        });
        world.refresh();
    }
    due
}

/// The next state of a target that has only just come into use.
fn begun(target: &Target) -> Option<Health> {
    let checking =
        || Health::of(HealthState::Initial, "Elb.InitialHealthChecking", "Initial health checks in progress");
    match target.health.state {
        HealthState::Unused => Some(Health::registering()),
        HealthState::Initial if target.health.reason == Some("Elb.RegistrationInProgress") => Some(checking()),
        _ => None,
    }
}

/// Asks one target.
async fn ask(to: SocketAddr, check: &HealthCheck) -> Found {
    let Ok(stream) = TcpStream::connect(to).await else { return Found::Refused };
    if !check.protocol.is_http() {
        return Found::Well;
    }
    let Ok((mut sender, connection)) = http1::handshake(TokioIo::new(stream)).await else { return Found::Refused };
    let request = Request::get(&check.path)
        .header("host", to.to_string())
        .header("user-agent", "ELB-HealthChecker/2.0")
        .header("connection", "close")
        .body(Empty::<Bytes>::new());
    let Ok(request) = request else { return Found::Refused };
    let mut answer = std::pin::pin!(sender.send_request(request));
    let answer = tokio::select! {
        answer = answer.as_mut() => answer,
        // It ended: either with the answer, which is there now, or without.
        _ = connection => answer.await,
    };
    match answer {
        Ok(answer) if check.matches(answer.status().as_u16()) => Found::Well,
        Ok(answer) => Found::Status(answer.status().as_u16()),
        Err(_) => Found::Refused,
    }
}

/// Tells the account what follows from what was found.
fn conclude(world: &World, seen: &Mutex<BTreeMap<Name, Seen>>, due: &Due, found: &Found) {
    let (group, id, port) = &due.name;
    let before = world.shared.read(|model| {
        let target = model.target_groups.get(group).and_then(|group| group.target(id, *port));
        target.filter(|target| target.draining_until.is_none()).map(|target| target.health.clone())
    });
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(known) = seen.get_mut(&due.name) else { return };
    known.asking = false;
    let Some(before) = before else { return };
    let after = known.take(found, &due.check, before.state);
    drop(seen);
    if let Some(after) = after.filter(|after| *after != before) {
        world.shared.happen(|model, _| model.set_health(group, id, *port, after));
        world.refresh();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Protocol;

    /// Proves the thresholds: one success for a new target, as many in a row as the group says for the rest.
    #[test]
    fn thresholds_are_counted_in_a_row() {
        let check = HealthCheck {
            enabled: true,
            protocol: Protocol::Http,
            port: None,
            path: "/".to_owned(),
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            healthy_threshold: 3,
            unhealthy_threshold: 2,
            matcher: "200-499".to_owned(),
        };
        let mut seen = Seen::default();
        let mut state = HealthState::Initial;
        let mut take = |found: &Found| {
            if let Some(health) = seen.take(found, &check, state) {
                state = health.state;
            }
            state
        };
        assert_eq!(take(&Found::Refused), HealthState::Initial);
        assert_eq!(take(&Found::Well), HealthState::Healthy);
        assert_eq!(take(&Found::Timeout), HealthState::Healthy);
        assert_eq!(take(&Found::Well), HealthState::Healthy);
        assert_eq!(take(&Found::Status(503)), HealthState::Healthy);
        assert_eq!(take(&Found::Status(503)), HealthState::Unhealthy);
        for _ in 0..2 {
            assert_eq!(take(&Found::Well), HealthState::Unhealthy);
        }
        assert_eq!(take(&Found::Status(502)), HealthState::Unhealthy, "the count begins anew");
        for _ in 0..2 {
            assert_eq!(take(&Found::Well), HealthState::Unhealthy);
        }
        assert_eq!(take(&Found::Well), HealthState::Healthy);
    }
}
