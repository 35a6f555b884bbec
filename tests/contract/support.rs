//! A lab without traffic, the way to it, and a clock that runs with it.

use std::time::Duration;

use cutover::Timestamp;
use lab::faults::{Fault, FaultName};
use lab::model::REGION;
use lab::wire::params::Params;
use lab::{Lab, LabConfig, Traffic};
use serde_json::Value;
use tidegate::aws::Aws;
use tidegate::clock::Clock;
use tokio::task::JoinSet;

/// How many times as fast as real time a lab's clock runs.
pub(crate) const SPEED: u32 = 50;

/// A lab, a clock that keeps its time, and a connection to it.
pub(crate) struct Stand {
    pub(crate) lab: Lab,
    pub(crate) clock: Clock,
    pub(crate) aws: Aws,
    _ticking: JoinSet<()>,
}

impl Stand {
    /// Starts a lab in which nothing flows.
    pub(crate) async fn start() -> Self {
        let config = LabConfig { speed: SPEED, traffic: Traffic::None, limited: false, ..LabConfig::default() };
        let lab = Lab::start(config).await.expect("a lab starts");
        let clock = Clock::held(Timestamp(lab.shared().clock.now().0));
        let mut ticking = JoinSet::new();
        let (shared, shown) = (std::sync::Arc::clone(lab.shared()), clock.clone());
        ticking.spawn(async move {
            loop {
                shown.set(Timestamp(shared.clock.now().0));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let aws = Aws::at(&lab.endpoint(), REGION, clock.clone()).await;
        Self { lab, clock, aws, _ticking: ticking }
    }

    /// Does what somebody else would do by `operation` of Elastic Load Balancing.
    pub(crate) fn foreign(&self, operation: &str, input: &Value) {
        let done = self.lab.shared().change(|model, now| {
            lab::elbv2::write(model, now, operation, Params(input)).expect("the lab has this operation")
        });
        done.unwrap_or_else(|refusal| panic!("{operation}: {refusal:?}"));
    }

    /// Lets the next calls of `op` go wrong.
    pub(crate) fn fault(&self, name: FaultName, op: &str, times: u32) {
        let fault = Fault { name, op: op.to_owned(), times: Some(times), seconds: None };
        let shared = self.lab.shared();
        shared.read(|model| shared.faults.put(fault, model, shared.clock.now())).expect("the lab takes this fault");
    }

    /// Ends all faults.
    pub(crate) fn mend(&self) {
        self.lab.shared().faults.clear();
    }
}
