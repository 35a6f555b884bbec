//! Manifests of a workflow file, held against the published schemas, and what a pod is started with, started.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::Path,
    process::{Command, Output},
    sync::mpsc,
    time::Duration,
};

use serde_json::Value;
use tidegate_tests::servers::{Process, built_binary, free_port, nginx, search::manifest_validator};

use crate::{daemon::verb, support::assert_quiet};

/// The oldest version with what pods use (`preStop.sleep`), and the newest whose schemas are published.
const VERSIONS: [&str; 2] = ["1.30", "1.37"];

/// How long a proxy may take to listen; builds may run beside the tests.
const START_MAX: Duration = Duration::from_secs(20);

const WORKFLOW: &str = r#"
sourceClusters:
  legacy: {endpoint: "http://127.0.0.1:SOURCE", version: "ES 7.10.2"}
targetClusters: {}
snapshotMigrationConfigs: []
kafkaClusterConfiguration:
  default: {autoCreate: {}}
traffic:
  proxies:
    capture:
      source: legacy
      proxyConfig:
        listenPort: 9201
        podReplicas: 3
        minPodReplicas: 2
        internetFacing: true
        clientAuth: {trustedClientCaPem: "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n"}
    relay:
      source: legacy
      proxyConfig:
        listenPort: 9202
        serviceType: ClusterIP
        noCapture: true
        setHeader: ["X-Relayed-By: relay"]
        tls: {mode: plaintext}
  replayers: {}
"#;

/// What the other file does not say.
const OTHERWISE: &str = r#"
sourceClusters:
  legacy: {endpoint: "https://legacy:9200", version: "ES 7.10.2", allowInsecure: true}
targetClusters: {}
kafkaClusterConfiguration:
  secured: {autoCreate: {topicSpecOverrides: {partitions: 2, replicas: 2}}}
  plain: {autoCreate: {auth: {type: none}, topicSpecOverrides: {partitions: 4, config: {"retention.ms": 86400000, "cleanup.policy": delete}}}}
  external: {existing: {kafkaConnection: "b1:9093,b2:9093", auth: {type: scram-sha-512, secretName: user, caSecretName: ca}}}
  msk: {existing: {kafkaConnection: "b1:9098", enableMSKAuth: true}}
traffic:
  proxies:
    named:
      source: legacy
      kafka: secured
      proxyConfig:
        listenPort: 9201
        tls: {mode: certManager, issuerRef: {name: own, kind: Issuer}, commonName: search, dnsNames: [search.example.com], duration: 24h, renewBefore: 8h}
    open:
      source: legacy
      kafka: plain
      proxyConfig: {listenPort: 9202}
    shown:
      source: legacy
      kafka: external
      proxyConfig: {listenPort: 9203, tls: {mode: existingSecret, secretName: shown}, clientAuth: {trustedClientCaFile: /etc/proxy-tls/ca.crt}}
    managed:
      source: legacy
      kafka: msk
      proxyConfig: {listenPort: 9204, tls: {mode: plaintext}, resources: {requests: {cpu: 500m}, limits: {memory: 3Gi}}}
  replayers: {}
"#;

fn lines(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The one object of a kind and name.
fn object<'a>(items: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = |item: &&Value| item["kind"] == kind && item["metadata"]["name"] == name;
    items.iter().find(found).unwrap_or_else(|| panic!("no {kind} `{name}`"))
}

/// The kinds of other projects, which have one version each here.
const OTHERS: [&str; 3] = ["Certificate", "KafkaTopic", "KafkaUser"];

/// Holds a folder's file of manifests in YAML against the published schemas, and against `manifests.json` beside it.
fn validate(folder: &Path, yaml: &str) -> Output {
    let mut command = manifest_validator();
    command.args([folder.join(yaml), folder.join("manifests.json")]).args(VERSIONS);
    command.output().expect("tests/run has installed the validator")
}

