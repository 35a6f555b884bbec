//! `tidegate close`: makes a cutover history: nothing of it can be reverted any more.

use super::order::{Why, asked, give};
use super::{Context, Exit};

/// The arguments of `tidegate close`.
#[derive(Debug, clap::Args)]
pub struct Close {
    /// The service.
    service: String,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    why: Why,
}

impl Close {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        if !asked(
            context,
            self.yes,
            &format!("close the cutover of {}? it cannot be reverted any more then", self.service),
        )? {
            return Ok(Exit::Error);
        }
        context.block_on(give(context, &self.service, "close", &self.why, false))
    }
}
