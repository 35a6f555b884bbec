//! `tidegate kafka describe-topic-records --interval`: is everything captured? What comes into the topic in a while from now
//! on, beside what came to the proxies or to the load balancer before them, or beside a number.
//!
//! A request counts as captured with its end, by the time at which the proxy saw it: the interval is the one between the two
//! looks at the counters, by the proxy's own clock. The topic is read a moment later, since connections that are idle are
//! flushed about once a second. What is under way at one end weighs against what is under way at the other.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::ensure;
use cutover::{Timestamp, Window};
use proxy::{
    capture::{
        kafka::{
            Options,
            read::{self, Range},
        },
        read::{Chunk, decode::Observation},
    },
    client::Client,
    config::ControlAddress,
};
use serde::Serialize;

use super::strangers::{Strangers, clause};
use crate::{
    cli::{Context, Exit, Wrong},
    clock,
    kafka::probes::{Asker, Probes},
};

/// How long after the proxies the topic is read.
const SETTLE: Duration = Duration::from_secs(2);

/// How often a progress line says how much of the interval is over.
pub(super) const PROGRESS: Duration = Duration::from_secs(10);

/// How long a proxy may take to say its counters.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The flags of an interval.
#[derive(Debug, clap::Args)]
pub(super) struct Interval {
    /// Count what is captured in so long from now on (such as 60s), beside what is expected; exit with 1 where they differ.
    #[arg(long = "interval", id = "interval", value_name = "D", value_parser = duration, requires = "expect_from", conflicts_with_all = ["offsets_only", "last"])]
    length: Option<Duration>,

    /// What is expected: `proxy` for the requests of one side by the counters of our proxies, `alb` for those that the load
    /// balancer before them counted by CloudWatch's minutes, or a number of requests.
    #[arg(long, value_name = "proxy|alb|N", value_parser = expected, requires = "interval")]
    expect_from: Option<Expected>,

    /// By how much they may differ, in percent of what is expected.
    #[arg(long, value_name = "PERCENT", default_value = "1%", value_parser = percent, requires = "interval")]
    tolerance: f64,

    /// A proxy's control API, with --expect-from proxy; each proxy that writes into the topic is named.
    #[arg(long, value_name = "unix:PATH|HOST:PORT", requires = "interval")]
    proxy: Vec<ControlAddress>,

    /// Whose requests the topic has.
    #[arg(long, value_name = "SIDE", default_value = "source", requires = "interval")]
    side: Side,

    /// A file with the token of control APIs over TCP; `TIDEGATE_TOKEN` is read where there is none.
    #[arg(long, value_name = "FILE", requires = "interval")]
    token_file: Option<PathBuf>,

    /// The beginning of a User-Agent whose requests nobody counts, in place of those of AWS, Kubernetes and Google, as the
    /// proxies' flag of that name has it; repeatable.
    #[arg(long = "probe-agent", value_name = "TEXT", requires = "interval")]
    probe_agents: Vec<String>,

    #[cfg(feature = "aws")]
    #[command(flatten)]
    behind: super::behind::Behind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Proxy,
    #[cfg(feature = "aws")]
    Alb,
    Requests(u64),
}

/// A side of the proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Side {
    Source,
    Target,
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no interval: write seconds or minutes, such as 60s or 5m");
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).filter(|&seconds| seconds > 0).map(Duration::from_secs).ok_or_else(wrong)
}

fn expected(text: &str) -> Result<Expected, String> {
    match text {
        "proxy" => Ok(Expected::Proxy),
        #[cfg(feature = "aws")]
        "alb" => Ok(Expected::Alb),
        number => {
            let wrong = |_| format!("`{text}` is neither `proxy` nor `alb` nor a number");
            number.parse().map(Expected::Requests).map_err(wrong)
        }
    }
}

/// As a share.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches('%').trim_end().parse::<f64>().ok();
    let number = number.filter(|percent| (0.0..=100.0).contains(percent));
    number.map(|percent| percent / 100.0).ok_or_else(|| format!("`{text}` is no percentage: write 1%"))
}

/// What was captured beside what was expected.
#[derive(Debug, Serialize)]
struct Beside<'a> {
    topic: &'a str,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    captured: u64,
    /// Requests of probes, which are captured and counted nowhere.
    probes: u64,
    records: u64,
    /// Records that no capture proxy wrote.
    unreadable: u64,
    expected: u64,
    expect_from: &'static str,
    tolerance: f64,
    ok: bool,
}

