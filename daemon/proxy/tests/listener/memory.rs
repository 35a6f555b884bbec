//! What passes is not kept. It is measured for the whole process, so the tests beside it must keep little.

use crate::support::{client, proxy_for, upstream};

/// Proves that 100 MB pass each way in bounded memory, although neither end hurries.
#[test]
fn large_bodies_stream_in_bounded_memory() {
    const BYTES: usize = 100 * 1024 * 1024;
    let source = upstream(|mut peer| {
        let head = peer.head().unwrap();
        let mut left: usize = head.field("content-length").unwrap().parse().unwrap();
        let mut buffer = vec![0; 1 << 20];
        left -= peer.drain_pending();
        while left > 0 {
            left -= std::io::Read::read(&mut peer.stream, &mut buffer).unwrap();
        }
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n"));
        for _ in 0..BYTES / buffer.len() {
            peer.send(&buffer);
        }
    });
    let handle = proxy_for(source);
    let mut client = client(&handle);
    let before = resident_kib();
    client.send(format!("POST /_bulk HTTP/1.1\r\nHost: x\r\nContent-Length: {BYTES}\r\n\r\n"));
    let chunk = vec![b'x'; 1 << 20];
    for _ in 0..BYTES / chunk.len() {
        client.send(&chunk);
    }
    client.head().unwrap();
    let mut got = client.drain_pending();
    let mut buffer = vec![0; 1 << 20];
    while got < BYTES {
        got += std::io::Read::read(&mut client.stream, &mut buffer).unwrap();
    }
    let grown = resident_kib().saturating_sub(before);
    // Test threads, their buffers and those of the other tests are in it too.
    assert!(grown < 48 * 1024, "{grown} KiB more than before");
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
