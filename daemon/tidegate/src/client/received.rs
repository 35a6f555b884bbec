//! What the source cluster says it received, held against what the proxies sent it: whoever asks it past the listener would
//! stay behind with it.
//!
//! Two counters that it keeps are read twice, some time apart. `_nodes/usage` counts requests by what answered them, on the
//! node that got each: these are the proxies' requests and everybody else's, and the difference is who comes another way.
//! `_stats` counts a search once for each shard and a write once for each document, so it cannot be set against requests; it
//! says whether a cluster works for somebody while the proxies send it nothing, and no more. Both are shown.
//!
//! `GET /` is told apart: health checks and pings ask it, and no load balancer counts those as requests.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover::event::{Check, CheckOutcome};
use serde_json::Value;

use super::{Client, Silent, Told};

/// Sums over all indices: searches by shard, and documents written and deleted on primaries.
const STATS: &str = "/_stats/search,indexing?filter_path=_all.total.search.query_total,\
                     _all.primaries.indexing.index_total,_all.primaries.indexing.delete_total";
/// Requests by node and by what answered them, since the node started.
const USAGE: &str = "/_nodes/usage/rest_actions?filter_path=nodes.*.rest_actions";

/// What answers `GET /`.
const ROOT: &str = "main_action";
/// What answers [`USAGE`]: the second of our own questions is between the two readings.
const OURS: &str = "nodes_usage_action";

/// By less than this part of what was sent, or this many requests, the two are the same: the readings and the proxies'
/// counts do not begin and end in the same moment.
const SAME_PART: f64 = 0.05;
const SAME_COUNT: u64 = 10;

/// How many kinds of requests are named.
const NAMED_MAX: usize = 4;

const NAME: &str = "past the listener";
const WORK: &str = "source's own counters";

/// Counters of a cluster at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Requests by node and by what answered them; or why that is not told.
    requests: Result<BTreeMap<String, BTreeMap<String, u64>>, String>,
    /// Searches by shard, and documents; or why that is not told.
    work: Result<[u64; 2], String>,
}

fn good(answered: Result<Told, Silent>) -> Result<Value, String> {
    match answered {
        Ok(told) if told.status.is_success() && told.value.is_object() => Ok(told.value),
        Ok(told) if told.status.is_success() => Err("the answer is not what a search cluster says".to_owned()),
        Ok(told) => Err(told.status.to_string()),
        Err(why) => Err(why.to_string()),
    }
}

/// Requests by node.
fn usage(told: &Value) -> Option<BTreeMap<String, BTreeMap<String, u64>>> {
    let nodes = told.get("nodes")?.as_object()?;
    let of = |node: &Value| -> Option<BTreeMap<String, u64>> {
        let actions = node.get("rest_actions")?.as_object()?;
        Some(actions.iter().filter_map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect())
    };
    nodes.iter().map(|(id, node)| Some((id.clone(), of(node)?))).collect()
}

/// Searches and documents. What is not there was never done.
fn work(told: &Value) -> [u64; 2] {
    let number = |path: &str| told.pointer(path).and_then(Value::as_u64).unwrap_or_default();
    let written = "/_all/primaries/indexing/index_total";
    let deleted = "/_all/primaries/indexing/delete_total";
    [number("/_all/total/search/query_total"), number(written) + number(deleted)]
}

/// Reads the counters of the cluster at `base`. What is not told is in the answer.
pub async fn read(client: &Client, base: &str) -> Received {
    let work = good(client.ask(base, STATS).await).map(|told| work(&told));
    let requests = good(client.ask(base, USAGE).await)
        .and_then(|told| usage(&told).ok_or_else(|| "the answer is not what a search cluster says".to_owned()));
    Received { requests, work }
}

