//! `traffic.proxies`, with the clusters and brokers that they name.

use std::collections::BTreeMap;

use cutover::policy::Severity;

use super::Problems;
use super::fields::Fields;
use super::tls::{ClientAuth, Tls};
use super::yaml::{Node, Place, Value};

/// The longest name of a Service, which a proxy's name becomes (a DNS label, RFC 1123).
const NAME_BYTES_MAX: usize = 63;

/// The most pods of one proxy; a bound, not advice.
const REPLICAS_MAX: u32 = 1000;

/// The largest record of the wire format that the workflow allows, in bytes.
const BUFFER_BYTES_MAX: u32 = 1_048_576;

/// A cluster of the workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its label in the file.
    pub label: String,
    /// `http://HOST:PORT` or `https://HOST:PORT`, without a slash behind it.
    pub endpoint: String,
    /// Whether any certificate of it is accepted.
    pub allow_insecure: bool,
}

/// How a proxy's Service is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceType {
    /// By a load balancer of the cloud.
    LoadBalancer,
    /// Inside of the cluster alone.
    ClusterIp,
}

/// What a container is given, in Kubernetes' spelling, by the resource's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    /// The most it may use.
    pub limits: BTreeMap<String, String>,
    /// What is set aside for it.
    pub requests: BTreeMap<String, String>,
}

/// One capture proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct Proxy {
    /// Its name, which is its Service's.
    pub name: String,
    /// Where the traffic goes.
    pub source: Cluster,
    /// The port that clients connect to.
    pub listen_port: u16,
    /// How many pods.
    pub pod_replicas: u32,
    /// How many pods a drain of nodes must leave; 0 where one at a time may go.
    pub min_pod_replicas: u32,
    /// How its Service is reached.
    pub service: ServiceType,
    /// Whether its load balancer is open to the internet.
    pub internet_facing: bool,
    /// What its container is given.
    pub resources: Resources,
    /// Threads that serve; `None` for one a core.
    pub threads: Option<u32>,
    /// Header fields that the source gets instead of the client's.
    pub set_headers: Vec<(String, String)>,
    /// How clients are served.
    pub tls: Tls,
    /// Which certificates clients must show; `None` for none.
    pub client_auth: Option<ClientAuth>,
    /// What is captured; `None` for nothing.
    pub capture: Option<Capture>,
}

/// Where captured traffic goes, and what is left out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The topic.
    pub topic: String,
    /// Its brokers.
    pub kafka: Kafka,
    /// Our name in the brokers' logs.
    pub client_id: Option<String>,
    /// The largest record, in bytes; `None` where the file does not say.
    pub buffer_bytes_max: Option<u32>,
    /// What is not captured.
    pub suppress: Suppress,
}

/// Which requests are relayed and not captured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suppress {
    /// By the name of a header field and a regular expression on its value.
    pub headers: Vec<(String, String)>,
    /// By a regular expression on the method.
    pub method: Option<String>,
    /// By one on the request target.
    pub path: Option<String>,
    /// By one on method and target, with a space between them.
    pub method_and_path: Option<String>,
}

/// A Kafka cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kafka {
    /// Its name in the file.
    pub name: String,
    /// `HOST:PORT[,HOST:PORT…]`.
    pub brokers: String,
    /// Who we are there.
    pub auth: Auth,
    /// The topic as it is made, where the workflow makes the cluster.
    pub create: Option<Topic>,
}

/// Who a proxy is to its brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Nobody.
    None,
    /// Whoever the credentials of the process are to AWS: MSK's IAM, over TLS.
    Iam,
    /// A user with a password, over TLS.
    Scram {
        /// The Secret with the `password`.
        secret: String,
        /// The Secret with the authority that signed the brokers' certificates, as `ca.crt`.
        ca_secret: String,
        /// The user.
        user: String,
    },
}

/// A topic that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Partitions.
    pub partitions: u32,
    /// Replicas of each.
    pub replicas: u32,
    /// Its settings.
    pub config: BTreeMap<String, String>,
}

