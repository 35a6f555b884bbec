//! Where proxies are: each at a control address of its own, or all of them behind a name in DNS, as the pods behind a headless
//! Service are.
//!
//! Behind a name proxies come and go. A whole answer of the resolver says who is there now; an empty or failing one says
//! nothing: then those of the last answer are still known, and that they are all is not. A name whose answer has both kinds of
//! addresses has two for each proxy that listens on both, so a Service shall have one.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use proxy::config::{ConfigError, ControlAddress};

use super::Remote;
use super::starting::Seen;
use crate::{clock, dns};

/// What a name in DNS begins with.
const SCHEME: &str = "dns://";

/// How long one resolution may take.
const RESOLVE_MAX: Duration = Duration::from_secs(1);

/// How old an answer may be where a fresh one is not needed.
const FRESH: Duration = Duration::from_secs(1);

/// The most proxies behind one name.
pub const BEHIND_MAX: usize = 1000;

/// Where one proxy is, or many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// One, at its control address.
    One(ControlAddress),
    /// As many as the name has addresses.
    Behind(Name),
}

/// A name in DNS that stands for proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Who is asked; `None` is this machine's own resolver.
    resolver: Option<SocketAddr>,
    host: String,
    /// Where each listens for its control API.
    port: u16,
}

impl FromStr for Place {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let Some(behind) = text.strip_prefix(SCHEME) else { return Ok(Self::One(text.parse()?)) };
        let wrong = || ConfigError::ControlAddress { text: text.to_owned() };
        let (resolver, behind) = match behind.split_once('/') {
            Some((resolver, behind)) => (Some(resolver.parse().map_err(|_| wrong())?), behind),
            None => (None, behind),
        };
        let (name, port) = behind.rsplit_once(':').filter(|(name, _)| !name.is_empty()).ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        Ok(Self::Behind(Name { resolver, host: name.to_owned(), port }))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(address) => address.fmt(f),
            Self::Behind(name) => name.fmt(f),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        if let Some(resolver) = self.resolver {
            write!(f, "{resolver}/")?;
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Name {
    /// A name and a port, asked of this machine's own resolver.
    ///
    /// # Errors
    /// When it is not `NAME:PORT`.
    pub fn of(text: &str) -> Result<Self, ConfigError> {
        match format!("{SCHEME}{text}").parse()? {
            Place::Behind(name) => Ok(name),
            Place::One(_) => Err(ConfigError::ControlAddress { text: text.to_owned() }),
        }
    }

    /// The addresses that it stands for now, in order.
    ///
    /// # Errors
    /// When the resolver does not answer, or with none.
    pub async fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        let addresses: Vec<IpAddr> = if let Ok(address) = self.host.parse() {
            vec![address]
        } else {
            let resolver = self.resolver.map_or_else(dns::system_resolver, Ok)?;
            dns::resolve_within(resolver, &self.host, RESOLVE_MAX).await?.addresses.into_iter().collect()
        };
        if addresses.len() > BEHIND_MAX {
            return Err(format!("`{}` has {} addresses, and {BEHIND_MAX} are looked at", self.host, addresses.len()));
        }
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, self.port)).collect())
    }
}

/// All proxies of a service. Clones share what they found.
#[derive(Clone)]
pub struct Proxies {
    stands: Arc<[Stand]>,
}

enum Stand {
    One(Remote),
    Behind(Behind),
}

struct Behind {
    place: Arc<str>,
    name: Name,
    token: Option<String>,
    /// Held by whoever asks the resolver: one question at a time.
    asking: tokio::sync::Mutex<()>,
    last: Mutex<Last>,
}

/// What the resolver said last.
#[derive(Default)]
struct Last {
    /// When it was asked; where it failed, when that was known: who waited for a question that failed is told so, and does not
    /// ask once more.
    at: Option<Instant>,
    /// Those of the last whole answer.
    remotes: Vec<Remote>,
    /// Those of earlier ones, too.
    seen: Seen,
    /// Why there was no whole answer, if so.
    failed: Option<String>,
}

/// The proxies that are known at some moment.
#[derive(Clone, Default)]
pub struct Known {
    /// Who they are.
    pub remotes: Vec<Remote>,
    /// Why these may not be all, if so.
    pub failed: Option<String>,
}

impl From<Vec<Remote>> for Proxies {
    fn from(remotes: Vec<Remote>) -> Self {
        Self { stands: remotes.into_iter().map(Stand::One).collect() }
    }
}

