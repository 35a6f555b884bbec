//! What a workflow file is taken for, and what is said about one that is wrong.

use expect_test::{Expect, expect};

use super::*;

/// As Migration Assistant's own tests and samples spell it.
const SAMPLE: &str = r#"
sourceClusters:
  source1:
    endpoint: "https://source.example.com:9200/"
    allowInsecure: true
    version: "ES 7.10.2"
    snapshotInfo: {repos: {}}
targetClusters:
  target1: {endpoint: "https://target.example.com:9200"}
snapshotMigrationConfigs: []
kafkaClusterConfiguration:
  default:
    autoCreate:
      topicSpecOverrides: {partitions: 2, config: {"retention.ms": 86400000}}
  external:
    existing:
      kafkaConnection: "broker1:9092,broker2:9092"
      auth: {type: scram-sha-512, secretName: external-user, caSecretName: external-ca}
traffic:
  proxies:
    capture:
      source: source1
      proxyConfig:
        listenPort: 9201
        podReplicas: 3
        setHeader: ["X-One: 1", X-Two, two]
        resources: {limits: {cpu: 500m}}
    plain:
      source: source1
      kafka: external
      kafkaTopic: other
      proxyConfig:
        listenPort: 9202
        serviceType: ClusterIP
        numThreads: 2
        otelMetricsCollectorEndpoint: http://otel-collector:4317
        tls: {mode: plaintext}
  replayers: {}
"#;

fn check(text: &str, expected: &Expect) {
    expected.assert_eq(&read(text, "w.yaml").expect_err("it is wrong").to_string());
}

/// Proves what a file is taken for: defaults where nothing is said, both spellings of headers, both kinds of brokers.
#[test]
fn a_workflow_is_read_as_migration_assistant_means_it() {
    let workflow = read(SAMPLE, "w.yaml").unwrap();
    let [first, second] = workflow.proxies.as_slice() else { panic!("{workflow:?}") };
    assert_eq!(
        (first.name.as_str(), first.listen_port, first.pod_replicas, first.service),
        ("capture", 9201, 3, ServiceType::LoadBalancer)
    );
    assert_eq!(first.source.endpoint, "https://source.example.com:9200");
    assert!(first.source.allow_insecure && first.tls == Tls::usual());
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(first.set_headers, [header("X-One", "1"), header("X-Two", "two")]);
    assert_eq!((first.resources.limits["cpu"].as_str(), first.resources.requests["cpu"].as_str()), ("500m", "3500m"));
    let capture = first.capture.as_ref().unwrap();
    assert_eq!((capture.topic.as_str(), capture.kafka.brokers.as_str()), ("capture", "default-kafka-bootstrap:9093"));
    let topic = capture.kafka.create.as_ref().unwrap();
    assert_eq!((topic.partitions, topic.replicas, topic.config["retention.ms"].as_str()), (2, 3, "86400000"));
    let capture = second.capture.as_ref().unwrap();
    assert_eq!((capture.topic.as_str(), capture.kafka.brokers.as_str()), ("other", "broker1:9092,broker2:9092"));
    assert!(matches!(&capture.kafka.auth, Auth::Scram { secret, .. } if secret == "external-user"));
    assert_eq!((second.threads, second.service, &second.tls), (Some(2), ServiceType::ClusterIp, &Tls::Plaintext));
    assert_eq!(workflow.warnings.len(), 1);
    assert!(workflow.warnings[0].to_string().contains("w.yaml:36:39: warning: "), "{}", workflow.warnings[0]);
    assert_eq!(workflow.proxy(Some("plain")).unwrap(), second);
    assert!(workflow.proxy(None).unwrap_err().to_string().contains("capture, plain"));
    assert_eq!(workflow.target("target1").unwrap().endpoint, "https://target.example.com:9200");
}

/// Proves that every problem is told at once, each where it stands.
#[test]
fn what_is_wrong_is_told_by_line_and_column() {
    check(
        "sourceClusters:
  s: {endpoint: \"ftp://x\"}
  t: {endpoint: \"http://t:9200\"}
traffic:
  proxies:
    One:
      source: s
      proxyConfig: {listenPort: 0, podReplicas: two, serviceType: NodePort}
    two:
      source: nothing
      kafka: elsewhere
      rogue: 1
      proxyConfig:
        listenPort: 9200
        setHeader: [\"no header\"]
        tls: {mode: maybe}
        resources: {limits: {cpu: 2}}
    three:
      source: t
      proxyConfig: {listenPort: 9201, noCapture: true, tls: {mode: plaintext}, clientAuth: {}}
    four:
      source: t
",
        &expect![[r"
            w.yaml:2:17: `sourceClusters.s.endpoint` cannot be used: cannot use `ftp://x` as an upstream: it must begin with http:// or https:// (hint: write `http://HOST:PORT` or `https://HOST:PORT`)
            w.yaml:6:5: `One` cannot be the name of a proxy (hint: write small letters, digits and dashes, a letter first: it becomes the name of a Service)
            w.yaml:7:15: `s` is no source cluster with an `endpoint` (hint: name one of `sourceClusters`, and give it an `endpoint`)
            w.yaml:8:33: `traffic.proxies.One.proxyConfig.listenPort` is a number, and a whole number from 1 to 65535 belongs here
            w.yaml:8:49: `traffic.proxies.One.proxyConfig.podReplicas` is text, and a whole number from 0 to 1000 belongs here
            w.yaml:8:67: `NodePort` is no `serviceType` (hint: write `LoadBalancer` or `ClusterIP`)
            w.yaml:10:7: `elsewhere` is no Kafka cluster of this file (hint: name one of `kafkaClusterConfiguration`, or write `noCapture: true`)
            w.yaml:10:15: `nothing` is no source cluster with an `endpoint` (hint: name one of `sourceClusters`, and give it an `endpoint`)
            w.yaml:12:7: `traffic.proxies.two.rogue` is not known here
            w.yaml:15:21: `no header` in `setHeader` is no name and value (hint: write `Name: value`)
            w.yaml:16:21: `maybe` is no way to serve TLS (hint: write `mode: certManager`, `existingSecret` or `plaintext`)
            w.yaml:17:35: `traffic.proxies.two.proxyConfig.resources.limits.cpu` is a number, and text belongs here
            w.yaml:20:92: whose certificates clients must show is not clear (hint: write `trustedClientCaFile` or `trustedClientCaPem`, one of them)
            w.yaml:22:7: `traffic.proxies.four.proxyConfig` is missing (hint: it says the `listenPort` at least)"]],
    );
    check("sourceClusters: {}\n", &expect!["w.yaml:1:1: `traffic.proxies` is missing: there is no proxy in this file"]);
    check("traffic: [\n", &expect!["w.yaml:2:1: while parsing a node, did not find expected node content"]);
}

/// Proves that two proxies cannot write to one topic, which would mix their streams.
#[test]
fn a_topic_has_one_proxy() {
    let text = SAMPLE.replace("      kafka: external\n      kafkaTopic: other\n", "      kafkaTopic: capture\n");
    let told = read(&text, "w.yaml").unwrap_err().to_string();
    assert!(told.contains("`plain` and `capture` would write to one topic, `capture`"), "{told}");
}