/// Requests between two readings, by what answered them; `None` when a node came or went, or began to count anew.
fn between(
    before: &BTreeMap<String, BTreeMap<String, u64>>,
    after: &BTreeMap<String, BTreeMap<String, u64>>,
) -> Option<BTreeMap<String, u64>> {
    if !before.keys().eq(after.keys()) {
        return None;
    }
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    for (id, actions) in before {
        for (name, count) in actions {
            let now = after.get(id)?.get(name).copied()?;
            *sums.entry(name.clone()).or_default() += now.checked_sub(*count)?;
        }
        let new = after.get(id)?.iter().filter(|(name, _)| !actions.contains_key(*name));
        for (name, count) in new {
            *sums.entry(name.clone()).or_default() += count;
        }
    }
    Some(sums)
}

/// The most frequent of them, in words.
fn told(sums: &BTreeMap<String, u64>) -> String {
    let mut by_count: Vec<(&String, &u64)> = sums.iter().filter(|(_, count)| **count > 0).collect();
    by_count.sort_by(|one, other| other.1.cmp(one.1));
    let named = by_count.iter().take(NAMED_MAX).map(|(name, count)| {
        let name = name.strip_suffix("_action").unwrap_or(name);
        format!("{name} {count}")
    });
    let named: Vec<String> = named.collect();
    if named.is_empty() { "none".to_owned() } else { named.join(", ") }
}

/// What two readings `apart` say of clients that come past the listener, where the proxies sent `sent` requests meanwhile.
pub fn weigh(before: &Received, after: &Received, sent: u64, apart: Duration) -> Vec<Check> {
    let seconds = apart.as_secs();
    let mut checks = vec![match (&before.requests, &after.requests) {
        (Ok(before), Ok(after)) => match between(before, after) {
            Some(sums) => weighed(sums, sent, seconds),
            None => Check::new(
                NAME,
                CheckOutcome::Unknown,
                format!("a node of the source came, went or started anew within {seconds} s"),
                "look again when its nodes stay",
            ),
        },
        (Err(why), _) | (_, Err(why)) => Check::new(
            NAME,
            CheckOutcome::Unknown,
            format!("the proxies sent it {sent} requests in {seconds} s; its `_nodes/usage` is not known: {why}"),
            "let this identity read it (`source.authorization`), or find out by the source's own logs who else asks it",
        ),
    }];
    checks.push(match (&before.work, &after.work) {
        (Ok(before), Ok(after)) => worked(*before, *after, sent, seconds),
        (Err(why), _) | (_, Err(why)) => Check::new(
            WORK,
            CheckOutcome::Warn,
            format!("its `_stats` are not known: {why}"),
            "let this identity read them, where they shall be shown",
        ),
    });
    checks
}

fn weighed(mut sums: BTreeMap<String, u64>, sent: u64, seconds: u64) -> Check {
    let root = sums.remove(ROOT).unwrap_or_default();
    if let Some(ours) = sums.get_mut(OURS) {
        *ours = ours.saturating_sub(1);
    }
    let received: u64 = sums.values().sum();
    let rest = received.saturating_sub(sent);
    let same = |difference: u64| difference <= SAME_COUNT || difference as f64 <= sent as f64 * SAME_PART;
    let seen = format!("in {seconds} s the source counted {received} requests, and the proxies sent it {sent}");
    let aside =
        if root > 0 { format!("; {root} `GET /` are left aside, which health checks ask") } else { String::new() };
    if !same(sent.saturating_sub(received)) {
        return Check::new(
            NAME,
            CheckOutcome::Warn,
            format!("{seen}{aside}"),
            "see that this is the source behind the proxies: what it refuses before it looks at it is not counted, either",
        );
    }
    if same(rest) {
        return Check::new(NAME, CheckOutcome::Pass, format!("{seen}{aside}"), "");
    }
    let part = rest as f64 * 100.0 / received as f64;
    Check::new(
        NAME,
        CheckOutcome::Warn,
        format!(
            "{seen}: {rest} ({part:.0} %) come from clients that bypass the listener; it answered {}{aside}",
            told(&sums)
        ),
        "find them by the source's own logs and bring them to the proxy (`tidegate reroute`): they are in no capture, and stay \
         behind when the traffic moves",
    )
}

