//! The control API: who may call it, what it refuses, and that its client and the proxy mean the same.

use std::{
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    time::Duration,
};

use proxy::{
    Config, Proxy, StartError,
    api::{Armed, CloseConnections, SetWeight},
    client::{Client, ClientError},
    config::{Control, ControlAddress},
};

use crate::support::{client, counted, echo, get, proxy_with, side};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn call(path: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn put(path: &Path, what: &str, body: &str) -> String {
    let length = body.len();
    call(
        path,
        &format!("PUT {what} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"),
    )
}

/// Proves that a controller can do everything over a Unix socket that only its owner may open, and that an older change
/// is refused.
#[test]
fn a_controller_drives_the_proxy_over_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let handle =
        proxy_with(echo("source"), Some(echo("target")), |config| config.control = Some(Control::Unix(path.clone())));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let control = Client::new(ControlAddress::Unix(path.clone()), None, Duration::from_secs(5));
    block_on(async {
        let weight = SetWeight { target: 300, reads: Some(1000), writes: None, generation: 5 };
        let status = control.set_weight(&weight).await.unwrap();
        assert_eq!((status.reads, status.writes, status.generation), (1000, 300, 5));
        assert_eq!(client(&handle).ask(get("/")).text(), "target GET / HTTP/1.1");
        // A request is counted just after its last byte went out.
        counted(&handle, |counters| counters.target.reads.requests == 1);
        let counters = control.counters().await.unwrap();
        assert_eq!((counters.instance, counters.target.reads.requests), (status.instance, 1));

        let older = control.set_weight(&SetWeight { generation: 4, ..weight.clone() }).await.unwrap_err();
        assert!(
            matches!(&older, ClientError::Refused { status: 409, message, .. } if message.contains("generation 4"))
        );
        assert!(!older.is_transient());
        control.set_weight(&weight).await.expect("the same change again is no change");

        let armed = Armed { reads: 0, writes: 0, limits: Vec::new() };
        assert_eq!(control.arm(Some(&armed)).await.unwrap().armed, Some(armed));
        assert_eq!(control.arm(None).await.unwrap().armed, None);
        control.close_connections(&CloseConnections { millis: 10_000 }).await.unwrap();
        control.reload().await.unwrap();
        assert_eq!(client(&handle).ask(get("/")).field("connection"), Some("close"));
    });
    drop(handle);
}

/// Proves that calls that make no sense are refused with a sentence, and change nothing.
#[test]
fn senseless_calls_are_refused_with_a_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let handle = proxy_with(echo("source"), None, |config| config.control = Some(Control::Unix(path.clone())));
    for (what, body, status, sentence) in [
        ("/v1/weight", "{\"target\":1,\"generation\":1}", 422, "without one"),
        ("/v1/weight", "{\"target\":1001,\"generation\":1}", 422, "above 1000"),
        ("/v1/weight", "{\"target\":0}", 400, "generation"),
        ("/v1/weight", "{\"target\":0,\"generation\":1,\"wieght\":1}", 400, "wieght"),
        ("/v1/weight", "{\"target\":-1,\"generation\":1}", 400, "not understood"),
        ("/v1/weight", "nonsense", 400, "not understood"),
        (
            "/v1/tripwires",
            "{\"reads\":0,\"writes\":0,\"limits\":[{\"kind\":\"errors\",\"limit\":0.5,\"requests_min\":1,\"window_millis\":1,\"source_limit\":1}]}",
            422,
            "window",
        ),
        ("/v1/counters", "", 405, "PUT"),
        ("/v1/nothing", "", 404, "/v1/nothing"),
    ] {
        let answer = put(&path, what, body);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what} {body}: {answer}");
        assert!(answer.contains("\"error\"") && answer.contains(sentence), "{what} {body}: {answer}");
    }
    let large = "x".repeat(100_000);
    assert!(put(&path, "/v1/weight", &large).starts_with("HTTP/1.1 413 "));
    assert_eq!(handle.status().generation, 0);
    assert!(call(&path, "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").starts_with("HTTP/1.1 200 "));
}

