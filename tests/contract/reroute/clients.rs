//! Clients that ask all the while: most by a new connection for each request, some by one that they keep for a while.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How many there are of each kind, and how long each rests after an answer.
const BRIEF: usize = 8;
const LASTING: usize = 2;
const REST: Duration = Duration::from_millis(15);

/// How many requests go by a connection that is kept.
const KEPT_FOR: usize = 50;

/// How long a client waits for an answer; only failures take as long.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Clients that ask until they are stopped.
pub(super) struct Clients {
    stop: Arc<AtomicBool>,
    to: Arc<Mutex<SocketAddr>>,
    threads: Vec<JoinHandle<u64>>,
}

/// Sends a request and reads its answer; whether it was 200.
fn exchange(stream: &mut TcpStream, connection: &str) -> std::io::Result<bool> {
    write!(stream, "GET /search HTTP/1.1\r\nHost: search.example.com\r\nConnection: {connection}\r\n\r\n")?;
    let mut reader = BufReader::new(stream);
    let (mut status, mut length) = (String::new(), 0);
    reader.read_line(&mut status)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        }
    }
    reader.read_exact(&mut vec![0; length])?;
    Ok(status.starts_with("HTTP/1.1 200"))
}

fn connect(to: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    Ok(stream)
}

/// One request by a connection of its own; whether it was answered with 200.
pub(super) fn ask(to: SocketAddr) -> std::io::Result<bool> {
    exchange(&mut connect(to)?, "close")
}

/// So many requests by one connection; how many failed.
fn ask_often(to: SocketAddr, stop: &AtomicBool) -> u64 {
    let Ok(mut stream) = connect(to) else { return 1 };
    for _ in 0..KEPT_FOR {
        if stop.load(Ordering::Relaxed) {
            return 0;
        }
        if !exchange(&mut stream, "keep-alive").unwrap_or(false) {
            return 1;
        }
        std::thread::sleep(REST);
    }
    0
}

impl Clients {
    /// Begins to ask at an address.
    pub(super) fn start(address: SocketAddr) -> Self {
        let (stop, to) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(address)));
        let client = |lasting: bool| {
            let (stop, to) = (Arc::clone(&stop), Arc::clone(&to));
            std::thread::spawn(move || {
                let mut failed = 0;
                while !stop.load(Ordering::Relaxed) {
                    let address = *to.lock().expect("nobody panics while holding it");
                    if lasting {
                        failed += ask_often(address, &stop);
                    } else {
                        failed += u64::from(!ask(address).unwrap_or(false));
                        std::thread::sleep(REST);
                    }
                }
                failed
            })
        };
        let threads = (0..BRIEF + LASTING).map(|number| client(number >= BRIEF)).collect();
        Self { stop, to, threads }
    }

    /// Lets them ask elsewhere from their next connection on.
    pub(super) fn move_to(&self, address: SocketAddr) {
        *self.to.lock().expect("nobody panics while holding it") = address;
    }

    /// Ends them; how many requests failed.
    pub(super) fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().expect("a client does not panic")).sum()
    }
}
