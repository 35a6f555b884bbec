//! AWS as a reroute needs it: Elastic Load Balancing, CloudWatch, and EC2's description of security groups.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_cloudwatch as cloudwatch;
use aws_sdk_cloudwatch::types::{Dimension, Metric, MetricDataQuery, MetricStat, ScanBy, StatusCode};
use aws_sdk_elasticloadbalancingv2 as elb;
use aws_sdk_elasticloadbalancingv2::operation::describe_target_groups::DescribeTargetGroupsError;
use aws_sdk_elasticloadbalancingv2::types::{
    ActionTypeEnum, ForwardActionConfig, LoadBalancerTypeEnum, Matcher, ProtocolEnum, Tag, TargetDescription,
    TargetGroupTuple, TargetTypeEnum,
};
use aws_smithy_types::DateTime;
use cutover::{Timestamp, Window};
use judge::Counts;
use serde_json::Value;

use super::check::Answered;
use super::ec2::{self, Ec2, Unanswered};
use super::judged::{Flows, MINUTE, Minute};
use super::knock::Knock;
use super::record::OldGroup;
use super::{Balancer, Cloud, Counted, Group, Listener, NewGroup, PORT, Target};
use crate::aws::action::{self, Action};
use crate::aws::{Aws, Raw, failed, find, xml};
use crate::clock::Clock;
use crate::port::PortError;

/// The tag that says for whom something was made.
const TAG: &str = "tidegate:reroute";

/// What a target group of type `alb` takes for an answer of a healthy load balancer: everything but a server's error, as
/// Migration Assistant's own groups do. The request goes through to the source, which may ask for an identity.
const HEALTHY_CODES: &str = "200-499";

/// The most pages of one answer.
const PAGES_MAX: usize = 100;

/// How long a silent TCP connection is kept unless a listener says otherwise (user guide, "Idle timeout").
const TCP_IDLE_SECONDS: u64 = 350;

/// AWS in one region.
pub struct RealCloud {
    aws: Aws,
    ours: Clock,
    reads: elb::Client,
    writes: elb::Client,
    numbers: cloudwatch::Client,
    knock: Knock,
}

impl RealCloud {
    /// By `aws`; EC2 is asked, and doors are knocked at, through `knock`.
    pub fn new(aws: Aws, ours: Clock, knock: Knock) -> Self {
        let (reads, writes, numbers) = (aws.balancing(), aws.balancing_writes(), aws.watching());
        Self { aws, ours, reads, writes, numbers, knock }
    }

    /// Listeners as the raw answer has them: the SDK's types drop what they do not model.
    async fn described(
        &self,
        call: elb::operation::describe_listeners::builders::DescribeListenersFluentBuilder,
        doing: &str,
    ) -> Result<Vec<Listener>, PortError> {
        let raw = Raw::default();
        call.customize().interceptor(raw.clone()).send().await.map_err(|error| failed(PORT, doing, &error))?;
        let text = raw.take().ok_or_else(|| PortError::later(PORT, "the answer had no body"))?;
        let body = xml::read(&text).map_err(|error| PortError::later(PORT, error))?;
        let list = body.pointer("/DescribeListenersResponse/DescribeListenersResult/Listeners");
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let one = |value: &Value| Listener {
            arn: text(value, "ListenerArn"),
            balancer: text(value, "LoadBalancerArn"),
            port: text(value, "Port").parse().unwrap_or(0),
            protocol: text(value, "Protocol"),
            actions: action::read(value.get("DefaultActions").unwrap_or(&Value::Array(Vec::new())))
                .map_err(|error| error.to_string()),
        };
        Ok(list.and_then(Value::as_array).into_iter().flatten().map(one).collect())
    }

    /// Asks EC2; the reason if it does not answer.
    async fn ec2(&self, operation: &str, parameters: &[(String, String)]) -> Result<Value, Unanswered> {
        let keys = self.aws.keys().await.map_err(Unanswered)?;
        let ec2 = Ec2 { endpoint: self.aws.endpoint("EC2"), region: self.aws.region() };
        ec2.ask(&self.knock, &keys, self.now(), operation, parameters).await
    }

