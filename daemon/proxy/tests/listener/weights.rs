//! The share each side gets, and from when a new weight holds.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use proxy::{
    api::SetWeight,
    config::{Forwarded, Sticky},
};

use crate::support::{client, counted, echo, get, post, proxy_with, weigh};

/// How far a share may be from its weight, in standard errors.
const Z_MAX: f64 = 5.0;

fn assert_share(target: u64, all: u64, weight: u16) {
    let (p, n) = (f64::from(weight) / 1000.0, all as f64);
    let z = (target as f64 - n * p) / (n * p * (1.0 - p)).sqrt();
    assert!(z.abs() <= Z_MAX, "{target} of {all} requests went to the target at weight {weight}: z = {z:.1}");
}

/// Proves that the share is that of the weight for pools of 1, 8 and 64 connections and for pipelining, and that every
/// request is counted once.
#[test]
fn the_share_is_the_weight_for_every_kind_of_client() {
    const REQUESTS: u64 = 20_000;
    for (connections, pipelined, weight) in [(1, 1, 500), (8, 1, 50), (64, 1, 900), (4, 10, 300)] {
        let handle = proxy_with(echo("source"), Some(echo("target")), |_| ());
        weigh(&handle, weight, 1);
        let target = Arc::new(AtomicU64::new(0));
        let clients: Vec<_> = (0..connections)
            .map(|_| {
                let (mut client, target) = (client(&handle), Arc::clone(&target));
                thread::spawn(move || {
                    let mut left = REQUESTS.div_ceil(connections);
                    while left > 0 {
                        let burst = left.min(pipelined);
                        client.send(get("/").repeat(burst as usize));
                        for _ in 0..burst {
                            if client.response().text().starts_with("target") {
                                target.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                        left -= burst;
                    }
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        let all = REQUESTS.div_ceil(connections) * connections;
        let target = target.load(Ordering::Relaxed);
        assert_share(target, all, weight);
        let counters =
            counted(&handle, |counters| counters.source.reads.requests + counters.target.reads.requests == all);
        assert_eq!(counters.target.reads.requests, target);
        assert_eq!(counters.target.reads.latency.total(), target, "each request is in the histogram once");
        assert_eq!(counters.clients.requests_by_reuse.iter().sum::<u64>(), all);
    }
}

/// Proves that reads and writes have weights of their own, and that a search by POST is a read.
#[test]
fn reads_and_writes_have_weights_of_their_own() {
    let handle = proxy_with(echo("source"), Some(echo("target")), |_| ());
    let set = SetWeight { target: 0, reads: Some(1000), writes: None, generation: 1 };
    handle.set_weight(&set).unwrap();
    let mut client = client(&handle);
    for (request, side) in [
        (get("/"), "target"),
        (post("/logs/_search", "{}"), "target"),
        (post("/logs/_doc", "{}"), "source"),
        (post("/_bulk", "{}"), "source"),
        ("DELETE /logs HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "source"),
    ] {
        assert!(client.ask(&request).text().starts_with(side), "{request}");
    }
}

/// Proves that once a change is acknowledged no request is split by the old weight, on connections that are busy all
/// the while.
#[test]
fn an_acknowledged_weight_holds_for_the_next_request() {
    let handle = proxy_with(echo("source"), Some(echo("target")), |_| ());
    let over = Arc::new(AtomicBool::new(false));
    let busy: Vec<_> = (0..4)
        .map(|_| {
            let (mut client, over) = (client(&handle), Arc::clone(&over));
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    client.ask(get("/busy"));
                }
            })
        })
        .collect();
    let mut watching: Vec<_> = (0..4).map(|_| client(&handle)).collect();
    for generation in 1..200 {
        let weight = if generation % 2 == 1 { 1000 } else { 0 };
        weigh(&handle, weight, generation);
        let side = if weight == 0 { "source" } else { "target" };
        for client in &mut watching {
            assert!(client.ask(get("/")).text().starts_with(side), "generation {generation}");
        }
    }
    over.store(true, Ordering::Relaxed);
    for client in busy {
        client.join().unwrap();
    }
}

/// Proves that sticky clients stay where they are while the weight stays, that raising it moves nobody back, and that
/// all connections and threads agree.
#[test]
fn sticky_clients_stay_on_their_side() {
    for (sticky, field) in
        [(Sticky::Header("X-User".to_owned()), "x-user: "), (Sticky::Cookie("sid".to_owned()), "Cookie: other=1; sid=")]
    {
        let handle = proxy_with(echo("source"), Some(echo("target")), |config| {
            config.sticky = Some(sticky.clone());
            config.forwarded = Forwarded::Untouched;
        });
        let on_target = || -> BTreeSet<u32> {
            let mut client = client(&handle);
            (0..400)
                .filter(|user| {
                    let answer = client.ask(format!("GET / HTTP/1.1\r\nHost: x\r\n{field}user-{user}\r\n\r\n"));
                    answer.text().starts_with("target")
                })
                .collect()
        };
        weigh(&handle, 300, 1);
        let low = on_target();
        assert_eq!(low, on_target(), "another connection sees the same");
        assert!((60..=180).contains(&low.len()), "{} of 400 at 30 %", low.len());
        weigh(&handle, 600, 2);
        assert!(low.is_subset(&on_target()), "raising the weight moves nobody back");
    }
}
