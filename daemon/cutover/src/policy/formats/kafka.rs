//! Where Kafka is, and what things are called in it.

use super::{Format, Input, Mistake, host_and_port, text_of};

/// The longest name that Kafka takes for a topic.
const TOPIC_BYTES_MAX: usize = 249;

/// A Kafka broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker(pub String);

impl Format for Broker {
    const NAME: &'static str = "broker";
    const NUMBERS: bool = false;
    const EXAMPLE: &'static str = "kafka-1.example.com:9092";

    fn read(input: Input<'_>) -> Result<Self, Mistake> {
        let text = text_of(input, "a broker", Self::EXAMPLE)?;
        if host_and_port(text).is_some_and(|(_, port)| port.is_some()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Mistake::new(format!("`{text}` is not the address of a broker"), "write `HOST:PORT`"))
        }
    }
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic(pub String);

impl Format for Topic {
    const NAME: &'static str = "topic";
    const NUMBERS: bool = false;
    const EXAMPLE: &'static str = "logging-traffic-topic";

    fn read(input: Input<'_>) -> Result<Self, Mistake> {
        let text = text_of(input, "a topic", Self::EXAMPLE)?;
        let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !text.is_empty() && text.len() <= TOPIC_BYTES_MAX && text.chars().all(fine) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Mistake::new(
                format!("`{text}` cannot be a topic of Kafka's"),
                format!("write its name: 1 to {TOPIC_BYTES_MAX} letters, digits, `-`, `_` or `.`"),
            ))
        }
    }
}

/// A consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group(pub String);

impl Format for Group {
    const NAME: &'static str = "consumer-group";
    const NUMBERS: bool = false;
    const EXAMPLE: &'static str = "replayer-target";

    fn read(input: Input<'_>) -> Result<Self, Mistake> {
        let text = text_of(input, "a consumer group", Self::EXAMPLE)?;
        if !text.trim().is_empty() && text == text.trim() && !text.contains(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Mistake::new(format!("`{text}` cannot be a consumer group"), "write the name that it has in Kafka"))
        }
    }
}
