//! What indices a cluster has, and how many documents are in each.
//!
//! Documents are counted by `_count`, which counts documents as clients know them; `docs.count` of `_cat/indices` counts
//! nested ones too, and what Lucene has not made visible yet.

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::{Cluster, ClusterError, segment};

/// An index as `_cat/indices` tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Index {
    /// Its name.
    pub index: String,
    /// `open` or `close`; old versions leave it out.
    pub status: Option<String>,
}

/// The table of `_cat/indices`, as the cluster prints it.
///
/// # Errors
/// When the cluster does not tell.
pub async fn table(cluster: &Cluster) -> Result<String, ClusterError> {
    let path = "/_cat/indices/_all?v=true";
    let body = match cluster.ask(Method::GET, path).await {
        // OpenSearch Serverless has no `_all`.
        Err(ClusterError::Refused { status: StatusCode::NOT_FOUND, .. }) => {
            cluster.ask(Method::GET, "/_cat/indices?v=true").await?
        }
        answered => answered?,
    };
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// The same as rows.
///
/// # Errors
/// When the cluster does not tell.
pub async fn rows(cluster: &Cluster) -> Result<Value, ClusterError> {
    match cluster.ask_json("/_cat/indices/_all?format=json").await {
        Err(ClusterError::Refused { status: StatusCode::NOT_FOUND, .. }) => {
            cluster.ask_json("/_cat/indices?format=json").await
        }
        answered => answered,
    }
}

/// The indices of a cluster, hidden and closed ones too.
///
/// # Errors
/// When the cluster does not tell.
pub async fn list(cluster: &Cluster) -> Result<Vec<Index>, ClusterError> {
    match cluster.ask_json("/_cat/indices?format=json&h=index,status&expand_wildcards=all").await {
        // Elasticsearch before 7.7 has no such parameter here, and no hidden indices.
        Err(ClusterError::Refused { status: StatusCode::BAD_REQUEST, .. }) => {
            cluster.ask_json("/_cat/indices?format=json&h=index,status").await
        }
        answered => answered,
    }
}

/// How many documents an index has.
///
/// # Errors
/// When the cluster does not tell, or some of its shards did not answer: then the count would be too low.
pub async fn count(cluster: &Cluster, index: &str) -> Result<u64, ClusterError> {
    let path = format!("/{}/_count", segment(index));
    let told: Value = cluster.ask_json(&path).await?;
    let failed = told.pointer("/_shards/failed").and_then(Value::as_u64).unwrap_or_default();
    if failed > 0 {
        return Err(cluster.odd(&path, format!("{failed} shards did not answer")));
    }
    told.get("count").and_then(Value::as_u64).ok_or_else(|| cluster.odd(&path, "there is no count in it".to_owned()))
}

/// What clients know an index by: the data stream whose documents it holds, or its own name.
///
/// Backing indices are `.ds-NAME-GENERATION` in OpenSearch and `.ds-NAME-yyyy.MM.dd-GENERATION` in Elasticsearch, with a
/// generation of six digits or more; the two sides rolled over at different times, so only their sums can be compared.
pub fn known_as(index: &str) -> &str {
    let digits = |text: &str, count: usize| text.len() >= count && text.bytes().all(|byte| byte.is_ascii_digit());
    let stream = || {
        let (name, generation) = index.strip_prefix(".ds-")?.rsplit_once('-')?;
        if !digits(generation, 6) {
            return None;
        }
        let dated = name.rsplit_once('-').filter(|(_, date)| {
            let parts: Vec<&str> = date.split('.').collect();
            date.len() == 10 && parts.len() == 3 && parts.iter().all(|part| digits(part, 2))
        });
        Some(dated.map_or(name, |(name, _)| name))
    };
    stream().unwrap_or(index)
}

/// Whether an index belongs to the cluster or to what runs on it, and not to its clients: by its name, which begins with a
/// dot. Backing indices of data streams are not among them.
pub fn is_system(known_as: &str) -> bool {
    known_as.starts_with('.')
}

/// The indices by what clients know them by.
pub fn by_name(list: Vec<Index>) -> BTreeMap<String, Vec<Index>> {
    let mut names: BTreeMap<String, Vec<Index>> = BTreeMap::new();
    for index in list {
        names.entry(known_as(&index.index).to_owned()).or_default().push(index);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that both spellings of a backing index lead to their stream, and that nothing else is taken for one.
    #[test]
    fn a_backing_index_is_known_by_its_stream() {
        let known = [
            ".ds-logs-web-000012",
            ".ds-logs-web-2026.11.22-000003",
            ".ds-logs-12-34-000001",
            "logs-000001",
            ".ds-odd",
            ".kibana_1",
            ".ds-a-12",
        ]
        .map(known_as);
        assert_eq!(known, ["logs-web", "logs-web", "logs-12-34", "logs-000001", ".ds-odd", ".kibana_1", ".ds-a-12"]);
        assert!(is_system(".kibana_1") && !is_system(known_as(".ds-logs-web-000012")));
    }
}