fn worked(before: [u64; 2], after: [u64; 2], sent: u64, seconds: u64) -> Check {
    // An index that is deleted takes its counts along.
    let [searches, documents] = [0, 1].map(|at| after[at].saturating_sub(before[at]));
    let evidence = format!(
        "in {seconds} s its `_stats` grew by {searches} searches, one for each shard, and {documents} documents, whose \
         requests were {sent} by the proxies"
    );
    if sent == 0 && searches + documents > 0 {
        let fix = "nobody came by the proxies meanwhile: somebody asks the source past the listener";
        return Check::new(WORK, CheckOutcome::Warn, evidence, fix);
    }
    Check::new(WORK, CheckOutcome::Pass, evidence, "")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn received(nodes: &Value, work: [u64; 2]) -> Received {
        Received { requests: Ok(usage(&json!({ "nodes": nodes })).expect("it is an answer")), work: Ok(work) }
    }

    fn of(checks: &[Check], name: &str) -> (CheckOutcome, String) {
        let check = checks.iter().find(|check| check.name == name).expect("it is there");
        (check.outcome, check.evidence.clone())
    }

    #[test]
    fn what_the_proxies_did_not_send_came_past_them() {
        // Proves that requests are summed over nodes, our own question and `GET /` are left out, few more or less are the same,
        // and the rest is told with what it was.
        let before = received(
            &json!({"a": {"rest_actions": {"search_action": 100, "nodes_usage_action": 1}}, "b": {"rest_actions": {}}}),
            [500, 7],
        );
        let after = received(
            &json!({"a": {"rest_actions": {"search_action": 400, "nodes_usage_action": 2, "main_action": 60}},
                    "b": {"rest_actions": {"bulk_action": 100}}}),
            [2000, 5007],
        );
        let apart = Duration::from_mins(1);
        let all = weigh(&before, &after, 395, apart);
        assert_eq!(of(&all, NAME).0, CheckOutcome::Pass, "{all:?}");
        assert!(of(&all, NAME).1.contains("counted 400 requests, and the proxies sent it 395; 60 `GET /`"), "{all:?}");
        let (outcome, evidence) = of(&weigh(&before, &after, 300, apart), NAME);
        assert_eq!(outcome, CheckOutcome::Warn);
        assert!(
            evidence.contains("100 (25 %) come from clients that bypass") && evidence.contains("search 300, bulk 100")
        );
        let fewer = weigh(&before, &after, 1000, apart);
        assert!(of(&fewer, NAME).0 == CheckOutcome::Warn && fewer[0].fix.contains("the source behind"), "{fewer:?}");
        assert!(of(&all, WORK).1.contains("1500 searches, one for each shard, and 5000 documents"), "{all:?}");
        assert_eq!(of(&weigh(&before, &after, 0, apart), WORK).0, CheckOutcome::Warn, "it works for somebody else");
    }

    #[test]
    fn a_cluster_that_does_not_tell_is_unknown() {
        // Proves that a refusal, a node that started anew and one that is gone are unknown, and that no `_stats` are a word.
        let one = received(&json!({"a": {"rest_actions": {"search_action": 100}}}), [0, 0]);
        let less = received(&json!({"a": {"rest_actions": {"search_action": 4}}}), [0, 0]);
        let gone = received(&json!({"b": {"rest_actions": {"search_action": 140}}}), [0, 0]);
        let silent = Received { requests: Err("403 Forbidden".to_owned()), work: Err("403 Forbidden".to_owned()) };
        for after in [&less, &gone, &silent] {
            let checks = weigh(&one, after, 40, Duration::from_secs(10));
            assert_eq!(of(&checks, NAME).0, CheckOutcome::Unknown, "{checks:?}");
        }
        let checks = weigh(&silent, &one, 40, Duration::from_secs(10));
        assert_eq!(of(&checks, WORK).0, CheckOutcome::Warn, "{checks:?}");
    }
}