/// Renders into a folder by these arguments, proves that each object of it is valid by the published schemas, and that YAML and
/// JSON say the same; the objects, and what was said beside them.
fn rendered(folder: &Path, arguments: &[&str]) -> (Vec<Value>, String) {
    let render = |more: &[&str]| verb(&[&["kubernetes", "render"], arguments, more].concat(), &[]).expect(0);
    let (yaml, json) = (render(&[]), render(&["--json"]));
    fs::write(folder.join("manifests.yaml"), &yaml.out).expect("the folder is there");
    fs::write(folder.join("manifests.json"), &json.out).expect("the folder is there");
    let output = validate(folder, "manifests.yaml");
    assert!(output.status.success(), "{}", lines(&output));
    let items = json.json().remove(0)["items"].as_array().cloned().expect("a list");
    for item in &items {
        let (kind, name) = (item["kind"].as_str().expect("a kind"), item["metadata"]["name"].as_str().expect("a name"));
        let versions = if OTHERS.contains(&kind) { 1 } else { VERSIONS.len() };
        let held = format!("{kind}/{name}: valid in ");
        assert_eq!(lines(&output).matches(&held).count(), versions, "{held}\n{}", lines(&output));
    }
    (items, yaml.err)
}

/// Proves that what is rendered is valid by the schemas of the oldest and the newest version, says in YAML what it says in
/// JSON, and says what the workflow file says.
#[test]
fn manifests_are_valid_by_the_published_schemas() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("workflow.yaml").display().to_string();
    fs::write(&file, WORKFLOW.replace("SOURCE", "9200")).unwrap();
    let (items, _) = rendered(folder.path(), &["--from-workflow", &file]);
    // Six objects of Kubernetes' own for each of two proxies; a Certificate, a topic and a user for the one that captures.
    assert_eq!(items.len(), 2 * 6 + 3, "{items:?}");

    assert!(items.iter().all(|item| item["metadata"]["namespace"] == "ma"), "{items:?}");
    assert_eq!(object(&items, "Deployment", "capture")["spec"]["replicas"], 3);
    assert_eq!(object(&items, "PodDisruptionBudget", "capture")["spec"]["minAvailable"], 2);
    let service = object(&items, "Service", "capture");
    let scheme = &service["metadata"]["annotations"]["service.beta.kubernetes.io/aws-load-balancer-scheme"];
    assert_eq!((&service["spec"]["type"], scheme), (&"LoadBalancer".into(), &"internet-facing".into()));
    let topic = object(&items, "KafkaTopic", "capture");
    assert_eq!((&topic["spec"]["topicName"], &topic["spec"]["partitions"]), (&"capture".into(), &1.into()));
    let container = &object(&items, "Deployment", "capture")["spec"]["template"]["spec"]["containers"][0];
    let password = &container["env"].as_array().unwrap()[1];
    assert_eq!(password["name"], "TIDEGATE_KAFKA_PASSWORD");
    assert_eq!(password["valueFrom"]["secretKeyRef"]["name"], "default-migration-app");
    let config = object(&items, "ConfigMap", "capture-workflow");
    assert_eq!(config["data"]["workflow.yaml"], WORKFLOW.replace("SOURCE", "9200"));
    assert_eq!(object(&items, "Service", "relay")["spec"]["type"], "ClusterIP");
}

