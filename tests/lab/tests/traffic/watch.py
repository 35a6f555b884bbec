#!/usr/bin/env python3
"""boto3 against a lab that carries traffic: the metrics of real requests, read over both of CloudWatch's protocols.

usage: watch.py HELLO, the lab's first line of standard output. The lab runs at sixty times the speed. Sends requests to
`alb_url`, reads what CloudWatch says of them while it is fresh and when it has settled, and compares that with the lab's own
history. botocore speaks JSON 1.0 to CloudWatch by itself; its other protocol, CBOR, is chosen here by putting it first.
Prints a line for each part that holds and `all done` last; stops at the first that does not.
"""

import http.client
import json
import sys
import time
import urllib.request
from collections import Counter
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from urllib.parse import urlparse

import boto3
import botocore.model
from botocore.exceptions import ClientError

PROTOCOLS = {"json": ["json"], "cbor": ["smithy-rpc-v2-cbor"]}
MINUTE = timedelta(minutes=1)

hello = json.loads(sys.argv[1])
arn = hello["listener_arn"]
balancer = "app/" + "/".join(arn.split(":listener/app/")[1].split("/")[:2])
groups = {side: hello[f"{side}_tg"].rsplit(":", 1)[1] for side in ("source", "target")}


def equal(got, wanted):
    assert got == wanted, f"got {got!r}, wanted {wanted!r}"


