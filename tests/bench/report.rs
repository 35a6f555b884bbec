//! The figures as a table for people and as JSON for programs: medians, spread, and ratios taken round by round.

use std::{fmt::Write as _, time::Duration};

use serde_json::{Value, json};

use crate::{
    Fault,
    capture::Extra,
    load::{Case, Latency},
    peers::{NAMES, Peer},
};

/// Everything that one run measured.
pub(crate) struct Report {
    /// Name, version, configuration of each peer.
    pub(crate) versions: Vec<(&'static str, String, String)>,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    /// The cases, or by name why one has no figures.
    pub(crate) cases: Vec<Result<CaseReport, (&'static str, String)>>,
    /// What only capture has.
    pub(crate) extra: Option<Extra>,
    pub(crate) idle: Vec<IdleReport>,
}

/// One case for all peers.
pub(crate) struct CaseReport {
    case: Case,
    /// Requests a second that each peer was offered in the open measurement.
    pub(crate) offered: f64,
    /// How many programs wanted all of the peer's core beside it in the closed measurement.
    pub(crate) competitors: usize,
    /// Rounds that were measured once more, since the generator or the upstream was the bottleneck.
    pub(crate) spoiled: usize,
    /// Why there is no latency, where there is none.
    late: Option<String>,
    /// In the order of the peers; ours first.
    pub(crate) peers: Vec<PeerReport>,
}

/// One peer in one case: a value a round.
#[derive(Default)]
pub(crate) struct PeerReport {
    name: &'static str,
    pub(crate) requests_per_cpu_second: Vec<f64>,
    pub(crate) latencies: Vec<Latency>,
    pub(crate) memory_bytes: Vec<u64>,
}

/// Memory before and after many idle connections.
pub(crate) struct IdleReport {
    pub(crate) peer: &'static str,
    pub(crate) tls: bool,
    pub(crate) connections: usize,
    pub(crate) before_bytes: u64,
    pub(crate) after_bytes: u64,
}

/// Median, smallest and largest.
#[derive(Clone, Copy)]
struct Spread {
    median: f64,
    low: f64,
    high: f64,
}

impl Spread {
    fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(at(middle.wrapping_sub(1)), at(middle))
        } else {
            at(middle)
        };
        Self { median, low: at(0), high: at(values.len().wrapping_sub(1)) }
    }

