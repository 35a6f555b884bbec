//! Whether a policy can be carried out by pods: what it names outside of itself is given to them, or refused where it says so.
//!
//! A policy names secrets and files by reference, and programs by their path; on a machine of its own the daemon finds them
//! there. In a pod it finds its image, its volume and what is mounted. So each variable and each file comes out of one Secret,
//! whose keys are told to who renders and whose values nobody writes here; a program must be in the image. What the policy says
//! of the sides goes to the pods of the proxy as arguments, and may not contradict the workflow file that they are started with.

use std::collections::{BTreeMap, BTreeSet};

use cutover::Policy;
use cutover::policy::{
    AlertPolicy, BUILTIN, BalancerPolicy, GateKind, Layer, MetricsPolicy, Problem, ProxyRetry, RecordedBaseline,
    Severity, SidePolicy, Sticky, join,
};
use serde_json::{Value, json};

use super::daemon::{POLICIES, SOCKET_DIRECTORY, STATE};
use super::{CONTROL_PORT, CutoverFiles, Render};

/// What `tidegate` is called in its own image.
const OURSELVES: [&str; 2] = ["tidegate", "/usr/bin/tidegate"];

/// What the names of variables begin with that mean something to the program itself.
const OURS: &str = "TIDEGATE_";

/// A file of a Secret's is read by its group alone.
const FILE_MODE: u32 = 0o440;

/// One key of the Secret that a policy's pods wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// What `env:NAME` stands for; the key is the name.
    Variable,
    /// What is found at this path.
    File(String),
}

/// A policy's references to what is outside of it, each with where the policy says it.
struct References<'a> {
    /// `env:NAME` and `file:PATH`.
    secrets: Vec<(String, &'a str)>,
    /// Paths.
    files: Vec<(String, &'a str)>,
    /// Programs with their arguments.
    programs: Vec<(String, &'a [String])>,
}

/// Collects them.
fn references<'a>(policy: &'a Policy, layers: &[Layer]) -> References<'a> {
    let mut found = References { secrets: Vec::new(), files: Vec::new(), programs: Vec::new() };
    let sides = [("source", &policy.source), ("target", &policy.target)];
    found.secrets.extend(sides.iter().filter_map(|(name, side)| authorization(name, side)));
    if let MetricsPolicy::Prometheus(prometheus) = &policy.metrics {
        found.secrets.extend(said("metrics.authorization", prometheus.authorization.as_deref()));
        found.files.extend(said("metrics.ca", prometheus.ca.as_deref()));
    }
    let clients = &policy.clients;
    found.secrets.extend(said("clients.authorization", clients.authorization.as_deref()));
    found.files.extend(said("clients.ca", clients.ca.as_deref()));
    if let Some((certificate, key)) = &clients.certificate {
        found.files.push(("clients.certificate".to_owned(), certificate));
        found.files.push(("clients.key".to_owned(), key));
    }
    if let Some(RecordedBaseline::File(file)) = &policy.baseline.recorded {
        found.files.push(("baseline.file".to_owned(), file));
    }
    for gate in &policy.gates {
        let at = |key: &str| join(&join("gates", &gate.name), key);
        match &gate.kind {
            GateKind::Manual => {}
            GateKind::Command { argv } | GateKind::Backfill { argv, .. } => found.programs.push((at("argv"), argv)),
            GateKind::Webhook { secret, .. } => found.secrets.extend(said(&at("secret"), secret.as_deref())),
            GateKind::ReplayLag(lag) => found.files.extend(said(&at("properties"), lag.properties.as_deref())),
        }
    }
    // Receivers have their names in the files alone, and stand in their order.
    let tables = layers.iter().filter_map(|layer| layer.value.get("alerts")?.as_object());
    let names: BTreeSet<&String> = tables.flat_map(serde_json::Map::keys).collect();
    for (name, alert) in names.into_iter().zip(&policy.alerts) {
        let at = |key: &str| join(&join("alerts", name), key);
        match alert {
            AlertPolicy::Webhook { secret, .. } => found.secrets.extend(said(&at("secret"), secret.as_deref())),
            AlertPolicy::Command { argv } => found.programs.push((at("argv"), argv)),
        }
    }
    // What we are ourselves asked to do names secrets and files in the same words.
    for (at, argv) in &found.programs {
        for text in argv.iter().skip(1).filter(|_| OURSELVES.contains(&argv[0].as_str())) {
            if text.starts_with("env:") || text.starts_with("file:") {
                found.secrets.push((at.clone(), text));
            } else if text.starts_with('/') {
                found.files.push((at.clone(), text));
            }
        }
    }
    found
}

