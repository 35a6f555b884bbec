//! A source that answers a write before it has all of it, and takes the rest all the same.

use std::{
    io::{Read as _, Write as _},
    sync::{Mutex, mpsc},
};

use proxy::capture::side::OnFailure;

use crate::{
    rig::{Rig, Setup, a_while},
    support::{Peer, upstream},
};

/// Reads until what came ends with `end`, or nothing comes any more.
fn until(peer: &mut Peer, end: &str) -> Vec<u8> {
    let (mut got, mut piece) = (Vec::new(), [0; 256]);
    while !got.ends_with(end.as_bytes()) {
        match peer.stream.read(&mut piece) {
            Ok(count) if count > 0 => got.extend_from_slice(&piece[..count]),
            _ => break,
        }
    }
    got
}

/// Proves that a write whose source begins to answer before its end, so that no reader of the log is shown it whole, never reaches
/// that source whole, though it would take it; with either policy, and its client gets the answer.
#[test]
fn the_end_of_a_write_that_is_answered_early_goes_nowhere() {
    let plain = "POST /i/_doc HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhelloworld";
    let chunked = "POST /i/_doc HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    for request in [plain, chunked] {
        for on_failure in [OnFailure::Forward, OnFailure::Refuse] {
            let ((tell, told), (sent, gate)) = (mpsc::channel(), mpsc::channel::<()>());
            let gate = Mutex::new(gate);
            let (begin, end) = request.split_at(request.len() - 5);
            let source = upstream(move |mut peer| {
                let mut got = until(&mut peer, &begin[begin.len() - 5..]);
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok");
                gate.lock().unwrap().recv().unwrap();
                peer.stream.write_all(b"ay").unwrap();
                got.extend(until(&mut peer, end));
                tell.send(got).unwrap();
            });
            let rig = Rig::with(source, Setup { on_failure, ..Setup::default() }, |_| ());
            let mut client = rig.client();
            client.send(begin);
            let mut answer = until(&mut client, "ok");
            client.send(end);
            a_while();
            sent.send(()).unwrap();
            answer.extend(until(&mut client, "ay"));
            assert!(answer.ends_with(b"okay"), "{:?}", String::from_utf8_lossy(&answer));
            drop(client);
            let got = told.recv().unwrap();
            assert!(!got.ends_with(end.as_bytes()), "{:?}", String::from_utf8_lossy(&got));
            rig.log.wait_closed(1);
            let recorded = rig.log.exchanges();
            assert!(recorded.len() == 1 && !recorded[0].complete, "{recorded:?}");
            assert_eq!(rig.behind.lines(), 0, "it reached nobody");
        }
    }
}
