//! What preflight asks the clusters themselves, as one of the service's clients would: whether the target is well
//! ([`smoke`], with [`disks`]), and how much the source has received ([`received`]). It asks, and changes nothing.
//!
//! A client is who the policy's `[clients]` says: whom it trusts, the name it asks for, its credentials and certificate, read
//! from where they are said to be and never logged.

mod disks;
pub mod received;
pub mod smoke;

use std::path::Path;
use std::time::Duration;

use cutover::policy::ClientsPolicy;
use http::{Method, StatusCode};
use serde_json::Value;

use crate::outbound::{Outbound, OutboundError};
use crate::port::{BoxError, in_one_line};
use crate::secret::{self, Secret};
use crate::trust;

/// How long one answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The most of one answer: what is asked for is narrowed by `filter_path` where it can be, and a thousand nodes or blocked
/// indices still fit.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// One of the service's clients.
pub struct Client {
    outbound: Outbound,
    identity: Option<Secret>,
    trusted: String,
    name: Option<String>,
}

/// What a cluster answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Its status.
    pub status: StatusCode,
    /// Its body; null where that is no JSON.
    pub value: Value,
}

/// Why it did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Silent {
    /// No TLS that a client would take, or none that takes this client.
    Tls(String),
    /// No connection, no answer in time, or none that could be read.
    Other(String),
}

impl std::fmt::Display for Silent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tls(why) | Self::Other(why) => f.write_str(why),
        }
    }
}

impl Client {
    /// A client as `clients` has it. Where that gives no credentials, `fallback` says where they are.
    ///
    /// # Errors
    /// When a file or secret that is named cannot be read, or certificate and key do not fit together.
    pub fn new(clients: &ClientsPolicy, fallback: Option<&str>) -> Result<Self, BoxError> {
        let identity = clients.authorization.as_deref().or(fallback).map(secret::read).transpose()?;
        let certificate = clients.certificate.as_ref().map(|(chain, key)| (Path::new(chain), Path::new(key)));
        let tls = trust::tls(clients.ca.as_deref().map(Path::new), certificate)?;
        let outbound = match &clients.server_name {
            Some(name) => Outbound::naming(tls, name)?,
            None => Outbound::by(tls),
        };
        let trusted = clients.ca.as_ref().map_or_else(|| "the usual authorities".to_owned(), |ca| format!("`{ca}`"));
        Ok(Self { outbound, identity, trusted, name: clients.server_name.clone() })
    }

    /// Gets what is at `path` of the cluster at `base`.
    ///
    /// # Errors
    /// When there is no answer in time, or none that can be read whole; an answer with any status is not an error.
    pub async fn ask(&self, base: &str, path: &str) -> Result<Told, Silent> {
        let url = format!("{}{path}", base.trim_end_matches('/'));
        let asked = self.outbound.fetch(Method::GET, &url, self.identity.as_ref(), ANSWER_BYTES_MAX);
        match tokio::time::timeout(ANSWER_MAX, asked).await {
            Ok(Ok((status, body))) => Ok(Told { status, value: serde_json::from_slice(&body).unwrap_or(Value::Null) }),
            Ok(Err(error @ OutboundError::Tls { .. })) => Err(Silent::Tls(in_one_line(&error))),
            Ok(Err(error)) => Err(Silent::Other(in_one_line(&error))),
            Err(_) => Err(Silent::Other(format!("no answer within {} s", ANSWER_MAX.as_secs()))),
        }
    }
}
