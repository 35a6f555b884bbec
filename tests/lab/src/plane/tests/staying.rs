//! What keeps a client with its group: pinned connections, cookies, flows of an NLB, upgraded connections; and what ends
//! it.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::support::*;
use crate::model::action::{Stickiness, What};
use crate::model::{Action, BalancerKind, HealthState, Protocol, Target, TargetType};
use crate::plane::{Pinning, Switches};

/// Proves both settings of the switch: an open connection moves with the next request, or stays until it is closed.
#[tokio::test]
async fn an_open_connection_is_pinned_or_not_as_the_switch_says() {
    for (pinning, expected) in [(Pinning::None, TARGET), (Pinning::UntilClose, SOURCE)] {
        let lab = Lab::start(model(), Switches { pinning, ..prompt() }).await;
        let mut old = lab.client().await;
        assert_eq!(old.get().await.side(), SOURCE);
        lab.weights(0, 1).await;
        for _ in 0..20 {
            assert_eq!(old.get().await.side(), expected, "{pinning:?}");
        }
        assert_eq!(lab.client().await.get().await.side(), TARGET, "a new connection moves in either case");
        lab.plane.stop().await;
    }
}

/// Proves that a connection which has got too old is told to close with its next answer, in lab time: the lever that ends
/// pinned connections.
#[tokio::test]
async fn an_old_connection_is_told_to_close() {
    let mut model = model();
    let attributes = &mut model.load_balancers.get_mut(ALB).unwrap().attributes;
    attributes.insert("client_keep_alive.seconds".to_owned(), "300".to_owned());
    let lab = Lab::start(model, prompt()).await;
    let mut client = lab.client().await;
    assert!(!client.get().await.headers.contains_key("connection"));
    lab.shared.clock.sleep(Duration::from_secs(301)).await;
    assert_eq!(client.get().await.headers["connection"], "close");
    assert!(client.try_get(&[]).await.is_none(), "and it is closed");
    lab.plane.stop().await;
}

/// Proves that a connection which is silent for longer than the idle time-out, in real time, is closed.
#[tokio::test]
async fn a_silent_connection_is_closed() {
    let mut model = model();
    let attributes = &mut model.load_balancers.get_mut(ALB).unwrap().attributes;
    attributes.insert("idle_timeout.timeout_seconds".to_owned(), "1".to_owned());
    let lab = Lab::start(model, prompt()).await;
    let mut stream = TcpStream::connect(lab.plane.address(LISTENER).unwrap()).await.unwrap();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut [0; 1])).await;
    assert_eq!(read.expect("closed within ten seconds").unwrap(), 0);
    lab.plane.stop().await;
}

fn sticky(source: u32, target: u32) -> Vec<Action> {
    let mut action = Action::forward(&[(SOURCE, source), (TARGET, target)]);
    if let What::Forward(forward) = &mut action.what {
        forward.stickiness = Stickiness { enabled: true, seconds: Some(300) };
    }
    vec![action]
}

/// Proves that a client with a cookie stays at weight 0 while others move, that the switch and the end of stickiness let it
/// go, and that its cookie ends by lab time unless it is renewed.
#[tokio::test]
async fn a_cookie_keeps_a_client_with_its_group() {
    let lab = Lab::start(model(), prompt()).await;
    lab.set(LISTENER, sticky(1, 0)).await;
    let mut client = lab.client().await;
    let cookies = client.get().await.cookies();
    assert!(cookies.contains("AWSALBTG=") && cookies.contains("AWSALBTGCORS="), "{cookies}");
    lab.set(LISTENER, sticky(0, 1)).await;
    let stuck = client.get_with(&[("cookie", &cookies)]).await;
    assert_eq!((stuck.side(), client.get().await.side()), (SOURCE, TARGET));
    lab.shared.plane.set_switches(Switches { cookie_beats_zero: false, ..prompt() });
    assert_eq!(client.get_with(&[("cookie", &cookies)]).await.side(), TARGET);
    lab.shared.plane.set_switches(prompt());
    let renewed = client.get_with(&[("cookie", &cookies)]).await.cookies();
    lab.shared.clock.sleep(Duration::from_secs(301)).await;
    assert_eq!(client.get_with(&[("cookie", &cookies)]).await.side(), TARGET, "its five minutes are over");
    assert_ne!(renewed, cookies);
    lab.weights(0, 1).await;
    let fresh = client.get_with(&[("cookie", &renewed)]).await;
    assert_eq!((fresh.side(), fresh.headers.get("set-cookie")), (TARGET, None), "stickiness is off");
    lab.plane.stop().await;
}

