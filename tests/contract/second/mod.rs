//! A second opinion: the adapters' contract as cases that run against the lab *and* against moto, an AWS that others wrote.
//!
//! A case sees nothing but the wire, makes what it needs by calls spelled by hand, and says on which stand-ins it runs; one
//! that cannot run on moto names the difference that is why. The suite holds itself to account: every case must have run
//! wherever it says, what ran where is printed, every difference that is listed must still be one, and stand-ins that are
//! wrong on purpose must be caught.

mod balancer;
mod differences;
mod fleet;
mod ground;
mod metrics;
mod moto;
mod relay;
mod translation;
mod wire;
mod wrong;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;

use self::ground::{Ground, Straight};
use self::moto::Moto;

/// What a case is while it runs; it fails by a panic, with the words of it.
pub(crate) type Ran<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A stand-in of AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StandIn {
    /// Ours.
    Lab,
    /// getmoto/moto.
    Moto,
}

pub(crate) const BOTH: &[StandIn] = &[StandIn::Lab, StandIn::Moto];
pub(crate) const LAB: &[StandIn] = &[StandIn::Lab];

/// One promise of an adapter.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Where it runs.
    pub(crate) on: &'static [StandIn],
    /// The difference for which it does not run on moto; empty where it does.
    pub(crate) unlike: &'static str,
    pub(crate) run: for<'a> fn(&'a Ground) -> Ran<'a>,
}

/// Every case.
fn cases() -> Vec<Case> {
    [&balancer::CASES[..], &metrics::CASES[..], &fleet::CASES[..]].concat()
}

/// Runs a case to its end; why it fails, if it does.
async fn outcome(case: Case, ground: Ground) -> Result<(), String> {
    let mut running = tokio::task::JoinSet::new();
    running.spawn(async move { (case.run)(&ground).await });
    let ended = running.join_next().await.expect("it was just started");
    ended.map_err(|error| {
        let panic = error.into_panic();
        let words = panic.downcast_ref::<String>().cloned();
        words.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
    })
}

/// Says something though the test passes: what ran where is the point of it.
fn tell(text: &str) {
    // Nobody may be listening, and the test does not depend on it.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_holds_on_every_stand_in_that_it_names() {
    // Proves the adapters' contract on the lab and on moto, and that no case was left out on either.
    let moto = Moto::start();
    let mut ran: BTreeMap<&str, Vec<StandIn>> = BTreeMap::new();
    let mut failed = String::new();
    for case in cases() {
        for on in case.on {
            let ground = match on {
                StandIn::Lab => Ground::lab(Arc::new(Straight)).await,
                StandIn::Moto => Ground::moto(&moto).await,
            };
            ran.entry(case.name).or_default().push(*on);
            if let Err(why) = outcome(case, ground).await {
                writeln!(failed, "{} on {on:?}: {why}", case.name).expect("a String takes everything");
            }
        }
    }
    assert!(failed.is_empty(), "{failed}");
    let mut told = format!("contract of the AWS adapters, {} cases:\n", ran.len());
    for case in cases() {
        let on = ran.get(case.name).map(Vec::as_slice).unwrap_or_default();
        assert_eq!(on, case.on, "{} did not run where it says", case.name);
        let why = if case.unlike.is_empty() { String::new() } else { format!(" (moto differs: {})", case.unlike) };
        writeln!(told, "  {}: {on:?}{why}", case.name).expect("a String takes everything");
    }
    tell(&told);
}