    /// What the rules of `to` say of connections from `from`.
    async fn described_path(&self, from: Option<&Balancer>, to: &Balancer, port: u16) -> Result<Answered, Unanswered> {
        let ids = (1..).zip(&to.groups).map(|(n, id)| (format!("GroupId.{n}"), id.clone()));
        let groups = self.ec2("DescribeSecurityGroups", &ids.collect::<Vec<_>>()).await?;
        let Some(from) = from else { return Ok(ec2::lets_in(&groups, port, &[], &[])) };
        let name = find::dimension(&from.arn).unwrap_or_default();
        let filter = [("Filter.1.Name", "description".to_owned()), ("Filter.1.Value.1", format!("ELB {name}"))];
        let filter = filter.map(|(name, value)| (name.to_owned(), value));
        let interfaces = self.ec2("DescribeNetworkInterfaces", &filter).await?;
        Ok(ec2::lets_in(&groups, port, &from.groups, &ec2::addresses(&interfaces)))
    }
}

fn tag(service: &str) -> Tag {
    Tag::builder().key(TAG).value(service).build()
}

fn group_of(group: &elb::types::TargetGroup) -> Group {
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    Group {
        arn: text(group.target_group_arn()),
        kind: text(group.target_type().map(TargetTypeEnum::as_str)),
        protocol: text(group.protocol().map(ProtocolEnum::as_str)),
        port: group.port().and_then(|port| u16::try_from(port).ok()).unwrap_or(0),
        vpc: text(group.vpc_id()),
        users: group.load_balancer_arns().to_vec(),
    }
}

/// What one series is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Requests,
    Answers(u8),
    Unconnected,
    Unsecured,
    Hosts,
    OwnErrors,
    NewFlows,
    OpenFlows,
    TargetResets,
    OwnResets,
}

/// Whose: an old group by its place, the new one, the NLB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Whose {
    Old(usize),
    New,
    Front,
}

type Key = (Whose, What);

/// Everything that is asked of a minute.
fn series(counted: &Counted) -> Vec<(Key, MetricStat)> {
    let stat = |namespace: &str, name: &str, dimensions: &[(&str, &str)], statistic: &str| {
        let dimensions = dimensions.iter().map(|(name, value)| Dimension::builder().name(*name).value(*value).build());
        let metric =
            Metric::builder().namespace(namespace).metric_name(name).set_dimensions(Some(dimensions.collect()));
        MetricStat::builder().metric(metric.build()).period(60).stat(statistic).build()
    };
    let groups = counted.old.iter().enumerate().map(|(n, group)| (Whose::Old(n), group));
    let mut all = Vec::new();
    for (whose, OldGroup { balancer, group }) in groups.chain([(Whose::New, &counted.new)]) {
        let dimensions = [("LoadBalancer", balancer.as_str()), ("TargetGroup", group.as_str())];
        for (what, name, statistic) in [
            (What::Requests, "RequestCount", "Sum"),
            (What::Answers(2), "HTTPCode_Target_2XX_Count", "Sum"),
            (What::Answers(3), "HTTPCode_Target_3XX_Count", "Sum"),
            (What::Answers(4), "HTTPCode_Target_4XX_Count", "Sum"),
            (What::Answers(5), "HTTPCode_Target_5XX_Count", "Sum"),
            (What::Unconnected, "TargetConnectionErrorCount", "Sum"),
            (What::Unsecured, "TargetTLSNegotiationErrorCount", "Sum"),
            (What::Hosts, "HealthyHostCount", "Maximum"),
        ] {
            all.push(((whose, what), stat("AWS/ApplicationELB", name, &dimensions, statistic)));
        }
    }
    let balancer = [("LoadBalancer", counted.new.balancer.as_str())];
    all.push(((Whose::New, What::OwnErrors), stat("AWS/ApplicationELB", "HTTPCode_ELB_5XX_Count", &balancer, "Sum")));
    if let Some(front) = &counted.front {
        let front = [("LoadBalancer", front.as_str())];
        for (what, name, statistic) in [
            (What::NewFlows, "NewFlowCount", "Sum"),
            (What::OpenFlows, "ActiveFlowCount", "Maximum"),
            (What::TargetResets, "TCP_Target_Reset_Count", "Sum"),
            (What::OwnResets, "TCP_ELB_Reset_Count", "Sum"),
        ] {
            all.push(((Whose::Front, what), stat("AWS/NetworkELB", name, &front, statistic)));
        }
    }
    all
}

