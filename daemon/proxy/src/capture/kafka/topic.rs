//! The topic at start, or once its brokers answer: is it there, can it hold our records, for how long; and making it, when
//! that was asked for.
//!
//! What the topic is set to is asked for by a second, short-lived client. With bearer tokens that client is not able to
//! show one, so settings are not checked there and a topic is not made; both are said.

use std::time::Duration;

use rdkafka::{
    admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    config::ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, Producer as _},
};

use super::{
    super::sink::Keeps,
    certificate,
    client::{Hooks, Log},
    settings::{Create, Options},
};
use crate::clock;

/// How long one question may take before complaints are looked at.
const SLICE: Duration = Duration::from_millis(500);

/// How long an answer on its settings is waited for while the log is in use.
const SETTINGS_MAX: Duration = Duration::from_secs(2);

/// What a topic must take: a full record with key and overhead.
const RECORD_BYTES: u64 = 1_048_588;

/// What the topic is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: usize,
    /// How many brokers keep the partition that the fewest keep.
    pub replicas: usize,
    /// What it is set to; `None` where we may not or cannot ask.
    pub settings: Option<Settings>,
}

/// What a topic is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The largest batch it takes, in bytes.
    pub batch_bytes_max: u64,
    /// How many replicas must have a record before it is acknowledged.
    pub min_insync_replicas: u32,
    /// How long it keeps records; `None` is for ever.
    pub retention: Option<Duration>,
    /// How many bytes a partition keeps; `None` is any number.
    pub retention_bytes: Option<u64>,
    /// Whether it keeps only the last record of a key.
    pub compacted: bool,
}

impl Settings {
    /// How long it keeps records.
    pub(super) fn keeps(&self) -> Keeps {
        Keeps { time: self.retention, bytes: self.retention_bytes }
    }
}

/// Why the Kafka log cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The options make no client.
    #[error("cannot set up the Kafka client: {0}")]
    Client(String),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(String),
    /// No broker answered.
    #[error("no broker at {brokers} answered within {waited:?}: {why}")]
    Unreachable {
        /// As given.
        brokers: String,
        /// How long.
        waited: Duration,
        /// What was heard instead.
        why: String,
    },
    /// They answered, and not to us.
    #[error("the brokers at {brokers} refuse us: {why}; check user, password, mechanism and certificates")]
    Credentials {
        /// As given.
        brokers: String,
        /// What they said.
        why: String,
    },
    /// We do not take what a broker shows.
    #[error("the certificate of broker {broker} is not accepted: {why}")]
    Certificate {
        /// Where it is.
        broker: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// There is no such topic.
    #[error(
        "there is no topic `{topic}` there: `tidegate kafka list-topics` says which there are, and a proxy makes it with --create-topic"
    )]
    Missing {
        /// Its name.
        topic: String,
    },
    /// The topic cannot be used or made.
    #[error("cannot use topic `{topic}`: {why}")]
    Topic {
        /// Its name.
        topic: String,
        /// What is wrong, and what to do.
        why: String,
    },
}

/// Finds the topic, makes it if that was asked for, and holds it against what capture needs.
pub(super) fn check(
    options: &Options,
    producer: &BaseProducer<Hooks>,
    log: &Log,
    within: Duration,
) -> Result<Topic, StartError> {
    let start = clock::now();
    let deadline = start + within;
    let mut admin = None;
    let found = loop {
        match find(options, producer)? {
            Found::Topic(topic) => break topic,
            Found::Missing => {
                let Some(create) = options.create else {
                    return Err(StartError::Missing { topic: options.topic.clone() });
                };
                if admin.is_none() {
                    admin = Some(Admin::new(options, answer_within(options, within))?);
                    admin.as_ref().expect("it was made above").create(&options.topic, create)?;
                }
            }
            Found::Later(why) => {
                let complaint = log.take_complaint();
                if let Some((code, reason)) = &complaint
                    && let Some(refused) = refused(options, &options.client_config(), *code, reason)
                {
                    return Err(refused);
                }
                if clock::now() >= deadline {
                    let why = complaint.map_or(why, |(_, reason)| reason);
                    let (brokers, waited) = (options.brokers.clone(), clock::now().saturating_duration_since(start));
                    return Err(StartError::Unreachable { brokers, waited, why });
                }
            }
        }
        if clock::now() >= deadline {
            let waited = clock::now().saturating_duration_since(start);
            let why = format!("it was asked to be made, and was not there {waited:?} later");
            return Err(StartError::Topic { topic: options.topic.clone(), why });
        }
    };
    let admin = match admin {
        Some(admin) => Some(admin),
        None if options.tokens().is_some() => None,
        None => Some(Admin::new(options, answer_within(options, within))?),
    };
    let settings = admin.and_then(|admin| admin.settings(&options.topic));
    if let Some(settings) = &settings {
        fit(&options.topic, settings, found.replicas)?;
    } else {
        let topic = &options.topic;
        tracing::warn!(topic, "cannot ask what the capture topic is set to; its limits are not known");
    }
    Ok(Topic { settings, ..found })
}

