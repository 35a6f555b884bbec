//! A producer's properties file as the reference takes it, in Java's syntax and with Java's names, for librdkafka.
//!
//! Every name is known here or the file is refused: a misspelt setting that is passed over would be believed to hold.
//! Names that mean nothing to us (serializers, Java's own threads) are passed over, and listed so that it can be said.

use std::{collections::BTreeMap, fmt::Write as _};

/// What a Java name becomes.
#[derive(Clone, Copy)]
enum Becomes {
    /// The same word here and there.
    Same,
    /// Another name, the same value.
    Named(&'static str),
    /// Nothing, since it has no counterpart and no effect that could be missed.
    Nothing,
    /// Only this value, which we take anyway.
    Only(&'static [&'static str]),
    /// A thing with a method of its own, below.
    Special,
}

use Becomes::{Named, Nothing, Only, Same, Special};

const NAMES: [(&str, Becomes); 49] = [
    ("acks", Only(&["all", "-1"])),
    ("auto.include.jmx.reporter", Nothing),
    ("batch.size", Same),
    ("bootstrap.servers", Nothing), // the option names them, as in the reference
    ("buffer.memory", Nothing),     // the byte budget of capture
    ("client.dns.lookup", Same),
    ("client.id", Same),
    ("client.rack", Same),
    ("compression.type", Same),
    ("connections.max.idle.ms", Same),
    ("delivery.timeout.ms", Named("message.timeout.ms")),
    ("enable.idempotence", Only(&["true"])),
    ("enable.metrics.push", Same),
    ("interceptor.classes", Nothing),
    ("key.serializer", Nothing),
    ("linger.ms", Same),
    ("max.block.ms", Nothing), // nothing blocks here
    ("max.in.flight.requests.per.connection", Same),
    ("max.request.size", Special),
    ("metadata.max.age.ms", Same),
    ("metadata.max.idle.ms", Nothing),
    ("metric.reporters", Nothing),
    ("partitioner.class", Nothing), // by the key, as Java's default does
    ("receive.buffer.bytes", Named("socket.receive.buffer.bytes")),
    ("reconnect.backoff.max.ms", Same),
    ("reconnect.backoff.ms", Same),
    ("request.timeout.ms", Same),
    ("retries", Same),
    ("retry.backoff.max.ms", Same),
    ("retry.backoff.ms", Same),
    ("sasl.client.callback.handler.class", Special),
    ("sasl.jaas.config", Special),
    ("sasl.mechanism", Special),
    ("security.protocol", Special),
    ("send.buffer.bytes", Named("socket.send.buffer.bytes")),
    ("socket.connection.setup.timeout.max.ms", Nothing),
    ("socket.connection.setup.timeout.ms", Same),
    ("ssl.cipher.suites", Same),
    ("ssl.enabled.protocols", Nothing), // TLS 1.2 and 1.3
    ("ssl.endpoint.identification.algorithm", Special),
    ("ssl.key.password", Same),
    ("ssl.keystore.location", Special),
    ("ssl.keystore.password", Same),
    ("ssl.keystore.type", Special),
    ("ssl.protocol", Nothing),
    ("ssl.truststore.location", Special),
    ("ssl.truststore.password", Special),
    ("ssl.truststore.type", Special),
    ("value.serializer", Nothing),
];

/// What a properties file says, in the words of librdkafka.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties {
    settings: BTreeMap<String, String>,
    passed_over: Vec<String>,
    wants_iam: bool,
}

/// Passwords are among the settings.
impl std::fmt::Debug for Properties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Properties").field("names", &self.settings.keys()).finish_non_exhaustive()
    }
}

/// A line of a properties file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct PropertiesError(pub Vec<String>);

impl Properties {
    /// Reads a file's text.
    ///
    /// # Errors
    /// Every line that is unknown or cannot hold, each with what to do.
    pub fn parse(text: &str) -> Result<Self, PropertiesError> {
        let given = lines(text);
        let mut parsed = Self::default();
        let mut problems = Vec::new();
        for (name, value) in &given {
            let Some((_, becomes)) = NAMES.iter().find(|(known, _)| known == name) else {
                problems.push(unknown(name));
                continue;
            };
            match becomes {
                Same => parsed.set(name, value),
                Named(other) => parsed.set(other, value),
                Nothing => parsed.passed_over.push(name.clone()),
                Only(values) if values.contains(&value.as_str()) => {}
                Only(values) => problems.push(format!(
                    "`{name}={value}` would let acknowledged records get lost: leave it out, or set it to {}",
                    values[0]
                )),
                Special => {
                    if let Err(problem) = parsed.special(name, value, &given) {
                        problems.push(problem);
                    }
                }
            }
        }
        if problems.is_empty() { Ok(parsed) } else { Err(PropertiesError(problems)) }
    }