impl Interval {
    /// Whether an interval is asked for.
    pub(super) fn asked(&self) -> Option<Duration> {
        self.length
    }

    pub(super) fn run(&self, interval: Duration, options: &Options, context: &Context) -> anyhow::Result<Exit> {
        let against = self.against().map_err(Wrong::because)?;
        let topic = Topic { options, agents: &self.probe_agents, context };
        let (looked, expect_from) = match against {
            Against::Proxies => (self.beside(interval, topic, None, context)?, "proxy"),
            Against::Requests(number) => (self.beside(interval, topic, Some(number), context)?, "number"),
            #[cfg(feature = "aws")]
            Against::Groups(groups) => (self.behind.look(&groups, interval, topic, context)?, "alb"),
        };
        let Looked { captured: Captured { requests, probes, records, unreadable }, seconds, expected, window } = looked;
        let beside = Beside {
            topic: &options.topic,
            seconds,
            from: window.map(|window| clock::rfc3339(window.from)),
            to: window.map(|window| clock::rfc3339(window.to)),
            captured: requests,
            probes,
            records,
            unreadable,
            expected,
            expect_from,
            tolerance: self.tolerance,
            ok: within(requests, expected, self.tolerance),
        };
        if context.json {
            context.print_json(&beside)?;
        } else {
            context.print(&table(&beside))?;
        }
        Ok(if beside.ok { Exit::Done } else { Exit::Error })
    }

    /// What the captured requests are held against, or why the flags do not say it.
    fn against(&self) -> Result<Against, String> {
        let from = self.expect_from.ok_or("say what is expected: --expect-from proxy, alb, or a number of requests")?;
        if (from == Expected::Proxy) == self.proxy.is_empty() {
            let both = "--expect-from proxy and --proxy go together";
            return Err(format!("{both}: name the control API of each proxy that writes into the topic"));
        }
        #[cfg(feature = "aws")]
        if let (true, Some(flag)) = (from != Expected::Alb, self.behind.given()) {
            return Err(format!("{flag} means something with --expect-from alb alone"));
        }
        Ok(match from {
            Expected::Proxy => Against::Proxies,
            Expected::Requests(number) => Against::Requests(number),
            #[cfg(feature = "aws")]
            Expected::Alb => Against::Groups(self.behind.groups(self.side)?),
        })
    }

    /// What comes into the topic and to the proxies from now on; a number that is given stands for the latter.
    fn beside(
        &self,
        interval: Duration,
        topic: Topic<'_>,
        number: Option<u64>,
        context: &Context,
    ) -> anyhow::Result<Looked> {
        let clients = self.clients()?;
        let began = clock::instant();
        // Before the counters: what is seen after them comes behind these places.
        let first = topic.ends()?;
        let before = self.counted(&clients, context)?;
        loop {
            let left = interval.saturating_sub(began.elapsed());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(PROGRESS));
            let over = began.elapsed().min(interval).as_secs();
            context.say(&format!("{over} of {} s are over", interval.as_secs()))?;
        }
        let after = self.counted(&clients, context)?;
        let captured = topic.captured(&first, before.at..after.at)?;
        let expected = match number {
            Some(number) => number,
            None => came(&before.proxies, &after.proxies)?,
        };
        Ok(Looked { captured, seconds: after.at.since(before.at).as_secs_f64(), expected, window: None })
    }

    fn clients(&self) -> anyhow::Result<Vec<Client>> {
        let token = crate::cli::token(self.token_file.as_deref())?;
        Ok(self.proxy.iter().map(|address| Client::new(address.clone(), token.clone(), ANSWER_MAX)).collect())
    }

    /// What the proxies have counted, and when.
    fn counted(&self, clients: &[Client], context: &Context) -> anyhow::Result<Counted> {
        context.block_on(async {
            let mut counted = Counted { at: clock::now(), proxies: Vec::new() };
            for client in clients {
                let counters = client.counters().await?;
                let side = match self.side {
                    Side::Source => &counters.source,
                    Side::Target => &counters.target,
                };
                if counted.proxies.is_empty() {
                    counted.at = Timestamp(counters.at_millis);
                }
                counted.proxies.push((counters.instance, side.reads.requests + side.writes.requests));
            }
            Ok(counted)
        })
    }
}

