//! The end of a proxy that captures.

#[path = "../listener/ending.rs"]
mod plain;

use std::{
    thread::{self, JoinHandle},
    time::Duration,
};

use proxy::{Ended, Handle};

use crate::{
    clock,
    kept::Inner,
    rig::{Rig, Source, a_while},
    support::{PATIENCE, counted, get, post},
};

/// Drains on a thread of its own.
fn draining(handle: &Handle, timeout: Duration) -> JoinHandle<Ended> {
    let handle = handle.clone();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(handle.drain(timeout))
    })
}

/// Proves that at the end every connection that was captured has its last record, those that are idle and those that are
/// not, and that what was taken can be flushed.
#[test]
fn the_log_gets_the_end_of_every_connection() {
    let source = Source::ok();
    let rig = Rig::new(source.address);
    let mut clients: Vec<_> = (0..20).map(|_| rig.client()).collect();
    for client in &mut clients[..15] {
        assert_eq!(client.ask(get("/")).status(), 200);
    }
    for client in &mut clients[10..15] {
        client.send("POST /i HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf");
    }
    counted(&rig.handle, |counters| counters.source.in_flight == 5);
    assert_eq!(draining(&rig.handle, Duration::from_millis(100)).join().unwrap(), Ended::Drained);
    assert_eq!(rig.log.look(Inner::closed), 15, "all before the threads ended");
    assert!(rig.behind.log.flush(clock::now() + PATIENCE));
    assert_eq!(rig.log.exchanges().len(), 20);
    assert_eq!(rig.behind.lines(), 0);
}

/// Proves that a proxy that ends waits for what the log has not answered yet: the held write goes out and is answered.
#[test]
fn a_held_write_ends_before_the_proxy_does() {
    let source = Source::ok();
    let rig = Rig::new(source.address);
    rig.log.pause();
    let mut client = rig.client();
    client.send(post("/i", "hello"));
    rig.log.wait("the write", |log| log.ends() == 1);
    let draining = draining(&rig.handle, PATIENCE);
    counted(&rig.handle, |_| rig.handle.status().draining);
    a_while();
    assert!(!draining.is_finished() && source.whole() == 0);
    rig.log.resume();
    let answer = client.response();
    assert_eq!((answer.status(), answer.field("connection")), (200, Some("close")));
    drop(client);
    assert_eq!(draining.join().unwrap(), Ended::Drained);
    assert_eq!((rig.log.look(Inner::closed), source.whole()), (1, 1));
    assert!(rig.behind.log.flush(clock::now() + PATIENCE));
}

/// Proves that a held write that the end of the proxy cuts off never reaches the source whole, and is listed as one that the
/// log may have; and that the threads still wait, within a bound, for the answers to what they gave to the log.
#[test]
fn a_write_that_is_cut_off_is_a_phantom() {
    let source = Source::ok();
    let rig = Rig::new(source.address);
    rig.log.pause();
    let mut client = rig.client();
    client.send(post("/i", "hello"));
    rig.log.wait("the write", |log| log.ends() == 1);
    let draining = draining(&rig.handle, Duration::from_millis(50));
    assert!(client.rest().0.is_empty(), "it is cut off without an answer");
    let listed = rig.behind.listed(1);
    assert_eq!((listed[0].loss.target.as_str(), listed[0].loss.forwarded), ("/i", false));
    assert!(listed[0].loss.perhaps_there);
    assert_eq!((rig.behind.losses.losses(), rig.behind.losses.phantoms()), (0, 1));
    a_while();
    assert!(!draining.is_finished(), "the log has not answered");
    rig.log.resume();
    assert_eq!(draining.join().unwrap(), Ended::Drained);
    assert_eq!((rig.log.look(Inner::closed), source.whole()), (1, 0));
}

/// Proves that writes are listed which went out on the word of a log that turns out to have lost them when the proxy has no tick
/// left.
#[test]
fn what_the_log_lost_at_the_end_is_listed() {
    let source = Source::ok();
    let rig = Rig::new(source.address);
    rig.log.looked_at();
    let mut client = rig.client();
    assert_eq!(client.ask(post("/gone", "x")).status(), 200);
    drop(client);
    rig.log.wait_closed(1);
    rig.log.begin_anew();
    assert_eq!(draining(&rig.handle, PATIENCE).join().unwrap(), Ended::Drained);
    let listed = rig.behind.listed(2);
    assert!(listed.iter().any(|line| line.loss.target == "/gone" && line.loss.forwarded), "{listed:?}");
}

/// Proves that a proxy which ends has the log looked at, and waits for what that shows of the writes which went out last: they
/// are there, or they are listed.
#[test]
fn the_last_writes_are_looked_for_before_the_end() {
    for is_there in [true, false] {
        let source = Source::ok();
        let rig = Rig::new(source.address);
        rig.log.looked_at();
        let mut client = rig.client();
        assert_eq!(client.ask(post("/last", "x")).status(), 200);
        drop(client);
        rig.log.wait_closed(1);
        let draining = draining(&rig.handle, PATIENCE);
        rig.log.wait_hurried();
        a_while();
        assert!(!draining.is_finished(), "nobody knows yet");
        if is_there {
            rig.log.is_sound();
        } else {
            rig.log.begin_anew();
        }
        assert_eq!(draining.join().unwrap(), Ended::Drained);
        let listed = rig.behind.listed(if is_there { 0 } else { 2 });
        let last = listed.iter().filter(|line| line.loss.target == "/last" && line.loss.forwarded).count();
        assert_eq!((listed.len(), last), if is_there { (0, 0) } else { (2, 1) }, "{listed:?}");
    }
}