/// Proves that the schemas find what is wrong: in each kind a field that is not known, and values that the projects' own
/// definitions refuse.
#[test]
fn a_field_that_no_schema_knows_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let file = at("workflow.yaml").display().to_string();
    fs::write(&file, WORKFLOW.replace("SOURCE", "9200")).unwrap();
    rendered(folder.path(), &["--from-workflow", &file, "--proxy", "capture"]);
    let sound = fs::read_to_string(at("manifests.yaml")).unwrap();
    let mistakes = [
        ("Deployment/capture: 1.30: spec", "minReadySeconds:", "minimumReadySeconds:"),
        ("Certificate/capture-tls: cert-manager 1.17.1: spec", "renewBefore:", "renewalBefore:"),
        ("Certificate/capture-tls: cert-manager 1.17.1: spec.privateKey", "encoding:", "coding:"),
        ("Certificate/capture-tls: cert-manager 1.17.1: spec.privateKey.algorithm", "RSA", "DSA"),
        ("Certificate/capture-tls: cert-manager 1.17.1: spec.dnsNames", "dnsNames:", "dnsNames: capture\n  uris:"),
        ("KafkaTopic/capture: Strimzi 0.47.0: spec", "topicName:", "topic:"),
        ("KafkaTopic/capture: Strimzi 0.47.0: spec.partitions", "partitions: 1", "partitions: one"),
        ("KafkaUser/default-migration-app: Strimzi 0.47.0: spec.authentication.type", "scram-sha-512", "scram-sha-256"),
        ("KafkaUser/default-migration-app: Strimzi 0.47.0: spec", "authentication:", "authenticate:"),
        (
            "KafkaTopic/capture: 1.30: metadata.labels.strimzi.io/cluster",
            "strimzi.io/cluster: default",
            "strimzi.io/cluster: 1",
        ),
    ];
    let rogue: Vec<String> = mistakes
        .iter()
        .map(|(place, right, wrong)| {
            let (kind, name) = place.split(':').next().unwrap().split_once('/').unwrap();
            let is_it = |text: &&str| {
                text.contains(&format!("\nkind: {kind}\n")) && text.contains(&format!("\n  name: {name}\n"))
            };
            let object = sound.split("---\n").find(is_it).unwrap_or_else(|| panic!("no {kind} `{name}`"));
            assert!(object.contains(right), "{right} is not rendered:\n{object}");
            format!("---\n{}", object.replacen(right, wrong, 1))
        })
        .collect();
    fs::write(at("rogue.yaml"), rogue.concat()).unwrap();
    let output = validate(folder.path(), "rogue.yaml");
    assert_eq!(output.status.code(), Some(1), "{}", lines(&output));
    for (place, ..) in mistakes {
        assert!(lines(&output).contains(&format!("\n{place}: ")), "{place}\n{}", lines(&output));
    }
}

/// Proves that what a workflow file may say otherwise is valid as well: certificates by an issuer of one's own, with names and
/// times, or in a Secret; brokers that are there, with a user or none or MSK's; a topic with settings of its own.
#[test]
fn what_a_workflow_may_say_otherwise_is_valid_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("workflow.yaml").display().to_string();
    fs::write(&file, OTHERWISE).unwrap();
    let (items, _) = rendered(folder.path(), &["--from-workflow", &file, "--namespace", "elsewhere"]);
    assert!(items.iter().all(|item| item["metadata"]["namespace"] == "elsewhere"), "{items:?}");
    let kinds = |kind: &str| items.iter().filter(|item| item["kind"] == kind).count();
    assert_eq!(OTHERS.map(kinds), [2, 2, 1], "{items:?}");
    let certificate = &object(&items, "Certificate", "named-tls")["spec"];
    assert_eq!((&certificate["issuerRef"]["kind"], &certificate["duration"]), (&"Issuer".into(), &"24h".into()));
    let topic = &object(&items, "KafkaTopic", "open")["spec"];
    assert_eq!((&topic["partitions"], &topic["config"]["retention.ms"]), (&4.into(), &86_400_000.into()));
}

