//! What an account holds when the lab starts: Migration Assistant as its CDK deploys it.
//!
//! Everything is made by the calls that CloudFormation would make, so nothing is in the account that AWS would refuse. The
//! names, ports and health checks are those of opensearch-migrations (`deployment/cdk`): the weighted listener is on 443
//! and not on the 9200 of the runbook; 9201 and 9202 lead past the weights to one side each, over the same target groups;
//! 9999 leads to the source cluster itself; health checks take 200 to 499, so a target that refuses everything is well.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use crate::clock::Time;
use crate::ecs;
use crate::elbv2;
use crate::model::fleet::{Cluster, Deployment, Scalable, Service, TaskState};
use crate::model::network::{Ingress, SecurityGroup, Subnet};
use crate::model::{ACCOUNT, Model, REGION, Refusal};
use crate::wire::params::Params;

/// The names that a client needs to find its way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Scene {
    /// The listener whose default action weighs the two target groups.
    pub listener_arn: String,
    /// The capture proxies, in front of the source cluster.
    pub source_tg: String,
    /// The proxies in front of the target cluster.
    pub target_tg: String,
    /// The ECS cluster's name.
    pub cluster: String,
    /// The capture proxy's service, by name.
    pub source_service: String,
    /// The target proxy's service, by name.
    pub target_service: String,
}

/// The stage that the scenario is deployed as.
pub const STAGE: &str = "demo";
/// The certificate of the listeners that have one.
const CERTIFICATE: &str = "arn:aws:acm:us-east-1:123456789012:certificate/1b2c3d4e-0000-4000-8000-00000000abcd";
/// Tasks of each proxy.
const PROXIES: u32 = 2;
/// What was deployed was deployed a day ago.
const AGE: Duration = Duration::from_hours(24);

/// How many deployments one account may have: AWS allows 3000 target groups in a region, three of them each.
pub const DEPLOYMENTS_MAX: u16 = 1000;

/// An account with Migration Assistant in it, its tasks about to run.
///
/// # Errors
/// Never, unless the scenario asks for something that AWS refuses.
pub fn migration_assistant(stage: &str, now: Time) -> Result<(Model, Scene), Refusal> {
    let (model, mut scenes) = deployments(stage, 1, now)?;
    Ok((model, scenes.remove(0)))
}

/// The same so many times over (1 to [`DEPLOYMENTS_MAX`]), as a firm with as many clusters has it: the first by the name
/// of the stage, the others by `STAGE-2` and so on.
///
/// # Errors
/// As [`migration_assistant`].
pub fn deployments(stage: &str, count: u16, now: Time) -> Result<(Model, Vec<Scene>), Refusal> {
    let mut model = Model::default();
    network(&mut model);
    let mut scenes = vec![deploy(&mut model, stage, now)?];
    for number in 2..=count.min(DEPLOYMENTS_MAX) {
        scenes.push(deploy(&mut model, &format!("{stage}-{number}"), now)?);
    }
    Ok((model, scenes))
}

/// Two zones with a subnet each, and what lets clients in.
fn network(model: &mut Model) {
    let network = &mut model.network;
    (network.vpc, network.cidr) = ("vpc-0a1b2c3d4e5f60718".into(), "10.0.0.0/16".into());
    for (index, letter) in ["a", "b"].into_iter().enumerate() {
        let id = format!("subnet-0000000000000000{letter}");
        let zone = format!("{REGION}{letter}");
        network.subnets.insert(id.clone(), Subnet { id, zone, cidr: format!("10.0.{}.0/24", index + 1) });
    }
    let mut group = |id: &str, name: &str, ingress: Vec<Ingress>| {
        let (id, name) = (id.to_owned(), name.to_owned());
        network.security_groups.insert(id.clone(), SecurityGroup { id, name, ingress });
    };
    let from_vpc = |ports| Ingress { ports: Some(ports), cidrs: vec!["10.0.0.0/16".into()], groups: Vec::new() };
    let ports = [(443, 443), (9200, 9202), (9999, 9999)];
    group("sg-0000000000000a1b0", "MigrationAssistant-alb", ports.map(from_vpc).to_vec());
    let from_alb =
        Ingress { ports: Some((9200, 9200)), cidrs: Vec::new(), groups: vec!["sg-0000000000000a1b0".into()] };
    group("sg-0000000000000e5c0", "MigrationAssistant-services", vec![from_alb]);
}

