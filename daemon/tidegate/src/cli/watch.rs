//! `tidegate watch`: a cutover, live.

use super::{Context, Exit};

/// The arguments of `tidegate watch`.
#[derive(Debug, clap::Args)]
pub struct Watch {}

impl Watch {
    pub(super) fn run(self, _context: &Context) -> anyhow::Result<Exit> {
        let Self {} = self;
        anyhow::bail!("`tidegate watch` is not part of this build")
    }
}
