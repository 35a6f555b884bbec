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

/// The paths that are read by POST in Elasticsearch and OpenSearch. `*` stands for exactly one segment. Index and API are
/// spelled out (`*/_search`), since `POST /index/_doc/_search` writes a document whose id is `_search`; `*/*/_search` is
/// the search of a mapping type, which clusters before Elasticsearch 7 still have.
///
/// Opening a scroll, a point in time or an asynchronous search changes no document: asked twice it costs a context that
/// expires by itself.
pub const READS_BY_POST: [&str; 74] = [
    // searching
    "_search",
    "*/_search",
    "*/*/_search",
    "_search/template",
    "*/_search/template",
    "_msearch",
    "*/_msearch",
    "*/*/_msearch",
    "_msearch/template",
    "*/_msearch/template",
    "_count",
    "*/_count",
    "*/*/_count",
    "_knn_search",
    "*/_knn_search",
    "_rank_eval",
    "*/_rank_eval",
    "*/_mvt/*/*/*/*",
    "*/_eql/search",
    "*/_graph/explore",
    "_terms_enum",
    "*/_terms_enum",
    // going on with a search
    "_search/scroll",
    "*/_pit",
    "*/_search/point_in_time",
    "_async_search",
    "*/_async_search",
    "_plugins/_asynchronous_search",
    "*/_plugins/_asynchronous_search",
    "_opendistro/_asynchronous_search",
    // documents by their ids
    "_mget",
    "*/_mget",
    "*/*/_mget",
    "*/_explain/*",
    "*/*/*/_explain",
    "_mtermvectors",
    "*/_mtermvectors",
    "*/*/_mtermvectors",
    "*/_termvectors",
    "*/_termvectors/*",
    "*/*/_termvectors",
    "*/*/*/_termvectors",
    // about a search
    "_validate/query",
    "*/_validate/query",
    "*/*/_validate/query",
    "_search_shards",
    "*/_search_shards",
    "_field_caps",
    "*/_field_caps",
    "_analyze",
    "*/_analyze",
    "_render/template",
    "_render/template/*",
    "_scripts/painless/_execute",
    "_ingest/pipeline/_simulate",
    "_ingest/pipeline/*/_simulate",
    "_index_template/_simulate",
    "_index_template/_simulate/*",
    "_index_template/_simulate_index/*",
    // other languages
    "_query",
    "_sql",
    "_sql/close",
    "_sql/translate",
    "_xpack/sql",
    "_xpack/sql/translate",
    "_plugins/_sql",
    "_plugins/_sql/_explain",
    "_plugins/_sql/close",
    "_plugins/_ppl",
    "_plugins/_ppl/_explain",
    "_opendistro/_sql",
    "_opendistro/_sql/_explain",
    "_opendistro/_ppl",
    "_opendistro/_ppl/_explain",
];

/// Paths whose POSTs are reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadList {
    /// Patterns by how many segments they have: a path is compared only with those of its own length.
    patterns: Vec<Vec<Pattern>>,
}

/// The segments of one pattern.
type Pattern = Vec<String>;

impl Default for ReadList {
    fn default() -> Self {
        Self::new(READS_BY_POST)
    }
}

impl ReadList {
    /// A list of path patterns, as in [`READS_BY_POST`].
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Self {
        let mut by_length: Vec<Vec<Pattern>> = Vec::new();
        for pattern in patterns {
            let pattern: Pattern = pattern.trim_start_matches('/').split('/').map(str::to_owned).collect();
            if by_length.len() <= pattern.len() {
                by_length.resize(pattern.len() + 1, Vec::new());
            }
            by_length[pattern.len()].push(pattern);
        }
        Self { patterns: by_length }
    }

    /// The class of a request, from its method and its raw target.
    pub fn class(&self, method: &[u8], target: &[u8]) -> Class {
        match method {
            b"GET" | b"HEAD" | b"OPTIONS" => Class::Read,
            b"POST" if self.matches(target) => Class::Read,
            _ => Class::Write,
        }
    }

    /// Every POST comes here, so it is cheap to say no: most patterns end in a literal that few paths end in.
    fn matches(&self, target: &[u8]) -> bool {
        let path = target.split(|&byte| byte == b'?').next().unwrap_or_default();
        let Some(path) = path.strip_prefix(b"/") else { return false };
        let segments = || path.split(|&byte| byte == b'/');
        let Some(patterns) = self.patterns.get(segments().count()) else { return false };
        let last = segments().next_back().unwrap_or_default();
        patterns.iter().any(|pattern| {
            pattern.last().is_some_and(|want| fits(want, last))
                && pattern.iter().zip(segments()).all(|(want, have)| fits(want, have))
        })
    }
}

/// Whether a segment of a path is what a segment of a pattern stands for. An API name never stands for an index:
/// `_bulk/_search` is nobody's search. `_all` is every index.
fn fits(want: &str, have: &[u8]) -> bool {
    match want {
        "*" => have == b"_all" || (!have.is_empty() && have[0] != b'_'),
        literal => have == literal.as_bytes(),
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
        for target in [
            "/_search",
            "/logs-*,a/_search?size=1",
            "/_msearch",
            "/i/_mvt/geo/1/2/3",
            "/i/_explain/7",
            "/_all/_search",
            "/i/t/_count",
            "/i/_pit?keep_alive=1m",
        ] {
            assert_eq!(list.class(b"POST", target.as_bytes()), Class::Read, "{target}");
        }
    }

    /// Proves that every pattern of the list matches its own path, whatever the number of its segments, and no longer or
    /// shorter one.
    #[test]
    fn every_pattern_matches_its_own_paths_alone() {
        let list = ReadList::default();
        for pattern in READS_BY_POST {
            let path = format!("/{}", pattern.replace('*', "name"));
            assert_eq!(list.class(b"POST", path.as_bytes()), Class::Read, "{path}");
            for other in
                [format!("{path}/"), format!("{path}/1/2/3/4/5"), format!("/a/b/c/d/e{path}"), path[1..].to_owned()]
            {
                assert_eq!(list.class(b"POST", other.as_bytes()), Class::Write, "{other}");
            }
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