def lab(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{hello['endpoint']}/_lab/{path}", data, method=method)
    return json.load(urllib.request.urlopen(request))


def client(protocol):
    botocore.model.PRIORITY_ORDERED_SUPPORTED_PROTOCOLS = PROTOCOLS[protocol]
    made = boto3.session.Session().client("cloudwatch", endpoint_url=hello["endpoint"])
    equal(made.meta.service_model.resolved_protocol, PROTOCOLS[protocol][0])
    return made


def now():
    return datetime.fromtimestamp(lab("GET", "clock")["now"] / 1000, timezone.utc)


def query(id, name, stat, side=None, period=60):
    dimensions = [{"Name": "LoadBalancer", "Value": balancer}]
    if side:
        dimensions.append({"Name": "TargetGroup", "Value": groups[side]})
    metric = {"Namespace": "AWS/ApplicationELB", "MetricName": name, "Dimensions": dimensions}
    return {"Id": id, "MetricStat": {"Metric": metric, "Period": period, "Stat": stat}}


def read(of, queries, start, end, **more):
    """Each series as {minute: value}, all pages."""
    found = {one["Id"]: {} for one in queries}
    pages, token = 0, {}
    while True:
        page = of.get_metric_data(MetricDataQueries=queries, StartTime=start, EndTime=end, **token, **more)
        pages += 1
        for row in page["MetricDataResults"]:
            found[row["Id"]].update(zip(row["Timestamps"], row["Values"], strict=True))
        if "NextToken" not in page:
            assert all(row["StatusCode"] == "Complete" for row in page["MetricDataResults"])
            return found, pages
        assert any(row["StatusCode"] == "PartialData" for row in page["MetricDataResults"])
        token = {"NextToken": page["NextToken"]}


def refused(code, call, **parameters):
    try:
        call(**parameters)
    except ClientError as why:
        equal(why.response["Error"]["Code"], code)
        return
    raise AssertionError(f"{call.__name__} was not refused")


def floor(at):
    return at.replace(second=0, microsecond=0)


cloudwatch = {protocol: client(protocol) for protocol in PROTOCOLS}

# Weights that take effect at once, and requests for some minutes of lab time.
lab("PUT", "switches", {"propagation_max_seconds": 0})
lab("PUT", "actions", {"action": "foreign-edit", "weights": {"source": 3, "target": 1}})
lab("PUT", "upstreams", {"group": "target", "behaviour": {"error_share": 0.2, "median_ms": 2}})
url = urlparse(hello["alb_url"])
connections = [http.client.HTTPConnection(url.hostname, url.port) for _ in range(2)]
begun = now()
statuses = Counter()
while now() - begun < 2.5 * MINUTE or sum(statuses.values()) < 300:
    for _ in range(20):
        for connection in connections:
            connection.request("GET", "/")
            answer = connection.getresponse()
            answer.read()
            statuses[answer.status] += 1
assert statuses[200] > 100 and statuses[500] > 0 and set(statuses) == {200, 500}, statuses
print(f"served {sum(statuses.values())} requests")

# A minute that is just over reads as less than it is before it reads as it is. On a busy machine a minute can go by between
# two reads, so several minutes are looked at.
for _ in range(10):
    fresh = floor(now())
    while now() < fresh + MINUTE:
        connections[0].request("GET", "/")
        connections[0].getresponse().read()
    seen = set()
    while now() < fresh + 5 * MINUTE:
        found, _ = read(cloudwatch["cbor"], [query("a", "RequestCount", "Sum")], fresh, fresh + MINUTE)
        seen.add(found["a"].get(fresh))
    if len(seen - {None}) >= 2:
        break
else:
    raise AssertionError(f"two reads of a fresh minute never differed: {seen}")
print("fresh minutes are partial")

# Settled: what every client, history and both protocols say is one.
start, end = floor(begun), fresh + MINUTE
truth = {side: Counter() for side in groups}
for row in lab("GET", f"history?since={int(start.timestamp() * 1000)}")["requests"]:
    side = next((side for side in groups if row["target_group"] == hello[f"{side}_tg"]), None)
    if side and row["second"] < end.timestamp():
        truth[side][row["status"]] += row["requests"]
queries = [query(side, "RequestCount", "Sum", side) for side in groups]
queries += [query("errors", "HTTPCode_Target_5XX_Count", "Sum", "target")]
queries += [query("none", "HTTPCode_Target_5XX_Count", "Sum", "source")]
queries += [query("fast", "TargetResponseTime", "TC(:0.01)", "target")]
queries += [query("slow", "TargetResponseTime", "TC(0.01:)", "target")]
both = {name: read(one, queries, start, end)[0] for name, one in cloudwatch.items()}
equal(both["json"], both["cbor"])
total = {id: sum(series.values()) for id, series in both["cbor"].items()}
for side in groups:
    equal(total[side], sum(truth[side].values()))
equal(total["errors"], truth["target"][500])
equal(both["cbor"]["none"], {})
equal(total["fast"] + total["slow"], total["target"])
print("metrics are the truth")

for name, one in cloudwatch.items():
    small, pages = read(one, queries, start, end, MaxDatapoints=3)
    equal(small, both[name])
    assert pages > 3, pages
    answer = one.get_metric_statistics(
        Namespace="AWS/ApplicationELB", MetricName="RequestCount", StartTime=start, EndTime=end, Period=60,
        Dimensions=[{"Name": "LoadBalancer", "Value": balancer}], Statistics=["Sum"],
    )
    equal(sum(point["Sum"] for point in answer["Datapoints"]), total["source"] + total["target"])
    listed = one.list_metrics(Namespace="AWS/ApplicationELB", MetricName="HealthyHostCount")["Metrics"]
    assert listed and all(len(metric["Dimensions"]) >= 2 for metric in listed), listed
    equal(one.describe_alarms()["MetricAlarms"], [])
    skew = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]) - now()
    assert abs(skew) < 5 * MINUTE, f"the date is the lab's: {skew}"
    data = [{"MetricName": "x", "Value": 1.5, "Timestamp": now()}]
    one.put_metric_data(Namespace=f"Ours/{name}", MetricData=data)
    refused("InvalidParameterValue", one.put_metric_data, Namespace="AWS/ApplicationELB", MetricData=data)
    refused("ValidationError", one.get_metric_data, MetricDataQueries=[query("A", "x", "Sum")], StartTime=start, EndTime=end)
    refused("ValidationError", one.get_metric_data, MetricDataQueries=[query("a", "x", "p101")], StartTime=start, EndTime=end)
    print(f"{name} holds")
print("all done")