/// The proxies and the target clusters of a file.
pub(super) fn all(root: &Node, problems: &mut Problems<'_>) -> (Vec<Proxy>, BTreeMap<String, Cluster>) {
    let mut top = Fields::of(root, "", problems);
    let sources = clusters(top.take("sourceClusters"), "sourceClusters", problems);
    let targets = clusters(top.take("targetClusters"), "targetClusters", problems);
    let brokers = top.take("kafkaClusterConfiguration");
    let Some(traffic) = top.take("traffic") else {
        problems.wrong(root.place, "`traffic.proxies` is missing: there is no proxy in this file", "");
        return (Vec::new(), targets);
    };
    let mut traffic = Fields::of(traffic, "traffic", problems);
    let Some(node) = traffic.take("proxies") else {
        problems.wrong(traffic.place(), "`traffic.proxies` is missing: there is no proxy in this file", "");
        return (Vec::new(), targets);
    };
    let mut found = Vec::new();
    for (name, place, node) in Fields::of(node, "traffic.proxies", problems).all() {
        let label = !name.is_empty()
            && name.len() <= NAME_BYTES_MAX
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !name.starts_with(|first: char| !first.is_ascii_lowercase())
            && !name.ends_with('-');
        if !label {
            let hint = "write small letters, digits and dashes, a letter first: it becomes the name of a Service";
            problems.wrong(place, format!("`{name}` cannot be the name of a proxy"), hint);
        }
        found.extend(proxy(name, node, &sources, brokers, problems));
    }
    let mut topics: BTreeMap<(String, String), String> = BTreeMap::new();
    for proxy in &found {
        let Some(capture) = &proxy.capture else { continue };
        let key = (capture.kafka.name.clone(), capture.topic.clone());
        if let Some(other) = topics.insert(key, proxy.name.clone()) {
            let what = format!("`{}` and `{other}` would write to one topic, `{}`", proxy.name, capture.topic);
            problems.wrong(node.place, what, "a topic has one proxy: name another by `kafkaTopic`");
        }
    }
    if found.is_empty() && problems.found.iter().all(|problem| problem.severity != Severity::Error) {
        problems.wrong(node.place, "there is no proxy in `traffic.proxies`", "");
    }
    (found, targets)
}

fn clusters(node: Option<&Node>, path: &str, problems: &mut Problems<'_>) -> BTreeMap<String, Cluster> {
    let mut found = BTreeMap::new();
    let Some(node) = node else { return found };
    for (label, _, node) in Fields::of(node, path, problems).all() {
        let mut fields = Fields::of(node, format!("{path}.{label}"), problems);
        let at = fields.name("endpoint");
        let allow_insecure = fields.truth("allowInsecure", problems).unwrap_or(false);
        // A source that is only a snapshot has no endpoint; a proxy that names it is told so.
        let Some((endpoint, place)) = fields.text_at("endpoint", problems) else { continue };
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        match endpoint.parse::<proxy::config::Upstream>() {
            Ok(_) => {
                found.insert(label.to_owned(), Cluster { label: label.to_owned(), endpoint, allow_insecure });
            }
            Err(error) => problems.wrong(
                place,
                format!("`{at}` cannot be used: {error}"),
                "write `http://HOST:PORT` or `https://HOST:PORT`",
            ),
        }
    }
    found
}

/// What only the Java proxy knows: its logging, its collectors, and connections that it opens ahead, which our pools do not
/// need to be told of.
const JAVA_ONLY: [&str; 6] = [
    "loggingConfigurationOverrideConfigMap",
    "otelCollectorEndpoint",
    "otelTraceCollectorEndpoint",
    "otelMetricsCollectorEndpoint",
    "destinationConnectionPoolSize",
    "destinationConnectionPoolTimeout",
];

