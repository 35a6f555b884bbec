//! What the built daemon sets beside the weights, and that it stands as before when the cutover has ended, however it
//! ended: the count of the target's tasks, whether autoscaling may take some away, and how long connections live.

use lab::lab_api::Action;
use lab::model::fleet::Scalable;
use lab::wire::params::Params;
use serde_json::{Value, json};
use tidegate_tests::servers::Process;

use crate::rights;
use crate::whole::{PHASE_MAX, SERVICE, START_MAX, World};

/// Everything that may be set, whole.
#[derive(Clone, Debug, PartialEq)]
struct Beside {
    actions: Value,
    attributes: Value,
    scalable: Option<Scalable>,
    /// Desired tasks of source and target.
    counts: [u32; 2],
}

impl World {
    /// A lab whose target is smaller than its source and scaled by load, and a policy that makes up for it.
    fn small_target() -> Self {
        let sides = ["source", "target-cluster"].map(|side| match side {
            "source" => "service = \"migration-demo-capture-proxy\"\n",
            _ => "service = \"migration-demo-target-cluster-proxy\"\n",
        });
        let more = "[fleet]\ncluster = \"migration-demo-ecs-cluster\"\nscale = true\n";
        let world = Self::with("[20, 100]\nkeep_alive = \"60s\"", more, sides);
        let scene = world.lab().scene().clone();
        let service = json!({"cluster": scene.cluster, "service": scene.target_service, "desiredCount": 1});
        let resource = format!("service/{}/{}", scene.cluster, scene.target_service);
        let scalable = json!({
            "ServiceNamespace": "ecs", "ScalableDimension": "ecs:service:DesiredCount", "ResourceId": resource,
            "MinCapacity": 1, "MaxCapacity": 4, "SuspendedState": {"ScheduledScalingSuspended": true},
        });
        world.lab().shared().happen(|model, now| {
            let done = lab::ecs::write(model, now, "UpdateService", Params(&service));
            done.expect("the lab has this operation").expect("the service is there");
            let done = lab::autoscaling::write(model, now, "RegisterScalableTarget", Params(&scalable));
            done.expect("the lab has this operation").expect("the service is there");
        });
        world
    }

    fn beside(&self) -> Beside {
        let (shared, scene) = (self.lab().shared(), self.lab().scene());
        let actions = self.actions();
        shared.read(|model| {
            let balancer = model.load_balancers.keys().next().expect("there is one").clone();
            let input = json!({ "LoadBalancerArn": balancer });
            let now = shared.clock.now();
            let attributes = lab::elbv2::read(model, now, "DescribeLoadBalancerAttributes", Params(&input));
            let attributes = attributes.expect("the lab has this operation").expect("the balancer is there");
            let count = |name: &String| {
                let service = model.fleet.services.values().find(|service| service.name == *name);
                service.expect("the service is there").desired
            };
            let scalable =
                model.fleet.scalable.values().find(|scaled| scaled.resource.ends_with(&scene.target_service));
            let scalable = scalable.cloned();
            let counts = [&scene.source_service, &scene.target_service].map(count);
            Beside { actions, attributes, scalable, counts }
        })
    }

    /// Waits until all is as it shall be.
    fn wait_beside(&self, daemon: &mut Process, what: &str, as_it_shall_be: impl Fn(&Beside) -> bool) {
        daemon.wait_until(what, PHASE_MAX, |_| as_it_shall_be(&self.beside()));
    }

    /// Application Auto Scaling tries to take the target to its smallest count.
    fn scale_in(&self) -> u32 {
        let action = Action::ScaleIn { service: self.lab().scene().target_service.clone() };
        lab::lab_api::act(self.lab().shared(), action).expect("the service is there");
        self.beside().counts[1]
    }
}

/// As it is while traffic moves: nothing but what the policy asks for is different.
fn moved(before: &Beside) -> Beside {
    let mut moved = before.clone();
    moved.scalable.as_mut().expect("it is scaled").in_suspended = true;
    moved.counts[1] = before.counts[0];
    let attributes = moved.attributes["Attributes"].as_array_mut().expect("they are a list");
    let keep_alive = attributes.iter_mut().find(|one| one["Key"] == "client_keep_alive.seconds");
    keep_alive.expect("every ALB has it")["Value"] = json!("60");
    moved
}

