//! The fleet port over an ALB's target groups and ECS.

use cutover::event::{Check, CheckOutcome};
use lab::faults::FaultName;
use lab::lab_api::Action;
use lab::model::HealthState;
use tidegate::aws::pace::Pace;
use tidegate::fleet::Fleet;
use tidegate::fleet::alb::{AlbFleet, Groups};

use crate::support::Stand;

fn fleet(stand: &Stand) -> AlbFleet {
    let scene = stand.lab.scene();
    let services = (Some(scene.source_service.clone()), Some(scene.target_service.clone()));
    let groups = Groups {
        listener: None,
        rules: Vec::new(),
        source: scene.source_tg.clone(),
        target: scene.target_tg.clone(),
        cluster: Some((scene.cluster.clone(), services.0, services.1)),
        healthy_min: 1,
        scale: false,
    };
    let pace = Pace::new(stand.clock.clone());
    AlbFleet::new(&stand.aws, groups, pace, stand.clock.clone())
}

fn outcome(checks: &[Check], name: &str) -> CheckOutcome {
    let found = checks.iter().find(|check| check.name == name);
    found.unwrap_or_else(|| panic!("no check `{name}` in {checks:?}")).outcome
}

#[tokio::test]
async fn a_fresh_deployment_is_fit_but_for_what_its_cdk_chooses() {
    // Proves that Migration Assistant as it is deployed passes, and that its lenient health checks are reported.
    let stand = Stand::start().await;
    let checks = fleet(&stand).check().await.expect("checks are made");
    for name in ["source healthy", "target healthy", "target large enough", "source service", "target service"] {
        assert_eq!(outcome(&checks, name), CheckOutcome::Pass, "{checks:?}");
    }
    assert_eq!(outcome(&checks, "target health check"), CheckOutcome::Warn);
    let worse: Vec<&Check> =
        checks.iter().filter(|check| matches!(check.outcome, CheckOutcome::Fail | CheckOutcome::Unknown)).collect();
    assert!(worse.is_empty(), "{worse:?}");
}

#[tokio::test]
async fn an_ill_target_and_what_cannot_be_read_keep_traffic_away() {
    // Proves that one target which is not healthy fails the check, and that a missing permission is unknown and named.
    let stand = Stand::start().await;
    let fleet = fleet(&stand);
    let target = stand.lab.scene().target_tg.clone();
    stand.lab.shared().happen(|model, _| {
        let group = model.target_groups.get_mut(&target).expect("it is there");
        group.targets[0].health.state = HealthState::Draining;
    });
    let checks = fleet.check().await.expect("checks are made");
    assert_eq!(outcome(&checks, "target healthy"), CheckOutcome::Fail, "{checks:?}");
    stand.fault(FaultName::AccessDenied, "DescribeTargetHealth", 50);
    let checks = fleet.check().await.expect("checks are made");
    let denied = checks.iter().find(|check| check.name == "target healthy").expect("it is there");
    assert_eq!(denied.outcome, CheckOutcome::Unknown);
    assert!(denied.evidence.contains("AccessDenied"), "{denied:?}");
}

#[tokio::test]
async fn a_service_whose_deployment_moves_weights_itself_is_refused() {
    // Proves it for ECS's own blue/green and for CodeDeploy, and that a service which is replaced task by task is not.
    let stand = Stand::start().await;
    let fleet = fleet(&stand);
    let service = stand.lab.scene().target_service.clone();
    let deploy = |strategy: &str, controller: &str| {
        let (strategy, controller) = (strategy.to_owned(), Some(controller.to_owned()));
        let action = Action::Strategy { service: service.clone(), strategy, controller };
        lab::lab_api::act(stand.lab.shared(), action).expect("the service is there");
    };
    for (strategy, controller, word) in [("BLUE_GREEN", "ECS", "BLUE_GREEN"), ("ROLLING", "CODE_DEPLOY", "CODE_DEPLOY")]
    {
        deploy(strategy, controller);
        let checks = fleet.check().await.expect("checks are made");
        assert_eq!(outcome(&checks, "target deployment"), CheckOutcome::Fail);
        assert!(checks.iter().any(|check| check.evidence.contains(word)), "{checks:?}");
    }
    deploy("ROLLING", "ECS");
    let checks = fleet.check().await.expect("checks are made");
    assert!(checks.iter().all(|check| check.name != "target deployment"), "{checks:?}");
}
