//! `tidegate proxy`: the data plane.

use super::{Context, Exit};

/// The arguments of `tidegate proxy`.
#[derive(Debug, clap::Args)]
pub struct Proxy {}

impl Proxy {
    pub(super) fn run(self, _context: &Context) -> anyhow::Result<Exit> {
        let Self {} = self;
        anyhow::bail!("`tidegate proxy` is not part of this build")
    }
}