/// The same but for the actions, which the cutover is about.
fn equal_beside(one: &Beside, other: &Beside) -> bool {
    let actions = &other.actions;
    Beside { actions: actions.clone(), ..one.clone() } == *other
}

/// Proves that the target is made as large as the source before traffic moves, that autoscaling which tries to take its
/// tasks away then cannot, and that done leaves the tasks and puts back the rest; by calls that `aws iam` lists, and by all of
/// them.
#[test]
fn a_cutover_that_is_done_leaves_the_targets_tasks_and_nothing_else() {
    let world = World::small_target();
    let clients = world.clients();
    let before = world.beside();
    assert_eq!(before.counts, [2, 1]);
    let mut daemon = world.daemon();
    world.say(&["start", SERVICE, "--yes"]);
    world.wait_for(&mut daemon, "baking", Some(200));
    assert!(equal_beside(&moved(&before), &world.beside()), "{:?}", world.beside());
    assert_eq!(world.scale_in(), 2, "autoscaling is held off");
    let undo = std::fs::read_dir(world.path("state/undo")).expect("it is there").next().expect("there is a file");
    let undo = std::fs::read_to_string(undo.expect("it is read").path()).expect("it is text");
    for word in ["DynamicScalingInSuspended=false", "client_keep_alive.seconds,Value=3600"] {
        assert!(undo.contains(word), "{undo}");
    }
    world.wait_for(&mut daemon, "done", None);
    let mut after = before.clone();
    after.counts[1] = 2;
    world.wait_beside(&mut daemon, "all but the tasks is put back", |now| equal_beside(&after, now));
    assert_eq!(world.weights(), [0, 1]);
    assert_eq!(clients.stop(), 0, "no request failed");
    world.say(&["close", SERVICE, "--yes"]);
    assert_eq!(world.scale_in(), 1, "autoscaling has its way again");
    let features = ["observe", "services", "shift", "scale", "keep-alive"];
    rights::assert_allowed(world.lab(), &features);
    rights::assert_used(world.lab(), &features);
    daemon.signal("TERM");
    assert!(daemon.wait(START_MAX).success(), "{}", daemon.log());
}

/// Proves that a revert puts back everything, the tasks too, and these only after the target has been silent.
#[test]
fn a_cutover_that_is_reverted_leaves_nothing_changed() {
    let world = World::small_target();
    let clients = world.clients();
    let before = world.beside();
    let mut daemon = world.daemon();
    world.say(&["start", SERVICE, "--yes"]);
    world.wait_for(&mut daemon, "baking", Some(200));
    world.say(&["revert", SERVICE, "--yes", "--reason", "to see what becomes of it"]);
    world.wait_for(&mut daemon, "reverted", None);
    let now = world.beside();
    assert_eq!(now.actions, before.actions);
    assert_eq!(now.counts, [2, 2], "it may still serve something");
    world.wait_beside(&mut daemon, "everything is as before", |now| *now == before);
    assert_eq!(clients.stop(), 0, "no request failed");
}

/// Proves that a daemon killed while it prepares, and again while traffic moves, knows what stood before, and that abort
/// puts back what is not about the target's size.
#[test]
fn a_killed_daemon_puts_back_what_it_set() {
    let world = World::small_target();
    let clients = world.clients();
    let before = world.beside();
    let mut daemon = world.daemon();
    world.say(&["start", SERVICE, "--yes"]);
    world.wait_beside(&mut daemon, "scale-in is suspended", |now| {
        now.scalable.as_ref().is_some_and(|scalable| scalable.in_suspended)
    });
    daemon.signal("KILL");
    daemon.wait(START_MAX);
    let mut daemon = world.daemon();
    world.wait_for(&mut daemon, "baking", Some(200));
    assert!(equal_beside(&moved(&before), &world.beside()), "{:?}", world.beside());
    daemon.signal("KILL");
    daemon.wait(START_MAX);
    assert!(equal_beside(&moved(&before), &world.beside()), "nobody puts it back by itself");
    let mut daemon = world.daemon();
    world.say(&["abort", SERVICE, "--yes", "--reason", "to see what becomes of it"]);
    let mut after = before.clone();
    after.counts[1] = 2;
    world.wait_beside(&mut daemon, "all but the tasks is put back", |now| equal_beside(&after, now));
    assert_eq!(world.weights(), [800, 200], "the weights stay where they are");
    assert_eq!(clients.stop(), 0, "no request failed");
}
