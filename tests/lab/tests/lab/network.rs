//! The path from an NLB to an ALB: what AWS accepts on it, and what EC2 says of it.

use serde_json::{Value, json};

use crate::support::{Running, start};

const VPC: &str = "vpc-0a1b2c3d4e5f60718";

/// An NLB, and the ARN of the ALB that the scenario made.
fn stage(lab: &Running) -> (String, String) {
    let alb = lab.elb("DescribeLoadBalancers", &json!({})).ok().texts("LoadBalancerArn")[0].to_owned();
    let subnets = json!(["subnet-0000000000000000a", "subnet-0000000000000000b"]);
    let params = json!({"Name": "front", "Type": "network", "Scheme": "internal", "Subnets": subnets});
    let nlb = lab.elb("CreateLoadBalancer", &params).ok().texts("LoadBalancerArn")[0].to_owned();
    assert!(nlb.contains(":loadbalancer/net/front/"), "{nlb}");
    (nlb, alb)
}

fn group(name: &str, protocol: &str, port: u16) -> Value {
    json!({"Name": name, "TargetType": "alb", "Protocol": protocol, "Port": port, "VpcId": VPC,
           "HealthCheckProtocol": "HTTPS", "Matcher": {"HttpCode": "200-499"}})
}

/// Proves the rules for an ALB as a target: TCP only, a port that has a listener, one ALB, a TCP listener in front, and
/// that the ALB's listener cannot go while it is one.
#[test]
fn an_alb_is_a_target_behind_tcp_only() {
    let lab = start(1, false);
    let (nlb, alb) = stage(&lab);
    lab.elb("CreateTargetGroup", &group("alb-tls", "TLS", 443)).refused("InvalidConfigurationRequest");
    let front = lab.elb("CreateTargetGroup", &group("alb-443", "TCP", 443)).ok().texts("TargetGroupArn")[0].to_owned();
    let other = lab.elb("CreateTargetGroup", &group("alb-444", "TCP", 444)).ok().texts("TargetGroupArn")[0].to_owned();
    let register =
        |group: &str, id: &str| lab.elb("RegisterTargets", &json!({"TargetGroupArn": group, "Targets": [{"Id": id}]}));
    register(&other, &alb).refused("InvalidTarget");
    register(&front, &nlb).refused("InvalidTarget");
    register(&front, &alb).ok();
    let health = |lab: &Running| lab.elb("DescribeTargetHealth", &json!({"TargetGroupArn": front})).ok();
    assert_eq!(health(&lab).texts("Reason"), ["Target.NotInUse"]);
    let listener = |protocol: &str, port: u16| {
        let mut params = json!({"LoadBalancerArn": nlb, "Protocol": protocol, "Port": port,
            "DefaultActions": [{"Type": "forward", "TargetGroupArn": front}]});
        if protocol == "TLS" {
            params["Certificates"] = json!([{"CertificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/x"}]);
        }
        lab.elb("CreateListener", &params)
    };
    listener("TLS", 443).refused("InvalidConfigurationRequest");
    listener("HTTP", 443).refused("ValidationError");
    listener("TCP", 443).ok();
    listener("TCP", 443).refused("DuplicateListener");
    lab.wait("in use, so checked", |lab| (health(lab).texts("State") == ["healthy"]).then_some(()));
    lab.elb("DeleteListener", &json!({"ListenerArn": lab.lab().scene().listener_arn})).refused("ResourceInUse");
    lab.elb("DeleteLoadBalancer", &json!({"LoadBalancerArn": alb})).refused("ResourceInUse");
    let users = lab.elb("DescribeTargetGroups", &json!({"TargetGroupArns": [front]})).ok();
    assert!(users.body.contains(&format!("<LoadBalancerArns><member>{nlb}</member></LoadBalancerArns>")));
    // A group of the ALB cannot be used by the NLB as well.
    let taken = json!({"LoadBalancerArn": nlb, "Protocol": "TCP", "Port": 80,
        "DefaultActions": [{"Type": "forward", "TargetGroupArn": lab.lab().scene().source_tg}]});
    lab.elb("CreateListener", &taken).refused("TargetGroupAssociationLimit");
}

/// Proves that EC2 shows what checks of the path ask: the balancer's interfaces with their groups, what those let in,
/// the zones; and that a filter it does not have is refused and not passed over.
#[test]
fn ec2_shows_the_path() {
    let lab = start(1, false);
    let filter = |name: &str, value: &str| json!({"Filter.1.Name": name, "Filter.1.Value.1": value});
    let eni =
        lab.query("ec2", "DescribeNetworkInterfaces", &filter("description", "ELB app/MigrationAssistant-demo/*")).ok();
    assert_eq!(eni.texts("availabilityZone"), ["us-east-1a", "us-east-1b"]);
    assert_eq!(eni.texts("groupId"), ["sg-0000000000000a1b0"; 2]);
    let none = lab.query("ec2", "DescribeNetworkInterfaces", &filter("description", "ELB net/*")).ok();
    assert!(none.texts("networkInterfaceId").is_empty());
    let groups = lab.query("ec2", "DescribeSecurityGroups", &json!({"GroupId.1": "sg-0000000000000a1b0"})).ok();
    assert_eq!(groups.texts("fromPort"), ["443", "9200", "9999"]);
    lab.query("ec2", "DescribeSecurityGroups", &json!({"GroupId.1": "sg-nobody"})).refused("InvalidGroup.NotFound");
    lab.query("ec2", "DescribeSubnets", &filter("tag:Name", "x")).refused("InvalidParameterValue");
    assert_eq!(lab.query("ec2", "DescribeSubnets", &json!({})).ok().texts("cidrBlock").len(), 2);
    assert_eq!(lab.query("ec2", "DescribeVpcs", &json!({})).ok().texts("vpcId"), [VPC]);
    let zones = lab.query("ec2", "DescribeAvailabilityZones", &json!({})).ok();
    assert_eq!(zones.texts("zoneName"), ["us-east-1a", "us-east-1b"]);
}
