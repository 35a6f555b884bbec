//! What one case stands on: a stand-in of AWS with nothing in it but what the case needs, and the adapters that look at it.
//!
//! The adapters ask through a relay, which may change what they say and hear; the case itself sets up and looks past it, in
//! calls that are spelled by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cutover::{Share, Timestamp, Weight};
use lab::clock::Time;
use lab::cloudwatch::store::Metric;
use lab::model::REGION;
use serde_json::{Value, json};
use tidegate::aws::pace::Pace;
use tidegate::aws::{Aws, find};
use tidegate::balancer::alb::{Alb, Place};
use tidegate::clock::Clock;
use tidegate::fleet::alb::{AlbFleet, Groups};
use tidegate::metrics::cloudwatch::{self, Cloudwatch, Poller};

use super::moto::Moto;
use super::relay::{Answer, Call, Http, Relay, Twist, client};
use super::translation::Translation;
use super::wire::{self, Refused};
use crate::support::{SPEED, Stand};

/// The names of what is there.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) listener: String,
    pub(crate) balancer: String,
    pub(crate) source: String,
    pub(crate) target: String,
    /// A target group that the listener does not name.
    pub(crate) other: String,
    pub(crate) cluster: String,
    pub(crate) source_service: String,
    pub(crate) target_service: String,
}

/// Counts the calls that ask for metrics, on top of what else is done to calls.
struct Counted {
    inner: Arc<dyn Twist>,
    asked: Arc<AtomicUsize>,
}

impl Twist for Counted {
    fn call(&self, call: &mut Call) {
        if call.path.ends_with("/operation/GetMetricData") {
            self.asked.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.call(call);
    }

    fn answer(&self, call: &Call, answer: &mut Answer) {
        self.inner.answer(call, answer);
    }
}

/// Changes nothing.
pub(crate) struct Straight;

impl Twist for Straight {}

/// A stand-in as one case has it. Dropping it ends what is its own.
pub(crate) struct Ground {
    pub(crate) scene: Scene,
    pub(crate) aws: Aws,
    pub(crate) clock: Clock,
    /// The lab from inside, for what AWS does by itself and no call brings about; `None` on others.
    pub(crate) lab: Option<Stand>,
    endpoint: String,
    http: Http,
    asked: Arc<AtomicUsize>,
    _relay: Relay,
}

impl Ground {
    /// A lab of its own, behind a twist.
    pub(crate) async fn lab(twist: Arc<dyn Twist>) -> Self {
        let stand = Stand::start().await;
        let (endpoint, clock, names) = (stand.lab.endpoint(), stand.clock.clone(), stand.lab.scene().clone());
        let (balancer, other) = stand.lab.shared().read(|model| {
            let known = [&names.source_tg, &names.target_tg];
            let other = model.target_groups.keys().find(|arn| !known.contains(arn)).cloned();
            let balancer = model.load_balancers.keys().next().cloned();
            (balancer.expect("there is one"), other.expect("there is a third"))
        });
        let scene = Scene {
            listener: names.listener_arn,
            balancer,
            source: names.source_tg,
            target: names.target_tg,
            other,
            cluster: names.cluster,
            source_service: names.source_service,
            target_service: names.target_service,
        };
        Self::behind(twist, endpoint, clock, scene, Some(stand)).await
    }

    /// A part of moto that no other case sees, behind the translation and a twist on top of it.
    pub(crate) async fn moto(moto: &Moto) -> Self {
        let clock = Clock::fast(SPEED);
        let twist = Arc::new(Translation { clock: clock.clone() });
        Self::behind(twist, moto.endpoint.clone(), clock, moto.scene().await, None).await
    }

    async fn behind(inner: Arc<dyn Twist>, endpoint: String, clock: Clock, scene: Scene, lab: Option<Stand>) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let relay = Relay::start(&endpoint, Arc::new(Counted { inner, asked: Arc::clone(&asked) })).await;
        let aws = Aws::at(&relay.endpoint, REGION, clock.clone()).await;
        Self { scene, aws, clock, lab, endpoint, http: client(), asked, _relay: relay }
    }

    /// The lab from inside.
    ///
    /// # Panics
    /// On another stand-in: the case has said that it runs on the lab alone.
    pub(crate) fn inside(&self) -> &Stand {
        self.lab.as_ref().expect("this case says that it runs on the lab alone")
    }

    /// Where the stand-in itself is asked, past the relay.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What somebody else calls, past the relay.
    ///
    /// # Errors
    /// The code of the refusal.
    pub(crate) async fn ask(&self, service: &str, operation: &str, input: &Value) -> Result<Value, Refused> {
        wire::call(&self.endpoint, &self.http, service, operation, input).await
    }

    /// The same where no refusal is expected.
    pub(crate) async fn done(&self, service: &str, operation: &str, input: &Value) -> Value {
        self.ask(service, operation, input).await.unwrap_or_else(|code| panic!("{operation} is refused: {code}"))
    }

    /// The default actions, in AWS's spelling.
    pub(crate) async fn actions(&self) -> Value {
        let input = json!({ "ListenerArns": [self.scene.listener] });
        self.done("elasticloadbalancing", "DescribeListeners", &input).await["Listeners"][0]["DefaultActions"].clone()
    }

