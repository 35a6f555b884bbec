//! Our own proxies behind a name in DNS: real proxies on addresses of loopback, and a resolver whose answers change.

use std::net::{Ipv4Addr, TcpStream};
use std::num::NonZeroUsize;
use std::time::Duration;

use cutover::event::CheckOutcome;
use cutover::{Generation, Share, Timestamp, Weight};
use proxy::config::{Control, Side, Upstream};
use proxy::{Config, Handle, Proxy};
use serde_json::Value;
use tidegate::balancer::Balancer;
use tidegate::balancer::listener::Listener;
use tidegate::fleet::Fleet;
use tidegate::fleet::endpoints::Endpoints;
use tidegate::proxies::Proxies;
use tidegate_tests::clock;
use tidegate_tests::servers::free_port;
use tidegate_tests::servers::resolver::Resolver;

const TOKEN: &str = "a token of the test's";
const NAME: &str = "pods.example.com";
const TEN: Share = Share::both(Weight::new(100).expect("it is at most 1000"));
const HALF: Share = Share::both(Weight::new(500).expect("it is at most 1000"));
const START: Timestamp = Timestamp(1_800_000_000_000);

fn address(pod: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 3, pod)
}

/// A proxy on an address of its own.
fn pod(number: u8, port: u16) -> Handle {
    pod_to("http://127.0.0.1:9", number, port)
}

/// The same, with this target.
fn pod_to(target: &str, number: u8, port: u16) -> Handle {
    let upstream = |url: &str| url.parse::<Upstream>().expect("it is a URL");
    let source = Side::new(vec![upstream("http://127.0.0.1:9")]);
    let mut config = Config::new("127.0.0.1:0".parse().expect("it is an address"), source);
    config.target = Some(Side::new(vec![upstream(target)]));
    config.workers = NonZeroUsize::new(1);
    config.await_weight = true;
    config.control = Some(Control::Tcp { address: (address(number), port).into(), token: TOKEN.to_owned() });
    Proxy::start(config).expect("it starts")
}

/// A resolver, the port of the pods' control API, and all that stand behind the name.
fn behind() -> (Resolver, u16, Proxies) {
    let (resolver, port) = (Resolver::start(NAME), free_port());
    let place = format!("dns://{}/{NAME}:{port}", resolver.address()).parse().expect("it is a place");
    (resolver, port, Proxies::at([place], Some(TOKEN)))
}

/// Proves that a share counts as configured when those have acknowledged it that the name stands for now: a pod that came is
/// missing until it has it, by the next write or by being looked after, and one that went is not asked any more.
#[tokio::test]
async fn pods_that_come_must_have_the_share_and_those_that_went_need_not() {
    let (resolver, port, proxies) = behind();
    let (first, second) = (pod(1, port), pod(2, port));
    resolver.stand_for(&[address(1), address(2)]);
    let listener = Listener::new(proxies, START);
    listener.write(TEN, Generation(1)).await.unwrap();
    let reading = listener.read(START).await.unwrap();
    assert_eq!((reading.share, &reading.disagreeing), (TEN, &Vec::new()));
    let action = reading.action;

    let third = pod(3, port);
    resolver.stand_for(&[address(1), address(2), address(3)]);
    let reading = listener.read(START).await.unwrap();
    assert_eq!((reading.share, reading.disagreeing), (TEN, vec![format!("127.0.3.3:{port} (awaits its share)")]));
    while third.status().awaits_weight {
        assert_eq!(listener.watch().await.unwrap(), []);
    }
    let reading = listener.read(START).await.unwrap();
    assert_eq!((reading.disagreeing, third.status().reads), (Vec::new(), 100));
    assert_eq!(reading.action, action, "who stands there is no part of what is recorded");

    drop(second);
    // Its control API ends with its thread, a moment later.
    while TcpStream::connect((address(2), port)).is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let error = listener.write(HALF, Generation(2)).await.unwrap_err();
    assert!(error.to_string().contains("127.0.3.2"), "{error}");
    resolver.stand_for(&[address(1), address(3), address(4)]);
    let fourth = pod(4, port);
    listener.write(HALF, Generation(3)).await.unwrap();
    let reading = listener.read(START).await.unwrap();
    assert_eq!((reading.share, reading.disagreeing), (HALF, Vec::new()));
    assert_eq!([&first, &third, &fourth].map(|pod| pod.status().reads), [500; 3]);
}

