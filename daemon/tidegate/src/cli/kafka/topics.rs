//! `tidegate kafka list-topics`.

use serde_json::json;

use crate::cli::{Context, Exit, brokers::Brokers};

/// The arguments of `tidegate kafka list-topics`.
#[derive(Debug, clap::Args)]
pub(super) struct Topics {
    #[command(flatten)]
    brokers: Brokers,
}

impl Topics {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        let topics = proxy::capture::kafka::read::topics(&self.brokers.options("")?)?;
        if context.json {
            let list: Vec<_> =
                topics.iter().map(|(topic, partitions)| json!({ "topic": topic, "partitions": partitions })).collect();
            context.print_json(&list)?;
        } else {
            if topics.is_empty() {
                context.say("there is no topic on these brokers but their own")?;
            }
            for (topic, partitions) in &topics {
                context.print(&format!("{topic:<40} {partitions:>4}\n"))?;
            }
        }
        Ok(Exit::Done)
    }
}
