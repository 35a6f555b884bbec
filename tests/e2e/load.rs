//! A keep-alive pool that records each answer: when it was asked for, when it came, who gave it, and how it failed.
//!
//! A thread a connection, blocking, so that nothing stands between the socket and the record. Answers are read to their
//! last byte; anything short of that is a failure.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tidegate_tests::clock;

/// Longer than any time-out of a proxy under test: who waits this long waits for ever.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// The answer to one request.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// When its first byte was sent.
    pub(crate) asked: Instant,
    /// The upstream's `X-Side`.
    pub(crate) side: Option<String>,
    /// The status, or what went wrong on the connection.
    pub(crate) outcome: Result<u16, String>,
    /// Whether any byte of an answer had come.
    pub(crate) began: bool,
}

impl Answer {
    /// A client would call this a failure.
    pub(crate) fn failed(&self) -> bool {
        !matches!(self.outcome, Ok(status) if status < 500)
    }
}

/// How much is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// So many requests in all.
    Requests(u64),
    /// Until [`Pool::stop`].
    Stopped,
}

/// A running pool of clients.
pub(crate) struct Pool {
    threads: Vec<thread::JoinHandle<Vec<Answer>>>,
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Answer>>>,
}

/// What each connection does.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The proxy's port.
    pub(crate) port: u16,
    /// Connections, each with a thread.
    pub(crate) connections: usize,
    /// Requests that are sent before the first answer is read; 1 is no pipelining.
    pub(crate) pipelined: usize,
    /// The request line's method and path.
    pub(crate) request: (&'static str, &'static str),
    /// Bytes of the request's body.
    pub(crate) body_bytes: usize,
    /// How long to wait between requests.
    pub(crate) pause: Duration,
    pub(crate) until: Until,
}

impl Plan {
    /// GETs of 1 KB without pause.
    pub(crate) fn reads(port: u16, connections: usize, until: Until) -> Self {
        Self { port, connections, pipelined: 1, request: ("GET", "/1k"), body_bytes: 0, pause: Duration::ZERO, until }
    }

    /// Runs to its end.
    pub(crate) fn run(self) -> Vec<Answer> {
        assert!(matches!(self.until, Until::Requests(_)), "a plan without an end is started and stopped");
        self.start().join()
    }

    /// Starts it beside the test.
    pub(crate) fn start(self) -> Pool {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let left = Arc::new(AtomicU64::new(match self.until {
            Until::Requests(requests) => requests,
            Until::Stopped => u64::MAX,
        }));
        let threads = (0..self.connections)
            .map(|_| {
                let (plan, stop, left, seen) = (self.clone(), Arc::clone(&stop), Arc::clone(&left), Arc::clone(&seen));
                thread::spawn(move || {
                    let mut answers = Vec::new();
                    let mut connection = None;
                    while !stop.load(Ordering::Relaxed) {
                        let batch = (plan.pipelined as u64).min(left.load(Ordering::Relaxed));
                        if batch == 0
                            || left
                                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(batch))
                                .is_err()
                        {
                            break;
                        }
                        let new = plan.exchange(&mut connection, batch as usize);
                        seen.lock()
                            .expect("no one panics with it")
                            .extend(new.iter().filter(|answer| answer.failed()).cloned());
                        answers.extend(new);
                        thread::sleep(plan.pause);
                    }
                    answers
                })
            })
            .collect();
        Pool { threads, stop, seen }
    }

    /// Sends a batch and reads its answers; a failure spoils the rest of the batch, which is asked for again by no one.
    fn exchange(&self, connection: &mut Option<BufReader<TcpStream>>, batch: usize) -> Vec<Answer> {
        let asked = clock::now();
        let mut answers = Vec::with_capacity(batch);
        let mut began = false;
        if let Err(why) = self.send(connection, batch) {
            *connection = None;
            return vec![Answer { asked, side: None, outcome: Err(format!("sending: {why}")), began }];
        }
        let stream = connection.as_mut().expect("sending connects");
        for _ in 0..batch {
            began = false;
            let answer = read_answer(stream, &mut began);
            let (outcome, side, close) = match answer {
                Ok((status, side, close)) => (Ok(status), side, close),
                Err(why) => (Err(format!("receiving: {why}")), None, true),
            };
            answers.push(Answer { asked, side, outcome, began });
            if close {
                *connection = None;
                break;
            }
        }
        answers
    }

    fn send(&self, connection: &mut Option<BufReader<TcpStream>>, batch: usize) -> io::Result<()> {
        if connection.is_none() {
            let stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(ANSWER_MAX))?;
            *connection = Some(BufReader::new(stream));
        }
        let (method, path) = self.request;
        let length =
            if self.body_bytes > 0 { format!("Content-Length: {}\r\n", self.body_bytes) } else { String::new() };
        let mut one = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n{length}\r\n").into_bytes();
        one.resize(one.len() + self.body_bytes, b'x');
        connection.as_mut().expect("just connected").get_mut().write_all(&one.repeat(batch))
    }
}

/// Reads one answer whole: its status, its side, and whether the connection ends with it.
fn read_answer(stream: &mut BufReader<TcpStream>, began: &mut bool) -> io::Result<(u16, Option<String>, bool)> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let (mut status, mut side, mut length, mut close) = (None, None, None, false);
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(wrong("the connection was closed"));
        }
        *began = true;
        let text = line.strip_suffix("\r\n").ok_or_else(|| wrong("a line that ends without CRLF"))?;
        if text.is_empty() {
            break;
        }
        if status.is_none() {
            status =
                text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse::<u16>().ok());
            if status.is_none() {
                return Err(wrong("no status line"));
            }
            continue;
        }
        let (name, value) = text.split_once(':').ok_or_else(|| wrong("a field without a colon"))?;
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse::<u64>().ok(),
            "x-side" => side = Some(value.trim().to_owned()),
            "connection" => close = value.to_ascii_lowercase().contains("close"),
            _ => {}
        }
    }
    let length = length.ok_or_else(|| wrong("no Content-Length"))?;
    let copied = io::copy(&mut stream.by_ref().take(length), &mut io::sink())?;
    if copied < length {
        return Err(wrong("a body cut short"));
    }
    Ok((status.expect("the loop ends with one"), side, close))
}

impl Pool {
    /// The failures so far.
    pub(crate) fn failures(&self) -> Vec<Answer> {
        self.seen.lock().expect("no one panics with it").clone()
    }

    /// Ends it; every answer, in no order.
    pub(crate) fn stop(self) -> Vec<Answer> {
        self.stop.store(true, Ordering::Relaxed);
        self.join()
    }

    fn join(self) -> Vec<Answer> {
        self.threads.into_iter().flat_map(|thread| thread.join().expect("a client does not panic")).collect()
    }
}

/// How many answers a side gave.
pub(crate) fn by_side(answers: &[Answer], side: &str) -> usize {
    answers.iter().filter(|answer| answer.side.as_deref() == Some(side)).count()
}

/// Fails with the first few failures, if there are any.
pub(crate) fn assert_no_failure(answers: &[Answer]) {
    let failed: Vec<&Answer> = answers.iter().filter(|answer| answer.failed()).collect();
    assert!(
        failed.is_empty(),
        "{} of {} requests failed: {:#?}",
        failed.len(),
        answers.len(),
        &failed[..failed.len().min(3)]
    );
}
