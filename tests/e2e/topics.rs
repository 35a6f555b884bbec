//! What is in a topic, on a real broker: the records that the Java proxy wrote, written out again, those of our own proxy, held
//! against what came to it, and what others write into the same topic.

use std::{
    fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
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

    let described = |more: &[&str]| -> Said {
        verb(&[&["kafka", "describe-topic-records", "--kafka", &brokers, "--topic", TOPIC], more].concat(), &[])
    };
    let ends = described(&["--offsets-only", "--json"]).expect(0).json().remove(0);
    let partition = serde_json::json!({ "partition": 0, "first_offset": 0, "end_offset": 120 });
    assert_eq!(ends, serde_json::json!({ "topic": TOPIC, "partitions": [partition] }), "nothing else is known");
    let page = described(&["--offsets-only"]).expect(0).out;
    let columns: Vec<Vec<&str>> = page.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(columns, [["TOPIC", "PARTITION", "RECORDS"], [TOPIC, "0", "120"]]);
    let last = folder.path().join("last");
    fs::write(&last, lines[60..].join("\n")).expect("a file");
    for (asked, path, records) in [("60", &last, 60), ("1000", &original, 120)] {
        let complete = cat(path).json().iter().filter(|exchange| exchange["complete"] == true).count();
        let told = described(&["--last", asked, "--json"]).expect(0).json().remove(0);
        assert_eq!((&told["records"], &told["requests"]), (&records.into(), &complete.into()), "{asked}: {told}");
    }
    described(&["--last", "1", "--offsets-only"]).expect(2);

    for (more, wanted) in [
        (&["--partition", "7"][..], "there is no partition 7 in `java`: it has 1, from 0 on"),
        (&["--out", &out], "cannot make"),
    ] {
        let refused = dump(more).expect(1);
        assert!(refused.err.contains(wanted), "{refused:?}");
    }
    assert_eq!(fs::read_to_string(&whole).expect("a file"), written, "a file that is there stays as it is");
}

/// Proves what somebody is told who has the command line from memory: what is missing, by exit code 2 where it is the flags;
/// which topics there are, and that there are none.
#[test]
fn who_asks_amiss_is_told_what_to_say() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = broker(folder.path(), &["num.partitions=2"]);
    let brokers = broker.plaintext();
    let none = verb(&["kafka", "list-topics", "--kafka", &brokers], &[]).expect(0);
    assert!(none.out.is_empty() && none.err.contains("there is no topic on these brokers"), "{none:?}");
    fill(&brokers, &vectors()[..3], Timestamp(1));
    let some = verb(&["kafka", "list-topics", "--kafka", &brokers], &[]).expect(0);
    assert!(some.out.starts_with(TOPIC) && some.err.is_empty(), "{some:?}");

    let at = ["--kafka", &brokers, "--topic", TOPIC];
    let records = ["kafka", "describe-topic-records", "--kafka", &brokers];
    for (asked, code, wanted) in [
        (["kafka", "list-topics"].to_vec(), 2, "name them with --kafka HOST:PORT"),
        (records.to_vec(), 1, "there is no topic `logging-traffic-topic` there: `tidegate kafka list-topics`"),
        ([&["kafka", "dump"][..], &at, &["--start-offset", "1"]].concat(), 2, "`java` has 2: name --partition"),
        ([&["kafka", "dump"][..], &at, &["--partition", "0", "--start-offset", "-1"]].concat(), 2, "-1 is not in"),
        (["capture", "cat"].to_vec(), 2, "--kafka HOST:PORT with --topic, --dir DIR, or --file FILE"),
        ([&["capture", "cat", "--file", "x"][..], &at].concat(), 2, "leave one of both out"),
        (["capture", "cat", "--file", "x", "--topic", TOPIC].to_vec(), 2, "--topic is given, and a file or a folder"),
        (
            [&records[..], &["--topic", TOPIC, "--interval", "1s", "--expect-from", "nlb"]].concat(),
            2,
            "`proxy` nor `alb`",
        ),
        (
            [&records[..], &["--topic", TOPIC, "--interval", "1s", "--expect-from", "1", "--target-group", "x"]]
                .concat(),
            2,
            "--target-group means something with --expect-from alb alone",
        ),
    ] {
        let said = verb(&asked, &[]).expect(code);
        assert!(said.out.is_empty() && said.err.contains(wanted), "{asked:?}: {said:?}");
    }
    let gone =
        [&records[..], &["--topic", TOPIC, "--interval", "1s", "--expect-from", "proxy", "--proxy", "unix:/nowhere"]];
    let gone = verb(&gone.concat(), &[]).expect(1);
    assert_eq!(gone.err.matches("No such file").count(), 1, "a cause is said once: {gone:?}");
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

