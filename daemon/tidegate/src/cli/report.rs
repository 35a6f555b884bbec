//! `tidegate report`: the dossier of a cutover, from its journal.

use std::path::PathBuf;

use anyhow::Context as _;

use super::{Context, Exit};
use crate::{report, run};

/// The arguments of `tidegate report`.
#[derive(Debug, clap::Args)]
pub struct Report {
    /// A cutover's id, or a service, whose last cutover is meant then.
    cutover: String,
    /// The directory with the journal; it is read beside a running daemon as well as without one.
    #[arg(
        long = "state",
        alias = "state-dir",
        env = "TIDEGATE_STATE_DIR",
        default_value = "/var/lib/tidegate",
        value_name = "DIR"
    )]
    state_dir: PathBuf,
    /// Where the dossier goes; `-` is stdout.
    #[arg(long, short, default_value = "-", value_name = "FILE")]
    output: PathBuf,
}

impl Report {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        let (entries, samples) = run::read_journal(&self.state_dir, &self.cutover)?;
        if context.json {
            let answer = entries.last().map(|entry| report::answer::answer(&entry.next));
            let report = serde_json::json!({ "answer": answer, "entries": entries, "samples": samples });
            context.print_json(&report)?;
            return Ok(Exit::Done);
        }
        let page = report::html(&entries, &samples)?;
        if self.output.as_os_str() == "-" {
            context.print(&page)?;
        } else {
            let shown = self.output.display();
            std::fs::write(&self.output, page).with_context(|| format!("cannot write the dossier `{shown}`"))?;
        }
        Ok(Exit::Done)
    }
}
