//! Signed JSON to a URL, by the rules of Standard Webhooks (<https://www.standardwebhooks.com>): what alerts and gates
//! send; and plain questions: those of preflight, and those to Prometheus. It sends once; who calls decides on trying again
//! and gives the deadline.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use cutover::Timestamp;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::ServerName;
use sha2::Sha256;

use crate::port::{BoxError, in_one_line};
use crate::secret::{self, Secret, SecretError};

/// The most of an answer that is read; it is shown to a person, not parsed.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Sends signed JSON. Clones share connections.
#[derive(Clone)]
pub struct Outbound {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// What is asked for in place of the URL's host, where that is told apart.
    host: Option<HeaderValue>,
}

/// What a receiver answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Its status.
    pub status: StatusCode,
    /// The beginning of its body, as text.
    pub text: String,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The secret could not be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The URL, or what was made of it, is no request.
    #[error("cannot ask `{url}`: {why}")]
    Url {
        /// The URL as it may be shown.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// An answer that is longer than any that is asked for, or cut short.
    #[error("cannot read the answer of `{url}`: {why}")]
    Torn {
        /// The URL as it may be shown.
        url: String,
        /// What went wrong.
        why: String,
    },
    /// Who answers shows no certificate that is trusted here, or does not take ours.
    #[error("cannot speak TLS with `{url}`: {why}")]
    Tls {
        /// The URL as it may be shown.
        url: String,
        /// What went wrong.
        why: String,
    },
    /// No answer.
    #[error("cannot reach `{url}`: {why}")]
    NoAnswer {
        /// The URL as it may be shown.
        url: String,
        /// What went wrong.
        why: String,
    },
}

/// A URL as logs, journal and alerts may have it: without path, query and credentials, which are the secret of many a
/// webhook.
pub fn shown(url: &str) -> String {
    let parts = url.parse::<http::Uri>().ok().and_then(|uri| {
        let port = uri.port_u16().map_or_else(String::new, |port| format!(":{port}"));
        Some(format!("{}://{}{port}/…", uri.scheme_str()?, uri.host()?))
    });
    parts.unwrap_or_else(|| "a URL that is none".to_owned())
}

/// Whether a URL can be asked that somebody wrote on a command line.
///
/// # Errors
/// What to write instead, without the URL: another scheme than HTTP's, no host, or a password, which others on the machine
/// would see.
pub fn check_url(url: &str) -> Result<(), &'static str> {
    let usage = "write `http://HOST:PORT` or `https://HOST:PORT`";
    let uri: http::Uri = url.parse().map_err(|_| usage)?;
    let authority = uri.authority().filter(|authority| !authority.host().is_empty()).ok_or(usage)?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(usage);
    }
    if authority.as_str().contains('@') {
        return Err("a password does not belong into a URL, which others can see: name where it is by a flag");
    }
    Ok(())
}

