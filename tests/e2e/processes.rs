//! The processes as an operating system sees them: how they begin, how they end, and what they tell systemd.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    os::unix::net::{UnixDatagram, UnixStream},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use tidegate_tests::{
    clock,
    servers::{Process, built_binary},
};

use crate::{
    daemon::{SERVICE, World},
    load::{Pool, assert_no_failure},
};

/// How long a process with nothing in flight may take to end.
const STOP_MAX: Duration = Duration::from_secs(2);

/// How long systemd, here, waits for a word.
const WORD_MAX: Duration = Duration::from_secs(20);

/// The watchdog's interval in these tests.
const WATCHDOG: Duration = Duration::from_millis(400);

/// Sends one request and reads the head of the answer; the connection stays open.
fn ask<S>(mut stream: S, path: &str) -> S
where
    S: std::io::Read + std::io::Write,
{
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").expect("an open connection");
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).expect("an answer");
    assert!(line.starts_with("HTTP/1.1 200"), "{path}: {line}");
    reader.into_inner()
}

/// Proves that SIGTERM ends daemon and proxy within two seconds and with 0, however many clients keep idle connections, or
/// follow events, or are in the middle of a request head.
#[test]
fn idle_clients_do_not_keep_a_process() {
    let mut world = World::new(&[], "");
    let pools = world.clients();
    let mut daemon = world.daemon(&[]);
    daemon.say(&["start", SERVICE, "--yes"]).expect(0);
    daemon.wait_for("baseline", 0);

    let connect = || UnixStream::connect(daemon.socket()).expect("the daemon listens");
    let idle: Vec<_> = (0..20).map(|_| ask(connect(), "/health")).collect();
    let mut events = ask(connect(), &format!("/v1/cutovers/{SERVICE}/events"));
    let mut begun = connect();
    begun.write_all(b"GET /health HTT").expect("an open connection");
    let start = clock::now();
    daemon.process.signal("TERM");
    let status = daemon.process.wait(STOP_MAX);
    println!("the daemon ended after {:?}", start.elapsed());
    assert!(status.success(), "{status}:\n{}", daemon.process.log());
    events.set_read_timeout(Some(STOP_MAX)).expect("an open socket");
    let mut rest = Vec::new();
    events.read_to_end(&mut rest).expect("whoever follows is told of the end, not left waiting");
    drop((idle, begun));
    for answers in pools.map(Pool::stop) {
        assert_no_failure(&answers);
    }

    let connect = || TcpStream::connect(("127.0.0.1", world.proxy.port)).expect("the proxy listens");
    let idle: Vec<_> = (0..20).map(|_| ask(connect(), "/1k")).collect();
    let start = clock::now();
    world.proxy.finish(&[]);
    println!("the proxy ended after {:?}", start.elapsed());
    drop(idle);
}

/// The built program with the watchdog meant for it alone, as systemd says it: by its process id.
fn as_systemd(arguments: &[&str]) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", "WATCHDOG_PID=$$ exec \"$0\" \"$@\""]).arg(built_binary()).args(arguments);
    command
}

/// A notification socket, as systemd has one.
struct Systemd {
    socket: UnixDatagram,
}

impl Systemd {
    fn listen(at: &Path) -> Self {
        let socket = UnixDatagram::bind(at).expect("a new socket");
        socket.set_read_timeout(Some(WORD_MAX)).expect("an open socket");
        Self { socket }
    }

    /// Waits for a message with `word`; when it came.
    fn wait_for(&self, word: &str) -> Instant {
        let mut buffer = [0; 4096];
        loop {
            let length = self.socket.recv(&mut buffer).unwrap_or_else(|why| panic!("no {word}: {why}"));
            if String::from_utf8_lossy(&buffer[..length]).lines().any(|line| line == word) {
                return clock::now();
            }
        }
    }

    /// That the process lives, for some intervals.
    fn sees_a_heartbeat(&self) {
        let mut last = self.wait_for("WATCHDOG=1");
        for _ in 0..5 {
            let next = self.wait_for("WATCHDOG=1");
            assert!(next - last <= WATCHDOG, "a heartbeat took {:?}", next - last);
            last = next;
        }
    }
}

/// Proves what the units rely on: daemon and proxy say when they are ready, feed the watchdog, and say that they end; the
/// daemon says when it reads its policies again.
#[test]
fn systemd_is_told() {
    let mut world = World::new(&[], "");
    let at = world.path("notify");
    let systemd = Systemd::listen(&at);
    let socket = at.display().to_string();
    let micros = WATCHDOG.as_micros().to_string();
    let settings = [("NOTIFY_SOCKET", socket.as_str()), ("WATCHDOG_USEC", micros.as_str())];

    let config = world.path("tidegate.toml").display().to_string();
    let daemon = world.daemon_by(as_systemd(&["run", "--config", &config]), &settings);
    systemd.wait_for("READY=1");
    assert!(daemon.summary().is_some(), "ready means that orders are taken");
    systemd.sees_a_heartbeat();
    daemon.process.signal("HUP");
    systemd.wait_for("RELOADING=1");
    systemd.wait_for("READY=1");
    daemon.process.signal("TERM");
    systemd.wait_for("STOPPING=1");
    drop(daemon);

    let source = format!("http://127.0.0.1:{}", world.source.ports[0]);
    let arguments = ["proxy", "--listen", "127.0.0.1:0", "--plaintext", "--no-capture", "--source", &source];
    let mut command = as_systemd(&arguments);
    command.envs(settings);
    let proxy = Process::start("notifying-proxy", &world.path(""), command);
    systemd.wait_for("READY=1");
    assert!(proxy.log().contains("listening"), "ready means that clients can connect");
    systemd.sees_a_heartbeat();
    proxy.signal("TERM");
    systemd.wait_for("STOPPING=1");
}
