//! `tidegate man`: the man pages, made from the same text as `--help`.

use std::path::PathBuf;

use anyhow::Context as _;

use super::{Context, Exit};

/// The arguments of `tidegate man`.
#[derive(Debug, clap::Args)]
pub struct Man {
    /// Write one page per verb into this directory; without it the main page goes to stdout.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        if let Some(dir) = self.dir {
            std::fs::create_dir_all(&dir).with_context(|| format!("cannot make `{}`", dir.display()))?;
            clap_mangen::generate_to(super::command(), &dir)
                .with_context(|| format!("cannot write man pages to `{}`", dir.display()))?;
        } else {
            let mut page = Vec::new();
            clap_mangen::Man::new(super::command()).render(&mut page)?;
            context.print(&String::from_utf8_lossy(&page))?;
        }
        Ok(Exit::Done)
    }
}
