//! The end of a captured write stays here until the log has all of it.

use std::sync::{Mutex, mpsc};

use proxy::capture::side::OnFailure;

use crate::{
    clock,
    kept::Given,
    rig::{CONTINUE, OK, Rig, Setup, Source, a_while, whole},
    support::{PATIENCE, Peer, get, post},
};

/// Writes of every framing. Those that expect an interim answer get it while they are held.
fn writes() -> Vec<String> {
    let write =
        |method: &str, fields: &str, body: &str| format!("{method} /i HTTP/1.1\r\nHost: x\r\n{fields}\r\n{body}");
    let chunked = "Transfer-Encoding: chunked\r\n";
    let expect = "Expect: 100-continue\r\n";
    vec![
        write("POST", "Content-Length: 11\r\n", "hello world"),
        write("PUT", "Content-Length: 1\r\n", "h"),
        write("POST", chunked, "5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n"),
        write("PUT", chunked, "5\r\nhello\r\n000;z=\"0\"\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n"),
        write("POST", chunked, "0\r\n\r\n"),
        write("DELETE", "", ""),
        write("POST", "Content-Length: 0\r\n", ""),
        write("PATCH", &format!("{expect}Content-Length: 11\r\n"), "hello world"),
        write("POST", &format!("{expect}{chunked}"), "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"),
    ]
}

/// Proves that with the log silent no upstream ever holds a whole write, whatever its framing and wherever the client's
/// bytes were cut; that 100 is relayed meanwhile; and that once the log has it the upstream gets exactly the client's
/// bytes and the client its answer.
#[test]
fn no_write_is_whole_before_the_log_has_it() {
    for write in writes() {
        let source = Source::ok();
        let rig = Rig::new(source.address);
        rig.log.pause();
        let mut clients: Vec<Peer> = (0..write.len()).map(|_| rig.client()).collect();
        for (cut, client) in clients.iter_mut().enumerate() {
            client.send(&write[..cut]);
        }
        a_while();
        for (cut, client) in clients.iter_mut().enumerate() {
            client.send(&write[cut..]);
        }
        let expects = write.contains("Expect");
        for client in &mut clients {
            if expects {
                assert_eq!(client.response().head, CONTINUE, "{write:?}");
            }
        }
        rig.log.wait("the end of each write", |log| log.ends() == write.len());
        a_while();
        let got = source.got();
        assert!(got.iter().all(|got| whole(got).is_none()), "{write:?} went out whole: {:?}", source.text());
        assert!(got.iter().all(|got| write.as_bytes().starts_with(got)), "{write:?}: {:?}", source.text());
        assert!(!expects || got.iter().all(|got| !got.is_empty()), "the head went at once");
        if let Some(at) = write.find("\r\n000;").or_else(|| write.find("\r\n0\r\n")) {
            assert!(got.iter().all(|got| got.len() <= at + 2), "{write:?}: the last-chunk line went out");
        }

        rig.log.resume();
        for client in &mut clients {
            let answer = client.response();
            assert_eq!(answer.head + std::str::from_utf8(&answer.body).unwrap(), OK);
        }
        let mut wanted = source.got().concat();
        assert_eq!(wanted.len(), write.len() * write.len());
        wanted.truncate(write.len());
        assert_eq!(String::from_utf8(wanted).unwrap(), write);
        assert_eq!(source.whole(), write.len());
        drop(clients);
        rig.log.wait_closed(write.len());
        let exchanges = rig.log.exchanges();
        assert_eq!(exchanges.len(), write.len());
        for exchange in exchanges {
            assert_eq!(String::from_utf8(exchange.request).unwrap(), write);
            assert_eq!(exchange.response.as_deref(), Some(OK.as_bytes()));
        }
        assert_eq!(rig.behind.lines(), 0);
    }
}

/// Proves that reads are answered while the log is silent, on a connection of their own and before a write that is held;
/// and that a write waits for what was recorded before it on its connection.
#[test]
fn reads_do_not_wait() {
    let source = Source::ok();
    let rig = Rig::new(source.address);
    rig.log.pause();
    let mut client = rig.client();
    for _ in 0..50 {
        assert_eq!(client.ask(get("/i/_search")).status(), 200);
    }
    let search = "POST /i/_search HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(client.ask(search).status(), 200);
    client.send("DELETE /i HTTP/1.1\r\nHost: x\r\n\r\n");
    rig.log.wait("the write", |log| log.given.iter().any(|given| !given.words().is_empty()));
    let mut other = rig.client();
    assert_eq!(other.ask(get("/")).status(), 200);
    a_while();
    assert!(!source.text().contains("DELETE"));
    rig.log.resume();
    assert_eq!(client.response().status(), 200);
    drop(client);
    rig.log.wait_closed(1);
}