impl Outbound {
    /// Trusts the authorities of the Mozilla programme, which are compiled in.
    ///
    /// # Errors
    /// When the TLS provider offers no protocol version, which is a fault of the build.
    pub fn new() -> Result<Self, BoxError> {
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector), host: None })
    }

    /// Trusts what `tls` trusts, and shows the certificate that is in it, if any.
    pub fn by(tls: rustls::ClientConfig) -> Self {
        let connector =
            hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        Self { client: Client::builder(TokioExecutor::new()).build(connector), host: None }
    }

    /// As [`Outbound::by`]; what is gone to is asked for `name`, which its certificate must be good for, whatever the URL says:
    /// a load balancer's test listener has an address of its own and the certificate that clients know.
    ///
    /// # Errors
    /// When `name` is none of a host.
    pub fn naming(tls: rustls::ClientConfig, name: &str) -> Result<Self, BoxError> {
        let said = |why: String| format!("`{name}` is no name of a host: {why}");
        let host = HeaderValue::from_str(name).map_err(|error| said(error.to_string()))?;
        let name = ServerName::try_from(name.to_owned()).map_err(|error| said(error.to_string()))?;
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .with_server_name_resolver(FixedServerNameResolver::new(name))
            .enable_http1()
            .build();
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector), host: Some(host) })
    }

    /// Asks `url` a question that is long, or has a long answer, and reads that whole: `form` is posted as a form.
    ///
    /// # Errors
    /// When there is no answer, or it is longer than `bytes_max`; an answer with any status is not an error.
    pub async fn ask(
        &self,
        url: &str,
        authorization: Option<&Secret>,
        form: &[(&str, &str)],
        bytes_max: usize,
    ) -> Result<(StatusCode, Bytes), OutboundError> {
        let wrong = |why: String| OutboundError::Url { url: shown(url), why };
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")));
        if let Some(secret) = authorization {
            request = request.header(header::AUTHORIZATION, secret.reveal());
        }
        let request = request.body(Full::new(Bytes::from(encoded(form)))).map_err(|error| wrong(error.to_string()))?;
        self.whole(url, request, bytes_max).await
    }

    /// Asks `url` by `method`, without a body, for an answer that is read whole.
    ///
    /// # Errors
    /// When there is no answer, or it is longer than `bytes_max`; an answer with any status is not an error.
    pub async fn fetch(
        &self,
        method: Method,
        url: &str,
        authorization: Option<&Secret>,
        bytes_max: usize,
    ) -> Result<(StatusCode, Bytes), OutboundError> {
        let wrong = |why: String| OutboundError::Url { url: shown(url), why };
        let mut request = Request::builder()
            .method(method)
            .uri(url)
            .header(header::USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")));
        if let Some(secret) = authorization {
            request = request.header(header::AUTHORIZATION, secret.reveal());
        }
        if let Some(host) = &self.host {
            request = request.header(header::HOST, host);
        }
        self.whole(url, request.body(Full::default()).map_err(|error| wrong(error.to_string()))?, bytes_max).await
    }

    /// Sends a request and reads the answer whole.
    async fn whole(
        &self,
        url: &str,
        request: Request<Full<Bytes>>,
        bytes_max: usize,
    ) -> Result<(StatusCode, Bytes), OutboundError> {
        let lost = |error: hyper_util::client::legacy::Error| {
            let (url, why) = (shown(url), in_one_line(&error));
            if is_of_tls(&error) { OutboundError::Tls { url, why } } else { OutboundError::NoAnswer { url, why } }
        };
        let answer = self.client.request(request).await.map_err(lost)?;
        let status = answer.status();
        let torn = |why: String| OutboundError::Torn { url: shown(url), why };
        let body = Limited::new(answer.into_body(), bytes_max).collect().await;
        Ok((status, body.map_err(|error| torn(error.to_string()))?.to_bytes()))
    }

    /// Gets `url` with `mark` as its `X-Opaque-Id`, which search engines pass over and show in their logs.
    ///
    /// # Errors
    /// When there is no answer; an answer with any status is not an error.
    pub async fn marked(
        &self,
        url: &str,
        authorization: Option<&Secret>,
        mark: &str,
    ) -> Result<Answered, OutboundError> {
        let wrong = |why: String| OutboundError::Url { url: shown(url), why };
        let mut request = Request::builder()
            .uri(url)
            .header(header::USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .header("x-opaque-id", mark);
        if let Some(secret) = authorization {
            request = request.header(header::AUTHORIZATION, secret.reveal());
        }
        let request = request.body(Full::default()).map_err(|error| wrong(error.to_string()))?;
        self.exchange(url, request).await
    }

    /// Posts `body` to `url` as message `id`, signed with what `secret` refers to, if anything.
    ///
    /// # Errors
    /// When there is no answer; an answer with any status is not an error.
    pub async fn post(
        &self,
        url: &str,
        secret: Option<&str>,
        id: &str,
        now: Timestamp,
        body: &serde_json::Value,
    ) -> Result<Answered, OutboundError> {
        let wrong = |why: String| OutboundError::Url { url: shown(url), why };
        let body = body.to_string();
        let seconds = now.0.div_euclid(1000);
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds);
        if let Some(reference) = secret {
            request = request.header("webhook-signature", sign(&secret::read(reference)?, id, seconds, &body));
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| wrong(error.to_string()))?;
        self.exchange(url, request).await
    }

    /// Sends a request that somebody else has made and signed; its status, header and body.
    ///
    /// # Errors
    /// When there is no answer, or it is longer than `bytes_max`; an answer with any status is not an error.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        bytes_max: usize,
    ) -> Result<http::Response<Bytes>, OutboundError> {
        let url = shown(&request.uri().to_string());
        let lost = |why: String| OutboundError::NoAnswer { url: url.clone(), why };
        let (head, body) = self.client.request(request).await.map_err(|error| lost(in_one_line(&error)))?.into_parts();
        let torn = |why: String| OutboundError::Torn { url: url.clone(), why };
        let body = Limited::new(body, bytes_max).collect().await.map_err(|error| torn(error.to_string()))?;
        Ok(http::Response::from_parts(head, body.to_bytes()))
    }

    async fn exchange(&self, url: &str, request: Request<Full<Bytes>>) -> Result<Answered, OutboundError> {
        let lost = |why: String| OutboundError::NoAnswer { url: shown(url), why };
        let answer = self.client.request(request).await.map_err(|error| lost(in_one_line(&error)))?;
        let status = answer.status();
        // What cannot be read of the body is left out: the status alone says what the receiver did.
        let text = match Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await {
            Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
            Err(_) => String::new(),
        };
        Ok(Answered { status, text })
    }
}

