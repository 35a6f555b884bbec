//! `tests/bench/listener`: Tidegate's listener paired with nginx and haproxy; `tests/bench/capture`: the same with all traffic
//! captured to a broker.
//!
//! Two measurements a case, each in rounds that visit every proxy in turn, so that a slow minute of the machine hits all of
//! them alike. *Closed*: 64 keep-alive connections ask as fast as they are answered while another program competes for the
//! proxy's core, so that the proxy is the bottleneck and no one else is; what counts is requests per second of the proxy's
//! own processor time. *Open*: the same number of requests a second for all, whether answered or not; what counts is the
//! time from when a request was due. A round in which the generator or the upstream had no processor time left says
//! nothing about the proxies: it is measured once more, for all of them, and when that does not help the figure is not
//! printed, but why it is not. A broker shares that core with them, at the lowest priority, so before the rounds of a case
//! it is found out how little of its core the proxies may have, and how many requests a second they may be offered, that
//! this core has time left, for all of them alike.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program whose output is its result")]

mod capture;
mod load;
mod peers;
mod report;

use std::{env, path::PathBuf, process::ExitCode, time::Duration};

use load::{Case, OpenResult};
use peers::Peer;
use report::{CaseReport, IdleReport, Report};
use tidegate_tests::{
    clock,
    servers::{Process, kafka::Broker},
};

/// Connections that ask at the same time.
const CONNECTIONS: usize = 64;

/// How much of their core's time the generator, the upstream and the broker may use together before a figure says more
/// about them.
const BUSY_MAX: f64 = 0.95;

/// The same where latency counts: whoever waits for that core is late, too, and the broker is at work for one proxy alone.
const BUSY_OPEN_MAX: f64 = 0.5;

/// The offered load of the open measurement, as a share of what the slowest proxy can do with a core of its own; half of
/// it, and so on, where the generator's core has no time left.
const OFFERED: f64 = 0.5;

/// How often that is halved.
const HALVINGS_MAX: u32 = 5;

/// How many competitors a proxy has on its core at most: they are doubled until nobody else is the bottleneck.
const COMPETITORS_MAX: usize = 16;

/// How long it is tried whether anybody else is.
const PROBE: Duration = Duration::from_millis(700);

/// Later than this for one request in a hundred, the generator itself was kept waiting for a core.
const GENERATOR_LATE_MAX: Duration = Duration::from_millis(5);

