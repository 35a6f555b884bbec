//! `tidegate kubernetes`: manifests for the proxies of a workflow file. It writes text and speaks to no cluster.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use serde_json::{Value, json};

use super::{Context, Exit};
use crate::kubernetes::{self, CutoverFiles, Options, State};
use crate::{policy_files, workflow};

/// The arguments of `tidegate kubernetes`.
#[derive(Debug, clap::Args)]
pub struct Kubernetes {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write the manifests of the capture proxies of a workflow file, for `kubectl apply -f -`.
    Render(Render),
}

/// The arguments of `tidegate kubernetes render`.
#[derive(Debug, clap::Args)]
struct Render {
    /// The workflow file of Migration Assistant (YAML or JSON); its `traffic.proxies` is what is rendered.
    #[arg(long, value_name = "FILE")]
    from_workflow: PathBuf,
    /// Only this proxy of the file.
    #[arg(long, value_name = "NAME")]
    proxy: Option<String>,
    /// The namespace that everything goes into.
    #[arg(long, value_name = "NAME", default_value = "ma")]
    namespace: String,
    /// The policy of a cutover by the proxy: renders its target side and the daemon as well.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The image made by the `Dockerfile`.
    #[arg(long, value_name = "IMAGE", default_value = concat!("tidegate:", env!("CARGO_PKG_VERSION")))]
    image: String,
    /// Where each pod keeps the list of what it could not capture: in itself, where it goes with the pod (a Deployment), or on
    /// a volume of its own (a `StatefulSet`).
    #[arg(long, value_name = "WHERE", default_value = "pod")]
    state: State,
    /// A program or file that the image has beside `tidegate`, by the path that policy or workflow file name it by; repeatable.
    #[arg(long, value_name = "PATH")]
    image_has: Vec<String>,
}

impl Kubernetes {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::Render(verb) => verb.run(context),
        }
    }
}

/// A policy with the files that it is made of.
fn cutover_files(path: &Path) -> anyhow::Result<CutoverFiles> {
    let shown = path.display();
    let loaded = policy_files::load(path, &[]).with_context(|| format!("cannot read the policy `{shown}`"))?;
    let Some(policy) = loaded.policy.clone().filter(|_| loaded.is_sound()) else {
        let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
        bail!("the policy `{shown}` cannot be used:\n{}", problems.join("\n"));
    };
    let mut files = BTreeMap::new();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the policy `{shown}`"))?;
    files.insert(format!("{}.toml", policy.service), text);
    let shared = path.with_file_name(policy_files::DEFAULTS);
    if shared.is_file() {
        let text = std::fs::read_to_string(&shared).with_context(|| format!("cannot read `{}`", shared.display()))?;
        files.insert(policy_files::DEFAULTS.to_owned(), text);
    }
    Ok(CutoverFiles { policy, files, layers: loaded.layers })
}

impl Render {
    fn run(self, context: &Context) -> anyhow::Result<Exit> {
        let file = self.from_workflow.display().to_string();
        let text = std::fs::read_to_string(&self.from_workflow)
            .with_context(|| format!("cannot read the workflow file `{file}`"))?;
        let workflow = workflow::read(&text, &file)?;
        for warning in &workflow.warnings {
            context.say(&warning.to_string())?;
        }
        let cutover = self.policy.as_deref().map(cutover_files).transpose()?;
        // A policy is one proxy's.
        let proxies = match (self.proxy.as_deref(), &cutover) {
            (None, None) => workflow.proxies.iter().collect(),
            (name, _) => vec![workflow.proxy(name)?],
        };
        let options = Options {
            namespace: self.namespace,
            image: self.image,
            state: self.state,
            image_has: self.image_has,
            workflow: text,
            cutover,
        };
        let mut all: Vec<Value> = Vec::new();
        for proxy in proxies {
            all.extend(kubernetes::manifests(proxy, &options)?);
            for command in kubernetes::awaited(proxy, &options)? {
                context.say(&format!("the pods wait for a Secret: {command}"))?;
            }
        }
        if context.json {
            context.print_json(&json!({ "apiVersion": "v1", "kind": "List", "items": all }))?;
        } else {
            context.print(&kubernetes::yaml::documents(&all))?;
        }
        Ok(Exit::Done)
    }
}
