//! Whether our own proxies behind the target groups of a load balancer can be asked for their counters, which its tripwires
//! look at.
//!
//! Some tasks may be out of reach: what is known is used, and what is silent is named. A side of which no proxy answers is
//! unknown, and nothing rises on a tripwire that sees nothing. Whether the side is healthy is the load balancer's to say.

use std::sync::Arc;

use cutover::event::{Check, CheckOutcome};
use proxy::api::Status;
use proxy::config::WEIGHT_MAX;

use super::Fleet;
use crate::port::Answer;
use crate::proxies::{Known, Proxies, Remote, each};

/// Another fleet, and the proxies behind its two sides.
pub struct WithProxies {
    fleet: Arc<dyn Fleet>,
    source: Proxies,
    target: Proxies,
}

impl WithProxies {
    /// Looks after `fleet`, and after the proxies behind its source and its target.
    pub fn new(fleet: Arc<dyn Fleet>, source: Proxies, target: Proxies) -> Self {
        Self { fleet, source, target }
    }
}

/// What the proxies of one side answered.
fn side(name: &str, asked: &Asked) -> Vec<Check> {
    let answers = &asked.answers;
    let title = format!("{name} proxies");
    let mut silent: Vec<&str> =
        answers.iter().filter_map(|(_, answer)| answer.as_ref().err().map(String::as_str)).collect();
    let known = answers.len() - silent.len();
    silent.extend(asked.failed.as_deref());
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
    let splits = |status: &Status| [status.reads, status.writes].iter().any(|share| ![0, WEIGHT_MAX].contains(share));
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

/// What the known proxies of a side answered, and why these may not be all.
struct Asked {
    answers: Vec<(Remote, Result<Status, String>)>,
    failed: Option<String>,
}

async fn asked(proxies: &Proxies) -> Asked {
    let Known { remotes, failed } = proxies.lately().await;
    let answers = each(&remotes, |proxy| async move { proxy.status().await }).await;
    let answers = answers.into_iter().map(|(remote, answer)| (remote, answer.map_err(|error| error.why))).collect();
    Asked { answers, failed }
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

    fn beneath(&self) -> Option<&dyn Fleet> {
        Some(&*self.fleet)
    }
}

#[cfg(test)]
mod tests {
    use proxy::config::ControlAddress;

    use super::*;
    use crate::testing;

    fn answer(path: &str, share: Option<u16>) -> (Remote, Result<Status, String>) {
        let address: ControlAddress = format!("unix:{path}").parse().expect("it is an address");
        (Remote::api(address, None), share.map(testing::status).ok_or_else(|| format!("{path} is silent")))
    }

    /// Proves that one silent proxy of several is named and stops nothing, that a side of which none answers is unknown, and
    /// that one which splits by itself stands in the way.
    #[test]
    fn what_is_silent_is_named() {
        let all = |answers: &[(Remote, Result<Status, String>)]| {
            side("target", &Asked { answers: answers.to_vec(), failed: None })
                .into_iter()
                .map(|check| (check.outcome, check.evidence))
                .collect::<Vec<_>>()
        };
        let (well, silent) = (answer("/run/a.sock", Some(0)), answer("/run/b.sock", None));
        let some = all(&[well, silent]);
        assert_eq!(some, [(CheckOutcome::Warn, "1 of 2 answer; silent: /run/b.sock is silent".to_owned())]);
        assert_eq!(all(&[answer("/run/b.sock", None)])[0].0, CheckOutcome::Unknown);
        let split = all(&[answer("/run/c.sock", Some(300))]);
        assert_eq!((split[0].0, split[1].0), (CheckOutcome::Pass, CheckOutcome::Fail));
        assert!(split[1].1.starts_with("unix:/run/c.sock splits"), "{}", split[1].1);
    }
}
