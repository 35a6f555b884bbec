//! Manifests of a whole cutover: what a policy adds, what it names that pods are given, and what they cannot have.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    process::Command,
    sync::mpsc,
};

use serde_json::Value;
use tidegate_tests::servers::{Process, built_binary, free_port};

use super::{START_MAX, WORKFLOW, object, rendered};
use crate::{daemon::verb, support::assert_quiet};

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
            "service = \"relay\"\n[source]\nendpoints = [\"http://{source}\"]\nheaders = {{ X-Policy = \"said\" }}\n\
             authorization = \"env:OF_SOURCE\"\n[target]\nendpoints = [\"http://{target}\"]\n\
             authorization = \"file:/etc/sides/target\"\nheaders = {{ X-Side = \"the target's\" }}\n[balancer]\nproxies = [\"{proxies}\"]\n\
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
        "file:/etc/sides/target" => format!("file:{}", at("of-target")),
        _ => text.to_owned(),
    };
    fs::write(at("of-target"), "Basic target\n").unwrap();
    let mut command = Command::new(built_binary());
    command
        .args(container["args"].as_array().unwrap().iter().map(|text| here(text.as_str().unwrap())))
        .args(["--listen", "127.0.0.1:0", "--capture", "file", "--capture-dir", &at("source-log")])
        .args(["--target-capture-dir", &at("target-log")])
        .env("TIDEGATE_TOKEN", "a token")
        .env("OF_SOURCE", "Basic source")
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
        let own = ["-H", "X-Side: the client's", "-H", "X-Policy: the client's", "-u", "client:secret"];
        assert_eq!(curl(&[&own[..], &[&asked]].concat()), "200", "{}", proxy.log());
        let head = received[usize::from(side == "target")].recv_timeout(START_MAX).expect("the side was asked");
        assert!(head.contains(&format!("/to-the-{side} ")), "{head}");
        assert!(head.contains(&format!("X-Side: the {side}'s\r\n")), "{head}");
        assert!(head.to_ascii_lowercase().contains(&format!("authorization: basic {side}\r\n")), "{head}");
        // Only the source's header is set by the policy.
        let policy_s = if side == "source" { "X-Policy: said\r\n" } else { "X-Policy: the client's\r\n" };
        assert!(
            head.contains(policy_s) && head.matches("the client's").count() == usize::from(side == "target"),
            "{head}"
        );
    }
    proxy.signal("TERM");
    assert!(proxy.wait(START_MAX).success());
    assert_quiet(&proxy, &[]);
    for side in ["source", "target"] {
        let said = verb(&["capture", "cat", "--dir", &at(&format!("{side}-log"))], &[]).expect(0);
        assert!(said.out.contains("X-Side: the client's") && !said.out.contains(&format!("the {side}'s")), "{said:?}");
        let (dir, lines) = (at(&format!("{side}-log")), at(&format!("{side}-lines")));
        let export = ["capture", "export", "--dir", &dir];
        let exported = verb(&[&export[..], &["--out", &lines]].concat(), &[]).expect(0);
        let written = fs::read_to_string(&lines).unwrap();
        assert_eq!(exported.err, format!("{} records\n", written.lines().count()));
        assert_eq!(verb(&export, &[]).expect(0).out, written, "without a file they go to stdout");
        assert_eq!(verb(&["capture", "cat", "--file", &lines], &[]).expect(0).out, said.out, "the same requests");
        let again = verb(&[&export[..], &["--out", &lines]].concat(), &[]).expect(1);
        assert!(again.err.contains("cannot make") && again.err.contains(&lines), "{again:?}");
        assert_eq!(fs::read_to_string(&lines).unwrap(), written, "a file that is there stays as it is");
    }
}