    fn set(&mut self, name: &str, value: &str) {
        self.settings.insert(name.to_owned(), value.to_owned());
    }

    fn special(&mut self, name: &str, value: &str, given: &BTreeMap<String, String>) -> Result<(), String> {
        let kind = |of: &str| given.get(of).map_or("JKS", String::as_str).to_ascii_uppercase();
        match name {
            // Smaller would refuse records that capture makes; larger is a topic's decision that capture never needs.
            "max.request.size" => match value.parse::<u64>() {
                Ok(bytes) if bytes >= 1_048_576 => {}
                _ => return Err(format!("`{name}={value}` is too small for capture's records: at least 1048576")),
            },
            "security.protocol" => self.set(name, &value.to_ascii_lowercase()),
            "sasl.mechanism" if value == "AWS_MSK_IAM" => self.wants_iam = true,
            "sasl.mechanism" if ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"].contains(&value) => self.set(name, value),
            "sasl.mechanism" => {
                return Err(format!(
                    "`{name}={value}` is not spoken: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and AWS_MSK_IAM are"
                ));
            }
            "sasl.client.callback.handler.class" if value.ends_with(".IAMClientCallbackHandler") => {
                self.wants_iam = true;
            }
            "sasl.client.callback.handler.class" => {
                return Err(format!("`{name}={value}` is Java code, which cannot be run here"));
            }
            "sasl.jaas.config" if value.contains("IAMLoginModule") => self.wants_iam = true,
            "sasl.jaas.config" => match (jaas(value, "username"), jaas(value, "password")) {
                (Some(user), Some(password)) => {
                    self.set("sasl.username", &user);
                    self.set("sasl.password", &password);
                }
                _ => return Err(format!("`{name}` has no username=\"…\" and password=\"…\"")),
            },
            "ssl.endpoint.identification.algorithm" => self.set(name, if value.is_empty() { "none" } else { value }),
            "ssl.truststore.location" if kind("ssl.truststore.type") == "PEM" => self.set("ssl.ca.location", value),
            "ssl.truststore.location" => {
                return Err(format!(
                    "`{name}={value}` is a Java store: export its certificates as PEM (keytool -exportcert -rfc) and say \
                     ssl.truststore.type=PEM"
                ));
            }
            "ssl.keystore.location" => match kind("ssl.keystore.type").as_str() {
                "PKCS12" => self.set(name, value),
                // One file with the chain and the key.
                "PEM" => {
                    self.set("ssl.certificate.location", value);
                    self.set("ssl.key.location", value);
                }
                _ => {
                    return Err(format!(
                        "`{name}={value}` is a Java store: convert it (keytool -importkeystore -deststoretype PKCS12) and \
                         say ssl.keystore.type=PKCS12"
                    ));
                }
            },
            // Certificates need no password as PEM; the types are read where the files are.
            _ => {}
        }
        Ok(())
    }

    /// What is set, by librdkafka's names.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Names in the file that mean nothing here, to be said once.
    pub fn passed_over(&self) -> &[String] {
        &self.passed_over
    }

    /// Whether the file asks for MSK's IAM: whoever starts capture then gives a token provider.
    pub fn wants_iam(&self) -> bool {
        self.wants_iam
    }
}

/// An unknown name, with the nearest ones that begin alike.
fn unknown(name: &str) -> String {
    let stem = name.split('.').next().unwrap_or(name);
    let near: Vec<&str> =
        NAMES.iter().map(|(known, _)| *known).filter(|known| known.split('.').next() == Some(stem)).collect();
    let mut problem = format!("`{name}` is no producer setting that is known here");
    if !near.is_empty() {
        write!(problem, "; of this kind there are {}", near.join(", ")).expect("a string takes all text");
    }
    problem
}

/// The value of `name="…"` or `name='…'` in a JAAS line.
fn jaas(line: &str, name: &str) -> Option<String> {
    let rest = &line[line.find(&format!("{name}="))? + name.len() + 1..];
    let quote = rest.chars().next().filter(|first| matches!(first, '"' | '\''))?;
    let mut value = String::new();
    let mut chars = rest[1..].chars();
    loop {
        match chars.next()? {
            '\\' => value.push(chars.next()?),
            other if other == quote => return Some(value),
            other => value.push(other),
        }
    }
}

