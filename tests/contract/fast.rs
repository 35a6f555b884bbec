//! What takes the traffic of an ALB back within seconds: the health of targets, and the counters of our own proxies.

use cutover::event::Health;
use lab::faults::FaultName;
use lab::model::HealthState;
use lab::plane::{Behaviour, Manner};
use tidegate::aws::pace::Pace;
use tidegate::fleet::Fleet;
use tidegate::fleet::alb::{AlbFleet, Groups};

use crate::cloud::{SERVICE, Setup, World};
use crate::support::Stand;

fn fleet(stand: &Stand, pace: &Pace) -> AlbFleet {
    let scene = stand.lab.scene();
    let (source, target) = (scene.source_tg.clone(), scene.target_tg.clone());
    let groups =
        Groups { listener: None, rules: Vec::new(), source, target, cluster: None, healthy_min: 1, scale: false };
    AlbFleet::new(&stand.aws, groups, pace.clone(), stand.clock.clone())
}

#[tokio::test]
async fn the_health_of_targets_is_read_and_the_source_where_it_decides() {
    // Proves that a healthy target costs one call, that an ill one brings the source's figures along, that AWS's own trouble
    // counts as unknown, and that being throttled slows the looks down.
    let stand = Stand::start().await;
    let pace = Pace::new(stand.clock.clone());
    let fleet = fleet(&stand, &pace);
    let look = async || -> Health { fleet.health().await.expect("it is read").expect("the policy looks at it") };
    let well = look().await;
    assert_eq!((well.target.healthy, well.target.all, well.source), (2, 2, None));
    let target = stand.lab.scene().target_tg.clone();
    let set = |state: HealthState| {
        stand.lab.shared().happen(|model, _| {
            let group = model.target_groups.get_mut(&target).expect("it is there");
            group.targets.iter_mut().for_each(|target| target.health.state = state);
        });
    };
    set(HealthState::Unhealthy);
    let ill = look().await;
    assert_eq!((ill.target.healthy, ill.target.unknown, ill.source.map(|source| source.healthy)), (0, 0, Some(2)));
    assert!(ill.target.ill.contains("is unhealthy"), "{}", ill.target.ill);
    set(HealthState::Unavailable);
    assert_eq!(look().await.target.unknown, 2);
    let before = pace.spacing();
    stand.fault(FaultName::Throttle, "DescribeTargetHealth", 50);
    fleet.health().await.expect_err("AWS has too many calls");
    assert_eq!(pace.spacing(), before * 2);
}

#[test]
fn a_target_whose_servers_are_gone_is_left_by_its_health() {
    // Proves that the built daemon reverts on target health, with words, before CloudWatch could have told it.
    let setup = Setup::default();
    let world = World::new(&setup);
    let before = world.actions();
    let clients = world.clients();
    let mut daemon = world.daemon();
    world.say(&["start", SERVICE, "--yes"]);
    world.wait_for(&mut daemon, &["baking"], Some(200));
    let target = world.lab().scene().target_tg.clone();
    world.lab().shared().plane.behave(&target, Behaviour { manner: Manner::Gone, ..Behaviour::default() });
    world.wait_for(&mut daemon, &["reverted"], None);
    assert_eq!(world.actions(), before);
    let told = world.say(&["history", SERVICE]);
    assert!(told.contains("target health: 0 of 2 targets of the target are healthy"), "{told}");
    clients.stop();
}

#[test]
fn the_counters_of_our_proxies_behind_an_alb_fire_its_tripwires() {
    // Proves that a target whose cluster answers 500 is left by its proxies' counters, which the policy names, while the
    // health of its targets is not looked at.
    let setup = Setup { proxies: true, named: true, healthy_min: 0, speed: 20, ..Setup::default() };
    let world = World::new(&setup);
    let clients = world.clients();
    let mut daemon = world.daemon();
    world.say(&["start", SERVICE, "--yes"]);
    world.wait_for(&mut daemon, &["baking"], Some(200));
    world.target_answers(Some(500));
    world.wait_for(&mut daemon, &["reverted"], None);
    let told = world.say(&["history", SERVICE]);
    assert!(told.contains("tripwire `errors") && told.contains("requests of the target failed"), "{told}");
    assert!(!told.contains("s late"), "{told}");
    clients.stop();
}
