//! What is in a topic, on a real broker: the records that the Java proxy wrote, written out again, and those of our own proxy,
//! held against what came to it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use cutover::Timestamp;
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use tidegate_tests::servers::{Process, built_binary, free_port, kafka::broker, nginx};

use crate::{
    daemon::{Said, clients, verb},
    load::Pool,
};

const TOPIC: &str = "java";

/// How long a broker may take for one thing; builds may run beside the tests.
const PATIENCE: Duration = Duration::from_mins(1);

/// The Java proxy's topic, a base64 record a line.
fn vectors() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/java-topic.b64.gz");
    let output = Command::new("gzip").arg("-dc").arg(path).output().expect("gzip is a program everywhere");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("base64").lines().map(str::to_owned).collect()
}

/// Writes the records into the topic, one a second by their own times, from `first` on.
fn fill(brokers: &str, lines: &[String], first: Timestamp) {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("enable.idempotence", "true").set("message.max.bytes", "1048588");
    let producer: BaseProducer = config.create().expect("sound settings");
    for (number, line) in (0..).zip(lines) {
        let (key, value) = (format!("key-{number}"), STANDARD.decode(line).expect("base64"));
        let record = BaseRecord::to(TOPIC).key(&key).payload(&value).timestamp(first.0 + number * 1000);
        producer.send(record).map_err(|(error, _)| error).expect("room for these records");
    }
    producer.flush(PATIENCE).expect("the broker takes them");
}

/// Proves that `kafka dump` writes what is in a topic, whole or a part by offset or time, as lines that `capture cat` takes for
/// the same requests, and that it says what cannot be.
#[test]
fn a_topic_is_written_as_lines_that_are_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = broker(folder.path(), &["num.partitions=1", "message.max.bytes=1048588"]);
    let (brokers, lines) = (broker.plaintext(), vectors());
    assert_eq!(lines.len(), 120);
    let first = Timestamp(tidegate::clock::now().0 / 1000 * 1000 - 600_000);
    fill(&brokers, &lines, first);
    let dump = |more: &[&str]| -> Said {
        verb(&[&["kafka", "dump", "--kafka", &brokers, "--topic", TOPIC], more].concat(), &[])
    };
    let part = |more: &[&str]| -> Vec<String> { dump(more).expect(0).out.lines().map(str::to_owned).collect() };
    let second = |number: i64| tidegate::clock::rfc3339(Timestamp(first.0 + number * 1000));

    let whole: PathBuf = folder.path().join("dumped");
    let out = whole.display().to_string();
    dump(&["--out", &out]).expect(0);
    let written = fs::read_to_string(&whole).expect("a file");
    assert_eq!(written.lines().collect::<Vec<_>>(), lines, "what was written is what there is");
    let original = folder.path().join("original");
    fs::write(&original, lines.join("\n")).expect("a file");
    let cat = |path: &Path| verb(&["capture", "cat", "--file", &path.display().to_string(), "--json"], &[]).expect(0);
    let (ours, theirs) = (cat(&whole), cat(&original));
    assert_eq!((ours.out.lines().count(), &ours.out), (181, &theirs.out), "the same requests");

    assert_eq!(part(&["--start-offset", "10", "--end-offset", "30"]), lines[10..30]);
    assert_eq!(part(&["--partition", "0", "--start-offset", "110"]), lines[110..]);
    assert_eq!(part(&["--start-time", &second(40), "--end-time", &second(50)]), lines[40..50]);
    assert_eq!(part(&["--end-time", &second(3)]), lines[..3]);
    assert_eq!(part(&["--start-time", &second(500)]), Vec::<String>::new());
    let keyed = part(&["--keys", "--start-offset", "7", "--end-offset", "8"]);
    assert_eq!(keyed, [format!("key-7|{}", lines[7])]);

    for (more, wanted) in [
        (&["--partition", "7"][..], "there is no partition 7 in `java`: it has 1, from 0 on"),
        (&["--out", &out], "cannot make"),
    ] {
        let refused = dump(more).expect(1);
        assert!(refused.err.contains(wanted), "{refused:?}");
    }
    assert_eq!(fs::read_to_string(&whole).expect("a file"), written, "a file that is there stays as it is");
}

/// A capture proxy before nginx, that leaves out what `more` says, and its control address.
fn capturing(folder: &Path, upstream: u16, brokers: &str, topic: &str, more: &[&str]) -> (Process, u16, String) {
    let (port, control) = (free_port(), format!("unix:{}", folder.join(format!("{topic}.sock")).display()));
    let mut command = Command::new(built_binary());
    command.args(["proxy", "--listen", &format!("127.0.0.1:{port}"), "--plaintext", "--control", &control]);
    command.args(["--source", &format!("http://127.0.0.1:{upstream}"), "--capture", "kafka", "--kafka", brokers]);
    command.args(["--topic", topic, "--create-topic", "2", "--loss-log"]).arg(folder.join(format!("{topic}.jsonl")));
    let mut process = Process::start(topic, folder, {
        command.args(more);
        command
    });
    process.wait_for_line("listening on http://127.0.0.1:", PATIENCE);
    (process, port, control)
}

/// Proves that an interval's captured requests are those that its proxy had, while traffic goes on; and that a proxy that leaves
/// some out, or a number that is wrong, is told by the exit code.
#[test]
fn what_is_captured_is_held_against_what_came() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = broker(folder.path(), &[]);
    let brokers = broker.plaintext();
    let upstreams = nginx::upstreams(folder.path(), &["source"]);
    let look = |topic: &str, more: &[&str]| -> Said {
        let asked =
            ["kafka", "describe-topic-records", "--kafka", &brokers, "--topic", topic, "--tolerance", "2%", "--json"];
        verb(&[&asked[..], more].concat(), &[])
    };
    for (topic, more, code) in [("whole", &[][..], 0), ("partly", &["--suppress-method", "POST"][..], 1)] {
        let (mut proxy, port, control) = capturing(folder.path(), upstreams.ports[0], &brokers, topic, more);
        let clients = clients(port, 4);
        let told = look(topic, &["--interval", "5s", "--expect-from", "proxy", "--proxy", &control]).expect(code);
        assert!(told.err.contains("5 of 5 s are over"), "{told:?}");
        let told = told.json().remove(0);
        let (captured, expected) = (told["captured"].as_u64(), told["expected"].as_u64());
        println!("{topic}: {told}");
        assert!(captured > Some(100) && expected > Some(100), "{told}");
        assert_eq!(told["ok"], code == 0, "{told}");
        look(topic, &["--interval", "1s", "--expect-from", "1"]).expect(1);
        drop(clients.map(Pool::stop));
        proxy.signal("TERM");
        assert!(proxy.wait(PATIENCE).success(), "{}", proxy.log());
    }
    let refused = look("whole", &["--interval", "1s", "--expect-from", "proxy"]).expect(1);
    assert!(refused.err.contains("name the control API of each proxy"), "{refused:?}");
}
