//! Manifests of a capture proxy's fleet, from what a workflow file says of it.
//!
//! They are plain values in the API's own layout, written out as YAML by [`yaml`]. Names and labels are those of Migration
//! Assistant, so that its console finds what it looks for: the Service is called as the proxy, pods have `migrations/proxy`.
//! What is better than its own: pods are replaced one after the other and never all at once, are told healthy by a question
//! over HTTP and not by an open port, and run without root, writable files or rights. Secrets are named, never written.
//!
//! With a policy the proxy is one of a cutover: it has a target and a control port, and what drives it is in [`daemon`].

mod daemon;
pub mod yaml;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use cutover::Policy;
use cutover::policy::BalancerPolicy;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::workflow::{Auth, Authority, Kafka, Proxy, ServiceType, Tls, Topic};

/// The path that pods answer themselves, for load balancers; no index can have a name that begins so, hence no client asks for
/// it. The kubelet has a port of its own, where it needs no certificate and no token.
pub const HEALTH_PATH: &str = "/_tidegate/health";

/// Where the control API of each pod listens, and where probes are answered.
pub const CONTROL_PORT: u16 = 9901;
const PROBES_PORT: u16 = 9902;

/// Where a pod finds its workflow file.
const WORKFLOW_FILE: &str = "/etc/tidegate/workflow.yaml";

/// Where a pod finds its certificate, as the workflow has it.
const TLS_DIRECTORY: &str = "/etc/proxy-tls";

/// Where a pod finds the authority of its brokers' certificates, as the workflow has it.
const KAFKA_CA_DIRECTORY: &str = "/config/kafka-ca";

/// How long a pod takes to end: the balancer forgets it first, then requests under way end.
const FORGOTTEN_SECONDS: u32 = 10;
const DRAIN_SECONDS: u32 = 30;

/// The longest `ConfigMap` that Kubernetes keeps, in bytes, with some room for its other fields.
const CONFIG_BYTES_MAX: usize = 1_000_000;

/// What the workflow file does not say.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where everything goes.
    pub namespace: String,
    /// The image of the `Dockerfile`, wherever it was pushed.
    pub image: String,
    /// The file itself, which pods read.
    pub workflow: String,
    /// The policy of a cutover by the proxy; `None` for a proxy that has its source alone.
    pub cutover: Option<CutoverFiles>,
}

/// A policy and the files that it is made of.
#[derive(Clone, Debug)]
pub struct CutoverFiles {
    /// The policy.
    pub policy: Policy,
    /// Its own file and the shared defaults, by name.
    pub files: BTreeMap<String, String>,
}

/// Why there are no manifests.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoManifests {
    /// A file does not fit.
    #[error(
        "the workflow file has {bytes} bytes, and a ConfigMap takes {CONFIG_BYTES_MAX}: give its proxies a file of their own"
    )]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// The policy does not drive the pods.
    #[error("the policy names other proxies than the pods: write `proxies = [\"{wanted}\"]` under `[balancer]`")]
    OtherProxies {
        /// What it must name.
        wanted: String,
    },
    /// The policy says what only a file on the daemon's machine knows.
    #[error(
        "`target.authorization` is read where the daemon is, and pods would not have it: let them send their clients' own, or \
         name the header in `target.headers`"
    )]
    Authorization,
}

/// Everything of one proxy, in the order in which it is applied.
///
/// # Errors
/// When the workflow file is too long for a `ConfigMap`, or the policy is not about these pods.
pub fn manifests(proxy: &Proxy, options: &Options) -> Result<Vec<Value>, NoManifests> {
    if options.workflow.len() > CONFIG_BYTES_MAX {
        return Err(NoManifests::TooLong { bytes: options.workflow.len() });
    }
    let render = Render { proxy, options };
    if let Some(cutover) = &options.cutover {
        render.check(&cutover.policy)?;
    }
    let mut all = vec![render.config(), render.service(), render.pods_service()];
    all.extend(render.certificate());
    all.extend(render.topic());
    all.extend(render.user());
    all.push(render.disruption());
    all.push(render.network());
    all.push(render.deployment());
    if let Some(cutover) = &options.cutover {
        all.extend(render.daemon(cutover));
    }
    Ok(all)
}

