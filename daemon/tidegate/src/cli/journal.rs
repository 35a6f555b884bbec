//! `tidegate journal`: the journal's file itself. `verify` checks the whole chain without a daemon.

use std::path::PathBuf;

use super::{Context, Exit};
use crate::run;

/// The arguments of `tidegate journal`.
#[derive(Debug, clap::Args)]
pub struct Journal {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Check that no entry was changed, removed or cut off.
    Verify {
        /// The daemon's state directory.
        #[arg(long, env = "TIDEGATE_STATE_DIR", value_name = "DIR", default_value = "/var/lib/tidegate")]
        state: PathBuf,
    },
}

impl Journal {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        let What::Verify { state } = self.what;
        let chain = run::verify_journal(&state)?;
        if context.json {
            context.print_json(&chain)?;
        } else {
            context.print(&format!(
                "{} entries, none changed or missing; the last hash is {}\n",
                chain.entries, chain.hash
            ))?;
        }
        Ok(Exit::Done)
    }
}