/// Holds a topic's settings against what capture needs.
fn fit(topic: &str, settings: &Settings, replicas: usize) -> Result<(), StartError> {
    let refuse = |why: String| Err(StartError::Topic { topic: topic.to_owned(), why });
    if settings.batch_bytes_max < RECORD_BYTES {
        let bytes = settings.batch_bytes_max;
        return refuse(format!(
            "it takes {bytes} bytes a record and capture needs {RECORD_BYTES}: set max.message.bytes to at least that"
        ));
    }
    if settings.compacted {
        return refuse(
            "it is compacted, which keeps only the last record of a connection: set cleanup.policy to delete"
                .to_owned(),
        );
    }
    if settings.min_insync_replicas as usize > replicas {
        let wanted = settings.min_insync_replicas;
        return refuse(format!(
            "it wants {wanted} replicas in sync and has {replicas}, so it will acknowledge nothing: change one of both"
        ));
    }
    Ok(())
}

/// What a look for the topic finds.
pub(super) enum Found {
    /// There, each partition with a leader. Its settings are not asked for.
    Topic(Topic),
    /// Not there.
    Missing,
    /// No answer, or none that settles it.
    Later(String),
}

/// Asks for the topic once.
pub(super) fn find(options: &Options, producer: &BaseProducer<Hooks>) -> Result<Found, StartError> {
    let name = &options.topic;
    let metadata = match producer.client().fetch_metadata(Some(name), SLICE) {
        Ok(metadata) => metadata,
        Err(error) => return Ok(Found::Later(error.to_string())),
    };
    let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
        return Ok(Found::Later("the brokers did not speak of the topic".to_owned()));
    };
    if let Some(code) = topic.error().map(RDKafkaErrorCode::from) {
        return match code {
            RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => Ok(Found::Missing),
            RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::InvalidTopic => {
                Err(StartError::Topic { topic: name.clone(), why: code.to_string() })
            }
            other => Ok(Found::Later(other.to_string())),
        };
    }
    let partitions = topic.partitions();
    if let Some(partition) = partitions.iter().find(|partition| partition.leader() < 0) {
        return Ok(Found::Later(format!("partition {} of `{name}` has no leader", partition.id())));
    }
    if partitions.is_empty() {
        return Ok(Found::Later(format!("`{name}` has no partitions yet")));
    }
    let replicas = partitions.iter().map(|partition| partition.replicas().len()).min().unwrap_or(0);
    Ok(Found::Topic(Topic { name: name.clone(), partitions: partitions.len(), replicas, settings: None }))
}

/// What a complaint says that another try will not change; `None` for one that may pass by itself.
pub(super) fn refused(
    options: &Options,
    config: &ClientConfig,
    code: RDKafkaErrorCode,
    reason: &str,
) -> Option<StartError> {
    is_final(code, reason).then(|| {
        certificate::refused(config, reason)
            .unwrap_or_else(|| StartError::Credentials { brokers: options.brokers.clone(), why: reason.to_owned() })
    })
}

/// Whether a complaint is an answer that another try will not change. A connection that is lost under a handshake is none,
/// though librdkafka has the same codes for it: a load balancer before dead brokers does that.
pub(super) fn is_final(code: RDKafkaErrorCode, reason: &str) -> bool {
    let cut = ["isconnected", "onnection reset", "roken pipe", "imed out"];
    !cut.iter().any(|cut| reason.contains(cut))
        && matches!(
            code,
            RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::SaslAuthenticationFailed
                | RDKafkaErrorCode::SSL
                | RDKafkaErrorCode::UnsupportedSASLMechanism
        )
}

/// What the topic is set to now; `None` where we may not or cannot ask, or nobody answers soon.
pub(super) fn settings(options: &Options) -> Option<Settings> {
    Admin::new(options, SETTINGS_MAX).ok()?.settings(&options.topic)
}

/// How long an answer of the administrator's kind is waited for by a check that may last so long: it takes a connection of its own.
fn answer_within(options: &Options, within: Duration) -> Duration {
    within.max(SETTINGS_MAX).min(options.start_timeout.max(within))
}

/// A client that asks for settings and makes topics.
struct Admin {
    client: AdminClient<DefaultClientContext>,
    runtime: tokio::runtime::Runtime,
    timeout: Duration,
}

