//! The cookies that an ALB sets and obeys: `AWSALBTG` names a target group, `AWSALB` a target, each with a twin for
//! cross-origin requests.
//!
//! AWS encrypts their content; here it is only made hard to mistake for anything else, with the time at which it ends
//! inside, since that is lab time and a client's own clock is not. Each answer renews them, as the guide says of the
//! target's cookie ("the load balancer generates a new cookie … resets the expiry").

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header};

use crate::clock::Time;

/// The cookie that names a target group.
pub(super) const GROUP: &str = "AWSALBTG";
/// The cookie that names a target of its group.
pub(super) const TARGET: &str = "AWSALB";

/// The value of a cookie that names `what` until `until`.
fn value(what: &str, until: Time) -> String {
    URL_SAFE_NO_PAD.encode(format!("lab1 {} {what}", until.0))
}

/// Sets a cookie and its twin for `lasting`.
pub(super) fn set(headers: &mut HeaderMap, name: &str, what: &str, now: Time, lasting: Duration) {
    let until = now + lasting;
    let (value, expires) = (value(what, until), until.http_date());
    for (suffix, more) in [("", ""), ("CORS", "; SameSite=None; Secure")] {
        let line = format!("{name}{suffix}={value}; Expires={expires}; Path=/{more}");
        if let Ok(line) = HeaderValue::from_str(&line) {
            headers.append(header::SET_COOKIE, line);
        }
    }
}

/// What a request's cookie of that name, or its twin, still names at `now`.
pub(super) fn named(headers: &HeaderMap, name: &str, now: Time) -> Option<String> {
    let twin = format!("{name}CORS");
    let fields = headers.get_all(header::COOKIE).into_iter().filter_map(|field| field.to_str().ok());
    let pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(key, _)| *key == name || *key == twin).find_map(|(_, value)| {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(value).ok()?).ok()?;
        let (until, what) = text.strip_prefix("lab1 ")?.split_once(' ')?;
        (now < Time(until.parse().ok()?)).then(|| what.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that a cookie comes back as what it names until its time is over, by either twin, and that nonsense names
    /// nothing.
    #[test]
    fn cookies_name_what_they_were_set_for_until_they_end() {
        let mut answer = HeaderMap::new();
        set(&mut answer, GROUP, "arn:group", Time(1000), Duration::from_secs(10));
        let lines: Vec<_> = answer.get_all("set-cookie").iter().map(|line| line.to_str().unwrap().to_owned()).collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[1].starts_with("AWSALBTGCORS=") && lines[1].ends_with("SameSite=None; Secure"), "{lines:?}");
        for line in &lines {
            let mut request = HeaderMap::new();
            let pair = line.split(';').next().unwrap();
            request.insert("cookie", format!("a=b; {pair}; c=d").parse().unwrap());
            assert_eq!(named(&request, GROUP, Time(10_999)).as_deref(), Some("arn:group"));
            assert_eq!(named(&request, GROUP, Time(11_000)), None);
            assert_eq!(named(&request, TARGET, Time(1000)), None);
        }
        let mut request = HeaderMap::new();
        request.insert("cookie", "AWSALBTG=nonsense".parse().unwrap());
        assert_eq!(named(&request, GROUP, Time(0)), None);
    }
}
