//! The metrics port over a real Prometheus server: what it scraped of our own proxies is what clients sent, and nothing that
//! it did not see is taken for zero.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use cutover::{
    Policy, Timestamp, Window,
    event::{Check, CheckOutcome, Retry},
    policy::{Counted, MetricsPolicy, Preset, PrometheusPolicy},
};
use proxy::{
    Handle, Proxy,
    config::{Control, Side},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tidegate::{
    clock::Clock,
    metrics::{MetricSource as _, prometheus::Prometheus},
};
use tidegate_tests::servers::{free_port, nginx, prometheus};

/// Longer than a scrape and its landing in the store.
const SCRAPED: Duration = Duration::from_millis(2500);

/// How long a sample may be late; scrapes are a second apart.
const SETTLE: Duration = Duration::from_secs(4);

/// What the proxy's control API and Prometheus know alike.
const TOKEN: &str = "a-token-of-the-test";

fn asked(url: &str, preset: Preset, sides: [&str; 2]) -> PrometheusPolicy {
    PrometheusPolicy {
        url: url.to_owned(),
        authorization: None,
        ca: None,
        settle: SETTLE,
        counts: preset.counts(),
        latency_unit: preset.latency_unit(),
        source: sides[0].to_owned(),
        target: sides[1].to_owned(),
        queries: preset.queries(),
    }
}

fn by(policy: PrometheusPolicy) -> Prometheus {
    let tolerances = vec![("`guards.latency`".to_owned(), 1)];
    Prometheus::new(policy, Duration::from_secs(2), tolerances, Clock::system()).expect("the authority can be read")
}

fn source(url: &str, preset: Preset, sides: [&str; 2]) -> Prometheus {
    by(asked(url, preset, sides))
}

fn now() -> Timestamp {
    tidegate::clock::now()
}

/// One request to the proxy; which side answered.
fn ask(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the proxy listens");
    stream.write_all(request.as_bytes()).expect("an open connection");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("a whole answer");
    let side = answer.lines().find_map(|line| line.strip_prefix("X-Side: "));
    side.unwrap_or_else(|| panic!("nobody answered: {answer}")).to_owned()
}

const READ: &str = "GET /1k HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
const BROKEN: &str = "GET /status/500 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
const WRITE: &str = "POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";

/// Sends `reads` that are answered, `broken` that are answered with 500, and `writes`; how many of each the source and the
/// target had.
fn send(port: u16, reads: u64, broken: u64, writes: u64) -> [[u64; 3]; 2] {
    let mut had = [[0; 3]; 2];
    for (kind, (request, count)) in [(READ, reads), (BROKEN, broken), (WRITE, writes)].into_iter().enumerate() {
        for _ in 0..count {
            had[usize::from(ask(port, request) == "target")][kind] += 1;
        }
    }
    had
}

/// A proxy in this process that can be scraped by TCP.
fn start(listen: u16, control: u16, upstreams: &nginx::Nginx) -> Handle {
    let side = |place: usize| {
        let url = format!("http://127.0.0.1:{}", upstreams.ports[place]);
        Side::new(vec![url.parse().expect("an upstream")])
    };
    let mut config = proxy::Config::new(format!("127.0.0.1:{listen}").parse().expect("an address"), side(0));
    config.target = Some(side(1));
    (config.reads, config.writes) = (400, 250);
    let address = format!("127.0.0.1:{control}").parse().expect("an address");
    config.control = Some(Control::Tcp { address, token: TOKEN.to_owned() });
    Proxy::start(config).expect("it starts")
}

/// Everything from before `act` until it is scraped.
async fn around<T>(act: impl FnOnce() -> T) -> (Window, T) {
    let from = now();
    tokio::time::sleep(SCRAPED).await;
    let done = act();
    let to = now();
    tokio::time::sleep(SCRAPED).await;
    (Window { from, to }, done)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_prometheus_scraped_is_what_clients_sent() {
    // Proves, over a real server that scrapes our proxy with its token: every count of both sides and classes is exactly what
    // clients sent; a proxy that came up again gives neither negative nor invented counts; the past has the same; and a server
    // that is stopped leaves everything unknown.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let upstreams = nginx::upstreams(folder.path(), &["source", "target"]);
    let (listen, control) = (free_port(), free_port());
    let proxy = start(listen, control, &upstreams);
    let mut server =
        prometheus::start(folder.path(), &[prometheus::Job { name: "proxy", port: control, token: Some(TOKEN) }]);
    let metrics = source(&server.url(), Preset::Tidegate, ["side=\"source\"", "side=\"target\""]);
    let begun = now();
    tokio::time::sleep(SCRAPED).await;

    let (window, had) = around(|| send(listen, 300, 40, 110)).await;
    let counted = metrics.observe(window).await.expect("it is counted");
    for (had, reads, writes) in [
        (had[0], &counted.reads.source, &counted.writes.source),
        (had[1], &counted.reads.target, &counted.writes.target),
    ] {
        assert_eq!([reads.status_2xx, reads.status_5xx, writes.status_2xx], had);
        assert_eq!((reads.requests, writes.requests), (had[0] + had[1], had[2]));
        assert_eq!((reads.latency.total(), writes.latency.total()), (reads.requests, writes.requests));
        assert!(had.iter().all(|count| *count > 0), "both sides were used: {had:?}");
    }
    // What is quicker than the first bound is counted there.
    let mut ours = judge::Histogram::default();
    for (bucket, count) in proxy.counters().source.reads.latency.iter() {
        ours.add(bucket.max(96), count);
    }
    assert_eq!(counted.reads.source.latency, ours, "bucket for bucket");

    let (quiet, ()) = around(|| ()).await;
    let nothing = metrics.observe(quiet).await.expect("it is counted");
    let requests = nothing.reads.source.requests + nothing.writes.target.requests;
    assert_eq!(requests, 0, "a quiet time is a zero that was seen");

    let (window, (had, _proxy)) = around(|| {
        let mut had = send(listen, 50, 0, 10);
        std::thread::sleep(SCRAPED);
        drop(proxy);
        for port in [listen, control] {
            let freed = (0..1000).any(|_| {
                std::thread::sleep(Duration::from_millis(10));
                TcpListener::bind(("127.0.0.1", port)).is_ok()
            });
            assert!(freed, "port {port} is still held");
        }
        let proxy = start(listen, control, &upstreams);
        for (had, more) in had.iter_mut().flatten().zip(send(listen, 20, 0, 5).into_iter().flatten()) {
            *had += more;
        }
        (had, proxy)
    })
    .await;
    match metrics.observe(window).await {
        Ok(counted) => {
            let reads = [counted.reads.source.requests, counted.reads.target.requests];
            let sent = [had[0][0], had[1][0]];
            assert!(reads[0] <= sent[0] && reads[1] <= sent[1], "{reads:?} of {sent:?}");
            assert!(
                reads[0] + reads[1] >= 50,
                "only what was lost with the process may be missing: {reads:?} of {sent:?}"
            );
        }
        Err(unknown) => assert!(unknown.to_string().contains("not sampled"), "{unknown}"),
    }
    let (window, had) = around(|| send(listen, 30, 0, 0)).await;
    let counted = metrics.observe(window).await.expect("it is counted");
    assert_eq!([counted.reads.source.requests, counted.reads.target.requests], [had[0][0], had[1][0]]);

    tokio::time::sleep(SETTLE).await;
    let past =
        metrics.history(Window { from: begun, to: now() }, Duration::from_secs(2)).await.expect("there is a past");
    assert!(!past.is_empty() && past.windows(2).all(|pair| pair[0].window.to == pair[1].window.from));
    // Nothing was sent in the first moments of that window, longer than a row.
    let rows = past.iter().filter(|row| row.window.from >= window.from);
    let requests: u64 = rows.map(|row| row.reads.source.requests + row.reads.target.requests).sum();
    assert_eq!(requests, 30, "the past has the same");

    let checks = metrics.survey().await.expect("it can be asked");
    assert_eq!(outcome(&checks, "numbers"), CheckOutcome::Pass, "{checks:?}");
    assert_eq!(outcome(&checks, "samples"), CheckOutcome::Pass, "{checks:?}");

    let from = now();
    tokio::time::sleep(SCRAPED).await;
    server.process.stop();
    let unknown = metrics.observe(Window { from, to: now() }).await.expect_err("nobody answers");
    assert_eq!(unknown.retry, Retry::Later, "{unknown}");
}

fn outcome(checks: &[Check], name: &str) -> CheckOutcome {
    checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no `{name}` in {checks:?}")).outcome
}

/// An exporter that says what it is told.
struct Exporter {
    port: u16,
    text: Arc<Mutex<String>>,
}

impl Exporter {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the kernel's choosing");
        let port = listener.local_addr().expect("it is bound").port();
        let text = Arc::new(Mutex::new(String::new()));
        let said = Arc::clone(&text);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream);
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
                    line.clear();
                }
                let body = said.lock().expect("nobody panics while holding it").clone();
                // Who does not read the answer has gone: the next one is answered.
                let _ = write!(
                    reader.get_mut(),
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        Self { port, text }
    }

    fn say(&self, text: String) {
        *self.text.lock().expect("nobody panics while holding it") = text;
    }
}

