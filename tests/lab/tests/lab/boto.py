#!/usr/bin/env python3
"""boto3 against a lab: every operation that a cutover uses, answers read by AWS's own service models.

usage: boto.py SCENE, the JSON of the lab's names; the endpoint is in AWS_ENDPOINT_URL. Prints a line for each part that
holds and `all done` last; stops at the first that does not.
"""

import json
import sys
import time

import boto3
from botocore.exceptions import ClientError

scene = json.loads(sys.argv[1])
elb = boto3.client("elbv2")
ecs = boto3.client("ecs")
scaling = boto3.client("application-autoscaling")
ec2 = boto3.client("ec2")
VPC = "vpc-0a1b2c3d4e5f60718"


def equal(got, wanted):
    assert got == wanted, f"got {got!r}, wanted {wanted!r}"


def refused(code, call, **parameters):
    try:
        call(**parameters)
    except ClientError as why:
        equal(why.response["Error"]["Code"], code)
        return why.response["Error"]["Message"]
    raise AssertionError(f"{call.__name__} was not refused")


def lease():
    """Two writers of one item: conditions, and what stands in the way."""
    db = boto3.client("dynamodb")
    refused("ResourceNotFoundException", db.describe_table, TableName="leases")
    db.create_table(
        TableName="leases",
        KeySchema=[{"AttributeName": "listener", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "listener", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    table = db.describe_table(TableName="leases")["Table"]
    equal((table["TableStatus"], table["KeySchema"][0]["AttributeName"]), ("ACTIVE", "listener"))
    put = {
        "TableName": "leases",
        "Item": {"listener": {"S": "l"}, "owner": {"S": "one"}},
        "ConditionExpression": "attribute_not_exists(#l)",
        "ExpressionAttributeNames": {"#l": "listener"},
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    db.put_item(**put)
    try:
        db.put_item(**put)
        raise AssertionError("the second writer was not refused")
    except db.exceptions.ConditionalCheckFailedException as why:
        equal(why.response["Item"]["owner"], {"S": "one"})
    equal(db.get_item(TableName="leases", Key={"listener": {"S": "l"}}, ConsistentRead=True)["Item"], put["Item"])
    refused("ValidationException", db.get_item, TableName="leases", Key={"id": {"S": "l"}})
    db.delete_table(TableName="leases")


def wait(what, look):
    until = time.monotonic() + 60
    while not look():
        assert time.monotonic() < until, f"never: {what}"
        time.sleep(0.02)


def forward(source, target):
    groups = [
        {"TargetGroupArn": scene["source_tg"], "Weight": source},
        {"TargetGroupArn": scene["target_tg"], "Weight": target},
    ]
    return [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]


def read_and_shift():
    (balancer,) = elb.describe_load_balancers(Names=["MigrationAssistant-demo"])["LoadBalancers"]
    equal((balancer["Type"], balancer["Scheme"], balancer["State"]["Code"]), ("application", "internal", "active"))
    equal([zone["ZoneName"] for zone in balancer["AvailabilityZones"]], ["us-east-1a", "us-east-1b"])
    assert balancer["CreatedTime"].tzinfo is not None
    listeners = elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
    equal([listener["Port"] for listener in listeners], [443, 9201, 9202, 9999])
    weighted = listeners[0]
    equal(weighted["ListenerArn"], scene["listener_arn"])
    equal((weighted["Protocol"], len(weighted["Certificates"])), ("HTTPS", 1))
    wanted = forward(1, 0)
    wanted[0]["ForwardConfig"]["TargetGroupStickinessConfig"] = {"Enabled": False}
    equal(weighted["DefaultActions"], wanted)
    # A single target group is shown both ways, as AWS shows it.
    single = listeners[1]["DefaultActions"][0]
    equal(single["TargetGroupArn"], scene["source_tg"])
    equal(single["ForwardConfig"]["TargetGroups"], [{"TargetGroupArn": scene["source_tg"], "Weight": 1}])
    for source, target in [(990, 10), (500, 500), (0, 1)]:
        answer = elb.modify_listener(ListenerArn=scene["listener_arn"], DefaultActions=forward(source, target))
        (rule,) = elb.describe_rules(ListenerArn=scene["listener_arn"])["Rules"]
        equal(rule["Actions"], answer["Listeners"][0]["DefaultActions"])
        equal((rule["IsDefault"], rule["Priority"], rule["Conditions"]), (True, "default", []))
        equal([group["Weight"] for group in rule["Actions"][0]["ForwardConfig"]["TargetGroups"]], [source, target])
    # What was read is written back as it was read.
    elb.modify_listener(ListenerArn=scene["listener_arn"], DefaultActions=weighted["DefaultActions"])
    (after,) = elb.describe_listeners(ListenerArns=[scene["listener_arn"]])["Listeners"]
    equal(after, weighted)
    message = refused("OperationNotPermitted", elb.modify_rule, RuleArn=rule["RuleArn"], Actions=forward(1, 1))
    equal(message, f"Default rule '{rule['RuleArn']}' cannot be modified")
    refused("ListenerNotFound", elb.describe_listeners, ListenerArns=[scene["listener_arn"][:-4] + "0000"])


def login_chain():
    config = {
        "Issuer": "https://issuer.example",
        "AuthorizationEndpoint": "https://issuer.example/a",
        "TokenEndpoint": "https://issuer.example/t",
        "UserInfoEndpoint": "https://issuer.example/u",
        "ClientId": "client",
        "ClientSecret": "hidden",
        "AuthenticationRequestExtraParams": {"prompt": "login", "display": "page"},
    }
    chain = [{"Type": "authenticate-oidc", "Order": 1, "AuthenticateOidcConfig": config}, {**forward(1, 0)[0], "Order": 2}]
    elb.modify_listener(ListenerArn=scene["listener_arn"], DefaultActions=chain)
    (listener,) = elb.describe_listeners(ListenerArns=[scene["listener_arn"]])["Listeners"]
    shown = listener["DefaultActions"][0]["AuthenticateOidcConfig"]
    assert "ClientSecret" not in shown
    equal(shown["AuthenticationRequestExtraParams"], config["AuthenticationRequestExtraParams"])
    equal((shown["SessionTimeout"], shown["Scope"]), (604800, "openid"))
    again = listener["DefaultActions"]
    again[0]["AuthenticateOidcConfig"]["UseExistingClientSecret"] = True
    elb.modify_listener(ListenerArn=scene["listener_arn"], DefaultActions=again)
    elb.modify_listener(ListenerArn=scene["listener_arn"], DefaultActions=forward(1, 0))


def target_groups():
    groups = [scene["source_tg"], scene["target_tg"]]
    for group in elb.describe_target_groups(TargetGroupArns=groups)["TargetGroups"]:
        equal((group["Protocol"], group["Port"], group["TargetType"]), ("HTTPS", 9200, "ip"))
        equal((group["Matcher"], group["HealthCheckPath"]), ({"HttpCode": "200-499"}, "/"))
        equal(len(group["LoadBalancerArns"]), 1)
    health = elb.describe_target_health(TargetGroupArn=scene["target_tg"])["TargetHealthDescriptions"]
    equal([target["TargetHealth"]["State"] for target in health], ["healthy", "healthy"])
    pages = elb.get_paginator("describe_target_groups").paginate(PaginationConfig={"PageSize": 1})
    equal([len(page["TargetGroups"]) for page in pages], [1, 1, 1])
    attributes = elb.describe_target_group_attributes(TargetGroupArn=scene["target_tg"])["Attributes"]
    attributes = {pair["Key"]: pair["Value"] for pair in attributes}
    equal(attributes["deregistration_delay.timeout_seconds"], "300")
    equal(attributes["target_group_health.dns_failover.minimum_healthy_targets.count"], "1")
    changed = elb.modify_target_group(TargetGroupArn=scene["target_tg"], HealthCheckIntervalSeconds=10)["TargetGroups"]
    equal(changed[0]["HealthCheckIntervalSeconds"], 10)
    # A range that the client knows it refuses by itself; this one only AWS knows.
    refused("ValidationError", elb.modify_target_group, TargetGroupArn=scene["target_tg"], HealthCheckTimeoutSeconds=30)


def create_and_delete():
    subnets = [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]]
    (made,) = elb.create_load_balancer(Name="made", Subnets=subnets, Scheme="internal", Tags=[{"Key": "a", "Value": "b"}])[
        "LoadBalancers"
    ]
    equal(made["State"]["Code"], "provisioning")
    arn = made["LoadBalancerArn"]
    elb.get_waiter("load_balancer_available").wait(LoadBalancerArns=[arn], WaiterConfig={"Delay": 1})
    group = elb.create_target_group(Name="made", Protocol="HTTP", Port=80, VpcId=VPC, TargetType="ip")["TargetGroups"][0]
    refused("DuplicateTargetGroupName", elb.create_target_group, Name="made", Protocol="HTTP", Port=81, VpcId=VPC, TargetType="ip")
    elb.register_targets(TargetGroupArn=group["TargetGroupArn"], Targets=[{"Id": "10.0.1.250"}])
    action = [{"Type": "forward", "TargetGroupArn": group["TargetGroupArn"]}]
    listener = elb.create_listener(LoadBalancerArn=arn, Protocol="HTTP", Port=80, DefaultActions=action)["Listeners"][0]
    refused("DuplicateListener", elb.create_listener, LoadBalancerArn=arn, Protocol="HTTP", Port=80, DefaultActions=action)
    conditions = [{"Field": "host-header", "HostHeaderConfig": {"Values": ["*.example"]}}]
    rule = elb.create_rule(ListenerArn=listener["ListenerArn"], Priority=5, Conditions=conditions, Actions=action)["Rules"][0]
    equal((rule["Priority"], rule["Conditions"][0]["Values"]), ("5", ["*.example"]))
    elb.modify_rule(RuleArn=rule["RuleArn"], Actions=[{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "418"}}])
    elb.get_waiter("target_in_service").wait(
        TargetGroupArn=group["TargetGroupArn"], Targets=[{"Id": "10.0.1.250"}], WaiterConfig={"Delay": 1}
    )
    elb.add_tags(ResourceArns=[arn], Tags=[{"Key": "c", "Value": "d"}])
    elb.remove_tags(ResourceArns=[arn], TagKeys=["a"])
    equal(elb.describe_tags(ResourceArns=[arn])["TagDescriptions"][0]["Tags"], [{"Key": "c", "Value": "d"}])
    refused("ResourceInUse", elb.delete_target_group, TargetGroupArn=group["TargetGroupArn"])
    elb.delete_rule(RuleArn=rule["RuleArn"])
    elb.delete_listener(ListenerArn=listener["ListenerArn"])
    elb.delete_load_balancer(LoadBalancerArn=arn)
    elb.delete_target_group(TargetGroupArn=group["TargetGroupArn"])
    refused("LoadBalancerNotFound", elb.describe_load_balancers, LoadBalancerArns=[arn])


def attributes():
    arn = elb.describe_load_balancers()["LoadBalancers"][0]["LoadBalancerArn"]
    pair = {"Key": "client_keep_alive.seconds", "Value": "60"}
    equal(elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=[pair])["Attributes"], [pair])
    assert pair in elb.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"]
    bad = {"Key": "client_keep_alive.seconds", "Value": "5"}
    refused("InvalidConfigurationRequest", elb.modify_load_balancer_attributes, LoadBalancerArn=arn, Attributes=[bad])
    assert elb.describe_listener_attributes(ListenerArn=scene["listener_arn"])["Attributes"]


def fleet():
    names = {"cluster": scene["cluster"], "service": scene["target_service"]}
    equal(len(ecs.list_services(cluster=scene["cluster"])["serviceArns"]), 2)
    equal(ecs.describe_clusters(clusters=[scene["cluster"]])["clusters"][0]["runningTasksCount"], 4)
    updated = ecs.update_service(**names, desiredCount=3)["service"]
    equal((updated["desiredCount"], updated["runningCount"]), (3, 2))

    def service():
        return ecs.describe_services(cluster=scene["cluster"], services=[scene["target_service"]])["services"][0]

    wait("running", lambda: service()["runningCount"] == 3)
    ecs.get_waiter("services_stable").wait(cluster=scene["cluster"], services=[scene["target_service"]])
    arns = ecs.list_tasks(cluster=scene["cluster"], serviceName=scene["target_service"])["taskArns"]
    tasks = ecs.describe_tasks(cluster=scene["cluster"], tasks=arns)["tasks"]
    addresses = {task["containers"][0]["networkInterfaces"][0]["privateIpv4Address"] for task in tasks}
    health = elb.describe_target_health(TargetGroupArn=scene["target_tg"])["TargetHealthDescriptions"]
    equal({target["Target"]["Id"] for target in health}, addresses)
    refused("ClusterNotFoundException", ecs.describe_services, cluster="nowhere", services=["x"])


def autoscaling():
    resource = f"service/{scene['cluster']}/{scene['target_service']}"
    target = {"ServiceNamespace": "ecs", "ResourceId": resource, "ScalableDimension": "ecs:service:DesiredCount"}
    scaling.register_scalable_target(**target, SuspendedState={"DynamicScalingInSuspended": True})
    (shown,) = scaling.describe_scalable_targets(ServiceNamespace="ecs", ResourceIds=[resource])["ScalableTargets"]
    equal(shown["SuspendedState"]["DynamicScalingInSuspended"], True)
    equal((shown["MinCapacity"], shown["MaxCapacity"]), (1, 10))


def network():
    name = [{"Name": "description", "Values": ["ELB app/MigrationAssistant-demo/*"]}]
    found = ec2.describe_network_interfaces(Filters=name)["NetworkInterfaces"]
    equal(len(found), 2)
    ids = [group["GroupId"] for group in found[0]["Groups"]]
    (group,) = ec2.describe_security_groups(GroupIds=ids)["SecurityGroups"]
    assert any(rule["FromPort"] == 443 for rule in group["IpPermissions"])
    equal(ec2.describe_vpcs()["Vpcs"][0]["VpcId"], VPC)
    hostnames = ec2.describe_vpc_attribute(VpcId=VPC, Attribute="enableDnsHostnames")
    equal(hostnames["EnableDnsHostnames"]["Value"], True)
    refused("InvalidVpcID.NotFound", ec2.describe_vpc_attribute, VpcId="vpc-0", Attribute="enableDnsSupport")
    main = [{"Name": "association.main", "Values": ["true"]}]
    equal(ec2.describe_route_tables(Filters=main)["RouteTables"][0]["VpcId"], VPC)
    equal(len(ec2.describe_availability_zones()["AvailabilityZones"]), 2)


def messages():
    topic = "arn:aws:sns:us-east-1:123456789012:alerts"
    assert boto3.client("sns").publish(TopicArn=topic, Message="stuck")["MessageId"]
    entry = {"Source": "tidegate", "DetailType": "step", "Detail": json.dumps({"weight": 5})}
    equal(boto3.client("events").put_events(Entries=[entry])["FailedEntryCount"], 0)
    equal(boto3.client("sts").get_caller_identity()["Account"], "123456789012")


for part in [
    read_and_shift,
    login_chain,
    target_groups,
    create_and_delete,
    attributes,
    fleet,
    autoscaling,
    network,
    messages,
    lease,
]:
    part()
    print(part.__name__)
print("all done")
