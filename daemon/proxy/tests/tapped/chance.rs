//! A log that fails by chance, under clients that do as they like: nothing that was promised is broken.

use std::{collections::HashMap, sync::Arc, thread};

use proxy::capture::{Breaker, Lost, Verdict, Why, side::OnFailure};

use crate::{
    rig::{OK, Rig, Setup, Source, whole},
    support::Peer,
};

const CLIENTS: usize = 6;
const REQUESTS: usize = 120;

/// Less than what the clients send at a time.
const BUDGET_BYTES: usize = 400_000;

/// One in so many records is lost.
const LOST_ONE_IN: u32 = 6;

/// What a client was told of one of its requests.
struct Told {
    request: Vec<u8>,
    is_write: bool,
    status: u16,
}

/// What a log says that loses by chance, for every reason, and keeps some of what it says it lost. A loss that opens the
/// breaker leaves it ready for another try at once.
fn judge(seed: u64, breaker: &Arc<Breaker>) -> impl FnMut() -> Verdict + Send + 'static {
    let (mut chance, breaker) = (fastrand::Rng::with_seed(seed), Arc::clone(breaker));
    move || {
        breaker.ready();
        if chance.u32(..LOST_ONE_IN) > 0 {
            return Verdict::Safe;
        }
        let why = [Why::Unfit, Why::Refused, Why::TimedOut, Why::TopicReplaced][chance.usize(..4)];
        Verdict::Lost(Lost { why, detail: "by chance".into(), perhaps_there: chance.bool() })
    }
}

/// A request that can be told from all others, of any kind and framing, and of up to 200 KB.
fn request(chance: &mut fastrand::Rng, name: &str) -> (Vec<u8>, bool) {
    let method = ["GET", "GET", "PUT", "POST", "DELETE"][chance.usize(..5)];
    let size = [0, 10, 5_000, 200_000][chance.usize(..4)];
    let body = "d".repeat(if size > 0 { chance.usize(..size) } else { 0 });
    let head = format!("{method} /{name} HTTP/1.1\r\nHost: x\r\n");
    let request = if chance.bool() {
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())
    } else {
        let chunk = if body.is_empty() { String::new() } else { format!("{:x}\r\n{body}\r\n", body.len()) };
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n")
    };
    (request.into_bytes(), method != "GET")
}

/// One client, which reconnects when its connection ends.
fn ask(rig: &Rig, number: usize) -> Vec<Told> {
    let mut chance = fastrand::Rng::with_seed(number as u64);
    let mut client: Option<Peer> = None;
    let mut told = Vec::new();
    for turn in 0..REQUESTS {
        let (request, is_write) = request(&mut chance, &format!("{number}-{turn}"));
        let peer = client.get_or_insert_with(|| rig.client());
        peer.send(&request);
        let answer = peer.response();
        let ends = answer.field("connection") == Some("close") || chance.u32(..8) == 0;
        told.push(Told { request, is_write, status: answer.status() });
        if ends {
            client = None;
        }
    }
    told
}

/// The target of a request, which names it.
fn name(request: &[u8]) -> String {
    String::from_utf8_lossy(request).split(' ').nth(1).unwrap().to_owned()
}

/// How often each request is among these.
fn counts<'a>(requests: impl Iterator<Item = &'a [u8]>) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for request in requests {
        *counts.entry(name(request)).or_default() += 1;
    }
    counts
}

/// Proves, with a log that loses a sixth of its records for all kinds of reasons: with `refuse` every write that was
/// answered is in the log once and whole, no refused one reached the source, and what the log has of those is listed as a
/// phantom; with `forward` every write is answered, and in the log or on the list. Reads are always answered; and nothing
/// that is in the log makes a reader stumble or differs from what was sent.
#[test]
fn chance_breaks_no_promise() {
    for on_failure in [OnFailure::Refuse, OnFailure::Forward] {
        let source = Source::ok();
        let rig = Arc::new(Rig::with(
            source.address,
            Setup { on_failure, budget_bytes: BUDGET_BYTES, ..Setup::default() },
            |_| (),
        ));
        rig.log.answer_soon(judge(7, &rig.behind.breaker));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let rig = Arc::clone(&rig);
                thread::spawn(move || ask(&rig, number))
            })
            .collect();
        let told: Vec<Told> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        let exchanges = rig.log.exchanges();
        let complete = || exchanges.iter().filter(|exchange| exchange.complete);
        let sent: HashMap<String, &Told> = told.iter().map(|told| (name(&told.request), told)).collect();
        for exchange in complete() {
            assert!(exchange.request == sent[&name(&exchange.request)].request);
            let response = exchange.response.as_deref().unwrap_or_default();
            assert!(OK.as_bytes().starts_with(response), "{}", String::from_utf8_lossy(response));
        }
        let recorded = counts(complete().map(|exchange| exchange.request.as_slice()));
        let got: Vec<Vec<u8>> = source.got().iter().flat_map(|got| messages(got)).collect();
        let got = counts(got.iter().map(Vec::as_slice));
        let listed = rig.behind.listed(rig.behind.lines() as usize);
        let phantoms = listed.iter().filter(|listed| !listed.loss.forwarded).count() as u64;
        assert_eq!(rig.behind.losses.phantoms(), phantoms);
        let listed: HashMap<&str, _> =
            listed.iter().map(|listed| (listed.loss.target.as_str(), &listed.loss)).collect();
        let (mut refused, mut missing) = (0, 0);
        for (name, told) in &sent {
            let count = |counts: &HashMap<String, usize>| counts.get(name).copied().unwrap_or_default();
            let (recorded, got, loss) = (count(&recorded), count(&got), listed.get(name.as_str()));
            match (told.is_write, told.status) {
                (false, 200) => assert!(recorded <= 1 && got == 1 && loss.is_none(), "{name}"),
                (true, 200) if loss.is_none() => assert_eq!((recorded, got), (1, 1), "{name}"),
                (true, 200) => {
                    let loss = loss.unwrap();
                    assert!(on_failure == OnFailure::Forward && loss.forwarded && got == 1, "{name}: {loss:?}");
                    assert!(recorded <= usize::from(loss.perhaps_there), "{name}: {loss:?}");
                    missing += 1;
                }
                (true, 503) => {
                    assert!(on_failure == OnFailure::Refuse && got == 0, "{name}");
                    assert!(recorded == 0 || loss.is_some_and(|loss| loss.perhaps_there), "{name}");
                    refused += 1;
                }
                (_, status) => panic!("{name}: {status}"),
            }
        }
        assert!(refused + missing > 10, "{refused} refused, {missing} lost: the log did fail");
    }
}

/// The whole messages that came on a connection.
fn messages(mut got: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while let Some(length) = whole(got) {
        messages.push(got[..length].to_vec());
        got = &got[length..];
    }
    messages
}
