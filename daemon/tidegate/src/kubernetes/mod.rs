//! Manifests of a capture proxy's fleet, from what a workflow file says of it.
//!
//! They are plain values in the API's own layout, written out as YAML by [`yaml`]. Names and labels are those of Migration
//! Assistant, so that its console finds what it looks for: the Service is called as the proxy, pods have `migrations/proxy`.
//! What is better than its own: pods are replaced one after the other and never all at once, are told healthy by a question
//! over HTTP and not by an open port, and run without root, writable files or rights. Secrets are named, never written.
//!
//! With a policy the proxy is one of a cutover: it has a target and a control port, and what drives it is in [`daemon`]. What
//! the policy names outside of itself is given to the pods or refused, in [`policy`].

mod daemon;
mod operators;
mod pods;
mod policy;
mod services;
pub mod yaml;

use std::collections::BTreeMap;

use cutover::Policy;
use cutover::policy::{Layer, Problem};
use serde_json::{Value, json};

use self::policy::Kept;
use crate::workflow::{Authority, Proxy, Tls};

/// The path that pods answer themselves, for load balancers; no index can have a name that begins so, hence no client asks for
/// it. The kubelet has a port of its own, where it needs no certificate and no token.
pub const HEALTH_PATH: &str = "/_tidegate/health";

/// Where the control API of each pod listens, and where probes are answered.
pub const CONTROL_PORT: u16 = 9901;
const PROBES_PORT: u16 = 9902;

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
    /// Where pods keep the list of what they could not capture.
    pub state: State,
    /// What the image has beside `tidegate`: programs and files that policy and workflow may name, by their paths.
    pub image_has: Vec<String>,
    /// The policy of a cutover by the proxy; `None` for a proxy that has its source alone.
    pub cutover: Option<CutoverFiles>,
}

/// Where a proxy's pod keeps what it must not lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum State {
    /// In itself: it goes with the pod.
    Pod,
    /// On a volume of its own, which the pod that takes its place has again.
    Volume,
}

/// A policy and the files that it is made of.
#[derive(Clone, Debug)]
pub struct CutoverFiles {
    /// The policy.
    pub policy: Policy,
    /// Its own file and the shared defaults, by name.
    pub files: BTreeMap<String, String>,
    /// The same as they were read, which know where each thing is said.
    pub layers: Vec<Layer>,
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
    /// Nobody puts the file with the authority of clients' certificates into the pods.
    #[error(
        "nothing puts `{path}`, which is `trustedClientCaFile` of the proxy `{proxy}`, into its pods: write the certificate \
         itself as `trustedClientCaPem`, or `{}/ca.crt` where the Secret of its TLS has that, or build an image that has \
         the file and say `--image-has {path}`",
        pods::TLS_DIRECTORY
    )]
    NoAuthority {
        /// Whose it is.
        proxy: String,
        /// Where it was said to be.
        path: String,
    },
    /// The policy asks for what the pods cannot do; each with its place in the policy's files.
    #[error("{}", told(.0))]
    Unfit(Vec<Problem>),
}

/// Problems as lines.
fn told(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Everything of one proxy, in the order in which it is applied.
///
/// # Errors
/// When the workflow file is too long for a `ConfigMap`, or the policy is not about these pods.
pub fn manifests(proxy: &Proxy, options: &Options) -> Result<Vec<Value>, NoManifests> {
    if options.workflow.len() > CONFIG_BYTES_MAX {
        return Err(NoManifests::TooLong { bytes: options.workflow.len() });
    }
    let render = Render::of(proxy, options)?;
    let mut all = vec![render.config(), render.service(), render.pods_service()];
    all.extend(render.certificate());
    all.extend(render.topic());
    all.extend(render.user());
    all.push(render.disruption());
    all.push(render.network());
    all.push(render.workload());
    if let Some(cutover) = &options.cutover {
        all.extend(render.daemon(cutover));
    }
    Ok(all)
}

/// How whoever applies them makes the Secrets that the pods of a cutover wait for; nothing where there is none.
///
/// # Errors
/// As [`manifests`].
pub fn awaited(proxy: &Proxy, options: &Options) -> Result<Vec<String>, NoManifests> {
    if options.cutover.is_some() { Ok(Render::of(proxy, options)?.secrets()) } else { Ok(Vec::new()) }
}

struct Render<'a> {
    proxy: &'a Proxy,
    options: &'a Options,
    /// What the policy's Secret holds.
    kept: BTreeMap<String, Kept>,
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

impl<'a> Render<'a> {
    fn of(proxy: &'a Proxy, options: &'a Options) -> Result<Self, NoManifests> {
        let mut render = Self { proxy, options, kept: BTreeMap::new() };
        if let Some(Authority::File(path)) = proxy.client_auth.as_ref().map(|auth| &auth.authority)
            && !render.has_authority(path)
        {
            return Err(NoManifests::NoAuthority { proxy: proxy.name.clone(), path: path.clone() });
        }
        if let Some(cutover) = &options.cutover {
            render.kept = render.check(cutover).map_err(NoManifests::Unfit)?;
        }
        Ok(render)
    }
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

    /// The name that stands for each pod by itself.
    fn pods_name(&self) -> String {
        format!("{}-pods", self.proxy.name)
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
}
