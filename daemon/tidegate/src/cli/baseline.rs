//! `tidegate baseline`: what is normal for a source, recorded once and used by many cutovers. One file per verb; nothing
//! here moves traffic.

mod import;
mod record;
mod show;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use clap::Subcommand;
use cutover::baseline::{self, Document};
use cutover::policy::formats::Period;

use super::{Context, Exit};
use crate::baselines;

/// The arguments of `tidegate baseline`.
#[derive(Debug, clap::Args)]
pub struct Baseline {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Record a source: from its proxies' counters as they count, or from what the daemon still knows.
    Record(record::Record),
    /// Say what a baseline holds: how long, by hour of the week, what was left out, and whether it is thin.
    Show(show::Show),
    /// Make a baseline of a CSV or JSON file of counts.
    Import(import::Import),
}

impl Baseline {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::Record(verb) => verb.run(context),
            Verb::Show(verb) => verb.run(context),
            Verb::Import(verb) => verb.run(context),
        }
    }
}

/// Where a baseline goes to.
#[derive(Clone, Debug, clap::Args)]
struct Output {
    /// The file to write.
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Write over a file that is there.
    #[arg(long)]
    force: bool,
}

impl Output {
    /// Refuses before anything is recorded what would be refused after it.
    fn check(&self) -> anyhow::Result<()> {
        if self.out.exists() && !self.force {
            bail!("`{}` is there already; name another file, or say --force to write over it", self.out.display());
        }
        let folder = self.out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            bail!(
                "cannot write `{}`: the folder `{}` is not there; make it first",
                self.out.display(),
                folder.display()
            );
        }
        Ok(())
    }

    /// Writes, and prints what was written.
    fn write(&self, document: &Document, context: &Context) -> anyhow::Result<()> {
        baselines::save(&self.out, document)?;
        // What is shown is what the file says, not what we think that we wrote.
        let read = baselines::read(&self.out)?;
        show::print(&read, false, context)?;
        context.say(&format!("written to {}", self.out.display()))
    }
}

/// A duration as policies write them: `90s`, `30m`, `12h`, `7d`.
fn period(text: &str) -> Result<Duration, String> {
    let period: Period = serde_json::from_value(text.into()).map_err(|error| error.to_string())?;
    if period.0.is_zero() { Err("nothing can be recorded in no time".to_owned()) } else { Ok(period.0) }
}

/// The name of this program's version in a document.
fn tool() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// Refusals of a file, one a line, as one error.
fn refused(refusals: &[baseline::Refusal]) -> anyhow::Error {
    anyhow::anyhow!(refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}
