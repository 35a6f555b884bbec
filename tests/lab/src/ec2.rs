//! The parts of EC2 that checks of a network path read: security groups, interfaces of load balancers, subnets, zones.

use serde_json::{Value, json};

use crate::model::balancer::{BalancerKind, LoadBalancer};
use crate::model::network::SecurityGroup;
use crate::model::{ACCOUNT, Model, REGION, Refusal};
use crate::wire::params::Params;

/// Everything here reads.
pub fn read(model: &Model, operation: &str, params: Params<'_>) -> Option<Result<Value, Refusal>> {
    Some(match operation {
        "DescribeSecurityGroups" => security_groups(model, params),
        "DescribeNetworkInterfaces" => interfaces(model, params),
        "DescribeSubnets" => subnets(model, params),
        "DescribeVpcs" => vpcs(model, params),
        "DescribeVpcAttribute" => vpc_attribute(model, params),
        "DescribeRouteTables" => route_tables(model, params),
        "DescribeAvailabilityZones" => Ok(zones(model)),
        _ => return None,
    })
}

/// One thing with what filters can ask of it: the names of filters and the values that each has here.
struct Found {
    asked: Vec<(&'static str, Vec<String>)>,
    shown: Value,
}

/// Those that pass all filters. `names` are the filters there are for this kind: another one is refused, not passed over.
fn filter(params: Params<'_>, name: &str, names: &[&str], all: Vec<Found>) -> Result<Value, Refusal> {
    let mut filters = Vec::new();
    for filter in params.tables("Filter") {
        let key = filter.need("Name")?;
        if !names.contains(&key) {
            return Err(Refusal::new("InvalidParameterValue", format!("The filter '{key}' is invalid")));
        }
        filters.push((key, filter.texts("Value")));
    }
    let passes = |found: &Found| {
        filters.iter().all(|(key, wanted)| {
            let has = found.asked.iter().filter(|(name, _)| name == key).flat_map(|(_, values)| values);
            has.into_iter().any(|value| wanted.iter().any(|pattern| fits(pattern, value)))
        })
    };
    let shown: Vec<Value> = all.into_iter().filter(passes).map(|found| found.shown).collect();
    Ok(json!({name: shown}))
}

/// EC2's patterns: `*` for any text, `?` for any character.
fn fits(pattern: &str, text: &str) -> bool {
    fn at(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.first(), text.first()) {
            (None, None) => true,
            (Some(b'*'), _) => at(&pattern[1..], text) || (!text.is_empty() && at(pattern, &text[1..])),
            (Some(b'?'), Some(_)) => at(&pattern[1..], &text[1..]),
            (Some(one), Some(other)) if one == other => at(&pattern[1..], &text[1..]),
            _ => false,
        }
    }
    at(pattern.as_bytes(), text.as_bytes())
}

/// Ids that are asked for by name must be there.
fn check_ids(params: Params<'_>, name: &str, code: &'static str, known: impl Fn(&str) -> bool) -> Result<(), Refusal> {
    match params.texts(name).into_iter().find(|id| !known(id)) {
        Some(id) => Err(Refusal::new(code, format!("The ID '{id}' does not exist"))),
        None => Ok(()),
    }
}

fn wanted(params: Params<'_>, name: &str, id: &str) -> bool {
    let ids = params.texts(name);
    ids.is_empty() || ids.contains(&id)
}

fn everything() -> Value {
    json!([{"ipProtocol": "-1", "ipRanges": [{"cidrIp": "0.0.0.0/0"}], "groups": [], "ipv6Ranges": [], "prefixListIds": []}])
}

fn spelled(model: &Model, group: &SecurityGroup) -> Value {
    let ingress: Vec<Value> = group
        .ingress
        .iter()
        .map(|rule| {
            let ranges: Vec<Value> = rule.cidrs.iter().map(|cidr| json!({"cidrIp": cidr})).collect();
            let groups: Vec<Value> = rule.groups.iter().map(|id| json!({"groupId": id, "userId": ACCOUNT})).collect();
            let mut out = json!({
                "ipProtocol": if rule.ports.is_some() { "tcp" } else { "-1" },
                "groups": groups, "ipRanges": ranges, "ipv6Ranges": [], "prefixListIds": [],
            });
            if let Some((from, to)) = rule.ports {
                (out["fromPort"], out["toPort"]) = (from.into(), to.into());
            }
            out
        })
        .collect();
    json!({
        "ownerId": ACCOUNT, "groupId": group.id, "groupName": group.name, "groupDescription": group.name,
        "vpcId": model.network.vpc, "ipPermissions": ingress, "ipPermissionsEgress": everything(),
    })
}