/// What the published figures of one minute say.
///
/// An ALB publishes what is not zero, so a figure that is missing is a zero where another shows that the group's figures
/// of that minute were published (user guide, "CloudWatch metrics for your Application Load Balancer").
fn minute(at: Timestamp, counted: &Counted, figures: &BTreeMap<Key, f64>) -> Minute {
    let figure = |whose, what| figures.get(&(whose, what)).copied();
    let count = |whose, what| figure(whose, what).map_or(0, |value| value.max(0.0).round() as u64);
    let counts = |whose| {
        let published = [What::Requests, What::Hosts].iter().any(|what| figure(whose, *what).is_some());
        let [status_2xx, status_3xx, status_4xx, status_5xx] =
            [2, 3, 4, 5].map(|digit| count(whose, What::Answers(digit)));
        let answered = status_2xx + status_3xx + status_4xx + status_5xx;
        let refused = count(whose, What::Unconnected) + count(whose, What::Unsecured);
        let given = count(whose, What::Requests);
        let requests = if given == 0 { answered + refused } else { given.max(answered) };
        let failed = requests - answered;
        published.then(|| Counts {
            requests,
            status_2xx,
            status_3xx,
            status_4xx,
            status_5xx,
            failed,
            ..Counts::default()
        })
    };
    let mut old: Option<Counts> = (!counted.old.is_empty()).then(Counts::default);
    let mut own_errors_of_old = 0;
    for (n, group) in counted.old.iter().enumerate() {
        let found = counts(Whose::Old(n));
        if group.balancer == counted.new.balancer {
            own_errors_of_old += found.as_ref().map_or(0, |counts| counts.failed);
        }
        old = old.zip(found).map(|(mut sum, counts)| {
            sum.merge(&counts);
            sum
        });
    }
    let new = counts(Whose::New).map(|mut counts| {
        // What the balancer itself answered for want of a target is in no count of a target group.
        let own = count(Whose::New, What::OwnErrors).saturating_sub(own_errors_of_old);
        let missing = own.saturating_sub(counts.failed);
        (counts.failed, counts.requests) = (counts.failed + missing, counts.requests + missing);
        counts
    });
    let flows = figure(Whose::Front, What::OpenFlows).map(|open_max| Flows {
        new: figure(Whose::Front, What::NewFlows).unwrap_or(0.0),
        open_max,
        reset: [What::TargetResets, What::OwnResets].iter().filter_map(|what| figure(Whose::Front, *what)).sum(),
    });
    Minute { at, old, new, flows, settled: false }
}

impl Cloud for RealCloud {
    fn now(&self) -> Timestamp {
        self.aws.clock.at(self.ours.now())
    }

    async fn weighted(&self, source: &str, target: &str) -> Result<String, PortError> {
        find::listener(&self.reads, PORT, source, target).await
    }

    async fn listener(&self, arn: &str) -> Result<Listener, PortError> {
        let found = self.described(self.reads.describe_listeners().listener_arns(arn), "read the listener").await?;
        let found = found.into_iter().find(|listener| listener.arn == arn);
        found.ok_or_else(|| PortError::later(PORT, format!("the answer does not speak of the listener `{arn}`")))
    }

    async fn listeners(&self, balancer: &str) -> Result<Vec<Listener>, PortError> {
        let call = self.reads.describe_listeners().load_balancer_arn(balancer);
        self.described(call, "list the listeners of the load balancer").await
    }

