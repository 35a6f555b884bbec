//! Fields by name: which ones frame a message, and which ones belong to one hop.

use super::head::Field;
use super::refusal::Refusal;

/// Whether a byte may stand in a token (RFC 9110 5.6.2).
pub const fn is_token_byte(byte: u8) -> bool {
    const TOKEN: [bool; 256] = {
        let mut token = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            token[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let marks = b"!#$%&'*+-.^_`|~";
        let mut at = 0;
        while at < marks.len() {
            token[marks[at] as usize] = true;
            at += 1;
        }
        token
    };
    TOKEN[byte as usize]
}

/// Whether it is a token: not empty, and of token bytes alone.
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

/// The fields that framing and forwarding look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Connection,
    ContentLength,
    Expect,
    Host,
    Http2Settings,
    KeepAlive,
    MaxForwards,
    ProxyConnection,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    UserAgent,
}

impl Known {
    /// By its name, which is a token, in any case.
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        // The first letter tells most others of the same length apart; `| 0x20` makes it small.
        let (spelled, known): (&[u8], Self) = match (name.len(), name.first()? | 0x20) {
            (2, b't') => (b"te", Self::Te),
            (4, b'h') => (b"host", Self::Host),
            (6, b'e') => (b"expect", Self::Expect),
            (7, b't') => (b"trailer", Self::Trailer),
            (7, b'u') => (b"upgrade", Self::Upgrade),
            (10, b'c') => (b"connection", Self::Connection),
            (10, b'k') => (b"keep-alive", Self::KeepAlive),
            (10, b'u') => (b"user-agent", Self::UserAgent),
            (12, b'm') => (b"max-forwards", Self::MaxForwards),
            (14, b'c') => (b"content-length", Self::ContentLength),
            (14, b'h') => (b"http2-settings", Self::Http2Settings),
            (16, b'p') => (b"proxy-connection", Self::ProxyConnection),
            (17, b't') => (b"transfer-encoding", Self::TransferEncoding),
            _ => return None,
        };
        is_spelled(name, spelled).then_some(known)
    }

    /// Whether it is about this connection alone, so that it is not sent on (RFC 9110 7.6.1, RFC 9112 3.3 and C.2.2).
    /// Transfer-Encoding is such a field too, but the chunks are sent on as they came, so what says so is as well.
    pub(super) fn hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection | Self::KeepAlive | Self::ProxyConnection | Self::Te | Self::Upgrade | Self::Http2Settings
        )
    }

    /// Whether a trailer of that name would change how the message is framed or routed (RFC 9110 6.5.1). Others that a
    /// sender must not put there are merely never merged into the head by anyone here.
    pub(super) fn forbidden_trailer(self) -> bool {
        self.hop_by_hop() || matches!(self, Self::ContentLength | Self::TransferEncoding | Self::Host | Self::Trailer)
    }
}

/// Whether a token is, in any case, what is `spelled` in small letters, digits and hyphens, and as long. Setting the bit
/// that makes letters small turns no other byte of a token into one of these, so eight can be compared together.
fn is_spelled(token: &[u8], spelled: &[u8]) -> bool {
    const SMALL: u64 = 0x2020_2020_2020_2020;
    let same = |token: &[u8; 8], spelled: &[u8; 8]| u64::from_le_bytes(*token) | SMALL == u64::from_le_bytes(*spelled);
    match (token.first_chunk(), spelled.first_chunk(), token.last_chunk(), spelled.last_chunk()) {
        // The chunks overlap, and between them are all bytes of up to sixteen.
        (Some(first), Some(begins), Some(last), Some(ends)) => {
            same(first, begins)
                && same(last, ends)
                && (token.len() <= 16 || token[8..].eq_ignore_ascii_case(&spelled[8..]))
        }
        _ => token.iter().zip(spelled).all(|(byte, spelled)| byte | 0x20 == *spelled),
    }
}

/// Fields that a Connection header cannot take away: whoever lists one of them is wrong (RFC 9110 7.6.1), or wants the
/// upstream to miss what the message says about itself or about who asks. Fields that begin with `content-` are among them.
const END_TO_END: [&str; 16] = [
    "accept",
    "authorization",
    "cache-control",
    "cookie",
    "date",
    "etag",
    "expect",
    "forwarded",
    "host",
    "location",
    "max-forwards",
    "range",
    "set-cookie",
    "trailer",
    "transfer-encoding",
    "www-authenticate",
];

