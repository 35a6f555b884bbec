//! The fleet port over target groups, ECS and Application Auto Scaling, wherever these are.

use cutover::Lever;
use cutover::event::{Check, CheckOutcome, Retry};
use lab::model::HealthState;
use serde_json::{Value, json};
use tidegate::fleet::Fleet as _;

use super::ground::{Ground, Scene};
use super::{BOTH, Case, LAB, Ran};

/// The cases.
pub(crate) const CASES: [Case; 8] = [
    Case { name: "healthy targets are counted", on: BOTH, unlike: "", run: healthy },
    Case {
        name: "targets that are not healthy are told from healthy ones",
        on: LAB,
        unlike: "an ill target",
        run: ill,
    },
    Case { name: "a fresh deployment is fit", on: BOTH, unlike: "", run: fit },
    Case { name: "a target smaller than the source is said so", on: BOTH, unlike: "", run: smaller },
    Case { name: "a service that is not there is named", on: BOTH, unlike: "", run: no_service },
    Case { name: "the target's count is raised and not lowered", on: BOTH, unlike: "", run: count },
    Case { name: "scale-in is suspended and nothing else of autoscaling", on: BOTH, unlike: "", run: scale_in },
    Case { name: "the life of connections is set and put back", on: BOTH, unlike: "", run: keep_alive },
];

fn outcome(checks: &[Check], name: &str) -> CheckOutcome {
    let found = checks.iter().find(|check| check.name == name);
    found.unwrap_or_else(|| panic!("no check `{name}` in {checks:?}")).outcome
}

async fn checks(ground: &Ground) -> Vec<Check> {
    ground.fleet().check().await.expect("checks are made")
}

fn healthy(ground: &Ground) -> Ran<'_> {
    Box::pin(async move {
        let health = ground.fleet().health().await.expect("it is read").expect("the policy looks at it");
        assert_eq!((health.target.all, health.target.healthy, health.target.unknown), (2, 2, 0));
        assert_eq!(health.source, None, "a healthy target costs one call");
    })
}

fn ill(ground: &Ground) -> Ran<'_> {
    Box::pin(async move {
        for (state, unknown) in [(HealthState::Unhealthy, 0), (HealthState::Draining, 0), (HealthState::Unavailable, 2)]
        {
            ground.inside().lab.shared().happen(|model, _| {
                let group = model.target_groups.get_mut(&ground.scene.target).expect("it is there");
                group.targets.iter_mut().for_each(|target| target.health.state = state);
            });
            let health = ground.fleet().health().await.expect("it is read").expect("the policy looks at it");
            assert_eq!((health.target.healthy, health.target.unknown), (0, unknown), "{state:?}");
            assert_eq!(outcome(&checks(ground).await, "target healthy"), CheckOutcome::Fail, "{state:?}");
        }
    })
}

fn fit(ground: &Ground) -> Ran<'_> {
    Box::pin(async move {
        let checks = checks(ground).await;
        for name in ["source healthy", "target healthy", "target large enough", "source service", "target service"] {
            assert_eq!(outcome(&checks, name), CheckOutcome::Pass, "{name}: {checks:?}");
        }
        assert_eq!(outcome(&checks, "target health check"), CheckOutcome::Warn, "200-499 is lenient");
    })
}

fn smaller(ground: &Ground) -> Ran<'_> {
    Box::pin(async move {
        let scene = &ground.scene;
        let targets = &ground
            .done("elasticloadbalancing", "DescribeTargetHealth", &json!({"TargetGroupArn": scene.target}))
            .await["TargetHealthDescriptions"];
        let first = targets[0]["Target"].clone();
        let input = json!({"TargetGroupArn": scene.target, "Targets": [first]});
        ground.done("elasticloadbalancing", "DeregisterTargets", &input).await;
        let checks = checks(ground).await;
        assert_eq!(outcome(&checks, "target large enough"), CheckOutcome::Warn, "{checks:?}");
    })
}

fn no_service(ground: &Ground) -> Ran<'_> {
    Box::pin(async move {
        let gone = Scene { target_service: "nobody".to_owned(), ..ground.scene.clone() };
        let fleet = ground.fleet_of(gone);
        let checks = fleet.check().await.expect("checks are made");
        let missing = checks.iter().find(|check| check.name == "target service").expect("it is in the list");
        assert_eq!(missing.outcome, CheckOutcome::Fail, "{missing:?}");
        assert!(missing.evidence.contains("nobody"), "{missing:?}");
        assert!(missing.fix.contains("targetClusterProxyServiceEnabled"), "{missing:?}");
        let told = fleet.set_lever(Lever::Count, None, 3).await.expect_err("there is nothing to move");
        assert_eq!(told.retry, Retry::Later, "it may be deployed yet: {told}");
    })
}

