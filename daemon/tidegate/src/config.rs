//! `tidegate.toml`: how the daemon itself is set up. What a service wants is in its policy, not here.
//!
//! The file is small, so it is read by hand from a TOML document with spans: that gives every problem at once, each
//! with its line and what to write instead. Flags of `tidegate run` go over it.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cutover::policy::{Problem, Severity};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::cli::capture_flags as flags;

/// A value with its place in the file.
type Item<'a> = Spanned<DeValue<'a>>;

/// Where the file is looked for when none is named; it may be absent there.
pub const DEFAULT_FILE: &str = "/etc/tidegate/tidegate.toml";

/// How the daemon is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the journal is.
    pub state_dir: PathBuf,
    /// Where the policies are.
    pub policies_dir: PathBuf,
    /// How the control API is reached.
    pub http: Http,
    /// How it logs.
    pub log: Log,
    /// The proxy in this process, if there shall be one.
    pub proxy: Option<OwnProxy>,
}

/// How the control API is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// The Unix socket; its permissions decide who may order.
    pub socket: PathBuf,
    /// A TCP address besides, if there shall be one.
    pub listen: Option<SocketAddr>,
    /// Where the token for TCP comes from: `env:NAME` or `file:PATH`.
    pub token: Option<String>,
}

/// How the daemon logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// In which form.
    pub format: LogFormat,
    /// From which level on, as `tracing` filters read it: `info`, `tidegate=debug`.
    pub level: String,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// The data plane in the daemon's own process, for one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnProxy {
    /// Which service's sides it serves; that policy names no `balancer.proxies`.
    pub service: String,
    /// Where clients connect to.
    pub listen: SocketAddr,
    /// How TLS is spoken to clients.
    pub tls: Tls,
    /// How long requests that are under way may take when the daemon ends.
    pub drain_timeout: Duration,
    /// Threads; `None` is one for each core.
    pub workers: Option<NonZeroUsize>,
    /// How its traffic is captured, as flags of `tidegate proxy`; empty where nothing is.
    pub capture: Vec<String>,
}

/// How TLS is spoken to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Not at all, as asked for.
    Plaintext,
    /// With a self-signed certificate, kept in the state directory.
    SelfSigned {
        /// The authorities whose certificates clients must show.
        client_ca: Option<PathBuf>,
    },
    /// With these files.
    Files {
        /// The chain, leaf first (PEM).
        cert: PathBuf,
        /// Its key (PEM).
        key: PathBuf,
        /// The authorities whose certificates clients must show.
        client_ca: Option<PathBuf>,
    },
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: PathBuf::from("/var/lib/tidegate"),
            policies_dir: PathBuf::from("/etc/tidegate"),
            http: Http { socket: PathBuf::from("/run/tidegate/control.sock"), listen: None, token: None },
            log: Log { format: LogFormat::Human, level: "info".to_owned() },
            proxy: None,
        }
    }
}

/// Reads a file.
///
/// # Errors
/// Everything that is wrong with it, one problem at least.
pub fn load(file: &Path) -> Result<Config, Vec<Problem>> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| {
        vec![Problem {
            file: name.clone(),
            line: 1,
            column: 1,
            span: 0..0,
            severity: Severity::Error,
            what: format!("cannot read it: {error}"),
            hint: "name another file with --config, or leave it out to run with the defaults".to_owned(),
        }]
    })?;
    parse(&text, &name)
}

/// Reads the text of a file that is called `name`.
///
/// # Errors
/// As for [`load`].
pub fn parse(text: &str, name: &str) -> Result<Config, Vec<Problem>> {
    let mut reader = Reader { text, name, problems: Vec::new() };
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        reader.problem(
            error.span().unwrap_or(0..0),
            error.message().to_owned(),
            "see https://toml.io for how a file is written",
        );
    }
    let config = reader.config(document.get_ref());
    if reader.problems.is_empty() { Ok(config) } else { Err(reader.problems) }
}

