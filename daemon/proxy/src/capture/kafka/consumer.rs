//! The client of whoever only asks and reads. No group is joined and nothing is committed.

use std::{
    error::Error,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::KafkaError,
};

use super::{
    client::{Complaint, complain, token},
    settings::{Options, TokenProvider},
    topic::{StartError, is_final, refused},
};
use crate::clock;

/// How long one look for what librdkafka has to say lasts.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// So many looks are taken for why a question failed.
const LOOKS_MAX: usize = 5;

pub(super) type Consumer = BaseConsumer<Hooks>;

/// A consumer, for this group's offsets where one is named. Where tokens are what we show, it has one: brokers are asked
/// for nothing before, and librdkafka asks for it only while it is polled.
pub(super) fn consumer(options: &Options, group: Option<&str>) -> Result<Consumer, StartError> {
    let mut config: ClientConfig = options.reader_config();
    if let Some(group) = group {
        config.set("group.id", group);
    }
    let hooks = Hooks { tokens: options.tokens(), heard: Mutex::default() };
    let waits = hooks.tokens.is_some();
    let consumer: Consumer =
        config.create_with_context(hooks).map_err(|error: KafkaError| StartError::Client(error.to_string()))?;
    if waits {
        let deadline = clock::now() + options.start_timeout;
        while clock::now() < deadline {
            drop(consumer.poll(LOOK));
            match consumer.context().heard().token.clone() {
                None => {}
                Some(Ok(())) => break,
                Some(Err(why)) => return Err(StartError::Credentials { brokers: options.brokers.clone(), why }),
            }
        }
    }
    Ok(consumer)
}

/// Why a question failed: what the brokers said meanwhile, where they said something.
pub(super) fn unanswered(options: &Options, consumer: &Consumer, error: &KafkaError) -> StartError {
    // What the brokers said is told only to whoever polls.
    for _ in 0..LOOKS_MAX {
        drop(consumer.poll(LOOK));
        if consumer.context().heard().complaint.as_ref().is_some_and(|(code, why)| is_final(*code, why)) {
            break;
        }
    }
    let (brokers, waited) = (options.brokers.clone(), options.start_timeout);
    let complaint = consumer.context().heard().complaint.take();
    match complaint {
        Some((code, why)) => refused(options, &options.reader_config(), code, &why)
            .unwrap_or(StartError::Unreachable { brokers, waited, why }),
        None => StartError::Unreachable { brokers, waited, why: error.to_string() },
    }
}

/// What librdkafka calls back.
pub(super) struct Hooks {
    tokens: Option<Arc<dyn TokenProvider>>,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    /// Whether a token was there when the last one was asked for.
    token: Option<Result<(), String>>,
    /// What librdkafka complained of last.
    complaint: Complaint,
}

impl Hooks {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().expect("nobody panics while holding it")
    }
}

impl ClientContext for Hooks {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
        complain(&mut self.heard().complaint, &error, reason);
    }

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        let token = token(self.tokens.as_deref());
        self.heard().token = Some(token.as_ref().map(drop).map_err(String::clone));
        Ok(token?)
    }
}

impl ConsumerContext for Hooks {}
