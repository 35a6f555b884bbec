//! What the checks say of target groups, settings and services.

use std::collections::HashMap;

use super::services::{Scaling, Told, counts, fit};
use super::settings::{of_balancer, of_group, of_matcher, of_rules, of_scaling, of_weights};
use super::*;

fn target(nth: u8, zone: &str, state: &str) -> Target {
    let (address, zone) = (format!("10.0.0.{nth}:9200"), Some(zone.to_owned()));
    Target { address, zone, state: state.to_owned(), reason: String::new() }
}

#[test]
fn only_healthy_is_healthy() {
    // Proves that every other state, one that nobody knows yet included, keeps traffic from the target.
    for state in ["initial", "unhealthy", "draining", "unused", "unavailable", "unhealthy.draining", "brand-new"] {
        let targets = [target(1, "a", "healthy"), target(2, "b", state)];
        let strict = healthy("target", &targets, true);
        assert_eq!(strict.outcome, CheckOutcome::Fail, "{state}");
        assert!(strict.evidence.contains(&format!("10.0.0.2:9200 is {state}")), "{}", strict.evidence);
        assert_eq!(healthy("source", &targets, false).outcome, CheckOutcome::Warn, "{state}");
        assert_eq!(healthy("source", &targets[1..], false).outcome, CheckOutcome::Fail, "{state}");
    }
    let all = [target(1, "a", "healthy"), target(2, "b", "healthy")];
    assert_eq!(healthy("target", &all, true).outcome, CheckOutcome::Pass);
    assert_eq!(healthy("target", &[], true).outcome, CheckOutcome::Fail);
    let told = TargetHealthDescription::builder().build();
    assert!(!Target::of(&told).is_healthy(), "what is not said is not healthy");
}

#[test]
fn a_target_that_is_smaller_or_lacks_a_zone_is_told() {
    // Proves that fewer targets and an empty zone are seen, and only healthy targets count for either.
    let source = [target(1, "a", "healthy"), target(2, "b", "healthy"), target(3, "c", "draining")];
    let few = [target(4, "a", "healthy"), target(5, "b", "initial")];
    assert_eq!(large_enough(&source, &few).outcome, CheckOutcome::Warn);
    let told = zones(&source, &few);
    assert_eq!(told.outcome, CheckOutcome::Warn);
    assert!(told.evidence.ends_with("the source has some in b too"), "{}", told.evidence);
    let enough = [target(4, "a", "healthy"), target(5, "b", "healthy")];
    assert_eq!(large_enough(&source, &enough).outcome, CheckOutcome::Pass);
    assert_eq!(zones(&source, &enough).outcome, CheckOutcome::Pass);
}

#[test]
fn settings_that_undo_a_cutover_are_each_reported_with_what_to_do() {
    // Proves that a plain target group is not complained about, and that each setting that matters is.
    let attributes = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let plain = attributes(&[
        ("stickiness.enabled", "false"),
        ("slow_start.duration_seconds", "0"),
        ("target_group_health.dns_failover.minimum_healthy_targets.count", "1"),
        ("target_group_health.dns_failover.minimum_healthy_targets.percentage", "off"),
        ("load_balancing.cross_zone.enabled", "use_load_balancer_configuration"),
        ("load_balancing.algorithm.anomaly_mitigation", "off"),
    ]);
    assert_eq!(of_group("target", &plain), []);
    for (key, value, name) in [
        ("stickiness.enabled", "true", "target stickiness"),
        ("slow_start.duration_seconds", "30", "target slow start"),
        ("target_group_health.dns_failover.minimum_healthy_targets.count", "2", "target DNS failover"),
        ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage", "50", "target fail-open"),
        ("load_balancing.cross_zone.enabled", "false", "target cross-zone"),
        ("load_balancing.algorithm.anomaly_mitigation", "on", "target anomaly mitigation"),
    ] {
        let mut changed = plain.clone();
        changed.insert(key.to_owned(), value.to_owned());
        let told = of_group("target", &changed);
        assert_eq!(told.iter().map(|check| check.name.as_str()).collect::<Vec<_>>(), [name]);
        assert!(told.iter().all(|check| check.outcome == CheckOutcome::Warn && !check.fix.is_empty()));
    }
    assert!(of_matcher("target", "200-499").is_some() && of_matcher("target", "200,404").is_some());
    assert!(of_matcher("target", "200").is_none() && of_matcher("target", "200-399").is_none());
    assert_eq!(of_balancer(&attributes(&[("client_keep_alive.seconds", "3600")])), []);
    assert_eq!(of_balancer(&attributes(&[("client_keep_alive.seconds", "604800")])).len(), 1);
}