/// What the command line asks for.
struct Options {
    binary: PathBuf,
    json: bool,
    rounds: usize,
    seconds: f64,
    cases: Vec<Case>,
    idle: usize,
    capture: bool,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        binary: PathBuf::from("tidegate"),
        json: false,
        rounds: 5,
        seconds: 4.0,
        cases: load::CASES.to_vec(),
        idle: 10_000,
        capture: false,
    };
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        let number = |text: String| text.parse::<f64>().map_err(|_| format!("`{text}` is not a number"));
        match argument.as_str() {
            "--json" => options.json = true,
            "--capture" => options.capture = true,
            "--binary" => options.binary = PathBuf::from(value()?),
            "--rounds" => options.rounds = number(value()?)? as usize,
            "--seconds" => options.seconds = number(value()?)?,
            "--idle" => options.idle = number(value()?)? as usize,
            "--cases" => {
                let names = value()?;
                options.cases =
                    load::CASES.iter().filter(|case| names.split(',').any(|name| name == case.name)).copied().collect();
                if options.cases.is_empty() {
                    return Err(format!("no case named `{names}`; there are get-1k, post-1k, get-64k, post-64k"));
                }
            }
            _ => return Err(format!("unknown argument `{argument}`")),
        }
    }
    if options.rounds == 0 || options.seconds < 0.5 {
        return Err("at least one round of at least half a second".to_owned());
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(why) => {
            eprintln!("tests/bench/listener: {why}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let local = tokio::task::LocalSet::new();
    match local.block_on(&runtime, measure(&options, folder.path())) {
        Ok(report) => {
            if options.json {
                println!("{}", report.json());
            } else {
                println!("{}", report.table());
            }
            // What could not be measured was not printed, and whoever runs this from a script shall know.
            if report.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(why) => {
            eprintln!("tests/bench/listener: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Everything: first the cases, then the idle connections.
async fn measure(options: &Options, folder: &std::path::Path) -> Result<Report, String> {
    let upstream = peers::upstream(folder);
    let broker = options.capture.then(|| capture::broker(folder));
    let brokers = broker.as_ref().map(Broker::plaintext);
    let mut running = peers::all(folder, &options.binary, &upstream.ports, brokers.as_deref());
    let versions = peers::versions(&running);
    let mut cases = Vec::new();
    let beside = Beside { upstream: &upstream.process, broker: broker.as_ref().map(|broker| &broker.process) };
    for case in &options.cases {
        cases.push(match measure_case(options, *case, &running, &beside).await {
            Ok(report) => Ok(report),
            Err(Fault::Spoiled(why)) => Err((case.name, why)),
            Err(Fault::Broken(why)) => return Err(why),
        });
    }
    let extra = match &broker {
        Some(broker) => {
            progress(options, "writes beside the broker, busy connections, one large request, somebody slow");
            let length = Duration::from_secs_f64(options.seconds);
            Some(capture::measure(broker, &upstream.process, &running, length).await?)
        }
        None => None,
    };
    let mut idle = Vec::new();
    if options.idle > 0 {
        for tls in [false, true] {
            for peer in &mut running {
                progress(
                    options,
                    &format!("{} idle connections{}: {}", options.idle, if tls { ", TLS" } else { "" }, peer.name),
                );
                idle.push(idle_memory(peer, options.idle, tls, folder).await?);
            }
        }
    }
    Ok(Report { versions, rounds: options.rounds, seconds: options.seconds, cases, extra, idle })
}

/// One case: first closed, then open.
async fn measure_case(
    options: &Options,
    case: Case,
    running: &[Peer],
    beside: &Beside<'_>,
) -> Result<CaseReport, Fault> {
    let length = Duration::from_secs_f64(options.seconds);
    let mut report = CaseReport::new(case, running);
    // One unmeasured second each: pools fill, files are cached, code is paged in.
    for peer in running {
        load::closed(case, peer.port, CONNECTIONS, Duration::from_secs(1)).await.map_err(Fault::Broken)?;
    }
    report.competitors = crowd(case, running, beside).await?;
    let mut round = 0;
    while round < options.rounds {
        let mut found = Vec::new();
        for peer in running {
            progress(
                options,
                &format!("{} closed, round {} of {}: {}", case.name, round + 1, options.rounds, peer.name),
            );
            match closed(case, peer, beside, report.competitors, length).await {
                Ok(efficiency) => found.push(efficiency),
                Err(fault) => {
                    report.spoil(fault, options.rounds)?;
                    break;
                }
            }
        }
        if found.len() == running.len() {
            report.peers.iter_mut().zip(found).for_each(|(peer, found)| peer.requests_per_cpu_second.push(found));
            round += 1;
        }
    }
    let rate = match bearable(case, running, beside, OFFERED * report.slowest()).await {
        Ok(rate) => rate,
        Err(Fault::Spoiled(why)) => {
            report.forget_latency(why);
            return Ok(report);
        }
        Err(fault) => return Err(fault),
    };
    report.offered = rate;
    round = 0;
    while round < options.rounds {
        let mut found = Vec::new();
        for peer in running {
            progress(options, &format!("{} open, round {} of {}: {}", case.name, round + 1, options.rounds, peer.name));
            match open(case, peer, beside, rate, length).await {
                Ok(result) => found.push((result.latency, peer.process.usage().memory_bytes)),
                Err(fault) => match report.spoil(fault, options.rounds) {
                    Err(Fault::Spoiled(why)) => {
                        report.forget_latency(why);
                        return Ok(report);
                    }
                    spoiled => {
                        spoiled?;
                        break;
                    }
                },
            }
        }
        if found.len() == running.len() {
            for (peer, (latency, memory)) in report.peers.iter_mut().zip(found) {
                peer.latencies.push(latency);
                peer.memory_bytes.push(memory);
            }
            round += 1;
        }
    }
    Ok(report)
}

/// Why a round has no figure.
pub(crate) enum Fault {
    /// The generator or the upstream was the bottleneck, or kept waiting.
    Spoiled(String),
    /// Something does not work.
    Broken(String),
}

fn progress(options: &Options, text: &str) {
    if !options.json {
        eprintln!("{text}");
    }
}

/// Why one of these probes, each of another peer, has no figure; `None` where all have one.
async fn spoiled<T>(
    probes: impl Iterator<Item = impl Future<Output = Result<T, Fault>>>,
) -> Result<Option<String>, Fault> {
    let mut spoiled = None;
    for probe in probes {
        match probe.await {
            Ok(_) => {}
            Err(Fault::Spoiled(why)) => spoiled = Some(why),
            Err(fault) => return Err(fault),
        }
    }
    Ok(spoiled)
}

/// How many competitors make every proxy the bottleneck.
async fn crowd(case: Case, running: &[Peer], beside: &Beside<'_>) -> Result<usize, Fault> {
    let mut competitors = peers::COMPETITORS;
    loop {
        match spoiled(running.iter().map(|peer| closed(case, peer, beside, competitors, PROBE))).await? {
            None => return Ok(competitors),
            Some(why) if competitors >= COMPETITORS_MAX => return Err(Fault::Spoiled(why)),
            Some(_) => competitors *= 2,
        }
    }
}

/// How many requests a second, `rate` at most, leave the generator's core time with every proxy.
async fn bearable(case: Case, running: &[Peer], beside: &Beside<'_>, mut rate: f64) -> Result<f64, Fault> {
    let mut halvings = 0;
    loop {
        match spoiled(running.iter().map(|peer| open(case, peer, beside, rate, PROBE))).await? {
            None => return Ok(rate),
            Some(why) if halvings >= HALVINGS_MAX => return Err(Fault::Spoiled(why)),
            Some(_) => (rate, halvings) = (rate / 2.0, halvings + 1),
        }
    }
}

/// Requests per second of the proxy's processor time, with the proxy as the bottleneck.
async fn closed(
    case: Case,
    peer: &Peer,
    beside: &Beside<'_>,
    competitors: usize,
    length: Duration,
) -> Result<f64, Fault> {
    let competitors = peers::competitors(peer, competitors);
    let (before, busy) = (peer.process.usage(), beside.start());
    let requests = load::closed(case, peer.port, CONNECTIONS, length).await.map_err(Fault::Broken)?;
    let used = peer.process.usage().cpu.saturating_sub(before.cpu);
    busy.check(peer, BUSY_MAX)?;
    drop(competitors);
    if used.is_zero() {
        return Err(Fault::Spoiled(format!("{} got no processor time at all: the machine is busy", peer.name)));
    }
    Ok(requests as f64 / used.as_secs_f64())
}

/// Latency at a given number of requests a second.
async fn open(case: Case, peer: &Peer, beside: &Beside<'_>, rate: f64, length: Duration) -> Result<OpenResult, Fault> {
    let busy = beside.start();
    let result = load::open(case, peer.port, CONNECTIONS, rate, length).await.map_err(Fault::Broken)?;
    busy.check(peer, BUSY_OPEN_MAX)?;
    if result.late > GENERATOR_LATE_MAX {
        return Err(Fault::Spoiled(format!(
            "{}: the generator was {:?} late for one request in a hundred, so it was saturated or the machine is busy",
            peer.name, result.late
        )));
    }
    Ok(result)
}

/// Who shares a core with the generator.
struct Beside<'a> {
    upstream: &'a Process,
    broker: Option<&'a Process>,
}

impl Beside<'_> {
    fn start(&self) -> Busy<'_> {
        let before = self.used();
        Busy { start: clock::now(), before, beside: self }
    }

    fn used(&self) -> Duration {
        self.upstream.usage().cpu + self.broker.map_or(Duration::ZERO, |broker| broker.usage().cpu) + load::own_cpu()
    }
}

/// How busy that core is.
struct Busy<'a> {
    start: std::time::Instant,
    before: Duration,
    beside: &'a Beside<'a>,
}

impl Busy<'_> {
    fn check(&self, peer: &Peer, max: f64) -> Result<(), Fault> {
        let used = self.beside.used().saturating_sub(self.before).as_secs_f64();
        let share = used / self.start.elapsed().as_secs_f64();
        if share > max {
            return Err(Fault::Spoiled(format!(
                "{}: generator, upstream and broker used {:.0} % of their core, so the figure would be theirs",
                peer.name,
                share * 100.0
            )));
        }
        Ok(())
    }
}

/// Memory with many connections that each made one request and then idle.
async fn idle_memory(
    peer: &mut Peer,
    connections: usize,
    tls: bool,
    folder: &std::path::Path,
) -> Result<IdleReport, String> {
    peer.restart(folder, tls);
    let connections = connections.min(peer.connections_max());
    let before = peer.process.usage().memory_bytes;
    let open = load::idle(peer.port, connections, tls.then(|| peers::certificate(folder))).await?;
    // What the proxy gives back when a connection idles, it gives back within this time.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let usage = peer.process.usage();
    if usage.descriptors < connections {
        return Err(format!(
            "{}: {} descriptors open for {connections} idle connections",
            peer.name, usage.descriptors
        ));
    }
    drop(open);
    Ok(IdleReport { peer: peer.name, tls, connections, before_bytes: before, after_bytes: usage.memory_bytes })
}
