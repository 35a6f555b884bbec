//! What a name resolves to, and for how long answers may be kept: two questions to one resolver.
//!
//! The system's resolver gives addresses and keeps the time to live to itself, which is what has to pass here. So the
//! question is asked by hand (RFC 1035, recursion desired): over UDP, and over TCP where the answer is too long for a datagram, as
//! that for a large fleet is. Names are whole ones: the search list of the system is not gone through.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

/// How long an answer may take, and how often a question is asked.
const ANSWER_MAX: Duration = Duration::from_secs(3);
const ATTEMPTS: u32 = 3;

/// The longest answer: what one datagram without extensions holds, and some more.
const BYTES_MAX: usize = 4096;

/// The most jumps of one compressed name; more is a loop.
const JUMPS_MAX: usize = 32;

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

/// What a name resolves to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Its addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// The names on the way, in lower case.
    pub names: BTreeSet<String>,
    /// The longest time that any part of the answer may be kept, in seconds.
    pub ttl_seconds: u64,
}

/// The first resolver of this machine.
///
/// # Errors
/// When `/etc/resolv.conf` names none.
pub fn system_resolver() -> Result<SocketAddr, String> {
    let text = std::fs::read_to_string("/etc/resolv.conf").map_err(|error| format!("/etc/resolv.conf: {error}"))?;
    let mut servers = text.lines().filter_map(|line| line.strip_prefix("nameserver")?.trim().parse::<IpAddr>().ok());
    servers.next().map(|ip| SocketAddr::new(ip, 53)).ok_or_else(|| "/etc/resolv.conf names no server".to_owned())
}

/// Asks `resolver` for the addresses of `name`, of both kinds.
///
/// # Errors
/// When it does not answer, or does not know the name.
pub async fn resolve(resolver: SocketAddr, name: &str) -> Result<Resolved, String> {
    resolve_within(resolver, name, ANSWER_MAX * ATTEMPTS).await
}

/// The same, where there is no more time than `patience` for each of the two questions, which are asked at once.
///
/// # Errors
/// As [`resolve`].
pub async fn resolve_within(resolver: SocketAddr, name: &str, patience: Duration) -> Result<Resolved, String> {
    let each = patience / ATTEMPTS;
    let (four, six) = tokio::join!(ask(resolver, name, A, each), ask(resolver, name, AAAA, each));
    let mut all = Resolved::default();
    for told in [four?, six?] {
        all.addresses.extend(told.addresses);
        all.names.extend(told.names);
        all.ttl_seconds = all.ttl_seconds.max(told.ttl_seconds);
    }
    if all.addresses.is_empty() { Err(format!("`{name}` has no address")) } else { Ok(all) }
}

async fn ask(resolver: SocketAddr, name: &str, kind: u16, patience: Duration) -> Result<Resolved, String> {
    let any: IpAddr = if resolver.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let failed = |error: std::io::Error| format!("cannot ask {resolver} for `{name}`: {error}");
    let mut last = format!("{resolver} does not answer for `{name}`");
    for _ in 0..ATTEMPTS {
        let socket = UdpSocket::bind((any, 0)).await.map_err(failed)?;
        socket.connect(resolver).await.map_err(failed)?;
        let id = fastrand::u16(..);
        let question = question(id, name, kind)?;
        socket.send(&question).await.map_err(failed)?;
        let mut bytes = vec![0; BYTES_MAX];
        match tokio::time::timeout(patience, socket.recv(&mut bytes)).await {
            Err(_) => {}
            Ok(Err(error)) => last = failed(error),
            Ok(Ok(length)) => match read(&bytes[..length], id) {
                Err(Unread::Long) => match tokio::time::timeout(patience, over_stream(resolver, &question)).await {
                    Err(_) => {}
                    Ok(Err(error)) => last = failed(error),
                    Ok(Ok(bytes)) => return read(&bytes, id).map_err(|why| why.told(name)),
                },
                told => return told.map_err(|why| why.told(name)),
            },
        }
    }
    Err(last)
}

/// The whole answer to a question, over TCP (RFC 1035 4.2.2: each message behind its length).
async fn over_stream(resolver: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    let length = u16::try_from(question.len()).expect("a question is short");
    stream.write_all(&[&length.to_be_bytes()[..], question].concat()).await?;
    let mut bytes = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// Why an answer says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Unread {
    /// It is cut short or no answer at all.
    Broken,
    /// It is to another question.
    Other,
    /// There is more of it than a datagram takes.
    Long,
    /// Nobody has the name.
    Unknown,
    /// The resolver could not find it out.
    Failed(u16),
}

