//! What the demo's clients ask and what its clusters answer: the shop behind a search box.
//!
//! Everything is drawn from a seeded generator, so that a seed gives the same run again. The bodies look like those of
//! OpenSearch, in shape and in size, because a relay that is shown only empty answers is not shown at all.

use std::fmt::Write as _;

use bytes::Bytes;
use fastrand::Rng;
use http::Method;

/// Searches among a hundred requests; the rest are bulk writes and lookups, as behind a shop.
const SEARCHES_PER_CENT: u32 = 72;
/// Lookups of one document among a hundred requests; what is left are bulk writes.
const LOOKUPS_PER_CENT: u32 = 16;
/// The most hits of one answer.
const HITS_MAX: usize = 10;
/// The most documents of one bulk request.
const BULK_DOCUMENTS_MAX: usize = 40;
/// How many different answers there are of a kind.
const VARIANTS: usize = 32;

const MAKERS: [&str; 12] =
    ["Alto", "Brunnen", "Cresta", "Dorn", "Elbe", "Fjell", "Garda", "Halde", "Inn", "Jura", "Kaiser", "Lauter"];
const KINDS: [&str; 12] = [
    "boot",
    "jacket",
    "tent",
    "stove",
    "rope",
    "headlamp",
    "backpack",
    "sleeping bag",
    "bottle",
    "compass",
    "axe",
    "mat",
];
const TRAITS: [&str; 12] = [
    "light",
    "warm",
    "waterproof",
    "folding",
    "alpine",
    "winter",
    "two-person",
    "ultralight",
    "recycled",
    "wide",
    "classic",
    "fast",
];

/// What a request is, as the shop's developers would say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `POST /products/_search`: a read, though it is a POST.
    Search,
    /// `GET /products/_doc/ID`.
    Lookup,
    /// `POST /_bulk`: a write of many documents.
    Bulk,
}

/// One request of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What it is.
    pub kind: Kind,
    /// Its method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Its body; empty for a lookup.
    pub body: Bytes,
}