/// Names and values of a file, by the rules of `java.util.Properties`; the last of a name holds.
fn lines(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut natural = text.lines();
    while let Some(line) = natural.next() {
        let mut logical = line.trim_start().to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        // An odd number of backslashes at the end joins the next line.
        while logical.chars().rev().take_while(|last| *last == '\\').count() % 2 == 1 {
            logical.pop();
            logical.push_str(natural.next().unwrap_or_default().trim_start());
        }
        let mut escaped = false;
        let end = logical.find(|c: char| {
            let ends = !escaped && (c == '=' || c == ':' || c.is_whitespace());
            escaped = !escaped && c == '\\';
            ends
        });
        let (name, rest) = logical.split_at(end.unwrap_or(logical.len()));
        let rest = rest.trim_start();
        let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start();
        found.insert(unescape(name), unescape(rest));
    }
    found
}

fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                plain.push(code.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => plain.push(other),
            None => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> BTreeMap<String, String> {
        Properties::parse(text).unwrap().settings
    }

    fn problem(text: &str) -> String {
        Properties::parse(text).unwrap_err().to_string()
    }

    /// Proves that Java's syntax is read: comments, three separators, continued lines, escapes.
    #[test]
    fn the_syntax_is_javas() {
        let read = settings(
            "# a comment\n! another\n  linger.ms = 7\nclient.id:spaced\\ out\nretries 3\n\
             compression.type=\\\n    l\\u007a4\n\n",
        );
        let wanted = [("client.id", "spaced out"), ("compression.type", "lz4"), ("linger.ms", "7"), ("retries", "3")];
        let read: Vec<(&str, &str)> = read.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(read, wanted);
    }

    /// Proves that Java's names become librdkafka's, and that a SCRAM login is found in its JAAS line.
    #[test]
    fn names_are_translated() {
        let read = settings(
            "delivery.timeout.ms=20000\nsend.buffer.bytes=1\nsecurity.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\n\
             sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username=\"alice\" \
             password=\"a\\\\\"b\";\nssl.truststore.type=PEM\nssl.truststore.location=/ca.pem\n\
             ssl.endpoint.identification.algorithm=\n",
        );
        for (name, value) in [
            ("message.timeout.ms", "20000"),
            ("socket.send.buffer.bytes", "1"),
            ("security.protocol", "sasl_ssl"),
            ("sasl.username", "alice"),
            ("sasl.password", "a\"b"),
            ("ssl.ca.location", "/ca.pem"),
            ("ssl.endpoint.identification.algorithm", "none"),
        ] {
            assert_eq!(read.get(name).map(String::as_str), Some(value), "{name}");
        }
    }

    /// Proves that the settings of MSK's IAM are known for what they are.
    #[test]
    fn iam_is_recognised() {
        let file = "security.protocol=SASL_SSL\nsasl.mechanism=AWS_MSK_IAM\n\
            sasl.jaas.config=software.amazon.msk.auth.iam.IAMLoginModule required;\n\
            sasl.client.callback.handler.class=software.amazon.msk.auth.iam.IAMClientCallbackHandler\n";
        assert!(Properties::parse(file).unwrap().wants_iam());
    }

    /// Proves that what is unknown, what weakens the guarantee, and Java's own stores are refused, all at once, with what
    /// to do.
    #[test]
    fn what_cannot_hold_is_refused_in_words() {
        let all = problem("acks=1\nenable.idempotence=false\nlinger=5\nssl.truststore.location=/t.jks\nretrys=1\n");
        assert_eq!(all.lines().count(), 5, "{all}");
        assert!(all.contains("`acks=1` would let acknowledged records get lost: leave it out, or set it to all"));
        assert!(all.contains("`linger` is no producer setting that is known here; of this kind there are linger.ms"));
        assert!(all.contains("`/t.jks` is a Java store") || all.contains("=/t.jks` is a Java store"), "{all}");
        assert!(problem("max.request.size=100").contains("at least 1048576"));
    }

    /// Proves that a file's passwords are in no debug output.
    #[test]
    fn passwords_are_not_shown() {
        let file = "sasl.jaas.config=X required username=\"alice\" password=\"alice-secret\";";
        assert!(!format!("{:?}", Properties::parse(file).unwrap()).contains("alice-secret"));
    }
}