/// Proves that a large write of either framing passes once the log has it, and that its record is whole.
#[test]
fn large_writes_pass() {
    let source = Source::ok();
    let rig = Rig::new(source.address);
    let mut client = rig.client();
    for size in [65_400, 65_463, 65_536, 300_000, 2_500_000] {
        let body = "a".repeat(size);
        let head = "POST /i HTTP/1.1\r\nHost: x\r\n";
        let chunks = format!("{size:x}\r\n{body}\r\n0\r\nX-Sum: 1\r\n\r\n");
        assert_eq!(client.ask(format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}")).status(), 200);
        assert_eq!(client.ask(format!("{head}Content-Length: {size}\r\n\r\n{body}")).status(), 200);
    }
    drop(client);
    rig.log.wait_closed(1);
    let recorded: Vec<Vec<u8>> = rig.log.exchanges().into_iter().map(|exchange| exchange.request).collect();
    assert_eq!(recorded.len(), 10);
    assert!(recorded.concat() == source.got().concat(), "the log and the source have the same bytes");
}

/// Proves that a write that is larger than may be under way is read no further than that while the log is silent.
#[test]
fn no_more_of_a_write_is_read_than_may_be_under_way() {
    const UNDER_WAY_BYTES: usize = 8 * 1024 * 1024;
    let source = Source::ok();
    let rig = Rig::new(source.address);
    rig.log.pause();
    let write = post("/_bulk", &"b".repeat(3 * UNDER_WAY_BYTES));
    let mut client = rig.client();
    let asking = std::thread::spawn(move || client.ask(write).status());
    let deadline = clock::now() + PATIENCE;
    while rig.behind.log.figures().under_way_bytes < UNDER_WAY_BYTES {
        assert!(clock::now() < deadline, "{:?}", rig.behind.log.figures());
        std::thread::yield_now();
    }
    a_while();
    let under_way = rig.behind.log.figures().under_way_bytes;
    assert!(under_way < UNDER_WAY_BYTES + UNDER_WAY_BYTES / 8, "{under_way} bytes");
    rig.log.resume();
    assert_eq!(asking.join().unwrap(), 200);
}

/// Proves that trailers that find the buffer full of what came before them have room: what is before the last chunk goes
/// on, and only from there on it waits.
#[test]
fn trailers_of_a_held_write_have_room() {
    let (open, gate) = mpsc::channel();
    let gate = Mutex::new(gate);
    let source = Source::new(move |request| {
        if request.starts_with(b"GET") {
            gate.lock().unwrap().recv().unwrap();
        }
        OK.as_bytes().to_vec()
    });
    let rig = Rig::new(source.address);
    rig.log.pause();
    let mut client = rig.client();
    // While its answer is awaited, all that a buffer holds of the next request comes together.
    client.send(get("/slow"));
    let head = "POST /i HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = format!("10800\r\n{}\r\n0\r\n", "b".repeat(0x10800));
    let trailers = format!("X-Sum: {}\r\n\r\n", "c".repeat(4_000));
    let write = format!("{head}{body}{trailers}");
    client.send(&write);
    a_while();
    open.send(()).unwrap();
    assert_eq!(client.response().status(), 200);
    let before = write.len() - trailers.len() - 3;
    source.wait("what is before the last chunk", |got| got.concat().len() == get("/slow").len() + before);
    a_while();
    assert_eq!(source.whole(), 1, "only the read is whole");
    rig.log.resume();
    assert_eq!(client.response().status(), 200);
    assert!(source.text().ends_with(&write));
}

/// Proves that a client that leaves while its write is held changes nothing: what the log has is forwarded.
#[test]
fn a_client_that_leaves_is_no_reason_to_forget_its_write() {
    for on_failure in [OnFailure::Refuse, OnFailure::Forward] {
        let (open, gate) = mpsc::channel();
        let gate = Mutex::new(gate);
        let source = Source::new(move |request| {
            if request.starts_with(b"GET") {
                gate.lock().unwrap().recv().unwrap();
            }
            OK.as_bytes().to_vec()
        });
        let rig = Rig::with(source.address, Setup { on_failure, ..Setup::default() }, |_| ());
        let mut client = rig.client();
        client.send(get("/slow") + "DELETE /a HTTP/1.1\r\nHost: x\r\n\r\n");
        // It is known to have left before its write begins.
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        a_while();
        rig.log.pause();
        open.send(()).unwrap();
        assert_eq!(client.response().status(), 200);
        rig.log.wait("its end", |log| log.given.last().is_some_and(Given::ends_request));
        // Longer than a client without an answer is waited for.
        std::thread::sleep(std::time::Duration::from_millis(400));
        rig.log.resume();
        assert_eq!(client.response().status(), 200);
        assert_eq!((source.whole(), rig.behind.lines()), (2, 0));
    }
}