async fn desired(ground: &Ground) -> Value {
    let scene = &ground.scene;
    let input = json!({"cluster": scene.cluster, "services": [scene.target_service]});
    ground.done("ecs", "DescribeServices", &input).await["services"][0]["desiredCount"].clone()
}

fn count(ground: &Ground) -> Ran<'_> {
    Box::pin(async move {
        let fleet = ground.fleet();
        let stands = fleet.levers().await.expect("they are read");
        assert_eq!((stands.source_count, stands.target_count, stands.count_max), (Some(2), Some(2), Some(10)));
        assert_eq!(fleet.set_lever(Lever::Count, None, 3).await.expect("it is raised"), 3);
        assert_eq!(desired(ground).await, 3);
        assert_eq!(fleet.set_lever(Lever::Count, None, 2).await.expect("it is looked at"), 3, "never lower");
        assert_eq!(fleet.set_lever(Lever::Count, Some(7), 2).await.expect("it is looked at"), 3, "it stands elsewhere");
        assert_eq!(desired(ground).await, 3);
        assert_eq!(fleet.set_lever(Lever::Count, Some(3), 2).await.expect("it is put back"), 2);
        assert_eq!(desired(ground).await, 2);
    })
}

fn scale_in(ground: &Ground) -> Ran<'_> {
    Box::pin(async move {
        let scene = &ground.scene;
        let resource = format!("service/{}/{}", scene.cluster, scene.target_service);
        let target = json!({"ServiceNamespace": "ecs", "ScalableDimension": "ecs:service:DesiredCount",
            "ResourceId": resource});
        let mut set = target.clone();
        set["SuspendedState"] = json!({"ScheduledScalingSuspended": true});
        ground.done("application-autoscaling", "RegisterScalableTarget", &set).await;
        let stands = async || {
            let input = json!({"ServiceNamespace": "ecs", "ResourceIds": [resource]});
            let told = ground.done("application-autoscaling", "DescribeScalableTargets", &input).await;
            let told = told["ScalableTargets"][0].clone();
            let suspended = |name: &str| told["SuspendedState"][name].as_bool().unwrap_or(false);
            let flags = ["DynamicScalingInSuspended", "DynamicScalingOutSuspended", "ScheduledScalingSuspended"];
            (flags.map(suspended), told["MinCapacity"].clone(), told["MaxCapacity"].clone())
        };
        let before = stands().await;
        assert_eq!(before, ([false, false, true], json!(1), json!(10)));
        let fleet = ground.fleet();
        assert_eq!(fleet.levers().await.expect("they are read").scale_in_suspended, Some(false));
        assert_eq!(fleet.set_lever(Lever::ScaleIn, Some(0), 1).await.expect("it is suspended"), 1);
        assert_eq!(stands().await, ([true, false, true], json!(1), json!(10)), "nothing else is touched");
        assert_eq!(fleet.set_lever(Lever::ScaleIn, Some(1), 0).await.expect("it is allowed again"), 0);
        assert_eq!(stands().await, before);
    })
}

fn keep_alive(ground: &Ground) -> Ran<'_> {
    Box::pin(async move {
        let input = json!({"LoadBalancerArn": ground.scene.balancer});
        let attributes = async || {
            let told = ground.done("elasticloadbalancing", "DescribeLoadBalancerAttributes", &input).await;
            let mut pairs: Vec<String> =
                told["Attributes"].as_array().into_iter().flatten().map(ToString::to_string).collect();
            pairs.sort();
            pairs
        };
        let set = json!({"LoadBalancerArn": ground.scene.balancer,
            "Attributes": [{"Key": "client_keep_alive.seconds", "Value": "600"}]});
        ground.done("elasticloadbalancing", "ModifyLoadBalancerAttributes", &set).await;
        let before = attributes().await;
        let fleet = ground.fleet();
        assert_eq!(fleet.levers().await.expect("they are read").keep_alive, Some(600));
        assert_eq!(fleet.set_lever(Lever::KeepAlive, Some(600), 60).await.expect("it is set"), 60);
        let during = attributes().await;
        let differ: Vec<&String> = during.iter().filter(|pair| !before.contains(pair)).collect();
        assert!(differ.len() == 1 && differ[0].contains("\"60\""), "{differ:?}");
        assert_eq!(fleet.set_lever(Lever::KeepAlive, Some(60), 600).await.expect("it is put back"), 600);
        assert_eq!(attributes().await, before);
    })
}