/// Proves that a target which is taken out gets nothing new, finishes what it has, is shown as draining, and then goes.
#[tokio::test]
async fn a_target_that_leaves_finishes_what_it_has() {
    let mut model = model();
    let group = model.target_groups.get_mut(SOURCE).unwrap();
    group.attributes.insert("deregistration_delay.timeout_seconds".to_owned(), "600".to_owned());
    // A target of this machine that answers when it is told to.
    let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = held.local_addr().unwrap().port();
    let target = Target { id: "127.0.0.1".to_owned(), port, ..group.targets[0].clone() };
    group.targets = vec![target];
    let lab = Lab::start(model, prompt()).await;
    let (mut client, mut tasks) = (lab.client().await, JoinSet::new());
    tasks.spawn(async move { client.get().await });
    let mut request = loop {
        // The prober comes here as well.
        let (mut stream, _) = held.accept().await.unwrap();
        let mut bytes = vec![0; 4096];
        let read = stream.read(&mut bytes).await.unwrap();
        if !String::from_utf8_lossy(&bytes[..read]).contains("ELB-HealthChecker") {
            break stream;
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    };
    lab.shared.happen(|model, now| {
        let group = model.target_groups.get_mut(SOURCE).unwrap();
        let until = now + group.deregistration_delay();
        group.targets[0].draining_until = Some(until);
        group.targets[0].health = crate::model::Health::draining();
        group.targets.push(Target {
            id: "10.0.1.9".to_owned(),
            port: 1,
            draining_until: None,
            ..group.targets[0].clone()
        });
        group.targets[1].health = crate::model::Health::registering();
    });
    lab.heard().await;
    for _ in 0..10 {
        assert_eq!(lab.client().await.get().await.side(), SOURCE, "the new target answers");
    }
    request.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nheld").await.unwrap();
    assert_eq!(tasks.join_next().await.unwrap().unwrap().body, "held");
    let left = lab.shared.read(|model| model.target_groups[SOURCE].target("127.0.0.1", port).cloned());
    assert_eq!(left.expect("it still drains").health.state, HealthState::Draining);
    lab.until("it is gone", |model| model.target_groups[SOURCE].target("127.0.0.1", port).is_none()).await;
    lab.plane.stop().await;
}

const NLB: &str = "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/net/front/7";
const FLOWS: &str = "arn:aws:elasticloadbalancing:us-east-1:123456789012:listener/net/front/7/8";
const DIRECT: &str = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/target-direct/9";

/// How often something was counted of the NLB as a whole.
fn counted_of_nlb(lab: &Lab, name: &str) -> u64 {
    let mut flows = metric(name, None);
    flows.namespace = "AWS/NetworkELB".to_owned();
    flows.dimensions.insert("LoadBalancer".to_owned(), "net/front/7".to_owned());
    lab.shared.cloudwatch.store().truth(&flows).count()
}

/// Proves that a connection which the target refuses is a reset of the target's, and one without any target the NLB's own.
#[tokio::test]
async fn a_refused_flow_is_a_reset_of_whoever_refused_it() {
    let refusing = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    for (targets, name) in [(&[("127.0.0.1", refusing)][..], "TCP_Target_Reset_Count"), (&[], "TCP_ELB_Reset_Count")] {
        let mut model = model();
        model.load_balancers.insert(NLB.to_owned(), balancer(NLB, BalancerKind::Network));
        let actions = vec![Action::forward(&[(DIRECT, 1)])];
        model.listeners.insert(FLOWS.to_owned(), listener(FLOWS, NLB, 9200, Protocol::Tcp, actions));
        model.target_groups.insert(DIRECT.to_owned(), group(DIRECT, Protocol::Tcp, targets));
        let lab = Lab::start(model, prompt()).await;
        let mut stream = TcpStream::connect(lab.plane.address(FLOWS).unwrap()).await.unwrap();
        // A close or a reset: either way it is over.
        assert!(matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_)));
        assert_eq!((counted_of_nlb(&lab, name), counted_of_nlb(&lab, "NewFlowCount")), (1, 0), "{name}");
        lab.plane.stop().await;
    }
}

