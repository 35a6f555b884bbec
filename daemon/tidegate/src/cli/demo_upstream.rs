//! `tidegate demo-upstream`: one cluster of the demo, in a process of its own. Not for people.

use std::io::Write as _;

use super::{Context, Exit};
use crate::demo::upstream::{Upstream, serve_child};

/// The arguments of `tidegate demo-upstream`.
#[derive(Debug, clap::Args)]
pub struct DemoUpstream {
    /// The side it stands for: `source` or `target`.
    #[arg(long)]
    side: String,
    /// Decides times and bodies.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl DemoUpstream {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        let upstream = Upstream { side: self.side, seed: self.seed };
        context.block_on(async {
            let hello = |hello: &_| {
                let mut stdout = std::io::stdout().lock();
                serde_json::to_writer(&mut stdout, hello)?;
                stdout.write_all(b"\n")?;
                stdout.flush()
            };
            serve_child(upstream, tokio::io::stdin(), hello).await?;
            Ok(Exit::Done)
        })
    }
}