impl Unread {
    fn told(&self, name: &str) -> String {
        match self {
            Self::Broken => format!("the answer for `{name}` is cut short or not from a resolver"),
            Self::Other => format!("the answer for `{name}` is to another question"),
            Self::Long => format!("the answer for `{name}` is too long, even for a stream"),
            Self::Unknown => format!("there is no such name as `{name}`"),
            Self::Failed(code) => format!("the resolver failed with code {code} for `{name}`"),
        }
    }
}

fn question(id: u16, name: &str, kind: u16) -> Result<Vec<u8>, String> {
    let mut bytes = id.to_be_bytes().to_vec();
    // Recursion desired; one question.
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length));
        bytes.push(length.ok_or_else(|| format!("`{name}` is no name"))?);
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    Ok(bytes)
}

/// Two bytes as a number.
fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// The name at a place, and the place after it.
fn name_at(bytes: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut at, mut after, mut labels) = (start, None, Vec::new());
    for _ in 0..JUMPS_MAX * 4 {
        let length = usize::from(*bytes.get(at)?);
        if length == 0 {
            return Some((labels.join("."), after.unwrap_or(at + 1)));
        }
        if length >= 0xc0 {
            after = after.or(Some(at + 2));
            at = usize::from(short(bytes, at)? & 0x3fff);
            continue;
        }
        let label = bytes.get(at + 1..at + 1 + length)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += 1 + length;
    }
    None
}

/// Reads an answer to the question `id`.
fn read(bytes: &[u8], id: u16) -> Result<Resolved, Unread> {
    let broken = || Unread::Broken;
    if short(bytes, 0) != Some(id) {
        return Err(Unread::Other);
    }
    let flags = short(bytes, 2).ok_or_else(broken)?;
    if flags & 0x0200 != 0 {
        return Err(Unread::Long);
    }
    match flags & 0x000f {
        0 => {}
        3 => return Err(Unread::Unknown),
        code => return Err(Unread::Failed(code)),
    }
    let (questions, answers) = (short(bytes, 4).ok_or_else(broken)?, short(bytes, 6).ok_or_else(broken)?);
    let mut at = 12;
    for _ in 0..questions {
        at = name_at(bytes, at).ok_or_else(broken)?.1 + 4;
    }
    let mut resolved = Resolved::default();
    for _ in 0..answers {
        at = name_at(bytes, at).ok_or_else(broken)?.1;
        let kind = short(bytes, at).ok_or_else(broken)?;
        let high = short(bytes, at + 4).ok_or_else(broken)?;
        let low = short(bytes, at + 6).ok_or_else(broken)?;
        let length = usize::from(short(bytes, at + 8).ok_or_else(broken)?);
        let data = bytes.get(at + 10..at + 10 + length).ok_or_else(broken)?;
        match (kind, length) {
            (A, 4) => {
                let mut address = [0; 4];
                address.copy_from_slice(data);
                resolved.addresses.insert(Ipv4Addr::from(address).into());
            }
            (AAAA, 16) => {
                let mut address = [0; 16];
                address.copy_from_slice(data);
                resolved.addresses.insert(Ipv6Addr::from(address).into());
            }
            (CNAME, _) => drop(resolved.names.insert(name_at(bytes, at + 10).ok_or_else(broken)?.0)),
            _ => {}
        }
        resolved.ttl_seconds = resolved.ttl_seconds.max(u64::from(high) << 16 | u64::from(low));
        at += 10 + length;
    }
    Ok(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that an alias, its addresses and the longest time to live are read, compressed names among them, and that
    /// what is cut short, of another question or unknown is an error.
    #[test]
    fn an_answer_is_read_with_its_time_to_live() {
        let mut bytes = question(7, "search.example.com", A).unwrap();
        (bytes[2], bytes[3], bytes[7]) = (0x81, 0x80, 2);
        // search.example.com CNAME lb.example.com for 300 s, then its address for 60 s.
        bytes.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 1, 44, 0, 5, 2, b'L', b'B', 0xc0, 19]);
        bytes.extend([0xc0, 48, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 1, 20]);
        let resolved = read(&bytes, 7).unwrap();
        assert_eq!(resolved.ttl_seconds, 300);
        assert_eq!(resolved.names, ["lb.example.com".to_owned()].into());
        assert_eq!(resolved.addresses, [IpAddr::from([10, 0, 1, 20])].into());
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length], 7).is_err(), "{length}");
        }
        assert!(read(&bytes, 8).is_err());
        bytes[3] = 0x83;
        assert_eq!(read(&bytes, 7), Err(Unread::Unknown));
        // A name that refers to itself ends.
        assert_eq!(name_at(&[0xc0, 0], 0), None);
        assert!(question(1, "a..b", A).is_err());
    }
}
