//! `tidegate start`: begins a cutover, and with `--wait` follows it to its end.

use std::path::{Path, PathBuf};

use super::order::{Why, asked, follow, start};
use super::{Context, Exit};
use crate::baselines::{self, Sent};

/// The arguments of `tidegate start`.
#[derive(Debug, clap::Args)]
pub struct Start {
    /// The service; its policy says what happens.
    service: String,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    /// Follow the cutover to its end, and end with its exit code.
    #[arg(long)]
    wait: bool,
    /// A baseline of `tidegate baseline`, in place of the one that the policy names and of a recording at the start.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    #[command(flatten)]
    why: Why,
}

impl Start {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        let question = format!("start the cutover of {}? its policy moves live traffic from then on", self.service);
        if !asked(context, self.yes, &question)? {
            return Ok(Exit::Error);
        }
        let baseline = self.baseline.as_deref().map(sent).transpose()?;
        context.block_on(async {
            let exit = start(context, &self.service, &self.why, baseline.as_ref()).await?;
            if exit != Exit::Done || !self.wait {
                return Ok(exit);
            }
            follow(context, &self.service).await
        })
    }
}

/// A baseline to go with the order, whole: the daemon may run as a user, or on a machine, that cannot read the file.
fn sent(file: &Path) -> anyhow::Result<Sent> {
    // Read here first, so that what is wrong with the file is said with its own name and before anything is asked.
    let read = baselines::read(file)?;
    let text = cutover::baseline::write(&read.document);
    Ok(Sent { name: file.display().to_string(), document: serde_json::from_str(&text)? })
}