fn proxy(
    name: &str,
    node: &Node,
    sources: &BTreeMap<String, Cluster>,
    brokers: Option<&Node>,
    problems: &mut Problems<'_>,
) -> Option<Proxy> {
    let path = format!("traffic.proxies.{name}");
    let mut outer = Fields::of(node, path.clone(), problems);
    let source = outer.take("source").map(|node| (node, text_of(node)));
    let source = if let Some((node, Some(label))) = source {
        let found = sources.get(&label).cloned();
        if found.is_none() {
            let what = format!("`{label}` is no source cluster with an `endpoint`");
            problems.wrong(node.place, what, "name one of `sourceClusters`, and give it an `endpoint`");
        }
        found
    } else {
        problems.wrong(outer.place(), format!("`{path}.source` is missing"), "name one of `sourceClusters`");
        None
    };
    let kafka = outer.text("kafka", problems).unwrap_or_else(|| "default".to_owned());
    let topic = outer.text("kafkaTopic", problems).unwrap_or_else(|| name.to_owned());
    // Whether Migration Assistant asks a person before it goes on; a question that is not ours.
    outer.truth("skipApproval", problems);
    let inner = outer.take("proxyConfig");
    let place = outer.place();
    outer.end(problems);
    let Some(inner) = inner else {
        problems.wrong(place, format!("`{path}.proxyConfig` is missing"), "it says the `listenPort` at least");
        return None;
    };
    let mut fields = Fields::of(inner, format!("{path}.proxyConfig"), problems);
    let said = fields.has("listenPort");
    let listen_port = fields.whole("listenPort", 1, 65_535, problems);
    if !said {
        problems.wrong(inner.place, format!("`{}` must say where clients connect to", fields.name("listenPort")), "");
    }
    let service = match fields.text_at("serviceType", problems) {
        None => ServiceType::LoadBalancer,
        Some((text, _)) if text == "LoadBalancer" => ServiceType::LoadBalancer,
        Some((text, _)) if text == "ClusterIP" => ServiceType::ClusterIp,
        Some((other, place)) => {
            problems.wrong(place, format!("`{other}` is no `serviceType`"), "write `LoadBalancer` or `ClusterIP`");
            ServiceType::ClusterIp
        }
    };
    let pod_replicas = fields.whole("podReplicas", 0, REPLICAS_MAX, problems).unwrap_or(1);
    let min_pod_replicas = fields.whole("minPodReplicas", 0, REPLICAS_MAX, problems).unwrap_or(0);
    if min_pod_replicas > pod_replicas {
        let what = format!("`minPodReplicas` is {min_pod_replicas}, more than the {pod_replicas} pods there are");
        problems.wrong(inner.place, what, "write no more than `podReplicas`");
    }
    let internet_facing = fields.truth("internetFacing", problems).unwrap_or(false);
    if internet_facing && service == ServiceType::ClusterIp {
        let what = "`internetFacing` means nothing for a Service without a load balancer";
        problems.wrong(inner.place, what, "leave it out, or write `serviceType: LoadBalancer`");
    }
    let resources = resources(&mut fields, problems);
    let threads = fields.whole("numThreads", 0, 1024, problems).filter(|&count| count > 0);
    let set_headers = pairs(fields.texts("setHeader", problems), "setHeader", problems);
    let tls = match fields.take("tls") {
        Some(node) => Tls::read(node, fields.name("tls"), problems),
        None => Tls::usual(),
    };
    let client_auth =
        fields.take("clientAuth").and_then(|node| ClientAuth::read(node, fields.name("clientAuth"), problems));
    if client_auth.is_some() && tls == Tls::Plaintext {
        problems.wrong(inner.place, "clients can show no certificate without TLS", "leave `clientAuth` out");
    }
    let no_capture = fields.truth("noCapture", problems).unwrap_or(false);
    let msk = fields.truth("enableMSKAuth", problems).unwrap_or(false);
    let client_id = fields.text("kafkaClientId", problems);
    let buffer_bytes_max = fields.whole("maxTrafficBufferSize", 1, BUFFER_BYTES_MAX, problems);
    let suppress = suppress(&mut fields, problems);
    fields.java_only(&JAVA_ONLY, problems);
    fields.end(problems);
    let capture = if no_capture {
        None
    } else {
        self::kafka(&kafka, brokers, msk, node.place, problems).map(|kafka| Capture {
            topic,
            kafka,
            client_id,
            buffer_bytes_max,
            suppress,
        })
    };
    Some(Proxy {
        name: name.to_owned(),
        source: source?,
        listen_port: u16::try_from(listen_port?).ok()?,
        pod_replicas,
        min_pod_replicas,
        service,
        internet_facing,
        resources,
        threads,
        set_headers,
        tls,
        client_auth,
        capture,
    })
}

fn suppress(fields: &mut Fields<'_>, problems: &mut Problems<'_>) -> Suppress {
    let headers = fields.texts("suppressCaptureForHeaderMatch", problems);
    Suppress {
        headers: pairs(headers, "suppressCaptureForHeaderMatch", problems),
        method: fields.text("suppressCaptureForMethod", problems),
        path: fields.text("suppressCaptureForUriPath", problems),
        method_and_path: fields.text("suppressMethodAndPath", problems),
    }
}