/// One deployment of Migration Assistant.
fn deploy(model: &mut Model, stage: &str, now: Time) -> Result<Scene, Refusal> {
    let then = now - AGE;
    let subnets: Vec<String> = model.network.subnets.keys().cloned().collect();
    let call = |model: &mut Model, operation: &str, params: &Value| {
        let answer = elbv2::write(model, then, operation, Params(params));
        answer.unwrap_or_else(|| Err(Refusal::invalid(format!("there is no operation {operation}"))))
    };
    let text = |answer: &Value, list: &str, field: &str| answer[list][0][field].as_str().unwrap_or("").to_owned();

    let made = call(
        model,
        "CreateLoadBalancer",
        &json!({
            "Name": format!("MigrationAssistant-{stage}"), "Scheme": "internal", "Subnets": subnets,
            "SecurityGroups": ["sg-0000000000000a1b0"], "Type": "application",
        }),
    )?;
    let balancer = text(&made, "LoadBalancers", "LoadBalancerArn");
    call(
        model,
        "ModifyLoadBalancerAttributes",
        &json!({
            "LoadBalancerArn": balancer, "Attributes": [{"Key": "routing.http2.enabled", "Value": "false"}],
        }),
    )?;

    let group = |model: &mut Model, name: &str| {
        let vpc = model.network.vpc.clone();
        let made = call(
            model,
            "CreateTargetGroup",
            &json!({
                "Name": format!("{name}-{stage}-TG"), "Protocol": "HTTPS", "Port": 9200, "VpcId": vpc, "TargetType": "ip",
                "HealthCheckProtocol": "HTTPS", "HealthCheckPath": "/", "Matcher": {"HttpCode": "200-499"},
            }),
        )?;
        Ok::<_, Refusal>(text(&made, "TargetGroups", "TargetGroupArn"))
    };
    let source_tg = group(model, "ALBSourceProxy")?;
    let target_tg = group(model, "ALBTargetProxy")?;
    let cluster_tg = group(model, "ALBSourceCluster")?;

    let listener = |model: &mut Model, port: u16, action: Value| {
        let made = call(
            model,
            "CreateListener",
            &json!({
                "LoadBalancerArn": balancer, "Port": port, "Protocol": "HTTPS",
                "Certificates": [{"CertificateArn": CERTIFICATE}], "SslPolicy": "ELBSecurityPolicy-TLS13-1-2-2021-06",
                "DefaultActions": [action],
            }),
        )?;
        Ok::<_, Refusal>(text(&made, "Listeners", "ListenerArn"))
    };
    let listener_arn = listener(
        model,
        443,
        json!({"Type": "forward", "ForwardConfig": {"TargetGroups": [
            {"TargetGroupArn": source_tg, "Weight": 1}, {"TargetGroupArn": target_tg, "Weight": 0},
        ]}}),
    )?;
    listener(model, 9201, json!({"Type": "forward", "TargetGroupArn": source_tg}))?;
    listener(model, 9202, json!({"Type": "forward", "TargetGroupArn": target_tg}))?;
    listener(model, 9999, json!({"Type": "forward", "TargetGroupArn": cluster_tg}))?;

    let cluster = format!("migration-{stage}-ecs-cluster");
    let source_service = format!("migration-{stage}-capture-proxy");
    let target_service = format!("migration-{stage}-target-cluster-proxy");
    // What answers on 9999 is no service of ECS in AWS. Here something must run it, in a cluster that nobody looks for.
    let outside = format!("lab-{stage}-source-cluster");
    service(model, &cluster, &source_service, &source_tg, PROXIES, now);
    service(model, &cluster, &target_service, &target_tg, PROXIES, now);
    service(model, &outside, "source-cluster", &cluster_tg, 1, now);
    for name in [&source_service, &target_service] {
        let resource = format!("service/{cluster}/{name}");
        model.fleet.scalable.insert(
            resource.clone(),
            Scalable {
                resource,
                min: 1,
                max: 10,
                in_suspended: false,
                out_suspended: false,
                scheduled_suspended: false,
                created: then,
            },
        );
    }
    Ok(Scene { listener_arn, source_tg, target_tg, cluster, source_service, target_service })
}

/// A service that has long been deployed: its tasks wait only for somewhere to listen.
fn service(model: &mut Model, cluster: &str, name: &str, group: &str, desired: u32, now: Time) {
    let then = now - AGE;
    let arn = ecs::arn(&format!("cluster/{cluster}"));
    model.fleet.clusters.insert(cluster.to_owned(), Cluster { arn, name: cluster.to_owned() });
    let deployment = format!("ecs-svc/{}", model.fresh_id(19));
    let definition = format!("arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/{name}:1");
    let service = Service {
        arn: ecs::arn(&format!("service/{cluster}/{name}")),
        name: name.to_owned(),
        cluster: cluster.to_owned(),
        status: "ACTIVE".into(),
        desired,
        task_definition: definition.clone(),
        container_port: 9200,
        target_group: group.to_owned(),
        created: then,
        deployments: vec![Deployment {
            id: deployment.clone(),
            task_definition: definition,
            created: then,
            updated: then,
            failed: 0,
            rollout: "COMPLETED".into(),
        }],
        events: VecDeque::new(),
        strategy: "ROLLING".into(),
        controller: "ECS".into(),
        cannot_start: None,
    };
    for index in 0..desired {
        ecs::drive::start(model, &service, &deployment, index as usize, then);
    }
    for task in model.fleet.tasks.values_mut().filter(|task| task.service == service.arn) {
        task.state = TaskState::Pending;
    }
    model.fleet.services.insert(service.arn.clone(), service);
}
