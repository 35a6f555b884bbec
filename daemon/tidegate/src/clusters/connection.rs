//! Whether a cluster can be asked by the given way, and who it is.

use http::Method;
use serde::Serialize;
use serde_json::Value;

use super::{Cluster, ClusterError};

/// Who answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Connection {
    /// The cluster's name.
    pub cluster_name: String,
    /// `opensearch`, or `elasticsearch`, which does not say so itself.
    pub distribution: String,
    /// The version.
    pub version: String,
    /// `green`, `yellow` or `red`; absent where this identity may not ask.
    pub health: Option<String>,
    /// How many nodes it has; absent where this identity may not ask.
    pub nodes: Option<u64>,
}

/// Asks the cluster who it is.
///
/// # Errors
/// When it cannot be reached, refuses, or is no search cluster.
pub async fn check(cluster: &Cluster) -> Result<Connection, ClusterError> {
    let body = cluster.ask(Method::GET, "/").await?;
    let who: Value = serde_json::from_slice(&body).map_err(|error| cluster.odd("/", error.to_string()))?;
    let text = |pointer: &str| who.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let (Some(cluster_name), Some(version)) = (text("/cluster_name"), text("/version/number")) else {
        return Err(cluster.odd("/", "it names no cluster and no version".to_owned()));
    };
    let distribution = text("/version/distribution").unwrap_or_else(|| "elasticsearch".to_owned());
    // An identity that may read but not look after the cluster is refused here; who it is was told all the same.
    let health: Value = cluster.ask_json("/_cluster/health").await.unwrap_or_default();
    let nodes = health.get("number_of_nodes").and_then(Value::as_u64);
    let health = health.get("status").and_then(Value::as_str).map(str::to_owned);
    Ok(Connection { cluster_name, distribution, version, health, nodes })
}

impl Connection {
    /// The same in a line for a person.
    pub fn told(&self) -> String {
        let Self { cluster_name, distribution, version, health, nodes } = self;
        let health = health.as_deref().unwrap_or("its health is not told to this identity");
        let nodes = nodes.map_or_else(String::new, |nodes| format!(", {nodes} nodes"));
        format!("`{cluster_name}`, {distribution} {version}, {health}{nodes}")
    }
}