/// Whether a field goes on although Connection lists it.
pub fn is_end_to_end(name: &[u8]) -> bool {
    name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"content-"))
        || name.get(..12).is_some_and(|start| start.eq_ignore_ascii_case(b"x-forwarded-"))
        || END_TO_END.iter().any(|field| name.eq_ignore_ascii_case(field.as_bytes()))
}

/// The elements of a comma-separated list, without white space; empty ones are left out (RFC 9110 5.6.1.2). Made for lists
/// of tokens: a comma in a quoted string ends an element too.
pub fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// What the Connection fields of a head say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ConnectionSays {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
}

/// Reads the Connection fields, and notes in `dropped` the places of all fields that are not sent on.
pub(super) fn hops(
    head: &[u8],
    fields: &[Field],
    options_max: usize,
    dropped: &mut Vec<u16>,
) -> Result<ConnectionSays, Refusal> {
    dropped.clear();
    let mut says = ConnectionSays::default();
    let mut options = 0;
    let mut listed = false;
    for (place, field) in fields.iter().enumerate() {
        if field.known.is_some_and(Known::hop_by_hop) {
            dropped.push(place as u16);
        }
        if field.known != Some(Known::Connection) {
            continue;
        }
        for option in elements(field.value.of(head)) {
            options += 1;
            if options > options_max {
                return Err(Refusal::TooManyFields);
            }
            if option.eq_ignore_ascii_case(b"close") {
                says.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                says.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                says.upgrade = true;
            } else if !is_end_to_end(option) {
                listed = true;
                for (place, other) in fields.iter().enumerate() {
                    if other.name.of(head).eq_ignore_ascii_case(option) {
                        dropped.push(place as u16);
                    }
                }
            }
        }
    }
    if listed {
        dropped.sort_unstable();
        dropped.dedup();
    }
    Ok(says)
}

/// What Content-Length and Transfer-Encoding say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Neither is there.
    Unsaid,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// Reads Content-Length and Transfer-Encoding of one head, by RFC 9112 6.1 to 6.3.
///
/// Where the RFC leaves it to the recipient, the message is refused: equal Content-Lengths (9110 8.6), both fields
/// together (9112 6.1). A second reader behind us, who merges or prefers otherwise, is what smuggling lives on.
pub(super) fn framing(head: &[u8], fields: &[Field], http10: bool) -> Result<Framing, Refusal> {
    let mut length = None;
    let mut encoded = false;
    let (mut chunked, mut unknown) = (false, false);
    for field in fields {
        match field.known {
            Some(Known::ContentLength) => {
                let value = field.value.of(head);
                if length.is_some() || value.contains(&b',') {
                    return Err(Refusal::LengthDuplicate);
                }
                length = Some(decimal(value).ok_or(Refusal::Length)?);
            }
            Some(Known::TransferEncoding) => {
                encoded = true;
                for coding in elements(field.value.of(head)) {
                    if chunked {
                        // Nothing may come after `chunked`, not even itself.
                        return Err(Refusal::Encoding);
                    }
                    if coding.eq_ignore_ascii_case(b"chunked") {
                        chunked = true;
                    } else {
                        unknown = true;
                    }
                }
            }
            _ => {}
        }
    }
    match (length, encoded) {
        (None, false) => Ok(Framing::Unsaid),
        (Some(length), false) => Ok(Framing::Length(length)),
        (Some(_), true) => Err(Refusal::LengthAndEncoding),
        (None, true) if http10 => Err(Refusal::EncodingInHttp10),
        (None, true) if !chunked => Err(Refusal::Encoding),
        (None, true) if unknown => Err(Refusal::EncodingUnknown),
        (None, true) => Ok(Framing::Chunked),
    }
}

/// A number of decimal digits alone; `None` when it is none, or greater than a `u64`.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, &digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that names are known in any case, and that no other token is taken for one of them: each byte of each name
    /// is replaced by every byte that a token may have.
    #[test]
    fn known_names_are_known_in_any_case_and_no_others() {
        let names = [
            "te",
            "host",
            "expect",
            "trailer",
            "upgrade",
            "connection",
            "keep-alive",
            "user-agent",
            "max-forwards",
            "content-length",
            "http2-settings",
            "proxy-connection",
            "transfer-encoding",
        ];
        let plainly = |name: &[u8]| names.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        for name in names {
            assert!(Known::of(name.to_uppercase().as_bytes()).is_some(), "{name}");
            for place in 0..name.len() {
                for byte in (0..=u8::MAX).filter(|&byte| is_token_byte(byte)) {
                    let mut other = name.as_bytes().to_vec();
                    other[place] = byte;
                    assert_eq!(Known::of(&other).is_some(), plainly(&other), "{}", other.escape_ascii());
                }
            }
        }
    }
}
