//! `tidegate hold`: stays on the step; judging goes on.

use super::order::{Why, give};
use super::{Context, Exit};

/// The arguments of `tidegate hold`.
#[derive(Debug, clap::Args)]
pub struct Hold {
    /// The service.
    service: String,
    #[command(flatten)]
    why: Why,
}

impl Hold {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        context.block_on(give(context, &self.service, "hold", &self.why, false))
    }
}