/// What an Envoy in front of two clusters says: `answers` of each by 2XX and 5XX, and answers within 10, 100 ms and above.
fn envoy(blue: [u64; 5], green: Option<[u64; 5]>) -> String {
    let mut lines = vec!["# TYPE envoy_cluster_upstream_rq_xx counter".to_owned()];
    let clusters = [("blue", Some(blue)), ("green", green)];
    for (name, counts) in clusters {
        let Some([good, bad, ..]) = counts else { continue };
        // Envoy makes a class when the first answer of it comes.
        for (class, count) in [(2, good), (5, bad)].into_iter().filter(|(_, count)| *count > 0) {
            let labels = format!("envoy_response_code_class=\"{class}\",envoy_cluster_name=\"{name}\"");
            lines.push(format!("envoy_cluster_upstream_rq_xx{{{labels}}} {count}"));
        }
    }
    lines.push("# TYPE envoy_cluster_upstream_rq_time histogram".to_owned());
    for (name, counts) in clusters {
        let Some([_, _, quick, usual, slow]) = counts else { continue };
        for (le, upto) in [("10", quick), ("100", quick + usual), ("+Inf", quick + usual + slow)] {
            let labels = format!("envoy_cluster_name=\"{name}\",le=\"{le}\"");
            lines.push(format!("envoy_cluster_upstream_rq_time_bucket{{{labels}}} {upto}"));
        }
    }
    lines.join("\n") + "\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_is_counted_by_its_own_names() {
    // Proves for Envoy's format: classes that are made when they are needed count from zero, milliseconds are milliseconds, a
    // side without any series is unknown, and preflight says that coarse buckets leave a guard without tolerance.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let exporter = Exporter::start();
    exporter.say(envoy([1000, 0, 900, 90, 10], None));
    let server =
        prometheus::start(folder.path(), &[prometheus::Job { name: "envoy", port: exporter.port, token: None }]);
    let sides = ["envoy_cluster_name=\"blue\"", "envoy_cluster_name=\"green\""];
    let metrics = source(&server.url(), Preset::Envoy, sides);
    tokio::time::sleep(SCRAPED).await;
    let (window, ()) = around(|| exporter.say(envoy([1200, 0, 1080, 108, 12], None))).await;
    let unknown = metrics.observe(window).await.expect_err("there is nothing of green");
    assert!(unknown.to_string().contains("no series of the target"), "{unknown}");
    let told = metrics.survey().await.expect("it can be asked");
    assert_eq!(outcome(&told, "numbers"), CheckOutcome::Fail, "{told:?}");

    exporter.say(envoy([1200, 0, 1080, 108, 12], Some([5, 0, 5, 0, 0])));
    tokio::time::sleep(SCRAPED).await;
    let (window, ()) = around(|| exporter.say(envoy([1300, 2, 1170, 119, 13], Some([45, 3, 20, 25, 3])))).await;
    let counted = metrics.observe(window).await.expect("it is counted");
    let (blue, green) = (&counted.writes.source, &counted.writes.target);
    assert_eq!((blue.requests, blue.status_2xx, blue.status_5xx), (102, 100, 2));
    assert_eq!((green.requests, green.status_2xx, green.status_5xx), (43, 40, 3));
    let above = |micros: u64| green.latency.above(judge::Histogram::bucket_of(micros));
    assert_eq!((green.latency.total(), above(10_000), above(100_000)), (43, 28, 3));
    let told = metrics.survey().await.expect("it can be asked");
    let buckets = told.iter().find(|check| check.name == "latency buckets").expect("buckets are looked at");
    assert!(
        buckets.outcome == CheckOutcome::Warn && buckets.evidence.contains("893 % apart"),
        "10 and 100 ms, as the judge has them, cannot carry a tolerance of one bucket: {buckets:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_behind_tls_and_a_password_is_asked_by_its_authority_and_by_name() {
    // Proves with Prometheus' own web configuration that `metrics.ca` and `metrics.authorization` are what lets us in, that
    // counts come as from any other, and that without either, or with a wrong one, nothing is known and the words say why.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let put = |name: &str, text: String| std::fs::write(path(name), text).expect("a new file");
    for authority in ["ours", "strange"] {
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("a sound request");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Authorities are told apart by their names.
        params.distinguished_name.push(DnType::CommonName, authority);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a sound request");
        let signed = params.signed_by(&key, &issuer).expect("a signature");
        put(&format!("{authority}.pem"), issuer.pem());
        put(&format!("{authority}.crt"), signed.pem());
        put(&format!("{authority}.key"), key.serialize_pem());
    }
    put("known", "Basic cmVhZGVyOnNlc2FtZQ==\n".to_owned());
    put("wrong", "Basic cmVhZGVyOndyb25n\n".to_owned());
    // The bcrypt of `sesame`.
    let web = "tls_server_config:\n  cert_file: ours.crt\n  key_file: ours.key\n\
               basic_auth_users:\n  reader: $2b$04$abcdefghijklmnopqrstuuinwY/tkBVrn3xrxQI/TgnMHhkvl85RW\n";
    let exporter = Exporter::start();
    exporter.say(envoy([1000, 0, 900, 90, 10], Some([5, 0, 5, 0, 0])));
    let jobs = [prometheus::Job { name: "envoy", port: exporter.port, token: None }];
    let server = prometheus::guarded(folder.path(), &jobs, web);
    let url = format!("https://127.0.0.1:{}", server.port);
    let sides = ["envoy_cluster_name=\"blue\"", "envoy_cluster_name=\"green\""];
    let with = |ca: Option<&str>, authorization: Option<&str>| {
        by(PrometheusPolicy {
            ca: ca.map(path),
            authorization: authorization.map(|name| format!("file:{}", path(name))),
            ..asked(&url, Preset::Envoy, sides)
        })
    };
    let metrics = with(Some("ours.pem"), Some("known"));
    // It looks for what to scrape each five seconds.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let (window, ()) = around(|| exporter.say(envoy([1100, 2, 990, 99, 11], Some([45, 3, 20, 25, 3])))).await;
    let counted = metrics.observe(window).await.expect("it is counted");
    assert_eq!((counted.writes.source.requests, counted.writes.target.requests), (102, 43));
    let told = metrics.survey().await.expect("it can be asked");
    assert_eq!(outcome(&told, "samples"), CheckOutcome::Pass, "{told:?}");
    for (ca, authorization, retry, word) in [
        (Some("ours.pem"), None, Retry::Never, "refuses these credentials (401 Unauthorized)"),
        (Some("ours.pem"), Some("wrong"), Retry::Never, "give the whole value in `metrics.authorization`"),
        (Some("ours.pem"), Some("nothing"), Retry::Never, "cannot read the secret `file:"),
        (Some("strange.pem"), Some("known"), Retry::Later, "cannot speak TLS with `https://127.0.0.1"),
        (None, Some("known"), Retry::Later, "UnknownIssuer"),
    ] {
        let unknown = with(ca, authorization).observe(window).await.expect_err("it is not let in");
        assert!(unknown.retry == retry && unknown.to_string().contains(word), "{ca:?} {authorization:?}: {unknown}");
        assert!(!unknown.to_string().contains("cmVh"), "the secret is not told: {unknown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn minutes_of_cloudwatch_come_through_an_exporter() {
    // Proves for an exporter of CloudWatch in its own names and times: minutes are counted once each, what a target group did
    // not answer is a failure, and a minute that was not published is unknown.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let exporter = Exporter::start();
    let minute = now().0.div_euclid(60_000) * 60_000 - 12 * 60_000;
    let say = |at: i64, requests: u64, good: u64| {
        let lines = [
            ("request_count_sum", "targetgroup/blue/1", requests),
            ("httpcode_target_2_xx_count_sum", "targetgroup/blue/1", good),
            ("healthy_host_count_average", "targetgroup/blue/1", 2),
            ("healthy_host_count_average", "targetgroup/green/2", 2),
        ]
        .map(|(name, group, value)| {
            format!("aws_applicationelb_{name}{{load_balancer=\"app/x/1\",target_group=\"{group}\"}} {value} {at}")
        });
        exporter.say(lines.join("\n") + "\n");
    };
    let server = prometheus::start(folder.path(), &[prometheus::Job { name: "aws", port: exporter.port, token: None }]);
    let matchers = |group: &str| format!("target_group=\"{group}\"");
    let (blue, green) = (matchers("targetgroup/blue/1"), matchers("targetgroup/green/2"));
    let metrics = source(&server.url(), Preset::CloudwatchExporter, [&blue, &green]);
    for (place, requests, good) in [(0, 600, 590), (1, 500, 500), (3, 400, 400)] {
        say(minute + place * 60_000, requests, good);
        tokio::time::sleep(SCRAPED).await;
    }
    let window = |from: i64, minutes: i64| Window {
        from: Timestamp(minute + from),
        to: Timestamp(minute + from + minutes * 60_000),
    };
    let counted = metrics.observe(window(-5_000, 2)).await.expect("it is counted");
    let counts = &counted.writes.source;
    assert_eq!((counts.requests, counts.status_2xx, counts.failed), (1100, 1090, 10));
    assert_eq!((counted.writes.target.requests, counted.writes.millis), (0, 120_000));
    let unknown = metrics.observe(window(60_000, 3)).await.expect_err("a minute is missing");
    assert!(unknown.to_string().contains("nothing of the minute"), "{unknown}");
}

#[test]
fn the_sample_policy_asks_prometheus() {
    // Proves that the sample is about what it says, in the words that the adapter reads.
    let text = include_str!("../../policies/prometheus.toml");
    let policy: Policy = cutover::policy::read(text, "prometheus.toml").expect("it is sound");
    let MetricsPolicy::Prometheus(prometheus) = &policy.metrics else { panic!("{:?}", policy.metrics) };
    assert_eq!((prometheus.counts, policy.metrics.tells_writes()), (Counted::Counters, true));
}