fn text_of(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    }
}

/// Names and values: `Name: value` each, as the schema describes them, or one after the other, as the Java proxy takes them.
fn pairs(texts: Vec<(String, Place)>, field: &str, problems: &mut Problems<'_>) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut texts = texts.into_iter();
    while let Some((text, place)) = texts.next() {
        let pair = match text.split_once(':') {
            Some((name, value)) => Some((name.trim().to_owned(), value.trim().to_owned())),
            None => texts.next().map(|(value, _)| (text.clone(), value)),
        };
        match pair {
            Some((name, value)) if http::HeaderName::try_from(name.as_str()).is_ok() => pairs.push((name, value)),
            _ => problems.wrong(place, format!("`{text}` in `{field}` is no name and value"), "write `Name: value`"),
        }
    }
    pairs
}

/// What the workflow gives a proxy that says nothing.
fn resources(fields: &mut Fields<'_>, problems: &mut Problems<'_>) -> Resources {
    let usual = || [("cpu", "3500m"), ("memory", "3500Mi")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut resources = Resources { limits: usual().into(), requests: usual().into() };
    let Some(node) = fields.take("resources") else { return resources };
    let mut outer = Fields::of(node, fields.name("resources"), problems);
    for (field, into) in [("limits", &mut resources.limits), ("requests", &mut resources.requests)] {
        let Some(node) = outer.take(field) else { continue };
        let mut inner = Fields::of(node, outer.name(field), problems);
        for name in ["cpu", "memory", "ephemeral-storage"] {
            let Some(quantity) = inner.text(name, problems) else { continue };
            let digits = quantity.trim_start_matches(|c: char| c.is_ascii_digit());
            let units: &[&str] = match name {
                "cpu" => &["m"],
                _ => &["Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "k", "M", "G", "T", "P", "E"],
            };
            if digits.len() == quantity.len() || !units.contains(&digits) {
                let hint = if name == "cpu" { "write `500m`" } else { "write `512Mi` or `2G`" };
                problems.wrong(node.place, format!("`{quantity}` is no quantity for `{}`", inner.name(name)), hint);
            }
            into.insert(name.to_owned(), quantity);
        }
        inner.end(problems);
    }
    outer.end(problems);
    resources
}

/// The Kafka cluster of that name.
fn kafka(name: &str, node: Option<&Node>, msk: bool, place: Place, problems: &mut Problems<'_>) -> Option<Kafka> {
    let all = node.map(|node| Fields::of(node, "kafkaClusterConfiguration", problems).all()).unwrap_or_default();
    let Some((_, _, node)) = all.into_iter().find(|(known, ..)| *known == name) else {
        if name == "default" && !msk {
            return Some(made(name, Auth::None, None, problems));
        }
        let hint = "name one of `kafkaClusterConfiguration`, or write `noCapture: true`";
        problems.wrong(place, format!("`{name}` is no Kafka cluster of this file"), hint);
        return None;
    };
    let path = format!("kafkaClusterConfiguration.{name}");
    let mut fields = Fields::of(node, path, problems);
    if let Some(node) = fields.take("existing") {
        let mut existing = Fields::of(node, fields.name("existing"), problems);
        let brokers = existing.text("kafkaConnection", problems);
        if brokers.is_none() {
            let what = format!("`{}` is missing", existing.name("kafkaConnection"));
            problems.wrong(node.place, what, "write `HOST:PORT`, several with commas between them");
        }
        let msk = msk || existing.truth("enableMSKAuth", problems).unwrap_or(false);
        let mut auth = match existing.take("auth") {
            Some(node) => auth(node, existing.name("auth"), problems),
            None => Auth::None,
        };
        match (msk, &auth) {
            (false, _) => {}
            (true, Auth::Scram { .. }) => {
                let hint = "leave `auth` out, or `enableMSKAuth`";
                problems.wrong(node.place, "MSK's IAM and SCRAM are asked for, and there is one login", hint);
            }
            (true, _) if cfg!(not(feature = "aws")) => {
                let hint = "use SCRAM, which MSK has too, or a build with the feature `aws`";
                problems.wrong(node.place, "MSK's IAM is asked for, which this build cannot sign for", hint);
            }
            (true, Auth::None | Auth::Iam) => auth = Auth::Iam,
        }
        return Some(Kafka { name: name.to_owned(), brokers: brokers?, auth, create: None });
    }
    if msk {
        let what = "MSK's IAM is asked for, and the workflow makes this cluster itself";
        problems.wrong(node.place, what, "leave `enableMSKAuth` out, or say `existing` with the brokers of MSK");
    }
    let create = fields.take("autoCreate");
    let plain = create.is_some_and(|node| {
        let mut create = Fields::of(node, fields.name("autoCreate"), problems);
        create.take("auth").is_some_and(|node| {
            let mut auth = Fields::of(node, create.name("auth"), problems);
            auth.text("type", problems).as_deref() == Some("none")
        })
    });
    Some(made(name, if plain { Auth::None } else { own_user(name) }, create, problems))
}

/// The user that Migration Assistant makes in a cluster that it makes.
fn own_user(name: &str) -> Auth {
    Auth::Scram {
        secret: format!("{name}-migration-app"),
        ca_secret: format!("{name}-cluster-ca-cert"),
        user: format!("{name}-migration-app"),
    }
}

/// A cluster that the workflow makes by Strimzi, whose Services have names of its own.
fn made(name: &str, auth: Auth, node: Option<&Node>, problems: &mut Problems<'_>) -> Kafka {
    // A cluster that the file does not speak of is made with a user, as one with an empty `autoCreate` is.
    let auth = if node.is_none() { own_user(name) } else { auth };
    let port = if auth == Auth::None { 9092 } else { 9093 };
    let mut topic = Topic { partitions: 1, replicas: 3, config: BTreeMap::new() };
    topic.config.insert("retention.ms".to_owned(), "604800000".to_owned());
    topic.config.insert("segment.bytes".to_owned(), "1073741824".to_owned());
    let path = format!("kafkaClusterConfiguration.{name}.autoCreate");
    let overrides = node.and_then(|node| Fields::of(node, path.clone(), problems).take("topicSpecOverrides"));
    if let Some(node) = overrides {
        let mut fields = Fields::of(node, format!("{path}.topicSpecOverrides"), problems);
        topic.partitions = fields.whole("partitions", 1, 10_000, problems).unwrap_or(topic.partitions);
        topic.replicas = fields.whole("replicas", 1, 100, problems).unwrap_or(topic.replicas);
        if let Some(node) = fields.take("config") {
            for (key, place, node) in Fields::of(node, fields.name("config"), problems).all() {
                let value = match &node.value {
                    Value::Text(text) => text.clone(),
                    Value::Number(number) => number.to_string(),
                    Value::Bool(truth) => truth.to_string(),
                    Value::Null | Value::List(_) | Value::Map(_) => {
                        problems.wrong(place, format!("the topic's `{key}` has no value"), "");
                        continue;
                    }
                };
                topic.config.insert(key.to_owned(), value);
            }
        }
    }
    Kafka { name: name.to_owned(), brokers: format!("{name}-kafka-bootstrap:{port}"), auth, create: Some(topic) }
}

fn auth(node: &Node, path: String, problems: &mut Problems<'_>) -> Auth {
    let mut fields = Fields::of(node, path, problems);
    let hint = "write `type: none` or `type: scram-sha-512`";
    let auth = match fields.text("type", problems).as_deref() {
        Some("none") => Auth::None,
        Some("scram-sha-512") => {
            let mut need = |field: &str| {
                let text = fields.text(field, problems);
                if text.is_none() {
                    problems.wrong(node.place, format!("`{}` is missing", fields.name(field)), "");
                }
                text.unwrap_or_default()
            };
            let (secret, ca_secret) = (need("secretName"), need("caSecretName"));
            let user = fields.text("kafkaUserName", problems).unwrap_or_else(|| secret.clone());
            Auth::Scram { secret, ca_secret, user }
        }
        other => {
            let what = format!("`{}` is no way to say who we are to Kafka", other.unwrap_or("nothing"));
            problems.wrong(node.place, what, hint);
            Auth::None
        }
    };
    fields.end(problems);
    auth
}