    fn json(self) -> Value {
        json!({ "median": rounded(self.median), "low": rounded(self.low), "high": rounded(self.high) })
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn mib(bytes: f64) -> f64 {
    bytes / 1024.0 / 1024.0
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// One of the quantiles.
type Quantile = fn(&Latency) -> Duration;

/// The quantiles by name.
const QUANTILES: [(&str, Quantile); 3] =
    [("p50", |latency| latency.p50), ("p99", |latency| latency.p99), ("p99.9", |latency| latency.p999)];

impl CaseReport {
    pub(crate) fn new(case: Case, peers: &[Peer]) -> Self {
        let peers = peers.iter().map(|peer| PeerReport { name: peer.name, ..PeerReport::default() }).collect();
        Self { case, offered: 0.0, competitors: 0, spoiled: 0, late: None, peers }
    }

    /// A round was spoiled: it is measured once more, unless that happened too often.
    pub(crate) fn spoil(&mut self, fault: Fault, spoiled_max: usize) -> Result<(), Fault> {
        match fault {
            Fault::Spoiled(_) if self.spoiled < spoiled_max => {
                self.spoiled += 1;
                Ok(())
            }
            fault => Err(fault),
        }
    }

    /// The open measurement was spoiled too often: of this case only what processor time buys is shown.
    pub(crate) fn forget_latency(&mut self, why: String) {
        self.late = Some(why);
        for peer in &mut self.peers {
            peer.latencies.clear();
            peer.memory_bytes.clear();
        }
    }

    /// Requests per processor second of the slowest peer.
    pub(crate) fn slowest(&self) -> f64 {
        self.peers
            .iter()
            .map(|peer| Spread::of(peer.requests_per_cpu_second.iter().copied()).median)
            .fold(f64::INFINITY, f64::min)
    }

    /// Ours divided by another's, round by round.
    fn ratio(&self, other: usize, value: impl Fn(&PeerReport) -> Vec<f64>) -> Spread {
        let (ours, theirs) = (value(&self.peers[0]), value(&self.peers[other]));
        Spread::of(ours.into_iter().zip(theirs).map(|(ours, theirs)| ours / theirs))
    }

    fn json(&self) -> Value {
        let mut peers = serde_json::Map::new();
        for peer in &self.peers {
            let mut latency = serde_json::Map::new();
            for (name, quantile) in QUANTILES {
                latency.insert(
                    name.to_owned(),
                    Spread::of(peer.latencies.iter().map(|found| micros(quantile(found)))).json(),
                );
            }
            peers.insert(
                peer.name.to_owned(),
                json!({
                    "requests_per_cpu_second": Spread::of(peer.requests_per_cpu_second.iter().copied()).json(),
                    "latency_us": latency,
                    "memory_mib": Spread::of(peer.memory_bytes.iter().map(|&bytes| mib(bytes as f64))).json(),
                }),
            );
        }
        let mut ratios = serde_json::Map::new();
        for (index, name) in NAMES.iter().enumerate().skip(1) {
            let mut latency = serde_json::Map::new();
            for (quantile_name, quantile) in QUANTILES {
                let ratio =
                    self.ratio(index, |peer| peer.latencies.iter().map(|found| micros(quantile(found))).collect());
                latency.insert(quantile_name.to_owned(), ratio.json());
            }
            ratios.insert(
                (*name).to_owned(),
                json!({
                    "requests_per_cpu_second": self.ratio(index, |peer| peer.requests_per_cpu_second.clone()).json(),
                    "latency": latency,
                    "memory": self.ratio(index, |peer| peer.memory_bytes.iter().map(|&bytes| bytes as f64).collect()).json(),
                }),
            );
        }
        json!({
            "case": self.case.name,
            "offered_requests_per_second": rounded(self.offered),
            "competitors": self.competitors,
            "spoiled_rounds": self.spoiled,
            "latency_not_shown": self.late,
            "peers": peers,
            "tidegate_divided_by": ratios,
        })
    }
}

impl Report {
    /// Whether every case has its figures.
    pub(crate) fn is_whole(&self) -> bool {
        self.cases.iter().all(|case| case.as_ref().is_ok_and(|case| case.late.is_none()))
    }

    /// One JSON object.
    pub(crate) fn json(&self) -> Value {
        let versions: Vec<Value> = self
            .versions
            .iter()
            .map(|(name, version, configuration)| json!({ "name": name, "version": version, "configuration": configuration }))
            .collect();
        let idle: Vec<Value> = self
            .idle
            .iter()
            .map(|idle| {
                json!({
                    "peer": idle.peer,
                    "tls": idle.tls,
                    "connections": idle.connections,
                    "before_mib": rounded(mib(idle.before_bytes as f64)),
                    "after_mib": rounded(mib(idle.after_bytes as f64)),
                })
            })
            .collect();
        json!({
            "rounds": self.rounds,
            "seconds_a_round": self.seconds,
            "connections": crate::CONNECTIONS,
            "workers": 1,
            "peers": versions,
            "cases": self.cases.iter().map(case_json).collect::<Vec<_>>(),
            "capture": self.extra.as_ref().map(Extra::json),
            "idle": idle,
        })
    }

    /// The same to read.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        for (name, version, configuration) in &self.versions {
            let configuration = configuration.trim_end().replace('\n', "\n    ");
            put(&mut text, &format!("{name}: {version}\n    {configuration}\n"));
        }
        put(
            &mut text,
            &format!(
                "\n{} rounds of {} s, interleaved; {} keep-alive connections, one worker each on a core of its own.\n\
                 Median [lowest to highest]; ratios are Tidegate divided by the other, round by round.\n",
                self.rounds,
                self.seconds,
                crate::CONNECTIONS
            ),
        );
        for case in &self.cases {
            let case = match case {
                Ok(case) => case,
                Err((name, why)) => {
                    put(&mut text, &format!("\n{name}\n  not shown: {why}\n"));
                    continue;
                }
            };
            let again = match case.spoiled {
                0 => String::new(),
                spoiled => format!(" ({spoiled} rounds measured once more: the generator or the upstream was busy)"),
            };
            put(&mut text, &format!("\n{}{again}\n", case.case.name));
            let header = ["requests per CPU-s", "p50 µs", "p99 µs", "p99.9 µs", "memory MiB"];
            put(&mut text, &format!("  {:10}", ""));
            for column in header {
                put(&mut text, &format!("{column:>32}"));
            }
            put(
                &mut text,
                &format!(
                    "   (latency at {:.0} requests a second; {} beside it on its core)\n",
                    case.offered, case.competitors
                ),
            );
            for peer in &case.peers {
                let mut cells = vec![cell(Spread::of(peer.requests_per_cpu_second.iter().copied()), 0)];
                cells.extend(QUANTILES.map(|(_, quantile)| {
                    cell(Spread::of(peer.latencies.iter().map(|found| micros(quantile(found)))), 0)
                }));
                cells.push(cell(Spread::of(peer.memory_bytes.iter().map(|&bytes| mib(bytes as f64))), 1));
                row(&mut text, peer.name, &cells);
            }
            for (index, name) in NAMES.iter().enumerate().skip(1) {
                let mut cells = vec![cell(case.ratio(index, |peer| peer.requests_per_cpu_second.clone()), 2)];
                cells.extend(QUANTILES.map(|(_, quantile)| {
                    cell(
                        case.ratio(index, |peer| peer.latencies.iter().map(|found| micros(quantile(found))).collect()),
                        2,
                    )
                }));
                cells.push(cell(
                    case.ratio(index, |peer| peer.memory_bytes.iter().map(|&bytes| bytes as f64).collect()),
                    2,
                ));
                row(&mut text, &format!("/ {name}"), &cells);
            }
            if let Some(why) = &case.late {
                put(&mut text, &format!("  latency and memory not shown: {why}\n"));
            }
        }
        if let Some(extra) = &self.extra {
            put(&mut text, &extra.table());
        }
        if !self.idle.is_empty() {
            put(&mut text, "\nidle connections that each made a request\n");
        }
        for idle in &self.idle {
            let kind = if idle.tls { "TLS" } else { "plaintext" };
            let (before, after) = (mib(idle.before_bytes as f64), mib(idle.after_bytes as f64));
            let each = (after - before) * 1024.0 / idle.connections as f64;
            put(
                &mut text,
                &format!(
                    "  {:10}{} {kind}: {after:.1} MiB ({before:.1} before, {each:.1} KiB each)\n",
                    idle.peer, idle.connections
                ),
            );
        }
        text
    }
}

fn case_json(case: &Result<CaseReport, (&'static str, String)>) -> Value {
    match case {
        Ok(case) => case.json(),
        Err((name, why)) => json!({ "case": name, "not_shown": why }),
    }
}

fn put(text: &mut String, more: &str) {
    text.write_str(more).expect("a String takes everything");
}

fn cell(spread: Spread, digits: usize) -> String {
    if spread.median.is_nan() {
        return "not shown".to_owned();
    }
    format!("{:.digits$} [{:.digits$} to {:.digits$}]", spread.median, spread.low, spread.high)
}

fn row(text: &mut String, name: &str, cells: &[String]) {
    put(text, &format!("  {name:10}"));
    for cell in cells {
        put(text, &format!("{cell:>32}"));
    }
    put(text, "\n");
}
