//! Which clusters are meant, and by what identity they are asked: flags, or what a policy says.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use cutover::policy::SidePolicy;

use crate::cli::Wrong;
use crate::clusters::{Cluster, basic};
use crate::outbound::{Outbound, check_url};
use crate::secret::Secret;
use crate::{policy_files, secret, trust};

/// The flags that say where the clusters are and who asks.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The clusters")]
pub(super) struct Sides {
    /// Take what is not said here from this policy: the first endpoint of each side and its `authorization`.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The source's cluster, http://HOST:PORT or https://HOST:PORT.
    #[arg(long, value_name = "URL")]
    source: Option<String>,
    /// The target's cluster.
    #[arg(long, value_name = "URL")]
    target: Option<String>,
    /// Where the `Authorization` value for the source comes from: `env:NAME` or `file:PATH`, never the value itself.
    #[arg(long, value_name = "env:NAME|file:PATH")]
    source_authorization: Option<String>,
    /// The same for the target.
    #[arg(long, value_name = "env:NAME|file:PATH")]
    target_authorization: Option<String>,
    /// Where `user:password` for the source comes from, sent as basic authentication.
    #[arg(long, value_name = "env:NAME|file:PATH", conflicts_with = "source_authorization")]
    source_basic: Option<String>,
    /// The same for the target.
    #[arg(long, value_name = "env:NAME|file:PATH", conflicts_with = "target_authorization")]
    target_basic: Option<String>,
    /// The authorities to trust for the source instead of the public ones (PEM).
    #[arg(long, value_name = "FILE")]
    source_ca: Option<PathBuf>,
    /// The authorities to trust for the target instead of the public ones (PEM).
    #[arg(long, value_name = "FILE")]
    target_ca: Option<PathBuf>,
    /// The certificate chain to show to the source (PEM).
    #[arg(long, value_name = "FILE", requires = "source_key")]
    source_cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "source_cert")]
    source_key: Option<PathBuf>,
    /// The certificate chain to show to the target (PEM).
    #[arg(long, value_name = "FILE", requires = "target_key")]
    target_cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "target_cert")]
    target_key: Option<PathBuf>,
}

/// The clusters that were named.
pub(super) struct Named {
    pub(super) source: Option<Cluster>,
    pub(super) target: Option<Cluster>,
}

impl Named {
    /// Those that were named, each with the word for its side and its key in JSON.
    pub(super) fn each(&self) -> impl Iterator<Item = (&'static str, &'static str, &Cluster)> {
        let source = self.source.iter().map(|cluster| ("SOURCE CLUSTER", "source_cluster", cluster));
        source.chain(self.target.iter().map(|cluster| ("TARGET CLUSTER", "target_cluster", cluster)))
    }
}

impl Sides {
    /// The clusters, one of them at least.
    ///
    /// # Errors
    /// When none is named, or a secret or file cannot be read.
    pub(super) fn named(self) -> anyhow::Result<Named> {
        let (mut source_policy, mut target_policy) = (None, None);
        if let Some(file) = &self.policy {
            let loaded = policy_files::load(file, &policy_files::environment())?;
            let Some(policy) = loaded.policy.as_ref().filter(|_| loaded.is_sound()) else {
                bail!("`{}` is no sound policy: `tidegate policy check` says why", file.display());
            };
            (source_policy, target_policy) = (Some(policy.source.clone()), Some(policy.target.clone()));
        }
        let source = Way {
            url: self.source,
            authorization: self.source_authorization,
            basic: self.source_basic,
            ca: self.source_ca,
            identity: self.source_cert.zip(self.source_key),
        };
        let target = Way {
            url: self.target,
            authorization: self.target_authorization,
            basic: self.target_basic,
            ca: self.target_ca,
            identity: self.target_cert.zip(self.target_key),
        };
        let source = source.cluster(source_policy.as_ref()).context("the source")?;
        let target = target.cluster(target_policy.as_ref()).context("the target")?;
        if source.is_none() && target.is_none() {
            bail!("name the clusters: `--source URL`, `--target URL`, or `--policy FILE`, whose sides have endpoints");
        }
        Ok(Named { source, target })
    }
}

struct Way {
    url: Option<String>,
    authorization: Option<String>,
    basic: Option<String>,
    ca: Option<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
}

impl Way {
    fn cluster(self, policy: Option<&SidePolicy>) -> anyhow::Result<Option<Cluster>> {
        let endpoint = policy.and_then(|side| side.endpoints.first()).map(ToString::to_string);
        let Some(url) = self.url.or(endpoint) else { return Ok(None) };
        check_url(&url).map_err(Wrong::because)?;
        let of_policy = policy.and_then(|side| side.authorization.as_deref());
        let authorization: Option<Secret> = match (&self.basic, self.authorization.as_deref().or(of_policy)) {
            (Some(reference), _) => Some(basic(&secret::read(reference)?)),
            (None, Some(reference)) => Some(secret::read(reference)?),
            (None, None) => None,
        };
        let identity = self.identity.as_ref().map(|(chain, key)| (chain.as_path(), key.as_path()));
        let outbound = Outbound::by(trust::tls(self.ca.as_deref(), identity)?);
        Ok(Some(Cluster::new(&url, authorization, outbound)))
    }
}