/// Asks as a load balancer that looks whether the proxy is well, for about four seconds.
fn probe(port: u16) {
    for _ in 0..20 {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("the proxy listens");
        let head = "GET /1k HTTP/1.1\r\nHost: x\r\nUser-Agent: ELB-HealthChecker/2.0\r\nConnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).expect("it reads");
        stream.read_to_end(&mut Vec::new()).expect("it answers");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Proves that an interval's captured requests are those that its proxy had, while traffic goes on; and that a proxy that leaves
/// some out, or a number that is wrong, is told by the exit code.
#[test]
fn what_is_captured_is_held_against_what_came() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = broker(folder.path(), &[]);
    let brokers = broker.plaintext();
    let upstreams = nginx::upstreams(folder.path(), &["source", "target"]);
    let look = |topic: &str, more: &[&str]| -> Said {
        let asked =
            ["kafka", "describe-topic-records", "--kafka", &brokers, "--topic", topic, "--tolerance", "2%", "--json"];
        verb(&[&asked[..], more].concat(), &[])
    };
    for (topic, more, code) in [("whole", &[][..], 0), ("partly", &["--suppress-method", "POST"][..], 1)] {
        let (mut proxy, port, control) = capturing(folder.path(), upstreams.ports[0], &brokers, topic, more);
        let clients = clients(port, 4);
        let probes = std::thread::spawn(move || probe(port));
        let told = look(topic, &["--interval", "5s", "--expect-from", "proxy", "--proxy", &control]).expect(code);
        assert!(told.err.contains("5 of 5 s are over"), "{told:?}");
        let told = told.json().remove(0);
        let (captured, expected) = (told["captured"].as_u64(), told["expected"].as_u64());
        println!("{topic}: {told}");
        assert!(captured > Some(100) && expected > Some(100), "{told}");
        assert_eq!(told["ok"], code == 0, "{told}");
        look(topic, &["--interval", "1s", "--expect-from", "1"]).expect(1);
        drop(clients.map(Pool::stop));
        probes.join().expect("probes are answered");
        assert!(told["probes"].as_u64() > Some(0), "probes are captured, and counted by nobody: {told}");
        proxy.signal("TERM");
        assert!(proxy.wait(PATIENCE).success(), "{}", proxy.log());
    }
    let refused = look("whole", &["--interval", "1s", "--expect-from", "proxy"]).expect(2);
    assert!(refused.err.contains("name the control API of each proxy"), "{refused:?}");
    each_side_has_its_topic(folder.path(), &brokers, &upstreams.ports);
}

/// Fails unless what each side was asked is in its own topic alone.
fn each_side_has_its_topic(folder: &Path, brokers: &str, ports: &[u16]) {
    let target = format!("http://127.0.0.1:{}", ports[1]);
    let more = ["--target", &target, "--target-topic", "of-target"];
    let (mut proxy, port, control) = capturing(folder, ports[0], brokers, "of-source", &more);
    let socket = Path::new(control.trim_start_matches("unix:"));
    for (generation, side, share) in [(1, "source", 0), (2, "target", 1000)] {
        let weight = serde_json::json!({ "target": share, "generation": generation });
        crate::support::control(socket, "PUT", "/v1/weight", Some(&weight)).expect("it takes a weight");
        for number in 0..10 {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("the proxy listens");
            let head = "HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
            stream.write_all(format!("POST /{side}-{number} {head}").as_bytes()).expect("it reads");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("it answers");
            assert!(answer.contains(&format!("X-Side: {side}\r\n")), "{answer}");
        }
    }
    proxy.signal("TERM");
    assert!(proxy.wait(PATIENCE).success(), "{}", proxy.log());
    for side in ["source", "target"] {
        use base64::{Engine as _, engine::general_purpose::STANDARD};

        let topic = format!("of-{side}");
        let read = verb(&["capture", "cat", "--kafka", brokers, "--topic", &topic, "--json"], &[]).expect(0);
        let asked = |exchange: &serde_json::Value| {
            let request = STANDARD.decode(exchange["request"].as_str().expect("base64")).expect("base64");
            String::from_utf8_lossy(&request).split(' ').nth(1).expect("a request line").to_owned()
        };
        let mut found: Vec<String> = read.json().iter().map(asked).collect();
        found.sort_unstable();
        assert_eq!(found, (0..10).map(|number| format!("/{side}-{number}")).collect::<Vec<_>>(), "{}", read.err);
    }
}

/// A producer of somebody else.
fn stranger(brokers: &str, more: &[(&str, &str)]) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("message.max.bytes", "33554432");
    for (name, value) in more {
        config.set(*name, *value);
    }
    config.create().expect("sound settings")
}

