//! `tidegate abort`: ends the cutover and leaves the weight where it is.

use super::order::{Why, asked, give};
use super::{Context, Exit};

/// The arguments of `tidegate abort`.
#[derive(Debug, clap::Args)]
pub struct Abort {
    /// The service.
    service: String,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    why: Why,
}

impl Abort {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        if !asked(
            context,
            self.yes,
            &format!("end the cutover of {} and leave the weight where it is? nothing watches it then", self.service),
        )? {
            return Ok(Exit::Error);
        }
        context.block_on(give(context, &self.service, "abort", &self.why, false))
    }
}