/// What the captured requests are held against.
#[derive(Debug, PartialEq, Eq)]
enum Against {
    Proxies,
    Requests(u64),
    #[cfg(feature = "aws")]
    Groups(super::behind::Groups),
}

/// What was seen of a time.
pub(super) struct Looked {
    pub(super) captured: Captured,
    pub(super) seconds: f64,
    pub(super) expected: u64,
    /// From when to when, where that is not from the call on.
    pub(super) window: Option<Window>,
}

/// What a topic has of a time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Captured {
    pub(super) requests: u64,
    probes: u64,
    records: u64,
    unreadable: u64,
}

/// The topic that is looked at.
#[derive(Clone, Copy)]
pub(super) struct Topic<'a> {
    options: &'a Options,
    /// The beginnings of the `User-Agent` of probes, if not the usual ones.
    agents: &'a [String],
    /// To whom a stranger's records are told.
    context: &'a Context,
}

impl Topic<'_> {
    /// Where the partitions end now.
    pub(super) fn ends(self) -> anyhow::Result<BTreeMap<i32, i64>> {
        Ok(read::ranges(self.options)?.into_iter().map(|(partition, range)| (partition, range.end)).collect())
    }

    /// What came behind `first` and was seen within a time that is just over.
    pub(super) fn captured(
        self,
        first: &BTreeMap<i32, i64>,
        within: std::ops::Range<Timestamp>,
    ) -> anyhow::Result<Captured> {
        std::thread::sleep(SETTLE);
        let wanted = self.ends()?.into_iter().map(|(partition, end)| {
            // A partition that is new began within the interval.
            (partition, Range { first: first.get(&partition).copied().unwrap_or(0), end })
        });
        let mut reader = read::read_within(self.options, &wanted.collect())?;
        let mut probes = Probes::new(self.agents);
        let (mut captured, mut strangers) = (Captured::default(), Strangers::default());
        while let Some(stored) = reader.next_stored().map_err(anyhow::Error::msg)? {
            if let Some(chunk) = strangers.read(&stored, self.context)? {
                captured.add(&chunk, &mut probes, &within);
            }
        }
        captured.unreadable = strangers.count();
        Ok(captured)
    }
}

impl Captured {
    /// Takes the next record; what ended in it within the time is counted.
    fn add(&mut self, chunk: &Chunk<'_>, probes: &mut Probes, within: &std::ops::Range<Timestamp>) {
        self.records += 1;
        for seen in chunk.observations() {
            match probes.see(chunk, seen.what.as_ref()).filter(|_| within.contains(&millis(&seen))) {
                Some(Asker::Client) => self.requests += 1,
                Some(Asker::Probe) => self.probes += 1,
                None => {}
            }
        }
    }
}

/// When the proxy saw it.
fn millis(seen: &Observation<'_>) -> Timestamp {
    Timestamp(seen.at.seconds().saturating_mul(1000).saturating_add(i64::from(seen.at.nanos() / 1_000_000)))
}

/// A look at the proxies.
struct Counted {
    /// When, by the clock of the first; by ours where there is none.
    at: Timestamp,
    /// The instance of each, and how many requests of the side it has had.
    proxies: Vec<(String, u64)>,
}

/// How many requests came between two looks at the proxies.
fn came(before: &[(String, u64)], after: &[(String, u64)]) -> anyhow::Result<u64> {
    let mut came = 0;
    for ((instance, before), (now, after)) in before.iter().zip(after) {
        ensure!(instance == now, "a proxy started again meanwhile, and counts from zero: ask once more");
        came += after - before;
    }
    Ok(came)
}

/// Whether they agree. Where nothing came nothing is shown.
fn within(captured: u64, expected: u64, tolerance: f64) -> bool {
    expected > 0 && captured.abs_diff(expected) as f64 <= expected as f64 * tolerance
}

