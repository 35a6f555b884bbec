//! What is known of the service's clients, so that preflight can ask as one of them and tell whether all of them are there.

use serde::{Deserialize, Serialize};

/// What is known of the clients. Secrets and certificates are named, never held.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientsPolicy {
    /// The authorities that clients trust, as a PEM file; `None` for the usual ones.
    pub ca: Option<String>,
    /// The name that clients ask for, which the certificate must be good for; `None` for that of the URL that is asked.
    pub server_name: Option<String>,
    /// Where a client's `Authorization` value comes from: `env:NAME` or `file:PATH`.
    pub authorization: Option<String>,
    /// A client's own certificate and its key, as PEM files; `None` where none is asked for.
    pub certificate: Option<(String, String)>,
    /// How many requests a second there should be; `None` where nobody says.
    pub expected: Option<ExpectedRate>,
}

/// How many requests a second a service should have.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExpectedRate {
    /// Requests a second, above 0.
    pub rps: f64,
    /// By which part of it there may be fewer (0 to 1) before clients count as missing.
    pub tolerance: f64,
}

impl ExpectedRate {
    /// By which part there may be fewer where nobody says.
    pub const TOLERANCE_USUAL: f64 = 0.2;

    /// Fewer requests a second than this mean that clients are missing.
    pub fn least(self) -> f64 {
        self.rps * (1.0 - self.tolerance)
    }
}
