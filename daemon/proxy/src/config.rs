//! What a proxy is started with: addresses, sides, limits and times, checked before a socket is opened.
//!
//! Parsing of flags and files is not done here; whoever starts a proxy (the command line, the daemon's `[proxy]`
//! section, the demo) fills in a [`Config`], starting from [`Config::new`].

use std::{fmt, net::SocketAddr, num::NonZeroUsize, path::PathBuf, str::FromStr, time::Duration};

use crate::{
    capture::{
        chunks::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN},
        side::Captured,
    },
    class::ReadList,
    wire,
};

/// How a proxy is started.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect to; port 0 asks the system for one.
    pub listen: SocketAddr,
    /// How many threads serve; `None` is one for each core.
    pub workers: Option<NonZeroUsize>,
    /// How TLS is spoken to clients; `None` serves plaintext.
    pub tls: Option<ServerTls>,
    /// The side that gets what the target does not.
    pub source: Side,
    /// The side that gets its weight's share; without it every weight must be 0.
    pub target: Option<Side>,
    /// The target's weight for reads at start, in per mille (0 to 1000).
    pub reads: u16,
    /// The target's weight for writes at start, in per mille (0 to 1000).
    pub writes: u16,
    /// What keeps a client on its side; `None` splits each request by itself.
    pub sticky: Option<Sticky>,
    /// Which requests are tried on the other side when one fails.
    pub retry: Retry,
    /// Which requests count as reads.
    pub read_list: ReadList,
    /// What of the client's address and scheme is told to the upstream.
    pub forwarded: Forwarded,
    /// Largest sizes and numbers.
    pub limits: Limits,
    /// Longest times.
    pub timeouts: Timeouts,
    /// `User-Agent` beginnings of health probes of load balancers; their requests are relayed but not counted to a side.
    pub probe_agents: Vec<String>,
    /// A path on the listener that the proxy answers itself with 200, and with 503 while it is not ready: while it drains, and
    /// before its first weight where it awaits one. `None` relays every path.
    pub health_path: Option<String>,
    /// Whether it is not ready before a controller has given it a weight, be it the one that it has.
    pub await_weight: bool,
    /// Where `/health` and `/ready` are answered, to anyone and without TLS; `None` answers them in the control API alone.
    pub probes: Option<SocketAddr>,
    /// Where the control API listens; `None` has none.
    pub control: Option<Control>,
    /// The seed of the split; `None` takes one from the system.
    pub seed: Option<u64>,
}

impl Config {
    /// A plaintext proxy for `source` alone, at weight 0, with every default.
    pub fn new(listen: SocketAddr, source: Side) -> Self {
        Self {
            listen,
            workers: None,
            tls: None,
            source,
            target: None,
            reads: 0,
            writes: 0,
            sticky: None,
            retry: Retry::None,
            read_list: ReadList::default(),
            forwarded: Forwarded::Untouched,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            probe_agents: PROBE_AGENTS.iter().map(|&agent| agent.to_owned()).collect(),
            health_path: None,
            await_weight: false,
            probes: None,
            control: None,
            seed: None,
        }
    }

    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// The first setting that contradicts another or lies outside its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.source.endpoints.is_empty() {
            return Err(ConfigError::NoEndpoint { side: "source" });
        }
        if self.target.as_ref().is_some_and(|target| target.endpoints.is_empty()) {
            return Err(ConfigError::NoEndpoint { side: "target" });
        }
        for captured in
            [Some(&self.source), self.target.as_ref()].into_iter().flatten().filter_map(|s| s.capture.as_ref())
        {
            if let Some(bytes) = captured.record_bytes_max
                && !(CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(&bytes)
            {
                return Err(ConfigError::RecordBytes { bytes });
            }
        }
        for (class, weight) in [("reads", self.reads), ("writes", self.writes)] {
            if weight > WEIGHT_MAX {
                return Err(ConfigError::Weight { class, weight });
            }
            if weight > 0 && self.target.is_none() {
                return Err(ConfigError::NoTarget { class, weight });
            }
        }
        Ok(())
    }
}

/// The whole, in per mille.
pub const WEIGHT_MAX: u16 = 1000;

/// `User-Agent` beginnings of the health probes of AWS, Kubernetes and Google Cloud load balancers.
pub const PROBE_AGENTS: [&str; 3] = ["ELB-HealthChecker", "kube-probe", "GoogleHC"];

/// One side: the endpoints of one cluster, and how they are spoken to.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// Where its nodes are; at least one.
    pub endpoints: Vec<Upstream>,
    /// Header fields that replace the client's of the same name on the way to this side (credentials, `Host`).
    pub set_headers: Vec<(String, String)>,
    /// How the certificates of `https` endpoints are checked.
    pub tls: ClientTls,
    /// Checks that the proxy sends by itself; `None` sends nothing of its own upstream.
    pub health: Option<HealthCheck>,
    /// How its traffic is captured; `None` records nothing of it.
    pub capture: Option<Captured>,
}

