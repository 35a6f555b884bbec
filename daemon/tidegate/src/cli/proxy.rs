//! `tidegate proxy`: the data plane, in a process of its own.
//!
//! Only flags are read here; what they mean is in the crate `proxy`.

mod alerts;
pub(crate) mod capture;
pub(super) mod from_workflow;
pub(super) mod java;
#[cfg(feature = "kafka")]
mod kafka;

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use proxy::{
    Config, Ended,
    class::ReadList,
    config::{
        Certificate, ClientTls, Control, ControlAddress, Forwarded, HealthCheck, Limits, Retry, ServerTls, Side,
        Sticky, Timeouts, Upstream,
    },
};
use tokio::signal::unix::{SignalKind, signal};

use super::{Context, Exit, Wrong};
use crate::{
    clock::Clock,
    config::{Log, LogFormat},
    run, secret,
    systemd::{self, NotifyState},
};

/// The arguments of `tidegate proxy`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("\
SIGTERM drains and ends it; SIGHUP reads the certificate files again. With --json, the first line of stdout says where \
it listens.\n\n{}\n\n{}", from_workflow::HELP, java::help()))]
pub struct Proxy {
    /// Where clients connect to (HOST:PORT; port 0 asks the system for one).
    #[arg(long, value_name = "ADDR")]
    listen: String,

    /// Serve without TLS. By default TLS is served, with a self-signed certificate unless --tls-cert names one.
    #[arg(long, conflicts_with_all = ["tls_cert", "tls_key", "client_ca"])]
    plaintext: bool,

    /// The source's endpoints, as http://HOST:PORT or https://HOST:PORT.
    #[arg(long, value_name = "URL,...", value_delimiter = ',', required = true)]
    source: Vec<Upstream>,

    /// The target's endpoints; may be absent at weight 0.
    #[arg(long, value_name = "URL,...", value_delimiter = ',')]
    target: Vec<Upstream>,

    /// The target's share of the requests, in per mille (0 to 1000).
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1000))]
    weight: u16,

    /// The target's share of reads, where it differs.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=1000))]
    weight_reads: Option<u16>,

    /// The target's share of writes, where it differs.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=1000))]
    weight_writes: Option<u16>,

    /// Where the control API listens: unix:PATH, or HOST:PORT, which needs a token.
    #[arg(long, value_name = "unix:PATH|HOST:PORT")]
    control: Option<ControlAddress>,

    /// A file with the token for the control API over TCP; `TIDEGATE_TOKEN` is read where there is none.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Keep clients with the same value of a header or cookie on the same side.
    #[arg(long, value_name = "header:NAME|cookie:NAME")]
    sticky: Option<Sticky>,

    /// Which failed requests are tried on the other side.
    #[arg(long, value_name = "WHICH", default_value = "none")]
    retry: RetryArg,

    /// What of the client's address is told to the upstreams in X-Forwarded-*.
    #[arg(long, value_name = "HOW", default_value = "untouched")]
    forwarded: ForwardedArg,

    /// A path that searches by POST and so counts as a read, in place of the built-in list (`*` is one segment);
    /// repeatable.
    #[arg(long = "read-path", value_name = "PATTERN")]
    read_paths: Vec<String>,

    /// Be ready only once a controller has given the weight, be it the one above; until then probes are answered with 503.
    #[arg(long, requires = "control")]
    await_weight: bool,

    /// A path that the proxy answers itself, with 200, and 503 while it drains or awaits its weight.
    #[arg(long, value_name = "PATH")]
    health_path: Option<String>,

    /// Where probes are answered, to anyone and without TLS: /health (it serves) and /ready (it takes traffic).
    #[arg(long, value_name = "ADDR")]
    probes: Option<String>,

    /// The beginning of a User-Agent whose requests are relayed but not counted, in place of those of AWS, Kubernetes
    /// and Google; repeatable.
    #[arg(long = "probe-agent", value_name = "TEXT")]
    probe_agents: Vec<String>,

    /// How long requests under way may take to end after SIGTERM.
    #[arg(long, value_name = "D", default_value = "30s", value_parser = duration)]
    drain_timeout: Duration,

    /// Threads that serve; one for each core by default.
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,

    /// The form of the log, which goes to stderr; `RUST_LOG` says from which level on.
    #[arg(long, value_name = "HOW", default_value = "human")]
    log: LogArg,

    /// The seed of the split, for runs that shall be repeated exactly.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    #[command(flatten)]
    capture: capture::CaptureArgs,

    #[command(flatten)]
    alerts: alerts::AlertArgs,

    #[command(flatten)]
    tls: TlsArgs,

    #[command(flatten)]
    sides: SideArgs,

    #[command(flatten)]
    limits: LimitArgs,

    #[command(flatten)]
    timeouts: TimeoutArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "TLS to clients")]