/// Writes a record with this value into the partition; `None` is a tombstone.
fn put(producer: &BaseProducer, partition: i32, value: Option<&[u8]>) {
    let mut record = BaseRecord::<str, [u8]>::to(TOPIC).partition(partition).key("somebody's\nkey");
    if let Some(value) = value {
        record = record.payload(value);
    }
    producer.send(record).map_err(|(error, _)| error).expect("room for these records");
}

/// Ends a stranger's writing, however its test ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Where the first partition holds what is not captured, and why.
const PLACES: [&str; 7] = [
    "partition 0, offset 60: ",
    "partition 0, offset 61: the record is cut off",
    "partition 0, offset 62: the record has no value",
    "partition 0, offset 63: what begins at byte 0 of the record is no field",
    "partition 0, offset 64: the record has no observation",
    "partition 0, offset 65: cannot read a record of 17825792 bytes: ",
    "partition 0, offset 66: ",
];

/// Proves that whatever else is in a topic (garbage, records that are cut off, tombstones, JSON, another protobuf, a record of
/// 17 MiB, compressed and transactional ones, some aborted, some open) is told with its place and counted by each verb that reads,
/// hides nothing of what is captured and is no failure of capture; and that fields of a later format are passed over.
#[test]
fn what_others_write_into_the_topic_is_told_and_hides_nothing() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    let folder = tempfile::tempdir().expect("a folder");
    let broker = broker(folder.path(), &["num.partitions=2", "message.max.bytes=33554432"]);
    let (brokers, lines) = (broker.plaintext(), vectors());
    let records: Vec<Vec<u8>> = lines.iter().map(|line| STANDARD.decode(line).expect("base64")).collect();
    let (ours, json) = (stranger(&brokers, &[]), stranger(&brokers, &[("compression.type", "gzip")]));
    let flush = |producer: &BaseProducer| producer.flush(PATIENCE).expect("the broker takes them");
    for record in &records[..60] {
        put(&ours, 0, Some(record));
    }
    let cut = &records[59][..records[59].len() - 7];
    let huge = vec![b'x'; 17 * 1024 * 1024];
    for value in
        [Some(&b"\xff\x00garbage"[..]), Some(cut), None, Some(b"{\"took\":3}"), Some(b"\xa2\x06\x01x"), Some(&huge)]
    {
        put(&ours, 0, value);
    }
    flush(&ours);
    for number in 0..30 {
        put(&json, 1, Some(format!("{{\"line\":{number}}}").as_bytes()));
    }
    flush(&json);
    let transactional = |id| {
        let producer = stranger(&brokers, &[("transactional.id", id)]);
        producer.init_transactions(PATIENCE).expect("a coordinator");
        producer.begin_transaction().expect("a transaction");
        producer
    };
    let (done, open) = (transactional("done"), transactional("open"));
    put(&done, 1, Some(b"kept"));
    done.commit_transaction(PATIENCE).expect("it is committed");
    done.begin_transaction().expect("a transaction");
    put(&done, 1, Some(b"aborted"));
    flush(&done);
    done.abort_transaction(PATIENCE).expect("it is aborted");
    // What is captured behind it is read all the same.
    put(&open, 0, Some(b"open"));
    flush(&open);
    put(&ours, 0, Some(&[&records[60][..], b"\xa2\x06\x05later"].concat()));
    for record in &records[61..] {
        put(&ours, 0, Some(record));
    }
    flush(&ours);

    let kafka = ["--kafka", &brokers, "--topic", TOPIC];
    let run = |what: &[&str], more: &[&str]| -> Said { verb(&[what, &kafka, more].concat(), &[]) };
    let described = run(&["kafka", "describe-topic-records"], &["--json"]).expect(0);
    println!("{}", described.err);
    let told = described.json().remove(0);
    let counts =
        |of: &serde_json::Value| ["records", "requests", "responses", "unreadable"].map(|name| of[name].as_u64());
    assert_eq!(counts(&told), [120, 179, 178, 39].map(Some), "{told}");
    assert_eq!(counts(&told["partitions"][0]), [120, 179, 178, 7].map(Some), "{told}");
    assert_eq!(described.err.lines().count(), 10, "the first ones are told: {described:?}");
    let (first, second): (Vec<_>, Vec<_>) = described.err.lines().partition(|line| line.starts_with("partition 0, "));
    assert!(second.iter().all(|line| line.starts_with("partition 1, offset ")), "{described:?}");
    // Partitions come in any order, so some of the first one may be among those that are only counted.
    for (line, place) in first.iter().zip(PLACES) {
        assert!(line.starts_with(place), "{line}");
    }
    let page = run(&["kafka", "describe-topic-records"], &[]).expect(0);
    assert!(page.out.contains("178 responses; 39 records are not of a capture proxy"), "{page:?}");

    let printed = run(&["capture", "cat"], &["--json"]).expect(1);
    assert_eq!(printed.json().len(), 181, "{}", printed.err);
    assert!(printed.err.contains("181 requests, 179 complete, 178 answered; 121 records"), "{}", printed.err);
    assert!(printed.err.contains("; 38 are no records and were passed over; 1 places"), "{}", printed.err);
    assert!(printed.err.contains("the topic, partition "), "{}", printed.err);

    let out = folder.path().join("dumped").display().to_string();
    let dumped = run(&["kafka", "dump"], &["--keys", "--out", &out]).expect(0);
    assert!(dumped.err.ends_with("158 records; 39 records are not of a capture proxy\n"), "{}", dumped.err);
    assert_eq!(fs::read_to_string(&out).expect("a file").lines().count(), 158);
    let again = verb(&["capture", "cat", "--file", &out, "--json"], &[]).expect(1);
    assert_eq!(again.json().len(), 181, "{}", again.err);
    assert!(again.err.contains("; 37 are no records and were passed over; 1 places"), "{}", again.err);

    let upstreams = nginx::upstreams(folder.path(), &["source"]);
    let (mut proxy, port, control) = capturing(folder.path(), upstreams.ports[0], &brokers, TOPIC, &[]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                put(&json, 1, Some(b"{\"still\":\"there\"}"));
                flush(&json);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let _stop = Stop(&stop);
        let url = format!("http://127.0.0.1:{port}");
        let verified = run(&["capture", "verify", "--url", &url], &["--json"]).expect(0);
        let told = verified.json().remove(0);
        assert!(told["found"] == 3 && told["unreadable"].as_u64() > Some(0), "{verified:?}");
        assert!(verified.err.starts_with("partition 1, offset "), "{verified:?}");
        let clients = clients(port, 4);
        let beside = ["--interval", "3s", "--expect-from", "proxy", "--proxy", &control, "--tolerance", "5%", "--json"];
        let held = run(&["kafka", "describe-topic-records"], &beside).expect(0);
        drop(clients.map(Pool::stop));
        let told = held.json().remove(0);
        assert!(told["captured"].as_u64() > Some(100) && told["unreadable"].as_u64() > Some(0), "{held:?}");
        assert!(held.err.contains("\npartition 1, offset "), "{held:?}");
    });
    assert!(!proxy.log().contains("the capture log fails"), "an open transaction is no failure: {}", proxy.log());
    proxy.signal("TERM");
    assert!(proxy.wait(PATIENCE).success(), "{}", proxy.log());
}