/// The next request of a client.
pub fn ask(rng: &mut Rng) -> Ask {
    let die = rng.u32(0..100);
    if die < SEARCHES_PER_CENT {
        let query = serde_json::json!({
            "query": {"bool": {
                "must": [{"multi_match": {"query": format!("{} {}", pick(rng, &TRAITS), pick(rng, &KINDS)), "fields": ["title^3", "text"]}}],
                "filter": [{"range": {"price": {"lte": rng.u32(20..900)}}}, {"term": {"in_stock": true}}],
            }},
            "size": rng.usize(1..=HITS_MAX),
            "aggs": {"maker": {"terms": {"field": "maker"}}},
        });
        let body = Bytes::from(query.to_string());
        Ask { kind: Kind::Search, method: Method::POST, path: "/products/_search".to_owned(), body }
    } else if die < SEARCHES_PER_CENT + LOOKUPS_PER_CENT {
        let path = format!("/products/_doc/{}", rng.u32(0..500_000));
        Ask { kind: Kind::Lookup, method: Method::GET, path, body: Bytes::new() }
    } else {
        let mut body = String::new();
        for _ in 0..rng.usize(1..=BULK_DOCUMENTS_MAX) {
            let id = rng.u32(0..500_000);
            // Writing to a `String` cannot fail.
            let _ = writeln!(body, r#"{{"index":{{"_index":"products","_id":"{id}"}}}}"#);
            let _ = writeln!(body, "{}", document(rng, id));
        }
        Ask { kind: Kind::Bulk, method: Method::POST, path: "/_bulk".to_owned(), body: Bytes::from(body) }
    }
}

/// Every answer a healthy cluster can give, made once: a server of the demo shall cost little beside what it shows.
#[derive(Debug)]
pub struct Answers {
    /// By how many hits were asked for, some of each.
    searches: Vec<Vec<Bytes>>,
    lookups: Vec<Bytes>,
    /// By how many documents were sent.
    bulks: Vec<Bytes>,
    other: Bytes,
}

impl Answers {
    /// The answers of a cluster, decided by `rng`.
    pub fn new(rng: &mut Rng) -> Self {
        let bytes = |value: serde_json::Value| Bytes::from(value.to_string());
        Self {
            searches: (0..=HITS_MAX)
                .map(|size| (0..VARIANTS).map(|_| bytes(search_answer(rng, size))).collect())
                .collect(),
            lookups: (0..VARIANTS).map(|_| bytes(lookup_answer(rng))).collect(),
            bulks: (0..=BULK_DOCUMENTS_MAX).map(|documents| bytes(bulk_answer(documents))).collect(),
            other: Bytes::from_static(
                br#"{"name":"demo","cluster_name":"demo","tagline":"a cluster of the tidegate demo"}"#,
            ),
        }
    }

    /// What is answered to a path; `request` is the body it was sent.
    pub fn to(&self, rng: &mut Rng, path: &str, request: &[u8]) -> Bytes {
        let mut one = |variants: &[Bytes]| variants[rng.usize(0..variants.len())].clone();
        if path.contains("/_search") {
            one(&self.searches[asked_hits(request)])
        } else if path.contains("/_bulk") {
            // Two lines a document: the action, then the source.
            let documents = request.split_inclusive(|&byte| byte == b'\n').count() / 2;
            self.bulks[documents.min(self.bulks.len() - 1)].clone()
        } else if path.contains("/_doc/") {
            one(&self.lookups)
        } else {
            self.other.clone()
        }
    }
}

/// How many hits a search asks for, at most [`HITS_MAX`].
fn asked_hits(request: &[u8]) -> usize {
    #[derive(serde::Deserialize)]
    struct Query {
        size: usize,
    }
    serde_json::from_slice::<Query>(request).map_or(HITS_MAX, |query| query.size).min(HITS_MAX)
}

/// What a broken cluster says.
pub fn failure() -> Bytes {
    Bytes::from_static(
        br#"{"error":{"type":"circuit_breaking_exception","reason":"[parent] Data too large"},"status":500}"#,
    )
}

fn search_answer(rng: &mut Rng, size: usize) -> serde_json::Value {
    let hits: Vec<_> = (0..size)
        .map(|rank| {
            let id = rng.u32(0..500_000);
            let score = 12.0 - rank as f64 - rng.f64();
            serde_json::json!({"_index": "products", "_id": id.to_string(), "_score": score, "_source": document(rng, id)})
        })
        .collect();
    serde_json::json!({
        "took": rng.u32(2..20),
        "timed_out": false,
        "_shards": {"total": 5, "successful": 5, "skipped": 0, "failed": 0},
        "hits": {"total": {"value": rng.u32(10..9_000), "relation": "eq"}, "hits": hits},
        "aggregations": {"maker": {"buckets": MAKERS.map(|maker| serde_json::json!({"key": maker, "doc_count": rng.u32(0..800)}))}},
    })
}

fn lookup_answer(rng: &mut Rng) -> serde_json::Value {
    let id = rng.u32(0..500_000);
    serde_json::json!({"_index": "products", "_id": id.to_string(), "found": true, "_source": document(rng, id)})
}

fn bulk_answer(documents: usize) -> serde_json::Value {
    let items: Vec<_> = (0..documents)
        .map(|item| serde_json::json!({"index": {"_index": "products", "_seq_no": item, "result": "updated", "status": 200}}))
        .collect();
    serde_json::json!({"took": 12, "errors": false, "items": items})
}

fn document(rng: &mut Rng, id: u32) -> serde_json::Value {
    let title = format!("{} {} {}", pick(rng, &MAKERS), pick(rng, &TRAITS), pick(rng, &KINDS));
    let text = format!("A {} {} for {} days out.", pick(rng, &TRAITS), pick(rng, &KINDS), pick(rng, &TRAITS));
    serde_json::json!({
        "sku": format!("P-{id:06}"),
        "title": title,
        "text": text,
        "price": f64::from(rng.u32(500..90_000)) / 100.0,
        "in_stock": rng.bool(),
    })
}

fn pick(rng: &mut Rng, words: &[&'static str; 12]) -> &'static str {
    words[rng.usize(0..words.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(seed: u64) -> Vec<Ask> {
        let mut rng = Rng::with_seed(seed);
        (0..500).map(|_| ask(&mut rng)).collect()
    }

    /// Proves that a seed decides every byte a client sends, and that another seed decides otherwise.
    #[test]
    fn a_seed_gives_the_same_requests_again() {
        assert_eq!(asks(7), asks(7));
        assert_ne!(asks(7), asks(8));
    }

    /// Proves that the mix is mostly searches, with lookups and bulk writes among them.
    #[test]
    fn the_mix_has_searches_lookups_and_bulk() {
        let asks = asks(1);
        let share = |kind| asks.iter().filter(|ask| ask.kind == kind).count() as f64 / asks.len() as f64;
        assert!((0.62..0.82).contains(&share(Kind::Search)), "searches: {}", share(Kind::Search));
        assert!((0.08..0.25).contains(&share(Kind::Lookup)), "lookups: {}", share(Kind::Lookup));
        assert!((0.05..0.20).contains(&share(Kind::Bulk)), "bulk: {}", share(Kind::Bulk));
    }

    /// Proves that an answer belongs to its request: as many hits as asked for, as many items as documents sent.
    #[test]
    fn an_answer_fits_its_request() {
        let mut rng = Rng::with_seed(3);
        let answers = Answers::new(&mut rng);
        for _ in 0..200 {
            let ask = ask(&mut rng);
            let body = answers.to(&mut rng, &ask.path, &ask.body);
            let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
            match ask.kind {
                Kind::Search => {
                    let asked: serde_json::Value = serde_json::from_slice(&ask.body).unwrap();
                    assert_eq!(
                        answer["hits"]["hits"].as_array().unwrap().len() as u64,
                        asked["size"].as_u64().unwrap()
                    );
                }
                Kind::Bulk => {
                    let lines = ask.body.split_inclusive(|&byte| byte == b'\n').count();
                    assert_eq!(answer["items"].as_array().unwrap().len(), lines / 2);
                    assert_eq!(answer["errors"], false);
                }
                Kind::Lookup => assert_eq!(answer["found"], true),
            }
        }
    }
}