struct TlsArgs {
    /// The certificate chain, leaf first (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The authorities whose certificates clients must show (PEM).
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// The same, from the variable of this name.
    #[arg(long, value_name = "NAME", conflicts_with = "client_ca")]
    client_ca_env: Option<String>,
    /// Where the self-signed certificate is kept; systemd's state directory or the user's state directory by default.
    #[arg(long, value_name = "DIR")]
    tls_dir: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The sides")]
struct SideArgs {
    /// A header field that the source gets instead of the client's; repeatable.
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    source_header: Vec<(String, String)>,
    /// A header field that the target gets instead of the client's; repeatable.
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    target_header: Vec<(String, String)>,
    /// Where the `Authorization` value comes from that the source gets instead of the client's.
    #[arg(long, value_name = "env:NAME|file:PATH")]
    source_authorization: Option<String>,
    /// Where the `Authorization` value comes from that the target gets instead of the client's.
    #[arg(long, value_name = "env:NAME|file:PATH")]
    target_authorization: Option<String>,
    /// The authorities to trust for the source instead of the public ones (PEM).
    #[arg(long, value_name = "FILE")]
    source_ca: Option<PathBuf>,
    /// The authorities to trust for the target instead of the public ones (PEM).
    #[arg(long, value_name = "FILE")]
    target_ca: Option<PathBuf>,
    /// Accept any certificate of the source.
    #[arg(long)]
    source_insecure: bool,
    /// Accept any certificate of the target.
    #[arg(long)]
    target_insecure: bool,
    /// The name to ask the source for, and to check, instead of its host.
    #[arg(long, value_name = "NAME")]
    source_server_name: Option<String>,
    /// The name to ask the target for, and to check, instead of its host.
    #[arg(long, value_name = "NAME")]
    target_server_name: Option<String>,
    /// Check the source's endpoints by asking for this path; without it nothing of our own is sent.
    #[arg(long, value_name = "PATH")]
    source_check: Option<String>,
    /// Check the target's endpoints by asking for this path; without it nothing of our own is sent.
    #[arg(long, value_name = "PATH")]
    target_check: Option<String>,
    /// How often endpoints are checked.
    #[arg(long, value_name = "D", default_value = "5s", value_parser = duration)]
    check_interval: Duration,
    /// How long the answer to a check may take.
    #[arg(long, value_name = "D", default_value = "2s", value_parser = duration)]
    check_timeout: Duration,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
#[expect(clippy::struct_field_names, reason = "they are the names of the flags")]
struct LimitArgs {
    /// Bytes of a request head.
    #[arg(long, value_name = "BYTES", default_value_t = 64 * 1024)]
    head_max: usize,
    /// Bytes of a request target.
    #[arg(long, value_name = "BYTES", default_value_t = 32 * 1024)]
    target_max: usize,
    /// Lines of a head.
    #[arg(long, value_name = "N", default_value_t = 256)]
    header_lines_max: usize,
    /// Bytes of a chunk line.
    #[arg(long, value_name = "BYTES", default_value_t = 4 * 1024)]
    chunk_line_max: usize,
    /// Bytes of a response head.
    #[arg(long, value_name = "BYTES", default_value_t = 64 * 1024)]
    response_head_max: usize,
    /// Interim (1xx) responses to one request.
    #[arg(long, value_name = "N", default_value_t = 100)]
    interim_max: usize,
    /// Client connections at once.
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    connections_max: usize,
    /// Idle connections kept for each endpoint by each thread.
    #[arg(long, value_name = "N", default_value_t = 256)]
    pool_max: usize,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Times")]
#[expect(clippy::struct_field_names, reason = "they are the names of the flags")]
struct TimeoutArgs {
    /// For a request head, from its first byte, and for a TLS handshake.
    #[arg(long, value_name = "D", default_value = "10s", value_parser = duration)]
    head_timeout: Duration,
    /// For an idle client connection.
    #[arg(long, value_name = "D", default_value = "75s", value_parser = duration)]
    idle_timeout: Duration,
    /// Without a byte moving while a body is under way.
    #[arg(long, value_name = "D", default_value = "60s", value_parser = duration)]
    stall_timeout: Duration,
    /// Without a byte moving on an upgraded connection.
    #[arg(long, value_name = "D", default_value = "1h", value_parser = duration)]
    tunnel_timeout: Duration,
    /// To open an upstream connection.
    #[arg(long, value_name = "D", default_value = "3s", value_parser = duration)]
    connect_timeout: Duration,
    /// From the last request byte sent to the first response byte.
    #[arg(long, value_name = "D", default_value = "60s", value_parser = duration)]
    first_byte_timeout: Duration,
    /// For a whole exchange; without it there is no end as long as bytes move.
    #[arg(long, value_name = "D", value_parser = duration)]
    total_timeout: Option<Duration>,
    /// For an idle upstream connection in the pool.
    #[arg(long, value_name = "D", default_value = "30s", value_parser = duration)]
    pool_idle_timeout: Duration,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RetryArg {
    None,
    Reads,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogArg {
    Human,
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ForwardedArg {
    Untouched,
    Append,
    Replace,
}

impl Proxy {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        let format = match self.log {
            LogArg::Human => LogFormat::Human,
            LogArg::Json => LogFormat::Json,
        };
        super::run::log(&Log { format, level: "info".to_owned() })?;
        let drain_timeout = self.drain_timeout;
        let plaintext = self.plaintext;
        let (config, alerts) = self.config()?;
        let receivers = alerts.receivers();
        context.block_on(async move {
            // Signals are awaited before clients can connect, so that none is missed.
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut hang_up = signal(SignalKind::hangup())?;
            let handle = proxy::Proxy::start(config)?;
            let control = handle.control_addr().map(ToString::to_string);
            let listen = handle.local_addr();
            if context.json {
                let probes = handle.probes_addr().map(|address| address.to_string());
                let told = serde_json::json!({ "listen": listen.to_string(), "control": control, "probes": probes });
                context.print_json(&told)?;
            }
            let scheme = if plaintext { "http" } else { "https" };
            let control = control.map_or_else(String::new, |control| format!(", controlled over {control}"));
            say(&format!("listening on {scheme}://{listen}{control}"));
            systemd::tell(&[NotifyState::Ready]);
            let mut watchdog = systemd::watchdog();
            let (name, clock) = (format!("proxy {listen}"), Clock::system());
            let mut told = Box::pin(run::tell_of_capture(&name, &handle, &receivers, &clock));
            loop {
                tokio::select! {
                    Err(why) = &mut told => bail!("cannot tell anybody of losses: {why}"),
                    _ = watchdog.tick() => systemd::tell(&[NotifyState::Watchdog]),
                    _ = terminate.recv() => break,
                    _ = interrupt.recv() => break,
                    _ = hang_up.recv() => match handle.reload() {
                        Ok(()) => say("read the certificate files again"),
                        Err(error) => say(&format!("the certificate stays as it was: {error}")),
                    },
                    ended = handle.ended() => bail!("a serving thread ended ({ended:?}): this is a bug"),
                }
            }
            systemd::tell(&[NotifyState::Stopping]);
            tokio::select! {
                ended = handle.drain(drain_timeout) => {
                    ensure!(ended == Ended::Drained, "a serving thread ended in a panic: this is a bug");
                }
                // Whoever asks twice does not want to wait.
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            Ok(Exit::Done)
        })
    }

    fn config(self) -> anyhow::Result<(Config, alerts::AlertArgs)> {
        let listen = resolve(&self.listen)?;
        if let Some(flag) = self.capture.of_target().filter(|_| self.target.is_empty()) {
            return Err(Wrong::because(format!("{flag} is given, but the proxy has no target: name --target")));
        }
        let [source_log, target_log] = self.capture.open(&self.listen)?;
        let tls = if self.plaintext { None } else { Some(self.tls.server(listen)?) };
        let check = |path: Option<String>| {
            path.map(|path| HealthCheck {
                interval: self.sides.check_interval,
                timeout: self.sides.check_timeout,
                ..HealthCheck::new(&path)
            })
        };
        let source = Side {
            endpoints: self.source,
            set_headers: set_headers(self.sides.source_header, self.sides.source_authorization.as_deref())?,
            tls: ClientTls {
                ca: self.sides.source_ca,
                insecure: self.sides.source_insecure,
                server_name: self.sides.source_server_name,
            },
            health: check(self.sides.source_check),
            capture: source_log,
        };
        let target_headers = set_headers(self.sides.target_header, self.sides.target_authorization.as_deref())?;
        let target = (!self.target.is_empty()).then(|| Side {
            endpoints: self.target,
            set_headers: target_headers,
            tls: ClientTls {
                ca: self.sides.target_ca,
                insecure: self.sides.target_insecure,
                server_name: self.sides.target_server_name,
            },
            health: check(self.sides.target_check),
            capture: target_log,
        });
        let control = self.control.map(|address| control(address, self.token_file.as_deref())).transpose()?;
        let defaults = Config::new(listen, source);
        let config = Config {
            workers: self.workers,
            tls,
            target,
            reads: self.weight_reads.unwrap_or(self.weight),
            writes: self.weight_writes.unwrap_or(self.weight),
            sticky: self.sticky,
            retry: match self.retry {
                RetryArg::None => Retry::None,
                RetryArg::Reads => Retry::Reads,
            },
            read_list: if self.read_paths.is_empty() {
                ReadList::default()
            } else {
                ReadList::new(self.read_paths.iter().map(String::as_str))
            },
            forwarded: match self.forwarded {
                ForwardedArg::Untouched => Forwarded::Untouched,
                ForwardedArg::Append => Forwarded::Append,
                ForwardedArg::Replace => Forwarded::Replace,
            },
            limits: self.limits.limits(),
            timeouts: self.timeouts.timeouts(),
            probe_agents: if self.probe_agents.is_empty() { defaults.probe_agents } else { self.probe_agents },
            health_path: self.health_path,
            await_weight: self.await_weight,
            probes: self.probes.as_deref().map(resolve).transpose()?,
            control,
            seed: self.seed,
            ..Config::new(listen, defaults.source)
        };
        Ok((config, self.alerts))
    }
}

impl TlsArgs {
    fn server(self, listen: SocketAddr) -> anyhow::Result<ServerTls> {
        let certificate = match (self.tls_cert, self.tls_key) {
            (Some(chain), Some(key)) => Certificate::Files { chain, key },
            _ => Certificate::SelfSigned {
                directory: match self.tls_dir {
                    Some(directory) => directory,
                    None => state_directory().map(|directory| directory.join("tls")).with_context(|| {
                        format!(
                            "cannot tell where to keep a self-signed certificate for {listen}: name --tls-dir, or a \
                             certificate with --tls-cert and --tls-key, or serve --plaintext"
                        )
                    })?,
                },
            },
        };
        let client_ca = match self.client_ca_env {
            None => self.client_ca,
            Some(name) => Some(authorities_of(&name)?),
        };
        Ok(ServerTls { certificate, client_ca })
    }
}

impl LimitArgs {
    fn limits(&self) -> Limits {
        let mut limits =
            Limits { connections_max: self.connections_max, pool_idle_max: self.pool_max, ..Limits::default() };
        limits.wire.head_bytes_max = self.head_max;
        limits.wire.target_bytes_max = self.target_max;
        limits.wire.field_lines_max = self.header_lines_max;
        limits.wire.chunk_line_bytes_max = self.chunk_line_max;
        limits.wire.response_head_bytes_max = self.response_head_max;
        limits.wire.interim_responses_max = self.interim_max;
        limits
    }
}

impl TimeoutArgs {
    fn timeouts(&self) -> Timeouts {
        Timeouts {
            head: self.head_timeout,
            client_idle: self.idle_timeout,
            stall: self.stall_timeout,
            tunnel_idle: self.tunnel_timeout,
            connect: self.connect_timeout,
            first_byte: self.first_byte_timeout,
            total: self.total_timeout,
            pool_idle: self.pool_idle_timeout,
        }
    }
}

/// Puts the authorities that a variable holds into a file, where they are read again with the certificates.
fn authorities_of(name: &str) -> anyhow::Result<PathBuf> {
    let pem = std::env::var(name).with_context(|| format!("cannot read the clients' authorities from {name}"))?;
    let directory =
        state_directory().context("cannot tell where to keep the clients' authorities: name --client-ca")?;
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let path = directory.join(format!("client-ca-{}.pem", std::process::id()));
    std::fs::write(&path, pem).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// systemd's state directory for the unit, or the user's own.
fn state_directory() -> Option<PathBuf> {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("STATE_DIRECTORY")
        .or_else(|| Some(from("XDG_STATE_HOME")?.join("tidegate")))
        .or_else(|| Some(from("HOME")?.join(".local/state/tidegate")))
}

/// The control API, with the token that TCP needs.
fn control(address: ControlAddress, token_file: Option<&Path>) -> anyhow::Result<Control> {
    match address {
        ControlAddress::Unix(path) => Ok(Control::Unix(path)),
        ControlAddress::Tcp(address) => {
            let token = super::token(token_file)?.unwrap_or_default();
            ensure!(
                !token.is_empty(),
                "the control API on {address} needs a token: set TIDEGATE_TOKEN or name --token-file, or use unix:PATH"
            );
            Ok(Control::Tcp { address: resolve(&address)?, token })
        }
    }
}

fn resolve(address: &str) -> anyhow::Result<SocketAddr> {
    address
        .to_socket_addrs()
        .with_context(|| format!("cannot read address `{address}`: write HOST:PORT"))?
        .next()
        .with_context(|| format!("address `{address}` stands for nothing"))
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write `NAME: VALUE`")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// What a side gets instead of the client's fields.
fn set_headers(
    mut headers: Vec<(String, String)>,
    authorization: Option<&str>,
) -> anyhow::Result<Vec<(String, String)>> {
    if let Some(reference) = authorization {
        headers.push(("authorization".to_owned(), secret::read(reference)?.reveal().to_owned()));
    }
    Ok(headers)
}

/// A duration such as `250ms`, `10s`, `5m` or `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or("name a unit: ms, s, m or h")?;
    let (number, unit) = text.split_at(at);
    let number: u64 = number.parse().map_err(|_| "write a whole number and a unit, such as 10s")?;
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("the unit must be ms, s, m or h".to_owned()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(|| "it is too long".to_owned())
}

#[expect(clippy::print_stderr, reason = "words for people go to stderr, and this is the command line")]
fn say(text: &str) {
    eprintln!("tidegate proxy: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that durations need a unit, and that none overflows.
    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1h"), Ok(Duration::from_hours(1)));
        for wrong in ["10", "s", "", "-1s", "1.5s", "99999999999999999999s", "18446744073709551615h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
