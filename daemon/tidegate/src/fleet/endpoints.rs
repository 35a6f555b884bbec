//! Whether both sides are fit for traffic, as our own proxies see them and as this machine reaches them.
//!
//! It sends no request of its own to a cluster: it asks the proxies which endpoints they use, and opens and closes a
//! connection to each endpoint of the policy.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cutover::event::{Check, CheckOutcome};
use proxy::api::{Endpoint, Status};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::Fleet;
use crate::port::Answer;
use crate::proxies::welcome::{self, Alike, Answered};
use crate::proxies::{Known, Proxies, each};

/// How long a connection to an endpoint may take to open.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// How many endpoints of one side are connected to; of a larger fleet these stand for the rest.
const CONNECTS_MAX: usize = 32;

/// The endpoints of both sides behind our own proxies.
pub struct Endpoints {
    proxies: Proxies,
    source: Vec<String>,
    target: Vec<String>,
}

impl Endpoints {
    /// Checks `proxies` and the sides' endpoints as the policy names them (URLs; may be empty).
    pub fn new(proxies: impl Into<Proxies>, source: Vec<String>, target: Vec<String>) -> Self {
        Self { proxies: proxies.into(), source, target }
    }
}

/// It is known who is there, every proxy answers, none is about to end, all are of one version.
fn proxies(answers: &[(String, Result<Status, String>)], failed: Option<String>) -> Vec<Check> {
    let silent: Vec<&str> =
        answers.iter().filter_map(|(_, answer)| answer.as_ref().err().map(String::as_str)).collect();
    let statuses = || answers.iter().filter_map(|(name, answer)| Some((name, answer.as_ref().ok()?)));
    let draining: Vec<&str> = statuses().filter(|(_, status)| status.draining).map(|(name, _)| name.as_str()).collect();
    let versions: BTreeSet<&str> = statuses().map(|(_, status)| status.version.as_str()).collect();
    let mut checks = vec![if silent.is_empty() {
        Check::new("proxies answer", CheckOutcome::Pass, format!("{} of {}", answers.len(), answers.len()), "")
    } else {
        Check::new(
            "proxies answer",
            CheckOutcome::Fail,
            silent.join("; "),
            "start the proxy, or take it out of the policy",
        )
    }];
    if let Some(why) = failed {
        let fix = "see that the name stands for the control addresses of the proxies, and that its resolver answers";
        checks.push(Check::new("proxies found", CheckOutcome::Unknown, why, fix));
    }
    if !draining.is_empty() {
        checks.push(Check::new(
            "proxies serve",
            CheckOutcome::Fail,
            format!("draining: {}", draining.join(", ")),
            "wait until it has ended and another has taken its place",
        ));
    }
    if versions.len() > 1 {
        let seen = versions.into_iter().collect::<Vec<_>>().join(", ");
        checks.push(Check::new("proxy versions", CheckOutcome::Warn, seen, "bring all proxies to one version"));
    }
    checks
}

/// Those behind one name are one fleet: a share means the same at each. Nothing where each stands alone.
fn alike(answers: &[Answered]) -> Option<Check> {
    let name = "proxies alike";
    let mut first: BTreeMap<&str, &Answered> = BTreeMap::new();
    let mut others = Vec::new();
    for answered in answers {
        match first.get(answered.0.place()) {
            Some(first) => others.push((*first, answered)),
            None => drop(first.insert(answered.0.place(), answered)),
        }
    }
    let unlike = others.iter().filter_map(|(first, (proxy, status))| {
        let why = welcome::differs(status, first, Alike::Whole)?;
        let held = if status.awaits_weight { " (it awaits its weight, and is given none)" } else { "" };
        Some(format!("at {}, {why}{held}", proxy.name()))
    });
    let unlike: Vec<String> = unlike.collect();
    if others.is_empty() {
        return None;
    }
    let count = answers.len();
    Some(if unlike.is_empty() {
        Check::new(name, CheckOutcome::Pass, format!("{count} have the same source and target"), "")
    } else {
        Check::new(name, CheckOutcome::Fail, unlike.join("; "), welcome::STRANGER_FIX)
    })
}

