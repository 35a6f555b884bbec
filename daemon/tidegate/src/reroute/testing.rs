//! A record for tests.

use cutover::Timestamp;
use serde_json::json;

use super::record::{Front, LAYOUT, Record, Stage, Way, Weighted};
use crate::testing::START;

/// The target group in front of today's cluster.
pub(crate) const OLD: &str = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/old/1";

/// A reroute that has just begun: an NLB's live listener on 9200 is to be switched by 10, 50 and 100 %.
pub(crate) fn record() -> Record {
    let arn = |rest: &str| format!("arn:aws:elasticloadbalancing:eu-central-1:123456789012:{rest}");
    Record {
        layout: LAYOUT,
        service: "search".to_owned(),
        way: Way::Switch,
        stage: Stage::Preparing,
        stage_since: START,
        weighted: Weighted {
            listener: arn("listener/app/new/2/3"),
            port: 443,
            secure: true,
            balancer: arn("loadbalancer/app/new/2"),
            address: "new.example.com".to_owned(),
            vpc: "vpc-1".to_owned(),
            source: arn("targetgroup/source/4"),
            target: arn("targetgroup/target/5"),
            idle_seconds: 60,
        },
        front: Some(Front {
            balancer: arn("loadbalancer/net/front/6"),
            address: "front.example.com".to_owned(),
            listener: arn("listener/net/front/6/7"),
            port: 9200,
            original: json!([{"Type": "forward", "TargetGroupArn": OLD}]),
        }),
        name: None,
        old: Vec::new(),
        old_idle_seconds: 350,
        server_name: None,
        group_name: "tidegate-0a1b2c3d".to_owned(),
        new_port: 9201,
        steps: vec![10, 50, 100],
        switched: Vec::new(),
        alone: None,
        restored: None,
        advanced: false,
        accepted: Vec::new(),
        complete: None,
        told: vec![super::record::Told { at: Timestamp(1), text: "begun".to_owned() }],
    }
}
