//! What clients and metrics see when targets fail, and that a load balancer's own errors are told apart from theirs.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::support::*;
use crate::model::HealthState;
use crate::plane::{Behaviour, Manner};

fn manner(manner: Manner) -> Behaviour {
    Behaviour { manner, ..Behaviour::default() }
}

/// Proves that a dead group is 502 with connection errors, and has no 5XX of its targets: the hole that a judge of target
/// codes alone falls into.
#[tokio::test]
async fn a_dead_group_shows_as_the_load_balancers_own_errors() {
    let lab = Lab::start(model(), prompt()).await;
    lab.behave(SOURCE, manner(Manner::Gone));
    lab.heard().await;
    let mut client = lab.client().await;
    for _ in 0..10 {
        let reply = client.get().await;
        assert_eq!((reply.status, &reply.headers["server"]), (502, &"awselb/2.0".parse().unwrap()));
    }
    let count = |name, group| lab.measured(name, group).count();
    assert_eq!(count("RequestCount", Some(SOURCE)), 10, "a target had been chosen");
    assert_eq!(count("TargetConnectionErrorCount", Some(SOURCE)), 10);
    assert_eq!((count("HTTPCode_ELB_502_Count", None), count("HTTPCode_ELB_5XX_Count", None)), (10, 10));
    assert_eq!(count("HTTPCode_ELB_502_Count", Some(SOURCE)), 0, "not by target group");
    assert_eq!(count("HTTPCode_Target_5XX_Count", Some(SOURCE)), 0);
    assert_eq!(count("TargetResponseTime", Some(SOURCE)), 0);
    assert_eq!(lab.served(SOURCE, 502), 10);
    // Back on the same port, it serves again.
    lab.behave(SOURCE, Behaviour::default());
    lab.heard().await;
    assert_eq!(client.get().await.status, 200);
    lab.plane.stop().await;
}

/// Proves that a target's own error is passed on and counted as its own.
#[tokio::test]
async fn a_targets_error_is_the_targets() {
    let lab = Lab::start(model(), prompt()).await;
    lab.behave(SOURCE, Behaviour { error_share: 0.5, ..Behaviour::default() });
    let mut client = lab.client().await;
    for _ in 0..200 {
        client.get().await;
    }
    let failed = lab.measured("HTTPCode_Target_5XX_Count", Some(SOURCE)).count();
    assert!((65..=135).contains(&failed), "{failed} of 200 at one half: more than five deviations off");
    assert_eq!(lab.measured("HTTPCode_Target_2XX_Count", Some(SOURCE)).count() + failed, 200);
    assert_eq!(lab.measured("TargetResponseTime", Some(SOURCE)).count(), 200);
    assert_eq!(lab.measured("HTTPCode_ELB_5XX_Count", None).count(), 0);
    assert_eq!((lab.served(SOURCE, 500), lab.served(SOURCE, 200)), (failed, 200 - failed));
    lab.plane.stop().await;
}

/// Proves that a silent target is a 504 after the idle time-out, and one that cuts is a 502 without a connection error.
#[tokio::test]
async fn silence_is_a_504_and_a_cut_a_502() {
    let mut model = model();
    let attributes = &mut model.load_balancers.get_mut(ALB).unwrap().attributes;
    attributes.insert("idle_timeout.timeout_seconds".to_owned(), "1".to_owned());
    let lab = Lab::start(model, prompt()).await;
    lab.behave(SOURCE, manner(Manner::Silent));
    assert_eq!(lab.client().await.get().await.status, 504);
    lab.behave(SOURCE, manner(Manner::Cuts));
    assert_eq!(lab.client().await.get().await.status, 502);
    assert_eq!(lab.measured("TargetConnectionErrorCount", None).count(), 0);
    assert_eq!(lab.measured("HTTPCode_ELB_504_Count", None).count(), 1);
    lab.plane.stop().await;
}

/// Proves that a group without targets is a 503 that no group's metrics show.
#[tokio::test]
async fn a_group_without_targets_is_a_503() {
    let mut model = model();
    model.target_groups.get_mut(TARGET).unwrap().targets.clear();
    let lab = Lab::start(model, prompt()).await;
    lab.weights(1, 1).await;
    let mut client = lab.client().await;
    let mut failed = 0;
    for _ in 0..100 {
        failed += u64::from(client.get().await.status == 503);
    }
    assert!((25..=75).contains(&failed), "{failed} of 100 at one half");
    assert_eq!(lab.measured("RequestCount", None).count(), 100 - failed);
    assert_eq!(lab.measured("HTTPCode_ELB_503_Count", None).count(), failed);
    assert_eq!(lab.served(TARGET, 503), failed, "the history knows whose share it was");
    lab.plane.stop().await;
}

