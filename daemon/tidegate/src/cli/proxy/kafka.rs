//! The flags that say what is written to Kafka.

use std::{sync::Arc, time::Duration};

use clap::ValueEnum;
use proxy::capture::{
    Breaker, Reopen,
    kafka::{Compression, Create, Kafka, Options},
};

use super::{capture::Log, duration};
use crate::cli::brokers::Brokers;

/// How long the start waits for the brokers; without them the proxy serves all the same, and capture begins when they answer.
const START_WAIT: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Kafka")]
pub(super) struct KafkaArgs {
    #[command(flatten)]
    brokers: Brokers,

    /// The topic for the source's traffic; logging-traffic-topic by default, as Migration Assistant has it.
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,

    /// The topic for the target's traffic; without it that is not recorded.
    #[arg(long, value_name = "NAME")]
    target_topic: Option<String>,

    /// Make topics that are not there, with so many partitions on so many brokers (1 by default).
    #[arg(long, value_name = "PARTITIONS[:REPLICAS]", value_parser = create)]
    create_topic: Option<Create>,

    /// Our name in the brokers' logs and quotas.
    #[arg(long, value_name = "NAME")]
    kafka_client_id: Option<String>,

    /// How records are compressed.
    #[arg(long, value_name = "HOW")]
    kafka_compression: Option<Packing>,

    /// How long a record may take before it counts as lost; 10s by default.
    #[arg(long, value_name = "D", value_parser = duration)]
    kafka_timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Packing {
    None,
    Lz4,
    Zstd,
}

impl KafkaArgs {
    /// The name of a flag that is given and means nothing without Kafka.
    pub(super) fn given(&self) -> Option<&'static str> {
        [
            (self.topic.is_some(), "--topic"),
            (self.target_topic.is_some(), "--target-topic"),
            (self.create_topic.is_some(), "--create-topic"),
            (self.kafka_client_id.is_some(), "--kafka-client-id"),
            (self.kafka_compression.is_some(), "--kafka-compression"),
            (self.kafka_timeout.is_some(), "--kafka-timeout"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
        .or_else(|| self.brokers.given())
    }

    /// The name of the flag that has the target's traffic recorded.
    pub(super) fn of_target(&self) -> Option<&'static str> {
        self.target_topic.is_some().then_some("--target-topic")
    }

    /// Whether each side has a topic of its own.
    pub(super) fn sound(&self, default_topic: &str) -> Result<(), String> {
        let topic = self.topic.as_deref().unwrap_or(default_topic);
        if self.target_topic.as_deref() != Some(topic) {
            return Ok(());
        }
        Err(format!(
            "source and target cannot be captured into the same topic `{topic}`, since a replay could not tell them apart: \
             name another one with --target-topic"
        ))
    }

    /// Starts the log of the source, and the target's if that has a topic.
    pub(super) fn start(&self, default_topic: &str) -> anyhow::Result<(Log, Option<Log>)> {
        let topic = self.topic.as_deref().unwrap_or(default_topic);
        let source = self.log(topic)?;
        let target = self.target_topic.as_deref().map(|topic| self.log(topic)).transpose()?;
        Ok((source, target))
    }

    fn log(&self, topic: &str) -> anyhow::Result<Log> {
        let breaker = Arc::new(Breaker::new(Reopen::WhenReady));
        let sink = Kafka::start(self.options(topic)?, Arc::clone(&breaker))?;
        Ok(Log { sink: Arc::new(sink), breaker })
    }

    fn options(&self, topic: &str) -> anyhow::Result<Options> {
        Ok(Options {
            client_id: self.kafka_client_id.clone(),
            compression: self.kafka_compression.map(|packing| match packing {
                Packing::None => Compression::None,
                Packing::Lz4 => Compression::Lz4,
                Packing::Zstd => Compression::Zstd,
            }),
            message_timeout: self.kafka_timeout,
            create: self.create_topic,
            start_timeout: START_WAIT,
            ..self.brokers.options(topic)?
        })
    }
}

fn create(text: &str) -> Result<Create, String> {
    let (partitions, replicas) = text.split_once(':').unwrap_or((text, "1"));
    let number = |text: &str| match text.parse::<u16>() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("`{text}` is no number from 1 to 65535: write PARTITIONS or PARTITIONS:REPLICAS")),
    };
    Ok(Create { partitions: number(partitions)?, replicas: number(replicas)?, retention: None })
}
