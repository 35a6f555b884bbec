//! Signals that come within seconds, and what stands in for them where there are none.

use std::time::Duration;

use super::stage::{Stage, baking, policy};
use crate::command::Command;
use crate::event::{Event, Health};
use crate::policy::MetricsPolicy;

const MINUTE: Duration = Duration::from_mins(1);

/// What is otherwise in a stage and a reading of health.
type Change<'a> = &'a dyn Fn(&mut Stage, &mut Health);

#[test]
fn a_target_without_a_healthy_target_reverts_at_once() {
    // Proves that it takes one reading while the target has weight, and that what is old, what nobody knows, a source that is
    // ill too and a target without weight do nothing.
    let stage = baking();
    let fires = |change: Change<'_>| {
        let mut stage = stage.clone();
        let Event::Health(mut health) = stage.health(0) else { panic!("health") };
        health.target.ill = "10.0.1.7:9200 is unhealthy".to_owned();
        change(&mut stage, &mut health);
        stage.send(&Event::Health(health))
    };
    let decision = fires(&|_, _| {});
    assert_eq!(decision.reason.kind, "target_unhealthy");
    assert!(matches!(decision.commands.first(), Some(Command::Restore { .. })), "{:?}", decision.commands);
    assert_eq!(
        decision.reason.text,
        "target health: 0 of 2 targets of the target are healthy (10.0.1.7:9200 is unhealthy); 1 is the least, and the \
         source has 2 of 2"
    );
    let quiet: [(&str, Change<'_>); 6] = [
        ("old", &|_, health| health.begun = health.begun.minus(MINUTE)),
        ("unknown", &|_, health| health.target.unknown = 1),
        ("one is well", &|_, health| health.target.healthy = 1),
        ("the source is ill", &|_, health| health.source.as_mut().unwrap().healthy = 0),
        ("nobody looked at the source", &|_, health| health.source = None),
        ("the policy looks at none", &|stage, _| {
            let mut policy = policy();
            policy.fleet.healthy_min = 0;
            stage.cutover.policy = std::sync::Arc::new(policy);
        }),
    ];
    for (why, change) in quiet {
        assert_eq!(fires(change).next.phase.name(), "baking", "{why}");
    }
    let mut before = Stage::started(policy());
    before.reach("gated");
    let none = before.health(0);
    assert_eq!(before.send(&none).next.phase.name(), "gated", "the target has no weight yet");
}

#[test]
fn tripwires_look_at_whole_intervals_where_nothing_shorter_is_counted() {
    // Proves that they do so with CloudWatch alone, warm-up included, and not where our proxies count the last moments.
    let late = |named: &[&str]| {
        let mut policy = policy();
        policy.metrics = MetricsPolicy::Cloudwatch { settle: Duration::ZERO };
        policy.target.proxies = named.iter().map(|name| (*name).to_owned()).collect();
        // Longer than any step: what is not judged cannot revert by a verdict.
        policy.shift.warm_up = 60 * MINUTE;
        let mut stage = Stage::started(policy);
        stage.bake(0);
        stage.target_errors = 0.9;
        stage.mute.insert("glance");
        stage.run(10 * MINUTE, |cutover| cutover.phase.name() == "reverting");
        (stage.cutover.phase.name(), stage.cutover.reason.text.clone())
    };
    let (phase, text) = late(&[]);
    assert!(phase == "reverting" && text.contains("s late"), "{phase}: {text}");
    assert_eq!(late(&["unix:/run/proxy.sock"]).0, "baking");
}
