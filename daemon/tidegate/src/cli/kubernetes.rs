//! `tidegate kubernetes`: manifests for the proxies of a workflow file. It writes text and speaks to no cluster.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::{Value, json};

use super::{Context, Exit};
use crate::kubernetes::{self, Options};
use crate::workflow;

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
    /// The image made by `container/Dockerfile`.
    #[arg(long, value_name = "IMAGE", default_value = concat!("tidegate:", env!("CARGO_PKG_VERSION")))]
    image: String,
}

impl Kubernetes {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::Render(verb) => verb.run(context),
        }
    }
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
        let options = Options { namespace: self.namespace, image: self.image, workflow: text };
        let proxies = match self.proxy.as_deref() {
            Some(name) => vec![workflow.proxy(Some(name))?],
            None => workflow.proxies.iter().collect(),
        };
        let mut all: Vec<Value> = Vec::new();
        for proxy in proxies {
            all.extend(kubernetes::manifests(proxy, &options)?);
        }
        if context.json {
            context.print_json(&json!({ "apiVersion": "v1", "kind": "List", "items": all }))?;
        } else {
            context.print(&kubernetes::yaml::documents(&all))?;
        }
        Ok(Exit::Done)
    }
}
