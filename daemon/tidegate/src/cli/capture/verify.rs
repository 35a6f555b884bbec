//! `tidegate capture verify`: is traffic captured, right now? Marked requests are sent through the capture proxy and looked
//! for in its topic.
//!
//! Four things that are easily taken for one another are told apart: whether each proxy is ready, whether the service in
//! front of them is reached, whether the application's own requests flow (a marked request that is found says nothing about
//! clients that go past the proxy), and whether the parts say themselves that they are well. Only reads are sent; they have
//! their mark in `X-Opaque-Id`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::PathBuf,
    time::Duration,
};

use proxy::capture::{
    kafka::{Options, read},
    read::{Chunk, decode::What},
};
use serde::Serialize;

use crate::{
    cli::{
        Context, Exit, Wrong,
        kafka::{Reading, Strangers},
    },
    clock,
    kafka::probes::{Asker, Probes},
    outbound::{Outbound, check_url},
    proxies::{Known, Name, Place, Proxies, each},
    secret::{self, Secret},
    trust,
};

/// How long one request may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How long the topic is left alone between two looks at it.
const PAUSE: Duration = Duration::from_millis(500);

/// The arguments of `tidegate capture verify`.
///
/// Exit code 0 when each marked request was found whole and nothing that was asked about is ill, 1 otherwise.
#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// The capture proxy as clients reach it: its service, its load balancer, or itself.
    #[arg(long, value_name = "URL")]
    url: String,

    #[command(flatten)]
    reading: Reading,

    /// How many marked requests are sent.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    requests: u16,

    /// The path that is asked for.
    #[arg(long, value_name = "PATH", default_value = "/")]
    path: String,

    /// How long is waited for them to be in the topic.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,

    /// Fail unless the application's own requests are found as well, meanwhile.
    #[arg(long)]
    expect_traffic: bool,

    /// The pods or tasks behind the service, by a name in DNS that stands for all of them, such as a headless Service's, with
    /// the port of --probes: each is asked for --ready-path. `dns://IP:PORT/NAME:PORT` asks that resolver.
    #[arg(long, value_name = "NAME:PORT")]
    pods: Option<String>,

    /// What a pod answers with 200 when it is ready.
    #[arg(long, value_name = "PATH", default_value = "/ready")]
    ready_path: String,

    /// Ask pods over TLS, as for a --health-path on the port that serves clients.
    #[arg(long, requires = "pods")]
    pods_tls: bool,

    /// A proxy's control API, which says whether its capture log works; repeatable. `dns://NAME:PORT` for all that the name
    /// stands for.
    #[arg(long, value_name = "unix:PATH|HOST:PORT|dns://NAME:PORT")]
    proxy: Vec<Place>,

    /// A file with the token of control APIs over TCP; `TIDEGATE_TOKEN` is read where there is none.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// The authorities to trust for the proxy instead of the public ones (PEM).
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Where the `Authorization` value for the requests comes from: `env:NAME` or `file:PATH`, never the value itself.
    #[arg(long, value_name = "env:NAME|file:PATH")]
    authorization: Option<String>,
}

/// One of the four.
#[derive(Debug, Serialize)]
struct Part {
    what: &'static str,
    /// `None` was not asked.
    ok: Option<bool>,
    evidence: String,
}

#[derive(Debug, Serialize)]
struct Verified {
    ok: bool,
    mark: String,
    sent: u16,
    found: u16,
    /// Whole requests of others that came into the topic meanwhile; probes of load balancers and the like are none.
    others: u64,
    /// Records that came meanwhile and that no capture proxy wrote.
    unreadable: u64,
    parts: Vec<Part>,
}

