//! What becomes of requests when the log does not take their records.

use std::{
    io::Read as _,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use proxy::capture::{Lost, Position, Reopen, Verdict, Why, side::OnFailure};

use crate::{
    clock,
    kept::Answer,
    rig::{CONTINUE, OK, Rig, Setup, Source, a_while},
    support::{counted, get, post, upstream},
};

const DELETE: &str = "DELETE /i HTTP/1.1\r\nHost: x\r\n\r\n";
const EXPECTS: &str = "PUT /e HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";

/// A loss that says nothing about the log as a whole.
fn unfit() -> Lost {
    Lost::new(Why::Unfit, "too odd")
}

/// A loss that opens the breaker.
fn refused() -> Lost {
    Lost::new(Why::Refused, "not today")
}

/// The names under which something was given, in the order in which they began.
fn names(rig: &Rig) -> Vec<Arc<str>> {
    let mut names: Vec<Arc<str>> = Vec::new();
    rig.log.look(|log| {
        for given in &log.given {
            if !names.contains(&given.key) {
                names.push(Arc::clone(&given.key));
            }
        }
    });
    names
}

/// Proves that with `forward` a write that the log loses reaches the cluster whole, is on the list with all that is known
/// of it, and ends the name under which it was: the next request has another, and nothing more comes under the old.
#[test]
fn a_lost_write_is_forwarded_and_listed() {
    let source = Source::ok();
    let rig = Rig::with(source.address, Setup::forward(), |_| ());
    let large = format!(
        "POST /large?q=1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n30d40\r\n{}\r\n0\r\n\r\n",
        "a".repeat(200_000)
    );
    for (write, method, target) in [
        (post("/i/_doc", "hello"), "POST", "/i/_doc"),
        (DELETE.to_owned(), "DELETE", "/i"),
        (large, "POST", "/large?q=1"),
    ] {
        let before = (names(&rig).len(), rig.behind.losses.losses() as usize);
        let mut client = rig.client();
        assert_eq!(client.ask(get("/")).status(), 200);
        rig.log.answer(Answer::Lost(unfit()));
        let asked = clock::now();
        assert_eq!(client.ask(&write).status(), 200);
        assert!(asked.elapsed() < Duration::from_secs(5), "nothing was waited for");
        let listed = rig.behind.listed(before.1 + 1).pop().unwrap();
        rig.log.answer(Answer::Safe);
        let old = Arc::clone(&names(&rig)[before.0]);
        let given = |key: &Arc<str>| rig.log.look(|log| log.given.iter().filter(|given| given.key == *key).count());
        let under_old = given(&old);
        for _ in 0..3 {
            assert_eq!(client.ask(post("/after", "x")).status(), 200);
        }
        drop(client);
        rig.log.wait_closed(before.0 / 2 + 1);
        assert!(source.text().contains(&write), "it reached the source whole");
        assert_eq!(given(&old), under_old, "nothing more under the old name");
        assert_eq!(names(&rig).len(), before.0 + 2, "one fresh name");
        assert_eq!(listed.number, before.1 as u64 + 1);
        let loss = listed.loss;
        assert_eq!((loss.method.as_str(), loss.target.as_str(), loss.request), (method, target, 1));
        assert_eq!((loss.connection.as_str(), loss.bytes), (old.as_ref(), write.len() as u64));
        assert!(loss.forwarded && !loss.perhaps_there && loss.at_millis > 1_700_000_000_000, "{loss:?}");
        assert_eq!(loss.why, "unfit");
    }
    // Of a name that ended in the middle a reader finds nothing whole but what was whole.
    let bodies = rig.log.exchanges().into_iter().filter(|exchange| exchange.complete);
    assert!(bodies.map(|exchange| exchange.request).all(|request| request == post("/after", "x").as_bytes()));
}

/// Proves that with `refuse` a write that the log loses is a 503 of which the upstream never had a whole message, that one
/// the log may have all the same is listed as a phantom and no other is, and that the connection goes on: even for a client
/// that was told to continue.
#[test]
fn a_lost_write_is_refused() {
    let source = Source::ok();
    let rig = Rig::new(source.address);
    let mut client = rig.client();
    for (place, perhaps) in [false, true].into_iter().enumerate() {
        let lost = Lost { perhaps_there: perhaps, ..unfit() };
        for write in [post("/i", "hello"), DELETE.to_owned()] {
            rig.log.answer(Answer::Lost(lost.clone()));
            assert_eq!(client.ask(&write).status(), 503, "{write:?}");
            rig.log.answer(Answer::Safe);
            assert_eq!(client.ask(get("/between")).status(), 200);
        }
        rig.log.answer(Answer::Lost(lost));
        client.send(EXPECTS);
        assert_eq!(client.response().head, CONTINUE);
        client.send("hello");
        assert_eq!(client.response().status(), 503);
        rig.log.answer(Answer::Safe);
        assert_eq!(client.ask(post("/after", "x")).status(), 200);
        let phantoms = rig.behind.listed(3 * place);
        assert_eq!(phantoms.len(), 3 * place);
        assert_eq!((rig.behind.losses.phantoms(), rig.behind.losses.losses()), (3 * place as u64, 0));
        let status = &rig.handle.status().capture[0];
        assert_eq!((status.phantoms, status.losses, status.losses_unlisted), (3 * place as u64, 0, 0));
        assert!(phantoms.iter().all(|listed| !listed.loss.forwarded && listed.loss.perhaps_there));
    }
    let listed = rig.behind.listed(3);
    let targets: Vec<&str> = listed.iter().map(|listed| listed.loss.target.as_str()).collect();
    assert_eq!(targets, ["/i", "/i", "/e"]);
    assert!(!source.text().contains("DELETE"));
    assert_eq!(source.text().matches("\r\n\r\nhello").count(), 0);
    assert_eq!(source.text().matches("POST /after").count(), 2);
    let counters =
        counted(&rig.handle, |counters| counters.we.refused.get(&503) == Some(&6) && counters.source.in_flight == 0);
    assert_eq!(counters.source.failed_reset, 0);
}

/// Proves that while the log is known to fail `refuse` answers writes at once: before any 100, without asking the
/// upstream, on a connection that goes on; that reads pass; and that writes pass again when the log is back.
#[test]
fn an_open_breaker_refuses_at_once() {
    for reopen in [Reopen::WhenReady, Reopen::AfterPause] {
        let source = Source::ok();
        let rig = Rig::with(source.address, Setup { reopen, ..Setup::default() }, |_| ());
        rig.log.answer(Answer::Lost(refused()));
        let mut client = rig.client();
        assert_eq!(client.ask(DELETE).status(), 503);
        rig.log.answer(Answer::Safe);
        let given = rig.log.look(|log| log.given.len());
        assert_eq!(rig.behind.breaker.position(), Position::Open);
        assert_eq!(client.ask(post("/i", "hello")).status(), 503);
        assert_eq!(client.ask(get("/read")).status(), 200, "the connection goes on, and reads pass");
        let mut expecting = rig.client();
        expecting.send(EXPECTS);
        let answer = expecting.response();
        assert_eq!((answer.status(), answer.field("connection")), (503, Some("close")), "its body may never come");
        assert_eq!(rig.log.look(|log| log.given.len()), given, "nothing was given to the log");
        assert!(!source.text().contains("POST") && !source.text().contains("PUT"));
        match reopen {
            Reopen::WhenReady => rig.behind.breaker.ready(),
            // Nobody but a write asks whether the pause is over.
            Reopen::AfterPause => std::thread::sleep(Duration::from_millis(550)),
        }
        assert_eq!(client.ask(post("/i", "hello")).status(), 200);
        assert_eq!(rig.behind.breaker.position(), Position::Closed);
        assert_eq!(rig.behind.lines(), 0);
    }
}

/// Proves that with `forward` a dead log costs writes nothing once that is known: each is listed, and forwarded at once.
#[test]
fn an_open_breaker_forwards_at_once() {
    let source = Source::ok();
    let rig = Rig::with(source.address, Setup::forward(), |_| ());
    let mut client = rig.client();
    rig.log.answer(Answer::Lost(refused()));
    for number in 0..20 {
        assert_eq!(client.ask(post(&format!("/{number}"), "hello")).status(), 200);
    }
    let listed = rig.behind.listed(20);
    let targets: Vec<String> = listed.into_iter().map(|listed| listed.loss.target).collect();
    assert_eq!(targets, (0..20).map(|number| format!("/{number}")).collect::<Vec<_>>());
    assert_eq!((source.whole(), rig.log.look(|log| log.given.len())), (20, 1));
}

/// Proves that a lost record of reads costs nobody anything: no client waits or hears of it, nothing is listed, and the
/// next request begins a fresh name.
#[test]
fn a_lost_read_costs_nothing() {
    for on_failure in [OnFailure::Refuse, OnFailure::Forward] {
        let source = Source::ok();
        let rig = Rig::with(source.address, Setup { on_failure, ..Setup::default() }, |_| ());
        let mut client = rig.client();
        rig.log.answer(Answer::Lost(unfit()));
        assert_eq!(client.ask(get("/lost")).status(), 200);
        rig.log.wait("the idle flush", |log| log.given.len() == 1);
        rig.log.answer(Answer::Safe);
        a_while();
        assert_eq!(client.ask(post("/kept", "x")).status(), 200);
        drop(client);
        rig.log.wait_closed(1);
        let exchanges = rig.log.exchanges();
        assert_eq!(exchanges.len(), 1);
        assert!(exchanges[0].request.starts_with(b"POST /kept") && exchanges[0].number == 0);
        assert_eq!((names(&rig).len(), rig.behind.lines()), (2, 0));
    }
}

/// Proves that a log that lost what it had gets no stream's rest: the next request begins a fresh name, though no record of
/// its connection was lost, and is in the log whole.
#[test]
fn a_log_that_begins_anew_gets_fresh_names() {
    let source = Source::ok();
    let rig = Rig::new(source.address);
    let mut client = rig.client();
    assert_eq!(client.ask(post("/before", "x")).status(), 200);
    rig.log.begin_anew();
    assert_eq!(client.ask(post("/after", "x")).status(), 200);
    drop(client);
    rig.log.wait_closed(1);
    assert_eq!(names(&rig).len(), 2);
    let fresh = names(&rig).pop().unwrap();
    let exchanges: Vec<_> = rig.log.exchanges().into_iter().filter(|exchange| exchange.connection == fresh).collect();
    assert_eq!(exchanges.len(), 1);
    assert!(exchanges[0].request == post("/after", "x").as_bytes() && exchanges[0].complete);
    assert_eq!(exchanges[0].response.as_deref(), Some(OK.as_bytes()));
    assert_eq!(rig.behind.lines(), 0);
}

/// Proves that with the budget spent a write waits for room and passes when there is some, whole and recorded whole; and
/// that a read is answered meanwhile, its stream broken off.
#[test]
fn a_write_waits_for_room_and_a_read_does_not() {
    let source = Source::ok();
    let rig = Rig::with(source.address, Setup { budget_bytes: 200_000, ..Setup::default() }, |_| ());
    rig.log.pause();
    let write = format!("POST /i HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n{}", "b".repeat(2_000_000));
    let bytes = write.clone();
    let mut client = rig.client();
    let asking = std::thread::spawn(move || client.ask(bytes).status());
    let log = rig.behind.log.clone();
    let deadline = clock::now() + Duration::from_secs(10);
    while log.figures().refused_budget == 0 {
        assert!(clock::now() < deadline, "the budget is never spent");
        std::thread::yield_now();
    }
    a_while();
    assert!(log.figures().under_way_bytes <= 200_000);
    let mut reader = rig.client();
    let search = format!("GET /r HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n{}", "r".repeat(300_000));
    assert_eq!(reader.ask(&search).status(), 200, "a read that finds no room");
    assert!(!source.text().contains("POST") || source.whole() == 1, "only the read is whole");
    rig.log.resume();
    assert_eq!(asking.join().unwrap(), 200);
    assert!(source.got().iter().any(|got| got == write.as_bytes()));
    assert_eq!(reader.ask(post("/after", "x")).status(), 200);
    drop(reader);
    rig.log.wait_closed(2);
    let exchanges = rig.log.exchanges();
    let complete: Vec<&[u8]> =
        exchanges.iter().filter(|exchange| exchange.complete).map(|exchange| exchange.request.as_slice()).collect();
    assert!(complete.contains(&write.as_bytes()) && complete.contains(&post("/after", "x").as_bytes()));
    assert!(!complete.contains(&search.as_bytes()), "the read's stream was broken off");
    assert_eq!(rig.behind.lines(), 0);
}

/// Proves that a write that is given up before the log has answered is told so, and listed as one that the log may have.
#[test]
fn a_write_that_is_given_up_is_a_phantom() {
    let source = Source::ok();
    let rig = Rig::with(source.address, Setup::default(), |config| {
        config.timeouts.total = Some(Duration::from_millis(200));
    });
    rig.log.pause();
    let mut client = rig.client();
    assert_eq!(client.ask(DELETE).status(), 503);
    let listed = rig.behind.listed(1);
    let loss = &listed[0].loss;
    assert_eq!((loss.method.as_str(), loss.forwarded, loss.perhaps_there), ("DELETE", false, true));
    rig.log.settle(&Verdict::Safe);
    rig.log.answer(Answer::Safe);
    assert_eq!(client.ask(get("/")).status(), 200);
    assert_eq!(source.whole(), 1, "only the read reached the source");
    assert_eq!((rig.behind.losses.losses(), rig.behind.losses.phantoms()), (0, 1));
}

/// Proves that a client that stops in the trailers of a held write is to blame for that itself, and not the side.
#[test]
fn trailers_that_never_come_are_the_clients_fault() {
    let source = Source::ok();
    let rig = Rig::with(source.address, Setup::default(), |config| {
        config.timeouts.stall = Duration::from_millis(200);
    });
    let mut client = rig.client();
    let head = "POST /i HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(client.ask(format!("{head}2\r\nhi\r\n0\r\nX-Sum: ")).status(), 408);
    let counters = counted(&rig.handle, |counters| counters.we.refused.get(&408) == Some(&1));
    assert_eq!((counters.source.failed_timeout, source.whole()), (0, 0));
}

/// Proves that a held write whose source dies, or answers before its end, is listed as a phantom at once: the log has it
/// whole, no cluster has; with either policy, and with what is known of it. One that the log certainly lost is not listed.
#[test]
fn a_held_write_that_its_source_gave_up_is_a_phantom() {
    let chunked = "PUT /c?q HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    for on_failure in [OnFailure::Refuse, OnFailure::Forward] {
        for early in [false, true] {
            let (recorded, gate) = mpsc::channel::<()>();
            let gate = Mutex::new(gate);
            let source = upstream(move |mut peer| {
                let mut got = Vec::new();
                while !got.ends_with(b"hello\r\n") {
                    let mut piece = [0; 64];
                    let count = peer.stream.read(&mut piece).unwrap();
                    got.extend_from_slice(&piece[..count]);
                }
                gate.lock().unwrap().recv().unwrap();
                if early {
                    peer.send("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
                }
            });
            let rig = Rig::with(source, Setup { on_failure, ..Setup::default() }, |_| ());
            rig.log.pause();
            let mut client = rig.client();
            let (begin, end) = chunked.split_at(chunked.len() - 5);
            client.send(begin);
            a_while();
            client.send(end);
            rig.log.wait("its end", |log| log.ends() == 1);
            recorded.send(()).unwrap();
            assert_eq!(client.response().status(), if early { 413 } else { 502 });
            let listed = rig.behind.listed(1);
            let loss = &listed[0].loss;
            assert_eq!((loss.method.as_str(), loss.target.as_str()), ("PUT", "/c?q"));
            assert_eq!((loss.why.as_str(), loss.bytes), ("given-up", chunked.len() as u64));
            assert!(!loss.forwarded && loss.perhaps_there, "{loss:?}");
            rig.log.resume();
            drop(client);
            rig.log.wait_closed(1);
            let there = rig.log.exchanges();
            assert!(there[0].complete && there[0].request == chunked.as_bytes(), "it is a phantom");
            assert_eq!((rig.behind.losses.losses(), rig.behind.losses.phantoms()), (0, 1));
        }
    }
}

/// Proves that the writes which a log acknowledged since it was last found whole are listed by name when it turns out to have
/// begun anew, whichever connection they came on, beside a line that counts everything it had; and that those from before
/// and after are not.
#[test]
fn what_went_out_on_the_word_of_a_log_that_broke_it_is_listed() {
    for on_failure in [OnFailure::Refuse, OnFailure::Forward] {
        let source = Source::ok();
        let rig = Rig::with(source.address, Setup { on_failure, ..Setup::default() }, |_| ());
        rig.log.looked_at();
        let (mut first, mut second) = (rig.client(), rig.client());
        assert_eq!(first.ask(post("/there", "x")).status(), 200);
        rig.log.looked_at();
        for client in [&mut first, &mut second] {
            assert_eq!(client.ask(post("/gone", "x")).status(), 200);
            assert_eq!(client.ask(get("/read")).status(), 200);
        }
        let given = rig.log.look(|log| log.given.len() as u64);
        rig.log.begin_anew();
        // The look that showed it may find the new log sound itself.
        rig.log.looked_at();
        let listed = rig.behind.listed(3);
        let mut lost: Vec<_> = listed.iter().map(|line| (line.loss.target.as_str(), line.loss.records)).collect();
        lost.sort_unstable();
        assert!(lost[0].0.is_empty() && lost[0].1 >= given, "{lost:?}");
        assert_eq!(lost[1..], [("/gone", 0), ("/gone", 0)]);
        assert!(listed.iter().all(|line| line.loss.why == "topic-replaced" && line.loss.forwarded));
        assert_eq!(first.ask(post("/after", "x")).status(), 200);
        a_while();
        assert_eq!((rig.behind.losses.losses(), rig.behind.losses.phantoms()), (3, 0));
    }
}
