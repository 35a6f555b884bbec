//! Whose request a captured request is: a client's, or a probe's.
//!
//! Load balancers and Kubernetes ask the proxies whether they are well. Captured these requests are like any other; our
//! proxies and CloudWatch leave them out of their counts, and they are no sign that clients come. They are known by their
//! `User-Agent`.

use std::collections::BTreeMap;

use proxy::capture::read::{Chunk, decode::What};
use proxy::config::PROBE_AGENTS;

/// A request whose head is longer is no probe; so much of it is looked at.
const PROBE_HEAD_BYTES_MAX: usize = 4096;

/// Whose request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A client's.
    Client,
    /// A probe's.
    Probe,
}

/// Tells requests from probes while a topic is read, the records of a connection in their order.
#[derive(Clone, Debug)]
pub struct Probes {
    /// The beginnings of a probe's `User-Agent`.
    agents: Vec<String>,
    /// The heads of requests under way, by connection.
    heads: BTreeMap<String, Vec<u8>>,
}

impl Probes {
    /// Probes are those of AWS, Kubernetes and Google, or those whose `User-Agent` begins with one of `agents`.
    pub fn new(agents: &[String]) -> Self {
        let agents = match agents {
            [] => PROBE_AGENTS.map(str::to_owned).to_vec(),
            agents => agents.to_vec(),
        };
        Self { agents, heads: BTreeMap::new() }
    }

    /// Takes what was seen next in a chunk; whose request has ended with it, if one has.
    pub fn see(&mut self, chunk: &Chunk<'_>, what: Option<&What<'_>>) -> Option<Asker> {
        match what {
            Some(What::Read(bytes) | What::ReadSegment(bytes)) => self.read(chunk.connection, bytes),
            Some(What::EndOfMessage { .. }) => {
                let head = self.heads.remove(chunk.connection).unwrap_or_default();
                return Some(if self.is_probe(&head) { Asker::Probe } else { Asker::Client });
            }
            Some(What::Close | What::Exception(_) | What::Dropped) => drop(self.heads.remove(chunk.connection)),
            _ => {}
        }
        None
    }

    fn read(&mut self, connection: &str, bytes: &[u8]) {
        if !self.heads.contains_key(connection) {
            self.heads.insert(connection.to_owned(), Vec::new());
        }
        let Some(head) = self.heads.get_mut(connection).filter(|head| !is_whole(head)) else { return };
        let room = PROBE_HEAD_BYTES_MAX.saturating_sub(head.len());
        head.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn is_probe(&self, head: &[u8]) -> bool {
        let lines = head.split(|&byte| byte == b'\n').skip(1).take_while(|line| !line.trim_ascii().is_empty());
        let mut fields = lines.filter_map(|line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            Some((&line[..colon], line[colon + 1..].trim_ascii()))
        });
        let agent = fields.find(|(name, _)| name.eq_ignore_ascii_case(b"user-agent"));
        agent.is_some_and(|(_, agent)| self.agents.iter().any(|probe| agent.starts_with(probe.as_bytes())))
    }
}

/// Whether a head has its end; what follows is the body.
fn is_whole(head: &[u8]) -> bool {
    head.windows(4).any(|end| end == b"\r\n\r\n")
}

#[cfg(test)]
mod tests {
    use proxy::capture::record::{Index, Observation as Seen, Opening, Version, observe, open, seal};
    use proxy::capture::{ConnectionId, NodeId, Timestamp};

    use super::*;

    /// A chunk of a connection with these observations.
    fn chunk(connection: &str, seen: &[Seen<'_>]) -> Vec<u8> {
        let (connection, node) = (ConnectionId::new(connection).unwrap(), NodeId::random(7));
        let mut bytes = Vec::new();
        let opening = Opening { connection: &connection, node: &node, prior_requests: 0, unterminated_read: false };
        open(Version::V3_3_6, &mut bytes, &opening);
        for seen in seen {
            observe(&mut bytes, Timestamp::new(1, 0), seen);
        }
        seal(&mut bytes, Index::Number(1));
        bytes
    }

    const END: Seen<'static> = Seen::EndOfMessage { first_line: -1, headers: -1 };

    fn read(bytes: &[u8]) -> Seen<'_> {
        Seen::Read([bytes, b""])
    }

    /// Who asked, in these chunks.
    fn askers(agents: &[String], chunks: &[Vec<u8>]) -> Vec<Asker> {
        let mut probes = Probes::new(agents);
        let mut askers = Vec::new();
        for bytes in chunks {
            let chunk = Chunk::decode(bytes).unwrap();
            askers.extend(chunk.observations().filter_map(|seen| probes.see(&chunk, seen.what.as_ref())));
        }
        assert!(probes.heads.is_empty(), "nothing is kept of a request that is over: {probes:?}");
        askers
    }

    /// Proves that a probe is known by its agent, in whatever pieces and records its head came, and that neither a body, another
    /// field nor the next request of its connection is taken for one.
    #[test]
    fn a_probe_is_known_by_its_agent() {
        use Asker::{Client, Probe};

        let probe = b"GET / HTTP/1.1\r\nHost: x\r\nuser-agent:  ELB-HealthChecker/2.0\r\n\r\n";
        let plain = b"GET / HTTP/1.1\r\nHost: x\r\nX-Of: User-Agent: kube-probe\r\nUser-Agent: curl\r\n\r\n";
        let who = |chunks: &[Vec<u8>]| askers(&[], chunks);
        assert_eq!(who(&[chunk("a", &[read(probe), END, read(plain), END])]), [Probe, Client]);
        let (one, two) = probe.split_at(40);
        let others = chunk("b", &[read(plain), END]);
        assert_eq!(who(&[chunk("a", &[read(one)]), others, chunk("a", &[read(two), END])]), [Client, Probe]);
        assert_eq!(who(&[chunk("a", &[Seen::ReadSegment([one, two]), Seen::SegmentEnd, END])]), [Probe]);
        let body = b"POST / HTTP/1.1\r\nHost: x\r\n\r\nUser-Agent: kube-probe\r\n";
        assert_eq!(who(&[chunk("a", &[read(body), END])]), [Client]);
        assert_eq!(who(&[chunk("a", &[read(probe), Seen::Dropped, read(plain), END])]), [Client]);
        assert_eq!(who(&[chunk("a", &[read(probe), Seen::Close])]), []);
        let long = [b"GET / HTTP/1.1\r\nX: ", &[b'x'; PROBE_HEAD_BYTES_MAX][..], &probe[14..]].concat();
        assert_eq!(who(&[chunk("a", &[read(&long), END])]), [Client], "no probe has a head like this");
        let own = ["curl".to_owned()];
        assert_eq!(askers(&own, &[chunk("a", &[read(probe), END, read(plain), END])]), [Client, Probe]);
    }
}
