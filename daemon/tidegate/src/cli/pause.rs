//! `tidegate pause`: holds, and the budgets' clocks stand still.

use super::order::{Why, give};
use super::{Context, Exit};

/// The arguments of `tidegate pause`.
#[derive(Debug, clap::Args)]
pub struct Pause {
    /// The service.
    service: String,
    #[command(flatten)]
    why: Why,
}

impl Pause {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        context.block_on(give(context, &self.service, "pause", &self.why, false))
    }
}
