//! Which rule a request meets, and which target group a forward action picks: pure, so that every corner has a test.
//!
//! Rules are tried in order of priority and the default rule last (ELB guide, "Listener rules"). A request without a cookie
//! of a target group is sent by weight, each by itself; whether an open connection keeps its group and whether a cookie
//! beats weight 0 is not documented, so both are arguments here.

use std::net::IpAddr;

use http::{HeaderMap, Method, header};

use crate::model::action::{Forward, What};
use crate::model::{Action, Condition, Listener};

/// The rules of a listener as a node has them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Routes {
    /// The numbered rules, lowest first.
    rules: Vec<(Vec<Condition>, Vec<Action>)>,
    default: Vec<Action>,
}

/// What rules look at.
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) client: IpAddr,
}

impl Routes {
    /// The rules as they are in the account.
    pub(super) fn of(listener: &Listener) -> Self {
        let rules = listener.rules.iter().map(|rule| (rule.conditions.clone(), rule.actions.clone())).collect();
        Self { rules, default: listener.default_actions.clone() }
    }

    /// What the first rule that fits ends with; actions that log a client in let everyone pass here.
    pub(super) fn of_request(&self, asked: &Asked<'_>) -> Option<&What> {
        let rule = self.rules.iter().find(|(conditions, _)| conditions.iter().all(|condition| asked.meets(condition)));
        let actions = rule.map_or(&self.default, |(_, actions)| actions);
        actions.iter().map(|action| &action.what).find(|what| what.routes())
    }

    /// What the default rule ends with: all that a network load balancer has.
    pub(super) fn of_connection(&self) -> Option<&What> {
        self.default.iter().map(|action| &action.what).find(|what| what.routes())
    }
}

impl Asked<'_> {
    fn meets(&self, condition: &Condition) -> bool {
        let field = |name: &str| self.headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        match condition {
            Condition::Host(patterns) => {
                let host = field(header::HOST.as_str()).next().unwrap_or_default();
                let name = host.rsplit_once(':').map_or(host, |(name, _)| name).to_ascii_lowercase();
                patterns.iter().any(|pattern| fits(pattern.to_ascii_lowercase().as_bytes(), name.as_bytes()))
            }
            Condition::Path(patterns) => patterns.iter().any(|pattern| fits(pattern.as_bytes(), self.path.as_bytes())),
            Condition::Header(name, patterns) => field(name).any(|value| {
                let value = value.to_ascii_lowercase();
                patterns.iter().any(|pattern| fits(pattern.to_ascii_lowercase().as_bytes(), value.as_bytes()))
            }),
            Condition::Method(methods) => methods.iter().any(|method| method == self.method.as_str()),
            Condition::Query(pairs) => self.query.split('&').any(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                let (key, value) = (key.to_ascii_lowercase(), value.to_ascii_lowercase());
                let fit = |pattern: &String, text: &str| fits(pattern.to_ascii_lowercase().as_bytes(), text.as_bytes());
                pairs.iter().any(|(wanted, pattern)| {
                    wanted.as_ref().is_none_or(|wanted| fit(wanted, &key)) && fit(pattern, &value)
                })
            }),
            Condition::SourceIp(ranges) => ranges.iter().any(|range| in_range(range, self.client)),
        }
    }
}

/// Whether a pattern with `*` (any number of characters) and `?` (one) is all of `text`.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&wanted) if wanted == b'?' || wanted == text[t] => (p, t) = (p + 1, t + 1),
            _ => {
                // Nothing else fits: the last star takes one more character, if there is one.
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                (p, t) = (at + 1, from + 1);
            }
        }
    }
    pattern[p..].iter().all(|rest| *rest == b'*')
}

/// Whether an address is in a range in CIDR form; a range of the other family holds nothing.
fn in_range(range: &str, address: IpAddr) -> bool {
    let Some((network, bits)) = range.split_once('/') else { return range.parse() == Ok(address) };
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V6(network), IpAddr::V6(address)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        _ => false,
    }
}

/// What a client or its connection holds on to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held<'a> {
    /// The group in a valid cookie.
    pub(super) by_cookie: Option<&'a str>,
    /// Whether such a group is kept at weight 0 as well.
    pub(super) cookie_beats_zero: bool,
    /// The group that the connection began with, where connections are pinned.
    pub(super) by_connection: Option<&'a str>,
}

