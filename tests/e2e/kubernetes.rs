//! Manifests of a workflow file, held against the published schemas, and what a pod is started with, started.

use std::{
    fs,
    process::{Command, Output},
    time::Duration,
};

use serde_json::Value;
use tidegate_tests::servers::{Process, built_binary, nginx, search::manifest_validator};

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

fn lines(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The one object of a kind and name.
fn object<'a>(items: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = |item: &&Value| item["kind"] == kind && item["metadata"]["name"] == name;
    items.iter().find(found).unwrap_or_else(|| panic!("no {kind} `{name}`"))
}

/// Proves that what is rendered is valid by the schemas of the oldest and the newest version, says in YAML what it says in
/// JSON, and says what the workflow file says; and that a field that is not known would be found.
#[test]
fn manifests_are_valid_by_the_published_schemas() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    fs::write(at("workflow.yaml"), WORKFLOW.replace("SOURCE", "9200")).unwrap();
    let render =
        |more: &[&str]| verb(&[&["kubernetes", "render", "--from-workflow", &at("workflow.yaml")], more].concat(), &[]);
    let yaml = render(&[]).expect(0);
    let json = render(&["--json"]).expect(0);
    fs::write(at("manifests.yaml"), &yaml.out).unwrap();
    fs::write(at("manifests.json"), &json.out).unwrap();
    let validate = |yaml: &str| {
        let mut command = manifest_validator();
        command.args([at(yaml), at("manifests.json")]).args(VERSIONS);
        command.output().expect("tests/run has installed the validator")
    };
    let output = validate("manifests.yaml");
    assert!(output.status.success(), "{}", lines(&output));
    // Five kinds of Kubernetes' own for each of two proxies, in each version; a Certificate and a topic for the one that
    // captures.
    assert_eq!(lines(&output).matches(": valid in ").count(), 2 * 5 * VERSIONS.len(), "{}", lines(&output));
    assert_eq!(lines(&output).matches(": of another project").count(), 2, "{}", lines(&output));

    let items = json.json().remove(0)["items"].as_array().cloned().unwrap();
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

    fs::write(at("rogue.yaml"), yaml.out.replacen("minReadySeconds:", "minimumReadySeconds:", 1)).unwrap();
    let rogue = validate("rogue.yaml");
    assert_eq!(rogue.status.code(), Some(1), "{}", lines(&rogue));
    assert!(lines(&rogue).contains("minimumReadySeconds"), "{}", lines(&rogue));
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
    let mut command = Command::new(built_binary());
    command
        .args(arguments.map(|text| if text == "/etc/tidegate/workflow.yaml" { file.clone() } else { text }))
        .args(["--listen", "127.0.0.1:0"])
        .current_dir(folder.path());
    let mut proxy = Process::start("pod", folder.path(), command);
    let line = proxy.wait_for_line("listening on http://127.0.0.1:", START_MAX);
    let port = line.rsplit(':').next().unwrap().trim().to_owned();
    let probe = &container["readinessProbe"]["httpGet"];
    assert_eq!(probe["scheme"], "HTTP");
    for (path, status) in [(probe["path"].as_str().unwrap(), "200"), ("/small", "200")] {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", &format!("http://127.0.0.1:{port}{path}")]);
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