/// Proves that weights of an NLB move new connections alone, through an ALB behind it and to targets behind it.
#[tokio::test]
async fn flows_of_an_nlb_stay_where_they_began() {
    const BY_ALB: &str = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/by-alb/10";
    let mut model = model();
    model.load_balancers.insert(NLB.to_owned(), balancer(NLB, BalancerKind::Network));
    let actions = |direct, by_alb| vec![Action::forward(&[(DIRECT, direct), (BY_ALB, by_alb)])];
    model.listeners.insert(FLOWS.to_owned(), listener(FLOWS, NLB, 9200, Protocol::Tcp, actions(1, 0)));
    model.target_groups.insert(DIRECT.to_owned(), group(DIRECT, Protocol::Tcp, &[("10.0.9.1", 9200)]));
    let mut by_alb = group(BY_ALB, Protocol::Tcp, &[(ALB, 443)]);
    by_alb.target_type = TargetType::Alb;
    by_alb.targets[0].health = crate::model::Health::registering();
    model.target_groups.insert(BY_ALB.to_owned(), by_alb);
    let lab = Lab::start(model, prompt()).await;
    lab.health(BY_ALB, HealthState::Healthy).await;
    let address = lab.plane.address(FLOWS).unwrap();
    let mut old = Client::connect(address).await;
    assert_eq!(old.get().await.side(), TARGET);
    lab.set(FLOWS, actions(0, 1)).await;
    let mut new = Client::connect(address).await;
    for _ in 0..5 {
        assert_eq!((old.get().await.side(), new.get().await.side()), (TARGET, SOURCE));
    }
    assert_eq!(counted_of_nlb(&lab, "NewFlowCount"), 2);
    lab.plane.stop().await;
}

/// Proves that an upgraded connection passes bytes both ways and stays with its target.
#[tokio::test]
async fn a_web_socket_passes_and_stays() {
    let mut model = model();
    let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = echo.local_addr().unwrap().port();
    let group = model.target_groups.get_mut(SOURCE).unwrap();
    group.targets = vec![Target { id: "127.0.0.1".to_owned(), port, ..group.targets[0].clone() }];
    let lab = Lab::start(model, prompt()).await;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = echo.accept().await.unwrap();
            let mut bytes = vec![0; 4096];
            let read = stream.read(&mut bytes).await.unwrap();
            let head = String::from_utf8_lossy(&bytes[..read]).to_lowercase();
            if !head.contains("upgrade: websocket") {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                continue;
            }
            assert!(head.contains("connection: upgrade") && head.contains("x-forwarded-for: 127.0.0.1"), "{head}");
            let switch = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
            stream.write_all(switch).await.unwrap();
            while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                stream.write_all(&bytes[..read]).await.unwrap();
            }
            return;
        }
    });
    let mut stream = TcpStream::connect(lab.plane.address(LISTENER).unwrap()).await.unwrap();
    stream
        .write_all(b"GET /ws HTTP/1.1\r\nhost: shop\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n")
        .await
        .unwrap();
    let mut bytes = vec![0; 4096];
    let read = stream.read(&mut bytes).await.unwrap();
    let head = String::from_utf8_lossy(&bytes[..read]).to_lowercase();
    assert!(head.starts_with("http/1.1 101") && head.contains("upgrade: websocket"), "{head}");
    lab.weights(0, 1).await;
    for word in ["one", "two"] {
        stream.write_all(word.as_bytes()).await.unwrap();
        let read = stream.read(&mut bytes).await.unwrap();
        assert_eq!(&bytes[..read], word.as_bytes());
    }
    drop(stream);
    tasks.join_next().await.unwrap().unwrap();
    lab.plane.stop().await;
}
