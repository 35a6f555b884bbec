#!/usr/bin/env python3
"""boto3 moves traffic in a lab that carries it: what a write shows at once and what requests show later.

usage: move.py HELLO, the lab's first line of standard output. The lab runs at sixty times the speed. Weights reach the nodes
late; tasks come and go under load without a failed request; an NLB is put in front of the ALB, and moves new connections
alone. Prints a line for each part that holds and `all done` last; stops at the first that does not.
"""

import http.client
import json
import sys
import threading
import time
import urllib.request
from collections import Counter
from urllib.parse import urlparse

import boto3

hello = json.loads(sys.argv[1])
url = urlparse(hello["alb_url"])
elb = boto3.client("elbv2", endpoint_url=hello["endpoint"])
ecs = boto3.client("ecs", endpoint_url=hello["endpoint"])
source, target = hello["source_tg"], hello["target_tg"]


def equal(got, wanted):
    assert got == wanted, f"got {got!r}, wanted {wanted!r}"


def lab(path):
    return json.load(urllib.request.urlopen(f"{hello['endpoint']}/_lab/{path}"))


def wait(what, look):
    until = time.monotonic() + 120
    while not look():
        assert time.monotonic() < until, f"never: {what}"
        time.sleep(0.05)


def side(connection):
    """Which side answers on a connection."""
    connection.request("GET", "/")
    answer = connection.getresponse()
    name = json.load(answer)["cluster_name"]
    equal(answer.status, 200)
    return name.removesuffix("-cluster")


def forward(*groups):
    return [{"Type": "forward", "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in groups]}}]


def alb():
    return http.client.HTTPConnection(url.hostname, url.port)


# A write is read back at once, while every node still has the old weights; within a minute of lab time all have the new.
kept = [alb(), alb()]
equal({side(connection) for connection in kept}, {"source"})
before = lab("clock")["now"]
elb.modify_listener(ListenerArn=hello["listener_arn"], DefaultActions=forward((source, 0), (target, 1)))
shown = elb.describe_listeners(ListenerArns=[hello["listener_arn"]])["Listeners"][0]["DefaultActions"][0]
equal([group["Weight"] for group in shown["ForwardConfig"]["TargetGroups"]], [0, 1])
first = [(side(connection), lab("clock")["now"]) for connection in kept]
assert all(where == "source" for where, at in first if at - before < 7000), first
wait("all on the target", lambda: {side(connection) for connection in kept} == {"target"})
print("weights arrive late")

# Tasks come and go under load, and no request fails.
statuses, over = Counter(), threading.Event()


def load():
    connection = alb()
    while not over.is_set():
        connection.request("GET", "/_search")
        answer = connection.getresponse()
        answer.read()
        statuses[answer.status] += 1


threads = [threading.Thread(target=load) for _ in range(4)]
for thread in threads:
    thread.start()


def targets():
    found = elb.describe_target_health(TargetGroupArn=target)["TargetHealthDescriptions"]
    return Counter(one["TargetHealth"]["State"] for one in found)


for count in (4, 1):
    ecs.update_service(cluster=hello["cluster"], service=hello["target_service"], desiredCount=count)
    wait(f"{count} targets", lambda: targets() == Counter(healthy=count))
over.set()
for thread in threads:
    thread.join()
equal(set(statuses), {200})
print(f"tasks came and went under {statuses[200]} requests")

# An NLB in front: through a target group of type alb on the weighted listener's port.
described = elb.describe_load_balancers()["LoadBalancers"][0]
subnets = [zone["SubnetId"] for zone in described["AvailabilityZones"]]
nlb = elb.create_load_balancer(Name="front", Type="network", Scheme="internal", Subnets=subnets)["LoadBalancers"][0]
made = {}
for name, kind, port in (("by-alb", "alb", 443), ("straight-to-source", "ip", 9200)):
    group = elb.create_target_group(
        Name=name, Protocol="TCP", Port=port, VpcId=described["VpcId"], TargetType=kind, HealthCheckProtocol="HTTPS",
        HealthCheckPath="/", Matcher={"HttpCode": "200-499"},
    )["TargetGroups"][0]
    made[name] = group["TargetGroupArn"]
elb.register_targets(TargetGroupArn=made["by-alb"], Targets=[{"Id": described["LoadBalancerArn"], "Port": 443}])
# No address of this machine: the lab runs a server in its place.
elb.register_targets(TargetGroupArn=made["straight-to-source"], Targets=[{"Id": "10.0.1.77", "Port": 9200}])
listener = elb.create_listener(
    LoadBalancerArn=nlb["LoadBalancerArn"], Protocol="TCP", Port=9200,
    DefaultActions=forward((made["straight-to-source"], 1), (made["by-alb"], 0)),
)["Listeners"][0]["ListenerArn"]


def healthy(arn):
    found = elb.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
    return [one["TargetHealth"]["State"] for one in found] == ["healthy"]


for arn in made.values():
    wait(f"{arn} healthy", lambda: healthy(arn))
host, port = lab("state")["account"]["Listeners"][listener]["Address"].split(":")
old = http.client.HTTPConnection(host, int(port))
equal(side(old), "source")
elb.modify_listener(
    ListenerArn=listener, DefaultActions=forward((made["straight-to-source"], 0), (made["by-alb"], 1))
)


def moved():
    return {side(http.client.HTTPConnection(host, int(port))) for _ in range(4)} == {"target"}


wait("new connections through the ALB", moved)
equal(side(old), "source")
print("an NLB moves new connections alone")
print("all done")
