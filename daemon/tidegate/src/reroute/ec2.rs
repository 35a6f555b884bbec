//! What EC2 says of the way between two load balancers: which security groups let what in.
//!
//! EC2's own SDK would be the largest crate of all, for two questions. They are asked by hand: the query protocol, signed
//! as [`crate::aws::sign`] does.

use std::net::Ipv4Addr;

use aws_sdk_elasticloadbalancingv2::config::Credentials;
use bytes::Bytes;
use cutover::Timestamp;
use http::{Request, Uri};
use http_body_util::Full;
use serde_json::Value;

use super::check::Answered;
use super::knock::Knock;
use crate::aws::sign::{Signer, encoded};
use crate::aws::xml;

/// EC2 as it is reached.
#[derive(Clone, Debug)]
pub(super) struct Ec2 {
    /// Where it is, if not at AWS's own name for it.
    pub(super) endpoint: Option<String>,
    /// The region.
    pub(super) region: String,
}

/// Why a question was not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unanswered(pub(super) String);

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

impl Ec2 {
    fn url(&self) -> String {
        let china = if self.region.starts_with("cn-") { ".cn" } else { "" };
        self.endpoint.clone().unwrap_or_else(|| format!("https://ec2.{}.amazonaws.com{china}", self.region))
    }

    /// Asks once.
    pub(super) async fn ask(
        &self,
        knock: &Knock,
        keys: &Credentials,
        now: Timestamp,
        operation: &str,
        parameters: &[(String, String)],
    ) -> Result<Value, Unanswered> {
        let lost = |why: String| Unanswered(format!("{operation}: {why}"));
        let uri: Uri = self.url().parse().map_err(|_| lost(format!("`{}` is no URL", self.url())))?;
        let host = uri.host().unwrap_or_default().to_owned();
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let pairs =
            [("Action", operation), ("Version", "2016-11-15")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let body: Vec<String> = pairs
            .iter()
            .chain(parameters)
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
            .collect();
        let request = self.signed(&authority, &body.join("&"), keys, now);
        let request = request.ok_or_else(|| lost("the request cannot be made".to_owned()))?;
        let reply = knock.ask(&host, port, secure.then_some(host.as_str()), request).await;
        let reply = reply.map_err(|shut| lost(shut.to_string()))?;
        // Lists of EC2 are `item` where those of the others are `member`.
        let text = reply.text.replace("<item>", "<member>").replace("</item>", "</member>").replace("<item/>", "");
        let told = xml::read(&text).map_err(|error| lost(error.to_string()))?;
        if !reply.status.is_success() {
            let code = told.pointer("/Response/Errors/Error/Code").and_then(Value::as_str).unwrap_or("no code");
            return Err(lost(code.to_owned()));
        }
        told.get(format!("{operation}Response")).cloned().ok_or_else(|| lost("an answer to something else".to_owned()))
    }

    fn signed(&self, authority: &str, body: &str, keys: &Credentials, now: Timestamp) -> Option<Request<Full<Bytes>>> {
        let signer = Signer { keys, region: &self.region, service: "ec2", now };
        let mut request = Request::post("/").header("connection", "close");
        for (name, value) in signer.fields(authority, &[("content-type", FORM)], body)? {
            request = request.header(name, value);
        }
        request.body(Full::from(body.to_owned())).ok()
    }
}

/// Whether an address lies in a range such as `10.0.0.0/16`.
fn lies_in(address: Ipv4Addr, range: &str) -> bool {
    let Some((base, bits)) = range.split_once('/') else { return false };
    let (Ok(base), Ok(bits @ 0..=32)) = (base.parse::<Ipv4Addr>(), bits.parse::<u32>()) else { return false };
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    u32::from(address) & mask == u32::from(base) & mask
}

/// A number of AWS, as text or as itself.
fn number(value: Option<&Value>) -> Option<i64> {
    match value? {
        Value::String(text) => text.parse().ok(),
        other => other.as_i64(),
    }
}

/// The entries of a list.
fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

/// Whether `groups` (an answer of `DescribeSecurityGroups`) let TCP in on `port` from members of `members` or from every
/// one of `addresses`.
pub(super) fn lets_in(groups: &Value, port: u16, members: &[String], addresses: &[Ipv4Addr]) -> Answered {
    let mut open_to: Vec<String> = Vec::new();
    let port = i64::from(port);
    for rule in list(groups, "securityGroupInfo").flat_map(|group| list(group, "ipPermissions")) {
        let protocol = rule.get("ipProtocol").and_then(Value::as_str).unwrap_or_default();
        let every = protocol == "-1";
        let covers = number(rule.get("fromPort"))
            .zip(number(rule.get("toPort")))
            .is_some_and(|(from, to)| matches!(protocol, "tcp" | "6") && (from..=to).contains(&port));
        if !every && !covers {
            continue;
        }
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        open_to.extend(list(rule, "ipRanges").map(|range| text(range, "cidrIp")));
        open_to.extend(list(rule, "groups").map(|group| text(group, "groupId")));
    }
    let all = open_to.join(", ");
    if open_to.is_empty() {
        return Answered::No(format!("port {port} is open to nobody"));
    }
    let by_group = open_to.iter().any(|one| members.contains(one));
    let by_address =
        !addresses.is_empty() && addresses.iter().all(|address| open_to.iter().any(|range| lies_in(*address, range)));
    if by_group || by_address || addresses.is_empty() && members.is_empty() {
        Answered::Yes(format!("port {port} is open to {all}, by EC2's description"))
    } else {
        let nodes: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        Answered::No(format!("port {port} is open to {all}, and not to the NLB's {}", nodes.join(", ")))
    }
}

/// The private addresses in an answer of `DescribeNetworkInterfaces`.
pub(super) fn addresses(interfaces: &Value) -> Vec<Ipv4Addr> {
    let address = |one: &Value| one.get("privateIpAddress")?.as_str()?.parse().ok();
    list(interfaces, "networkInterfaceSet").filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Proves who is let in: by range, by group, by a rule for everything; and who is not.
    #[test]
    fn a_rule_lets_in_whom_it_names() {
        let groups = |protocol: &str, ports: [i32; 2], range: &str, member: &str| {
            json!({"securityGroupInfo": [{"ipPermissions": [{
                "ipProtocol": protocol, "fromPort": ports[0].to_string(), "toPort": ports[1].to_string(),
                "ipRanges": [{"cidrIp": range}], "groups": [{"groupId": member}],
            }]}]})
        };
        let nodes = [Ipv4Addr::new(10, 0, 1, 20), Ipv4Addr::new(10, 0, 2, 20)];
        let asked = |groups: &Value| lets_in(groups, 443, &["sg-nlb".to_owned()], &nodes);
        assert!(matches!(asked(&groups("tcp", [443, 443], "10.0.0.0/16", "sg-x")), Answered::Yes(_)));
        assert!(matches!(asked(&groups("tcp", [443, 443], "192.168.0.0/24", "sg-nlb")), Answered::Yes(_)));
        assert!(matches!(asked(&groups("-1", [0, 0], "0.0.0.0/0", "sg-x")), Answered::Yes(_)));
        assert!(matches!(asked(&groups("tcp", [9200, 9202], "10.0.0.0/16", "sg-nlb")), Answered::No(_)));
        assert!(matches!(asked(&groups("tcp", [443, 443], "10.0.1.0/24", "sg-x")), Answered::No(_)));
        assert!(matches!(asked(&groups("udp", [443, 443], "10.0.0.0/16", "sg-nlb")), Answered::No(_)));
    }
}
