//! `tidegate demo`: a whole cutover on this machine.

use super::{Context, Exit};

/// The arguments of `tidegate demo`.
#[derive(Debug, clap::Args)]
pub struct Demo {}

impl Demo {
    pub(super) fn run(self, _context: &Context) -> anyhow::Result<Exit> {
        let Self {} = self;
        anyhow::bail!("`tidegate demo` is not part of this build")
    }
}