/// What stood before the cutover, recorded from pods that were told it.
async fn recorded(listener: &Listener) -> Value {
    listener.write(Share::NONE, Generation(1)).await.expect("every pod takes it");
    listener.read(START).await.expect("every pod answers").action
}

/// Proves that an answer that fails or has nobody in it is unknown and never "all": nothing is written that could raise a share,
/// nothing is read as confirmed, and what takes the traffic back goes out to those that were there, and is not believed.
#[tokio::test]
async fn an_answer_with_nobody_is_unknown() {
    let (resolver, port, proxies) = behind();
    let pod = pod(11, port);
    resolver.stand_for(&[address(11)]);
    let listener = Listener::new(proxies.clone(), START);
    let original = recorded(&listener).await;
    listener.write(HALF, Generation(2)).await.unwrap();
    for empty in [true, false] {
        if empty {
            resolver.stand_for(&[]);
        } else {
            resolver.fail();
        }
        for error in [
            listener.read(START).await.unwrap_err(),
            listener.write(Share::ALL, Generation(3)).await.unwrap_err(),
            listener.arm(&[], Share::NONE).await.unwrap_err(),
        ] {
            assert!(error.to_string().contains("nobody knows which proxies stand behind dns://"), "{error}");
        }
        assert_eq!(listener.watch().await.unwrap(), [], "those of before are looked after");
        assert_eq!(pod.status().reads, 500);
        let checks = Endpoints::new(proxies.clone(), Vec::new(), Vec::new()).check().await.unwrap();
        let found = checks.iter().find(|check| check.name == "proxies found").expect("it is told");
        assert_eq!(found.outcome, CheckOutcome::Unknown);
    }
    let error = listener.restore(&original, Generation(4)).await.unwrap_err();
    assert!(matches!(error.retry, cutover::event::Retry::Later), "{error}");
    assert_eq!(pod.status().reads, 0);
    resolver.stand_for(&[address(11)]);
    listener.restore(&original, Generation(5)).await.unwrap();
    assert_eq!(listener.read(START).await.unwrap().action, original);
}

/// Proves that a pod with another target is given no share, neither by a write nor by a revert nor by being looked after; that it is
/// named with what to do, so that nothing rises; that the others are moved and taken back without it; and that it is one of the
/// fleet again once somebody gave it its weight.
#[tokio::test]
async fn a_pod_of_another_fleet_is_held() {
    let (resolver, port, proxies) = behind();
    let first = pod(21, port);
    resolver.stand_for(&[address(21)]);
    let listener = Listener::new(proxies.clone(), START);
    let original = recorded(&listener).await;
    let stranger = pod_to("http://127.0.0.1:10", 22, port);
    resolver.stand_for(&[address(21), address(22)]);
    listener.write(TEN, Generation(2)).await.unwrap();
    let reading = listener.read(START).await.unwrap();
    assert_eq!((reading.share, reading.disagreeing), (TEN, Vec::new()));
    assert_eq!(listener.watch().await.unwrap(), []);
    let alike = async || {
        let checks = Endpoints::new(proxies.clone(), Vec::new(), Vec::new()).check().await.unwrap();
        checks.into_iter().find(|check| check.name == "proxies alike").expect("there are two")
    };
    let found = alike().await;
    assert_eq!(found.outcome, CheckOutcome::Fail);
    let named = format!("at 127.0.3.22:{port}, its target is http://127.0.0.1:10");
    assert!(found.evidence.starts_with(&named), "{}", found.evidence);
    assert!(found.fix.contains("by hand"), "{}", found.fix);
    listener.restore(&original, Generation(3)).await.unwrap();
    assert_eq!(listener.read(START).await.unwrap().action, original);
    assert!(stranger.status().awaits_weight, "it takes no traffic");
    assert_eq!((first.status().reads, stranger.status().generation), (0, 0));

    let by_hand = proxy::api::SetWeight { target: 0, reads: None, writes: None, generation: 1 };
    stranger.set_weight(&by_hand).unwrap();
    listener.restore(&original, Generation(4)).await.unwrap();
    assert!(stranger.status().generation > 1);
    assert_eq!(alike().await.outcome, CheckOutcome::Fail, "two fleets are not moved as one");
}

