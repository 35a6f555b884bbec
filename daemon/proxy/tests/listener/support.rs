//! Upstreams that do what a test says, clients that send what it says, and a proxy between them.
//!
//! Everything blocks and has a time-out, so that a test that waits for what never comes fails and does not hang.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};

use proxy::{
    Config, Handle, Proxy,
    api::{Counters, SetWeight},
    config::{Side, Upstream},
};

use crate::clock;

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A connection, from either end, that reads messages whole.
pub(crate) struct Peer<S = TcpStream> {
    pub(crate) stream: S,
    pending: Vec<u8>,
}

/// One message as its bytes came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) head: String,
    /// As it was framed: with chunk lines and trailers.
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line")
    }

    pub(crate) fn line(&self) -> &str {
        self.head.split("\r\n").next().unwrap_or_default()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of text")
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.split("\r\n").skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl Peer {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the listener accepts");
        Self::new(stream)
    }

    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, pending: Vec::new() }
    }

    /// Sends, and gives back what came until the end; `None` when it ended otherwise.
    pub(crate) fn rest_of(&mut self, request: impl AsRef<[u8]>) -> Option<String> {
        self.send(request);
        let (said, end) = self.rest();
        end.ok().map(|()| String::from_utf8_lossy(&said).into_owned())
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

impl<S: Read + Write> Peer<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self { stream, pending: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the peer reads");
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut more = vec![0; 64 * 1024];
        let count = self.stream.read(&mut more)?;
        self.pending.extend_from_slice(&more[..count]);
        Ok(count)
    }

    /// Throws away what was read and not asked for; how much that was.
    pub(crate) fn drain_pending(&mut self) -> usize {
        std::mem::take(&mut self.pending).len()
    }

    fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.pending.len() < count {
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.pending.drain(..count).collect())
    }

    fn until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.pending.windows(end.len()).position(|window| window == end) {
                return self.take(at + end.len());
            }
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// A head alone; `None` when the peer ended the connection before it.
    pub(crate) fn head(&mut self) -> Option<Message> {
        let head = self.until(b"\r\n\r\n").ok()?;
        Some(Message { head: String::from_utf8_lossy(&head).into_owned(), body: Vec::new() })
    }

    fn body(&mut self, message: &mut Message) -> io::Result<()> {
        if message.field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            loop {
                let line = self.until(b"\r\n")?;
                let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
                let size =
                    usize::from_str_radix(std::str::from_utf8(&line[..digits]).unwrap(), 16).expect("a chunk size");
                message.body.extend_from_slice(&line);
                if size == 0 {
                    loop {
                        let line = self.until(b"\r\n")?;
                        message.body.extend_from_slice(&line);
                        if line == b"\r\n" {
                            return Ok(());
                        }
                    }
                }
                let chunk = self.take(size + 2)?;
                message.body.extend_from_slice(&chunk);
            }
        }
        let length = message.field("content-length").map_or(0, |length| length.parse().expect("a length"));
        message.body = self.take(length)?;
        Ok(())
    }

    /// The next request; `None` when the connection ended before or in it.
    pub(crate) fn request(&mut self) -> Option<Message> {
        let mut message = self.head()?;
        self.body(&mut message).ok()?;
        Some(message)
    }

    /// The next response, interim ones too.
    pub(crate) fn response(&mut self) -> Message {
        self.try_response(false).expect("a whole response")
    }

    /// The next response to HEAD.
    pub(crate) fn response_to_head(&mut self) -> Message {
        self.try_response(true).expect("a whole response")
    }

    pub(crate) fn try_response(&mut self, to_head: bool) -> io::Result<Message> {
        let head = self.until(b"\r\n\r\n")?;
        let mut message = Message { head: String::from_utf8_lossy(&head).into_owned(), body: Vec::new() };
        let status = message.status();
        if !to_head && status >= 200 && status != 204 && status != 304 {
            self.body(&mut message)?;
        }
        Ok(message)
    }

    /// Everything up to the end of the connection, and whether that was an orderly one.
    pub(crate) fn rest(&mut self) -> (Vec<u8>, io::Result<()>) {
        loop {
            match self.fill() {
                Ok(0) => return (std::mem::take(&mut self.pending), Ok(())),
                Ok(_) => {}
                Err(error) => return (std::mem::take(&mut self.pending), Err(error)),
            }
        }
    }

    /// Sends a request and reads its response.
    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> Message {
        self.send(request);
        self.response()
    }
}

pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

pub(crate) fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

pub(crate) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// An upstream that runs `serve` for each connection, on a thread of its own.
pub(crate) fn upstream(serve: impl Fn(Peer) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(stream), serve) = (stream, Arc::clone(&serve)) else { return };
            std::thread::spawn(move || serve(Peer::new(stream)));
        }
    });
    address
}

/// An upstream that answers every request with its name and what was asked.
pub(crate) fn echo(name: &'static str) -> SocketAddr {
    upstream(move |mut peer| {
        while let Some(request) = peer.request() {
            let answer = ok(&format!("{name} {}", request.line()));
            if peer.stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// An address where nobody listens. Its port stays taken until the process ends, so that no other test is given it.
pub(crate) fn nobody() -> SocketAddr {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    std::mem::forget(socket);
    address
}

pub(crate) fn side(addresses: &[SocketAddr]) -> Side {
    let upstream = |address: &SocketAddr| Upstream { tls: false, host: address.ip().to_string(), port: address.port() };
    Side::new(addresses.iter().map(upstream).collect())
}

/// A proxy in front of a source alone.
pub(crate) fn proxy_for(source: SocketAddr) -> Handle {
    proxy_with(source, None, |_| ())
}

/// A proxy in front of both sides; `change` sets what else the test needs.
pub(crate) fn proxy_with(source: SocketAddr, target: Option<SocketAddr>, change: impl FnOnce(&mut Config)) -> Handle {
    let mut config = Config::new("127.0.0.1:0".parse().unwrap(), side(&[source]));
    config.target = target.map(|target| side(&[target]));
    config.workers = std::num::NonZeroUsize::new(2);
    config.seed = Some(11);
    change(&mut config);
    Proxy::start(config).expect("the proxy starts")
}

pub(crate) fn client(handle: &Handle) -> Peer {
    Peer::connect(handle.local_addr())
}

/// Sets one weight for both classes.
pub(crate) fn weigh(handle: &Handle, target: u16, generation: u64) {
    handle.set_weight(&SetWeight { target, reads: None, writes: None, generation }).expect("the weight is applied");
}

/// The counters, once they satisfy `wanted`: a request is counted just after its last byte went out.
pub(crate) fn counted(handle: &Handle, wanted: impl Fn(&Counters) -> bool) -> Counters {
    let deadline = clock::now() + PATIENCE;
    loop {
        let counters = handle.counters();
        if wanted(&counters) {
            return counters;
        }
        assert!(clock::now() < deadline, "the counters never came to be as wanted: {counters:#?}");
        std::thread::yield_now();
    }
}
