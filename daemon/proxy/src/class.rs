//! Which requests are reads: GET, HEAD, OPTIONS, and the endpoints of a search engine that search by POST.
//!
//! Everything else is a write, and so is whatever is not understood: a read taken for a write costs a retry, a write
//! taken for a read could be executed twice.

/// A class of requests; each has a weight of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Changes nothing, may be asked again.
    Read,
    /// Everything else.
    Write,
}

/// The paths that search by POST in Elasticsearch and OpenSearch. `*` stands for exactly one segment. Index and API
/// are spelled out (`*/_search`), since `POST /index/_doc/_search` writes a document whose id is `_search`.
pub const READS_BY_POST: [&str; 44] = [
    "_search",
    "*/_search",
    "_search/scroll",
    "_search/template",
    "*/_search/template",
    "_msearch",
    "*/_msearch",
    "_msearch/template",
    "*/_msearch/template",
    "_async_search",
    "*/_async_search",
    "_knn_search",
    "*/_knn_search",
    "_count",
    "*/_count",
    "_mget",
    "*/_mget",
    "*/_explain/*",
    "_validate/query",
    "*/_validate/query",
    "_field_caps",
    "*/_field_caps",
    "_analyze",
    "*/_analyze",
    "*/_termvectors",
    "*/_termvectors/*",
    "_mtermvectors",
    "*/_mtermvectors",
    "_terms_enum",
    "*/_terms_enum",
    "_search_shards",
    "*/_search_shards",
    "_rank_eval",
    "*/_rank_eval",
    "_render/template",
    "_render/template/*",
    "_scripts/painless/_execute",
    "*/_mvt/*/*/*/*",
    "_sql",
    "_sql/translate",
    "_plugins/_sql",
    "_plugins/_ppl",
    "_ingest/pipeline/_simulate",
    "_ingest/pipeline/*/_simulate",
];

/// Paths whose POSTs are reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadList {
    patterns: Vec<Vec<String>>,
}

impl Default for ReadList {
    fn default() -> Self {
        Self::new(READS_BY_POST)
    }
}

impl ReadList {
    /// A list of path patterns, as in [`READS_BY_POST`].
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Self {
        let split = |pattern: &str| pattern.trim_start_matches('/').split('/').map(str::to_owned).collect();
        Self { patterns: patterns.into_iter().map(split).collect() }
    }

    /// The class of a request, from its method and its raw target.
    pub fn class(&self, method: &[u8], target: &[u8]) -> Class {
        match method {
            b"GET" | b"HEAD" | b"OPTIONS" => Class::Read,
            b"POST" if self.matches(target) => Class::Read,
            _ => Class::Write,
        }
    }

    fn matches(&self, target: &[u8]) -> bool {
        let path = target.split(|&byte| byte == b'?').next().unwrap_or_default();
        let Some(path) = path.strip_prefix(b"/") else { return false };
        self.patterns.iter().any(|pattern| {
            let mut segments = path.split(|&byte| byte == b'/');
            pattern.iter().all(|want| {
                segments.next().is_some_and(|have| match want.as_str() {
                    // An API name never stands for an index: `_bulk/_search` is nobody's search.
                    "*" => !have.is_empty() && have[0] != b'_',
                    literal => have == literal.as_bytes(),
                })
            }) && segments.next().is_none()
        })
    }
}

/// Whether a request may be sent a second time on a fresh connection when the first died without an answer
/// (RFC 9110 9.2.2: a proxy must not repeat a request that is not idempotent).
pub fn repeatable(class: Class, method: &[u8]) -> bool {
    class == Class::Read || matches!(method, b"PUT" | b"DELETE" | b"TRACE")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that searches by POST are reads, with and without an index and a query.
    #[test]
    fn searches_by_post_are_reads() {
        let list = ReadList::default();
        for target in ["/_search", "/logs-*,a/_search?size=1", "/_msearch", "/i/_mvt/geo/1/2/3", "/i/_explain/7"] {
            assert_eq!(list.class(b"POST", target.as_bytes()), Class::Read, "{target}");
        }
    }

    /// Proves that what writes, or is not understood, is never taken for a read.
    #[test]
    fn what_may_write_is_a_write() {
        let list = ReadList::default();
        for target in
            ["/i/_doc/_search", "/_bulk", "/i/_doc", "//_search", "/i/_search/", "/i%2f_search", "_search", "*", "/"]
        {
            assert_eq!(list.class(b"POST", target.as_bytes()), Class::Write, "{target}");
        }
        assert_eq!(list.class(b"PUT", b"/_search"), Class::Write);
        assert_eq!(list.class(b"get", b"/"), Class::Write);
    }
}