    async fn idle_seconds(&self, listener: &str) -> Result<u64, PortError> {
        let answer = self.reads.describe_listener_attributes().listener_arn(listener).send().await;
        let answer = answer.map_err(|error| failed(PORT, "read the attributes of the listener", &error))?;
        let mut found = answer.attributes().iter().filter(|one| one.key() == Some("tcp.idle_timeout.seconds"));
        Ok(found.next().and_then(|one| one.value()?.parse().ok()).unwrap_or(TCP_IDLE_SECONDS))
    }

    async fn balancer(&self, arn: &str) -> Result<Balancer, PortError> {
        let answer = self.reads.describe_load_balancers().load_balancer_arns(arn).send().await;
        let answer = answer.map_err(|error| failed(PORT, "read the load balancer", &error))?;
        let found = answer.load_balancers().iter().find(|one| one.load_balancer_arn() == Some(arn));
        let found = found.ok_or_else(|| PortError::later(PORT, format!("the answer does not speak of `{arn}`")))?;
        let attributes = self.reads.describe_load_balancer_attributes().load_balancer_arn(arn).send().await;
        let attributes = attributes.map_err(|error| failed(PORT, "read the load balancer's attributes", &error))?;
        let attribute = |key: &str| {
            let mut found = attributes.attributes().iter().filter(|one| one.key() == Some(key));
            found.next().and_then(|one| one.value()).map(str::to_owned)
        };
        let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
        Ok(Balancer {
            arn: arn.to_owned(),
            address: text(found.dns_name()),
            network: found.r#type() == Some(&LoadBalancerTypeEnum::Network),
            vpc: text(found.vpc_id()),
            zones: found.availability_zones().iter().map(|zone| text(zone.zone_name())).collect::<BTreeSet<_>>(),
            groups: found.security_groups().to_vec(),
            cross_zone: attribute("load_balancing.cross_zone.enabled").as_deref() == Some("true"),
            idle_seconds: attribute("idle_timeout.timeout_seconds").and_then(|seconds| seconds.parse().ok()),
        })
    }

    async fn group_named(&self, name: &str) -> Result<Option<Group>, PortError> {
        match self.reads.describe_target_groups().names(name).send().await {
            Ok(answer) => Ok(answer.target_groups().first().map(group_of)),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(DescribeTargetGroupsError::is_target_group_not_found_exception) =>
            {
                Ok(None)
            }
            Err(error) => Err(failed(PORT, "look for our target group", &error)),
        }
    }

