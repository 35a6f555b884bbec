//! What is recorded is what was sent: each request once, whole and in order, each response as its client got it.

use std::{
    io::Write as _,
    net::Shutdown,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use proxy::capture::{
    Verdict,
    read::{End, Exchange},
};

use crate::{
    clock,
    kept::Inner,
    rig::{OK, Rig, Source, a_while},
    support::{Peer, get, post, upstream},
};

/// How soon what was said is in the log.
const SOON: Duration = Duration::from_secs(1);

/// What a source answers to a request, by the path of its target.
fn answer(request: &[u8]) -> Vec<u8> {
    let line =
        String::from_utf8_lossy(&request[..request.iter().position(|&byte| byte == b'\r').unwrap()]).into_owned();
    let path = line.split(' ').nth(1).unwrap();
    let said = match path {
        "/large" => format!("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n{}", "z".repeat(300_000)),
        "/chunked" => {
            let chunk = format!("186a0;x=y\r\n{}\r\n", "c".repeat(100_000));
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\nX-Sum: 1\r\n\r\n", chunk.repeat(3))
        }
        "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n".to_owned(),
        "/204" => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        "/304" => "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nContent-Length: 9\r\n\r\n".to_owned(),
        "/interim" => {
            format!("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n{OK}")
        }
        "/empty" => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "/500" => "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops".to_owned(),
        _ => OK.to_owned(),
    };
    said.into_bytes()
}

/// A mix of requests, whose answers end without their connection.
fn mix() -> Vec<String> {
    let long = "q".repeat(20_000);
    let large = "b".repeat(300_000);
    vec![
        get("/"),
        post("/i/_doc", "hello"),
        format!("GET /i/_search?q={long} HTTP/1.1\r\nHost: x\r\nCookie: {long}\r\nCookie: {long}\r\n\r\n"),
        get("/large"),
        post("/large", &large),
        get("/chunked"),
        format!(
            "PUT /chunked HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n493e0\r\n{large}\r\n0\r\nX: 1\r\n\r\n"
        ),
        "HEAD /head HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        get("/204"),
        "DELETE /204 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        get("/304"),
        get("/interim"),
        post("/interim", "x"),
        post("/empty", ""),
        post("/500", "{}"),
        "GET /body HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}".to_owned(),
        "get /odd HTTP/1.1\r\nhOsT:\tx \r\nX-E: \u{e9}\r\nX-Empty:\r\n\r\n".to_owned(),
        "PATCH http://x/absolute HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".to_owned(),
    ]
}

/// Reads the answer to a request; its bytes, without those of interim ones.
fn answered(client: &mut Peer, request: &str) -> Vec<u8> {
    loop {
        let message = client.try_response(request.starts_with("HEAD")).expect("a whole response");
        if message.status() >= 200 {
            return [message.head.into_bytes(), message.body].concat();
        }
    }
}

/// Whether both are the same, without printing a megabyte if they are not.
fn assert_same(exchange: &Exchange, request: &[u8], response: &[u8]) {
    let shown = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    let recorded = exchange.response.as_deref().unwrap_or_default();
    assert!(exchange.complete, "{}", shown(request));
    assert!(exchange.request == request, "sent {}, recorded {}", shown(request), shown(&exchange.request));
    assert!(recorded == response, "{}: got {}, recorded {}", shown(request), shown(response), shown(recorded));
}

/// Proves that requests of all kinds on kept connections are recorded byte for byte, with the responses as their clients
/// got them, whether they were sent one after the other, all at once, or in pieces, by many clients at a time.
#[test]
fn a_mix_of_requests_is_recorded_as_it_was() {
    let source = Source::new(answer);
    let rig = Arc::new(Rig::new(source.address));
    rig.log.answer_soon(|| Verdict::Safe);
    let clients: Vec<_> = (0..6)
        .map(|how| {
            let rig = Arc::clone(&rig);
            thread::spawn(move || {
                let (mut client, mut requests) = (rig.client(), mix());
                requests.rotate_left(how);
                let all: String = requests.concat();
                let sending = (how % 3 > 0).then(|| {
                    let mut stream = client.stream.try_clone().unwrap();
                    thread::spawn(move || {
                        let piece = if how % 3 == 1 { all.len() } else { 7_919 };
                        all.as_bytes().chunks(piece).for_each(|piece| stream.write_all(piece).unwrap());
                    })
                });
                let mut exchanges = Vec::new();
                for request in requests {
                    if sending.is_none() {
                        client.send(&request);
                    }
                    let answer = answered(&mut client, &request);
                    exchanges.push((request, answer));
                }
                if let Some(sending) = sending {
                    sending.join().unwrap();
                }
                exchanges
            })
        })
        .collect();
    let told: Vec<Vec<(String, Vec<u8>)>> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    rig.log.wait_closed(told.len());
    rig.log.resume();
    let recorded = rig.log.exchanges();
    assert_eq!(recorded.len(), told.iter().map(Vec::len).sum::<usize>());
    let mut names: Vec<&Arc<str>> = recorded.iter().map(|exchange| &exchange.connection).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), told.len());
    for name in names {
        let mine: Vec<&Exchange> = recorded.iter().filter(|exchange| exchange.connection == *name).collect();
        let told = told.iter().find(|told| told[0].0.as_bytes() == mine[0].request).expect("somebody's first request");
        assert_eq!(mine.len(), told.len());
        for (number, (exchange, (request, response))) in (0..).zip(mine.iter().zip(told)) {
            assert_eq!(exchange.number, number);
            assert_same(exchange, request.as_bytes(), response);
        }
    }
}

