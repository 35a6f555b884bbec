//! `tidegate revert`: puts back the recorded original. Says first what that costs.

use super::order::{Why, asked, follow, give, price};
use super::{Context, Exit};

/// The arguments of `tidegate revert`.
#[derive(Debug, clap::Args)]
pub struct Revert {
    /// The service.
    service: String,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    /// Follow until the original is confirmed (exit code 3) or could not be (4).
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    why: Why,
}

impl Revert {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        context.block_on(async {
            // A price that cannot be had stops nobody: the revert itself will say why it cannot be done.
            if let Ok(Some(price)) = price(context, &self.service).await {
                context.say(&price.text)?;
            }
            if !asked(context, self.yes, &format!("revert {} to the recorded original?", self.service))? {
                return Ok(Exit::Error);
            }
            let exit = give(context, &self.service, "revert", &self.why, false).await?;
            if exit != Exit::Done || !self.wait {
                return Ok(exit);
            }
            follow(context, &self.service).await
        })
    }
}
