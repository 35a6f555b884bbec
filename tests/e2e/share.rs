//! The observed share: what clients see and what the proxy counted agree with the weight, however connections are used.
#![expect(clippy::print_stdout, reason = "the figures are the point of these tests")]

use tidegate_tests::servers::nginx;

use crate::{
    load::{Plan, Until, assert_no_failure, by_side},
    support::Proxy,
};

/// Requests at each weight.
const REQUESTS: u64 = 20_000;

/// Binomial errors that a count may be off by: chance does that once in two million counts.
const Z_MAX: f64 = 5.0;

/// Weights in the order in which a cutover and a revert visit them.
const WEIGHTS: [u16; 6] = [0, 10, 250, 500, 950, 1000];

/// How far `hits` of `all` are from the weight, in binomial standard errors; infinite where there is no room for chance.
fn z(hits: usize, all: usize, weight: u16) -> f64 {
    let (share, all) = (f64::from(weight) / 1000.0, all as f64);
    let off = hits as f64 - all * share;
    if off == 0.0 { 0.0 } else { off / (all * share * (1.0 - share)).sqrt() }
}

/// A side's requests as the proxy counted them.
fn counted(proxy: &Proxy, side: &str) -> u64 {
    let counters = proxy.call("GET", "/v1/counters", None);
    let requests = |class: &str| counters[side][class]["requests"].as_u64();
    let (Some(reads), Some(writes)) = (requests("reads"), requests("writes")) else {
        panic!("no requests of {side} in {counters}");
    };
    reads + writes
}

fn share_holds(connections: usize, pipelined: usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let upstreams = nginx::upstreams(folder.path(), &["source", "target"]);
    let mut proxy = Proxy::start(folder.path(), upstreams.ports[0], upstreams.ports[1], 0, &[]);
    let mut targets = 0;
    for weight in WEIGHTS {
        proxy.set_weight(weight);
        let mut plan = Plan::reads(proxy.port, connections, Until::Requests(REQUESTS));
        plan.pipelined = pipelined;
        let answers = plan.run();
        assert_no_failure(&answers);
        let target = by_side(&answers, "target");
        targets += target as u64;
        assert_eq!(answers.len() as u64, REQUESTS);
        assert_eq!(target + by_side(&answers, "source"), answers.len(), "each answer says its side");
        let z = z(target, answers.len(), weight);
        println!(
            "weight {weight} on {connections} connections, {pipelined} at once: {target} of {} to the target, z = {z:.2}",
            answers.len()
        );
        assert!(z.abs() <= Z_MAX, "weight {weight}: {target} of {} requests, z = {z:.2}", answers.len());
    }
    assert_eq!(counted(&proxy, "target"), targets, "the proxy's own count is the clients'");
    assert_eq!(counted(&proxy, "source"), REQUESTS * WEIGHTS.len() as u64 - targets, "and the source's is the rest");
    proxy.finish(&[]);
}

/// Proves that one connection, used over and over, is split request by request.
#[test]
fn the_share_holds_on_one_connection() {
    share_holds(1, 1);
}

/// Proves the same for a small pool.
#[test]
fn the_share_holds_on_eight_connections() {
    share_holds(8, 1);
}

/// Proves the same for a large one.
#[test]
fn the_share_holds_on_sixty_four_connections() {
    share_holds(64, 1);
}

/// Proves that requests sent before the first answer are split one by one, and answered in order.
#[test]
fn the_share_holds_with_pipelining() {
    share_holds(8, 16);
}
