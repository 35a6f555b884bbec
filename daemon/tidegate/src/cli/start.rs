//! `tidegate start`: begins a cutover, and with `--wait` follows it to its end.

use super::order::{Why, asked, follow, give};
use super::{Context, Exit};

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
    #[command(flatten)]
    why: Why,
}

impl Start {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        let question = format!("start the cutover of {}? its policy moves live traffic from then on", self.service);
        if !asked(context, self.yes, &question)? {
            return Ok(Exit::Error);
        }
        context.block_on(async {
            let exit = give(context, &self.service, "start", &self.why, false).await?;
            if exit != Exit::Done || !self.wait {
                return Ok(exit);
            }
            follow(context, &self.service).await
        })
    }
}