/// Proves that what a pod is started with starts: the arguments out of the manifest, with the file where it is here, relay to
/// the source by what the file says, and answer the probe.
#[test]
fn a_pod_starts_with_its_arguments() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("workflow.yaml").display().to_string();
    let source = nginx::upstreams(folder.path(), &["source"]);
    fs::write(&file, WORKFLOW.replace("SOURCE", &source.ports[0].to_string())).unwrap();
    let said = verb(&["kubernetes", "render", "--from-workflow", &file, "--proxy", "relay", "--json"], &[]).expect(0);
    let items = said.json().remove(0)["items"].as_array().cloned().unwrap();
    let container = &object(&items, "Deployment", "relay")["spec"]["template"]["spec"]["containers"][0];
    let arguments = container["args"].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned());
    let probes = format!("127.0.0.1:{}", free_port());
    let here = |text: String| match text.as_str() {
        "/etc/tidegate/workflow.yaml" => file.clone(),
        "0.0.0.0:9902" => probes.clone(),
        _ => text,
    };
    let mut command = Command::new(built_binary());
    command.args(arguments.map(here)).args(["--listen", "127.0.0.1:0"]).current_dir(folder.path());
    let mut proxy = Process::start("pod", folder.path(), command);
    let line = proxy.wait_for_line("listening on http://127.0.0.1:", START_MAX);
    let port = line.rsplit(':').next().unwrap().trim().to_owned();
    let path = |probe: &str| container[probe]["httpGet"]["path"].as_str().unwrap().to_owned();
    let asked = [
        (format!("{probes}{}", path("readinessProbe")), "200"),
        (format!("{probes}{}", path("livenessProbe")), "200"),
        (format!("127.0.0.1:{port}/_tidegate/health"), "200"),
        (format!("127.0.0.1:{port}/small"), "200"),
    ];
    for (path, status) in asked {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", &format!("http://{path}")]);
        let answer = curl.output().expect("curl is installed");
        assert_eq!(String::from_utf8_lossy(&answer.stdout), status, "{path}:\n{}", proxy.log());
    }
    proxy.signal("TERM");
    assert!(proxy.wait(Duration::from_secs(2)).success());
    assert_quiet(&proxy, &[]);

    fs::write(&file, "traffic:\n  proxies:\n    relay: {source: legacy, rogue: 1}\n").unwrap();
    let ways =
        [(&["proxy", "--from-workflow", &file][..], 2), (&["kubernetes", "render", "--from-workflow", &file], 1)];
    for (arguments, code) in ways {
        let wrong = verb(arguments, &[]).expect(code);
        assert!(wrong.err.contains("workflow.yaml:3:29: `traffic.proxies.relay.rogue` is not known here"), "{wrong:?}");
    }
}

/// The head of each request that a server on loopback got, which answers it with nothing.
fn heads(listener: TcpListener) -> mpsc::Receiver<String> {
    let (told, heads) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.expect("a connection of the test's proxy"));
            let mut head = String::new();
            while reader.read_line(&mut head).expect("a head") > 2 {}
            reader
                .get_mut()
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .expect("it reads");
            if told.send(head).is_err() {
                break;
            }
        }
    });
    heads
}