impl Verify {
    pub(super) fn run(self: Box<Self>, context: &Context) -> anyhow::Result<Exit> {
        check_url(&self.url).map_err(|why| Wrong::because(format!("--url: {why}")))?;
        let options = self.reading.options()?;
        // Before anything is sent, so that all of it lies behind.
        let from = read::ranges(&options)?.into_iter().map(|(partition, range)| (partition, range.end)).collect();
        let mark = format!("tidegate-verify-{:016x}", fastrand::u64(..));
        let (service, pods, components) = context.block_on(async {
            let service = self.service(&mark).await?;
            Ok((service, self.ready().await?, self.components().await?))
        })?;
        let mut look = Look::new(&mark, from);
        let deadline = clock::instant() + Duration::from_secs(self.wait);
        loop {
            look.once(&options, context)?;
            let enough = look.found >= self.requests && (look.others > 0 || !self.expect_traffic);
            if service.ok == Some(false) || enough || clock::instant() >= deadline {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        let found = look.found >= self.requests;
        let captured = Part {
            what: "marked requests captured",
            ok: Some(found),
            evidence: {
                let found_in = format!("{} of {} in topic `{}`", look.found, self.requests, self.reading.topic());
                let strangers = look.strangers.clause();
                if found || service.ok != Some(true) {
                    format!("{found_in}{strangers}")
                } else {
                    format!(
                        "{found_in}: the URL leads past the capture proxies, or they write elsewhere, leave `{}` out or cannot \
                         write: name --proxy to hear it from them{strangers}",
                        self.path
                    )
                }
            },
        };
        let flows = look.others > 0;
        let traffic = Part {
            what: "the application's own requests",
            ok: (flows || self.expect_traffic).then_some(flows),
            evidence: match look.others {
                0 if look.checks > 0 => {
                    format!("none came but {} health checks: clients may be silent, or go past the proxy", look.checks)
                }
                0 => "none came meanwhile: clients may be silent, or go past the proxy".to_owned(),
                others => format!("{others} came meanwhile"),
            },
        };
        let parts = vec![pods, service, captured, traffic, components];
        let ok = parts.iter().all(|part| part.ok != Some(false));
        let (found, others, unreadable) = (look.found, look.others, look.strangers.count());
        let verified = Verified { ok, mark, sent: self.requests, found, others, unreadable, parts };
        if context.json {
            context.print_json(&verified)?;
        } else {
            for Part { what, ok, evidence } in &verified.parts {
                let word = match ok {
                    Some(true) => "ok",
                    Some(false) => "NO",
                    None => "--",
                };
                context.print(&format!("{word:<3} {what:<32} {evidence}\n"))?;
            }
        }
        Ok(if ok { Exit::Done } else { Exit::Error })
    }

    /// Sends the marked requests.
    async fn service(&self, mark: &str) -> anyhow::Result<Part> {
        let authorization = self.authorization.as_deref().map(secret::read).transpose()?;
        let outbound = Outbound::by(trust::tls(self.ca.as_deref(), None)?);
        let url = format!("{}{}", self.url.trim_end_matches('/'), self.path);
        let mut statuses = BTreeMap::<String, u32>::new();
        for _ in 0..self.requests {
            let answered = ask(&outbound, &url, authorization.as_ref(), mark).await;
            *statuses.entry(answered.unwrap_or_else(|why| why)).or_default() += 1;
        }
        // Any answer says that it was reached; what the cluster says to the request is the cluster's.
        let ok = statuses.keys().all(|status| status.parse::<u16>().is_ok());
        let evidence: Vec<String> = statuses.iter().map(|(status, count)| format!("{count} × {status}")).collect();
        Ok(Part { what: "service reached", ok: Some(ok), evidence: evidence.join(", ") })
    }

    /// Asks each pod whether it is ready.
    async fn ready(&self) -> anyhow::Result<Part> {
        let what = "pods ready";
        let Some(name) = &self.pods else {
            return Ok(Part { what, ok: None, evidence: "not asked: name --pods NAME:PORT".to_owned() });
        };
        let pods = Name::of(name.strip_prefix("dns://").unwrap_or(name))?.addresses().await;
        let pods = match pods {
            Ok(pods) => pods,
            Err(why) => {
                return Ok(Part { what, ok: Some(false), evidence: format!("nobody knows which there are: {why}") });
            }
        };
        let scheme = if self.pods_tls { "https" } else { "http" };
        // A pod is asked by its address, for which no certificate is made.
        let outbound = Outbound::by(trust::tls(self.ca.as_deref(), None)?);
        let mut ill = Vec::new();
        for pod in &pods {
            let url = format!("{scheme}://{pod}{}", self.ready_path);
            match ask(&outbound, &url, None, "tidegate-ready").await {
                Ok(status) if status == "200" => {}
                Ok(answer) | Err(answer) => ill.push(format!("{pod}: {answer}")),
            }
        }
        let evidence = match ill.as_slice() {
            [] => format!("{} of {}", pods.len(), pods.len()),
            ill => format!("{} of {}; {}", pods.len() - ill.len(), pods.len(), ill.join("; ")),
        };
        Ok(Part { what, ok: Some(ill.is_empty()), evidence })
    }

    /// Asks each proxy how its capture goes.
    async fn components(&self) -> anyhow::Result<Part> {
        let what = "components healthy";
        if self.proxy.is_empty() {
            return Ok(Part { what, ok: None, evidence: "not asked: name --proxy, a control address".to_owned() });
        }
        let token = crate::cli::token(self.token_file.as_deref())?;
        let Known { remotes, failed } = Proxies::at(self.proxy.iter().cloned(), token.as_deref()).now().await;
        let mut ill: Vec<String> = failed.into_iter().collect();
        let (mut losses, mut phantoms) = (0, 0);
        for (remote, answer) in each(&remotes, |proxy| async move { proxy.status().await }).await {
            let address = remote.name();
            match answer {
                Err(error) => ill.push(error.why),
                Ok(status) if status.capture.is_empty() => ill.push(format!("{address} captures nothing")),
                Ok(status) => {
                    // Both sides have one list.
                    losses += status.capture.iter().map(|capture| capture.losses).max().unwrap_or(0);
                    phantoms += status.capture.iter().map(|capture| capture.phantoms).max().unwrap_or(0);
                    for capture in status.capture.iter().filter(|capture| !capture.works) {
                        let why = capture.failed_why.as_deref().unwrap_or("it does not say why");
                        ill.push(format!("{address}: {} of the {} does not work: {why}", capture.sink, capture.side));
                    }
                }
            }
        }
        if losses > 0 {
            ill.push(format!("{losses} lost since capture began: see the list of losses"));
        }
        let mut evidence = if ill.is_empty() { format!("{} proxies, no loss", remotes.len()) } else { ill.join("; ") };
        if phantoms > 0 {
            write!(
                evidence,
                "; {phantoms} refused that the log may have and a replay would send: see the list of losses"
            )
            .expect("a String takes everything");
        }
        Ok(Part { what, ok: Some(ill.is_empty()), evidence })
    }
}

/// The status of an answer, or why there was none.
async fn ask(outbound: &Outbound, url: &str, authorization: Option<&Secret>, mark: &str) -> Result<String, String> {
    match tokio::time::timeout(ANSWER_MAX, outbound.marked(url, authorization, mark)).await {
        Ok(Ok(answered)) => Ok(answered.status.as_u16().to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", ANSWER_MAX.as_secs())),
    }
}

/// What was seen in the topic since the requests were sent.
struct Look {
    /// What marked requests have in them.
    mark: Vec<u8>,
    /// Where the next look begins.
    from: BTreeMap<i32, i64>,
    /// Connections with a marked request that has no end yet.
    begun: BTreeSet<String>,
    probes: Probes,
    found: u16,
    /// Requests of clients without a mark.
    others: u64,
    /// Probes.
    checks: u64,
    strangers: Strangers,
}

impl Look {
    fn new(mark: &str, from: BTreeMap<i32, i64>) -> Self {
        let (mark, begun, probes) = (mark.as_bytes().to_vec(), BTreeSet::new(), Probes::new(&[]));
        Self { mark, from, begun, probes, found: 0, others: 0, checks: 0, strangers: Strangers::default() }
    }

    fn once(&mut self, options: &Options, context: &Context) -> anyhow::Result<()> {
        let mut reader = read::read(options, &self.from)?;
        while let Some(stored) = reader.next_stored().map_err(anyhow::Error::msg)? {
            self.from.insert(stored.partition, stored.offset + 1);
            if let Some(chunk) = self.strangers.read(&stored, context)? {
                self.record(&chunk);
            }
        }
        Ok(())
    }

    fn record(&mut self, chunk: &Chunk<'_>) {
        for observation in chunk.observations() {
            let asker = self.probes.see(chunk, observation.what.as_ref());
            match observation.what {
                Some(What::Read(bytes)) if memmem(bytes, &self.mark) => {
                    self.begun.insert(chunk.connection.to_owned());
                }
                Some(What::EndOfMessage { .. }) if self.begun.remove(chunk.connection) => self.found += 1,
                Some(What::EndOfMessage { .. }) if asker == Some(Asker::Probe) => self.checks += 1,
                Some(What::EndOfMessage { .. }) => self.others += 1,
                _ => {}
            }
        }
    }
}

fn memmem(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that a marked request counts once it is whole, whatever records it comes in, and others beside it as others: the
    /// topic that the Java proxy wrote, of which one request has the mark.
    #[test]
    fn marked_requests_are_told_from_others() {
        use std::io::{BufRead as _, BufReader};

        use base64::{Engine as _, engine::general_purpose::STANDARD};

        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/java-topic.b64.gz");
        let file = flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap());
        let mut look = Look::new("Expect: 100-continue", BTreeMap::new());
        let mut records = 0;
        for line in BufReader::new(file).lines() {
            let record = STANDARD.decode(line.unwrap()).unwrap();
            look.record(&Chunk::decode(&record).unwrap());
            records += 1;
        }
        assert_eq!((records, u64::from(look.found) + look.others), (120, 179));
        assert!(look.found > 0 && look.others > 100, "{} and {}", look.found, look.others);
        assert!(look.begun.is_empty());
    }
}
