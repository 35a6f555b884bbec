//! What the unit tests of this package share: a policy and a cutover to work with.

use cutover::{Cutover, Policy, Timestamp};
use proxy::api::Status;

/// When the tests' time begins.
pub(crate) const START: Timestamp = Timestamp(1_800_000_000_000);

/// A quick policy without gates, windows or alerts: 10 % and 100 %, intervals of a second.
pub(crate) fn policy(service: &str) -> Policy {
    serde_json::from_value(serde_json::json!({
        "service": service,
        "balancer": { "kind": "listener", "proxies": [], "retry": "reads", "sticky": null },
        "source": { "endpoints": ["http://127.0.0.1:1"], "headers": {}, "authorization": null },
        "target": { "endpoints": ["http://127.0.0.1:2"], "headers": {}, "authorization": null },
        "capture": { "need": "not-needed", "losses_accepted": 0, "lag_max": 10000, "replay_max": 0 },
        "baseline": { "record": 2000, "intervals_min": 60 },
        "shift": {
            "steps": [{ "reads": 100, "writes": 100 }, { "reads": 1000, "writes": 1000 }],
            "writes": "split", "interval": 1000, "bake_min": 1000, "bake_max": 60000, "warm_up": 0, "settle": 0,
            "share_tolerance": 0.05, "requests_min": 10, "attempts_max": 3, "on_weighted_start": "refuse",
        },
        "guards": [{
            "guard": { "kind": "errors", "ratio": 1.25, "margin": 0.01, "weight": 1.0 },
            "requests_min": 10, "on_unknown": "hold",
        }],
        "false_revert_max": 0.05, "burst": 60000, "pass": {},
        "tripwires": [{
            "name": "errors", "kind": "errors", "limit": 0.2, "requests_min": 20, "window": 2000, "source_limit": 0.1,
        }],
        "unknown": { "hold_budget": 60000, "blind_budget": 20000, "on_timeout": "hold" },
        "gates": [],
        "windows": { "zone": "UTC", "allow": [], "freeze": false },
        "drift": "halt",
        "revert": { "deadline": 10000, "reassert": 1000, "close_connections": 0 },
        "drain": { "quiet": 1000, "timeout": 30000, "on_timeout": "hold", "close_connections": 0 },
        "alerts": [],
    }))
    .unwrap()
}

/// A cutover of that policy that waits to be started.
pub(crate) fn cutover(service: &str) -> Cutover {
    Cutover::new(format!("{service}-1"), policy(service), START)
}

/// What a proxy says of itself that has this share, and nothing else to tell.
pub(crate) fn status(per_mille: u16) -> Status {
    Status {
        instance: "1".to_owned(),
        version: "1".to_owned(),
        uptime_millis: 1,
        reads: per_mille,
        writes: per_mille,
        generation: 0,
        draining: false,
        awaits_weight: false,
        armed: None,
        fired: None,
        source: Vec::new(),
        target: Vec::new(),
        capture: Vec::new(),
    }
}