fn said<'a>(at: &str, text: Option<&'a str>) -> Option<(String, &'a str)> {
    text.map(|text| (at.to_owned(), text))
}

fn authorization<'a>(name: &str, side: &'a SidePolicy) -> Option<(String, &'a str)> {
    said(&join(name, "authorization"), side.authorization.as_deref())
}

/// Whether a path is one of these, or below it.
fn is_within(path: &str, folders: &[&str]) -> bool {
    folders.iter().any(|folder| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// The key of a file in a Secret: its path with dots.
fn key_of(path: &str) -> String {
    path.trim_start_matches('/').replace('/', ".")
}

/// Whether Kubernetes takes it for a key of a Secret.
fn is_key(text: &str) -> bool {
    !text.is_empty() && text.len() <= 253 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

impl Render<'_> {
    /// The Secret with what the policy names.
    pub(super) fn policy_secret(&self) -> String {
        format!("{}-policy", self.proxy.name)
    }

    /// What the policy's Secret holds by key, or everything that pods could not do.
    pub(super) fn check(&self, cutover: &CutoverFiles) -> Result<BTreeMap<String, Kept>, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut wrong = |at: &str, what: String, hint: &str| {
            let layer = cutover.layers.iter().rev().find(|layer| layer.says(at)).or(cutover.layers.last());
            problems.extend(layer.map(|layer| layer.problem(at, Severity::Error, what, hint.to_owned())));
        };
        self.check_sides(&cutover.policy, &mut wrong);
        let mut kept: BTreeMap<String, Kept> = BTreeMap::new();
        let mut keep = |at: &str, key: String, what: Kept, wrong: &mut dyn FnMut(&str, String, &str)| {
            if kept.get(&key).is_some_and(|other| *other != what) {
                wrong(
                    at,
                    format!("`{key}` would be the key of two things in one Secret"),
                    "name one of them otherwise",
                );
            }
            kept.insert(key, what);
        };
        let found = references(&cutover.policy, &cutover.layers);
        let mut files = found.files;
        for (at, reference) in found.secrets {
            match reference.split_once(':') {
                Some(("env", name)) if name.starts_with(OURS) => {
                    let hint = "give it a name of its own";
                    wrong(&at, format!("`{name}` means something to Tidegate itself, and pods have their own"), hint);
                }
                Some(("env", name)) if !name.contains(['-', '.']) && is_key(name) => {
                    keep(&at, name.to_owned(), Kept::Variable, &mut wrong);
                }
                Some(("file", path)) if path.starts_with('/') => files.push((at, path)),
                _ => {
                    let hint = "write `env:NAME` with letters, digits and `_`, or `file:/PATH`";
                    wrong(&at, format!("`{reference}` cannot be given to a pod"), hint);
                }
            }
        }
        for (at, path) in files {
            if self.image_has(path) || is_within(path, &[STATE]) {
                continue;
            }
            let (key, parts) = (key_of(path), path.split('/').skip(1));
            if is_within(path, &[POLICIES, SOCKET_DIRECTORY]) || path == "/" {
                wrong(&at, format!("the daemon's pod has its own at `{path}`"), "put the file at another path");
            } else if !is_key(&key) || parts.clone().any(|part| matches!(part, "" | "." | "..")) {
                let hint = "write a path with letters, digits, `-`, `_` and `.`";
                wrong(&at, format!("`{path}` cannot be given to a pod"), hint);
            } else {
                keep(&at, key, Kept::File(path.to_owned()), &mut wrong);
            }
        }
        for (at, argv) in found.programs {
            let program = argv.first().map_or("", String::as_str);
            if !OURSELVES.contains(&program) && !self.image_has(program) {
                let hint =
                    "build an image on ours that has it and say `--image-has` with its name, or ask by `webhook`";
                wrong(
                    &at,
                    format!("the daemon's pod has no program `{program}`: its image has `tidegate` alone"),
                    hint,
                );
            }
        }
        problems.sort_by(|one, other| (&one.file, one.line, one.column).cmp(&(&other.file, other.line, other.column)));
        problems.dedup();
        if problems.is_empty() { Ok(kept) } else { Err(problems) }
    }

    /// Whether whoever renders says that the image has it.
    pub(super) fn image_has(&self, path: &str) -> bool {
        self.options.image_has.iter().any(|has| has == path)
    }

    /// Whether a policy drives these pods, and says of the sides what the workflow file says.
    fn check_sides(&self, policy: &Policy, wrong: &mut dyn FnMut(&str, String, &str)) {
        let within = format!("dns://{}.{}.svc", self.pods_name(), self.options.namespace);
        let ours = |place: &String| {
            let rest = place.strip_prefix(&within).and_then(|rest| rest.strip_suffix(&format!(":{CONTROL_PORT}")));
            rest.is_some_and(|domain| domain.is_empty() || domain.starts_with('.'))
        };
        match &policy.balancer {
            BalancerPolicy::Listener { proxies, .. } if proxies.len() == 1 && proxies.iter().all(ours) => {}
            BalancerPolicy::Listener { .. } | BalancerPolicy::Alb { .. } => {
                let hint = format!("write `proxies = [\"{within}.cluster.local:{CONTROL_PORT}\"]` under `[balancer]`");
                wrong("balancer.proxies", "the policy names other proxies than the pods".to_owned(), &hint);
            }
        }
        let endpoint = &self.proxy.source.endpoint;
        let node = |url: &String| url.parse::<proxy::config::Upstream>().ok();
        if policy.source.endpoints.iter().map(node).ne([node(endpoint)]) {
            let hint = format!("write `endpoints = [\"{endpoint}\"]` under `[source]`, or change the workflow file");
            let what = format!("the pods' source is `{endpoint}`, by the workflow file, and no other");
            wrong("source.endpoints", what, &hint);
        }
        let of_workflow = |name: &str| self.proxy.set_headers.iter().find(|(set, _)| set.eq_ignore_ascii_case(name));
        for (name, value) in &policy.source.headers {
            if let Some((_, other)) = of_workflow(name).filter(|(_, other)| other != value) {
                let hint = "say it once: here, or in `setHeader` of the workflow file";
                wrong(
                    &join("source.headers", name),
                    format!("the workflow file sets `{name}` to `{other}`, and the policy to `{value}`"),
                    hint,
                );
            }
        }
        if policy.source.authorization.is_some() && of_workflow("authorization").is_some() {
            let what = "the workflow file sets `Authorization` for the source, too".to_owned();
            wrong("source.authorization", what, "say it once: here, or in `setHeader` of the workflow file");
        }
    }

    /// What a proxy of this policy is started with beside what the workflow file says.
    pub(super) fn policy_arguments(&self, cutover: &CutoverFiles) -> Vec<String> {
        let CutoverFiles { policy, layers, .. } = cutover;
        let mut arguments = Vec::new();
        let mut say = |flag: &str, value: String| arguments.extend([flag.to_owned(), value]);
        say("--target", policy.target.endpoints.join(","));
        if !policy.source.headers.is_empty() {
            // Who says one of them says them all.
            let of_policy = |name: &str| policy.source.headers.keys().any(|said| said.eq_ignore_ascii_case(name));
            for (name, value) in self.proxy.set_headers.iter().filter(|(name, _)| !of_policy(name)) {
                say("--source-header", format!("{name}: {value}"));
            }
        }
        for (side, flag) in [(&policy.source, "--source-header"), (&policy.target, "--target-header")] {
            for (name, value) in &side.headers {
                say(flag, format!("{name}: {value}"));
            }
        }
        for (side, flag) in [(&policy.source, "--source-authorization"), (&policy.target, "--target-authorization")] {
            if let Some(reference) = &side.authorization {
                say(flag, reference.clone());
            }
        }
        if let BalancerPolicy::Listener { retry, sticky, .. } = &policy.balancer {
            match sticky {
                Some(Sticky::Header(name)) => say("--sticky", format!("header:{name}")),
                Some(Sticky::Cookie(name)) => say("--sticky", format!("cookie:{name}")),
                None => {}
            }
            // What Tidegate assumes of the daemon's own proxy is not asked of others.
            let is_said = layers.iter().any(|layer| !layer.name.starts_with(BUILTIN) && layer.says("balancer.retry"));
            if is_said {
                say("--retry", if *retry == ProxyRetry::Reads { "reads" } else { "none" }.to_owned());
            }
        }
        arguments
    }

    /// Of what the policy's Secret holds, what the pods of the proxy need.
    pub(super) fn kept_for_sides(&self, cutover: &CutoverFiles) -> BTreeMap<String, Kept> {
        let sides = [&cutover.policy.source, &cutover.policy.target];
        let references: Vec<&str> = sides.iter().filter_map(|side| side.authorization.as_deref()).collect();
        let is_theirs = |key: &str, what: &Kept| match what {
            Kept::Variable => references.contains(&format!("env:{key}").as_str()),
            Kept::File(path) => references.contains(&format!("file:{path}").as_str()),
        };
        self.kept
            .iter()
            .filter(|(key, what)| is_theirs(key, what))
            .map(|(key, what)| (key.clone(), what.clone()))
            .collect()
    }

    /// The variables of a container that has this of the policy's Secret.
    pub(super) fn variables(&self, kept: &BTreeMap<String, Kept>) -> Vec<Value> {
        let secret = self.policy_secret();
        let names = kept.iter().filter(|(_, what)| **what == Kept::Variable).map(|(name, _)| name);
        names
            .map(|name| {
                let key = json!({ "name": secret, "key": name });
                json!({ "name": name, "valueFrom": { "secretKeyRef": key } })
            })
            .collect()
    }

    /// Its files, each at its path: how they are mounted, and the volume that has them, if there is any.
    pub(super) fn files(&self, kept: &BTreeMap<String, Kept>) -> (Vec<Value>, Option<Value>) {
        let mut mounts = Vec::new();
        let mut items = Vec::new();
        for (key, what) in kept {
            if let Kept::File(path) = what {
                mounts.push(json!({ "name": "files", "mountPath": path, "subPath": key, "readOnly": true }));
                items.push(json!({ "key": key, "path": key }));
            }
        }
        let volume = json!({ "secretName": self.policy_secret(), "items": items, "defaultMode": FILE_MODE });
        let volume = (!mounts.is_empty()).then(|| json!({ "name": "files", "secret": volume }));
        (mounts, volume)
    }

    /// How the Secrets are made that the pods of a cutover wait for.
    pub(super) fn secrets(&self) -> Vec<String> {
        let make = format!("kubectl -n {} create secret generic", self.options.namespace);
        let mut all = vec![format!("{make} {} --from-literal=token=…", self.control_secret())];
        if !self.kept.is_empty() {
            let keys: Vec<String> = self
                .kept
                .iter()
                .map(|(key, what)| match what {
                    Kept::Variable => format!("--from-literal={key}=…"),
                    Kept::File(path) => format!("--from-file={key}={path}"),
                })
                .collect();
            all.push(format!("{make} {} {}", self.policy_secret(), keys.join(" ")));
        }
        all
    }
}