/// The target group of a forward action. `None` if all weights are 0. `roll` is at least 0 and below 1.
pub(super) fn pick<'a>(forward: &'a Forward, held: Held<'_>, roll: f64) -> Option<&'a str> {
    let named = |arn: &str| forward.groups.iter().find(|group| group.arn == arn);
    if let Some(group) = held.by_cookie.and_then(named).filter(|group| group.weight > 0 || held.cookie_beats_zero) {
        return Some(&group.arn);
    }
    if let Some(group) = held.by_connection.and_then(named) {
        return Some(&group.arn);
    }
    let total: u64 = forward.groups.iter().map(|group| u64::from(group.weight)).sum();
    let mut at = (roll * total as f64) as u64;
    forward.groups.iter().find_map(|group| {
        let weight = u64::from(group.weight);
        let here = at < weight;
        at = at.saturating_sub(weight);
        here.then_some(group.arn.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::action::{Stickiness, Weighted};

    fn forward(groups: &[(&str, u32)]) -> Forward {
        let groups = groups.iter().map(|&(arn, weight)| Weighted { arn: arn.to_owned(), weight }).collect();
        Forward { groups, stickiness: Stickiness::default() }
    }

    /// Proves that patterns are whole, with stars and question marks.
    #[test]
    fn patterns_fit_whole_texts() {
        for (pattern, text, expected) in [
            ("/a", "/a", true),
            ("/a", "/ab", false),
            ("/a*", "/ab/c", true),
            ("*.example.?om", "x.y.example.com", true),
            ("/img/*/x*z", "/img/a/b/xxyz", true),
            ("/img/*/x*z", "/img/a/b/xxy", false),
            ("*", "", true),
            ("?", "", false),
            ("**", "abc", true),
        ] {
            assert_eq!(fits(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    /// Proves each condition on a request that meets it and on one that does not.
    #[test]
    fn conditions_look_at_their_own_part() {
        let mut headers = HeaderMap::new();
        headers.insert("host", "API.example.com:443".parse().unwrap());
        headers.insert("x-canary", "Yes".parse().unwrap());
        let asked = Asked {
            method: &Method::GET,
            path: "/_search",
            query: "q=Rust&pretty",
            headers: &headers,
            client: "127.0.0.9".parse().unwrap(),
        };
        let list = |values: &[&str]| values.iter().map(|&value| value.to_owned()).collect::<Vec<_>>();
        for (condition, expected) in [
            (Condition::Host(list(&["api.*"])), true),
            (Condition::Host(list(&["www.*"])), false),
            (Condition::Path(list(&["/x", "/_s*"])), true),
            (Condition::Path(list(&["/_SEARCH"])), false),
            (Condition::Header("X-Canary".into(), list(&["yes"])), true),
            (Condition::Header("X-Other".into(), list(&["*"])), false),
            (Condition::Method(list(&["GET"])), true),
            (Condition::Method(list(&["POST"])), false),
            (Condition::Query(vec![(Some("q".into()), "rust".into())]), true),
            (Condition::Query(vec![(None, "go".into())]), false),
            (Condition::SourceIp(list(&["10.0.0.0/8", "127.0.0.0/24"])), true),
            (Condition::SourceIp(list(&["127.0.0.8/32", "::1/128"])), false),
            (Condition::SourceIp(list(&["0.0.0.0/0"])), true),
        ] {
            assert_eq!(asked.meets(&condition), expected, "{condition:?}");
        }
    }

    /// Proves that weights are shares of the roll, and that weight 0 gets nothing.
    #[test]
    fn weights_divide_the_roll() {
        let action = forward(&[("s", 999), ("t", 1), ("x", 0)]);
        assert_eq!(pick(&action, Held::default(), 0.0), Some("s"));
        assert_eq!(pick(&action, Held::default(), 0.998_999), Some("s"));
        assert_eq!(pick(&action, Held::default(), 0.999_1), Some("t"));
        assert_eq!(pick(&action, Held::default(), 0.999_999_999), Some("t"));
        assert_eq!(pick(&forward(&[("s", 0), ("t", 1)]), Held::default(), 0.0), Some("t"));
        assert_eq!(pick(&forward(&[("s", 0), ("t", 0)]), Held::default(), 0.5), None);
    }

    /// Proves that a cookie comes before the connection and the connection before the weights, that a cookie at weight 0
    /// obeys its switch, and that a group which the action no longer names holds nobody.
    #[test]
    fn what_is_held_comes_before_the_weights() {
        let action = forward(&[("s", 0), ("t", 1)]);
        let held = |by_cookie, cookie_beats_zero, by_connection| Held { by_cookie, cookie_beats_zero, by_connection };
        assert_eq!(pick(&action, held(Some("s"), true, Some("t")), 0.5), Some("s"));
        assert_eq!(pick(&action, held(Some("s"), false, None), 0.5), Some("t"));
        assert_eq!(pick(&action, held(None, true, Some("s")), 0.5), Some("s"));
        assert_eq!(pick(&action, held(Some("gone"), true, Some("gone")), 0.5), Some("t"));
    }
}