/// Proves that a revert waits for no resolver: those that were there have the original before it is known that nobody answers who
/// is there now.
#[tokio::test]
async fn a_revert_waits_for_no_resolver() {
    let (resolver, port, proxies) = behind();
    let pod = pod(31, port);
    resolver.stand_for(&[address(31)]);
    let listener = Listener::new(proxies.clone(), START);
    let original = recorded(&listener).await;
    listener.write(HALF, Generation(2)).await.unwrap();
    resolver.fall_silent();
    let begun = clock::now();
    let revert = async {
        let answer = listener.restore(&original, Generation(3)).await;
        (answer, begun.elapsed())
    };
    let taken_back = async {
        while pod.status().reads != 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        begun.elapsed()
    };
    // Somebody else asks already, and those who wait for him are told what he is.
    let watched = async {
        let (first, second, third) = tokio::join!(proxies.now(), proxies.now(), proxies.now());
        assert!([first, second, third].iter().all(|known| known.failed.is_some()));
        begun.elapsed()
    };
    let (looked, (answer, ended), back) = tokio::join!(watched, revert, taken_back);
    assert!(answer.unwrap_err().to_string().contains("does not answer"));
    assert!(back + Duration::from_millis(500) < ended, "back after {back:?}, and known after {ended:?}");
    assert!(looked < Duration::from_millis(2_900), "each asked for himself: {looked:?}");
}

/// Proves that a pod which is listed before it answers is no failure: writes, reads and reverts are those of the others, the checks
/// name it and stop nothing, and it is given its share when it comes; and that one which was there before anybody looked is silent.
#[tokio::test]
async fn a_pod_that_starts_is_no_failure() {
    let (resolver, port, proxies) = behind();
    let first = pod(51, port);
    resolver.stand_for(&[address(51)]);
    let listener = Listener::new(proxies.clone(), START);
    let original = recorded(&listener).await;
    resolver.stand_for(&[address(51), address(52)]);
    listener.write(HALF, Generation(2)).await.unwrap();
    let reading = listener.read(START).await.unwrap();
    assert_eq!((reading.share, reading.disagreeing), (HALF, Vec::new()));
    let checks = Endpoints::new(proxies.clone(), Vec::new(), Vec::new()).check().await.unwrap();
    let told: Vec<_> = checks.iter().filter(|check| check.evidence.contains("127.0.3.52")).collect();
    assert_eq!((told.len(), told[0].outcome, &*told[0].name), (1, CheckOutcome::Warn, "proxies starting"));
    listener.restore(&original, Generation(3)).await.unwrap();
    listener.write(TEN, Generation(4)).await.unwrap();
    let second = pod(52, port);
    while second.status().awaits_weight {
        assert_eq!(listener.watch().await.unwrap(), []);
    }
    assert_eq!((first.status().reads, second.status().reads), (100, 100));
    drop(second);
    while TcpStream::connect((address(52), port)).is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(listener.write(HALF, Generation(5)).await.is_err(), "it has answered, so it is silent now");
    let others = Proxies::at(proxies.places().map(|place| place.parse().unwrap()), Some(TOKEN));
    assert!(Listener::new(others, START).write(HALF, Generation(6)).await.is_err(), "who knows what it has");
}

/// Proves that a fleet too large for one datagram is found whole.
#[tokio::test]
async fn a_large_fleet_is_found_whole() {
    let (resolver, _, proxies) = behind();
    let all: Vec<Ipv4Addr> = (1..=200).map(address).collect();
    resolver.stand_for(&all);
    let known = proxies.now().await;
    assert_eq!((known.remotes.len(), known.failed), (200, None));
}
