//! `tidegate clusters`: a look at the source's and the target's clusters, side by side. One file per verb; nothing is changed.

mod cat_indices;
mod compare;
mod connection_check;
mod sides;

use clap::Subcommand;

use super::{Context, Exit};

/// The arguments of `tidegate clusters`.
#[derive(Debug, clap::Args)]
pub struct Clusters {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print the indices of both clusters, as each tells of them.
    CatIndices(Box<cat_indices::CatIndices>),
    /// Say who answers on both sides, and whether it lets us in. Exits 1 when one of them does not.
    ConnectionCheck(Box<connection_check::ConnectionCheck>),
    /// Compare the documents of both clusters, index by index. Exits 0 when they agree and 1 when not, so that a gate of
    /// a policy can call it.
    Compare(Box<compare::Compare>),
}

impl Clusters {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::CatIndices(verb) => verb.run(context),
            Verb::ConnectionCheck(verb) => verb.run(context),
            Verb::Compare(verb) => verb.run(context),
        }
    }
}
