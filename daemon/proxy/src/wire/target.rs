//! Request targets and authorities (RFC 9112 3.2, RFC 9110 4.2 and 7.2, RFC 3986 3.2).

use super::head::{Method, Part, TargetForm};
use super::refusal::Refusal;

/// The form of a target, which begins `from` bytes into the head.
pub(super) fn form(method: Method, target: &[u8], from: usize) -> Result<TargetForm, Refusal> {
    // Of what a URI may not hold, `"<>\^`{|}` pass: they cannot be taken for anything else, and clients of search
    // engines send them. A fragment, spaces and bytes above ASCII are refused (RFC 9112 3.2: SHOULD answer 400).
    if target.is_empty() || !target.iter().all(|&byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(Refusal::Target);
    }
    if method == Method::Connect {
        // Authority-form, and its port is not optional (RFC 9110 9.3.6).
        let port = authority(target).ok_or(Refusal::Target)?;
        return Err(if port.is_empty() { Refusal::Target } else { Refusal::Connect });
    }
    match target {
        [b'/', ..] => Ok(TargetForm::Origin),
        [b'*'] if method == Method::Options => Ok(TargetForm::Asterisk),
        _ => absolute(target, from),
    }
}

/// Only `http` and `https`: no other scheme can be meant for an HTTP server behind us.
fn absolute(target: &[u8], from: usize) -> Result<TargetForm, Refusal> {
    let rest = ["http://", "https://"]
        .iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes())))
        .map(|scheme| scheme.len())
        .ok_or(Refusal::Target)?;
    let end = target[rest..].iter().position(|byte| matches!(byte, b'/' | b'?')).map_or(target.len(), |at| rest + at);
    // RFC 9110 4.2.1: an empty host must be rejected; 4.2.4: user information is an error.
    authority(&target[rest..end]).ok_or(Refusal::Target)?;
    Ok(TargetForm::Absolute {
        authority: Part::new(from + rest, from + end),
        path: Part::new(from + end, from + target.len()),
    })
}

/// Whether a value of Host is sound: `host[:port]`, or nothing when there is no authority (RFC 9110 7.2).
pub(crate) fn is_host(value: &[u8]) -> bool {
    value.is_empty() || authority(value).is_some()
}

/// The port (which may be empty) of an authority without user information and with a host; `None` when it is none.
fn authority(authority: &[u8]) -> Option<&[u8]> {
    let (host, rest) = if authority.first() == Some(&b'[') {
        let end = authority.iter().position(|&byte| byte == b']')?;
        if !is_ip_literal(&authority[1..end]) {
            return None;
        }
        authority.split_at(end + 1)
    } else {
        let end = authority.iter().position(|&byte| byte == b':').unwrap_or(authority.len());
        let (host, rest) = authority.split_at(end);
        if !is_reg_name(host) {
            return None;
        }
        (host, rest)
    };
    if host.is_empty() {
        return None;
    }
    match rest {
        [] => Some(rest),
        [b':', port @ ..] if port.iter().all(u8::is_ascii_digit) => Some(port),
        _ => None,
    }
}

/// `reg-name` of RFC 3986: unreserved, sub-delims and percent-encoded bytes. IPv4 addresses are among them.
fn is_reg_name(mut name: &[u8]) -> bool {
    while let [first, rest @ ..] = name {
        name = match (first, rest) {
            (b'%', [high, low, rest @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => rest,
            (b'-' | b'.' | b'_' | b'~', _) => rest,
            (b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=', _) => rest,
            (byte, _) if byte.is_ascii_alphanumeric() => rest,
            _ => return false,
        };
    }
    true
}

/// What stands between the brackets: an IPv6 address, or `vN.…` of RFC 3986's `IPvFuture`.
fn is_ip_literal(literal: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(literal) else { return false };
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return true;
    }
    let Some((version, address)) = text.strip_prefix(['v', 'V']).and_then(|rest| rest.split_once('.')) else {
        return false;
    };
    let is_hex = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_address = |byte: u8| byte == b':' || (byte != b'%' && is_reg_name(&[byte]));
    is_hex && !address.is_empty() && address.bytes().all(is_address)
}
