//! `tidegate resume`: ends a hold or a pause; with `--adopt-policy`, goes on by the policy file as it is now.

use super::order::{Why, give};
use super::{Context, Exit};

/// The arguments of `tidegate resume`.
#[derive(Debug, clap::Args)]
pub struct Resume {
    /// The service.
    service: String,
    /// Go on by the policy file as it is now; evidence begins anew.
    #[arg(long)]
    adopt_policy: bool,
    #[command(flatten)]
    why: Why,
}

impl Resume {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        context.block_on(give(context, &self.service, "resume", &self.why, self.adopt_policy))
    }
}
