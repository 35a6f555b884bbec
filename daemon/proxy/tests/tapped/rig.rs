//! A captured proxy between a source that remembers every byte it got and clients that remember every byte they sent.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    time::Duration,
};

use proxy::{
    Config, Handle,
    capture::{
        BUDGET_BYTES, Breaker, Capture, Reopen, Sink,
        loss::{Listed, LossLog},
        side::{Captured, OnFailure, Suppress},
    },
};
use tempfile::TempDir;

use crate::{
    clock,
    kept::Kept,
    support::{PATIENCE, Peer, plain_with},
};

/// How a side is captured, where it is not as by default.
pub(crate) struct Setup {
    pub(crate) on_failure: OnFailure,
    pub(crate) budget_bytes: usize,
    pub(crate) reopen: Reopen,
    pub(crate) suppress: Suppress,
    pub(crate) redact: Vec<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            on_failure: OnFailure::Refuse,
            budget_bytes: BUDGET_BYTES,
            reopen: Reopen::WhenReady,
            suppress: Suppress::default(),
            redact: Vec::new(),
        }
    }
}

impl Setup {
    /// One that forwards what the log does not take.
    pub(crate) fn forward() -> Self {
        Self { on_failure: OnFailure::Forward, ..Self::default() }
    }

    /// Capture of a side into a log, with what drives it from outside.
    pub(crate) fn captured(self, sink: Arc<dyn Sink>) -> (Captured, Behind) {
        let breaker = Arc::new(Breaker::new(self.reopen));
        let log = Capture::new(sink, Arc::clone(&breaker), self.budget_bytes);
        let dir = tempfile::tempdir().unwrap();
        let losses = Arc::new(LossLog::open(&dir.path().join("losses")).unwrap());
        let behind = Behind { breaker, log: log.clone(), losses: Arc::clone(&losses), dir };
        let Self { on_failure, suppress, redact, .. } = self;
        (Captured { log, on_failure, losses, suppress, record_bytes_max: None, redact }, behind)
    }
}

/// What stands behind a captured side.
pub(crate) struct Behind {
    pub(crate) breaker: Arc<Breaker>,
    pub(crate) log: Capture,
    pub(crate) losses: Arc<LossLog>,
    dir: TempDir,
}

impl Behind {
    /// How many lines the list of losses has, once all are written.
    pub(crate) fn lines(&self) -> u64 {
        self.losses.losses() + self.losses.phantoms()
    }

    /// The list of losses, once it has so many lines.
    pub(crate) fn listed(&self, count: usize) -> Vec<Listed> {
        let deadline = clock::now() + PATIENCE;
        loop {
            let text = fs::read_to_string(self.dir.path().join("losses")).unwrap();
            let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
            let listed: Vec<Listed> = whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            if listed.len() >= count {
                assert_eq!(listed.len() as u64, self.lines());
                return listed;
            }
            assert!(clock::now() < deadline, "{} of {count} losses were listed", listed.len());
            std::thread::yield_now();
        }
    }
}

/// A captured proxy for a source alone.
pub(crate) struct Rig {
    pub(crate) handle: Handle,
    pub(crate) log: Arc<Kept>,
    pub(crate) behind: Behind,
}

impl Rig {
    pub(crate) fn new(source: SocketAddr) -> Self {
        Self::with(source, Setup::default(), |_| ())
    }

    pub(crate) fn with(source: SocketAddr, setup: Setup, change: impl FnOnce(&mut Config)) -> Self {
        let log = Arc::new(Kept::default());
        let (captured, behind) = setup.captured(Arc::clone(&log) as Arc<dyn Sink>);
        let handle = plain_with(source, None, |config| {
            config.source.capture = Some(captured);
            change(config);
        });
        Self { handle, log, behind }
    }

    pub(crate) fn client(&self) -> Peer {
        Peer::connect(self.handle.local_addr())
    }
}

