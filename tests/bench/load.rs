//! The load: 64 connections that ask as fast as they are answered, or at fixed times whether answered or not.
//!
//! Answers are checked as far as they can be without costing what is measured: status 200, and a body as long as its head
//! says.

use std::{cell::RefCell, collections::VecDeque, fs, rc::Rc, sync::Arc, time::Duration};

use tidegate_tests::clock;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};

/// What one request is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    method: &'static str,
    path: &'static str,
    body_bytes: usize,
}

/// The figures of the issue: reads answered with, and writes that carry, 1 and 64 KB.
pub(crate) const CASES: [Case; 4] = [
    Case { name: "get-1k", method: "GET", path: "/1k", body_bytes: 0 },
    Case { name: "post-1k", method: "POST", path: "/small", body_bytes: 1024 },
    Case { name: "get-64k", method: "GET", path: "/64k", body_bytes: 0 },
    Case { name: "post-64k", method: "POST", path: "/small", body_bytes: 65_536 },
];

impl Case {
    /// A write with a body of that size.
    pub(crate) const fn large(body_bytes: usize) -> Self {
        Self { name: "large", method: "POST", path: "/small", body_bytes }
    }

    /// How many bytes its request has.
    pub(crate) fn bytes(self) -> usize {
        self.request().len()
    }

    fn request(self) -> Vec<u8> {
        let fields = match self.body_bytes {
            0 => String::new(),
            bytes => format!("Content-Type: application/json\r\nContent-Length: {bytes}\r\n"),
        };
        let mut bytes = format!(
            "{} {} HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench\r\nAccept: */*\r\n{fields}\r\n",
            self.method, self.path
        )
        .into_bytes();
        bytes.resize(bytes.len() + self.body_bytes, b'x');
        bytes
    }
}

/// Latencies at the quantiles people look at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Latency {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) p999: Duration,
}

impl Latency {
    /// Of what was found.
    pub(crate) fn of(mut found: Vec<Duration>) -> Self {
        found.sort_unstable();
        Self { p50: quantile(&found, 0.5), p99: quantile(&found, 0.99), p999: quantile(&found, 0.999) }
    }
}

/// What the open measurement found.
pub(crate) struct OpenResult {
    pub(crate) latency: Latency,
    /// How late the generator itself was, for one request in a hundred.
    pub(crate) late: Duration,
}

/// This process's own processor time.
pub(crate) fn own_cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("every process has one");
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    Duration::from_millis(fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10)
}

async fn connect(port: u16) -> Result<TcpStream, String> {
    let stream =
        TcpStream::connect(("127.0.0.1", port)).await.map_err(|why| format!("cannot connect to {port}: {why}"))?;
    stream.set_nodelay(true).map_err(|why| format!("cannot set TCP_NODELAY: {why}"))?;
    Ok(stream)
}

/// One request and its whole answer.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    request: &[u8],
    scratch: &mut [u8],
) -> Result<(), String> {
    stream.write_all(request).await.map_err(|why| format!("cannot send: {why}"))?;
    stream.flush().await.map_err(|why| format!("cannot send: {why}"))?;
    let mut filled = 0;
    let (head, length) = loop {
        let read = stream.read(&mut scratch[filled..]).await.map_err(|why| format!("cannot receive: {why}"))?;
        if read == 0 {
            return Err("the connection was closed before an answer".to_owned());
        }
        filled += read;
        if let Some(end) = scratch[..filled].windows(4).position(|four| four == b"\r\n\r\n") {
            let head = std::str::from_utf8(&scratch[..end]).map_err(|_| "a head that is not text".to_owned())?;
            if !head.starts_with("HTTP/1.1 200") {
                return Err(format!("answered `{}`", head.lines().next().unwrap_or_default()));
            }
            let length = head
                .lines()
                .find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
                })
                .ok_or("an answer without Content-Length")?;
            break (end + 4, length);
        }
        if filled == scratch.len() {
            return Err("a head of more than 64 KB".to_owned());
        }
    };
    let mut left = (head + length).checked_sub(filled).ok_or("more bytes than the head said")?;
    while left > 0 {
        let read = stream.read(scratch).await.map_err(|why| format!("cannot receive: {why}"))?;
        if read == 0 || read > left {
            return Err("a body of another length than the head said".to_owned());
        }
        left -= read;
    }
    Ok(())
}

/// Everyone's first error, or the sum of what they return.
async fn join(mut tasks: JoinSet<Result<u64, String>>) -> Result<u64, String> {
    let mut sum = 0;
    while let Some(ended) = tasks.join_next().await {
        sum += ended.map_err(|why| format!("a connection's task ended: {why}"))??;
    }
    Ok(sum)
}

/// Asks on `connections` connections as fast as each is answered, for `length`; the number of answers.
pub(crate) async fn closed(case: Case, port: u16, connections: usize, length: Duration) -> Result<u64, String> {
    let request: Rc<[u8]> = case.request().into();
    let mut tasks = JoinSet::new();
    let end = clock::now() + length;
    for _ in 0..connections {
        let request = Rc::clone(&request);
        tasks.spawn_local(async move {
            let (mut stream, mut scratch, mut answered) = (connect(port).await?, vec![0; 65_536], 0);
            while clock::now() < end {
                exchange(&mut stream, &request, &mut scratch).await?;
                answered += 1;
            }
            Ok(answered)
        });
    }
    join(tasks).await
}

