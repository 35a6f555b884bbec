//! The second reader, which has none of our code, over the Java proxy's topic and over topics of our own.

use std::{io::Write as _, path::Path, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proxy::capture::{Lengths, Record, Stream};
use proxy::class::Class;

use crate::support::{at, recorder, vector};

/// Runs the reader; what it printed.
fn second_reader(arguments: &[&Path]) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/capture/capture_reader.py");
    let output = Command::new("python3").arg(script).args(arguments).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// Proves that the second reader, too, finds in the Java topic each byte that its client sent and got.
#[test]
fn the_second_reader_finds_the_clients_bytes_in_the_java_topic() {
    let topic = vector("java-topic.b64.gz");
    let said = second_reader(&[&topic, Path::new("--client"), &vector("java-client.jsonl.gz")]);
    assert!(said.ends_with("181 requests, 179 complete, 178 answered\n"), "{said}");
}

/// Proves that the second reader finds every rule kept in what we write, many connections at once, in small and in large
/// chunks, and reads as many requests as there were.
#[test]
fn the_second_reader_finds_every_rule_kept() {
    for chunk_bytes_max in [200, 250, 1_000, 1_048_076] {
        let recorder = recorder(chunk_bytes_max);
        let mut out: Vec<Record> = Vec::new();
        let mut streams: Vec<Stream> = (0..40).map(|number| Stream::new(&recorder, at(number))).collect();
        for (turn, millis) in (0..400usize).zip((100..).step_by(7)) {
            let now = at(millis);
            let stream = &mut streams[turn * 7 % 40];
            let body = vec![turn as u8; turn * 37 % 5_000];
            let head = format!("POST /i/_doc/{turn} HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
            let class = if turn % 3 == 0 { Class::Read } else { Class::Write };
            stream.begin(&recorder, now, class, [head.as_bytes(), &body[..body.len() / 2]], &mut out);
            stream.read(&recorder, now, [&body[body.len() / 2..], b""], &mut out);
            if turn % 50 == 49 {
                stream.drop_request(&recorder, now, &mut out);
                continue;
            }
            let _ = stream.end(&recorder, Lengths { first_line: 20, headers: 20 }, &mut out);
            stream.write(&recorder, now, [b"HTTP/1.1 200 OK\r\n\r\n", &body], &mut out);
            if turn % 11 == 0 {
                stream.flush(&mut out);
            }
        }
        for stream in &mut streams {
            stream.close(&recorder, at(10_000), None, &mut out);
        }
        let mut topic = tempfile::NamedTempFile::new().unwrap();
        for record in &out {
            writeln!(topic, "{}", STANDARD.encode(record.bytes())).unwrap();
        }
        let said = second_reader(&[topic.path(), Path::new("--strict")]);
        assert!(said.contains("of 40 connections keep every rule"), "{said}");
        let requests = second_reader(&[topic.path()]);
        assert_eq!(requests.lines().count(), 400, "{}", requests.lines().next().unwrap_or_default());
        assert_eq!(requests.lines().filter(|line| line.contains("\"complete\": true")).count(), 392);
    }
}