impl Side {
    /// A side with these endpoints and every default.
    pub fn new(endpoints: Vec<Upstream>) -> Self {
        Self { endpoints, ..Self::default() }
    }
}

/// One node of a side: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Whether TLS is spoken to it.
    pub tls: bool,
    /// A host name or an IP address, without the brackets of IPv6.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Upstream {
    type Err = ConfigError;

    /// Reads `http://HOST[:PORT]` or `https://HOST[:PORT]`; a path other than `/` is refused, since the request target
    /// passes raw.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let wrong = |why: &'static str| ConfigError::Url { url: text.to_owned(), why };
        let uri: http::Uri = text.parse().map_err(|_| wrong("it is not a URL"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("it must begin with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("credentials do not belong into it: set an Authorization header for the side"));
        }
        // `http` lets brackets and colons stand anywhere in it.
        if !wire::is_host(authority.as_str().as_bytes()) {
            return Err(wrong("its host is no name and no address"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(wrong("it names no host"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong("it has a path or a query, but the client's own request target passes raw"));
        }
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            None if authority.as_str().ends_with(':') => return Err(wrong("its port is empty")),
            // A port that is no number of 16 bits is told as none.
            None if authority.as_str().len() > authority.host().len() => return Err(wrong("its port is above 65535")),
            None if tls => 443,
            None => 80,
        };
        Ok(Self { tls, host, port })
    }
}

/// How certificates of upstreams are checked.
#[derive(Clone, Debug, Default)]
pub struct ClientTls {
    /// A PEM file with the authorities to trust instead of the public ones.
    pub ca: Option<PathBuf>,
    /// Accept any certificate: for self-signed nodes inside a trusted network.
    pub insecure: bool,
    /// The name to ask for and to check, where it is not the endpoint's host.
    pub server_name: Option<String>,
}

/// How TLS is spoken to clients.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// Where certificate and key come from.
    pub certificate: Certificate,
    /// A PEM file with the authorities whose certificates clients must show; `None` asks for none.
    pub client_ca: Option<PathBuf>,
}

/// Where a server certificate comes from.
#[derive(Clone, Debug)]
pub enum Certificate {
    /// PEM files: the chain, leaf first, and its key.
    Files {
        /// The chain.
        chain: PathBuf,
        /// The private key.
        key: PathBuf,
    },
    /// A self-signed certificate, made at the first start and kept in this directory.
    SelfSigned {
        /// Where `cert.pem` and `key.pem` are kept.
        directory: PathBuf,
    },
}

/// What keeps a client on its side while the weight stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sticky {
    /// The value of this header field.
    Header(String),
    /// The value of this cookie.
    Cookie(String),
}

impl FromStr for Sticky {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let wrong = || ConfigError::Sticky { text: text.to_owned() };
        let (kind, name) = text.split_once(':').ok_or_else(wrong)?;
        if name.is_empty() || http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            return Err(wrong());
        }
        match kind {
            "header" => Ok(Self::Header(name.to_owned())),
            "cookie" => Ok(Self::Cookie(name.to_owned())),
            _ => Err(wrong()),
        }
    }
}

/// Which requests are tried on the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// None.
    None,
    /// Reads that failed before any response byte was relayed and whose body is still held.
    Reads,
}

/// What of the client's address is told to upstreams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// Nothing is added, nothing is taken away.
    Untouched,
    /// `X-Forwarded-For`, `-Proto` and `-Host` are added behind what the client sent.
    Append,
    /// The client's own are taken away first.
    Replace,
}

/// Largest sizes and numbers; what exceeds one is refused, never buffered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of heads, chunk lines and trailers.
    pub wire: wire::Limits,
    /// Client connections of the whole process; more are closed at once and counted.
    pub connections_max: usize,
    /// Idle upstream connections kept for each endpoint by each thread.
    pub pool_idle_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { wire: wire::Limits::DEFAULT, connections_max: 20_000, pool_idle_max: 256 }
    }
}

/// Longest times; each has an end, so that no client and no upstream can hold anything for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From a request's first byte to the end of its head (against slow senders), and for a TLS handshake.
    pub head: Duration,
    /// An idle client connection between two requests.
    pub client_idle: Duration,
    /// Without a byte moving in either direction while a body is under way.
    pub stall: Duration,
    /// Without a byte moving in either direction on an upgraded connection.
    pub tunnel_idle: Duration,
    /// To open an upstream connection, TLS handshake included.
    pub connect: Duration,
    /// From the last request byte sent upstream to the first response byte.
    pub first_byte: Duration,
    /// A whole exchange, first request byte to last response byte; `None` has no end as long as bytes move.
    pub total: Option<Duration>,
    /// An idle upstream connection in the pool.
    pub pool_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            client_idle: Duration::from_secs(75),
            stall: Duration::from_mins(1),
            tunnel_idle: Duration::from_hours(1),
            connect: Duration::from_secs(3),
            first_byte: Duration::from_mins(1),
            total: None,
            pool_idle: Duration::from_secs(30),
        }
    }
}

