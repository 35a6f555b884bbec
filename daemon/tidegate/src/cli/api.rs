//! A client of the daemon's control API, for the verbs that talk to it.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use proxy::config::ControlAddress;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

use super::Context;
use crate::http::stream::Update;
use crate::run::TOKEN;

/// How long one call may take; orders wait for the journal's disk.
const CALL_MAX: Duration = Duration::from_secs(30);

/// The daemon as a verb sees it.
pub struct Api {
    address: ControlAddress,
    token: Option<String>,
}

/// A connection; its task ends with it.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _task: JoinSet<()>,
}

impl Api {
    /// The daemon that `--api` names.
    ///
    /// # Errors
    /// When the address makes no sense.
    pub fn new(context: &Context) -> anyhow::Result<Self> {
        Ok(Self { address: context.api.parse()?, token: std::env::var(TOKEN).ok() })
    }

    async fn connect(&self) -> anyhow::Result<Connection> {
        let hint = || format!("cannot reach the daemon at {} (is `tidegate run` running? see --api)", self.address);
        let mut task = JoinSet::new();
        // A connection that breaks is noticed by the call on it.
        let sender = match &self.address {
            ControlAddress::Unix(path) => {
                let stream = UnixStream::connect(path).await.with_context(hint)?;
                let (sender, connection) = handshake(TokioIo::new(stream)).await?;
                task.spawn(async move { drop(connection.await) });
                sender
            }
            ControlAddress::Tcp(address) => {
                let stream = TcpStream::connect(address).await.with_context(hint)?;
                let (sender, connection) = handshake(TokioIo::new(stream)).await?;
                task.spawn(async move { drop(connection.await) });
                sender
            }
        };
        Ok(Connection { sender, _task: task })
    }

    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<http::Request<Full<Bytes>>> {
        let mut request = http::Request::builder().method(method).uri(path).header("host", "tidegate");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        Ok(request.body(Full::new(body))?)
    }

    /// One call; the answer with its status.
    ///
    /// # Errors
    /// When there is no answer, or none in JSON.
    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<(u16, Value)> {
        let exchange = async {
            let mut connection = self.connect().await?;
            let answer = connection.sender.send_request(self.request(method, path, body)?).await?;
            let status = answer.status().as_u16();
            let bytes = answer.into_body().collect().await?.to_bytes();
            let value = serde_json::from_slice(&bytes)
                .with_context(|| format!("the daemon answered {status} to {method} {path}, and not in JSON"))?;
            anyhow::Ok((status, value))
        };
        tokio::time::timeout(CALL_MAX, exchange)
            .await
            .with_context(|| format!("the daemon did not answer {method} {path} within {} s", CALL_MAX.as_secs()))?
    }

    /// One call whose refusal is an error.
    ///
    /// # Errors
    /// When there is no answer or it is a refusal.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let (status, value) = self.call("GET", path, None).await?;
        if status != 200 {
            bail!("{}", refusal(status, &value));
        }
        serde_json::from_value(value).with_context(|| format!("the daemon's answer to {path} is of another version"))
    }

    /// Follows a service's cutover: `each` is given every update until it answers with something, or the daemon has no
    /// more (then `None`).
    ///
    /// # Errors
    /// When the daemon cannot be reached or the connection breaks, or `each` fails.
    pub async fn follow<T>(
        &self,
        service: &str,
        mut each: impl FnMut(Update) -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<Option<T>> {
        let path = format!("/v1/cutovers/{service}/events");
        let mut connection = self.connect().await?;
        let answer = connection.sender.send_request(self.request("GET", &path, None)?).await?;
        let status = answer.status().as_u16();
        let mut body = answer.into_body();
        if status != 200 {
            let bytes = body.collect().await?.to_bytes();
            bail!("{}", refusal(status, &serde_json::from_slice(&bytes).unwrap_or_default()));
        }
        let mut buffer = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.context("the connection to the daemon broke")?.into_data() else { continue };
            buffer.extend_from_slice(&data);
            while let Some(end) = buffer.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = buffer.drain(..end + 2).collect();
                let Some(data) = data_of(&event) else { continue };
                let update = serde_json::from_slice(data).context("the daemon's view is of another version")?;
                if let Some(found) = each(update)? {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }
}

/// The data of one server-sent event; `None` for a comment.
fn data_of(event: &[u8]) -> Option<&[u8]> {
    event.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"data: "))
}

/// A refusal in the daemon's own words.
pub fn refusal(status: u16, value: &Value) -> String {
    let said = value.get("error").or_else(|| value.get("text")).and_then(Value::as_str);
    said.map_or_else(|| format!("the daemon answered {status}"), str::to_owned)
}