fn table(beside: &Beside<'_>) -> String {
    let Beside { topic, seconds, captured, records, expected, expect_from, tolerance, ok, .. } = beside;
    let verdict = match (expected, ok) {
        (0, _) => "NO: no request came, so nothing is shown".to_owned(),
        (_, true) => "ok".to_owned(),
        (_, false) => format!("NO: they differ by more than {} %", tolerance * 100.0),
    };
    let share =
        if *expected > 0 { format!("{:.2} %", *captured as f64 * 100.0 / *expected as f64) } else { "-".into() };
    let by = match (*expect_from, &beside.from, &beside.to) {
        ("alb", Some(from), Some(to)) => format!("the load balancer's count from {from} to {to}"),
        ("proxy", ..) => "the proxies' counters".to_owned(),
        _ => "the number given".to_owned(),
    };
    let probes = match beside.probes {
        0 => String::new(),
        probes => format!("; {probes} captured probes are left out"),
    };
    let strange = clause(beside.unreadable);
    format!(
        "{:<30} {:<8} {:<10} {:<10} {:<10} {:<10} VERDICT\n{topic:<30} {:<8} {records:<10} {captured:<10} {expected:<10} \
         {share:<10} {verdict}\nexpected by {by}{probes}{strange}\n",
        "TOPIC",
        "SECONDS",
        "RECORDS",
        "CAPTURED",
        "EXPECTED",
        "SHARE",
        seconds.round(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that captured and expected agree up to the tolerance on both sides, and that nothing is no agreement.
    #[test]
    fn they_agree_up_to_the_tolerance() {
        assert!(within(1000, 1000, 0.0) && within(990, 1000, 0.01) && within(1010, 1000, 0.01));
        assert!(!within(989, 1000, 0.01) && !within(1011, 1000, 0.01) && !within(0, 1000, 0.5));
        assert!(!within(0, 0, 1.0), "where nothing came nothing is shown");
    }

    /// Proves that counters are taken as what they rose by, over all proxies, and not across a restart.
    #[test]
    fn a_restart_is_not_taken_for_requests() {
        let look = |one: (&str, u64), two: (&str, u64)| vec![(one.0.to_owned(), one.1), (two.0.to_owned(), two.1)];
        assert_eq!(came(&look(("a", 5), ("b", 7)), &look(("a", 15), ("b", 7))).unwrap(), 10);
        let error = came(&look(("a", 5), ("b", 7)), &look(("a", 5), ("c", 9))).unwrap_err().to_string();
        assert!(error.contains("started again meanwhile"), "{error}");
    }

    /// Proves that a request counts by the time of its end, the first moment of the time included and the last one not.
    #[test]
    fn a_request_counts_with_its_end() {
        use proxy::capture::record::{Index, Observation as Seen, Opening, Version, observe, open, seal};
        use proxy::capture::{ConnectionId, NodeId, Timestamp as At};

        let (connection, node) = (ConnectionId::new("a").unwrap(), NodeId::random(7));
        let opening = Opening { connection: &connection, node: &node, prior_requests: 0, unterminated_read: false };
        let mut bytes = Vec::new();
        open(Version::V3_3_6, &mut bytes, &opening);
        for second in [9, 10, 19, 20] {
            observe(&mut bytes, At::new(second - 5, 0), &Seen::Read([b"GET / HTTP/1.1\r\n\r\n", b""]));
            observe(&mut bytes, At::new(second, 0), &Seen::EndOfMessage { first_line: -1, headers: -1 });
        }
        seal(&mut bytes, Index::Number(1));
        let mut captured = Captured::default();
        let within = Timestamp(10_000)..Timestamp(20_000);
        captured.add(&Chunk::decode(&bytes).unwrap(), &mut Probes::new(&[]), &within);
        assert_eq!((captured.requests, captured.probes, captured.records), (2, 0, 1));
    }

    /// Proves what can be said, and what is refused.
    #[test]
    fn intervals_and_shares_are_read() {
        assert_eq!((duration("60s"), duration("2m")), (Ok(Duration::from_mins(1)), Ok(Duration::from_mins(2))));
        for wrong in ["60", "s", "0s", "1h", "-1s", ""] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!((expected("proxy"), expected("120")), (Ok(Expected::Proxy), Ok(Expected::Requests(120))));
        #[cfg(feature = "aws")]
        assert_eq!(expected("alb"), Ok(Expected::Alb));
        assert!(expected("nlb").is_err() && expected("-1").is_err());
        assert_eq!((percent("1%"), percent("0.5 %"), percent("5")), (Ok(0.01), Ok(0.005), Ok(0.05)));
        assert!(percent("101%").is_err() && percent("few").is_err() && percent("NaN").is_err());
    }
}