fn security_groups(model: &Model, params: Params<'_>) -> Result<Value, Refusal> {
    let groups = &model.network.security_groups;
    check_ids(params, "GroupId", "InvalidGroup.NotFound", |id| groups.contains_key(id))?;
    let found = groups
        .values()
        .filter(|group| wanted(params, "GroupId", &group.id))
        .map(|group| Found {
            asked: vec![
                ("group-id", vec![group.id.clone()]),
                ("group-name", vec![group.name.clone()]),
                ("vpc-id", vec![model.network.vpc.clone()]),
            ],
            shown: spelled(model, group),
        })
        .collect();
    filter(params, "securityGroupInfo", &["group-id", "group-name", "vpc-id"], found)
}

/// One interface of a load balancer in each of its zones, described as AWS describes them: `ELB app/NAME/ID`.
fn interfaces(model: &Model, params: Params<'_>) -> Result<Value, Refusal> {
    let mut found = Vec::new();
    for balancer in model.load_balancers.values() {
        for (index, (zone, subnet)) in balancer.zones.iter().enumerate() {
            let id = format!("eni-{}{index}", &balancer.arn[balancer.arn.len() - 16..]);
            let address = private_address(model, balancer, subnet);
            let description = format!("ELB {}", balancer.dimension());
            let groups: Vec<Value> = balancer.security_groups.iter().map(|id| json!({"groupId": id})).collect();
            let kind = if balancer.kind == BalancerKind::Network { "network_load_balancer" } else { "interface" };
            found.push(Found {
                asked: vec![
                    ("network-interface-id", vec![id.clone()]),
                    ("description", vec![description.clone()]),
                    ("subnet-id", vec![subnet.clone()]),
                    ("availability-zone", vec![zone.clone()]),
                    ("vpc-id", vec![balancer.vpc.clone()]),
                    ("group-id", balancer.security_groups.clone()),
                    ("addresses.private-ip-address", vec![address.clone()]),
                    ("private-ip-address", vec![address.clone()]),
                ],
                shown: json!({
                    "networkInterfaceId": id, "subnetId": subnet, "vpcId": balancer.vpc, "availabilityZone": zone,
                    "description": description, "ownerId": ACCOUNT, "requesterId": "amazon-elb",
                    "requesterManaged": true, "status": "in-use", "interfaceType": kind,
                    "privateIpAddress": address, "groupSet": groups,
                    "privateIpAddressesSet": [{"privateIpAddress": address, "primary": true}],
                }),
            });
        }
    }
    let known: Vec<String> =
        found.iter().filter_map(|one| one.shown["networkInterfaceId"].as_str().map(str::to_owned)).collect();
    check_ids(params, "NetworkInterfaceId", "InvalidNetworkInterfaceID.NotFound", |id| {
        known.iter().any(|one| one == id)
    })?;
    found.retain(|one| wanted(params, "NetworkInterfaceId", one.shown["networkInterfaceId"].as_str().unwrap_or("")));
    let names = [
        "network-interface-id",
        "description",
        "subnet-id",
        "availability-zone",
        "vpc-id",
        "group-id",
        "addresses.private-ip-address",
        "private-ip-address",
    ];
    filter(params, "networkInterfaceSet", &names, found)
}

/// An address in the subnet that is the same each time: nobody listens on it, see `_lab/state` for where they do.
fn private_address(model: &Model, balancer: &LoadBalancer, subnet: &str) -> String {
    let cidr = model.network.subnets.get(subnet).map_or("10.0.0.0/24", |subnet| &subnet.cidr);
    let prefix = cidr.rsplit_once('.').map_or("10.0.0", |(prefix, _)| prefix);
    let host = balancer.arn.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % 200 + 20;
    format!("{prefix}.{host}")
}