impl Admin {
    fn new(options: &Options, timeout: Duration) -> Result<Self, StartError> {
        if options.tokens().is_some() {
            let why = "with bearer tokens topics are not made from here: make it by other means".to_owned();
            return Err(StartError::Topic { topic: options.topic.clone(), why });
        }
        let config: ClientConfig = options.client_config();
        let client = config.create().map_err(|error: KafkaError| StartError::Client(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(|error| StartError::Thread(error.to_string()))?;
        Ok(Self { client, runtime, timeout })
    }

    fn asked(&self) -> AdminOptions {
        AdminOptions::new().request_timeout(Some(self.timeout)).operation_timeout(Some(self.timeout))
    }

    fn create(&self, topic: &str, create: Create) -> Result<(), StartError> {
        let retention = create.retention.map(|time| time.as_millis().to_string());
        let replicas = TopicReplication::Fixed(i32::from(create.replicas));
        let mut new = NewTopic::new(topic, i32::from(create.partitions), replicas)
            .set("cleanup.policy", "delete")
            .set("max.message.bytes", "1048588");
        if let Some(retention) = &retention {
            new = new.set("retention.ms", retention);
        }
        let refuse = |why: String| StartError::Topic { topic: topic.to_owned(), why };
        let made = self.runtime.block_on(self.client.create_topics([&new], &self.asked()));
        match made.map_err(|error| refuse(error.to_string()))?.into_iter().next() {
            Some(Ok(_)) => {
                tracing::info!(
                    topic,
                    partitions = create.partitions,
                    replicas = create.replicas,
                    "made the capture topic"
                );
                Ok(())
            }
            // Another proxy of the fleet was faster.
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) | None => Ok(()),
            Some(Err((_, code))) => Err(refuse(format!("it cannot be made: {code}"))),
        }
    }

    /// What the topic is set to; `None` when the brokers do not say.
    fn settings(&self, topic: &str) -> Option<Settings> {
        let (which, options) = (ResourceSpecifier::Topic(topic), self.asked());
        let asked = self.client.describe_configs([&which], &options);
        let resource: ConfigResource = self.runtime.block_on(asked).ok()?.into_iter().next()?.ok()?;
        let value = |name: &str| resource.get(name).and_then(|entry| entry.value.clone());
        let number = |name: &str| value(name).and_then(|value| value.parse::<i64>().ok());
        Some(Settings {
            batch_bytes_max: u64::try_from(number("max.message.bytes")?).ok()?,
            min_insync_replicas: number("min.insync.replicas").and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
            retention: number("retention.ms").and_then(|millis| u64::try_from(millis).ok()).map(Duration::from_millis),
            retention_bytes: number("retention.bytes").and_then(|bytes| u64::try_from(bytes).ok()),
            compacted: value("cleanup.policy").is_some_and(|policy| policy.contains("compact")),
        })
    }
}

/// The ends of partitions; `Err` names the first that cannot be had.
pub(super) fn ends(
    options: &Options,
    producer: &BaseProducer<Hooks>,
    partitions: usize,
) -> Result<std::collections::BTreeMap<i32, i64>, String> {
    let count = i32::try_from(partitions).map_err(|error| error.to_string())?;
    let mut ends = std::collections::BTreeMap::new();
    for partition in 0..count {
        let (_, end) = producer
            .client()
            .fetch_watermarks(&options.topic, partition, SLICE * 2)
            .map_err(|error| format!("partition {partition} of `{}` does not answer: {error}", options.topic))?;
        ends.insert(partition, end);
    }
    Ok(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that a refusal is told from a connection that was lost while it was asked for.
    #[test]
    fn a_cut_handshake_is_no_refusal() {
        use RDKafkaErrorCode as Code;
        assert!(is_final(Code::SaslAuthenticationFailed, "SASL authentication error: invalid credentials"));
        assert!(is_final(Code::SSL, "SSL handshake failed: certificate verify failed"));
        assert!(!is_final(Code::SSL, "SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?"));
        assert!(!is_final(Code::Authentication, "SASL read failed: Connection reset by peer"));
        assert!(!is_final(Code::BrokerTransportFailure, "Connect to 127.0.0.1:1 failed: Connection refused"));
    }

    /// Proves that a check while the log is in use waits no longer for settings than it may, whatever a start may take.
    #[test]
    fn settings_are_not_waited_for_as_at_the_start() {
        let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let brokers = mute.local_addr().unwrap().to_string();
        let options = Options { start_timeout: Duration::from_mins(2), ..Options::new(brokers, "t") };
        let start = clock::now();
        let admin = Admin::new(&options, answer_within(&options, Duration::from_millis(500))).unwrap();
        assert_eq!(admin.settings("t"), None);
        assert!(start.elapsed() < options.start_timeout / 4, "{:?}", start.elapsed());
        assert_eq!(answer_within(&options, options.start_timeout), options.start_timeout);
    }

    /// Proves that a topic which could not hold what capture writes is refused at start, with what to change.
    #[test]
    fn a_topic_that_cannot_hold_capture_is_refused() {
        let sound = Settings {
            batch_bytes_max: RECORD_BYTES,
            min_insync_replicas: 2,
            retention: Some(Duration::from_hours(168)),
            retention_bytes: None,
            compacted: false,
        };
        assert_eq!(fit("t", &sound, 3), Ok(()));
        let small = Settings { batch_bytes_max: 1_000_000, ..sound.clone() };
        assert!(fit("t", &small, 3).unwrap_err().to_string().ends_with("set max.message.bytes to at least that"));
        let compacted = Settings { compacted: true, ..sound.clone() };
        assert!(fit("t", &compacted, 3).unwrap_err().to_string().ends_with("set cleanup.policy to delete"));
        assert!(fit("t", &sound, 1).unwrap_err().to_string().contains("it will acknowledge nothing"));
    }
}
