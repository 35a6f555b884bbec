//! One daemon that drives two proxies, and what it does when one of them is dead.

use crate::{
    daemon::{SERVICE, World, clients},
    load::{Pool, assert_no_failure, by_side},
    receiver::Pager,
};

/// Proves that both proxies carry the share, that a revert which one of them cannot confirm is stuck with that proxy named
/// and a human called (exit code 4), that the other is back all the same, and that the revert ends when the dead one is
/// there again.
#[test]
fn a_dead_proxy_makes_a_revert_stuck_until_it_is_back() {
    let mut world = World::with_a_sibling(&[], "");
    let pager = Pager::new(&world.path(""));
    let patient = world.policy(&pager.alerts());
    // Patience for a revert, and none for proxies that are merely slow to answer.
    world.write_policy(&patient.replace("deadline = \"20s\"", "deadline = \"3s\""));
    let pools = [clients(world.proxy.port, 4), clients(world.siblings[0].port, 4)];
    let daemon = world.daemon(&[]);
    let mut dead = None;
    let said = daemon.follow(4, || {
        daemon.wait_for("baking", 500);
        let shares = |proxy: &crate::support::Proxy| proxy.call("GET", "/v1/status", None)["reads"].as_u64();
        assert_eq!([shares(&world.proxy), shares(&world.siblings[0])], [Some(500), Some(500)], "both have the share");
        let sibling = world.siblings.remove(0);
        sibling.process.signal("KILL");
        dead = Some(sibling);
        daemon.say(&["revert", SERVICE, "--yes", "--reason", "a proxy died"]).expect(0);
    });
    assert_eq!(said.json().last().expect("how it ended")["outcome"], "stuck", "{said:?}");
    assert_eq!(world.weight(), 0, "the proxy that lives is back at once");
    let name = dead.as_ref().expect("it was killed").control.display().to_string();
    let explained = daemon.say(&["explain", SERVICE]).expect(0).out;
    assert!(explained.contains(&name), "which proxy is missing: {explained}");
    pager.wait_for("shop: revert STUCK: the original is not confirmed: updated");

    // It comes back as it was, with half of the traffic for the target: only a write can mend that.
    drop(dead);
    world.siblings.push(world.sibling(500, &[]));
    daemon.wait_for("reverted", 0);
    let status = world.siblings[0].call("GET", "/v1/status", None);
    assert_eq!((&status["reads"], &status["writes"]), (&0.into(), &0.into()), "{status}");
    pager.wait_for("shop: cutover reverted: opened");

    let [alive, killed] = pools;
    for answers in alive.map(Pool::stop) {
        assert_no_failure(&answers);
    }
    let killed: Vec<_> = killed.map(Pool::stop).into_iter().flatten().collect();
    assert!(by_side(&killed, "target") > 0, "the proxy that died had carried its share");
    daemon.finish(&["proxy", "sibling", "stuck", "confirmed"]);
    world.verify();
    world.proxy.finish(&[]);
    world.siblings.remove(0).finish(&[]);
}