/// A check that the proxy sends to each endpoint of a side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The path to ask for with GET.
    pub path: String,
    /// How often.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Failures in a row before an endpoint gets no more requests, and successes before it gets them again.
    pub threshold: u32,
}

impl HealthCheck {
    /// A check of `path` each 5 s, 2 s to answer, twice in a row to change anything.
    pub fn new(path: &str) -> Self {
        Self { path: path.to_owned(), interval: Duration::from_secs(5), timeout: Duration::from_secs(2), threshold: 2 }
    }
}

/// Where the control API listens.
#[derive(Clone, PartialEq, Eq)]
pub enum Control {
    /// A Unix socket, readable and writable for its owner alone.
    Unix(PathBuf),
    /// A TCP address; every call must bear the token.
    Tcp {
        /// Where.
        address: SocketAddr,
        /// What `Authorization: Bearer` must carry.
        token: String,
    },
}

impl fmt::Debug for Control {
    /// Says everything but the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => f.debug_tuple("Unix").field(path).finish(),
            Self::Tcp { address, .. } => f.debug_struct("Tcp").field("address", address).finish_non_exhaustive(),
        }
    }
}

/// Where a control API can be reached: `unix:PATH` or `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlAddress {
    /// A Unix socket.
    Unix(PathBuf),
    /// A host and a port.
    Tcp(String),
}

impl FromStr for ControlAddress {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(ConfigError::ControlAddress { text: text.to_owned() });
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(Self::Tcp(text.to_owned())),
            _ => Err(ConfigError::ControlAddress { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for ControlAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => f.write_str(address),
        }
    }
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Records of a size that cannot be.
    #[error("captured records of at most {bytes} bytes cannot be: say {CHUNK_BYTES_MIN} to {CHUNK_BYTES_MAX}")]
    RecordBytes {
        /// What was asked for.
        bytes: usize,
    },
    /// A side without a node.
    #[error("the {side} has no endpoint: name at least one URL")]
    NoEndpoint {
        /// Which side.
        side: &'static str,
    },
    /// A weight without a target.
    #[error("weight {weight} for {class} needs a target, but none was named")]
    NoTarget {
        /// Reads or writes.
        class: &'static str,
        /// The weight, in per mille.
        weight: u16,
    },
    /// A weight outside of its range.
    #[error("weight {weight} for {class} is above 1000 per mille")]
    Weight {
        /// Reads or writes.
        class: &'static str,
        /// The weight, in per mille.
        weight: u16,
    },
    /// A URL that cannot be an upstream.
    #[error("cannot use `{url}` as an upstream: {why}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A header field that must not be set.
    #[error("cannot set a header for the {side}: {why}")]
    Header {
        /// Which side.
        side: &'static str,
        /// Which field, and why not.
        why: String,
    },
    /// A stickiness that cannot be read.
    #[error("cannot read stickiness `{text}`: write header:NAME or cookie:NAME")]
    Sticky {
        /// As given.
        text: String,
    },
    /// A control address that cannot be read.
    #[error("cannot read control address `{text}`: write unix:PATH or HOST:PORT")]
    ControlAddress {
        /// As given.
        text: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that what is taken as an upstream names a host and a port, and prints as what reads the same.
    #[test]
    fn upstreams_name_a_host_and_a_port() {
        for (text, host, port) in [
            ("http://a", "a", 80),
            ("https://a.b/", "a.b", 443),
            ("HTTP://127.0.0.1:9200", "127.0.0.1", 9200),
            ("https://[::1]:9200", "::1", 9200),
        ] {
            let upstream: Upstream = text.parse().unwrap();
            assert_eq!((upstream.host.as_str(), upstream.port), (host, port), "{text}");
            assert_eq!(upstream.to_string().parse::<Upstream>().unwrap(), upstream, "{text}");
        }
        for text in [
            "",
            "a",
            "a:9200",
            "ftp://a",
            "http://",
            "http://a:",
            "http://:80",
            "http://u@a",
            "http://a/b",
            "http://a?b",
            "http://a:b",
            "http://a:65536",
            "https://,[::1:]920_:00290",
            "http://[::1",
            "http://::1",
            "http://a b",
        ] {
            assert!(text.parse::<Upstream>().is_err(), "{text}");
        }
    }
}