    /// Somebody else writes the default actions.
    ///
    /// # Errors
    /// The code of the refusal.
    pub(crate) async fn try_actions(&self, actions: Value) -> Result<Value, Refused> {
        let input = json!({ "ListenerArn": self.scene.listener, "DefaultActions": actions });
        self.ask("elasticloadbalancing", "ModifyListener", &input).await
    }

    /// The same where no refusal is expected.
    pub(crate) async fn set_actions(&self, actions: Value) {
        self.try_actions(actions).await.unwrap_or_else(|code| panic!("ModifyListener is refused: {code}"));
    }

    /// The weighted listener, named or to be found by its target groups.
    pub(crate) fn alb(&self, listener: Option<String>) -> Alb {
        let Scene { source, target, .. } = self.scene.clone();
        Alb::new(&self.aws, Place { listener, rules: Vec::new(), source, target })
    }

    /// Both sides' targets and services.
    pub(crate) fn fleet(&self) -> AlbFleet {
        self.fleet_of(self.scene.clone())
    }

    /// The same by other names.
    pub(crate) fn fleet_of(&self, scene: Scene) -> AlbFleet {
        let Scene { listener, source, target, cluster, source_service, target_service, .. } = scene;
        let cluster = Some((cluster, Some(source_service), Some(target_service)));
        let groups = Groups {
            listener: Some(listener),
            rules: Vec::new(),
            source,
            target,
            cluster,
            healthy_min: 1,
            scale: true,
        };
        AlbFleet::new(&self.aws, groups, Pace::new(self.clock.clone()), self.clock.clone())
    }

    /// Who asks CloudWatch, by `clock`.
    pub(crate) fn poller(&self, clock: Clock) -> Poller {
        Poller::new(self.aws.watching(), clock)
    }

    /// The metrics of both target groups, asked for by `poller`.
    pub(crate) fn metrics(&self, poller: &Poller) -> Cloudwatch {
        let Scene { listener, source, target, .. } = self.scene.clone();
        let (settle, tolerances) = (Duration::from_mins(2), vec![1]);
        let groups = cloudwatch::Groups { listener: Some(listener), source, target, settle, tolerances };
        Cloudwatch::new(poller.clone(), self.aws.balancing(), groups, self.aws.clock.clone(), self.clock.clone())
    }

    /// How many calls have asked for metrics.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// The whole minute that began `minutes` ago.
    pub(crate) fn ago(&self, minutes: u32) -> Time {
        Time(self.clock.now().0).minute() - Duration::from_mins(1) * minutes
    }

    /// AWS publishes figures of one minute: of a target group, or of the load balancer. On the lab from inside, since AWS
    /// lets nobody else put metrics of its own; on moto by the call that it takes all the same.
    pub(crate) async fn publish(&self, group: Option<&str>, minute: Time, figures: &[(&str, u64)]) {
        let balancer = find::balancer_of(&self.scene.listener).expect("it is a listener");
        let mut dimensions = BTreeMap::from([("LoadBalancer".to_owned(), balancer)]);
        dimensions.extend(group.map(|arn| ("TargetGroup".to_owned(), find::dimension(arn).expect("it is a group"))));
        if let Some(stand) = &self.lab {
            let mut store = stand.lab.shared().cloudwatch.store();
            for (name, count) in figures {
                let (namespace, name) = ("AWS/ApplicationELB".to_owned(), (*name).to_owned());
                let metric = Metric { namespace, name, dimensions: dimensions.clone() };
                let series = store.open(metric, "Count").expect("the lab has room");
                store.measured(series, minute, minute + Duration::from_mins(1)).add(1.0, *count);
            }
            return;
        }
        let dimensions: Vec<Value> =
            dimensions.iter().map(|(name, value)| json!({"Name": name, "Value": value})).collect();
        let datum = |(name, count): &(&str, u64)| json!({"MetricName": name, "Dimensions": dimensions, "Timestamp": minute.0 / 1000, "Value": count});
        let data: Vec<Value> = figures.iter().map(datum).collect();
        let input = json!({"Namespace": "AWS/ApplicationELB", "MetricData": data});
        self.done("monitoring", "PutMetricData", &input).await;
    }
}

/// A target's share of all classes of traffic.
pub(crate) fn both(per_mille: u16) -> Share {
    Share::both(Weight::new(per_mille).expect("it is at most 1000"))
}

/// So much of a forward action for each group.
pub(crate) fn forward(groups: &[(&str, i32)]) -> Value {
    let groups: Vec<Value> =
        groups.iter().map(|(arn, weight)| json!({"TargetGroupArn": arn, "Weight": weight})).collect();
    json!({"Type": "forward", "ForwardConfig": {"TargetGroups": groups}})
}

/// The weights of the list's forward action, in its order. Answers in XML have them as text.
pub(crate) fn weights(actions: &Value) -> Vec<String> {
    let lists = actions.as_array().into_iter().flatten();
    let mut groups = lists.filter_map(|action| action.pointer("/ForwardConfig/TargetGroups")?.as_array()).flatten();
    groups.by_ref().map(|group| group["Weight"].as_str().unwrap_or("none").to_owned()).collect()
}

/// From `from`, so many seconds.
pub(crate) fn window(from: Time, seconds: u64) -> cutover::Window {
    let from = Timestamp(from.0);
    cutover::Window { from, to: from.plus(Duration::from_secs(seconds)) }
}
