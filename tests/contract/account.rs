//! The credentials and the clock by which AWS is asked.

use std::sync::Arc;
use std::time::Duration;

use cutover::Timestamp;
use cutover::event::{Check, CheckOutcome};
use lab::model::REGION;
use tidegate::aws::Aws;
use tidegate::aws::pace::Pace;
use tidegate::clock::Clock;
use tidegate::fleet::Fleet;
use tidegate::fleet::account::WithAccount;
use tidegate::fleet::alb::{AlbFleet, Groups};

use crate::support::Stand;

/// What a machine whose clock shows `by` more than AWS's is told of its clock.
async fn told(stand: &Stand, by: Duration) -> Check {
    let ours = Clock::held(stand.clock.now().plus(by));
    let aws = Aws::at(&stand.lab.endpoint(), REGION, ours.clone()).await;
    let scene = stand.lab.scene();
    let (source, target) = (scene.source_tg.clone(), scene.target_tg.clone());
    let groups =
        Groups { listener: None, rules: Vec::new(), source, target, cluster: None, healthy_min: 1, scale: false };
    let pace = Pace::new(ours.clone());
    let fleet = AlbFleet::new(&aws, groups, pace, ours.clone());
    let checks = WithAccount::new(Arc::new(fleet), aws, ours, Timestamp(0)).check().await.expect("checks are made");
    assert!(checks.iter().any(|check| check.name == "credentials" && check.outcome == CheckOutcome::Pass));
    checks.into_iter().find(|check| check.name == "clock").expect("an answer told AWS's time")
}

#[tokio::test]
async fn a_clock_far_from_that_of_aws_is_refused() {
    // Proves that the difference is taken from AWS's own answers.
    let stand = Stand::start().await;
    let far = told(&stand, Duration::from_mins(10)).await;
    assert_eq!(far.outcome, CheckOutcome::Fail, "{far:?}");
    assert!(far.evidence.contains("ahead of AWS's") && far.fix.contains("NTP"), "{far:?}");
}