/// Whether TLS is what went wrong: an input or output error keeps its cause where `source` does not show it.
fn is_of_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<rustls::Error>() {
            return true;
        }
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

/// A form as `application/x-www-form-urlencoded`; what is not a letter or digit is encoded by its bytes.
fn encoded(form: &[(&str, &str)]) -> String {
    let text = |text: &str| -> String {
        let byte =
            |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
        text.bytes().map(byte).collect()
    };
    let pairs: Vec<String> = form.iter().map(|(name, value)| format!("{}={}", text(name), text(value))).collect();
    pairs.join("&")
}

/// The value of `webhook-signature`: `v1,` and the base64 of HMAC-SHA256 over id, timestamp and body. A secret that
/// begins with `whsec_` is base64, as the standard has it; any other is taken as it is.
fn sign(secret: &Secret, id: &str, seconds: i64, body: &str) -> String {
    let key = secret
        .reveal()
        .strip_prefix("whsec_")
        .and_then(|encoded| BASE64.decode(encoded).ok())
        .unwrap_or_else(|| secret.reveal().as_bytes().to_vec());
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
    mac.update(format!("{id}.{seconds}.{body}").as_bytes());
    format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves which URLs can be asked, and that for the others it is said what to write.
    #[test]
    fn urls_of_http_can_be_asked() {
        for good in ["http://a", "https://a:9200/base?x=1", "http://[::1]:9200/"] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for (wrong, why) in [
            ("ftp://a", "write `http://HOST:PORT`"),
            ("a:9200", "write `http://HOST:PORT`"),
            ("http://", "write `http://HOST:PORT`"),
            ("http://u:p@a", "a password does not belong"),
        ] {
            assert!(check_url(wrong).is_err_and(|error| error.starts_with(why)), "{wrong}: {:?}", check_url(wrong));
        }
    }

    /// Proves that what makes a webhook's URL a secret is in no message.
    #[test]
    fn a_shown_url_has_no_secret() {
        let shown = [
            "https://hooks.example.com/services/T0/B0/sEcReT",
            "http://user:sEcReT@127.0.0.1:8080/?key=sEcReT",
            "sEcReT",
        ]
        .map(shown);
        assert_eq!(shown, ["https://hooks.example.com/…", "http://127.0.0.1:8080/…", "a URL that is none"]);
    }

    /// Proves the signature against the vector that the libraries of the standard are tested with.
    #[test]
    fn the_signature_is_that_of_the_standard() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signature = sign(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
