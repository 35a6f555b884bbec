//! The flags that say how Kafka is reached.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use proxy::capture::{
    Breaker, Reopen,
    kafka::{Compression, Create, Kafka, Options, Properties, Scram, Secret, Security, Tls},
};

use super::{capture::Log, duration};

/// Where a password may stand that is given by no file.
const PASSWORD: &str = "TIDEGATE_KAFKA_PASSWORD";

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Kafka")]
#[expect(clippy::struct_field_names, reason = "they are the names of the flags")]
pub(super) struct KafkaArgs {
    /// The brokers.
    #[arg(long, value_name = "HOST:PORT,...")]
    kafka: Option<String>,

    /// The topic for the source's traffic; logging-traffic-topic by default, as Migration Assistant has it.
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,

    /// The topic for the target's traffic; without it that is not recorded.
    #[arg(long, value_name = "NAME")]
    target_topic: Option<String>,

    /// Make topics that are not there, with so many partitions on so many brokers (1 by default).
    #[arg(long, value_name = "PARTITIONS[:REPLICAS]", value_parser = create)]
    create_topic: Option<Create>,

    /// Who we are to the brokers.
    #[arg(long, value_name = "HOW")]
    kafka_auth: Option<Auth>,

    /// The user for SCRAM.
    #[arg(long, value_name = "NAME")]
    kafka_user: Option<String>,

    /// A file with the user's password; TIDEGATE_KAFKA_PASSWORD is read where there is none.
    #[arg(long, value_name = "FILE")]
    kafka_password_file: Option<PathBuf>,

    /// Speak TLS to the brokers, and hold their certificates against these authorities (PEM).
    #[arg(long, value_name = "FILE")]
    kafka_ca: Option<PathBuf>,

    /// Our own certificate for the brokers (PEM).
    #[arg(long, value_name = "FILE", requires = "kafka_key")]
    kafka_cert: Option<PathBuf>,

    /// Its key (PEM).
    #[arg(long, value_name = "FILE", requires = "kafka_cert")]
    kafka_key: Option<PathBuf>,

    /// Accept brokers' certificates that name another host.
    #[arg(long)]
    kafka_any_host: bool,

    /// A producer's properties file, with Java's names; single flags override it.
    #[arg(long, value_name = "FILE")]
    kafka_properties: Option<PathBuf>,

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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Auth {
    None,
    Ssl,
    #[value(name = "scram-sha-256")]
    ScramSha256,
    #[value(name = "scram-sha-512")]
    ScramSha512,
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
            (self.kafka.is_some(), "--kafka"),
            (self.topic.is_some(), "--topic"),
            (self.target_topic.is_some(), "--target-topic"),
            (self.create_topic.is_some(), "--create-topic"),
            (self.kafka_properties.is_some(), "--kafka-properties"),
            (self.kafka_auth.is_some(), "--kafka-auth"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
    }

    /// Starts the log of the source, and the target's if that has a topic.
    pub(super) fn start(&self, default_topic: &str) -> anyhow::Result<(Log, Option<Log>)> {
        let topic = self.topic.as_deref().unwrap_or(default_topic);
        ensure!(
            self.target_topic.as_deref() != Some(topic),
            "source and target cannot be captured into the same topic `{topic}`: a replay could not tell them apart"
        );
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
        let brokers =
            self.kafka.as_deref().context("--capture kafka needs brokers: name them with --kafka HOST:PORT")?;
        let properties = match &self.kafka_properties {
            None => Properties::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
                Properties::parse(&text).with_context(|| format!("cannot use {}", path.display()))?
            }
        };
        ensure!(
            !properties.wants_iam(),
            "the properties file asks for MSK's IAM, which this build cannot sign for: use SCRAM or TLS"
        );
        Ok(Options {
            client_id: self.kafka_client_id.clone(),
            compression: self.kafka_compression.map(|packing| match packing {
                Packing::None => Compression::None,
                Packing::Lz4 => Compression::Lz4,
                Packing::Zstd => Compression::Zstd,
            }),
            message_timeout: self.kafka_timeout,
            security: self.security()?,
            properties,
            create: self.create_topic,
            ..Options::new(brokers, topic)
        })
    }

    fn security(&self) -> anyhow::Result<Security> {
        let wants_tls = self.kafka_ca.is_some() || self.kafka_cert.is_some() || self.kafka_any_host;
        let tls = || Tls {
            authorities: self.kafka_ca.clone(),
            certificate: self.kafka_cert.clone(),
            key: self.kafka_key.clone(),
            key_password: None,
            any_host: self.kafka_any_host,
        };
        let scram = |mechanism| -> anyhow::Result<Security> {
            let user = self.kafka_user.clone().context("SCRAM needs a user: name --kafka-user")?;
            let password = self.password()?;
            Ok(Security::Scram { mechanism, user, password, tls: wants_tls.then(tls) })
        };
        match self.kafka_auth {
            None | Some(Auth::None) => {
                ensure!(
                    self.kafka_user.is_none(),
                    "--kafka-user is given, but not how: say --kafka-auth scram-sha-512"
                );
                Ok(match (self.kafka_auth, wants_tls) {
                    (_, true) => Security::Tls(tls()),
                    (Some(_), false) => Security::Plaintext,
                    (None, false) => Security::AsFile,
                })
            }
            Some(Auth::Ssl) => Ok(Security::Tls(tls())),
            Some(Auth::ScramSha256) => scram(Scram::Sha256),
            Some(Auth::ScramSha512) => scram(Scram::Sha512),
        }
    }

    fn password(&self) -> anyhow::Result<Secret> {
        let password = match &self.kafka_password_file {
            Some(path) => std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the password from {}", path.display()))?,
            None => std::env::var(PASSWORD).unwrap_or_default(),
        };
        let password = password.trim_end_matches(['\r', '\n']).to_owned();
        ensure!(!password.is_empty(), "SCRAM needs a password: name --kafka-password-file, or set {PASSWORD}");
        Ok(Secret(password))
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
