//! The command line of Migration Assistant's Java capture proxy, in our words.
//!
//! Its flags (`--destinationUri`, `--listenPort`, …), its variables (`CAPTURE_PROXY_` and the name in capitals) and its two
//! ways to be given a file of them (`---INLINE-JSON`, `---JSON-FILE`) are turned into our flags before anything else looks
//! at the command line, so that a deployment needs to change nothing but the image. Our own flags may stand beside them and
//! win over variables. A name that is not known is refused; one that has no counterpart is said.
//!
//! Source of names, defaults and order: `CaptureProxy.java` of Migration Assistant 3.3.6.

use std::{ffi::OsString, fmt::Write as _, path::PathBuf};

use serde_json::Value;

use super::capture::record_bytes_max;

/// What a Java flag becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Becomes {
    /// A flag of ours with the same value.
    Flag(&'static str),
    /// A flag of ours that has no value.
    Switch(&'static str),
    /// A flag of ours with the largest record, from the size of a buffer.
    Buffer(&'static str),
    /// A flag of ours with `NAME: VALUE`, from two values or one.
    Pair(&'static str),
    /// Something that is worked out below.
    Special,
    /// Nothing, and why that is no loss.
    Nothing(&'static str),
    /// As `Nothing`, for a switch.
    NothingSwitch(&'static str),
}

use Becomes::{Buffer, Flag, Nothing, NothingSwitch, Pair, Special, Switch};

const NAMES: [(&str, Becomes); 34] = [
    ("destinationUri", Flag("--source")),
    ("listenPort", Special),
    ("insecureDestination", Switch("--source-insecure")),
    ("noCapture", Switch("--no-capture")),
    ("traceDirectory", Special),
    ("maxTrafficBufferSize", Buffer("--capture-record-max")),
    ("numThreads", Special),
    ("destinationConnectionPoolSize", Nothing("connections to the source are pooled and used again by themselves")),
    (
        "destinationConnectionPoolTimeout",
        Nothing("idle connections to the source are closed after --pool-idle-timeout"),
    ),
    ("sslCertChainFile", Flag("--tls-cert")),
    ("sslKeyFile", Flag("--tls-key")),
    ("sslTrustCertFile", Special),
    ("sslTrustCertPemEnvVar", Special),
    ("requireClientAuth", NothingSwitch("")),
    ("setHeader", Pair("--source-header")),
    ("suppressCaptureForHeaderMatch", Pair("--suppress-header")),
    ("suppressCaptureForMethod", Flag("--suppress-method")),
    ("suppressCaptureForUriPath", Flag("--suppress-path")),
    ("suppressMethodAndPath", Flag("--suppress-method-and-path")),
    ("kafkaBrokers", Special),
    ("kafkaConnection", Special),
    ("kafkaTopic", Flag("--topic")),
    ("kafkaClientId", Flag("--kafka-client-id")),
    ("kafkaPropertyFile", Flag("--kafka-properties")),
    ("kafkaConfigFile", Flag("--kafka-properties")),
    ("kafkaAuthType", Flag("--kafka-auth")),
    ("enableMSKAuth", NothingSwitch("")),
    ("kafkaUserName", Flag("--kafka-user")),
    ("kafkaPassword", Flag("--kafka-password")),
    ("kafkaListenerName", Nothing("it only names the listener for people")),
    ("kafkaSecretName", Nothing("it only names the secret for people")),
    ("otelTraceCollectorEndpoint", Nothing("there are no traces; figures are at /metrics of the control API")),
    ("otelMetricsCollectorEndpoint", Nothing("figures are at /metrics of the control API, for Prometheus")),
    ("sslTrustCertPem", Nothing("it is read by the variable that --sslTrustCertPemEnvVar names")),
];

/// What says how traffic is recorded, wherever to.
const OF_CAPTURE: [&str; 5] = [
    "maxTrafficBufferSize",
    "suppressCaptureForHeaderMatch",
    "suppressCaptureForMethod",
    "suppressCaptureForUriPath",
    "suppressMethodAndPath",
];

/// What the Java proxy was told, in the order in which it was said.
#[derive(Debug, Default)]
struct Told {
    given: Vec<(&'static str, Vec<String>)>,
}

/// What our flags are, and what is to be said about those that became none.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Translated {
    /// Our command line.
    pub(crate) args: Vec<OsString>,
    /// For stderr.
    pub(crate) notes: Vec<String>,
}

/// Turns the words behind `tidegate proxy` into ours; `env` are the process's variables. `None` where nothing is Java's.
///
/// # Errors
/// A name that the Java proxy has not, a value that is missing, JSON that is none, and what cannot be at once.
pub(crate) fn translate(
    args: &[OsString],
    env: impl Iterator<Item = (String, String)>,
) -> Result<Option<Translated>, String> {
    let mut told = Told::default();
    let mut ours: Vec<OsString> = Vec::new();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let Some(text) = arg.to_str() else {
            ours.push(arg.clone());
            continue;
        };
        match text {
            "---INLINE-JSON" => {
                let json = rest.next().and_then(|json| json.to_str()).ok_or("---INLINE-JSON needs a JSON object")?;
                told.json(json, "the inline JSON")?;
            }
            "---JSON-FILE" => {
                let path = rest.next().map(PathBuf::from).ok_or("---JSON-FILE needs a file")?;
                let json = std::fs::read_to_string(&path)
                    .map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
                told.json(&json, &format!("`{}`", path.display()))?;
            }
            _ => {
                let (word, inline) = text.split_once('=').map_or((text, None), |(word, value)| (word, Some(value)));
                let Some((name, becomes)) = word.strip_prefix("--").and_then(known) else {
                    ours.push(arg.clone());
                    continue;
                };
                let mut values: Vec<String> = inline.map(str::to_owned).into_iter().collect();
                while values.len() < becomes.arity() {
                    if let Some(both) = values.first().filter(|text| text.contains(':')) {
                        values = pair(both)
                            .ok_or_else(|| format!("{word} `{both}` does not begin with the name of a field"))?;
                        continue;
                    }
                    let value = rest.next().and_then(|value| value.to_str());
                    values.push(value.ok_or_else(|| format!("{word} needs {} values", becomes.arity()))?.to_owned());
                }
                if inline.is_some() && becomes.arity() == 0 {
                    return Err(format!("{word} has no value"));
                }
                told.given.push((name, values));
            }
        }
    }
    let said: Vec<&str> = told.given.iter().map(|(name, _)| *name).collect();
    let mut variables = Told::default();
    for (variable, value) in env {
        let Some(variable) = variable.strip_prefix("CAPTURE_PROXY_") else { continue };
        // Some are named for others to read: a certificate, say.
        let Some((name, becomes)) = NAMES.iter().copied().find(|(name, _)| snake(name) == variable) else { continue };
        if said.contains(&name) || becomes.ours().is_some_and(|flag| has(&ours, flag)) {
            continue;
        }
        match becomes.arity() {
            0 if value == "true" => variables.given.push((name, Vec::new())),
            0 => {}
            1 => variables.given.push((name, vec![value])),
            _ => return Err(format!("CAPTURE_PROXY_{variable} cannot be a variable: it has more than one value")),
        }
    }
    variables.given.sort_unstable();
    variables.given.append(&mut told.given);
    if variables.given.is_empty() {
        return Ok(None);
    }
    let mut translated = variables.ours(&ours)?;
    translated.args.append(&mut ours);
    Ok(Some(translated))
}

fn known(name: &str) -> Option<(&'static str, Becomes)> {
    let camel = match name {
        "otel-trace-collector-endpoint" => "otelTraceCollectorEndpoint",
        "otel-metrics-collector-endpoint" => "otelMetricsCollectorEndpoint",
        name => name,
    };
    NAMES.iter().copied().find(|(known, _)| *known == camel)
}

/// `kafkaUserName` as `KAFKA_USER_NAME`.
fn snake(name: &str) -> String {
    let mut text = String::new();
    let mut small = false;
    for character in name.chars() {
        if character.is_ascii_uppercase() && small {
            text.push('_');
        }
        small = !character.is_ascii_uppercase();
        text.push(character.to_ascii_uppercase());
    }
    text
}

pub(super) fn has(args: &[OsString], flag: &str) -> bool {
    args.iter()
        .filter_map(|arg| arg.to_str())
        .any(|arg| arg.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('=')))
}

impl Becomes {
    /// How many values it has.
    const fn arity(self) -> usize {
        match self {
            Switch(_) | NothingSwitch(_) => 0,
            Flag(_) | Buffer(_) | Special | Nothing(_) => 1,
            Pair(_) => 2,
        }
    }

    const fn ours(self) -> Option<&'static str> {
        match self {
            Flag(flag) | Switch(flag) | Buffer(flag) | Pair(flag) => Some(flag),
            Special | Nothing(_) | NothingSwitch(_) => None,
        }
    }
}

impl Told {
    /// An object with the names of flags.
    fn json(&mut self, text: &str, place: &str) -> Result<(), String> {
        let value: Value = serde_json::from_str(text).map_err(|error| {
            format!("{place} is no JSON, at line {} column {}: {error}", error.line(), error.column())
        })?;
        let Value::Object(object) = value else { return Err(format!("{place} is no JSON object")) };
        for (key, value) in object {
            let (name, becomes) =
                known(&key).ok_or_else(|| format!("{place} names `{key}`, which the capture proxy has not"))?;
            let wrong = || format!("{place} gives `{key}` a value that it cannot have: {value}");
            match (becomes.arity(), &value) {
                (_, Value::Null) => {}
                (0, Value::Bool(true)) => self.given.push((name, Vec::new())),
                (0, Value::Bool(false)) => {}
                (2, Value::Array(list)) => self.pairs(name, list).ok_or_else(wrong)?,
                (1, Value::Array(list)) => {
                    for value in list {
                        self.given.push((name, vec![scalar(value).ok_or_else(wrong)?]));
                    }
                }
                (1, value) => self.given.push((name, vec![scalar(value).ok_or_else(wrong)?])),
                (2, Value::String(text)) => self.given.push((name, pair(text).ok_or_else(wrong)?)),
                _ => return Err(wrong()),
            }
        }
        Ok(())
    }

    /// Pairs in each of the spellings that are found: `["Name: value"]`, `["Name", "value"]`, `[["Name", "value"]]`.
    fn pairs(&mut self, name: &'static str, list: &[Value]) -> Option<()> {
        let mut rest = list.iter();
        while let Some(value) = rest.next() {
            let values = match value {
                Value::Array(both) => match both.as_slice() {
                    [first, second] => vec![scalar(first)?, scalar(second)?],
                    _ => return None,
                },
                Value::String(text) if text.contains(':') => pair(text)?,
                Value::String(text) => vec![text.clone(), scalar(rest.next()?)?],
                _ => return None,
            };
            self.given.push((name, values));
        }
        Some(())
    }

    fn value(&self, wanted: &str) -> Option<&str> {
        self.given
            .iter()
            .rev()
            .find(|(name, _)| *name == wanted)
            .and_then(|(_, values)| values.first())
            .map(String::as_str)
    }

    fn is_given(&self, wanted: &str) -> bool {
        self.given.iter().any(|(name, _)| *name == wanted)
    }

    fn ours(&self, beside: &[OsString]) -> Result<Translated, String> {
        let mut out = Translated::default();
        let repeatable = ["--suppress-method", "--suppress-path", "--suppress-method-and-path"];
        let mut done: Vec<&str> = Vec::new();
        let captured = !self.is_given("noCapture") && !has(beside, "--no-capture");
        let kafka = captured && !self.is_given("traceDirectory");
        // Of what is said twice the last holds, as there; so the last is looked at first.
        for (name, values) in self.given.iter().rev() {
            let (_, becomes) = known(name).expect("only known names are kept");
            // There they are passed over in silence; ours are used or refused.
            if !kafka && name.starts_with("kafka") && becomes.ours().is_some() {
                out.notes.push(format!("--{name} means nothing where nothing goes to Kafka"));
                continue;
            }
            if !captured && OF_CAPTURE.contains(name) {
                out.notes.push(format!("--{name} means nothing where nothing is captured"));
                continue;
            }
            match becomes {
                Flag(ours) if repeatable.contains(&ours) || !done.contains(&ours) => {
                    done.push(ours);
                    out.flag(ours, &values[0]);
                }
                Buffer(ours) if !done.contains(&ours) => {
                    done.push(ours);
                    let bytes = values[0].parse().map(record_bytes_max);
                    let bytes = bytes.map_err(|_| format!("--{name} {} is no number of bytes", values[0]))?;
                    out.flag(ours, &bytes.to_string());
                }
                Pair(ours) => out.flag(ours, &format!("{}: {}", values[0], values[1])),
                Switch(ours) if !done.contains(&ours) => {
                    done.push(ours);
                    out.args.push(ours.into());
                }
                Nothing(why) => out.notes.push(format!("--{name} means nothing here: {why}")),
                Flag(_) | Switch(_) | Buffer(_) | Special | NothingSwitch(_) => {}
            }
        }
        self.listener(beside, &mut out)?;
        self.log(beside, &mut out)?;
        Ok(out)
    }

    /// Where clients connect to, and how.
    fn listener(&self, beside: &[OsString], out: &mut Translated) -> Result<(), String> {
        if let Some(port) = self.value("listenPort") {
            let port: u16 = port.parse().map_err(|_| format!("--listenPort {port} is no port from 0 to 65535"))?;
            out.flag("--listen", &format!("0.0.0.0:{port}"));
            // There TLS is on when there is a certificate, and here unless it is said otherwise.
            let tls =
                self.is_given("sslCertChainFile") || ["--tls-cert", "--tls-dir"].iter().any(|flag| has(beside, flag));
            if !tls && !has(beside, "--plaintext") {
                out.args.push("--plaintext".into());
            }
        }
        if let Some(threads) = self.value("numThreads")
            && threads != "0"
        {
            out.flag("--workers", threads);
        }
        let (file, variable) = (self.value("sslTrustCertFile"), self.value("sslTrustCertPemEnvVar"));
        match (file, variable, self.is_given("requireClientAuth")) {
            (Some(_), Some(_), _) => {
                return Err("--sslTrustCertFile and --sslTrustCertPemEnvVar cannot be given both".to_owned());
            }
            (None, None, true) => {
                return Err("--requireClientAuth needs --sslTrustCertFile or --sslTrustCertPemEnvVar".to_owned());
            }
            (None, None, false) => {}
            (Some(file), None, true) => out.flag("--client-ca", file),
            (None, Some(variable), true) => out.flag("--client-ca-env", variable),
            (Some(_), None, false) | (None, Some(_), false) => {
                out.notes.push("authorities for clients mean nothing without --requireClientAuth".to_owned());
            }
        }
        Ok(())
    }

    /// Where traffic is recorded: exactly one way is said.
    fn log(&self, beside: &[OsString], out: &mut Translated) -> Result<(), String> {
        let brokers = self.value("kafkaBrokers").or_else(|| self.value("kafkaConnection"));
        match (brokers, self.value("traceDirectory"), self.is_given("noCapture")) {
            (Some(brokers), None, false) => {
                out.flag("--capture", "kafka");
                out.flag("--kafka", brokers);
            }
            (None, Some(dir), false) => {
                out.flag("--capture", "file");
                out.flag("--capture-dir", dir);
            }
            (None, None, true) => {}
            (None, None, false) if has(beside, "--capture") || has(beside, "--no-capture") => {}
            _ => {
                return Err(
                    "exactly one of --kafkaConnection, --traceDirectory and --noCapture says where traffic is recorded"
                        .to_owned(),
                );
            }
        }
        if brokers.is_some() && self.is_given("enableMSKAuth") && !self.is_given("kafkaAuthType") {
            out.flag("--kafka-auth", "msk-iam");
        }
        Ok(())
    }
}

impl Translated {
    fn flag(&mut self, flag: &str, value: &str) {
        self.args.push(flag.into());
        self.args.push(value.into());
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(is) => Some(is.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// `Name: value`, where the name is one of a header field.
fn pair(text: &str) -> Option<Vec<String>> {
    let (name, value) = text.split_once(':')?;
    http::HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
    Some(vec![name.trim().to_owned(), value.trim().to_owned()])
}

/// What `tidegate proxy --help` says about the Java names.
pub(crate) fn help() -> String {
    let mut text = String::from(
        "The Java capture proxy's flags are taken as well, as are its CAPTURE_PROXY_ variables, \
---INLINE-JSON and ---JSON-FILE:\n",
    );
    for (name, becomes) in NAMES {
        let ours = match becomes {
            Flag(ours) | Switch(ours) | Buffer(ours) | Pair(ours) => ours,
            Nothing(_) => "(nothing)",
            Special | NothingSwitch(_) => match name {
                "listenPort" => "--listen",
                "traceDirectory" => "--capture file --capture-dir",
                "numThreads" => "--workers",
                "kafkaBrokers" | "kafkaConnection" => "--capture kafka --kafka",
                "enableMSKAuth" => "--kafka-auth msk-iam",
                "sslTrustCertPemEnvVar" => "--client-ca-env",
                _ => "--client-ca",
            },
        };
        writeln!(text, "  --{name:<30} {ours}").expect("a text takes what is written to it");
    }
    text
}

#[cfg(test)]
mod tests;