/// An upstream that remembers what it got, connection by connection, and answers each whole request.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) address: SocketAddr,
    got: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Source {
    /// One that answers with what `answer` makes of a request; an empty answer closes the connection.
    pub(crate) fn new(answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let source = Self { address: listener.local_addr().unwrap(), got: Arc::default() };
        let (got, answer) = (Arc::clone(&source.got), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(mut stream), got, answer) = (stream, Arc::clone(&got), Arc::clone(&answer)) else { return };
                let place = {
                    let mut got = got.lock().unwrap();
                    got.push(Vec::new());
                    got.len() - 1
                };
                std::thread::spawn(move || {
                    stream.set_nodelay(true).unwrap();
                    let (mut input, mut piece, mut continued) = (Vec::new(), vec![0; 64 * 1024], false);
                    while let Ok(count) = stream.read(&mut piece) {
                        if count == 0 {
                            return;
                        }
                        got.lock().unwrap()[place].extend_from_slice(&piece[..count]);
                        input.extend_from_slice(&piece[..count]);
                        if !continued && wants_continue(&input) {
                            continued = true;
                            if stream.write_all(CONTINUE.as_bytes()).is_err() {
                                return;
                            }
                        }
                        while let Some(length) = whole(&input) {
                            let said = answer(&input[..length]);
                            if said.is_empty() || stream.write_all(&said).is_err() {
                                return;
                            }
                            input.drain(..length);
                            continued = false;
                        }
                    }
                });
            }
        });
        source
    }

    /// One that answers everything with a short 200.
    pub(crate) fn ok() -> Self {
        Self::new(|_| OK.as_bytes().to_vec())
    }

    /// What it got until now on each connection.
    pub(crate) fn got(&self) -> Vec<Vec<u8>> {
        self.got.lock().unwrap().clone()
    }

    /// Everything that it got, as text.
    pub(crate) fn text(&self) -> String {
        self.got().iter().map(|got| String::from_utf8_lossy(got).into_owned()).collect()
    }

    /// How many whole messages it got.
    pub(crate) fn whole(&self) -> usize {
        self.got().iter().map(|got| all_whole(got)).sum()
    }

    /// Waits until what it got is as wanted.
    pub(crate) fn wait(&self, what: &str, wanted: impl Fn(&[Vec<u8>]) -> bool) {
        let deadline = clock::now() + PATIENCE;
        while !wanted(&self.got()) {
            assert!(clock::now() < deadline, "never came: {what}; there is {:?}", self.text());
            std::thread::yield_now();
        }
    }
}

/// The short answer.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The interim one.
pub(crate) const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

/// So long is looked at what must not come.
pub(crate) fn a_while() {
    std::thread::sleep(Duration::from_millis(40));
}

fn all_whole(mut input: &[u8]) -> usize {
    let mut count = 0;
    while let Some(length) = whole(input) {
        input = &input[length..];
        count += 1;
    }
    count
}

fn wants_continue(input: &[u8]) -> bool {
    head_bytes(input).is_some_and(|head| input[..head].windows(12).any(|part| part == b"100-continue"))
}

fn head_bytes(input: &[u8]) -> Option<usize> {
    input.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4)
}

/// How many bytes the message at the front has, if it is whole. Knows of framing as little as a test needs, and shares no
/// line with what is tested.
pub(crate) fn whole(input: &[u8]) -> Option<usize> {
    let head = head_bytes(input)?;
    let text = String::from_utf8_lossy(&input[..head]).to_ascii_lowercase();
    if text.contains("transfer-encoding: chunked") {
        let mut at = head;
        loop {
            let line = input[at..].windows(2).position(|end| end == b"\r\n")? + at;
            let digits: String =
                input[at..line].iter().map(|&byte| char::from(byte)).take_while(char::is_ascii_hexdigit).collect();
            let size = usize::from_str_radix(&digits, 16).unwrap();
            at = line + 2;
            if size == 0 {
                loop {
                    let line = input[at..].windows(2).position(|end| end == b"\r\n")? + at;
                    let is_end = line == at;
                    at = line + 2;
                    if is_end {
                        return Some(at);
                    }
                }
            }
            at += size + 2;
            if at > input.len() {
                return None;
            }
        }
    }
    let length = text
        .split("content-length: ")
        .nth(1)
        .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
    (input.len() >= head + length).then_some(head + length)
}
