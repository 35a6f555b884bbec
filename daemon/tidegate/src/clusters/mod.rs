//! The clusters behind the two sides, asked directly by the API that OpenSearch and Elasticsearch share: who they are
//! ([`connection`]), what indices they have ([`indices`]), and whether the documents of both agree ([`compare`]).
//!
//! It asks and changes nothing; `_refresh`, which makes what was written countable, is sent only when a person asks for it.
//! No cutover depends on it but through a gate that calls it, so that a cluster's own load is somebody's choice.

pub mod compare;
pub mod connection;
pub mod indices;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{Method, StatusCode};

use crate::outbound::{Outbound, shown};
use crate::port::in_one_line;
use crate::secret::Secret;

/// How long one answer may take. A refresh of every index of a large cluster takes seconds.
const ANSWER_MAX: Duration = Duration::from_mins(1);

/// The most of an answer that is read: a line of `_cat/indices` is about 150 bytes, so that this is some 400,000 indices.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How much of a refusal is told.
const REFUSAL_CHARS_MAX: usize = 300;

/// One cluster, and how it is asked.
#[derive(Clone)]
pub struct Cluster {
    base: String,
    authorization: Option<Secret>,
    outbound: Outbound,
}

/// Why a cluster did not tell what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// There was no answer, or it was cut short.
    #[error("{0}")]
    NoAnswer(String),
    /// It answered with another status than 200.
    #[error("`{url}` answered {status} to {path}: {text}")]
    Refused {
        /// The cluster, as it may be shown.
        url: String,
        /// What was asked.
        path: String,
        /// The answer.
        status: StatusCode,
        /// The beginning of what it said.
        text: String,
    },
    /// It answered with 200 and something that is not what was asked for.
    #[error("`{url}` answered {path} with what no search cluster says: {why}")]
    Odd {
        /// The cluster, as it may be shown.
        url: String,
        /// What was asked.
        path: String,
        /// What is wrong with it.
        why: String,
    },
}

/// The value of an `Authorization` header for `user:password` (RFC 7617).
pub fn basic(user_and_password: &Secret) -> Secret {
    Secret::new(format!("Basic {}", BASE64.encode(user_and_password.reveal())))
}

impl Cluster {
    /// The cluster at `url`, which may have a path of its own.
    pub fn new(url: &str, authorization: Option<Secret>, outbound: Outbound) -> Self {
        Self { base: url.trim_end_matches('/').to_owned(), authorization, outbound }
    }

    /// Asks for `path`, which begins with a slash.
    ///
    /// # Errors
    /// When there is no answer in time, or one that is not 200.
    pub async fn ask(&self, method: Method, path: &str) -> Result<Bytes, ClusterError> {
        let url = format!("{}{path}", self.base);
        let asked = self.outbound.fetch(method, &url, self.authorization.as_ref(), ANSWER_BYTES_MAX);
        let (status, body) = match tokio::time::timeout(ANSWER_MAX, asked).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(error)) => return Err(ClusterError::NoAnswer(in_one_line(&error))),
            Err(_) => {
                let (shown, seconds) = (shown(&self.base), ANSWER_MAX.as_secs());
                return Err(ClusterError::NoAnswer(format!("`{shown}` did not answer {path} within {seconds} s")));
            }
        };
        if status == StatusCode::OK {
            return Ok(body);
        }
        let text = String::from_utf8_lossy(&body).split_whitespace().collect::<Vec<_>>().join(" ");
        let text = if text.is_empty() { "nothing more".to_owned() } else { text };
        let text = text.chars().take(REFUSAL_CHARS_MAX).collect();
        Err(ClusterError::Refused { url: shown(&self.base), path: path.to_owned(), status, text })
    }

    /// Asks for `path` and reads the answer as JSON.
    ///
    /// # Errors
    /// As [`Cluster::ask`], and when it is not the JSON that is expected.
    pub async fn ask_json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, ClusterError> {
        let body = self.ask(Method::GET, path).await?;
        serde_json::from_slice(&body).map_err(|error| self.odd(path, error.to_string()))
    }

    /// Makes everything that was written countable.
    ///
    /// # Errors
    /// As [`Cluster::ask`].
    pub async fn refresh(&self) -> Result<(), ClusterError> {
        self.ask(Method::POST, "/_refresh").await.map(drop)
    }

    fn odd(&self, path: &str, why: String) -> ClusterError {
        ClusterError::Odd { url: shown(&self.base), path: path.to_owned(), why }
    }
}

/// An index's name as a segment of a path: what is not a letter, digit, `-`, `_` or `.` is encoded by its bytes (RFC 3986).
fn segment(name: &str) -> String {
    let byte = |byte: u8| match byte {
        b'-' | b'_' | b'.' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    name.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves the header against the example of RFC 7617, section 2, and that a name can not leave its segment.
    #[test]
    fn credentials_and_names_are_encoded() {
        assert_eq!(basic(&Secret::new("Aladdin:open sesame")).reveal(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(segment("a+b%/ü?"), "a%2Bb%25%2F%C3%BC%3F");
    }
}