impl Proxies {
    /// The proxies at these places; the token is for those behind TCP.
    pub fn at(places: impl IntoIterator<Item = Place>, token: Option<&str>) -> Self {
        let token = token.map(str::to_owned);
        let stand = |place: Place| match place {
            Place::One(address) => {
                let token = token.clone().filter(|_| matches!(address, ControlAddress::Tcp(_)));
                Stand::One(Remote::api(address, token))
            }
            Place::Behind(name) => Stand::Behind(Behind {
                place: Arc::from(name.to_string()),
                name,
                token: token.clone(),
                asking: tokio::sync::Mutex::default(),
                last: Mutex::default(),
            }),
        };
        Self { stands: places.into_iter().map(stand).collect() }
    }

    /// Whether nobody is meant.
    pub fn is_empty(&self) -> bool {
        self.stands.is_empty()
    }

    /// The places, as a policy names them.
    pub fn places(&self) -> impl Iterator<Item = &str> {
        self.stands.iter().map(|stand| match stand {
            Stand::One(remote) => remote.place(),
            Stand::Behind(behind) => &*behind.place,
        })
    }

    /// Whether these are one thing with the others: what one finds out the other knows.
    #[cfg(test)]
    pub(crate) fn are(&self, others: &Self) -> bool {
        Arc::ptr_eq(&self.stands, &others.stands)
    }

    /// Who is there now, by answers that were asked for after this call.
    pub async fn now(&self) -> Known {
        self.known(Duration::ZERO).await
    }

    /// Who was there a moment ago.
    pub async fn lately(&self) -> Known {
        self.known(FRESH).await
    }

    /// Who was there when it was asked last, at once and without asking; nobody where that never was.
    pub fn before(&self) -> Known {
        let mut known = Known::default();
        for stand in self.stands.iter() {
            match stand {
                Stand::One(remote) => known.remotes.push(remote.clone()),
                Stand::Behind(behind) => behind.tell(&mut known),
            }
        }
        known
    }

    async fn known(&self, age_max: Duration) -> Known {
        let called = clock::instant();
        for stand in self.stands.iter() {
            if let Stand::Behind(behind) = stand {
                behind.look(called, age_max).await;
            }
        }
        self.before()
    }
}

impl Behind {
    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().expect("nobody panics while holding it")
    }

    /// Asks the resolver unless that was done less than `age_max` before `called`. A question that was asked since then by
    /// somebody else serves as well.
    async fn look(&self, called: Instant, age_max: Duration) {
        let _asking = self.asking.lock().await;
        if self.last().at.is_some_and(|at| called.saturating_duration_since(at) < age_max || at >= called) {
            return;
        }
        // The time at which the question is asked: the answer is at least as young.
        let asked = clock::instant();
        let answer = self.name.addresses().await;
        let mut last = self.last();
        match answer {
            Ok(addresses) => {
                last.seen.take(&addresses, asked);
                let remote = |address: SocketAddr| {
                    let start = last.seen.start(address);
                    let address = ControlAddress::Tcp(address.to_string());
                    Remote { place: Arc::clone(&self.place), start, ..Remote::api(address, self.token.clone()) }
                };
                last.remotes = addresses.into_iter().map(remote).collect();
                (last.at, last.failed) = (Some(asked), None);
            }
            Err(why) => {
                last.failed = Some(format!("nobody knows which proxies stand behind {}: {why}", self.place));
                last.at = Some(clock::instant());
            }
        }
    }

    fn tell(&self, known: &mut Known) {
        let last = self.last();
        known.remotes.extend(last.remotes.iter().cloned());
        known.failed = known.failed.take().or_else(|| last.failed.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that a place is one address or a name with a port, with or without who is asked, and prints as what reads the same.
    #[test]
    fn a_place_is_an_address_or_a_name() {
        for text in
            ["unix:/run/a.sock", "10.0.0.1:9901", "dns://proxies.ma.svc:9901", "dns://127.0.0.1:53/proxies:9901"]
        {
            let place: Place = text.parse().unwrap();
            assert_eq!(matches!(place, Place::Behind(_)), text.starts_with("dns:"), "{text}");
            assert_eq!(place.to_string(), text);
        }
        for text in ["dns://proxies", "dns://:9901", "dns://resolver/proxies:9901", "dns://127.0.0.1:53/", "dns://a:b"]
        {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }

    /// Proves that a name that is an address stands for itself, and that a resolver that does not answer leaves it unknown who
    /// is there, and known who was.
    #[tokio::test]
    async fn nobody_is_no_answer() {
        let proxies = Proxies::at(["dns://127.0.0.1:9901".parse().unwrap()], None);
        let known = proxies.now().await;
        assert_eq!((known.remotes[0].name(), known.failed), ("127.0.0.1:9901", None));
        assert_eq!(known.remotes[0].place(), "dns://127.0.0.1:9901");
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let place = format!("dns://{}/proxies:9901", silent.local_addr().unwrap());
        let unknown = Proxies::at([place.parse().unwrap()], None).now().await;
        assert!(unknown.remotes.is_empty());
        assert!(unknown.failed.unwrap().contains("does not answer for `proxies`"));
    }
}
