//! What drives a proxy's pods through a cutover: the daemon, its journal and its policy.
//!
//! One pod, replaced and never doubled: one daemon drives a journal. It has no rights in the cluster; pods are found by their name
//! in DNS. Nobody reaches it over the network: who may run a program in its pod may give orders.

use serde_json::{Value, json};

use super::{CutoverFiles, Render, nobody};

/// Where the daemon keeps what it must not lose.
pub(super) const STATE: &str = "/var/lib/tidegate";

/// Where it finds the policy.
pub(super) const POLICIES: &str = "/etc/tidegate/policies";

/// Where its control API listens, as the verbs expect it.
pub(super) const SOCKET_DIRECTORY: &str = "/run/tidegate";

/// How large a journal may get.
const JOURNAL: &str = "1Gi";

impl Render<'_> {
    fn daemon_name(&self) -> String {
        format!("{}-daemon", self.proxy.name)
    }

    pub(super) fn daemon_selector(&self) -> Value {
        json!({ "tidegate/daemon-of": self.proxy.name })
    }

    fn daemon_metadata(&self, name: &str) -> Value {
        json!({ "name": name, "namespace": self.options.namespace, "labels": self.daemon_labels() })
    }

    fn daemon_labels(&self) -> Value {
        json!({
            "app.kubernetes.io/name": "tidegate",
            "app.kubernetes.io/instance": self.daemon_name(),
            "app.kubernetes.io/part-of": "migration-assistant",
            "tidegate/daemon-of": self.proxy.name,
        })
    }

    /// The policy, the volume for the journal, nobody who may reach it, and the daemon itself.
    pub(super) fn daemon(&self, cutover: &CutoverFiles) -> Vec<Value> {
        let name = self.daemon_name();
        let policy = format!("{}-policy", self.proxy.name);
        let spec = json!({
            "accessModes": ["ReadWriteOncePod"],
            "resources": { "requests": { "storage": JOURNAL } },
        });
        let deployment = json!({
            "replicas": 1,
            "revisionHistoryLimit": 3,
            "strategy": { "type": "Recreate" },
            "selector": { "matchLabels": self.daemon_selector() },
            "template": {
                "metadata": { "labels": self.daemon_labels() },
                "spec": self.daemon_pod(&name, &policy),
            },
        });
        let closed = json!({
            "podSelector": { "matchLabels": self.daemon_selector() },
            "policyTypes": ["Ingress"],
            "ingress": [],
        });
        vec![
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": self.daemon_metadata(&policy), "data": cutover.files }),
            json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": self.daemon_metadata(&name), "spec": spec }),
            json!({
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": self.daemon_metadata(&name),
                "spec": closed,
            }),
            json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": self.daemon_metadata(&name), "spec": deployment }),
        ]
    }

    fn daemon_pod(&self, claim: &str, policy: &str) -> Value {
        let mut env = vec![self.token()];
        env.extend(self.variables(&self.kept));
        let mut mounts = vec![
            json!({ "name": "policy", "mountPath": POLICIES, "readOnly": true }),
            json!({ "name": "state", "mountPath": STATE }),
            json!({ "name": "socket", "mountPath": SOCKET_DIRECTORY }),
        ];
        let mut volumes = vec![
            json!({ "name": "policy", "configMap": { "name": policy } }),
            json!({ "name": "state", "persistentVolumeClaim": { "claimName": claim } }),
            json!({ "name": "socket", "emptyDir": {} }),
        ];
        let (files, volume) = self.files(&self.kept);
        mounts.extend(files);
        volumes.extend(volume);
        let socket = format!("unix:{SOCKET_DIRECTORY}/control.sock");
        json!({
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 15,
            "securityContext": nobody(),
            "containers": [{
                "name": "daemon",
                "image": self.options.image,
                "args": ["run", "--policies", POLICIES, "--state", STATE, "--control", socket],
                "env": env,
                "resources": {
                    "requests": { "cpu": "100m", "memory": "128Mi" },
                    "limits": { "memory": "512Mi" },
                },
                // A verb asks as a person would: whether it answers.
                "startupProbe": probe(5, 24),
                "livenessProbe": probe(20, 6),
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": { "drop": ["ALL"] },
                },
                "volumeMounts": mounts,
            }],
            "volumes": volumes,
        })
    }
}

fn probe(period: u32, failures: u32) -> Value {
    json!({
        "exec": { "command": ["/usr/bin/tidegate", "status", "--json"] },
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    })
}
