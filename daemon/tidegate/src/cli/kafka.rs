//! `tidegate kafka`: what is in the capture topics, with the figures of Migration Assistant's console and the true ones
//! beside them. Nothing here writes to a topic or commits an offset.

#[cfg(feature = "aws")]
mod behind;
mod describe;
mod dump;
mod group;
mod interval;
mod strangers;
mod topics;

use clap::Subcommand;
use proxy::capture::kafka::Options;

pub(super) use strangers::Strangers;

use super::{Context, Exit, brokers::Brokers};

/// The topic of Migration Assistant's capture proxy.
pub(super) const TOPIC: &str = "logging-traffic-topic";

/// The arguments of `tidegate kafka`.
#[derive(Debug, clap::Args)]
pub struct Kafka {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Count the records, requests and responses of a topic.
    DescribeTopicRecords(Box<describe::Describe>),
    /// Say how far the Replayer is behind, by its consumer group.
    DescribeConsumerGroup(group::DescribeGroup),
    /// Write the records of a topic as lines, as the Replayer's dump modes read them.
    Dump(Box<dump::Dump>),
    /// List the topics and their partitions.
    ListTopics(topics::Topics),
}

impl Kafka {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        match self.what {
            What::DescribeTopicRecords(verb) => verb.run(context),
            What::DescribeConsumerGroup(verb) => verb.run(context),
            What::Dump(verb) => verb.run(context),
            What::ListTopics(verb) => verb.run(context),
        }
    }
}

/// A topic that is read.
#[derive(Debug, clap::Args)]
pub(super) struct Reading {
    /// The topic; logging-traffic-topic by default.
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,

    #[command(flatten)]
    brokers: Brokers,
}

impl Reading {
    pub(super) fn options(&self) -> anyhow::Result<Options> {
        self.brokers.options(self.topic())
    }

    pub(super) fn topic(&self) -> &str {
        self.topic.as_deref().unwrap_or(TOPIC)
    }

    /// The name of a flag that is given and means nothing where no topic is read.
    pub(super) fn given(&self) -> Option<&'static str> {
        self.brokers.given().or_else(|| self.topic.is_some().then_some("--topic"))
    }
}
