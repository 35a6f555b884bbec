//! Whether our own proxies behind the target groups of a load balancer can be asked for their counters, which its tripwires
//! look at.
//!
//! Some tasks may be out of reach: what is known is used, and what is silent is named. A side of which no proxy answers is
//! unknown, and nothing rises on a tripwire that sees nothing. Whether the side is healthy is the load balancer's to say.

use std::sync::Arc;

use cutover::event::{Check, CheckOutcome, Health};
use proxy::api::Status;

use super::Fleet;
use crate::port::Answer;
use crate::proxies::{Remote, each};

/// Another fleet, and the proxies behind its two sides.
pub struct WithProxies {
    fleet: Arc<dyn Fleet>,
    source: Vec<Remote>,
    target: Vec<Remote>,
}

/// The share of everything, in per mille.
const ALL: u16 = 1000;

impl WithProxies {
    /// Looks after `fleet`, and after the proxies behind its source and its target.
    pub fn new(fleet: Arc<dyn Fleet>, source: Vec<Remote>, target: Vec<Remote>) -> Self {
        Self { fleet, source, target }
    }
}

/// What the proxies of one side answered.
fn side(name: &str, answers: &[(Remote, Result<Status, String>)]) -> Vec<Check> {
    let title = format!("{name} proxies");
    let silent: Vec<&str> =
        answers.iter().filter_map(|(_, answer)| answer.as_ref().err().map(String::as_str)).collect();
    let known = answers.len() - silent.len();
    let mut evidence = format!("{known} of {} answer", answers.len());
    if !silent.is_empty() {
        evidence = format!("{evidence}; silent: {}", silent.join("; "));
    }
    let reach = format!("let this machine reach them, or take `{name}.proxies` out of the policy");
    let (outcome, fix) = match (known, silent.is_empty()) {
        (_, true) => (CheckOutcome::Pass, ""),
        (0, false) => (CheckOutcome::Unknown, reach.as_str()),
        (_, false) => (CheckOutcome::Warn, "the tripwires look at the others; let this machine reach all"),
    };
    let mut checks = vec![Check::new(&*title, outcome, evidence, fix)];
    let splits = |status: &Status| [status.reads, status.writes].iter().any(|share| ![0, ALL].contains(share));
    let splitting: Vec<&str> = answers
        .iter()
        .filter(|(_, answer)| answer.as_ref().is_ok_and(splits))
        .map(|(remote, _)| remote.name())
        .collect();
    if !splitting.is_empty() {
        let evidence = format!("{} splits what it gets by itself", splitting.join(", "));
        let fix = "a proxy behind a target group serves one cluster: give it a weight of 0 or 1000";
        checks.push(Check::new(format!("{title} split"), CheckOutcome::Fail, evidence, fix));
    }
    checks
}

async fn asked(proxies: &[Remote]) -> Vec<(Remote, Result<Status, String>)> {
    let answers = each(proxies, |proxy| async move { proxy.status().await }).await;
    answers.into_iter().map(|(remote, answer)| (remote, answer.map_err(|error| error.why))).collect()
}

impl Fleet for WithProxies {
    fn check(&self) -> Answer<'_, Vec<Check>> {
        Box::pin(async move {
            let (checks, source, target) = tokio::join!(self.fleet.check(), asked(&self.source), asked(&self.target));
            let mut checks = checks?;
            checks.extend(side("source", &source));
            checks.extend(side("target", &target));
            Ok(checks)
        })
    }

    fn health(&self) -> Answer<'_, Option<Health>> {
        self.fleet.health()
    }
}