/// Collects problems on the way through the document.
struct Reader<'a> {
    text: &'a str,
    name: &'a str,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn problem(&mut self, span: std::ops::Range<usize>, what: String, hint: &str) {
        let before = &self.text[..span.start.min(self.text.len())];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        self.problems.push(Problem {
            file: self.name.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            span,
            severity: Severity::Error,
            what,
            hint: hint.to_owned(),
        });
    }

    /// Names the keys that nobody reads, each with the nearest one that somebody does.
    fn known(&mut self, table: &DeTable<'_>, keys: &[&str], section: &str) {
        for key in table.keys() {
            let (span, key) = (key.span(), key.get_ref().as_ref());
            if !keys.contains(&key) {
                let place = if section.is_empty() { String::new() } else { format!(" in `[{section}]`") };
                self.problem(span, format!("unknown key `{key}`{place}"), &format!("known are {}", keys.join(", ")));
            }
        }
    }

    fn text(&mut self, table: &DeTable<'_>, key: &str) -> Option<(String, std::ops::Range<usize>)> {
        let item = table.get(key)?;
        let span = item.span();
        match item.get_ref().as_str() {
            Some(text) if !text.is_empty() => Some((text.to_owned(), span)),
            _ => {
                self.problem(span, format!("`{key}` must be a text"), "write it in quotes");
                None
            }
        }
    }

    fn path(&mut self, table: &DeTable<'_>, key: &str) -> Option<PathBuf> {
        let (text, span) = self.text(table, key)?;
        let path = PathBuf::from(text);
        if !path.is_absolute() {
            self.problem(
                span,
                format!("`{key}` is a relative path"),
                "a daemon has no place of its own: begin with `/`",
            );
            return None;
        }
        Some(path)
    }

    fn address(&mut self, table: &DeTable<'_>, key: &str) -> Option<SocketAddr> {
        let (text, span) = self.text(table, key)?;
        let address = text.parse().ok();
        if address.is_none() {
            self.problem(span, format!("`{text}` is no address"), "write ADDRESS:PORT, such as \"127.0.0.1:8470\"");
        }
        address
    }

    fn section<'t>(&mut self, table: &'t DeTable<'t>, key: &str) -> Option<(&'t DeTable<'t>, std::ops::Range<usize>)> {
        let item: &Item<'_> = table.get(key)?;
        if item.get_ref().as_table().is_none() {
            let span = item.span();
            self.problem(span, format!("`{key}` must be a section"), &format!("write `[{key}]` on a line of its own"));
        }
        item.get_ref().as_table().map(|table| (table, item.span()))
    }

    fn config(&mut self, table: &DeTable<'_>) -> Config {
        let mut config = Config::default();
        self.known(table, &["state_dir", "policies_dir", "http", "log", "proxy"], "");
        if let Some(path) = self.path(table, "state_dir") {
            config.state_dir = path;
        }
        if let Some(path) = self.path(table, "policies_dir") {
            config.policies_dir = path;
        }
        if let Some((http, _)) = self.section(table, "http") {
            self.http(http, &mut config.http);
        }
        if let Some((log, _)) = self.section(table, "log") {
            self.log(log, &mut config.log);
        }
        if let Some((proxy, span)) = self.section(table, "proxy") {
            config.proxy = self.proxy(proxy, span);
        }
        config
    }

    fn http(&mut self, table: &DeTable<'_>, http: &mut Http) {
        self.known(table, &["socket", "listen", "token"], "http");
        if let Some(path) = self.path(table, "socket") {
            http.socket = path;
        }
        http.listen = self.address(table, "listen");
        if let Some((token, span)) = self.text(table, "token") {
            if token.starts_with("env:") || token.starts_with("file:") {
                http.token = Some(token);
            } else {
                self.problem(
                    span,
                    "`token` must not be the token itself".to_owned(),
                    "write `env:NAME` or `file:PATH`",
                );
            }
        }
        if http.listen.is_some() && table.get("token").is_none() {
            let span = table.get("listen").map_or(0..0, Spanned::span);
            self.problem(
                span,
                "`listen` without `token`".to_owned(),
                "add `token = \"file:PATH\"`: TCP has no permissions",
            );
        }
    }

    fn log(&mut self, table: &DeTable<'_>, log: &mut Log) {
        self.known(table, &["format", "level"], "log");
        if let Some((format, span)) = self.text(table, "format") {
            match format.as_str() {
                "human" => log.format = LogFormat::Human,
                "json" => log.format = LogFormat::Json,
                _ => self.problem(span, format!("unknown log format `{format}`"), "write `human` or `json`"),
            }
        }
        if let Some((level, span)) = self.text(table, "level") {
            match level.parse::<tracing_subscriber::filter::EnvFilter>() {
                Ok(_) => log.level = level,
                Err(error) => self.problem(span, format!("unknown log level `{level}`: {error}"), "write `info`"),
            }
        }
    }

    fn proxy(&mut self, table: &DeTable<'_>, span: std::ops::Range<usize>) -> Option<OwnProxy> {
        let keys = ["service", "listen", "plaintext", "tls_cert", "tls_key", "client_ca", "drain_timeout", "workers"];
        let of_capture = flags::known();
        let of_capture: Vec<&str> = of_capture.iter().map(String::as_str).collect();
        self.known(table, &[&keys[..], &of_capture].concat(), "proxy");
        let capture = self.capture(table, &of_capture);
        for key in ["service", "listen"] {
            if table.get(key).is_none() {
                self.problem(span.clone(), format!("`[proxy]` without `{key}`"), &format!("add `{key} = \"…\"`"));
            }
        }
        let service = self.text(table, "service").map(|(service, _)| service);
        let listen = self.address(table, "listen");
        let (cert, key) = (self.path(table, "tls_cert"), self.path(table, "tls_key"));
        let client_ca = self.path(table, "client_ca");
        let plaintext = match table.get("plaintext").map(|item| (item.get_ref().as_bool(), item.span())) {
            None => false,
            Some((Some(plaintext), _)) => plaintext,
            Some((None, span)) => {
                self.problem(span, "`plaintext` must be true or false".to_owned(), "write it without quotes");
                false
            }
        };
        let tls = match (plaintext, cert, key) {
            (true, None, None) if client_ca.is_none() => Tls::Plaintext,
            (true, ..) => {
                self.problem(
                    span,
                    "`plaintext` and certificates contradict each other".to_owned(),
                    "take one of them out",
                );
                Tls::Plaintext
            }
            (false, Some(cert), Some(key)) => Tls::Files { cert, key, client_ca },
            (false, None, None) => Tls::SelfSigned { client_ca },
            (false, ..) => {
                self.problem(span, "one of `tls_cert` and `tls_key` is missing".to_owned(), "name both or none");
                Tls::SelfSigned { client_ca }
            }
        };
        let drain_timeout = self.seconds(table, "drain_timeout", Duration::from_secs(30));
        let workers = table.get("workers").and_then(|item| {
            let number =
                item.get_ref().as_integer().and_then(|number| number.as_str().parse().ok()).and_then(NonZeroUsize::new);
            if number.is_none() {
                let span = item.span();
                self.problem(span, "`workers` must be a number above 0".to_owned(), "leave it out for one a core");
            }
            number
        });
        Some(OwnProxy { service: service?, listen: listen?, tls, drain_timeout, workers, capture })
    }

    /// The keys about capture, which are the flags of `tidegate proxy` with `_` for `-`, as those flags.
    fn capture(&mut self, table: &DeTable<'_>, known: &[&str]) -> Vec<String> {
        let mut given = Vec::new();
        let mut place = None;
        for key in known {
            let Some(item) = table.get(*key) else { continue };
            place = place.or(Some(item.span()));
            if ["capture_dir", "target_capture_dir", "loss_log"].contains(key) && self.path(table, key).is_none() {
                continue;
            }
            let flag = format!("--{}", key.replace('_', "-"));
            let values = match item.get_ref() {
                DeValue::Array(values) => values.iter().map(|value| (value.get_ref(), value.span())).collect(),
                one => vec![(one, item.span())],
            };
            for (value, span) in values {
                match (value.as_bool(), value.as_integer(), value.as_str()) {
                    (Some(true), ..) => given.push(flag.clone()),
                    (Some(false), ..) => {}
                    (_, Some(number), _) => given.push(format!("{flag}={}", number.as_str())),
                    (.., Some(text)) => given.push(format!("{flag}={text}")),
                    _ => self.problem(span, format!("`{key}` is no text and no number"), "write it in quotes"),
                }
            }
        }
        if let Some(place) = place
            && let Err(why) = flags::check(&given)
        {
            self.problem(place, why, "the keys on capture are the flags of `tidegate proxy --help`");
        }
        given
    }

    /// A duration as `30s`, `500ms` or `2m`.
    fn seconds(&mut self, table: &DeTable<'_>, key: &str, default: Duration) -> Duration {
        let Some(item) = table.get(key) else { return default };
        let parsed = item.get_ref().as_str().and_then(|text| {
            let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let number: u64 = digits.parse().ok()?;
            match &text[digits.len()..] {
                "ms" => Some(Duration::from_millis(number)),
                "s" => Some(Duration::from_secs(number)),
                "m" => number.checked_mul(60).map(Duration::from_secs),
                _ => None,
            }
        });
        parsed.unwrap_or_else(|| {
            let span = item.span();
            self.problem(span, format!("`{key}` is no duration"), "write a number and a unit, such as \"30s\"");
            default
        })
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "an expectation is written where it is passed")]
    fn check(text: &str, expected: Expect) {
        let seen = match parse(text, "tidegate.toml") {
            Ok(config) => format!("{config:#?}"),
            Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        };
        expected.assert_eq(&seen);
    }

    /// Proves that every problem is told at once, each with its line and what to do.
    #[test]
    fn all_problems_are_told_at_once() {
        check(
            r#"
                state_dir = "journal"
                stat_dir = 1
                [http]
                listen = "localhost"
                token = "secret"
                [log]
                format = "xml"
                [proxy]
                listen = "127.0.0.1:9200"
                plaintext = true
                tls_cert = "/c.pem"
                drain_timeout = 30
            "#,
            expect![[r#"
                tidegate.toml:3:17: unknown key `stat_dir` (hint: known are state_dir, policies_dir, http, log, proxy)
                tidegate.toml:2:29: `state_dir` is a relative path (hint: a daemon has no place of its own: begin with `/`)
                tidegate.toml:5:26: `localhost` is no address (hint: write ADDRESS:PORT, such as "127.0.0.1:8470")
                tidegate.toml:6:25: `token` must not be the token itself (hint: write `env:NAME` or `file:PATH`)
                tidegate.toml:8:26: unknown log format `xml` (hint: write `human` or `json`)
                tidegate.toml:9:17: `[proxy]` without `service` (hint: add `service = "…"`)
                tidegate.toml:9:17: `plaintext` and certificates contradict each other (hint: take one of them out)
                tidegate.toml:13:33: `drain_timeout` is no duration (hint: write a number and a unit, such as "30s")"#]],
        );
    }

    /// Proves that the keys on capture are the flags of `tidegate proxy`, and that what those refuse is refused with its place.
    #[test]
    fn the_own_proxy_captures_by_the_flags() {
        let of = |keys: &str| {
            let text = format!("[proxy]\nservice = \"a\"\nlisten = \"127.0.0.1:9200\"\n{keys}");
            match parse(&text, "tidegate.toml") {
                Ok(config) => config.proxy.expect("it is there").capture.join(" "),
                Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
            }
        };
        assert_eq!(of(""), "");
        assert_eq!(
            of("capture = \"file\"\ncapture_keep_bytes = 100\nsuppress_method = [\"HEAD\", \"PUT\"]"),
            "--capture=file --suppress-method=HEAD --suppress-method=PUT --capture-keep-bytes=100"
        );
        for (keys, why) in [
            ("capture = \"files\"", "tidegate.toml:4:11: invalid value 'files' for '--capture <WHERE>'"),
            ("capture_dir = \"here\"", "`capture_dir` is a relative path"),
            ("capture = \"file\"\ncapture_keep = \"soon\"", "invalid value 'soon' for '--capture-keep <D>'"),
            ("captur = \"file\"", "unknown key `captur` in `[proxy]`"),
        ] {
            assert!(of(keys).contains(why), "{keys}: {}", of(keys));
        }
    }

    /// Proves that an empty file is a sound one.
    #[test]
    fn nothing_is_needed() {
        assert_eq!(parse("", "tidegate.toml"), Ok(Config::default()));
    }

    /// Proves that a file which is not TOML is one problem with its place.
    #[test]
    fn what_is_not_toml_is_told_with_its_place() {
        check(
            "state_dir = ",
            expect![[r"
            tidegate.toml:1:13: string values must be quoted, expected literal string (hint: see https://toml.io for how a file is written)
            tidegate.toml:1:13: `state_dir` must be a text (hint: write it in quotes)"]],
        );
    }
}
