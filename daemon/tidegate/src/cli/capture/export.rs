//! `tidegate capture export`: a folder of captured files as one base64 record a line, which the Replayer's `-i` takes.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::PathBuf,
};

use anyhow::{Context as _, ensure};

use crate::cli::{Context, Exit};

/// The arguments of `tidegate capture export`.
#[derive(Debug, clap::Args)]
pub(super) struct Export {
    /// The folder of captured files; one that is being written to is read up to its last whole record.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    /// Where the lines go; stdout by default. A file that is there is not overwritten.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Export {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        ensure!(self.dir.is_dir(), "there is no folder `{}`", self.dir.display());
        let mut out: Box<dyn Write> = match &self.out {
            Some(path) => Box::new(BufWriter::new(
                File::create_new(path).with_context(|| format!("cannot make `{}`", path.display()))?,
            )),
            None => Box::new(BufWriter::new(std::io::stdout().lock())),
        };
        let records = proxy::capture::file::export(&self.dir, &mut out)
            .with_context(|| format!("cannot export `{}`", self.dir.display()))?;
        context.say(&format!("{records} records"))?;
        Ok(Exit::Done)
    }
}
