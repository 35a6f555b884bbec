//! Connections from here to where clients will go: whether one can be made, whose certificate is shown, what is answered.
//!
//! The name that is asked for and the address that is gone to are apart, as they are for clients behind a balancer: the
//! certificate must be good for the name that clients use. A machine outside of the network reaches it through a tunnel,
//! which is told by `--connect-to`, as curl has it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::port::BoxError;
use crate::secret::Secret;

/// How long a connection, a handshake and an answer may take together.
const KNOCK_MAX: Duration = Duration::from_secs(10);

/// The most of an answer that is read.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// How to get to balancers from here.
#[derive(Clone)]
pub struct Knock {
    /// `HOST:PORT` as it is named, and the `HOST:PORT` to connect to instead.
    tunnels: Vec<(String, String)>,
    tls: Arc<ClientConfig>,
}

/// Why it did not come to an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shut {
    /// No connection.
    Connect(String),
    /// The certificate is not one that clients would take.
    Certificate(String),
    /// Connected, and then nothing that makes sense.
    Answer(String),
}

impl std::fmt::Display for Shut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connect(why) => write!(f, "no connection: {why}"),
            Self::Certificate(why) => write!(f, "its certificate is not accepted: {why}"),
            Self::Answer(why) => write!(f, "no answer: {why}"),
        }
    }
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its body, as text.
    pub text: String,
}

impl Knock {
    /// Trusts `authority`, a file with certificates in PEM form, or the Mozilla programme's without one.
    ///
    /// # Errors
    /// When the file holds no certificates.
    pub fn new(authority: Option<&Path>, tunnels: Vec<(String, String)>) -> Result<Self, BoxError> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = authority {
            let said = |why: String| format!("cannot read the clients' authority `{}`: {why}", path.display());
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| said(error.to_string()))? {
                let certificate = certificate.map_err(|error| said(error.to_string()))?;
                roots.add(certificate).map_err(|error| said(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(said("there is no certificate in it".to_owned()).into());
            }
        } else {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { tunnels, tls: Arc::new(config) })
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, Shut> {
        let named = format!("{host}:{port}");
        let to = self.tunnels.iter().find(|(from, _)| *from == named).map_or(named.as_str(), |(_, to)| to);
        TcpStream::connect(to).await.map_err(|error| Shut::Connect(format!("{to}: {error}")))
    }

    /// Whether a connection can be made.
    ///
    /// # Errors
    /// When none was made in time.
    pub async fn reaches(&self, host: &str, port: u16) -> Result<(), Shut> {
        let connected = tokio::time::timeout(KNOCK_MAX, self.connect(host, port)).await;
        connected.unwrap_or_else(|_| Err(Shut::Connect("time-out".to_owned()))).map(drop)
    }

    /// Asks at `host` and `port` for what `request` says, by TLS as `name` if there is one.
    ///
    /// # Errors
    /// When there is no answer in time, or the certificate is not good for the name.
    pub async fn ask(
        &self,
        host: &str,
        port: u16,
        name: Option<&str>,
        request: Request<Full<Bytes>>,
    ) -> Result<Reply, Shut> {
        let asked = async {
            let stream = self.connect(host, port).await?;
            match name {
                None => exchange(stream, request).await,
                Some(name) => {
                    let server = ServerName::try_from(name.to_owned())
                        .map_err(|_| Shut::Certificate(format!("`{name}` is no name of a server")))?;
                    let connector = TlsConnector::from(Arc::clone(&self.tls));
                    let stream = connector.connect(server, stream).await.map_err(|error| {
                        let ours = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).is_some();
                        let why = error.to_string();
                        if ours { Shut::Certificate(format!("as `{name}`: {why}")) } else { Shut::Answer(why) }
                    })?;
                    exchange(stream, request).await
                }
            }
        };
        tokio::time::timeout(KNOCK_MAX, asked).await.unwrap_or_else(|_| Err(Shut::Answer("time-out".to_owned())))
    }

    /// Gets `/` as a client would: by the name it uses, with its identity.
    ///
    /// # Errors
    /// As [`Knock::ask`].
    pub async fn get(
        &self,
        host: &str,
        port: u16,
        secure: bool,
        name: &str,
        identity: Option<&Secret>,
    ) -> Result<Reply, Shut> {
        let mut request = Request::get("/")
            .header(header::HOST, name)
            .header(header::USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close");
        if let Some(identity) = identity {
            request = request.header(header::AUTHORIZATION, identity.reveal());
        }
        let request = request.body(Full::default()).map_err(|error| Shut::Answer(error.to_string()))?;
        self.ask(host, port, secure.then_some(name), request).await
    }
}

/// One request and its answer on a connection.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Reply, Shut> {
    let broken = |error: hyper::Error| Shut::Answer(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let asked = async move {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| Shut::Answer(error.to_string()))?.to_bytes();
        Ok(Reply { status, text: String::from_utf8_lossy(&body).into_owned() })
    };
    let mut asked = std::pin::pin!(asked);
    tokio::select! {
        answer = asked.as_mut() => answer,
        // It ended: either with the answer, which is there now, or without.
        _ = connection => asked.await,
    }
}

/// What an answer through the new path proves.
///
/// # Errors
/// When it is none that a client could use.
pub fn smoke(answered: Result<Reply, Shut>, with_identity: bool) -> Result<String, String> {
    let reply = answered.map_err(|shut| shut.to_string())?;
    let told: serde_json::Value = serde_json::from_str(&reply.text).unwrap_or_default();
    let cluster = told.get("cluster_name").and_then(serde_json::Value::as_str);
    match (reply.status.as_u16(), cluster) {
        (200..=299, Some(name)) => Ok(format!("{} from the cluster `{name}`", reply.status)),
        (200..=399, _) => Ok(reply.status.to_string()),
        (401 | 403, _) if !with_identity => Ok(format!("{}, as it must be without an identity", reply.status)),
        (401 | 403, _) => Err(format!("{}: this identity is refused", reply.status)),
        _ => Err(reply.status.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves what an answer by the new path is taken for: health checks take a refusal for health, this does not.
    #[test]
    fn an_answer_by_the_new_path_is_weighed() {
        let reply = |status: u16, text: &str| {
            Ok(Reply { status: StatusCode::from_u16(status).unwrap(), text: text.to_owned() })
        };
        let told = smoke(reply(200, r#"{"cluster_name":"old"}"#), true).unwrap();
        assert!(told.contains("`old`"), "{told}");
        assert!(smoke(reply(401, ""), false).is_ok());
        for (answered, with_identity) in [(reply(401, ""), true), (reply(404, ""), false), (reply(502, ""), false)] {
            assert!(smoke(answered, with_identity).is_err());
        }
        assert!(smoke(Err(Shut::Connect("refused".to_owned())), false).is_err());
    }
}
