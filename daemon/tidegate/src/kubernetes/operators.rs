//! What other operators of the cluster are asked for: cert-manager for a certificate, Strimzi for a topic and a user.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Render;
use crate::workflow::{Auth, Kafka, Tls, Topic};

impl Render<'_> {
    /// cert-manager's Certificate, signed by Migration Assistant's own authority where no other is named.
    pub(super) fn certificate(&self) -> Option<Value> {
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
    pub(super) fn topic(&self) -> Option<Value> {
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
    pub(super) fn user(&self) -> Option<Value> {
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
}
