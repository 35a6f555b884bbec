//! A look at the target cluster through the way that clients will take: who answers, whether it is well, and whether it
//! takes writes. It asks and changes nothing.
//!
//! Questions are those that OpenSearch and Elasticsearch answer (`/`, `_cluster/health`, `_cluster/state/blocks`,
//! `_cat/allocation`). What a cluster does not answer to is left out but for the first.

use std::time::Duration;

use cutover::event::{Check, CheckOutcome};
use serde_json::Value;

use crate::outbound::{Answered, Outbound};
use crate::secret::Secret;

/// How long one answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// From these parts of a full disk, in percent, a cluster moves shards away, and takes no writes (OpenSearch's defaults of
/// `cluster.routing.allocation.disk.watermark.low` and `.flood_stage`).
const DISK_LOW: f64 = 85.0;
const DISK_FLOOD: f64 = 95.0;

/// Asks the cluster at `base` by `identity`, the value of an `Authorization` header.
pub async fn look(outbound: &Outbound, base: &str, identity: Option<&Secret>) -> Vec<Check> {
    let base = base.trim_end_matches('/');
    let ask = async |path: &str| -> Result<Answered, String> {
        let url = format!("{base}{path}");
        match tokio::time::timeout(ANSWER_MAX, outbound.get(&url, identity)).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {} s", ANSWER_MAX.as_secs())),
        }
    };
    let first = match ask("/").await {
        Ok(answered) => answered,
        Err(why) => {
            let fix = "let this machine reach the test listener, whose certificate it must trust";
            return vec![Check::new("smoke: answer", CheckOutcome::Fail, why, fix)];
        }
    };
    let mut checks = vec![answer(&first)];
    if checks[0].outcome == CheckOutcome::Pass {
        for (path, read) in [
            ("/_cluster/health", health as fn(&Value) -> Option<Check>),
            ("/_cluster/state/blocks", blocks),
            ("/_cat/allocation?format=json", disk),
        ] {
            let told = ask(path).await.ok().filter(|answered| answered.status.is_success());
            let told: Option<Value> = told.and_then(|answered| serde_json::from_str(&answered.text).ok());
            checks.extend(told.as_ref().and_then(read));
        }
    }
    checks
}

/// Who answers.
fn answer(answered: &Answered) -> Check {
    let status = answered.status;
    let told: Value = serde_json::from_str(&answered.text).unwrap_or_default();
    let name = told.get("cluster_name").and_then(Value::as_str);
    let version = told.pointer("/version/number").and_then(Value::as_str).unwrap_or("of no version");
    match (status.as_u16(), name) {
        (200, Some(name)) => {
            Check::new("smoke: answer", CheckOutcome::Pass, format!("200 from the cluster `{name}`, {version}"), "")
        }
        (200, None) => Check::new(
            "smoke: answer",
            CheckOutcome::Warn,
            "200, but not from a search cluster",
            "look whether this is the target that is meant",
        ),
        (401 | 403, _) => Check::new(
            "smoke: answer",
            CheckOutcome::Fail,
            format!("{status}: the target refuses this identity"),
            "give the identity of a real client in `target.authorization`; health checks take this answer for a healthy one",
        ),
        _ => Check::new(
            "smoke: answer",
            CheckOutcome::Fail,
            status.to_string(),
            "mend the target before anything is moved",
        ),
    }
}

fn health(told: &Value) -> Option<Check> {
    let status = told.get("status")?.as_str()?;
    let nodes = told.get("number_of_nodes").and_then(Value::as_u64).unwrap_or_default();
    let outcome = match status {
        "green" => CheckOutcome::Pass,
        "yellow" => CheckOutcome::Warn,
        _ => CheckOutcome::Fail,
    };
    Some(Check::new("smoke: health", outcome, format!("{status}, {nodes} nodes"), "wait until every shard is assigned"))
}

/// Blocks that refuse writes: of the whole cluster, and of indices.
fn blocks(told: &Value) -> Option<Check> {
    let blocks = told.get("blocks")?;
    let global = blocks.get("global").and_then(Value::as_object).map_or(0, serde_json::Map::len);
    let indices = blocks.get("indices").and_then(Value::as_object);
    let named: Vec<&str> = indices.into_iter().flatten().map(|(name, _)| name.as_str()).take(5).collect();
    let count = indices.map_or(0, serde_json::Map::len);
    if global + count == 0 {
        return Some(Check::new("smoke: write blocks", CheckOutcome::Pass, "none", ""));
    }
    let evidence = format!("{global} blocks of the cluster, {count} of indices: {}", named.join(", "));
    let fix = "take the blocks away (`index.blocks.*`, `cluster.blocks.*`), or writes of clients fail";
    Some(Check::new("smoke: write blocks", CheckOutcome::Fail, evidence, fix))
}

/// The fullest disk.
fn disk(told: &Value) -> Option<Check> {
    let percent = |node: &Value| match node.get("disk.percent")? {
        Value::String(text) => text.parse::<f64>().ok(),
        other => other.as_f64(),
    };
    let fullest = told.as_array()?.iter().filter_map(percent).max_by(f64::total_cmp)?;
    let outcome = match fullest {
        _ if fullest >= DISK_FLOOD => CheckOutcome::Fail,
        _ if fullest >= DISK_LOW => CheckOutcome::Warn,
        _ => CheckOutcome::Pass,
    };
    Some(Check::new(
        "smoke: disks",
        outcome,
        format!("the fullest is at {fullest} %"),
        "make room: a full disk takes no writes",
    ))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::json;

    use super::*;

    /// Proves what each answer of a cluster is taken for.
    #[test]
    fn what_a_cluster_says_is_weighed() {
        let of = |status: u16, text: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            answer(&Answered { status, text: text.to_owned() }).outcome
        };
        assert_eq!(of(200, r#"{"cluster_name":"new","version":{"number":"2.19.1"}}"#), CheckOutcome::Pass);
        assert_eq!(of(200, "<html>"), CheckOutcome::Warn);
        assert_eq!(of(403, "{}"), CheckOutcome::Fail);
        assert_eq!(of(502, ""), CheckOutcome::Fail);
        let health_of = |status: &str| health(&json!({"status": status, "number_of_nodes": 3})).unwrap().outcome;
        assert_eq!(
            ["green", "yellow", "red"].map(health_of),
            [CheckOutcome::Pass, CheckOutcome::Warn, CheckOutcome::Fail]
        );
        assert_eq!(blocks(&json!({"blocks": {}})).unwrap().outcome, CheckOutcome::Pass);
        let blocked = blocks(&json!({"blocks": {"indices": {"orders": {"8": {"levels": ["write"]}}}}})).unwrap();
        assert!(blocked.outcome == CheckOutcome::Fail && blocked.evidence.contains("orders"), "{blocked:?}");
        let disk_of = |percent: &str| disk(&json!([{"disk.percent": "3"}, {"disk.percent": percent}])).unwrap().outcome;
        assert_eq!(["50", "90", "96"].map(disk_of), [CheckOutcome::Pass, CheckOutcome::Warn, CheckOutcome::Fail]);
        assert_eq!(disk(&json!({"took": 1})), None);
    }
}
