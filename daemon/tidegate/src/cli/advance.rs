//! `tidegate advance`: opens the gates that wait for a person, or tries again what halted. It earns nothing.

use super::order::{Why, give};
use super::{Context, Exit};

/// The arguments of `tidegate advance`.
#[derive(Debug, clap::Args)]
pub struct Advance {
    /// The service.
    service: String,
    #[command(flatten)]
    why: Why,
}

impl Advance {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        context.block_on(give(context, &self.service, "advance", &self.why, false))
    }
}