/// Proves the parts of a cutover: all of it is valid by the schemas; a policy that names other proxies is refused with what to
/// write; the container's arguments start a proxy that awaits its weight, and of which each side gets header fields of its own,
/// over real connections, while what is captured is the client's own bytes.
#[test]
fn a_policy_adds_the_cutover() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let sides = [0; 2].map(|_| TcpListener::bind("127.0.0.1:0").expect("a port of the kernel's choice"));
    let [source, target] = [0, 1].map(|side: usize| sides[side].local_addr().unwrap().to_string());
    let workflow = WORKFLOW.replace("127.0.0.1:SOURCE", &source);
    fs::write(at("workflow.yaml"), workflow.replace("X-Relayed-By: relay", "X-Side: the source's")).unwrap();
    let policy = |proxies: &str| {
        let text = format!(
            "service = \"relay\"\n[source]\nendpoints = [\"http://{source}\"]\n[target]\nendpoints = [\"http://{target}\"]\n\
             headers = {{ X-Side = \"the target's\" }}\n[balancer]\nproxies = [\"{proxies}\"]\n\
             [shift]\nsteps = [50, 100]\nwrites = \"split\"\n[tripwires.errors]\nkind = \"errors\"\nlimit = \"20 %\"\n\
             window = \"10s\"\nrequests_min = 50\nsource_limit = \"5 %\"\n"
        );
        fs::write(at("relay.toml"), text).unwrap();
    };
    let (workflow, policy_file) = (at("workflow.yaml"), at("relay.toml"));
    let asked = ["--from-workflow", &workflow, "--proxy", "relay", "--policy", &policy_file];
    policy("dns://others.ma.svc.cluster.local:9901");
    let wrong = verb(&[&["kubernetes", "render"][..], &asked].concat(), &[]).expect(1);
    assert!(wrong.err.contains("write `proxies = [\"dns://relay-pods.ma.svc.cluster.local:9901\"]`"), "{wrong:?}");
    policy("dns://relay-pods.ma.svc.cluster.local:9901");
    let (items, said) = rendered(folder.path(), &asked);
    assert!(said.contains("create secret generic relay-control"), "{said}");
    assert_eq!(items.len(), 10, "{items:?}");
    let pods = &object(&items, "Service", "relay-pods")["spec"];
    assert_eq!((&pods["clusterIP"], &pods["publishNotReadyAddresses"]), (&"None".into(), &true.into()));
    let control = &object(&items, "NetworkPolicy", "relay")["spec"]["ingress"][1];
    let daemon = &object(&items, "Deployment", "relay-daemon")["spec"];
    let labels = &daemon["template"]["metadata"]["labels"];
    let allowed = &control["from"][0]["podSelector"]["matchLabels"]["tidegate/daemon-of"];
    assert_eq!((&control["ports"][0]["port"], allowed), (&9901.into(), &labels["tidegate/daemon-of"]));
    let written = object(&items, "ConfigMap", "relay-policy")["data"]["relay.toml"].as_str().unwrap();
    assert_eq!(written, fs::read_to_string(&policy_file).unwrap());

    let container = &object(&items, "Deployment", "relay")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/ready");
    let (probes, control) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
    let here = |text: &str| match text {
        "/etc/tidegate/workflow.yaml" => workflow.clone(),
        "0.0.0.0:9902" => probes.clone(),
        "0.0.0.0:9901" => control.clone(),
        _ => text.to_owned(),
    };
    let mut command = Command::new(built_binary());
    command
        .args(container["args"].as_array().unwrap().iter().map(|text| here(text.as_str().unwrap())))
        .args(["--listen", "127.0.0.1:0", "--capture", "file", "--capture-dir", &at("source-log")])
        .args(["--target-capture-dir", &at("target-log")])
        .env("TIDEGATE_TOKEN", "a token")
        .current_dir(folder.path());
    let mut proxy = Process::start("pod", folder.path(), command);
    let line = proxy.wait_for_line("listening on http://127.0.0.1:", START_MAX);
    let client = line.split("http://").nth(1).unwrap().split(',').next().unwrap().trim().to_owned();
    let curl = |arguments: &[&str]| {
        let answer = Command::new("curl").args(["-s", "-w", "%{http_code}"]).args(arguments).output();
        String::from_utf8_lossy(&answer.expect("curl is installed").stdout).into_owned()
    };
    assert!(curl(&[&format!("http://{probes}/ready")]).ends_with("503"), "{}", proxy.log());
    let received = sides.map(heads);
    for (side, share) in [("source", 0), ("target", 1000)] {
        let body = format!("{{\"target\":{share},\"generation\":{}}}", share + 1);
        let weight = format!("http://{control}/v1/weight");
        let token = "Authorization: Bearer a token";
        assert!(curl(&["-X", "PUT", "-H", token, "-d", &body, &weight]).ends_with("200"), "{}", proxy.log());
        assert!(curl(&[&format!("http://{probes}/ready")]).ends_with("200"));
        let asked = format!("http://{client}/to-the-{side}");
        assert_eq!(curl(&["-H", "X-Side: the client's", &asked]), "200", "{}", proxy.log());
        let head = received[usize::from(side == "target")].recv_timeout(START_MAX).expect("the side was asked");
        assert!(head.contains(&format!("/to-the-{side} ")), "{head}");
        assert!(head.contains(&format!("X-Side: the {side}'s")) && !head.contains("the client's"), "{head}");
    }
    proxy.signal("TERM");
    assert!(proxy.wait(START_MAX).success());
    assert_quiet(&proxy, &[]);
    for side in ["source", "target"] {
        let said = verb(&["capture", "cat", "--dir", &at(&format!("{side}-log"))], &[]).expect(0);
        assert!(said.out.contains("X-Side: the client's") && !said.out.contains(&format!("the {side}'s")), "{said:?}");
    }
}
