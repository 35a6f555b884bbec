//! How pods are reached, by whom, and how many of them may be away at once.

use serde_json::{Value, json};

use super::{CONTROL_PORT, PROBES_PORT, Render};
use crate::workflow::ServiceType;

impl Render<'_> {
    pub(super) fn service(&self) -> Value {
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
    pub(super) fn pods_service(&self) -> Value {
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
            "metadata": self.metadata(&self.pods_name()),
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

    pub(super) fn disruption(&self) -> Value {
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
    pub(super) fn network(&self) -> Value {
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
}