/// Proves that targets which fail their checks are unhealthy with AWS's reasons, that a group all of whose targets are
/// unhealthy still gets its share, and that they come back.
#[tokio::test]
async fn a_group_that_is_all_unhealthy_fails_open() {
    let lab = Lab::start(model(), prompt()).await;
    let failing = Behaviour { error_share: 1.0, error_status: 503, ..Behaviour::default() };
    lab.behave(SOURCE, failing);
    lab.health(SOURCE, HealthState::Unhealthy).await;
    let health = lab.shared.read(|model| model.target_groups[SOURCE].targets[0].health.clone());
    assert_eq!(health.reason, Some("Target.ResponseCodeMismatch"));
    assert_eq!(health.description.as_deref(), Some("Health checks failed with these codes: [503]"));
    let reply = lab.client().await.get().await;
    assert!(reply.status == 503 && reply.body.contains("by script"), "the target answered: {reply:?}");
    assert_eq!(lab.measured("HTTPCode_Target_5XX_Count", Some(SOURCE)).count(), 1);
    lab.behave(SOURCE, manner(Manner::Gone));
    let refused = |model: &crate::model::Model| {
        let reasons = model.target_groups[SOURCE].targets.iter().map(|target| target.health.reason);
        reasons.eq([Some("Target.FailedHealthChecks"); 2])
    };
    lab.until("the reason is new", refused).await;
    lab.behave(SOURCE, Behaviour::default());
    lab.health(SOURCE, HealthState::Healthy).await;
    lab.plane.stop().await;
}

/// Proves that one unhealthy target gets nothing while the other is healthy, and that a new one needs one success.
#[tokio::test]
async fn an_unhealthy_target_gets_nothing_while_another_is_healthy() {
    let mut model = model();
    let group = model.target_groups.get_mut(SOURCE).unwrap();
    // Nothing listens on port 1 of this machine.
    let mut dead = group.targets[0].clone();
    (dead.id, dead.port) = ("127.0.0.1".to_owned(), 1);
    group.targets[1].health = crate::model::Health::registering();
    group.targets.push(dead);
    let lab = Lab::start(model, prompt()).await;
    let states = |model: &crate::model::Model| {
        let states = model.target_groups[SOURCE].targets.iter().map(|target| target.health.state);
        states.eq([HealthState::Healthy, HealthState::Healthy, HealthState::Unhealthy])
    };
    lab.until("the dead one is found out", states).await;
    lab.heard().await;
    let mut client = lab.client().await;
    for _ in 0..50 {
        assert_eq!(client.get().await.status, 200);
    }
    lab.plane.stop().await;
}

/// Proves that a client which leaves before it is answered is counted: the target had been chosen and gave no answer.
#[tokio::test]
async fn a_client_that_leaves_is_counted() {
    let lab = Lab::start(model(), prompt()).await;
    lab.behave(SOURCE, manner(Manner::Silent));
    let mut stream = TcpStream::connect(lab.plane.address(LISTENER).unwrap()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(stream);
    let patience = lab.shared.clock.real() + Duration::from_secs(10);
    while lab.measured("HTTPCode_ELB_4XX_Count", None).count() == 0 {
        assert!(lab.shared.clock.real() < patience, "it was never noticed");
        lab.heard().await;
    }
    assert_eq!(lab.measured("RequestCount", Some(SOURCE)).count(), 1);
    assert_eq!(lab.measured("HTTPCode_Target_2XX_Count", Some(SOURCE)).count(), 0);
    assert_eq!(lab.served(SOURCE, 0), 1);
    lab.plane.stop().await;
}

/// Proves that targets of a group which no load balancer uses are not in use, and are checked once one does.
#[tokio::test]
async fn a_group_that_nobody_uses_is_not_checked() {
    let lab = Lab::start(model(), prompt()).await;
    lab.set(LISTENER, vec![crate::model::Action::forward(&[(SOURCE, 1)])]).await;
    lab.health(TARGET, HealthState::Unused).await;
    let health = lab.shared.read(|model| model.target_groups[TARGET].targets[0].health.clone());
    assert_eq!(health.reason, Some("Target.NotInUse"));
    lab.weights(1, 0).await;
    lab.health(TARGET, HealthState::Healthy).await;
    lab.plane.stop().await;
}
