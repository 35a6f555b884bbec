//! `tidegate capture`: what was captured, looked at. Nothing here records or moves anything.

mod cat;
mod export;
#[cfg(feature = "kafka")]
mod verify;

use super::{Context, Exit};

/// The arguments of `tidegate capture`.
#[derive(Debug, clap::Args)]
pub struct Capture {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print captured streams as requests and responses.
    Cat(Box<cat::Cat>),
    /// Write captured files as the plain lines that the Replayer's dump modes read.
    Export(export::Export),
    /// Send marked requests through the capture proxy and find them in its topic.
    #[cfg(feature = "kafka")]
    Verify(Box<verify::Verify>),
}

impl Capture {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        match self.what {
            What::Cat(verb) => verb.run(context),
            What::Export(verb) => verb.run(context),
            #[cfg(feature = "kafka")]
            What::Verify(verb) => verb.run(context),
        }
    }
}
