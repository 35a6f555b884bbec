//! How the Kafka log is reached and asked: options, and what they become in the words of librdkafka.
//!
//! Three layers: what capture needs unless told otherwise, then the operator's properties file, then single options.
//! What the guarantee rests on (all replicas acknowledge, the idempotent producer, no topic made by accident) comes last
//! and cannot be changed.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use rdkafka::{ClientConfig, config::RDKafkaLogLevel};

use super::properties::Properties;

/// The largest message that the producer may build: a full record with key and overhead, as the reference has it.
const MESSAGE_BYTES_MAX: &str = "1048588";

/// A password or key: never in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// How records are compressed on their way to the broker, and in it unless the topic says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not.
    #[default]
    None,
    /// Cheap.
    Lz4,
    /// Small.
    Zstd,
}

impl Compression {
    /// The word for it in options and in Kafka's own settings.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// TLS to the brokers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The authorities that brokers' certificates are held against, PEM; `None` takes the system's.
    pub authorities: Option<PathBuf>,
    /// Our own certificate chain, PEM, where brokers ask for one.
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
    /// The key's password.
    pub key_password: Option<Secret>,
    /// Accepts a certificate for another host; for brokers that are reached by an address their certificate lacks.
    pub any_host: bool,
}

/// Which SCRAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scram {
    /// SCRAM-SHA-256.
    Sha256,
    /// SCRAM-SHA-512, the usual one.
    Sha512,
}

impl Scram {
    fn word(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }
}

/// Who we are to the brokers. Where `tls` is `None` the connection is plaintext.
#[derive(Clone, Debug)]
pub enum Security {
    /// As the properties file says; without one, plaintext.
    AsFile,
    /// Nobody, in plaintext.
    Plaintext,
    /// Whoever our certificate names, or nobody, over TLS.
    Tls(Tls),
    /// A user with a password.
    Scram {
        /// Which.
        mechanism: Scram,
        /// Who.
        user: String,
        /// Their password.
        password: Secret,
        /// Over TLS, as it should be.
        tls: Option<Tls>,
    },
    /// The bearer of a token (SASL OAUTHBEARER): MSK's IAM, or another issuer.
    Token {
        /// Where tokens come from.
        provider: Arc<dyn TokenProvider>,
        /// Over TLS, as MSK demands.
        tls: Option<Tls>,
    },
}

/// Where bearer tokens come from. For MSK a token is a presigned URL of `kafka-cluster:Connect`, signed with whatever
/// credentials the process has; who has them implements this, so that no AWS library is needed here.
pub trait TokenProvider: Send + Sync + fmt::Debug {
    /// A token that is good from now on; asked for again at four fifths of its life. Called on the polling thread: it may
    /// block for as long as answers to records may wait.
    ///
    /// # Errors
    /// In words; asked for again ten seconds later.
    fn token(&self) -> Result<Token, String>;
}

/// A bearer token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What is sent.
    pub value: Secret,
    /// For whom, as far as the broker's log shows it.
    pub principal: String,
    /// When it ends, in milliseconds since 1970.
    pub expires_unix_millis: i64,
}

/// How a topic is made that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Create {
    /// How many partitions; streams are spread over them by connection.
    pub partitions: u16,
    /// How many brokers keep each.
    pub replicas: u16,
    /// How long records are kept; `None` leaves it to the brokers.
    pub retention: Option<Duration>,
}

/// How the Kafka log is reached.
#[derive(Clone, Debug)]
pub struct Options {
    /// `HOST:PORT[,HOST:PORT…]`.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// Our name in the brokers' logs and quotas.
    pub client_id: Option<String>,
    /// How records are compressed; `None` leaves it to the properties file, else not at all.
    pub compression: Option<Compression>,
    /// How long a record waits for others to go with it; `None` is not at all, since acknowledgements gather them anyway.
    pub linger: Option<Duration>,
    /// How long a record may take, retries included, before it is lost; `None` is 10 s.
    pub message_timeout: Option<Duration>,
    /// Who we are.
    pub security: Security,
    /// The operator's file.
    pub properties: Properties,
    /// Makes the topic if it is not there; `None` refuses to start.
    pub create: Option<Create>,
    /// How often the topic is looked at.
    pub watch: Duration,
    /// How long the brokers may take to answer at start.
    pub start_timeout: Duration,
}

/// The reference's client id.
pub const CLIENT_ID: &str = "HttpCaptureProxyProducer";