/// A side's endpoints as the proxies use them.
fn side(name: &str, statuses: &[(String, &[Endpoint])], others: usize) -> Check {
    let title = format!("{name} healthy");
    let without: Vec<&str> =
        statuses.iter().filter(|(_, endpoints)| endpoints.is_empty()).map(|(proxy, _)| proxy.as_str()).collect();
    if !without.is_empty() {
        let evidence = format!("no endpoint of the {name} at {}", without.join(", "));
        return Check::new(&title, CheckOutcome::Fail, evidence, &format!("start the proxy with `--{name}`"));
    }
    let mut ill = BTreeSet::new();
    let mut all = BTreeSet::new();
    let mut dead = Vec::new();
    for (proxy, endpoints) in statuses {
        all.extend(endpoints.iter().map(|endpoint| endpoint.url.as_str()));
        ill.extend(
            endpoints
                .iter()
                .filter(|endpoint| !endpoint.healthy)
                .map(|endpoint| format!("{} ({})", endpoint.url, endpoint.note)),
        );
        if endpoints.iter().all(|endpoint| !endpoint.healthy) {
            dead.push(proxy.as_str());
        }
    }
    let fix = format!("look at the nodes of the {name}");
    if statuses.is_empty() {
        Check::new(&title, CheckOutcome::Unknown, "no proxy answers".to_owned(), "start the proxies")
    } else if !dead.is_empty() {
        let ill = ill.into_iter().collect::<Vec<_>>().join(", ");
        Check::new(&title, CheckOutcome::Fail, format!("none is healthy at {}: {ill}", dead.join(", ")), &fix)
    } else if !ill.is_empty() {
        Check::new(&title, CheckOutcome::Warn, ill.into_iter().collect::<Vec<_>>().join(", "), &fix)
    } else if all.len() < others {
        let evidence = format!("{} endpoints, and the other side has {others}", all.len());
        Check::new(&title, CheckOutcome::Warn, evidence, "see that the fewer endpoints can carry all of the traffic")
    } else {
        Check::new(&title, CheckOutcome::Pass, format!("{} of {} endpoints", all.len(), all.len()), "")
    }
}

/// `HOST:PORT` of an endpoint's URL.
fn authority(url: &str) -> Option<String> {
    let uri: http::Uri = url.parse().ok()?;
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    Some(format!("{}:{}", uri.host()?, uri.port_u16().unwrap_or(default)))
}

/// Opens and closes a connection; the answer is what went wrong.
async fn connect(url: String) -> Option<String> {
    let Some(address) = authority(&url) else { return Some(format!("{url} is no URL of a node")) };
    match tokio::time::timeout(CONNECT_MAX, TcpStream::connect(&address)).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(format!("{url}: {error}")),
        Err(_) => Some(format!("{url}: no connection within {} s", CONNECT_MAX.as_secs())),
    }
}

/// Opens and closes a connection to each endpoint.
async fn reach(name: &str, endpoints: &[String]) -> Option<Check> {
    if endpoints.is_empty() {
        return None;
    }
    let mut attempts = JoinSet::new();
    for url in endpoints.iter().take(CONNECTS_MAX) {
        attempts.spawn(connect(url.clone()));
    }
    let mut failed = Vec::new();
    while let Some(attempt) = attempts.join_next().await {
        failed.extend(attempt.expect("connecting does not panic, and nobody aborts it"));
    }
    failed.sort();
    let tried = endpoints.len().min(CONNECTS_MAX);
    let title = format!("{name} reachable");
    let fix = format!("see that the {name} runs and that this machine may connect to it");
    Some(match failed.len() {
        0 => Check::new(&title, CheckOutcome::Pass, format!("{tried} of {tried} endpoints took a connection"), ""),
        count if count < tried => Check::new(&title, CheckOutcome::Warn, failed.join("; "), &fix),
        _ => Check::new(&title, CheckOutcome::Fail, failed.join("; "), &fix),
    })
}

impl Fleet for Endpoints {
    fn check(&self) -> Answer<'_, Vec<Check>> {
        Box::pin(async move {
            let Known { remotes, failed } = self.proxies.lately().await;
            let (answers, source, target) = tokio::join!(
                each(&remotes, |proxy| async move { proxy.status().await }),
                reach("source", &self.source),
                reach("target", &self.target),
            );
            let known: Vec<Answered> = answers
                .iter()
                .filter_map(|(proxy, answer)| Some((proxy.clone(), answer.as_ref().ok()?.clone())))
                .collect();
            let (starting, answers): (Vec<_>, Vec<_>) =
                answers.into_iter().partition(|(proxy, answer)| answer.is_err() && proxy.is_starting());
            let answers: Vec<(String, Result<Status, String>)> = answers
                .into_iter()
                .map(|(proxy, answer)| (proxy.name().to_owned(), answer.map_err(|error| error.why)))
                .collect();
            let mut checks = proxies(&answers, failed);
            checks.extend(alike(&known));
            if !starting.is_empty() {
                let names: Vec<&str> = starting.iter().map(|(proxy, _)| proxy.name()).collect();
                let evidence = format!("{} came and have not answered yet", names.join(", "));
                let fix = "nothing, unless it lasts for a minute: each is given the weight when it answers";
                checks.push(Check::new("proxies starting", CheckOutcome::Warn, evidence, fix));
            }
            let of = |side: fn(&Status) -> &[Endpoint]| {
                answers
                    .iter()
                    .filter_map(|(name, answer)| Some((name.clone(), side(answer.as_ref().ok()?))))
                    .collect::<Vec<_>>()
            };
            let (sources, targets) = (of(|status| &status.source), of(|status| &status.target));
            let source_count = sources.iter().map(|(_, endpoints)| endpoints.len()).max().unwrap_or_default();
            checks.push(side("source", &sources, 0));
            checks.push(side("target", &targets, source_count));
            checks.extend(source);
            checks.extend(target);
            Ok(checks)
        })
    }
}
