//! `tidegate aws`: what Tidegate finds in an AWS account, and what it needs there. Nothing here changes anything.

mod discover;
mod iam;

use super::{Context, Exit};

/// The arguments of `tidegate aws`.
#[derive(Debug, clap::Args)]
pub struct Aws {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List listeners whose default action weighs two target groups, and write a policy for one of them.
    Discover(discover::Discover),
    /// Print the permissions that Tidegate needs, by feature.
    Iam(iam::Iam),
}

impl Aws {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        match self.what {
            What::Discover(verb) => verb.run(context),
            What::Iam(verb) => verb.run(context),
        }
    }
}
