//! The pods of a proxy: what they are started with, what they have and how they are asked whether they are well.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{CONTROL_PORT, HEALTH_PATH, PROBES_PORT, Render, State, nobody};
use crate::workflow::{Auth, Authority};

/// Where a pod finds its workflow file.
const WORKFLOW_FILE: &str = "/etc/tidegate/workflow.yaml";

/// Where a pod finds its certificate, as the workflow has it.
pub(super) const TLS_DIRECTORY: &str = "/etc/proxy-tls";

/// Where a pod finds the authority of its brokers' certificates, as the workflow has it.
const KAFKA_CA_DIRECTORY: &str = "/config/kafka-ca";

/// How long a pod takes to end: the balancer forgets it first, then requests under way end, then the log of capture answers for
/// all that it has.
const FORGOTTEN_SECONDS: u32 = 10;
const DRAIN_SECONDS: u32 = 30;
const LOG_SECONDS: u32 = 10;

/// What a pod keeps: the list of its losses and what it counted of them.
const STATE_VOLUME: &str = "state";
const STATE_SIZE: &str = "1Gi";

impl Render<'_> {
    /// What keeps as many pods there as are wanted: a Deployment, or where each has a volume of its own, a `StatefulSet`.
    pub(super) fn workload(&self) -> Value {
        let mut spec = json!({
            "replicas": self.proxy.pod_replicas,
            "minReadySeconds": 2,
            "revisionHistoryLimit": 3,
            "selector": { "matchLabels": self.selector() },
            "template": self.template(),
        });
        let kind = match self.options.state {
            State::Pod => {
                spec["strategy"] =
                    json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } });
                "Deployment"
            }
            State::Volume => {
                spec["serviceName"] = self.pods_name().into();
                // No pod waits for another: each has its own clients and its own list.
                spec["podManagementPolicy"] = "Parallel".into();
                spec["updateStrategy"] = json!({ "type": "RollingUpdate" });
                // Somebody may still want the list of a pod that is not wanted any more.
                spec["persistentVolumeClaimRetentionPolicy"] =
                    json!({ "whenDeleted": "Retain", "whenScaled": "Retain" });
                spec["volumeClaimTemplates"] = json!([{
                    "metadata": { "name": STATE_VOLUME, "labels": self.labels() },
                    "spec": {
                        "accessModes": ["ReadWriteOncePod"],
                        "resources": { "requests": { "storage": STATE_SIZE } },
                    },
                }]);
                "StatefulSet"
            }
        };
        json!({ "apiVersion": "apps/v1", "kind": kind, "metadata": self.metadata(&self.proxy.name), "spec": spec })
    }

    fn template(&self) -> Value {
        let digest = Sha256::digest(self.options.workflow.as_bytes());
        let digest = digest.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes everything");
            text
        });
        json!({
            "metadata": {
                "labels": self.labels(),
                // Pods read the file once, so a changed file brings new pods.
                "annotations": { "tidegate/workflow-sha256": digest },
            },
            "spec": self.pod(),
        })
    }

    fn pod(&self) -> Value {
        json!({
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": FORGOTTEN_SECONDS + DRAIN_SECONDS + LOG_SECONDS,
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

    /// Whether a proxy's pod finds the authority of clients' certificates there.
    pub(super) fn has_authority(&self, path: &str) -> bool {
        let in_secret = self.tls_secret().is_some() && Path::new(path).parent() == Some(Path::new(TLS_DIRECTORY));
        in_secret || self.image_has(path)
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
            arguments.extend(self.policy_arguments(cutover));
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
            json!({ "name": STATE_VOLUME, "mountPath": "/var/lib/tidegate" }),
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
        if let Some(cutover) = &self.options.cutover {
            let kept = self.kept_for_sides(cutover);
            env.push(self.token());
            env.extend(self.variables(&kept));
            mounts.extend(self.files(&kept).0);
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
        let mut volumes = vec![json!({ "name": "workflow", "configMap": { "name": self.config_name() } })];
        if self.options.state == State::Pod {
            // Outlives a restart of the container, not the pod.
            volumes.push(json!({ "name": STATE_VOLUME, "emptyDir": { "sizeLimit": STATE_SIZE } }));
        }
        if let Some((_, ca_secret)) = self.scram() {
            let items = json!([{ "key": "ca.crt", "path": "ca.crt" }]);
            volumes.push(json!({ "name": "kafka-ca", "secret": { "secretName": ca_secret, "items": items } }));
        }
        if let Some(secret) = self.tls_secret() {
            volumes.push(json!({ "name": "tls", "secret": { "secretName": secret } }));
        }
        if let Some(cutover) = &self.options.cutover {
            volumes.extend(self.files(&self.kept_for_sides(cutover)).1);
        }
        volumes
    }
}