    async fn groups(&self, arns: &[String]) -> Result<Vec<Group>, PortError> {
        let arns = (!arns.is_empty()).then(|| arns.to_vec());
        let (mut all, mut marker) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let call =
                self.reads.describe_target_groups().set_target_group_arns(arns.clone()).set_marker(marker.take());
            let page = call.send().await.map_err(|error| failed(PORT, "read the target groups", &error))?;
            all.extend(page.target_groups().iter().map(group_of));
            marker = page.next_marker().map(str::to_owned);
            if marker.is_none() {
                return Ok(all);
            }
        }
        Err(PortError::never(PORT, "there are more target groups than an account may have"))
    }

    async fn targets(&self, group: &str) -> Result<Vec<Target>, PortError> {
        let answer = self.reads.describe_target_health().target_group_arn(group).send().await;
        let answer = answer.map_err(|error| failed(PORT, "read the health of the targets", &error))?;
        let one = |found: &elb::types::TargetHealthDescription| {
            let health = found.target_health();
            let state = health.and_then(|health| health.state()).map_or("unknown", |state| state.as_str());
            let why = health.and_then(|health| health.description()).unwrap_or(state);
            let target = found.target();
            Target {
                id: target.and_then(TargetDescription::id).unwrap_or_default().to_owned(),
                port: target.and_then(TargetDescription::port).and_then(|port| u16::try_from(port).ok()).unwrap_or(0),
                state: state.to_owned(),
                why: if state == "healthy" { String::new() } else { why.to_owned() },
            }
        };
        Ok(answer.target_health_descriptions().iter().map(one).collect())
    }

    async fn lets_in(&self, from: Option<&Balancer>, to: &Balancer, port: u16) -> Answered {
        if to.groups.is_empty() {
            return Answered::Unknown("the load balancer names no security groups".to_owned());
        }
        match self.described_path(from, to, port).await {
            Ok(answered) => answered,
            Err(Unanswered(why)) => match self.knock.reaches(&to.address, port).await {
                Ok(()) => Answered::Yes(format!("a connection from here was made (EC2 was not asked: {why})")),
                Err(shut) => Answered::Unknown(format!("EC2: {why}; from here: {shut}")),
            },
        }
    }

    async fn minutes(&self, counted: &Counted, window: Window) -> Result<Vec<Minute>, PortError> {
        let series = series(counted);
        let asked: Vec<MetricDataQuery> = (0..)
            .zip(&series)
            .map(|(n, (_, stat))| MetricDataQuery::builder().id(format!("q{n}")).metric_stat(stat.clone()).build())
            .collect();
        let mut minutes: BTreeMap<i64, BTreeMap<Key, f64>> = BTreeMap::new();
        let mut token = None;
        for _ in 0..PAGES_MAX {
            let call = self
                .numbers
                .get_metric_data()
                .set_metric_data_queries(Some(asked.clone()))
                .start_time(DateTime::from_millis(window.from.0))
                .end_time(DateTime::from_millis(window.to.0))
                .scan_by(ScanBy::TimestampAscending)
                .set_next_token(token.take());
            let page = call.send().await.map_err(|error| failed(PORT, "read metrics from CloudWatch", &error))?;
            token = page.next_token().map(str::to_owned);
            for result in page.metric_data_results() {
                let place = result.id().and_then(|id| id.strip_prefix('q')?.parse::<usize>().ok());
                let Some((key, _)) = place.and_then(|place| series.get(place)) else {
                    return Err(PortError::later(PORT, "CloudWatch answered with a series that was not asked for"));
                };
                let whole = match result.status_code() {
                    None | Some(StatusCode::Complete) => true,
                    Some(StatusCode::PartialData) => token.is_some(),
                    Some(_) => false,
                };
                if !whole || result.timestamps().len() != result.values().len() {
                    return Err(PortError::later(PORT, "CloudWatch did not answer whole"));
                }
                for (at, value) in result.timestamps().iter().zip(result.values()) {
                    minutes.entry(at.secs().div_euclid(60) * 60_000).or_default().insert(*key, *value);
                }
            }
            if token.is_none() {
                let mut all = Vec::new();
                let mut at = Timestamp(window.from.0.div_euclid(60_000) * 60_000);
                while at < window.to {
                    all.push(minute(at, counted, minutes.get(&at.0).unwrap_or(&BTreeMap::new())));
                    at = at.plus(MINUTE);
                }
                return Ok(all);
            }
        }
        Err(PortError::later(PORT, format!("an answer of CloudWatch has more than {PAGES_MAX} pages")))
    }

    async fn make_group(&self, group: &NewGroup<'_>) -> Result<(), PortError> {
        let call = self
            .writes
            .create_target_group()
            .name(group.name)
            .target_type(TargetTypeEnum::Alb)
            .protocol(ProtocolEnum::Tcp)
            .port(i32::from(group.port))
            .vpc_id(group.vpc)
            .health_check_protocol(if group.secure { ProtocolEnum::Https } else { ProtocolEnum::Http })
            .health_check_path("/")
            .matcher(Matcher::builder().http_code(HEALTHY_CODES).build())
            .tags(tag(group.service));
        call.send().await.map(drop).map_err(|error| failed(PORT, "make the target group", &error))
    }

    async fn register(&self, group: &str, balancer: &str) -> Result<(), PortError> {
        let call = self.writes.register_targets().target_group_arn(group);
        let call = call.targets(TargetDescription::builder().id(balancer).build());
        call.send().await.map(drop).map_err(|error| failed(PORT, "register the load balancer", &error))
    }

    async fn make_listener(&self, balancer: &str, port: u16, group: &str, service: &str) -> Result<(), PortError> {
        let tuple = TargetGroupTuple::builder().target_group_arn(group).build();
        let action = elb::types::Action::builder()
            .r#type(ActionTypeEnum::Forward)
            .forward_config(ForwardActionConfig::builder().target_groups(tuple).build());
        let call = self.writes.create_listener().load_balancer_arn(balancer).protocol(ProtocolEnum::Tcp);
        let call = call.port(i32::from(port)).default_actions(action.build()).tags(tag(service));
        call.send().await.map(drop).map_err(|error| failed(PORT, "make the listener", &error))
    }

    async fn write(&self, listener: &str, actions: &[Action]) -> Result<(), PortError> {
        let call = self.writes.modify_listener().listener_arn(listener);
        let call = call.set_default_actions(Some(action::sdk(actions)));
        call.send().await.map(drop).map_err(|error| failed(PORT, "change the live listener's default action", &error))
    }

    async fn delete_listener(&self, arn: &str) -> Result<(), PortError> {
        let answer = self.writes.delete_listener().listener_arn(arn).send().await;
        answer.map(drop).map_err(|error| failed(PORT, "take our listener away", &error))
    }

    async fn deregister(&self, group: &str, balancer: &str) -> Result<(), PortError> {
        let call = self.writes.deregister_targets().target_group_arn(group);
        let call = call.targets(TargetDescription::builder().id(balancer).build());
        call.send().await.map(drop).map_err(|error| failed(PORT, "take the load balancer out", &error))
    }

    async fn delete_group(&self, arn: &str) -> Result<(), PortError> {
        let answer = self.writes.delete_target_group().target_group_arn(arn).send().await;
        answer.map(drop).map_err(|error| failed(PORT, "take our target group away", &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(old_balancer: &str) -> Counted {
        let group = |balancer: &str, group: &str| OldGroup { balancer: balancer.to_owned(), group: group.to_owned() };
        let (old, new) = (vec![group(old_balancer, "targetgroup/old/1")], group("app/new/2", "targetgroup/source/3"));
        Counted { old, new, front: Some("net/front/4".to_owned()) }
    }

    /// Proves that each figure is asked for once, that what was not published is unknown and not zero, and that errors which
    /// the new balancer made itself are failures of the new path, unless they are the old path's on the same balancer.
    #[test]
    fn a_minute_is_what_was_published_of_it() {
        let asked = series(&counted("app/old/5"));
        assert_eq!(asked.len(), 8 + 8 + 1 + 4);
        for (n, (key, stat)) in asked.iter().enumerate() {
            assert!(asked[n + 1..].iter().all(|(other, asked)| other != key && asked != stat), "{key:?}");
        }
        let of = |old_balancer: &str, figures: &[(Key, f64)]| {
            minute(Timestamp(0), &counted(old_balancer), &figures.iter().copied().collect())
        };
        let nothing = of("app/old/5", &[]);
        assert_eq!((nothing.old, nothing.new, nothing.flows), (None, None, None));
        let figures = [
            ((Whose::Old(0), What::Hosts), 2.0),
            ((Whose::New, What::Requests), 100.0),
            ((Whose::New, What::Answers(2)), 90.0),
            ((Whose::New, What::Answers(5)), 4.0),
            ((Whose::New, What::OwnErrors), 10.0),
            ((Whose::Front, What::OpenFlows), 7.0),
            ((Whose::Front, What::TargetResets), 2.0),
        ];
        let found = of("app/old/5", &figures);
        let new = found.new.unwrap();
        assert_eq!((new.requests, new.failed, new.status_5xx, new.errors()), (104, 10, 4, 14));
        assert_eq!(found.old, Some(Counts::default()));
        assert_eq!(found.flows, Some(Flows { new: 0.0, open_max: 7.0, reset: 2.0 }));
        let shared = [figures.to_vec(), vec![((Whose::Old(0), What::Requests), 10.0)]].concat();
        let found = of("app/new/2", &shared);
        assert_eq!((found.old.unwrap().failed, found.new.unwrap().failed), (10, 6));
    }
}