impl Options {
    /// Plaintext, no compression, no lingering, a look at the topic each second.
    pub fn new(brokers: impl Into<String>, topic: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            topic: topic.into(),
            client_id: None,
            compression: None,
            linger: None,
            message_timeout: None,
            security: Security::AsFile,
            properties: Properties::default(),
            create: None,
            watch: Duration::from_secs(1),
            start_timeout: Duration::from_secs(15),
        }
    }

    /// Where tokens come from, if they are what we show.
    pub(super) fn tokens(&self) -> Option<Arc<dyn TokenProvider>> {
        match &self.security {
            Security::Token { provider, .. } => Some(Arc::clone(provider)),
            Security::AsFile | Security::Plaintext | Security::Tls(_) | Security::Scram { .. } => None,
        }
    }

    /// In the words of librdkafka.
    pub(super) fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in [
            ("client.id", CLIENT_ID),
            // Keys go where the reference's producer would send them.
            ("partitioner", "murmur2_random"),
            ("message.max.bytes", MESSAGE_BYTES_MAX),
            ("message.timeout.ms", "10000"),
            ("request.timeout.ms", "5000"),
            ("linger.ms", "0"),
            ("compression.type", "none"),
            // The byte budget bounds what is under way; a second bound would only be another way to fail.
            ("queue.buffering.max.messages", "0"),
            ("queue.buffering.max.kbytes", "2097151"),
            // A broker that is back is found within a second, not within ten.
            ("reconnect.backoff.max.ms", "1000"),
        ] {
            config.set(name, value);
        }
        for (name, value) in self.properties.settings() {
            config.set(name, value);
        }
        config.set("bootstrap.servers", &self.brokers);
        if let Some(client_id) = &self.client_id {
            config.set("client.id", client_id);
        }
        if let Some(compression) = self.compression {
            config.set("compression.type", compression.word());
        }
        let millis = |time: Duration| time.as_millis().to_string();
        if let Some(linger) = self.linger {
            config.set("linger.ms", millis(linger));
        }
        if let Some(timeout) = self.message_timeout {
            config.set("message.timeout.ms", millis(timeout));
        }
        self.secure(&mut config);
        // For the one line that tells the topic's id; see `client.rs`.
        config.set("debug", "topic").set_log_level(RDKafkaLogLevel::Debug);
        config.set("acks", "all");
        config.set("enable.idempotence", "true");
        // What the watch asks for is where a partition ends. With any other level that is where somebody's open transaction begins,
        // which would be taken for a topic that lost what it had.
        config.set("isolation.level", "read_uncommitted");
        // A producer that asks for a deleted topic would make it anew, empty, and go on as if nothing had happened.
        config.set("allow.auto.create.topics", "false");
        config
    }

    /// The same for whoever only reads: how brokers are reached, and nothing of a producer.
    pub(super) fn reader_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        let reaching = ["sasl.", "ssl.", "security.", "socket.", "client."];
        for (name, value) in self.properties.settings() {
            if reaching.iter().any(|prefix| name.starts_with(prefix)) {
                config.set(name, value);
            }
        }
        config.set("bootstrap.servers", &self.brokers);
        config.set("client.id", self.client_id.as_deref().unwrap_or("tidegate"));
        // Asked for by the library even where nobody joins a group and nothing is committed.
        config.set("group.id", "tidegate-reader");
        config.set("enable.auto.commit", "false");
        config.set("enable.partition.eof", "true");
        config.set("auto.offset.reset", "error");
        // As the Replayer reads: another producer's transaction that stays open would hide what is captured behind it.
        config.set("isolation.level", "read_uncommitted");
        config.set("allow.auto.create.topics", "false");
        self.secure(&mut config);
        config
    }

    fn secure(&self, config: &mut ClientConfig) {
        let (sasl, tls) = match &self.security {
            Security::AsFile => return,
            Security::Plaintext => (false, None),
            Security::Tls(tls) => (false, Some(tls)),
            Security::Scram { mechanism, user, password, tls } => {
                config.set("sasl.mechanism", mechanism.word());
                config.set("sasl.username", user);
                config.set("sasl.password", &password.0);
                (true, tls.as_ref())
            }
            Security::Token { tls, .. } => {
                config.set("sasl.mechanism", "OAUTHBEARER");
                (true, tls.as_ref())
            }
        };
        let protocol = match (sasl, tls.is_some()) {
            (false, false) => "plaintext",
            (false, true) => "ssl",
            (true, false) => "sasl_plaintext",
            (true, true) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        let Some(tls) = tls else { return };
        for (name, path) in [
            ("ssl.ca.location", &tls.authorities),
            ("ssl.certificate.location", &tls.certificate),
            ("ssl.key.location", &tls.key),
        ] {
            if let Some(path) = path {
                config.set(name, path.display().to_string());
            }
        }
        if let Some(password) = &tls.key_password {
            config.set("ssl.key.password", &password.0);
        }
        if tls.any_host {
            config.set("ssl.endpoint.identification.algorithm", "none");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that what the guarantee rests on holds whatever the file says, that the file overrides what capture would
    /// take by itself, and single options the file.
    #[test]
    fn layers_override_each_other_and_the_guarantee_stays() {
        let file = "linger.ms=5\ncompression.type=zstd\nclient.id=from-file\nacks=all\n";
        let mut options = Options::new("b:9092", "t");
        options.properties = Properties::parse(file).unwrap();
        options.client_id = Some("from-option".to_owned());
        let config = options.client_config();
        for (name, value) in [
            ("acks", "all"),
            ("enable.idempotence", "true"),
            ("partitioner", "murmur2_random"),
            ("allow.auto.create.topics", "false"),
            ("linger.ms", "5"),
            ("compression.type", "zstd"),
            ("client.id", "from-option"),
            ("message.max.bytes", "1048588"),
            ("message.timeout.ms", "10000"),
        ] {
            assert_eq!(config.get(name), Some(value), "{name}");
        }
    }

    /// Proves that a password is in no debug output.
    #[test]
    fn secrets_are_not_shown() {
        let password = Secret("alice-secret".to_owned());
        let security = Security::Scram { mechanism: Scram::Sha512, user: "alice".to_owned(), password, tls: None };
        assert!(!format!("{security:?}").contains("alice-secret"));
    }
}
