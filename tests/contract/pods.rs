//! Our own proxies behind a name in DNS: real proxies on addresses of loopback, and a resolver whose answers change.

use std::net::{Ipv4Addr, TcpStream};
use std::num::NonZeroUsize;
use std::time::Duration;

use cutover::event::CheckOutcome;
use cutover::{Generation, Share, Timestamp, Weight};
use proxy::config::{Control, Side, Upstream};
use proxy::{Config, Handle, Proxy};
use tidegate::balancer::Balancer;
use tidegate::balancer::listener::Listener;
use tidegate::fleet::Fleet;
use tidegate::fleet::endpoints::Endpoints;
use tidegate::proxies::Proxies;
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
    let nowhere: Upstream = "http://127.0.0.1:9".parse().expect("it is a URL");
    let mut config = Config::new("127.0.0.1:0".parse().expect("it is an address"), Side::new(vec![nowhere.clone()]));
    config.target = Some(Side::new(vec![nowhere]));
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

/// Proves that an answer that fails or has nobody in it is unknown and never "all": nothing is written that could raise a share,
/// nothing is read as confirmed, and what takes the traffic back goes out to those that were there, and is not believed.
#[tokio::test]
async fn an_answer_with_nobody_is_unknown() {
    let (resolver, port, proxies) = behind();
    let pod = pod(11, port);
    resolver.stand_for(&[address(11)]);
    let listener = Listener::new(proxies.clone(), START);
    // What stood is recorded from a pod that was told it.
    listener.write(Share::NONE, Generation(1)).await.unwrap();
    let original = listener.read(START).await.unwrap().action;
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

/// Proves that a fleet too large for one datagram is found whole.
#[tokio::test]
async fn a_large_fleet_is_found_whole() {
    let (resolver, _, proxies) = behind();
    let all: Vec<Ipv4Addr> = (1..=200).map(address).collect();
    resolver.stand_for(&all);
    let known = proxies.now().await;
    assert_eq!((known.remotes.len(), known.failed), (200, None));
}