/// A policy for the pods of `relay` with what is outside of it.
const NAMES_MUCH: &str = r#"
service = "relay"
[source]
endpoints = ["http://127.0.0.1:9200"]
[target]
endpoints = ["https://search.example.com:443"]
authorization = "env:OF_TARGET"
[balancer]
proxies = ["dns://relay-pods.ma.svc.cluster.local:9901"]
sticky = "cookie:session"
retry = "reads"
[metrics]
kind = "prometheus"
url = "https://prometheus.example.com"
preset = "tidegate"
authorization = "file:/etc/secrets/prometheus"
ca = "/etc/authorities/ca.pem"
[clients]
certificate = "/etc/clients/tls.crt"
key = "/etc/clients/tls.key"
[baseline]
file = "/var/lib/tidegate/kept/relay.json"
[shift]
steps = [50, 95, 100]
writes = "split"
[gates.counts]
kind = "command"
before = "each-step"
argv = ["tidegate", "clusters", "compare", "--policy", "relay", "--target-ca", "/etc/authorities/target.pem", "--source-basic", "env:LOGIN"]
[gates.replayed]
kind = "replay_lag"
brokers = ["b1:9093"]
group = "replayer-target"
topic = "captured"
max = "10s"
properties = "/etc/kafka/client.properties"
[gates.asked]
kind = "command"
before = "each-step"
argv = ["/opt/ask"]
[alerts.chat]
kind = "webhook"
url = "https://hooks.example.com/chat"
secret = "env:CHAT"
[alerts.later]
kind = "webhook"
url = "https://hooks.example.com/later"
"#;

