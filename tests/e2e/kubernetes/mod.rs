//! Manifests of a workflow file, held against the published schemas, and what a pod is started with, started.

mod policy;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
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

/// Proves that a file with the authority of clients' certificates that nothing puts into the pods is refused with what to do, and
/// taken where the image has it.
#[test]
fn an_authority_that_pods_would_not_find_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("workflow.yaml").display().to_string();
    fs::write(&file, OTHERWISE.replace("/etc/proxy-tls/ca.crt", "/opt/clients.pem")).unwrap();
    let wrong = verb(&["kubernetes", "render", "--from-workflow", &file], &[]).expect(1);
    assert!(wrong.out.is_empty(), "{wrong:?}");
    let why = "nothing puts `/opt/clients.pem`, which is `trustedClientCaFile` of the proxy `shown`, into its pods: write the \
               certificate itself as `trustedClientCaPem`, or `/etc/proxy-tls/ca.crt` where the Secret of its TLS has that";
    assert!(wrong.err.contains(why), "{wrong:?}");
    rendered(folder.path(), &["--from-workflow", &file, "--image-has", "/opt/clients.pem"]);
}

/// Proves that pods with `--state volume` are those of a Deployment but for the volume, which is one for each pod and outlives it,
/// and that they are valid.
#[test]
fn pods_keep_their_state_on_volumes_of_their_own_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("workflow.yaml").display().to_string();
    fs::write(&file, WORKFLOW.replace("SOURCE", "9200")).unwrap();
    let asked = ["--from-workflow", &file, "--proxy", "capture"];
    let (usual, _) = rendered(folder.path(), &asked);
    let (kept, _) = rendered(folder.path(), &[&asked[..], &["--state", "volume"]].concat());
    assert!(!kept.iter().any(|item| item["kind"] == "Deployment"), "{kept:?}");
    let (usual, kept_set) = (object(&usual, "Deployment", "capture"), object(&kept, "StatefulSet", "capture"));
    let spec = &kept_set["spec"];
    assert_eq!((&spec["podManagementPolicy"], &spec["replicas"]), (&"Parallel".into(), &3.into()));
    assert_eq!(object(&kept, "Service", spec["serviceName"].as_str().unwrap())["spec"]["clusterIP"], "None");
    let claims = spec["volumeClaimTemplates"].as_array().unwrap();
    assert_eq!((claims.len(), &claims[0]["metadata"]["name"]), (1, &"state".into()));
    let pods = |item: &Value| item["spec"]["template"].clone();
    let (mut usual, kept) = (pods(usual), pods(kept_set));
    let volumes = usual["spec"]["volumes"].as_array_mut().unwrap();
    let state = volumes.iter().position(|volume| volume["name"] == "state").expect("a pod's own");
    assert!(volumes.remove(state)["emptyDir"].is_object());
    assert_eq!(usual, kept);
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