/// Proves that over TCP every call needs the token, the health endpoint too, and that an empty token is no token.
#[test]
fn over_tcp_every_call_needs_the_token() {
    let tcp = |token: &str| Some(Control::Tcp { address: "127.0.0.1:0".parse().unwrap(), token: token.to_owned() });
    let handle = proxy_with(echo("source"), None, |config| config.control = tcp("correct horse"));
    let address = handle.control_addr().unwrap().clone();
    let ask = |token: Option<&str>| {
        let control = Client::new(address.clone(), token.map(str::to_owned), Duration::from_secs(5));
        block_on(async move { control.status().await })
    };
    assert!(ask(Some("correct horse")).is_ok());
    for wrong in [None, Some(""), Some("correct"), Some("correct horse battery")] {
        assert!(matches!(ask(wrong), Err(ClientError::Refused { status: 401, .. })), "{wrong:?}");
    }
    let ControlAddress::Tcp(address) = &address else { panic!("it listens on TCP") };
    let mut raw = crate::support::Peer::connect(address.parse().unwrap());
    assert_eq!(raw.ask("GET /health HTTP/1.1\r\nHost: x\r\n\r\n").status(), 401);

    let mut config = Config::new("127.0.0.1:0".parse().unwrap(), side(&[echo("source")]));
    config.control = tcp("");
    assert!(matches!(Proxy::start(config), Err(StartError::Control { .. })));
}

/// Proves that the socket of a killed process is taken over, that one that is served is not, and that other files are
/// left alone.
#[test]
fn a_socket_in_use_is_not_taken_away() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let handle = proxy_with(echo("source"), None, |config| config.control = Some(Control::Unix(path.clone())));

    let second = |path: &Path| {
        let mut config = Config::new("127.0.0.1:0".parse().unwrap(), side(&[echo("source")]));
        config.control = Some(Control::Unix(path.to_owned()));
        Proxy::start(config).err()
    };
    let in_use = second(&path).expect("it is in use");
    assert!(in_use.to_string().contains("another process"), "{in_use}");
    let file = directory.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(second(&file).is_some());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    drop(handle);
}

/// Proves that a port in use is said to be in use, and that a configuration that contradicts itself does not start.
#[test]
fn what_cannot_start_says_why() {
    let handle = proxy_with(echo("source"), None, |_| ());
    let config = Config::new(handle.local_addr(), side(&[echo("source")]));
    let error = Proxy::start(config).err().unwrap().to_string();
    assert!(error.contains(&handle.local_addr().to_string()) && error.contains("in use"), "{error}");

    let mut config = Config::new("127.0.0.1:0".parse().unwrap(), side(&[echo("source")]));
    config.reads = 1;
    assert!(Proxy::start(config).err().unwrap().to_string().contains("needs a target"));
}

/// Proves that a proxy that awaits its weight is not ready, by each of the ways to ask, before a controller has given it one, be
/// it the one that it has; that it lives and relays all the same; and that it keeps its weight and stays ready with no controller
/// any more. The port for probes tells nothing else.
#[test]
fn a_proxy_that_awaits_its_weight_is_ready_once_it_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    let handle = proxy_with(echo("source"), Some(echo("target")), |config| {
        config.control = Some(Control::Unix(path.clone()));
        config.probes = Some("127.0.0.1:0".parse().unwrap());
        config.health_path = Some("/.health".to_owned());
        config.await_weight = true;
    });
    let probes = handle.probes_addr().unwrap();
    let probe = |what: &str| {
        let mut stream = std::net::TcpStream::connect(probes).unwrap();
        stream.write_all(format!("GET {what} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer[9..12].to_owned()
    };
    let all = || {
        (
            probe("/ready"),
            probe("/health"),
            client(&handle).ask(get("/.health")).status(),
            handle.status().awaits_weight,
        )
    };
    assert_eq!(all(), ("503".to_owned(), "200".to_owned(), 503, true));
    assert_eq!(client(&handle).ask(get("/")).text(), "source GET / HTTP/1.1");
    let control = Client::new(ControlAddress::Unix(path), None, Duration::from_secs(5));
    block_on(control.set_weight(&SetWeight { target: 0, reads: None, writes: None, generation: 0 })).unwrap();
    assert_eq!(all(), ("200".to_owned(), "200".to_owned(), 200, false));
    block_on(control.set_weight(&SetWeight { target: 1000, reads: None, writes: None, generation: 0 })).unwrap();
    drop(control);
    assert_eq!(all(), ("200".to_owned(), "200".to_owned(), 200, false));
    assert_eq!(client(&handle).ask(get("/")).text(), "target GET / HTTP/1.1");
    assert_eq!((probe("/v1/status"), probe("/metrics")), ("404".to_owned(), "404".to_owned()));
}