struct Render<'a> {
    proxy: &'a Proxy,
    options: &'a Options,
}

/// A pod's user, who may do nothing.
fn nobody() -> Value {
    json!({
        "runAsNonRoot": true,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "fsGroup": 65532,
        "seccompProfile": { "type": "RuntimeDefault" },
    })
}

impl Render<'_> {
    fn labels(&self) -> Value {
        json!({
            "app.kubernetes.io/name": "tidegate-proxy",
            "app.kubernetes.io/instance": self.proxy.name,
            "app.kubernetes.io/part-of": "migration-assistant",
            "migrations/proxy": self.proxy.name,
        })
    }

    fn selector(&self) -> Value {
        json!({ "migrations/proxy": self.proxy.name })
    }

    fn metadata(&self, name: &str) -> Value {
        json!({ "name": name, "namespace": self.options.namespace, "labels": self.labels() })
    }

    fn config_name(&self) -> String {
        format!("{}-workflow", self.proxy.name)
    }

    fn config(&self) -> Value {
        let mut data = BTreeMap::from([("workflow.yaml", self.options.workflow.clone())]);
        if let Some(Authority::Pem(pem)) = self.proxy.client_auth.as_ref().map(|auth| &auth.authority) {
            data.insert("client-ca.pem", pem.clone());
        }
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": self.metadata(&self.config_name()),
            "data": data,
        })
    }

    fn service(&self) -> Value {
        let mut metadata = self.metadata(&self.proxy.name);
        let kind = match self.proxy.service {
            ServiceType::ClusterIp => "ClusterIP",
            ServiceType::LoadBalancer => {
                let scheme = if self.proxy.internet_facing { "internet-facing" } else { "internal" };
                let mut annotations = json!({
                    "service.beta.kubernetes.io/aws-load-balancer-type": "external",
                    "service.beta.kubernetes.io/aws-load-balancer-nlb-target-type": "ip",
                    "service.beta.kubernetes.io/aws-load-balancer-scheme": scheme,
                });
                if !self.proxy.internet_facing {
                    annotations["networking.gke.io/load-balancer-type"] = "Internal".into();
                    annotations["service.beta.kubernetes.io/azure-load-balancer-internal"] = "true".into();
                }
                metadata["annotations"] = annotations;
                "LoadBalancer"
            }
        };
        let port = self.proxy.listen_port;
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {
                "type": kind,
                "selector": self.selector(),
                "ports": [{ "name": "proxy", "port": port, "targetPort": port, "protocol": "TCP" }],
            },
        })
    }

    /// The name that stands for each pod by itself, whether it is ready or not: who waits for its weight must be found.
    fn pods_service(&self) -> Value {
        let mut ports =
            vec![json!({ "name": "probes", "port": PROBES_PORT, "targetPort": PROBES_PORT, "protocol": "TCP" })];
        if self.options.cutover.is_some() {
            ports.push(
                json!({ "name": "control", "port": CONTROL_PORT, "targetPort": CONTROL_PORT, "protocol": "TCP" }),
            );
        }
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": self.metadata(&format!("{}-pods", self.proxy.name)),
            "spec": {
                "clusterIP": "None",
                // One address each: a pod with two would be taken for two.
                "ipFamilyPolicy": "SingleStack",
                "publishNotReadyAddresses": true,
                "selector": self.selector(),
                "ports": ports,
            },
        })
    }

    /// Whether a policy drives these pods.
    fn check(&self, policy: &Policy) -> Result<(), NoManifests> {
        let within = format!("dns://{}-pods.{}.svc", self.proxy.name, self.options.namespace);
        let ours = |place: &String| {
            let rest = place.strip_prefix(&within).and_then(|rest| rest.strip_suffix(&format!(":{CONTROL_PORT}")));
            rest.is_some_and(|domain| domain.is_empty() || domain.starts_with('.'))
        };
        match &policy.balancer {
            BalancerPolicy::Listener { proxies, .. } if proxies.len() == 1 && proxies.iter().all(ours) => {}
            BalancerPolicy::Listener { .. } | BalancerPolicy::Alb { .. } => {
                return Err(NoManifests::OtherProxies { wanted: format!("{within}.cluster.local:{CONTROL_PORT}") });
            }
        }
        if policy.target.authorization.is_some() { Err(NoManifests::Authorization) } else { Ok(()) }
    }

    fn control_secret(&self) -> String {
        format!("{}-control", self.proxy.name)
    }

    /// The variable with the token for the pods' control API.
    fn token(&self) -> Value {
        let key = json!({ "name": self.control_secret(), "key": "token" });
        json!({ "name": "TIDEGATE_TOKEN", "valueFrom": { "secretKeyRef": key } })
    }

    fn tls_secret(&self) -> Option<String> {
        match &self.proxy.tls {
            Tls::Plaintext => None,
            Tls::Secret(name) => Some(name.clone()),
            Tls::CertManager { .. } => Some(format!("{}-tls", self.proxy.name)),
        }
    }

    /// cert-manager's Certificate, signed by Migration Assistant's own authority where no other is named.
    fn certificate(&self) -> Option<Value> {
        let Tls::CertManager { issuer, common_name, dns_names, duration, renew_before } = &self.proxy.tls else {
            return None;
        };
        let name = &self.proxy.name;
        let namespace = &self.options.namespace;
        let names = if dns_names.is_empty() {
            vec![name.clone(), format!("{name}.{namespace}"), format!("{name}.{namespace}.svc.cluster.local")]
        } else {
            dns_names.clone()
        };
        let issuer = match issuer {
            Some(issuer) => json!({ "name": issuer.name, "kind": issuer.kind, "group": issuer.group }),
            None => json!({ "name": "migrations-ca", "kind": "ClusterIssuer", "group": "cert-manager.io" }),
        };
        let mut spec = json!({
            "secretName": format!("{name}-tls"),
            "issuerRef": issuer,
            "dnsNames": names,
            "duration": duration,
            "renewBefore": renew_before,
            "privateKey": { "algorithm": "RSA", "size": 2048, "encoding": "PKCS8" },
        });
        if let Some(common_name) = common_name {
            spec["commonName"] = common_name.clone().into();
        }
        Some(json!({
            "apiVersion": "cert-manager.io/v1",
            "kind": "Certificate",
            "metadata": self.metadata(&format!("{name}-tls")),
            "spec": spec,
        }))
    }

    /// Strimzi's topic, where the workflow makes the Kafka cluster.
    fn topic(&self) -> Option<Value> {
        let capture = self.proxy.capture.as_ref()?;
        let Kafka { name, create: Some(Topic { partitions, replicas, config }), .. } = &capture.kafka else {
            return None;
        };
        let mut metadata = self.metadata(&self.proxy.name);
        metadata["labels"]["strimzi.io/cluster"] = name.clone().into();
        // Numbers as numbers: Strimzi compares them with the broker's.
        let config: BTreeMap<&str, Value> = config
            .iter()
            .map(|(key, value)| (key.as_str(), value.parse::<i64>().map_or_else(|_| value.clone().into(), Value::from)))
            .collect();
        Some(json!({
            "apiVersion": "kafka.strimzi.io/v1beta2",
            "kind": "KafkaTopic",
            "metadata": metadata,
            "spec": { "topicName": capture.topic, "partitions": partitions, "replicas": replicas, "config": config },
        }))
    }

    /// Strimzi's user, where the workflow makes the Kafka cluster and asks for one; its password is in the Secret of its name.
    fn user(&self) -> Option<Value> {
        let kafka = &self.proxy.capture.as_ref()?.kafka;
        let (Some(_), Auth::Scram { user, .. }) = (&kafka.create, &kafka.auth) else { return None };
        let mut metadata = self.metadata(user);
        metadata["labels"]["strimzi.io/cluster"] = kafka.name.clone().into();
        Some(json!({
            "apiVersion": "kafka.strimzi.io/v1beta2",
            "kind": "KafkaUser",
            "metadata": metadata,
            "spec": { "authentication": { "type": "scram-sha-512" } },
        }))
    }

    fn disruption(&self) -> Value {
        let mut spec = json!({ "selector": { "matchLabels": self.selector() } });
        match self.proxy.min_pod_replicas {
            0 => spec["maxUnavailable"] = 1.into(),
            min => spec["minAvailable"] = min.into(),
        }
        json!({
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": self.metadata(&self.proxy.name),
            "spec": spec,
        })
    }

    /// Clients reach the one port, from anywhere, and the kubelet that of probes, which tells nothing else; the control port is
    /// the daemon's.
    fn network(&self) -> Value {
        let mut ingress = vec![json!({
            "ports": [
                { "port": self.proxy.listen_port, "protocol": "TCP" },
                { "port": PROBES_PORT, "protocol": "TCP" },
            ],
        })];
        if self.options.cutover.is_some() {
            ingress.push(json!({
                "from": [{ "podSelector": { "matchLabels": self.daemon_selector() } }],
                "ports": [{ "port": CONTROL_PORT, "protocol": "TCP" }],
            }));
        }
        json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": self.metadata(&self.proxy.name),
            "spec": {
                "podSelector": { "matchLabels": self.selector() },
                "policyTypes": ["Ingress"],
                "ingress": ingress,
            },
        })
    }

    fn deployment(&self) -> Value {
        let digest = Sha256::digest(self.options.workflow.as_bytes());
        let digest = digest.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes everything");
            text
        });
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": self.metadata(&self.proxy.name),
            "spec": {
                "replicas": self.proxy.pod_replicas,
                "minReadySeconds": 2,
                "revisionHistoryLimit": 3,
                "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } },
                "selector": { "matchLabels": self.selector() },
                "template": {
                    "metadata": {
                        "labels": self.labels(),
                        // Pods read the file once, so a changed file brings new pods.
                        "annotations": { "tidegate/workflow-sha256": digest },
                    },
                    "spec": self.pod(),
                },
            },
        })
    }

    fn pod(&self) -> Value {
        json!({
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": FORGOTTEN_SECONDS + DRAIN_SECONDS + 5,
            "securityContext": nobody(),
            // Soft: on a small cluster two pods on a node are better than one pod.
            "topologySpreadConstraints": [{
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": { "matchLabels": self.selector() },
            }],
            "containers": [self.container()],
            "volumes": self.volumes(),
        })
    }

    fn scram(&self) -> Option<(&str, &str)> {
        match &self.proxy.capture.as_ref()?.kafka.auth {
            Auth::Scram { secret, ca_secret, .. } => Some((secret, ca_secret)),
            Auth::None | Auth::Iam => None,
        }
    }

    /// What the proxy is started with; everything else is in the workflow file.
    fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> =
            ["proxy", "--from-workflow", WORKFLOW_FILE, "--workflow-proxy", &self.proxy.name].map(str::to_owned).into();
        arguments.extend(["--health-path".to_owned(), HEALTH_PATH.to_owned()]);
        arguments.extend(["--probes".to_owned(), format!("0.0.0.0:{PROBES_PORT}")]);
        arguments.extend(["--drain-timeout".to_owned(), format!("{DRAIN_SECONDS}s")]);
        if let Some(cutover) = &self.options.cutover {
            arguments.extend(["--control".to_owned(), format!("0.0.0.0:{CONTROL_PORT}"), "--await-weight".to_owned()]);
            let target = &cutover.policy.target;
            arguments.extend(["--target".to_owned(), target.endpoints.join(",")]);
            for (name, value) in &target.headers {
                arguments.extend(["--target-header".to_owned(), format!("{name}: {value}")]);
            }
        }
        if self.tls_secret().is_some() {
            arguments.extend(["--tls-cert".to_owned(), format!("{TLS_DIRECTORY}/tls.crt")]);
            arguments.extend(["--tls-key".to_owned(), format!("{TLS_DIRECTORY}/tls.key")]);
        }
        if self.scram().is_some() {
            arguments.extend(["--kafka-ca".to_owned(), format!("{KAFKA_CA_DIRECTORY}/ca.crt")]);
        }
        if let Some(auth) = &self.proxy.client_auth {
            let file = match &auth.authority {
                Authority::File(file) => file.clone(),
                Authority::Pem(_) => "/etc/tidegate/client-ca.pem".to_owned(),
            };
            arguments.extend(["--client-ca".to_owned(), file]);
        }
        arguments
    }

    fn container(&self) -> Value {
        let mut env = Vec::new();
        let mut mounts = vec![
            json!({ "name": "workflow", "mountPath": "/etc/tidegate", "readOnly": true }),
            json!({ "name": "state", "mountPath": "/var/lib/tidegate" }),
        ];
        env.push(json!({ "name": "STATE_DIRECTORY", "value": "/var/lib/tidegate" }));
        if let Some((secret, _)) = self.scram() {
            env.push(json!({
                "name": "TIDEGATE_KAFKA_PASSWORD",
                "valueFrom": { "secretKeyRef": { "name": secret, "key": "password" } },
            }));
            mounts.push(json!({ "name": "kafka-ca", "mountPath": KAFKA_CA_DIRECTORY, "readOnly": true }));
        }
        if self.tls_secret().is_some() {
            mounts.push(json!({ "name": "tls", "mountPath": TLS_DIRECTORY, "readOnly": true }));
        }
        let mut ports = vec![
            json!({ "name": "proxy", "containerPort": self.proxy.listen_port, "protocol": "TCP" }),
            json!({ "name": "probes", "containerPort": PROBES_PORT, "protocol": "TCP" }),
        ];
        if self.options.cutover.is_some() {
            env.push(self.token());
            ports.push(json!({ "name": "control", "containerPort": CONTROL_PORT, "protocol": "TCP" }));
        }
        let probe = |path: &str, period: u32, failures: u32| {
            json!({
                "httpGet": { "path": path, "port": "probes" },
                "periodSeconds": period,
                "timeoutSeconds": 3,
                "failureThreshold": failures,
            })
        };
        json!({
            "name": "proxy",
            "image": self.options.image,
            "args": self.arguments(),
            "env": env,
            "ports": ports,
            "resources": { "limits": self.proxy.resources.limits, "requests": self.proxy.resources.requests },
            "startupProbe": probe("/health", 5, 24),
            "readinessProbe": probe("/ready", 2, 2),
            // While it drains it is not healthy either, for less long than it takes to be killed for that.
            "livenessProbe": probe("/health", 10, 6),
            "lifecycle": { "preStop": { "sleep": { "seconds": FORGOTTEN_SECONDS } } },
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"] },
            },
            "volumeMounts": mounts,
        })
    }

    fn volumes(&self) -> Vec<Value> {
        let mut volumes = vec![
            json!({ "name": "workflow", "configMap": { "name": self.config_name() } }),
            // Outlives a restart of the container, not the pod.
            json!({ "name": "state", "emptyDir": { "sizeLimit": "1Gi" } }),
        ];
        if let Some((_, ca_secret)) = self.scram() {
            let items = json!([{ "key": "ca.crt", "path": "ca.crt" }]);
            volumes.push(json!({ "name": "kafka-ca", "secret": { "secretName": ca_secret, "items": items } }));
        }
        if let Some(secret) = self.tls_secret() {
            volumes.push(json!({ "name": "tls", "secret": { "secretName": secret } }));
        }
        volumes
    }
}