fn subnets(model: &Model, params: Params<'_>) -> Result<Value, Refusal> {
    let all = &model.network.subnets;
    check_ids(params, "SubnetId", "InvalidSubnetID.NotFound", |id| all.contains_key(id))?;
    let found = all
        .values()
        .filter(|subnet| wanted(params, "SubnetId", &subnet.id))
        .map(|subnet| Found {
            asked: vec![
                ("subnet-id", vec![subnet.id.clone()]),
                ("availability-zone", vec![subnet.zone.clone()]),
                ("vpc-id", vec![model.network.vpc.clone()]),
            ],
            shown: json!({
                "subnetId": subnet.id, "state": "available", "vpcId": model.network.vpc, "cidrBlock": subnet.cidr,
                "availabilityZone": subnet.zone, "availableIpAddressCount": 200, "ownerId": ACCOUNT,
                "defaultForAz": false, "mapPublicIpOnLaunch": false,
            }),
        })
        .collect();
    filter(params, "subnetSet", &["subnet-id", "availability-zone", "vpc-id"], found)
}

fn vpcs(model: &Model, params: Params<'_>) -> Result<Value, Refusal> {
    let network = &model.network;
    check_ids(params, "VpcId", "InvalidVpcID.NotFound", |id| id == network.vpc)?;
    let one = Found {
        asked: vec![("vpc-id", vec![network.vpc.clone()]), ("cidr", vec![network.cidr.clone()])],
        shown: json!({
            "vpcId": network.vpc, "state": "available", "cidrBlock": network.cidr, "ownerId": ACCOUNT,
            "instanceTenancy": "default", "isDefault": false,
        }),
    };
    filter(params, "vpcSet", &["vpc-id", "cidr"], vec![one])
}

/// One attribute of a VPC at a time, as AWS tells them; with the values that a VPC for load balancers has.
fn vpc_attribute(model: &Model, params: Params<'_>) -> Result<Value, Refusal> {
    let id = params.need("VpcId")?;
    if id != model.network.vpc {
        return Err(Refusal::new("InvalidVpcID.NotFound", format!("The vpc ID '{id}' does not exist")));
    }
    let names = ["enableDnsSupport", "enableDnsHostnames", "enableNetworkAddressUsageMetrics"];
    let name = params.word("Attribute", &names)?.ok_or_else(|| Refusal::missing("Attribute"))?;
    Ok(json!({"vpcId": id, name: {"value": name != "enableNetworkAddressUsageMetrics"}}))
}

/// The main route table, which every VPC has: to itself alone.
fn route_tables(model: &Model, params: Params<'_>) -> Result<Value, Refusal> {
    let network = &model.network;
    let id = network.vpc.replace("vpc-", "rtb-");
    let main = json!([{"routeTableAssociationId": id.replace("rtb-", "rtbassoc-"), "routeTableId": id, "main": true,
        "associationState": {"state": "associated"}}]);
    let one = Found {
        asked: vec![
            ("route-table-id", vec![id.clone()]),
            ("vpc-id", vec![network.vpc.clone()]),
            ("association.main", vec!["true".to_owned()]),
        ],
        shown: json!({
            "routeTableId": id, "vpcId": network.vpc, "ownerId": ACCOUNT, "associationSet": main,
            "routeSet": [{"destinationCidrBlock": network.cidr, "gatewayId": "local", "state": "active",
                "origin": "CreateRouteTable"}],
        }),
    };
    filter(params, "routeTableSet", &["route-table-id", "vpc-id", "association.main"], vec![one])
}

fn zones(model: &Model) -> Value {
    let mut names: Vec<&String> = model.network.subnets.values().map(|subnet| &subnet.zone).collect();
    names.sort();
    names.dedup();
    let shown: Vec<Value> = names
        .into_iter()
        .enumerate()
        .map(|(index, name)| {
            json!({
                "zoneName": name, "zoneState": "available", "regionName": REGION, "zoneId": format!("use1-az{}", index + 1),
                "zoneType": "availability-zone", "optInStatus": "opt-in-not-required", "groupName": REGION,
                "networkBorderGroup": REGION, "messageSet": [],
            })
        })
        .collect();
    json!({"availabilityZoneInfo": shown})
}