/// What one client said and got until its connection ended, against what was recorded of it.
struct Told {
    /// The bytes of its request as far as they were sent.
    request: String,
    /// What it got in the end, without interim answers.
    got: Vec<u8>,
    /// Whether the request is recorded as whole.
    complete: bool,
    /// What of the response is recorded; `None` is all that the client got.
    response: Option<&'static str>,
}

/// Proves what is recorded of exchanges that end their connection, however they do: answers without a length, old clients,
/// upgrades, answers before the request's end, answers that are cut or are none.
#[test]
fn endings_are_recorded_as_they_were() {
    let source = upstream(|mut peer| {
        while let Some(head) = peer.head() {
            let path = head.line().split(' ').nth(1).unwrap().to_owned();
            let said = match path.as_str() {
                "/until-close" => "HTTP/1.1 200 OK\r\n\r\nuntil the end",
                "/old" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
                "/ws" => "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nframes",
                "/early" => "HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nmuch",
                "/cut" => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
                "/garbage" => "SSH-2.0-OpenSSH_9.2\r\n\r\n",
                "/then-garbage" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzzz\r\n",
                "/silent" => "",
                _ => OK,
            };
            peer.stream.write_all(said.as_bytes()).unwrap();
            if path == "/early" {
                drop(peer.rest());
            }
            if path != "/ok" {
                return;
            }
        }
    });
    let field = "Host: x\r\n";
    let told =
        |request: &str, complete, response| Told { request: request.to_owned(), got: Vec::new(), complete, response };
    for mut told in [
        told(&format!("GET /until-close HTTP/1.1\r\n{field}\r\n"), true, None),
        told("GET /old HTTP/1.0\r\n\r\n", true, None),
        told("GET /ok HTTP/1.0\r\n\r\n", true, None),
        told(&format!("GET /ok HTTP/1.1\r\n{field}Connection: close\r\n\r\n"), true, None),
        told(&format!("DELETE /ok HTTP/1.1\r\n{field}Connection: close\r\n\r\n"), true, None),
        told(&format!("GET /ws HTTP/1.1\r\n{field}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), true, Some("")),
        told(
            &format!("POST /early HTTP/1.1\r\n{field}Content-Length: 500000\r\n\r\n{}", "e".repeat(1_000)),
            false,
            Some(""),
        ),
        told(
            &format!("POST /early HTTP/1.1\r\n{field}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
            false,
            Some(""),
        ),
        told(&format!("GET /early HTTP/1.1\r\n{field}Content-Length: 500\r\n\r\nabc"), false, Some("")),
        told(&format!("GET /cut HTTP/1.1\r\n{field}\r\n"), true, None),
        // Our own answers in the place of none are not the cluster's.
        told(&format!("GET /then-garbage HTTP/1.1\r\n{field}Connection: close\r\n\r\n"), true, Some("")),
        told(&format!("GET /garbage HTTP/1.1\r\n{field}Connection: close\r\n\r\n"), true, Some("")),
        told(&format!("GET /silent HTTP/1.1\r\n{field}Connection: close\r\n\r\n"), true, Some("")),
    ] {
        let rig = Rig::new(source);
        let mut client = rig.client();
        client.send(&told.request);
        told.got = client.rest().0;
        drop(client);
        rig.log.wait_closed(1);
        let recorded = rig.log.exchanges();
        assert_eq!(recorded.len(), 1, "{:?}", told.request);
        let Exchange { request, response, complete, .. } = &recorded[0];
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!((text(request), *complete), (told.request.clone(), told.complete));
        let wanted = told.response.map_or_else(|| text(&told.got), str::to_owned);
        assert_eq!(response.as_deref().map(text).unwrap_or_default(), wanted, "{:?}", told.request);
    }
}

/// Proves that a client that leaves in its request or in its answer is recorded as far as it came, and that one that leaves
/// in a head, or says nothing, or is refused, is in no stream.
#[test]
fn clients_that_leave_are_recorded_as_far_as_they_came() {
    let source = Source::new(answer);
    let rig = Rig::new(source.address);
    for nothing in [
        "",
        "GET / HTTP/1.1\r\nHo",
        "GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let mut client = rig.client();
        client.send(nothing);
        client.stream.shutdown(Shutdown::Write).unwrap();
        drop(client.rest());
    }
    let kept = rig.client().ask(get("/kept"));
    assert_eq!(kept.status(), 200);
    rig.log.wait_closed(1);
    assert_eq!(rig.log.look(|log| log.given.len()), 1, "only the sound one is there");

    let partial = "POST /i HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhell";
    let chunks = "POST /i HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: ";
    for (number, sent) in [partial, chunks].into_iter().enumerate() {
        let mut client = rig.client();
        client.send(sent);
        source
            .wait("its beginning", |got| got.concat().windows(4).filter(|part| *part == b"POST").count() == number + 1);
        drop(client);
        rig.log.wait_closed(number + 2);
        let recorded = rig.log.exchanges().pop().unwrap();
        assert!(!recorded.complete && recorded.end == End::Close);
        assert!(sent.as_bytes().starts_with(&recorded.request) && recorded.request.len() >= 50);
    }

    let mut client = rig.client();
    client.send(get("/large"));
    assert!(client.head().is_some());
    client.reset();
    rig.log.wait_closed(4);
    let recorded = rig.log.exchanges().pop().unwrap();
    assert!(recorded.complete && answer(b"GET /large \r").starts_with(&recorded.response.unwrap()));
}

/// Proves that a body that turns out malformed leaves no whole request behind, neither upstream nor in the log.
#[test]
fn a_malformed_body_is_no_request() {
    let source = Source::ok();
    let rig = Rig::new(source.address);
    let head = "POST /i HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    for rest in ["zz\r\n", "3\r\nabcd\r\n0\r\n\r\n", "0\r\nContent-Length: 1\r\n\r\n", "0\r\nno field\r\n\r\n"] {
        for cut in [0, 1, rest.len() - 1] {
            let mut client = rig.client();
            client.send(format!("{head}3\r\nabc\r\n{}", &rest[..cut]));
            if cut > 0 {
                a_while();
            }
            client.send(&rest[cut..]);
            assert_eq!(client.response().status(), 400, "{rest:?}");
        }
    }
    rig.log.wait_closed(12);
    assert!(rig.log.exchanges().iter().all(|exchange| !exchange.complete));
    assert_eq!((source.whole(), rig.behind.lines()), (0, 0));
}

/// Proves that what a client says on a connection that stays open is in the log within a second, and its end within a
/// second of its close.
#[test]
fn what_was_said_is_soon_in_the_log() {
    let source = Source::ok();
    let rig = Rig::new(source.address);
    let given_at = |word: &'static str| -> Instant {
        rig.log.wait(word, |log| log.given.iter().any(|given| given.words().contains(&word)));
        rig.log.look(|log| log.given.iter().find(|given| given.words().contains(&word)).unwrap().at)
    };
    let mut client = rig.client();
    let asked = clock::now();
    assert_eq!(client.ask(get("/")).status(), 200);
    assert!(given_at("write") - asked < SOON, "an idle read");
    let left = clock::now();
    drop(client);
    assert!(given_at("close") - left < SOON, "the close");
}

/// Proves that a response which is long in coming is in the log as far as it came, before it ends: one that pauses and one
/// that goes on and on; and that in the end it is there whole.
#[test]
fn a_long_response_is_seen_before_its_end() {
    const PARTS: usize = 30;
    for pauses in [true, false] {
        let (open, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let source = upstream(move |mut peer| {
            let Some(_) = peer.request() else { return };
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", PARTS * 4));
            for part in 0..PARTS {
                if pauses && part == 1 {
                    gate.lock().unwrap().recv().unwrap();
                } else if !pauses {
                    thread::sleep(Duration::from_millis(100));
                }
                peer.send("part");
            }
        });
        let rig = Rig::new(source);
        let mut client = rig.client();
        client.send(get("/long"));
        // What was said until then is there, and the response is not over.
        rig.log.wait("its beginning", |log| log.given.iter().any(|given| given.words().contains(&"write")));
        assert_eq!(rig.log.look(Inner::closed), 0);
        let sofar = rig.log.exchanges();
        let response = sofar[0].response.as_ref().unwrap();
        assert!(sofar[0].request == get("/long").as_bytes() && response.len() < 4 * PARTS, "{sofar:?}");
        if pauses {
            open.send(()).unwrap();
        }
        assert_eq!(client.response().body, "part".repeat(PARTS).as_bytes());
        drop(client);
        rig.log.wait_closed(1);
        let whole = rig.log.exchanges();
        assert!(whole.len() == 1 && whole[0].response.as_ref().unwrap().ends_with("part".repeat(PARTS).as_bytes()));
    }
}
