//! `tidegate policy`: check, show, plan and sample policy files.

use super::{Context, Exit};

/// The arguments of `tidegate policy`.
#[derive(Debug, clap::Args)]
pub struct Policy {}

impl Policy {
    pub(super) fn run(self, _context: &Context) -> anyhow::Result<Exit> {
        let Self {} = self;
        anyhow::bail!("`tidegate policy` is not part of this build")
    }
}
