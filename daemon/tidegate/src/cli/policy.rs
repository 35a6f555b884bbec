//! `tidegate policy`: check, plan, simulate, show and sample policy files. One file per verb; nothing here touches traffic.

pub(super) mod check;
mod plan;
mod sample;
mod show;
mod simulate;

use clap::Subcommand;

use super::{Context, Exit};

/// The arguments of `tidegate policy`.
#[derive(Debug, clap::Args)]
pub struct Policy {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Report every problem of policy files at once. Exits 0 when all are sound and 1 when not.
    Check(check::Check),
    /// Say what a policy will do, how long that takes, and what size of regression each step can see.
    Plan(plan::Plan),
    /// Run a policy many times on a recorded service: how long it takes, how often it is wrong, and what it sees.
    Simulate(Box<simulate::Simulate>),
    /// Print the values that result from all layers, and where each came from.
    Show(show::Show),
    /// Print a commented example, or the names of all.
    Sample(sample::Sample),
    /// Print the JSON Schema of policy files, for editors.
    Schema(Schema),
}

/// The arguments of `tidegate policy schema`.
#[derive(Debug, clap::Args)]
struct Schema {}

impl Policy {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        match self.verb {
            Verb::Check(verb) => verb.run(context),
            Verb::Plan(verb) => verb.run(context),
            Verb::Simulate(verb) => verb.run(context),
            Verb::Show(verb) => verb.run(context),
            Verb::Sample(verb) => verb.run(context),
            Verb::Schema(Schema {}) => {
                let schema = cutover::policy::schema();
                if context.json {
                    context.print_json(&schema)?;
                } else {
                    context.print(&format!("{}\n", serde_json::to_string_pretty(&schema)?))?;
                }
                Ok(Exit::Done)
            }
        }
    }
}
