//! A look at the target cluster through the way that clients will take: who answers, whether it is well, and whether it
//! takes writes.
//!
//! Questions are those that OpenSearch and Elasticsearch answer (`/`, `_cluster/health`, `_cluster/state/blocks`,
//! `_cat/allocation`, `_cluster/settings`). Each gives a check: what was not answered has failed, and what this client may
//! not ask is said so.

use cutover::event::{Check, CheckOutcome};
use serde_json::Value;

use super::{Client, Silent, Told, disks};

/// Asks the cluster at `base`.
pub async fn look(client: &Client, base: &str) -> Vec<Check> {
    let first = client.ask(base, "/").await;
    let mut checks: Vec<Check> = tls(client, base, &first).into_iter().collect();
    let is_cluster = match &first {
        Ok(told) => {
            checks.push(answer(told));
            told.status.is_success() && told.value.get("cluster_name").is_some()
        }
        Err(Silent::Tls(_)) => false,
        Err(Silent::Other(why)) => {
            let fix = "let this machine reach the test listener, and see that something answers there";
            checks.push(Check::new("smoke: answer", CheckOutcome::Fail, why.clone(), fix));
            false
        }
    };
    if !is_cluster {
        return checks;
    }
    // Without the settings the usual watermarks are assumed, which the check says.
    let (wellness, blocked, settings, allocation) = tokio::join!(
        client.ask(base, "/_cluster/health"),
        client.ask(base, "/_cluster/state/blocks"),
        client.ask(base, disks::SETTINGS),
        client.ask(base, disks::ALLOCATION),
    );
    let marks = settings.ok().filter(|told| told.status.is_success()).map(|told| disks::Marks::of(&told.value));
    checks.push(of("smoke: health", &wellness, health));
    checks.push(of("smoke: write blocks", &blocked, blocks));
    checks.push(of("smoke: disks", &allocation, |told| disks::check(told, marks.as_ref())));
    checks
}

/// Whether a client would take the certificate, and is taken by it.
fn tls(client: &Client, base: &str, first: &Result<Told, Silent>) -> Option<Check> {
    let name = "smoke: TLS";
    if !base.starts_with("https://") {
        let said = "asked without TLS, so nothing is said of certificates";
        return Some(Check::new(name, CheckOutcome::Warn, said, "ask by `https://` where clients do"));
    }
    match first {
        Ok(_) => {
            let good = client.name.as_ref().map_or_else(|| "its own name".to_owned(), |name| format!("`{name}`"));
            let evidence = format!("its certificate is good for {good} by {}", client.trusted);
            Some(Check::new(name, CheckOutcome::Pass, evidence, ""))
        }
        Err(Silent::Tls(why)) => {
            let fix = "clients would fail alike: give the load balancer a certificate that their authority (`clients.ca`) signed \
                       for the name they use (`clients.server_name`); where it wants theirs, name it in `clients.certificate`";
            Some(Check::new(name, CheckOutcome::Fail, why.clone(), fix))
        }
        Err(Silent::Other(_)) => None,
    }
}

/// The check that an answer gives, whatever it is.
fn of(name: &str, answered: &Result<Told, Silent>, read: impl Fn(&Value) -> Option<Check>) -> Check {
    match answered {
        Ok(told) if told.status.is_success() => read(&told.value).unwrap_or_else(|| {
            let fix = "see what answers at this path of the test listener";
            Check::new(name, CheckOutcome::Fail, "the answer is not what a search cluster says", fix)
        }),
        Ok(told) if matches!(told.status.as_u16(), 401 | 403) => {
            let fix = "look by an identity that may monitor the cluster: this one is refused";
            Check::new(name, CheckOutcome::Warn, format!("not known: {}", told.status), fix)
        }
        Ok(told) => {
            Check::new(name, CheckOutcome::Fail, told.status.to_string(), "mend the target before anything is moved")
        }
        Err(why) => Check::new(name, CheckOutcome::Fail, why.to_string(), "mend the target before anything is moved"),
    }
}

/// Who answers.
fn answer(told: &Told) -> Check {
    let (status, told) = (told.status, &told.value);
    let text = |path: &str| told.pointer(path).and_then(Value::as_str);
    let (outcome, evidence, fix) = match (status.as_u16(), text("/cluster_name")) {
        (200, Some(name)) => {
            let version = text("/version/number").unwrap_or("of no version");
            let kind = text("/version/distribution").map_or_else(String::new, |kind| format!("{kind} "));
            (CheckOutcome::Pass, format!("200 from the cluster `{name}`, {kind}{version}"), "")
        }
        (200, None) => (
            CheckOutcome::Warn,
            "200, but not from a search cluster".to_owned(),
            "look whether this is the target that is meant",
        ),
        (401 | 403, _) => (
            CheckOutcome::Fail,
            format!("{status}: the target refuses this identity"),
            "give the identity of a real client in `clients.authorization` or `clients.certificate`; health checks take this \
             answer for a healthy one",
        ),
        _ => (CheckOutcome::Fail, status.to_string(), "mend the target before anything is moved"),
    };
    Check::new("smoke: answer", outcome, evidence, fix)
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

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::json;

    use super::*;

    fn told(status: u16, value: Value) -> Told {
        Told { status: StatusCode::from_u16(status).unwrap(), value }
    }

    /// Proves what each answer of a cluster is taken for.
    #[test]
    fn what_a_cluster_says_is_weighed() {
        let of_first = |status: u16, value: Value| answer(&told(status, value)).outcome;
        let good = json!({"cluster_name": "new", "version": {"number": "2.19.1", "distribution": "opensearch"}});
        assert_eq!(of_first(200, good.clone()), CheckOutcome::Pass);
        assert_eq!(answer(&told(200, good)).evidence, "200 from the cluster `new`, opensearch 2.19.1");
        assert_eq!(of_first(200, Value::Null), CheckOutcome::Warn);
        assert_eq!(of_first(403, json!({})), CheckOutcome::Fail);
        assert_eq!(of_first(502, Value::Null), CheckOutcome::Fail);
        let health_of = |status: &str| health(&json!({"status": status, "number_of_nodes": 3})).unwrap().outcome;
        assert_eq!(
            ["green", "yellow", "red"].map(health_of),
            [CheckOutcome::Pass, CheckOutcome::Warn, CheckOutcome::Fail]
        );
        assert_eq!(blocks(&json!({"blocks": {}})).unwrap().outcome, CheckOutcome::Pass);
        let blocked = blocks(&json!({"blocks": {"indices": {"orders": {"8": {"levels": ["write"]}}}}})).unwrap();
        assert!(blocked.outcome == CheckOutcome::Fail && blocked.evidence.contains("orders"), "{blocked:?}");
    }

    /// Proves that a question without an answer is a check that failed, and never one that is left out.
    #[test]
    fn what_is_not_answered_has_failed() {
        let outcome = |answered: Result<Told, Silent>| of("smoke: health", &answered, health).outcome;
        assert_eq!(outcome(Ok(told(200, json!({"status": "green"})))), CheckOutcome::Pass);
        assert_eq!(outcome(Ok(told(200, Value::Null))), CheckOutcome::Fail);
        assert_eq!(outcome(Ok(told(503, Value::Null))), CheckOutcome::Fail);
        assert_eq!(outcome(Err(Silent::Other("no answer within 10 s".to_owned()))), CheckOutcome::Fail);
        assert_eq!(outcome(Ok(told(403, json!({})))), CheckOutcome::Warn, "a client need not be allowed to look");
    }
}