/// Asks once.
pub(crate) async fn once(case: Case, port: u16) -> Result<(), String> {
    let (mut stream, mut scratch) = (connect(port).await?, vec![0; 65_536]);
    exchange(&mut stream, &case.request(), &mut scratch).await
}

/// Sends so many requests on each connection at once and reads nothing for `pause`, then all the answers.
pub(crate) async fn unread(
    case: Case,
    port: u16,
    connections: usize,
    count: usize,
    pause: Duration,
) -> Result<u64, String> {
    let request = String::from_utf8(case.request()).map_err(|why| why.to_string())?;
    let last = request.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    let text: Rc<str> = (request.repeat(count - 1) + &last).into();
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let text = Rc::clone(&text);
        tasks.spawn_local(async move {
            let mut stream = connect(port).await?;
            stream.write_all(text.as_bytes()).await.map_err(|why| format!("cannot send: {why}"))?;
            tokio::time::sleep(pause).await;
            let (mut scratch, mut received) = (vec![0; 65_536], 0);
            loop {
                match stream.read(&mut scratch).await {
                    Ok(0) => break,
                    Ok(read) => received += read as u64,
                    Err(why) => return Err(format!("cannot receive: {why}")),
                }
            }
            Ok(received)
        });
    }
    join(tasks).await
}

/// What is due and what has been found, shared by the connections of one thread.
#[derive(Default)]
struct Schedule {
    due: VecDeque<Instant>,
    found: Vec<Duration>,
}

/// Offers `rate` requests a second for `length`, in batches of a millisecond; whoever of the connections is free takes the
/// next one due. Time counts from when a request was due, not from when a connection got round to it, so that a proxy that
/// stops for a while cannot hide it.
pub(crate) async fn open(
    case: Case,
    port: u16,
    connections: usize,
    rate: f64,
    length: Duration,
) -> Result<OpenResult, String> {
    const TICK: Duration = Duration::from_millis(1);
    let request: Rc<[u8]> = case.request().into();
    let schedule = Rc::new(RefCell::new(Schedule::default()));
    // One permit for each request that is due; closed at the end.
    let permits = Arc::new(Semaphore::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let (request, schedule, permits) = (Rc::clone(&request), Rc::clone(&schedule), Arc::clone(&permits));
        let mut stream = connect(port).await?;
        tasks.spawn_local(async move {
            let (mut scratch, mut answered) = (vec![0; 65_536], 0);
            while let Ok(permit) = permits.acquire().await {
                permit.forget();
                let Some(due) = schedule.borrow_mut().due.pop_front() else { break };
                exchange(&mut stream, &request, &mut scratch).await?;
                schedule.borrow_mut().found.push(due.elapsed());
                answered += 1;
            }
            Ok(answered)
        });
    }
    let mut late = Vec::new();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (start, mut offered) = (ticks.tick().await, 0_u64);
    loop {
        let due = ticks.tick().await;
        late.push(due.elapsed());
        let passed = due - start;
        if passed > length {
            break;
        }
        let wanted = (passed.as_secs_f64() * rate) as u64;
        for _ in offered..wanted {
            schedule.borrow_mut().due.push_back(due);
        }
        permits.add_permits((wanted - offered) as usize);
        offered = wanted;
    }
    // What is still due is answered; then one permit more for each connection ends it.
    permits.add_permits(connections);
    let answered = join(tasks).await?;
    if answered != offered {
        return Err(format!("{offered} requests were offered and {answered} answered"));
    }
    let latency = Latency::of(std::mem::take(&mut schedule.borrow_mut().found));
    late.sort_unstable();
    Ok(OpenResult { latency, late: quantile(&late, 0.99) })
}

/// The value that a share of all values does not exceed; `sorted` ascends.
fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// Either end of a connection, encrypted or not.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// Opens connections that each make one request and then stay; with a certificate (PEM) over TLS.
pub(crate) async fn idle(
    port: u16,
    connections: usize,
    certificate: Option<Vec<u8>>,
) -> Result<Vec<Box<dyn Stream>>, String> {
    let request = CASES[0].request();
    let tls = match certificate {
        Some(pem) => Some(connector(&pem)?),
        None => None,
    };
    let mut scratch = vec![0; 65_536];
    let mut open: Vec<Box<dyn Stream>> = Vec::with_capacity(connections);
    for _ in 0..connections {
        let stream = connect(port).await?;
        let mut stream: Box<dyn Stream> = match &tls {
            None => Box::new(stream),
            Some(tls) => {
                let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
                Box::new(tls.connect(name, stream).await.map_err(|why| format!("TLS: {why}"))?)
            }
        };
        exchange(&mut stream, &request, &mut scratch).await?;
        open.push(stream);
    }
    Ok(open)
}

fn connector(pem: &[u8]) -> Result<tokio_rustls::TlsConnector, String> {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|why| format!("the certificate: {why}"))?;
        roots.add(certificate).map_err(|why| format!("the certificate: {why}"))?;
    }
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|why| format!("TLS versions: {why}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(tokio_rustls::TlsConnector::from(Arc::new(config)))
}
