//! moto, an AWS that others wrote (getmoto/moto, Apache-2.0), as a program of its own.
//!
//! One process serves all cases: each has a load balancer, target groups and services by names of its own in it. They are
//! made by calls that are spelled by hand, so that a mistake in the adapters cannot hide in what they are tested with.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_tests::servers::{Process, state_folder};

use super::ground::Scene;
use super::relay::{Http, client};
use super::wire;

/// How long it may take to listen: it loads Python modules, beside other tests.
const START_MAX: Duration = Duration::from_mins(1);

/// Tasks of each service, and targets of each group.
const TASKS: usize = 2;

/// moto as it runs. Dropping it ends it.
pub(crate) struct Moto {
    _process: Process,
    _folder: tempfile::TempDir,
    pub(crate) endpoint: String,
    http: Http,
    made: AtomicU32,
}

impl Moto {
    /// Starts one and waits until it listens on a port of the kernel's choice.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let program = state_folder().join("venv/bin/moto_server");
        assert!(program.exists(), "{} is missing: `tests/run` installs what tests need", program.display());
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", "0"]).current_dir(folder.path());
        // Without it no task of a service ever runs.
        command.env("MOTO_ECS_SERVICE_RUNNING", TASKS.to_string()).env("PYTHONDONTWRITEBYTECODE", "1");
        let mut process = Process::start("moto", folder.path(), command);
        let line = process.wait_for_line("Running on http://", START_MAX);
        let endpoint = line.split_whitespace().last().expect("the line is not empty").to_owned();
        Self { _process: process, _folder: folder, endpoint, http: client(), made: AtomicU32::new(0) }
    }

    async fn make(&self, service: &str, operation: &str, input: Value) -> Value {
        let made = wire::call(&self.endpoint, &self.http, service, operation, &input).await;
        made.unwrap_or_else(|code| panic!("moto refuses {operation}: {code}"))
    }

    /// What one case needs: a load balancer with a weighted listener, three target groups, two services.
    pub(crate) async fn scene(&self) -> Scene {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let elb = "elasticloadbalancing";
        let text = |value: &Value, place: &str| {
            let found = value.pointer(place).and_then(Value::as_str);
            found.unwrap_or_else(|| panic!("moto's answer has no {place}: {value}")).to_owned()
        };
        let certificate = self.make("acm", "RequestCertificate", json!({"DomainName": "search.example"})).await;
        let vpcs = self.make("ec2", "DescribeVpcs", json!({})).await;
        let vpc = text(&vpcs, "/vpcSet/0/vpcId");
        let subnets = self.make("ec2", "DescribeSubnets", json!({})).await;
        let subnets: Vec<&str> = subnets["subnetSet"].as_array().map_or_else(Vec::new, |subnets| {
            subnets.iter().filter_map(|subnet| subnet["subnetId"].as_str()).take(2).collect()
        });
        let name = format!("case-{number}");
        let made = self.make(elb, "CreateLoadBalancer", json!({"Name": name, "Subnets": subnets})).await;
        let balancer = text(&made, "/LoadBalancers/0/LoadBalancerArn");
        let mut groups = Vec::new();
        for (at, side) in ["source", "target", "other"].into_iter().enumerate() {
            let input = json!({"Name": format!("{name}-{side}"), "Protocol": "HTTPS", "Port": 9200, "VpcId": vpc,
                "TargetType": "ip", "HealthCheckPath": "/", "Matcher": {"HttpCode": "200-499"}});
            let group = text(&self.make(elb, "CreateTargetGroup", input).await, "/TargetGroups/0/TargetGroupArn");
            // By addresses of their own: moto takes two ports of one address for one target.
            let targets: Vec<Value> = (0..TASKS).map(|task| json!({"Id": format!("10.0.{at}.{}", task + 1)})).collect();
            self.make(elb, "RegisterTargets", json!({"TargetGroupArn": group, "Targets": targets})).await;
            groups.push(group);
        }
        let [source, target, other] = groups.try_into().expect("three were made");
        let action = json!({"Type": "forward", "ForwardConfig": {"TargetGroups": [
            {"TargetGroupArn": source, "Weight": 1}, {"TargetGroupArn": target, "Weight": 0}]}});
        let listener = json!({"LoadBalancerArn": balancer, "Protocol": "HTTPS", "Port": 443, "DefaultActions": [action],
            "Certificates": [{"CertificateArn": text(&certificate, "/CertificateArn")}]});
        let listener = text(&self.make(elb, "CreateListener", listener).await, "/Listeners/0/ListenerArn");
        let services = ["source", "target"].map(|side| format!("{name}-{side}"));
        self.make("ecs", "CreateCluster", json!({"clusterName": name})).await;
        let container = json!({"name": "proxy", "image": "proxy", "memory": 512});
        self.make("ecs", "RegisterTaskDefinition", json!({"family": name, "containerDefinitions": [container]})).await;
        for (service, group) in services.iter().zip([&source, &target]) {
            let behind = json!({"targetGroupArn": group, "containerName": "proxy", "containerPort": 9200});
            let input = json!({"cluster": name, "serviceName": service, "taskDefinition": name, "desiredCount": TASKS,
                "loadBalancers": [behind]});
            self.make("ecs", "CreateService", input).await;
        }
        let [source_service, target_service] = services;
        let scaled = json!({"ServiceNamespace": "ecs", "ScalableDimension": "ecs:service:DesiredCount",
            "ResourceId": format!("service/{name}/{target_service}"), "MinCapacity": 1, "MaxCapacity": 10});
        self.make("application-autoscaling", "RegisterScalableTarget", scaled).await;
        Scene { listener, balancer, source, target, other, cluster: name, source_service, target_service }
    }
}
