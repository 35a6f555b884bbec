//! `tidegate completions`: what a shell needs to complete verbs and flags.

use super::{Context, Exit};

/// The arguments of `tidegate completions`.
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// The shell.
    shell: clap_complete::Shell,
}

impl Completions {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(), "tidegate", &mut text);
        context.print(&String::from_utf8_lossy(&text))?;
        Ok(Exit::Done)
    }
}