/// Proves that each secret and each file that a policy names is in the daemon's pod under the name that the policy has for it,
/// out of a Secret whose making is told; that the proxy's pods have what is theirs of it and no more; that a program which the
/// image has is taken; and that all of it is valid by the schemas.
#[test]
fn what_a_policy_names_is_given_to_the_pods() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    fs::write(at("workflow.yaml"), WORKFLOW.replace("SOURCE", "9200")).unwrap();
    fs::write(at("relay.toml"), NAMES_MUCH).unwrap();
    let asked = [
        "--from-workflow",
        &at("workflow.yaml"),
        "--proxy",
        "relay",
        "--policy",
        &at("relay.toml"),
        "--image-has",
        "/opt/ask",
    ];
    let (items, said) = rendered(folder.path(), &asked);
    let told = "kubectl -n ma create secret generic relay-policy --from-literal=CHAT=… --from-literal=LOGIN=… \
                --from-literal=OF_TARGET=… --from-file=etc.authorities.ca.pem=/etc/authorities/ca.pem \
                --from-file=etc.authorities.target.pem=/etc/authorities/target.pem \
                --from-file=etc.clients.tls.crt=/etc/clients/tls.crt --from-file=etc.clients.tls.key=/etc/clients/tls.key \
                --from-file=etc.kafka.client.properties=/etc/kafka/client.properties \
                --from-file=etc.secrets.prometheus=/etc/secrets/prometheus";
    assert!(said.contains(told), "{said}");

    let pod = |name: &str| object(&items, "Deployment", name)["spec"]["template"]["spec"].clone();
    let variables = |pod: &Value| -> Vec<String> {
        let of_policy = |variable: &&Value| variable["valueFrom"]["secretKeyRef"]["name"] == "relay-policy";
        let all = pod["containers"][0]["env"].as_array().unwrap().iter().filter(of_policy);
        all.map(|variable| {
            assert_eq!(variable["name"], variable["valueFrom"]["secretKeyRef"]["key"]);
            variable["name"].as_str().unwrap().to_owned()
        })
        .collect()
    };
    let files = |pod: &Value| -> Vec<String> {
        let of_policy = |mount: &&Value| mount["name"] == "files";
        let all = pod["containers"][0]["volumeMounts"].as_array().unwrap().iter().filter(of_policy);
        all.map(|mount| format!("{} from {}", mount["mountPath"].as_str().unwrap(), mount["subPath"].as_str().unwrap()))
            .collect()
    };
    let (daemon, proxy) = (pod("relay-daemon"), pod("relay"));
    assert_eq!(variables(&daemon), ["CHAT", "LOGIN", "OF_TARGET"]);
    assert_eq!(
        files(&daemon),
        [
            "/etc/authorities/ca.pem from etc.authorities.ca.pem",
            "/etc/authorities/target.pem from etc.authorities.target.pem",
            "/etc/clients/tls.crt from etc.clients.tls.crt",
            "/etc/clients/tls.key from etc.clients.tls.key",
            "/etc/kafka/client.properties from etc.kafka.client.properties",
            "/etc/secrets/prometheus from etc.secrets.prometheus",
        ]
    );
    let volume = daemon["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == "files").unwrap();
    assert_eq!(volume["secret"]["secretName"], "relay-policy");
    assert_eq!(volume["secret"]["items"].as_array().unwrap().len(), 6, "{volume}");
    assert_eq!((variables(&proxy), files(&proxy)), (vec!["OF_TARGET".to_owned()], Vec::new()));
    let arguments = proxy["containers"][0]["args"].to_string();
    for said in
        [r#""--sticky","cookie:session""#, r#""--retry","reads""#, r#""--target-authorization","env:OF_TARGET""#]
    {
        assert!(arguments.contains(said), "{arguments}");
    }
}

/// Proves that what pods cannot do is refused, all of it at once, each where the policy says it and with what to do.
#[test]
fn what_pods_cannot_have_is_refused_where_the_policy_says_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    fs::write(at("workflow.yaml"), WORKFLOW.replace("SOURCE", "9200")).unwrap();
    let policy = NAMES_MUCH
        .replace("http://127.0.0.1:9200", "http://127.0.0.1:9201")
        .replace("[target]", "headers = { X-Relayed-By = \"policy\" }\n[target]")
        .replace("env:OF_TARGET", "env:TIDEGATE_TOKEN")
        .replace("file:/etc/secrets/prometheus", "file:prometheus")
        .replace("/etc/authorities/ca.pem", "/etc/authorities/a ca.pem")
        .replace("/etc/kafka/client.properties", "/etc/tidegate/policies/client.properties")
        .replace("env:CHAT", "env:C.HAT")
        .replace(
            "kind = \"webhook\"\nurl = \"https://hooks.example.com/later\"",
            "kind = \"command\"\nargv = [\"page\"]",
        );
    fs::write(at("relay.toml"), policy).unwrap();
    let asked = ["--from-workflow", &at("workflow.yaml"), "--proxy", "relay", "--policy", &at("relay.toml")];
    let wrong = verb(&[&["kubernetes", "render"][..], &asked].concat(), &[]).expect(1);
    assert!(wrong.out.is_empty(), "{wrong:?}");
    let told = wrong.err.replace(&at("relay.toml"), "relay.toml");
    let told: Vec<&str> = told.trim_start_matches("tidegate: ").lines().collect();
    let image = "build an image on ours that has it and say `--image-has` with its name, or ask by `webhook`";
    assert_eq!(
        told,
        [
            "relay.toml:4:13: the pods' source is `http://127.0.0.1:9200`, by the workflow file, and no other (hint: write \
             `endpoints = [\"http://127.0.0.1:9200\"]` under `[source]`, or change the workflow file)",
            "relay.toml:5:28: the workflow file sets `X-Relayed-By` to `relay`, and the policy to `policy` (hint: say it once: \
             here, or in `setHeader` of the workflow file)",
            "relay.toml:8:17: `TIDEGATE_TOKEN` means something to Tidegate itself, and pods have their own (hint: give it a name \
             of its own)",
            "relay.toml:17:17: `file:prometheus` cannot be given to a pod (hint: write `env:NAME` with letters, digits and `_`, \
             or `file:/PATH`)",
            "relay.toml:18:6: `/etc/authorities/a ca.pem` cannot be given to a pod (hint: write a path with letters, digits, `-`, \
             `_` and `.`)",
            "relay.toml:37:14: the daemon's pod has its own at `/etc/tidegate/policies/client.properties` (hint: put the file at \
             another path)",
            &format!(
                "relay.toml:41:8: the daemon's pod has no program `/opt/ask`: its image has `tidegate` alone (hint: {image})"
            ),
            "relay.toml:45:10: `env:C.HAT` cannot be given to a pod (hint: write `env:NAME` with letters, digits and `_`, or \
             `file:/PATH`)",
            &format!(
                "relay.toml:48:8: the daemon's pod has no program `page`: its image has `tidegate` alone (hint: {image})"
            ),
        ]
    );
}
