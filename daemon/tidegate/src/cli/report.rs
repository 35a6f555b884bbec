//! `tidegate report`: the dossier of a cutover.

use super::{Context, Exit};

/// The arguments of `tidegate report`.
#[derive(Debug, clap::Args)]
pub struct Report {}

impl Report {
    pub(super) fn run(self, _context: &Context) -> anyhow::Result<Exit> {
        let Self {} = self;
        anyhow::bail!("`tidegate report` is not part of this build")
    }
}