#[test]
fn a_default_rule_that_weighs_not_both_groups_stands_in_the_way() {
    // Proves that weights of 0 on both, and a group that is not weighed, fail with what to do, and that any other pair is fine.
    assert!([(1, 0), (0, 1), (900, 100)].iter().all(|(one, other)| of_weights(Some(*one), Some(*other)).is_none()));
    for (source, target, word) in [
        (Some(0), Some(0), "both target groups"),
        (Some(1), None, "does not weigh both"),
        (None, None, "does not weigh"),
    ] {
        let told = of_weights(source, target).unwrap();
        assert!(told.outcome == CheckOutcome::Fail && told.evidence.contains(word) && !told.fix.is_empty(), "{told:?}");
    }
}

#[test]
fn rules_before_the_default_rule_are_told_unless_they_move_with_it() {
    // Proves that traffic which does not follow the weights is named by its rules' priorities.
    let rule = |priority: &str| (priority.to_owned(), Some(format!("arn:rule/{priority}")));
    assert!(of_rules(&[rule("default")], &[]).is_none());
    let rules = [rule("7"), rule("20"), rule("default")];
    assert!(of_rules(&rules, &[]).unwrap().evidence.ends_with("7, 20"));
    assert!(of_rules(&rules, &["arn:rule/7".to_owned()]).unwrap().evidence.ends_with(": 20"));
    assert!(of_rules(&rules, &["arn:rule/7".to_owned(), "arn:rule/20".to_owned()]).is_none());
}

#[test]
fn a_service_that_is_missing_empty_or_changing_keeps_traffic_from_the_target() {
    // Proves that each of them is named with the CDK key that mends it.
    let scaling = Scaling { region: "eu-central-1", cluster: "ecs", by_us: false };
    let steady =
        Told { status: "ACTIVE".to_owned(), desired: 2, running: 2, deployments: 1, complete: true, ..Told::default() };
    assert_eq!(fit("target", "proxy", Some(&steady), scaling).outcome, CheckOutcome::Pass);
    let missing = fit("target", "proxy", None, scaling);
    assert_eq!(missing.outcome, CheckOutcome::Fail);
    assert!(missing.fix.contains("targetClusterProxyServiceEnabled"));
    let empty = fit("target", "proxy", Some(&Told { desired: 0, running: 0, ..steady.clone() }), scaling);
    assert_eq!(empty.outcome, CheckOutcome::Fail);
    assert!(empty.fix.contains("targetClusterProxyDesiredCount"));
    for changing in [
        Told { running: 1, ..steady.clone() },
        Told { pending: 1, ..steady.clone() },
        Told { deployments: 2, ..steady.clone() },
        Told { complete: false, ..steady.clone() },
        Told { failed_tasks: 1, ..steady.clone() },
        Told { status: "DRAINING".to_owned(), ..steady.clone() },
    ] {
        assert_eq!(fit("target", "proxy", Some(&changing), scaling).outcome, CheckOutcome::Fail, "{changing:?}");
        assert_eq!(fit("source", "proxy", Some(&changing), scaling).outcome, CheckOutcome::Warn, "{changing:?}");
    }
    assert_eq!(counts(&steady, &steady, "proxy", scaling), []);
    let one = Told { desired: 1, running: 1, ..steady.clone() };
    let small = &counts(&steady, &one, "proxy", scaling)[0];
    assert_eq!(small.outcome, CheckOutcome::Fail);
    let command = "aws ecs update-service --region eu-central-1 --cluster ecs --service proxy --desired-count 2";
    assert!(small.fix.contains(command), "{}", small.fix);
    assert_eq!(counts(&one, &one, "proxy", scaling)[0].name, "source count");
    // What the cutover does by itself stands in nobody's way before it is begun.
    let by_us = Scaling { by_us: true, ..scaling };
    assert_eq!(counts(&steady, &one, "proxy", by_us)[0].outcome, CheckOutcome::Warn);
    let none = Told { desired: 0, running: 0, ..steady.clone() };
    assert_eq!(fit("target", "proxy", Some(&none), by_us).outcome, CheckOutcome::Warn);
    assert_eq!(fit("source", "proxy", Some(&none), by_us).outcome, CheckOutcome::Fail);
}

#[test]
fn autoscaling_that_would_undo_a_cutover_is_told() {
    // Proves that a maximum below the source's count and scale-in that nobody suspends are each reported, and nothing else.
    let plain = Stands { source_count: Some(2), target_count: Some(2), ..Stands::default() };
    assert_eq!(of_scaling(&plain, false), []);
    let scaled = Stands { count_max: Some(1), scale_in_suspended: Some(false), ..plain };
    let names = |scale| of_scaling(&scaled, scale).into_iter().map(|check| check.name).collect::<Vec<_>>();
    assert_eq!(names(false), ["target scaling", "target scale-in"]);
    assert_eq!(names(true), ["target scaling"]);
}
